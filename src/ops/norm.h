// RMSNorm and LayerNorm over the rows of a ragged batch.
#pragma once

#include "tensor/tensor.h"

namespace pagoda::ops {

// x [T, H]; weight [H]; y = x / sqrt(mean(x^2) + eps) * weight (Zhang & Sennrich 2019; HF LlamaRMSNorm). Differentiable.
Tensor rms_norm(const Tensor& x, const Tensor& weight, float eps);
// y = (x - mean) / sqrt(var + eps) * weight + bias (bias may be undefined). Differentiable.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps);

}  // namespace pagoda::ops
