// Dropout whose draws are a function of seed, row number, site and column alone.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace pagoda::ops {

// What the draws of a batch depend on. Rows bear numbers of their own (the example's place in the whole run, the row's in the
// example), so that neither threads nor the size of a batch, accumulation or ranks change what is dropped.
struct DropoutRows {
  uint64_t seed = 0;
  std::vector<uint64_t> numbers;  // [T]
};

// Those of some rows of the batch; null of null.
std::shared_ptr<const DropoutRows> pick_dropout_rows(const std::shared_ptr<const DropoutRows>& rows,
                                                     const std::vector<int32_t>& chosen);

// One dropout of a model: its probability, and the number that tells it from the model's others.
struct DropoutSite {
  float p = 0;
  uint32_t site = 0;
};

// x [T, H], each element zero with probability `p` and else divided by 1 - p (torch.nn.functional.dropout). `site` tells the
// places of a model apart. Null rows or p = 0: x itself. Differentiable.
Tensor dropout(const Tensor& x, float p, const std::shared_ptr<const DropoutRows>& rows, uint32_t site);

}  // namespace pagoda::ops
