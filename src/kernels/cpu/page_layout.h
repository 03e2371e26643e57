// Where an element of a key or value lies inside one layer's part of a page.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/table.h"

namespace pagoda {

// Heads follow each other; within a head all keys come first, then all values.
// float32 (and float64 in the reference): keys [head_dim][16 tokens], so that one register holds a dimension of many tokens;
//   values [16 tokens][v_head_dim].
// bfloat16: keys [head_dim/2][16 tokens][2], pairs along head_dim; values [v_head_dim/16][8 token pairs][16][2], pairs along
//   tokens: both are operands of tile and dot-product instructions as they lie (half tiles for values).
// int8: codes where bfloat16 has elements, then a float32 scale a token for its key, then for its value: [2][16 tokens].
struct PageLayout {
  int64_t key_dim;    // head_dim, padded to even for bfloat16 and int8
  int64_t value_dim;  // v_head_dim, padded to 16 for bfloat16 and int8
  bool pairs;         // bfloat16 and int8
  bool codes;         // int8
  int64_t element_bytes;

  PageLayout(int64_t head_dim, int64_t v_head_dim, DType dtype)
      : pairs(dtype == DType::kBFloat16 || dtype == DType::kInt8),
        codes(dtype == DType::kInt8),
        element_bytes(dtype_size(dtype)) {
    key_dim = pairs ? (head_dim + 1) / 2 * 2 : head_dim;
    value_dim = pairs ? (v_head_dim + 15) / 16 * 16 : v_head_dim;
  }

  int64_t scale_bytes() const { return codes ? 2 * kPageTokens * int64_t{sizeof(float)} : 0; }
  int64_t head_elements() const { return (key_dim + value_dim) * kPageTokens + scale_bytes(); }
  int64_t head_bytes() const { return head_elements() * element_bytes; }
  // Element offsets from the start of the layer's part of the page.
  int64_t key(int64_t head, int64_t token, int64_t d) const {
    const int64_t at = head * head_elements();
    return pairs ? at + ((d / 2) * kPageTokens + token) * 2 + d % 2 : at + d * kPageTokens + token;
  }
  int64_t value(int64_t head, int64_t token, int64_t d) const {
    const int64_t at = head * head_elements() + key_dim * kPageTokens;
    return pairs ? at + (((d / 16) * (kPageTokens / 2) + token / 2) * 16 + d % 16) * 2 + token % 2 : at + token * value_dim + d;
  }
  // int8: the 16 scales of a head's keys, which those of its values follow.
  int64_t scales(int64_t head) const { return head * head_elements() + (key_dim + value_dim) * kPageTokens; }
};

// How the key or value of one token and head becomes int8: code = x * inverse to the nearest (ties to even), x ~ code * scale.
// Rows that are not finite, or too small for a float's inverse, have codes of 0 and a scale of NaN or 0.
struct CodeScale {
  float scale, inverse;
};
inline CodeScale code_scale(uint32_t largest_bits) {  // of the row's largest absolute value
  if (largest_bits >= 0x7F800000u) return {std::numeric_limits<float>::quiet_NaN(), 0.0f};
  float largest;
  std::memcpy(&largest, &largest_bits, sizeof largest);
  if (largest < 1e-30f) return {0.0f, 0.0f};
  return {largest / 127.0f, 127.0f / largest};
}

}  // namespace pagoda
