// y = x w^T + b, on plain weights (differentiable) and on packed ones (inference).
#pragma once

#include "ops/packed_weight.h"
#include "tensor/tensor.h"

namespace pagoda::ops {

// x [T, K], weight [N, K] (transposed: [K, N], HF's Conv1D), bias [N] or undefined; all float32 or all float64. Differentiable.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool transposed = false);

struct LinearOptions {
  Tensor bias;                                // [N] float32 or undefined
  Activation activation = Activation::kNone;  // applied after the bias
  Tensor residual;                            // [T, N] of the result's dtype or undefined; added last
  DType out = DType::kFloat32;
};

// x [T, K] float32 or bfloat16, rows may be strided. No gradient. kUnsupported names format, dtype and device if no kernel
// fits.
Tensor linear(const Tensor& x, const PackedWeight& weight, const LinearOptions& options);

}  // namespace pagoda::ops
