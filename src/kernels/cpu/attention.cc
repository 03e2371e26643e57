// Attention over pages for portable, AVX2 and AVX-512 vectors; the dense entry packs its keys and values into pages first.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/fallback.h"
#include "kernels/cpu/fill.h"
#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"
#if defined(__x86_64__)
#include "kernels/cpu/instructions_amx.h"
#include "kernels/cpu/instructions_avx512bf16.h"
#include "kernels/cpu/instructions_standin.h"
#endif
#include "kernels/cpu/page_layout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/attention_item-inl.h"
#include "kernels/cpu/attention_tile-inl.h"
#include "kernels/cpu/page_writer-inl.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

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

// One item with float32 tiles. E: what tiles read; P: what pages hold, E or what is widened to E = float.
template <class E, class P>
struct ItemRun : AttentionItemBase {
  static constexpr bool kWiden = !std::is_same_v<E, P>;

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

  // Tile `tile` over block `block`: into sums, maxima and totals of its rows.
  void attend(int64_t tile, int64_t block, const BlockPages<E>& pages, float* sums, float* maxima, float* totals) const {
    const int rows = static_cast<int>(std::min<int64_t>(kTileRows, item.rows - tile));
    TileRow tile_rows[kTileRows];
    for (int r = 0; r < rows; ++r) tile_rows[r] = tile_row(tile + r, block * kKeyBlock);
    attend_tile<E>(call.spec, tile_rows, rows, block * kKeyBlock, scratch.query + tile * call.pages.head_dim,
                   call.pages.head_dim, pages, slots, scratch.scores, sums, maxima, totals);
  }

  BlockPages<E> find_pages(int64_t block) const {
    BlockPages<E> found = {};
    const VisibleKeys first = visible_keys(call.spec, position(0), sequence.context);
    const VisibleKeys last = visible_keys(call.spec, position(item.rows - 1), sequence.context);
    for (int i = 0; i < kBlockPages; ++i) {
      const int64_t page = block * kBlockPages + i;
      if ((page + 1) * kPageTokens <= first.begin || page * kPageTokens >= last.end) continue;
      const auto* data = reinterpret_cast<const P*>(call.pages.page(sequence.table[page]));
      const auto *keys = data + call.layout.key(item.kv_head, 0, 0), *values = data + call.layout.value(item.kv_head, 0, 0);
      if constexpr (kWiden) {
        const int64_t key_dim = call.pages.head_dim, value_dim = call.pages.v_head_dim;
        float* wide_keys = scratch.wide + i * kPageTokens * key_dim;
        float* wide_values = scratch.wide + kKeyBlock * key_dim + i * kPageTokens * value_dim;
        if constexpr (std::is_same_v<P, int8_t>) {
          const auto* scales = reinterpret_cast<const float*>(data + call.layout.scales(item.kv_head));
          widen_page(keys, values, scales, key_dim, value_dim, wide_keys, wide_values);
        } else {
          widen_page(keys, values, key_dim, value_dim, wide_keys, wide_values);
        }
        found.keys[i] = wide_keys;
        found.values[i] = wide_values;
      } else {
        found.keys[i] = keys;
        found.values[i] = values;
      }
    }
    if constexpr (!kWiden) {
      for (int i = 0; block + 1 < item.last_block && i < kBlockPages; ++i) {
        const int64_t page = (block + 1) * kBlockPages + i;
        if (page * kPageTokens >= last.end) break;
        found.next_keys[i] =
            reinterpret_cast<const E*>(call.pages.page(sequence.table[page])) + call.layout.key(item.kv_head, 0, 0);
      }
    }
    return found;
  }
  void run() const {
    pack_queries();
    if (item.split == nullptr) start();
    for (int64_t block = item.first_block; block < item.last_block; ++block) {
      const BlockPages<E> pages = find_pages(block);
      for (int64_t tile = 0; tile < item.rows; tile += kTileRows) {
        if (item.split != nullptr) {
          const int64_t part = (block - item.split->first_block) * item.rows + tile;
          attend(tile, block, pages, item.split->sums + part * call.row_floats, item.split->maxima + part,
                 item.split->totals + part);
          continue;
        }
        float maxima[kTileRows], totals[kTileRows];
        attend(tile, block, pages, scratch.block, maxima, totals);
        merge(tile, static_cast<int>(std::min<int64_t>(kTileRows, item.rows - tile)), maxima, totals, scratch.block);
      }
    }
    if (item.split == nullptr) return finish();
    end_split(kTileRows);
  }
};

bool is_page_dtype(DType dtype) { return is_vector_dtype(dtype) || dtype == DType::kInt8; }

