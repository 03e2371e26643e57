// The blocks of ggml's tensor types: sizes, names, and decoding to float32, exactly as gguf-py's quants.py has it.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/group_coding.h"

namespace pagoda {

// Where the codes and scales of a row go (tensor/group_coding.h).
struct GroupRow {
  int8_t* codes;
  float *scales, *minima;
  int8_t* small_scales;
  uint8_t* small_minima;
};

// One type: `block` elements of a row lie in `bytes` bytes.
struct GgufType {
  uint32_t number;  // ggml's
  const char* name;
  int64_t block, bytes;
  void (*decode)(const uint8_t* blocks, int64_t count, float* out);  // `count` blocks into count * block values
  GroupCoding groups = {};                                           // of integers in groups
  void (*read_groups)(const uint8_t* blocks, int64_t count, GroupRow row) = nullptr;
};

// F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K; null for another.
const GgufType* find_gguf_type(uint32_t number);
// "Q4_K", also of types that cannot be decoded ("IQ4_XS"); "type 77" of an unknown one.
std::string gguf_type_name(uint32_t number);
std::string known_gguf_types();  // "F32, F16, ..."

}  // namespace pagoda
