// How attention's work is cut into items: by sequence, key-value head, query rows and, for long contexts, key blocks.
#pragma once

#include <atomic>
#include <cstdint>

#include "kernels/table.h"
#include "tensor/device.h"

namespace pagoda {

// One sequence of a call: its query rows are the last `queries` of `context` positions; its keys lie in `table`'s pages.
struct AttentionSequence {
  int64_t first_row, queries, context;
  const int32_t* table;
};

// The visible keys [begin, end) of the query at `position`.
struct VisibleKeys {
  int64_t begin, end;
};
inline VisibleKeys visible_keys(const AttentionSpec& spec, int64_t position, int64_t context) {
  return {spec.window > 0 && position >= spec.window ? position - spec.window + 1 : 0,
          spec.mask == AttentionSpec::Mask::kCausal ? position + 1 : context};
}

// Query rows of one key-value head that several items share, each with some key blocks: parts[block][row] are kept and the
// item that ends last merges them in order of blocks.
struct AttentionSplit {
  std::atomic<int32_t> left;  // items not yet done
  int64_t first_block, blocks;
  float* maxima;  // [blocks][rows]
  float* totals;  // [blocks][rows]
  float* sums;    // [blocks][rows][row_floats]
};

// Rows are numbered within (sequence, key-value head): query r / group, head r % group.
struct AttentionItem {
  int32_t sequence, kv_head;
  int64_t first_row, rows;
  int64_t first_block, last_block;  // key blocks
  AttentionSplit* split;            // null: the item has all blocks of its rows
};

struct AttentionPlan {
  const AttentionItem* items = nullptr;
  int64_t count = 0;
  int64_t max_rows = 0;  // of an item
  bool fork = false;     // worth a parallel region
};

struct AttentionShape {
  int64_t group, kv_heads, head_dim, v_head_dim;
  int64_t tile_rows;   // rows that a tile computes together
  int64_t row_floats;  // of a row's sums
  int64_t element_bytes;
};

// Everything is allocated from exec.scratch. The plan changes which thread computes what, never a result.
AttentionPlan plan_attention(const Exec& exec, const AttentionSpec& spec, const AttentionShape& shape,
                             const AttentionSequence* sequences, int64_t count);

}  // namespace pagoda