// Keys and values in pages, by float32 tiles.
void attend_floats(const Exec& exec, const AttentionSpec& spec, const KvPages& pages, const AttentionSequence* sequences,
                   int64_t count, View q, View out, View lse) {
  const bool halves = pages.dtype == DType::kBFloat16, codes = pages.dtype == DType::kInt8;
  const Slots slots(pages.v_head_dim, halves), wide_slots(pages.v_head_dim, false);
  const AttentionCall call = {spec,
                              pages,
                              PageLayout(pages.head_dim, pages.v_head_dim, pages.dtype),
                              sequences,
                              q.dims[1] / pages.num_key_value_heads,
                              slots.floats(),
                              q,
                              out,
                              lse};
  const AttentionShape shape = {call.group, pages.num_key_value_heads, pages.head_dim,           pages.v_head_dim,
                                kTileRows,  call.row_floats,           call.layout.element_bytes};
  const AttentionPlan plan = plan_attention(exec, spec, shape, sequences, count);
  if (plan.count == 0) return;
  const bool widens = codes || (halves && plan.max_rows > (kWidenTiles - 1) * kTileRows);
  const int64_t threads = plan.fork ? exec.pool->num_threads() : 1;
  AttentionScratch* scratch = exec.scratch->allocate_array<AttentionScratch>(threads);
  for (int64_t i = 0; i < threads; ++i) {
    scratch[i] = {};
    scratch[i].scores = exec.scratch->allocate_array<float>(kTileRows * kKeyBlock);
    scratch[i].block = exec.scratch->allocate_array<float>(kTileRows * call.row_floats);
    scratch[i].sums = exec.scratch->allocate_array<float>(plan.max_rows * call.row_floats);
    scratch[i].maxima = exec.scratch->allocate_array<float>(plan.max_rows);
    scratch[i].totals = exec.scratch->allocate_array<float>(plan.max_rows);
    scratch[i].query = exec.scratch->allocate_array<float>(plan.max_rows * pages.head_dim);
    if (widens) scratch[i].wide = exec.scratch->allocate_array<float>(kKeyBlock * (pages.head_dim + pages.v_head_dim));
  }
  exec.pool->parallel_for(plan.count, plan.fork ? 1 : plan.count, [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
    for (int64_t i = begin; i < end; ++i) {
      const AttentionItem& item = plan.items[i];
      const AttentionSequence& sequence = sequences[item.sequence];
      if (codes) {
        ItemRun<float, int8_t>{{call, item, scratch[thread], sequence, wide_slots}}.run();
      } else if (!halves) {
        ItemRun<float, float>{{call, item, scratch[thread], sequence, slots}}.run();
      } else if (item.rows > (kWidenTiles - 1) * kTileRows) {
        ItemRun<float, BFloat16>{{call, item, scratch[thread], sequence, wide_slots}}.run();
      } else {
        ItemRun<BFloat16, BFloat16>{{call, item, scratch[thread], sequence, slots}}.run();
      }
    }
  });
}

using AttendFn = void(const Exec& exec, const AttentionSpec& spec, const KvPages& pages, const AttentionSequence* sequences,
                      int64_t count, View q, View out, View lse);

template <AttendFn* kAttend>
void attention_paged(const Exec& exec, const AttentionSpec& spec, const PagedRows& rows, const KvPages& pages, View q,
                     View out) {
  if (!is_vector_dtype(q.dtype) || !is_vector_dtype(out.dtype) || !is_page_dtype(pages.dtype)) {
    return reference_table().attention_paged(exec, spec, rows, pages, q, out);
  }
  const ArenaScope scope(*exec.scratch);
  AttentionSequence* sequences = exec.scratch->allocate_array<AttentionSequence>(rows.queries.count);
  for (int64_t s = 0; s < rows.queries.count; ++s) {
    const int64_t first = rows.queries.starts[s];
    sequences[s] = {first, rows.queries.starts[s + 1] - first, rows.context_lengths[s],
                    rows.block_tables + s * rows.table_stride};
  }
  kAttend(exec, spec, pages, sequences, rows.queries.count, q, out, View());
}

template <class Writer>
void write_rows(const Exec& exec, const KvPages& pages, const Writer& writer, const View& slots) {
  const int64_t* slot = slots.as<int64_t>();
  // A token touches every line of its page's keys, wherever the last one was: a row of a decode costs as much as nine of a
  // prompt.
  constexpr int64_t kTokensARun = 8;
  const int64_t rows = slots.dims[0];
  int64_t runs = std::min<int64_t>(1, rows);
  for (int64_t i = 1; i < rows; ++i) runs += slot[i] != slot[i - 1] + 1 || slot[i] % kPageTokens == 0 ? 1 : 0;
  int64_t grain = std::max<int64_t>(1, store_grain(pages) * rows / std::max<int64_t>(1, rows + kTokensARun * runs));
  if (grain > kPageTokens) grain = grain / kPageTokens * kPageTokens;
  exec.pool->parallel_for(rows, grain, [&](int64_t begin, int64_t end, int) HWY_ATTR {
    while (begin < end) {
      // Tokens that follow each other in one page are written together.
      int64_t n = 1;
      while (begin + n < end && slot[begin + n] == slot[begin] + n && slot[begin + n] % kPageTokens != 0) ++n;
      if (slot[begin] >= 0) writer.write(slot[begin] / kPageTokens, slot[begin] % kPageTokens, begin, n);
      begin += n;
    }
  });
}

