// Where an element of a key or value lies inside one layer's part of a page.
#pragma once

#include <cstdint>

#include "kernels/table.h"

namespace pagoda {

// Heads follow each other; within a head all keys come first, then all values.
// float32 (and float64 in the reference): keys [head_dim][16 tokens], so that one register holds a dimension of many tokens;
//   values [16 tokens][v_head_dim].
// bfloat16: keys [head_dim/2][16 tokens][2], pairs along head_dim; values [v_head_dim/16][8 token pairs][16][2], pairs along
//   tokens: both are operands of tile and dot-product instructions as they lie (half tiles for values).
struct PageLayout {
  int64_t key_dim;    // head_dim, padded to even for bfloat16
  int64_t value_dim;  // v_head_dim, padded to 16 for bfloat16
  bool pairs;         // bfloat16
  int64_t element_bytes;

  PageLayout(int64_t head_dim, int64_t v_head_dim, DType dtype)
      : key_dim(dtype == DType::kBFloat16 ? (head_dim + 1) / 2 * 2 : head_dim),
        value_dim(dtype == DType::kBFloat16 ? (v_head_dim + 15) / 16 * 16 : v_head_dim),
        pairs(dtype == DType::kBFloat16),
        element_bytes(dtype_size(dtype)) {}

  int64_t head_elements() const { return (key_dim + value_dim) * kPageTokens; }
  // Element offsets from the start of the layer's part of the page.
  int64_t key(int64_t head, int64_t token, int64_t d) const {
    const int64_t at = head * head_elements();
    return pairs ? at + ((d / 2) * kPageTokens + token) * 2 + d % 2 : at + d * kPageTokens + token;
  }
  int64_t value(int64_t head, int64_t token, int64_t d) const {
    const int64_t at = head * head_elements() + key_dim * kPageTokens;
    return pairs ? at + (((d / 16) * (kPageTokens / 2) + token / 2) * 16 + d % 16) * 2 + token % 2 : at + token * value_dim + d;
  }
};

}  // namespace pagoda
