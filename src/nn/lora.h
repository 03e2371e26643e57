// A low-rank addition to a weight of a product (LoRA, Hu et al. 2021): y = W x + b + scale * B A dropout(x).
#pragma once

#include <memory>

#include "nn/module.h"
#include "ops/dropout.h"
#include "ops/linear.h"

namespace pagoda {

// The dropout draws of the batch at hand, which all low-rank parts of a model share; null rows: nothing is dropped. They stay
// until the next batch, since blocks may be computed again in the backward pass.
struct LowRankDraws {
  std::shared_ptr<const ops::DropoutRows> rows;
};

struct LowRank {
  Parameter a, b;  // [r, in_features], [out_features, r]
  float scale = 1;
  ops::DropoutSite dropout;
  std::shared_ptr<const LowRankDraws> draws;

  // scale * B A dropout(x) [T, out_features], in `out`. Differentiable in x, A and B. rows: those of the draws that x has,
  // where it has not all of them (a head's).
  Tensor forward(const Tensor& x, DType out, const std::shared_ptr<const ops::DropoutRows>& rows = nullptr) const;
};

}  // namespace pagoda
