// Attention over pages for portable, AVX2 and AVX-512 vectors; the dense entry packs its keys and values into pages first.
#include <algorithm>
#include <cmath>
#include <cstdint>

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
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

// What all items of a call share.
template <class E>
struct Call {
  const AttentionSpec& spec;
  const KvPages& pages;
  PageLayout layout;
  Slots slots;
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
  RowState* state;
};

template <class T>
void pack_query(const T* from, int64_t head_dim, int64_t stride, float* to) {
  for (int64_t d = 0; d < head_dim; ++d) to[d * stride] = static_cast<float>(from[d]);
}

template <class E>
struct ItemRun {
  const Call<E>& call;
  const AttentionItem& item;
  const Scratch& scratch;
  const AttentionSequence& sequence;

  int64_t query(int64_t row) const { return (item.first_row + row) / call.group; }
  int64_t head(int64_t row) const { return item.kv_head * call.group + (item.first_row + row) % call.group; }
  int64_t position(int64_t row) const { return sequence.context - sequence.queries + query(row); }

  void pack_queries() const {
    for (int64_t tile = 0; tile < item.rows; tile += kTileRows) {
      const int64_t rows = std::min<int64_t>(kTileRows, item.rows - tile);
      float* to = scratch.query + tile * call.pages.head_dim;
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t at = (sequence.first_row + query(tile + r)) * call.q.strides[0] + head(tile + r) * call.q.strides[1];
        if (call.q.dtype == DType::kFloat32) {
          pack_query(call.q.template as<float>() + at, call.pages.head_dim, rows, to + r);
        } else {
          pack_query(call.q.template as<BFloat16>() + at, call.pages.head_dim, rows, to + r);
        }
      }
    }
  }

  void start() const {
    for (int64_t row = 0; row < item.rows; ++row) {
      scratch.state[row] = call.spec.sinks != nullptr ? RowState{call.spec.sinks[head(row)], 1} : RowState{kMinusInfinity, 0};
    }
    std::fill(scratch.sums, scratch.sums + item.rows * call.slots.floats(), 0.0f);
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
                   call.slots, scratch.scores, sums, maxima, totals);
  }

  BlockPages<E> find_pages(int64_t block) const {
    BlockPages<E> found = {};
    const VisibleKeys first = visible_keys(call.spec, position(0), sequence.context);
    const VisibleKeys last = visible_keys(call.spec, position(item.rows - 1), sequence.context);
    for (int i = 0; i < kBlockPages; ++i) {
      const int64_t page = block * kBlockPages + i;
      if ((page + 1) * kPageTokens <= first.begin || page * kPageTokens >= last.end) continue;
      const E* data = reinterpret_cast<const E*>(call.pages.page(sequence.table[page]));
      found.keys[i] = data + call.layout.key(item.kv_head, 0, 0);
      found.values[i] = data + call.layout.value(item.kv_head, 0, 0);
    }
    return found;
  }

  template <class T>
  void write(const float* sums, float total, T* to) const {
    const FloatTag d;
    for (int64_t slot = 0; slot < call.slots.count; ++slot) {
      FloatVec value = hn::LoadU(d, sums + slot * kLanes);
      value = total == 0 ? hn::Zero(d) : hn::Div(value, hn::Set(d, total));
      const int64_t column = call.slots.column(slot), left = call.slots.dim - column;
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
      const float* sums = scratch.sums + row * call.slots.floats();
      const RowState state = scratch.state[row];
      if (call.out.dtype == DType::kFloat32) {
        write(sums, state.total, call.out.template as<float>() + at);
      } else {
        write(sums, state.total, call.out.template as<BFloat16>() + at);
      }
      if (call.lse) call.lse.template as<float>()[t * call.lse.strides[0] + head(row)] = state.maximum + std::log(state.total);
    }
  }

  void run() const {
    const int64_t floats = call.slots.floats();
    pack_queries();
    if (item.split != nullptr) return run_split();
    start();
    for (int64_t block = item.first_block; block < item.last_block; ++block) {
      const BlockPages<E> pages = find_pages(block);
      for (int64_t tile = 0; tile < item.rows; tile += kTileRows) {
        float maxima[kTileRows], totals[kTileRows];
        attend(tile, block, pages, scratch.block, maxima, totals);
        for (int64_t r = 0; r < std::min<int64_t>(kTileRows, item.rows - tile); ++r) {
          merge(scratch.state[tile + r], scratch.sums + (tile + r) * floats, maxima[r], totals[r], scratch.block + r * floats,
                floats);
        }
      }
    }
    finish();
  }

  void run_split() const {
    AttentionSplit& split = *item.split;
    const int64_t floats = call.slots.floats();
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
      for (int64_t row = 0; row < item.rows; ++row) {
        const int64_t part = block * item.rows + row;
        merge(scratch.state[row], scratch.sums + row * floats, split.maxima[part], split.totals[part],
              split.sums + part * floats, floats);
      }
    }
    finish();
  }
};

