// What one item of attention's work starts from and ends with, whatever computes its tiles. Included once a target.

#if defined(PAGODA_KERNELS_CPU_ATTENTION_ITEM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_KERNELS_CPU_ATTENTION_ITEM_INL_H_
#undef PAGODA_KERNELS_CPU_ATTENTION_ITEM_INL_H_
#else
#define PAGODA_KERNELS_CPU_ATTENTION_ITEM_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/attention_tile-inl.h"
#include "kernels/cpu/page_layout.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

// What all items of a call share.
struct AttentionCall {
  const AttentionSpec& spec;
  const KvPages& pages;
  PageLayout layout;
  const AttentionSequence* sequences;
  int64_t group, row_floats;
  View q, out, lse;
};

// Memory of one thread.
struct AttentionScratch {
  float* scores;  // [rows of a tile][kKeyBlock]
  float* block;   // [rows of a tile][row floats]
  float* sums;    // [item rows][row floats]
  float* maxima;  // [item rows]
  float* totals;  // [item rows]
  // float32 tiles: queries in tiles of [head_dim][rows of the tile]; a key block as float32, where items widen.
  float *query, *wide;
  // bfloat16 tiles.
  BFloat16 *half_query, *weights, *keys, *values, *row_values, *key_tails;
  float* row_sums;
  VisibleKeys* visible;  // [item rows]
};

struct AttentionItemBase {
  const AttentionCall& call;
  const AttentionItem& item;
  const AttentionScratch& scratch;
  const AttentionSequence& sequence;
  Slots slots;

  int64_t query(int64_t row) const { return (item.first_row + row) / call.group; }
  int64_t head(int64_t row) const { return item.kv_head * call.group + (item.first_row + row) % call.group; }
  int64_t position(int64_t row) const { return sequence.context - sequence.queries + query(row); }

  TileRow tile_row(int64_t row, int64_t block_start) const {
    const int64_t at = position(row);
    const VisibleKeys keys = visible_keys(call.spec, at, sequence.context);
    return {std::clamp<int64_t>(keys.begin - block_start, 0, kKeyBlock),
            std::clamp<int64_t>(keys.end - block_start, 0, kKeyBlock), at,
            call.spec.bias == AttentionSpec::Bias::kAlibi ? call.spec.alibi_slopes[head(row)] : 0.0f};
  }

  void start() const {
    for (int64_t row = 0; row < item.rows; ++row) {
      scratch.maxima[row] = call.spec.sinks != nullptr ? call.spec.sinks[head(row)] : kMinusInfinity;
      scratch.totals[row] = call.spec.sinks != nullptr ? 1.0f : 0.0f;
    }
    std::fill(scratch.sums, scratch.sums + item.rows * call.row_floats, 0.0f);
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
      const float* sums = scratch.sums + row * call.row_floats;
      const float total = scratch.totals[row];
      if (call.out.dtype == DType::kFloat32) {
        write(sums, total, call.out.as<float>() + at);
      } else {
        write(sums, total, call.out.as<BFloat16>() + at);
      }
      if (call.lse) call.lse.as<float>()[t * call.lse.strides[0] + head(row)] = scratch.maxima[row] + std::log(total);
    }
  }

  // Tile `tile` of a block into the item's running softmax.
  void merge(int64_t tile, int rows, const float* maxima, const float* totals, const float* sums) const {
    for (int r = 0; r < rows; r += kMergeRows) {
      merge_tile(std::min(rows - r, kMergeRows), scratch.maxima + tile + r, scratch.totals + tile + r,
                 scratch.sums + (tile + r) * call.row_floats, maxima + r, totals + r, sums + r * call.row_floats,
                 call.row_floats);
    }
  }

  // Counts this item's share of split rows as done; whoever ends last merges all blocks' parts in order.
  void end_split(int64_t tile_rows) const {
    AttentionSplit& split = *item.split;
    if (split.left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    start();
    for (int64_t block = 0; block < split.blocks; ++block) {
      for (int64_t tile = 0; tile < item.rows; tile += tile_rows) {
        const int64_t part = block * item.rows + tile;
        merge(tile, static_cast<int>(std::min(tile_rows, item.rows - tile)), split.maxima + part, split.totals + part,
              split.sums + part * call.row_floats);
      }
    }
    finish();
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // PAGODA_KERNELS_CPU_ATTENTION_ITEM_INL_H_
