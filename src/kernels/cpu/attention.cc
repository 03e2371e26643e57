// Attention over pages for portable, AVX2 and AVX-512 vectors; the dense entry packs its keys and values into pages first.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/fallback.h"
#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/page_layout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/attention_tile-inl.h"
#include "kernels/cpu/page_writer-inl.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

// What all items of a call share.
struct Call {
  const AttentionSpec& spec;
  const KvPages& pages;
  PageLayout layout;
  const AttentionSequence* sequences;
  int64_t group;
  View q, out, lse;
};

// Memory of one thread.
struct Scratch {
  float* query;   // tiles of [head_dim][rows of the tile]
  float* scores;  // [kTileRows][kKeyBlock]
  float* block;   // [kTileRows][row floats]
  float* sums;    // [item rows][row floats]
  float* maxima;  // [item rows]
  float* totals;  // [item rows]
  float* wide;    // a key block as float32, where items widen
};

// Tiles from which on an item widens bfloat16 blocks before it uses them.
constexpr int64_t kWidenTiles = 4;

// Rows side by side: to[d * rows + r].
template <class T>
HWY_INLINE void pack_query(const T* const* from, int rows, int64_t head_dim, float* HWY_RESTRICT to) {
  with_rows(rows, [&](auto n) HWY_ATTR {
    constexpr int kRows = decltype(n)::value;
    for (int64_t d = 0; d < head_dim; ++d) {
      for (int r = 0; r < kRows; ++r) to[d * kRows + r] = static_cast<float>(from[r][d]);
    }
  });
}

// One item. E: what tiles read; pages hold E, or bfloat16 that is widened to E = float.
template <class E, bool kWiden>
struct ItemRun {
  const Call& call;
  const AttentionItem& item;
  const Scratch& scratch;
  const AttentionSequence& sequence;
  const Slots slots = Slots(call.pages.v_head_dim, sizeof(E) == 2);

  int64_t query(int64_t row) const { return (item.first_row + row) / call.group; }
  int64_t head(int64_t row) const { return item.kv_head * call.group + (item.first_row + row) % call.group; }
  int64_t position(int64_t row) const { return sequence.context - sequence.queries + query(row); }

  template <class T>
  void pack_queries_of() const {
    for (int64_t tile = 0; tile < item.rows; tile += kTileRows) {
      const int rows = static_cast<int>(std::min<int64_t>(kTileRows, item.rows - tile));
      const T* from[kTileRows];
      for (int r = 0; r < rows; ++r) {
        from[r] =
            call.q.as<T>() + (sequence.first_row + query(tile + r)) * call.q.strides[0] + head(tile + r) * call.q.strides[1];
      }
      pack_query(from, rows, call.pages.head_dim, scratch.query + tile * call.pages.head_dim);
    }
  }

  void pack_queries() const {
    if (call.q.dtype == DType::kFloat32) return pack_queries_of<float>();
    pack_queries_of<BFloat16>();
  }

  void start() const {
    for (int64_t row = 0; row < item.rows; ++row) {
      scratch.maxima[row] = call.spec.sinks != nullptr ? call.spec.sinks[head(row)] : kMinusInfinity;
      scratch.totals[row] = call.spec.sinks != nullptr ? 1.0f : 0.0f;
    }
    std::fill(scratch.sums, scratch.sums + item.rows * slots.floats(), 0.0f);
  }

  // Tile `tile` over block `block`: into sums, maxima and totals of its rows.
  void attend(int64_t tile, int64_t block, const BlockPages<E>& pages, float* sums, float* maxima, float* totals) const {
    const int rows = static_cast<int>(std::min<int64_t>(kTileRows, item.rows - tile));
    const int64_t start = block * kKeyBlock;
    TileRow tile_rows[kTileRows];
    for (int r = 0; r < rows; ++r) {
      const int64_t at = position(tile + r);
      const VisibleKeys keys = visible_keys(call.spec, at, sequence.context);
      tile_rows[r] = {std::clamp<int64_t>(keys.begin - start, 0, kKeyBlock),
                      std::clamp<int64_t>(keys.end - start, 0, kKeyBlock), at,
                      call.spec.bias == AttentionSpec::Bias::kAlibi ? call.spec.alibi_slopes[head(tile + r)] : 0.0f};
    }
    attend_tile<E>(call.spec, tile_rows, rows, start, scratch.query + tile * call.pages.head_dim, call.pages.head_dim, pages,
                   slots, scratch.scores, sums, maxima, totals);
  }

