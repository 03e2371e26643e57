// A low-rank addition to a weight of a product (LoRA, Hu et al. 2021): y = W x + b + scale * B A dropout(x); and outputs of a
// length of their own (DoRA, Liu et al. 2024): y = m (W + scale * B A) x / |W + scale * B A| + b.
#pragma once

#include <array>
#include <functional>
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
  Parameter a, b;       // [r, in_features], [out_features, r]
  Parameter magnitude;  // of DoRA: [out_features]; no value: LoRA
  float scale = 1;
  ops::DropoutSite dropout;
  std::shared_ptr<const LowRankDraws> draws;

  // scale * B A dropout(x) [T, out_features], in `out`. Differentiable in x, A and B. rows: those of the draws that x has,
  // where it has not all of them (a head's).
  Tensor forward(const Tensor& x, DType out, const std::shared_ptr<const ops::DropoutRows>& rows = nullptr) const;
  // The same of DoRA with the base's part: base(x, with_bias) gives W x, with b or without. As peft has it, what is not dropped
  // is the base's own x, and the length |W + scale * B A| counts as constant in the backward pass.
  using Base = std::function<Tensor(const Tensor& x, bool with_bias)>;
  Tensor forward_dora(const Tensor& x, const Parameter& weight, bool transposed, const Tensor& bias, const Base& base,
                      const std::shared_ptr<const ops::DropoutRows>& rows = nullptr) const;

 private:
  Tensor dropped(const Tensor& x, const std::shared_ptr<const ops::DropoutRows>& rows) const;
  Tensor addition(const Tensor& kept, DType out) const;
  const Tensor& lengths(const Parameter& weight, bool transposed) const;
  // The lengths at these versions of weight, A and B.
  mutable Tensor lengths_;
  mutable std::array<uint64_t, 3> versions_{};
};

// W + scale * B A, a new tensor of float32 or, where all are, float64. transposed: W is [in_features, out_features].
Tensor with_low_rank(const Tensor& weight, const Tensor& a, const Tensor& b, float scale, bool transposed);
// Euclidean lengths [out_features] of the weights of each output.
Tensor output_lengths(const Tensor& weight, bool transposed);
// Gives the weights of each output the length that `magnitude` [out_features] says, in place; zeros stay.
void set_output_lengths(const Tensor& weight, const Tensor& magnitude, bool transposed);

}  // namespace pagoda