void cache_write(const Exec& exec, const KvPages& pages, View k, View v, View slots) {
  if (!is_page_dtype(pages.dtype) || !is_vector_dtype(k.dtype)) return reference_table().cache_write(exec, pages, k, v, slots);
  if (pages.dtype == DType::kInt8) {
    return with_dtype(k.dtype,
                      [&](auto zero) HWY_ATTR { write_rows(exec, pages, CodeWriter<decltype(zero)>(pages, k, v), slots); });
  }
  with_dtypes(pages.dtype, k.dtype, [&](auto page_zero, auto zero) HWY_ATTR {
    write_rows(exec, pages, PageWriter<decltype(page_zero), decltype(zero)>(pages, k, v), slots);
  });
}

template <AttendFn* kAttend>
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
  kAttend(exec, spec, pages, sequences, rows.count, q, out, lse);
}

}  // namespace

void fill_attention_entries(KernelTable& table) {
  table.attention = {attention<attend_floats>, kTargetIsa};
  table.cache_write = {cache_write, kTargetIsa};
  table.attention_paged = {attention_paged<attend_floats>, kTargetIsa};
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

// The bfloat16 engines: native beside AVX-512 vectors, their stand-ins beside AVX2's.
#if defined(__x86_64__) && HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR_AVX3 ",avx512bf16,amx-tile,amx-bf16")
namespace pagoda {
namespace N_AVX3 {
namespace {
#include "kernels/cpu/attention_engines-inl.h"
#include "kernels/cpu/attention_half-inl.h"
}  // namespace

void fill_attention_dots(KernelTable& table) {
  table.attention = {attention<attend_halves<DotEngine<native::Dot>>>, Isa::kAvx512Bf16};
  table.attention_paged = {attention_paged<attend_halves<DotEngine<native::Dot>>>, Isa::kAvx512Bf16};
}
void fill_attention_tiles(KernelTable& table) {
  table.attention = {attention<attend_halves<TileEngine<native::Tiles>>>, Isa::kAmx};
  table.attention_paged = {attention_paged<attend_halves<TileEngine<native::Tiles>>>, Isa::kAmx};
}

}  // namespace N_AVX3
}  // namespace pagoda
HWY_POP_ATTRIBUTES
#elif defined(__x86_64__) && HWY_TARGET == HWY_AVX2
HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace N_AVX2 {
namespace {
#include "kernels/cpu/attention_engines-inl.h"
#include "kernels/cpu/attention_half-inl.h"
}  // namespace

void fill_attention_dots(KernelTable& table) {
  table.attention = {attention<attend_halves<DotEngine<standin::Dot>>>, Isa::kAvx512Bf16};
  table.attention_paged = {attention_paged<attend_halves<DotEngine<standin::Dot>>>, Isa::kAvx512Bf16};
}
void fill_attention_tiles(KernelTable& table) {
  table.attention = {attention<attend_halves<TileEngine<standin::Tiles>>>, Isa::kAmx};
  table.attention_paged = {attention_paged<attend_halves<TileEngine<standin::Tiles>>>, Isa::kAmx};
}

}  // namespace N_AVX2
}  // namespace pagoda
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_attention)

#if defined(__x86_64__)
void fill_vector_avx512_bf16(KernelTable& table) { N_AVX3::fill_attention_dots(table); }
void fill_vector_amx(KernelTable& table) {
  N_AVX3::fill_attention_tiles(table);
  fill_attention_gradients_amx(table);
}
void fill_vector_avx512_bf16_standin(KernelTable& table) { N_AVX2::fill_attention_dots(table); }
void fill_vector_amx_standin(KernelTable& table) {
  N_AVX2::fill_attention_tiles(table);
  fill_attention_gradients_amx_standin(table);
}
#else
void fill_vector_avx512_bf16(KernelTable&) {}
void fill_vector_amx(KernelTable&) {}
void fill_vector_avx512_bf16_standin(KernelTable&) {}
void fill_vector_amx_standin(KernelTable&) {}
#endif
}  // namespace pagoda
#endif