  BlockPages<E> find_pages(int64_t block) const {
    BlockPages<E> found = {};
    const VisibleKeys first = visible_keys(call.spec, position(0), sequence.context);
    const VisibleKeys last = visible_keys(call.spec, position(item.rows - 1), sequence.context);
    for (int i = 0; i < kBlockPages; ++i) {
      const int64_t page = block * kBlockPages + i;
      if ((page + 1) * kPageTokens <= first.begin || page * kPageTokens >= last.end) continue;
      const auto* data =
          reinterpret_cast<const std::conditional_t<kWiden, BFloat16, E>*>(call.pages.page(sequence.table[page]));
      const auto *keys = data + call.layout.key(item.kv_head, 0, 0), *values = data + call.layout.value(item.kv_head, 0, 0);
      if constexpr (kWiden) {
        const int64_t key_dim = call.pages.head_dim, value_dim = call.pages.v_head_dim;
        float* wide_keys = scratch.wide + i * kPageTokens * key_dim;
        float* wide_values = scratch.wide + kKeyBlock * key_dim + i * kPageTokens * value_dim;
        widen_page(keys, values, key_dim, value_dim, wide_keys, wide_values);
        found.keys[i] = wide_keys;
        found.values[i] = wide_values;
      } else {
        found.keys[i] = keys;
        found.values[i] = values;
      }
    }
    return found;
  }

  template <class T>
  void write(const float* sums, float total, T* to) const {
    const FloatTag d;
    for (int64_t slot = 0; slot < slots.count; ++slot) {
      FloatVec value = hn::LoadU(d, sums + slot * kLanes);
      value = total == 0 ? hn::Zero(d) : hn::Div(value, hn::Set(d, total));
      const int64_t column = slots.column(slot), left = slots.dim - column;
      if (left >= kLanes) {
        store(value, to + column);
      } else {
        store_n(value, to + column, left);
      }
    }
  }

  void finish() const {
    for (int64_t row = 0; row < item.rows; ++row) {
      const int64_t t = sequence.first_row + query(row), at = t * call.out.strides[0] + head(row) * call.out.strides[1];
      const float* sums = scratch.sums + row * slots.floats();
      const float total = scratch.totals[row];
      if (call.out.dtype == DType::kFloat32) {
        write(sums, total, call.out.as<float>() + at);
      } else {
        write(sums, total, call.out.as<BFloat16>() + at);
      }
      if (call.lse) call.lse.as<float>()[t * call.lse.strides[0] + head(row)] = scratch.maxima[row] + std::log(total);
    }
  }

  void run() const {
    const int64_t floats = slots.floats();
    pack_queries();
    if (item.split != nullptr) return run_split();
    start();
    for (int64_t block = item.first_block; block < item.last_block; ++block) {
      const BlockPages<E> pages = find_pages(block);
      for (int64_t tile = 0; tile < item.rows; tile += kTileRows) {
        float maxima[kTileRows], totals[kTileRows];
        attend(tile, block, pages, scratch.block, maxima, totals);
        merge_tile(static_cast<int>(std::min<int64_t>(kTileRows, item.rows - tile)), scratch.maxima + tile,
                   scratch.totals + tile, scratch.sums + tile * floats, maxima, totals, scratch.block, floats);
      }
    }
    finish();
  }

