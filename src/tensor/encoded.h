// A weight that still lies in its file's own coding: blocks with scales, packed integers, 8-bit floats.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace pagoda {

// Decoded when it is packed, one tensor at a time, so that a model is never in memory twice. Immutable: any thread may decode.
class EncodedTensor {
 public:
  virtual ~EncodedTensor() = default;
  virtual std::string coding() const = 0;  // "Q4_K", "gptq int4": what messages and `pagoda info` say
  // Rows [begin, end) along the first axis as float32, row-major. Never throws: what can be wrong was checked when it was made.
  virtual void decode(int64_t begin, int64_t end, float* out) const = 0;
  virtual bool by_rows() const { return true; }  // false: a few rows cost as much as all of them (a transposed tensor)
};

// The whole tensor in float32 or bfloat16 (rounded to nearest even), by all threads of the device.
Tensor decode(Device& device, const EncodedTensor& encoded, const std::vector<int64_t>& shape, DType dtype);

}  // namespace pagoda
