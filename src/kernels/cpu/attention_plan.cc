// Cuts attention into items of like cost.
#include "kernels/cpu/attention_plan.h"

#include <algorithm>
#include <new>

namespace pagoda {

namespace {

constexpr int64_t kMaxItemTiles = 16;      // rows of an item times head_dim stay in the second cache beside a key block
constexpr double kForkNanoseconds = 10e3;  // cheaper work is done by the caller
constexpr double kPieceNanoseconds = 4e3;  // key blocks are not cut finer
constexpr int64_t kItemsPerThread = 4;

// A rough price, for cutting only.
double nanoseconds(const AttentionShape& shape, int64_t rows, int64_t blocks) {
  const double elements = static_cast<double>(blocks * kKeyBlock * (shape.head_dim + shape.v_head_dim));
  return elements * std::max(static_cast<double>(rows) / 20, static_cast<double>(shape.element_bytes) / 16);
}

struct Blocks {
  int64_t first, last;
};

}  // namespace

AttentionPlan plan_attention(const Exec& exec, const AttentionSpec& spec, const AttentionShape& shape,
                             const AttentionSequence* sequences, int64_t count) {
  AttentionPlan plan;
  const int64_t threads = exec.pool->num_threads();
  const auto blocks_of = [&](const AttentionSequence& s, int64_t first_row, int64_t rows) -> Blocks {
    const int64_t start = s.context - s.queries;
    const int64_t begin = visible_keys(spec, start + first_row / shape.group, s.context).begin;
    const int64_t end = visible_keys(spec, start + (first_row + rows - 1) / shape.group, s.context).end;
    return {begin / kKeyBlock, (end + kKeyBlock - 1) / kKeyBlock};
  };
  const auto count_items = [&](int64_t item_rows) {
    int64_t items = 0;
    for (int64_t s = 0; s < count; ++s) {
      items += (sequences[s].queries * shape.group + item_rows - 1) / item_rows * shape.kv_heads;
    }
    return items;
  };
  int64_t item_rows = kMaxItemTiles * shape.tile_rows;
  int64_t units = count_items(item_rows);
  if (threads > 1) {
    while (units < kItemsPerThread * threads && item_rows > 2 * shape.tile_rows) {
      item_rows = item_rows / 2;
      units = count_items(item_rows);
    }
  }
  // Later rows of a causal sequence cost more: they come first, so that the last items are small.
  const auto each_unit = [&](auto&& fn) {
    for (int64_t s = 0; s < count; ++s) {
      const int64_t rows = sequences[s].queries * shape.group;
      for (int64_t first = (rows - 1) / item_rows * item_rows; rows > 0 && first >= 0; first -= item_rows) {
        const int64_t n = std::min(item_rows, rows - first);
        const Blocks blocks = blocks_of(sequences[s], first, n);
        for (int64_t head = 0; head < shape.kv_heads; ++head) fn(s, head, first, n, blocks);
      }
    }
  };
  double total = 0;
  each_unit([&](int64_t, int64_t, int64_t, int64_t n, Blocks b) { total += nanoseconds(shape, n, b.last - b.first); });
  plan.fork = threads > 1 && total > kForkNanoseconds;
  const bool splits = plan.fork && units < kItemsPerThread * threads;
  const double target = std::max(kPieceNanoseconds, total / static_cast<double>(kItemsPerThread * threads));
  const auto pieces_of = [&](int64_t n, Blocks b) -> int64_t {
    if (!splits || n > 4 * shape.tile_rows) return 1;
    const int64_t wanted = static_cast<int64_t>(nanoseconds(shape, n, b.last - b.first) / target + 0.5);
    return std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, b.last - b.first));
  };
  each_unit([&](int64_t, int64_t, int64_t, int64_t n, Blocks b) {
    plan.count += pieces_of(n, b);
    plan.max_rows = std::max(plan.max_rows, n);
  });
  AttentionItem* items = exec.scratch->allocate_array<AttentionItem>(plan.count);
  AttentionItem* next = items;
  each_unit([&](int64_t s, int64_t head, int64_t first, int64_t n, Blocks b) {
    const int64_t pieces = pieces_of(n, b), blocks = b.last - b.first;
    AttentionSplit* split = nullptr;
    if (pieces > 1) {
      split = new (exec.scratch->allocate(sizeof(AttentionSplit))) AttentionSplit;
      split->left.store(static_cast<int32_t>(pieces), std::memory_order_relaxed);
      split->first_block = b.first;
      split->blocks = blocks;
      split->maxima = exec.scratch->allocate_array<float>(blocks * n);
      split->totals = exec.scratch->allocate_array<float>(blocks * n);
      split->sums = exec.scratch->allocate_array<float>(blocks * n * shape.row_floats);
    }
    for (int64_t piece = 0; piece < pieces; ++piece) {
      *next++ = {static_cast<int32_t>(s),
                 static_cast<int32_t>(head),
                 first,
                 n,
                 b.first + blocks * piece / pieces,
                 b.first + blocks * (piece + 1) / pieces,
                 split};
    }
  });
  plan.items = items;
  return plan;
}

}  // namespace pagoda
