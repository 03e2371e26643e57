// A weight that still lies in its file's own coding: blocks with scales, packed integers, 8-bit floats.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensor/group_coding.h"
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
  // For matrices whose rows are integers in groups: how. Kernels then compute from these. No coding: only decode() helps.
  virtual GroupCoding groups() const { return {}; }
  // Rows [begin, begin + rows.rows), made for groups(). The same values as decode() gives, but for the rounding of minima.
  virtual void read_groups(int64_t /*begin*/, GroupRows& /*rows*/) const {}
  // Of codes of 8 bits with one scale a row and no minima: whether the checkpoint wants activations made int8 by token.
  virtual bool int8_activations() const { return false; }
  // The transposed matrix where that is how the file has it; null elsewhere.
  virtual std::shared_ptr<const EncodedTensor> transposed() const { return nullptr; }
};

// The whole tensor in float32 or bfloat16 (rounded to nearest even), by all threads of the device.
Tensor decode(Device& device, const EncodedTensor& encoded, const std::vector<int64_t>& shape, DType dtype);

}  // namespace pagoda