template <class E>
void attend_all(const Exec& exec, const AttentionSpec& spec, const KvPages& pages, const AttentionSequence* sequences,
                int64_t count, View q, View out, View lse) {
  const Call<E> call = {spec,
                        pages,
                        PageLayout(pages.head_dim, pages.v_head_dim, pages.dtype),
                        Slots(pages.v_head_dim, sizeof(E) == 2),
                        sequences,
                        q.dims[1] / pages.num_key_value_heads,
                        q,
                        out,
                        lse};
  const AttentionShape shape = {call.group, pages.num_key_value_heads, pages.head_dim,           pages.v_head_dim,
                                kTileRows,  call.slots.floats(),       call.layout.element_bytes};
  const AttentionPlan plan = plan_attention(exec, spec, shape, sequences, count);
  if (plan.count == 0) return;
  const int64_t threads = plan.fork ? exec.pool->num_threads() : 1;
  Scratch* scratch = exec.scratch->allocate_array<Scratch>(threads);
  for (int64_t i = 0; i < threads; ++i) {
    scratch[i].query = exec.scratch->allocate_array<float>(plan.max_rows * pages.head_dim);
    scratch[i].scores = exec.scratch->allocate_array<float>(kTileRows * kKeyBlock);
    scratch[i].block = exec.scratch->allocate_array<float>(kTileRows * shape.row_floats);
    scratch[i].sums = exec.scratch->allocate_array<float>(plan.max_rows * shape.row_floats);
    scratch[i].state = exec.scratch->allocate_array<RowState>(plan.max_rows);
  }
  exec.pool->parallel_for(plan.count, plan.fork ? 1 : plan.count, [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
    for (int64_t i = begin; i < end; ++i) {
      const AttentionItem& item = plan.items[i];
      ItemRun<E>{call, item, scratch[thread], sequences[item.sequence]}.run();
    }
  });
}

void attend_pages(const Exec& exec, const AttentionSpec& spec, const KvPages& pages, const AttentionSequence* sequences,
                  int64_t count, View q, View out, View lse) {
  if (pages.dtype == DType::kFloat32) {
    attend_all<float>(exec, spec, pages, sequences, count, q, out, lse);
  } else {
    attend_all<BFloat16>(exec, spec, pages, sequences, count, q, out, lse);
  }
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

// One token of one head into a page; paddings that products may read become 0.
template <class E, class T>
void write_token(const PageLayout& layout, const KvPages& pages, E* page, int64_t head, int64_t token, const T* key,
                 const T* value) {
  if constexpr (sizeof(E) == 4) {
    E* to = page + layout.key(head, token, 0);
    for (int64_t d = 0; d < pages.head_dim; ++d) to[d * kPageTokens] = static_cast<float>(key[d]);
    to = page + layout.value(head, token, 0);
    for (int64_t d = 0; d < pages.v_head_dim; ++d) to[d] = static_cast<float>(value[d]);
  } else {
    const auto element = [](T from) {
      if constexpr (sizeof(T) == 2) {
        return from;
      } else {
        return BFloat16(from);
      }
    };
    E* to = page + layout.key(head, token, 0);
    for (int64_t d = 0; d < pages.head_dim; ++d) to[d / 2 * (2 * kPageTokens) + d % 2] = element(key[d]);
    if (pages.head_dim % 2 != 0) to[pages.head_dim / 2 * (2 * kPageTokens) + 1] = BFloat16();
    to = page + layout.value(head, token, 0);
    for (int64_t d = 0; d < pages.v_head_dim; ++d) to[d / 16 * (16 * kPageTokens) + d % 16 * 2] = element(value[d]);
    for (int64_t d = pages.v_head_dim; d < layout.value_dim; ++d) to[d / 16 * (16 * kPageTokens) + d % 16 * 2] = BFloat16();
  }
}

// Calls fn(page element, k element) values for the two dtypes.
template <class Fn>
void with_dtypes(DType page, DType k, Fn&& fn) {
  if (page == DType::kFloat32) {
    if (k == DType::kFloat32) return fn(float(), float());
    return fn(float(), BFloat16());
  }
  if (k == DType::kFloat32) return fn(BFloat16(), float());
  return fn(BFloat16(), BFloat16());
}

// Tokens that a thread should store at least: about 10 us of scattered stores.
int64_t store_grain(const KvPages& pages) {
  return std::max<int64_t>(kPageTokens, 16384 / (pages.num_key_value_heads * (pages.head_dim + pages.v_head_dim)));
}

void cache_write(const Exec& exec, const KvPages& pages, View k, View v, View slots) {
  if (!is_vector_dtype(pages.dtype) || !is_vector_dtype(k.dtype))
    return reference_table().cache_write(exec, pages, k, v, slots);
  const PageLayout layout(pages.head_dim, pages.v_head_dim, pages.dtype);
  with_dtypes(pages.dtype, k.dtype, [&](auto page_zero, auto zero) HWY_ATTR {
    using E = decltype(page_zero);
    using T = decltype(zero);
    exec.pool->parallel_for(k.dims[0], store_grain(pages), [&](int64_t begin, int64_t end, int) HWY_ATTR {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t slot = slots.as<int64_t>()[t];
        if (slot < 0) continue;
        E* page = reinterpret_cast<E*>(pages.page(slot / kPageTokens));
        for (int64_t head = 0; head < pages.num_key_value_heads; ++head) {
          write_token(layout, pages, page, head, slot % kPageTokens, k.as<T>() + t * k.strides[0] + head * k.strides[1],
                      v.as<T>() + t * v.strides[0] + head * v.strides[1]);
        }
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
    using E = decltype(page_zero);
    using T = decltype(zero);
    exec.pool->parallel_for(page_count, store_grain(pages) / kPageTokens, [&](int64_t begin, int64_t end, int) HWY_ATTR {
      for (int64_t p = begin; p < end; ++p) {
        E* to = reinterpret_cast<E*>(pages.page(p));
        // Tokens past a sequence's end are masked, but registers are filled with them: zeros are never slow or noisy.
        if (tokens[p] < kPageTokens) std::fill(to, to + layout.head_elements() * pages.num_key_value_heads, E());
        for (int64_t head = 0; head < pages.num_key_value_heads; ++head) {
          for (int64_t i = 0; i < tokens[p]; ++i) {
            const int64_t t = first_token[p] + i;
            write_token(layout, pages, to, head, i, k.as<T>() + t * k.strides[0] + head * k.strides[1],
                        v.as<T>() + t * v.strides[0] + head * v.strides[1]);
          }
        }
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