  void run_split() const {
    AttentionSplit& split = *item.split;
    const int64_t floats = slots.floats();
    for (int64_t block = item.first_block; block < item.last_block; ++block) {
      const BlockPages<E> pages = find_pages(block);
      for (int64_t tile = 0; tile < item.rows; tile += kTileRows) {
        const int64_t part = (block - split.first_block) * item.rows + tile;
        attend(tile, block, pages, split.sums + part * floats, split.maxima + part, split.totals + part);
      }
    }
    if (split.left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    start();
    for (int64_t block = 0; block < split.blocks; ++block) {
      for (int64_t tile = 0; tile < item.rows; tile += kTileRows) {
        const int64_t part = block * item.rows + tile;
        merge_tile(static_cast<int>(std::min<int64_t>(kTileRows, item.rows - tile)), scratch.maxima + tile,
                   scratch.totals + tile, scratch.sums + tile * floats, split.maxima + part, split.totals + part,
                   split.sums + part * floats, floats);
      }
    }
    finish();
  }
};

void attend_pages(const Exec& exec, const AttentionSpec& spec, const KvPages& pages, const AttentionSequence* sequences,
                  int64_t count, View q, View out, View lse) {
  const Call call = {spec,
                     pages,
                     PageLayout(pages.head_dim, pages.v_head_dim, pages.dtype),
                     sequences,
                     q.dims[1] / pages.num_key_value_heads,
                     q,
                     out,
                     lse};
  const AttentionShape shape = {call.group,
                                pages.num_key_value_heads,
                                pages.head_dim,
                                pages.v_head_dim,
                                kTileRows,
                                Slots(pages.v_head_dim, false).floats(),
                                call.layout.element_bytes};
  const AttentionPlan plan = plan_attention(exec, spec, shape, sequences, count);
  if (plan.count == 0) return;
  const bool halves = pages.dtype == DType::kBFloat16, widens = halves && plan.max_rows > (kWidenTiles - 1) * kTileRows;
  const int64_t threads = plan.fork ? exec.pool->num_threads() : 1;
  Scratch* scratch = exec.scratch->allocate_array<Scratch>(threads);
  for (int64_t i = 0; i < threads; ++i) {
    scratch[i].query = exec.scratch->allocate_array<float>(plan.max_rows * pages.head_dim);
    scratch[i].scores = exec.scratch->allocate_array<float>(kTileRows * kKeyBlock);
    scratch[i].block = exec.scratch->allocate_array<float>(kTileRows * shape.row_floats);
    scratch[i].sums = exec.scratch->allocate_array<float>(plan.max_rows * shape.row_floats);
    scratch[i].maxima = exec.scratch->allocate_array<float>(plan.max_rows);
    scratch[i].totals = exec.scratch->allocate_array<float>(plan.max_rows);
    scratch[i].wide = widens ? exec.scratch->allocate_array<float>(kKeyBlock * (pages.head_dim + pages.v_head_dim)) : nullptr;
  }
  exec.pool->parallel_for(plan.count, plan.fork ? 1 : plan.count, [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
    for (int64_t i = begin; i < end; ++i) {
      const AttentionItem& item = plan.items[i];
      const AttentionSequence& sequence = sequences[item.sequence];
      if (!halves) {
        ItemRun<float, false>{call, item, scratch[thread], sequence}.run();
      } else if (item.rows > (kWidenTiles - 1) * kTileRows) {
        ItemRun<float, true>{call, item, scratch[thread], sequence}.run();
      } else {
        ItemRun<BFloat16, false>{call, item, scratch[thread], sequence}.run();
      }
    }
  });
}

void attention_paged(const Exec& exec, const AttentionSpec& spec, const PagedRows& rows, const KvPages& pages, View q,
                     View out) {
  if (!is_vector_dtype(q.dtype) || !is_vector_dtype(out.dtype) || !is_vector_dtype(pages.dtype)) {
    return reference_table().attention_paged(exec, spec, rows, pages, q, out);
  }
  const ArenaScope scope(*exec.scratch);
  AttentionSequence* sequences = exec.scratch->allocate_array<AttentionSequence>(rows.queries.count);
  for (int64_t s = 0; s < rows.queries.count; ++s) {
    const int64_t first = rows.queries.starts[s];
    sequences[s] = {first, rows.queries.starts[s + 1] - first, rows.context_lengths[s],
                    rows.block_tables + s * rows.table_stride};
  }
  attend_pages(exec, spec, pages, sequences, rows.queries.count, q, out, View());
}

void cache_write(const Exec& exec, const KvPages& pages, View k, View v, View slots) {
  if (!is_vector_dtype(pages.dtype) || !is_vector_dtype(k.dtype))
    return reference_table().cache_write(exec, pages, k, v, slots);
  with_dtypes(pages.dtype, k.dtype, [&](auto page_zero, auto zero) HWY_ATTR {
    const PageWriter<decltype(page_zero), decltype(zero)> writer(pages, k, v);
    exec.pool->parallel_for(k.dims[0], store_grain(pages), [&](int64_t begin, int64_t end, int) HWY_ATTR {
      const int64_t* slot = slots.as<int64_t>();
      while (begin < end) {
        // Tokens that follow each other in one page are written together.
        int64_t n = 1;
        while (begin + n < end && slot[begin + n] == slot[begin] + n && slot[begin + n] % kPageTokens != 0) ++n;
        if (slot[begin] >= 0) writer.write(slot[begin] / kPageTokens, slot[begin] % kPageTokens, begin, n);
        begin += n;
      }
    });
  });
}

void attention(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
               View lse) {
  if (!is_vector_dtype(q.dtype) || !is_vector_dtype(k.dtype) || !is_vector_dtype(out.dtype)) {
    return reference_table().attention(exec, spec, rows, q, k, v, out, lse);
  }
  const ArenaScope scope(*exec.scratch);
  KvPages pages;
  pages.pages_per_slab = INT64_MAX;
  pages.num_key_value_heads = k.dims[1];
  pages.head_dim = k.dims[2];
  pages.v_head_dim = v.dims[2];
  pages.dtype = k.dtype;
  pages.page_bytes = page_bytes(k.dims[1], k.dims[2], v.dims[2], k.dtype);
  int64_t page_count = 0;
  for (int64_t s = 0; s < rows.count; ++s) page_count += (rows.starts[s + 1] - rows.starts[s] + kPageTokens - 1) / kPageTokens;
  pages.base = static_cast<uint8_t*>(exec.scratch->allocate(page_count * pages.page_bytes));
  int32_t* table = exec.scratch->allocate_array<int32_t>(page_count);
  int32_t* first_token = exec.scratch->allocate_array<int32_t>(page_count);  // of each page, as row of k
  int32_t* tokens = exec.scratch->allocate_array<int32_t>(page_count);
  AttentionSequence* sequences = exec.scratch->allocate_array<AttentionSequence>(rows.count);
  int64_t page = 0;
  for (int64_t s = 0; s < rows.count; ++s) {
    const int32_t first = rows.starts[s], last = rows.starts[s + 1];
    sequences[s] = {first, last - first, last - first, table + page};
    for (int32_t t = first; t < last; t += kPageTokens, ++page) {
      table[page] = static_cast<int32_t>(page);
      first_token[page] = t;
      tokens[page] = std::min<int32_t>(kPageTokens, last - t);
    }
  }
  const PageLayout layout(pages.head_dim, pages.v_head_dim, pages.dtype);
  with_dtypes(pages.dtype, k.dtype, [&](auto page_zero, auto zero) HWY_ATTR {
    const PageWriter<decltype(page_zero), decltype(zero)> writer(pages, k, v);
    exec.pool->parallel_for(page_count, store_grain(pages) / kPageTokens, [&](int64_t begin, int64_t end, int) HWY_ATTR {
      for (int64_t p = begin; p < end; ++p) {
        // Tokens past a sequence's end are masked, but registers are filled with them: zeros are never slow or noisy.
        if (tokens[p] < kPageTokens) {
          std::memset(pages.page(p), 0, static_cast<size_t>(layout.head_elements() * layout.element_bytes * k.dims[1]));
        }
        writer.write(p, 0, first_token[p], tokens[p]);
      }
    });
  });
  attend_pages(exec, spec, pages, sequences, rows.count, q, out, lse);
}

}  // namespace

void fill_attention_entries(KernelTable& table) {
  table.attention = {attention, kTargetIsa};
  table.cache_write = {cache_write, kTargetIsa};
  table.attention_paged = {attention_paged, kTargetIsa};
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_attention)
}  // namespace pagoda
#endif
