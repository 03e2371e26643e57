// y = x w^T + b, on plain weights (differentiable) and on packed ones (inference).
#pragma once

#include "ops/packed_weight.h"
#include "tensor/tensor.h"

namespace pagoda::ops {

// x [T, K], weight [N, K] (transposed: [K, N], HF's Conv1D), bias [N] or undefined; all float32 or all float64. Differentiable.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool transposed = false);

// bfloat16 copies, packed for products, of a float32 weight that trains: w for y = x w^T, and w turned for dx = dy w. Each is
// made when first asked for, and again once the weight's version has changed.
class WeightCopies {
 public:
  void renew(uint64_t version);
  // Of weight [N, K] (transposed: [K, N]).
  const PackedView& forward(const Tensor& weight, bool transposed) { return get(copies_[0], weight, transposed); }
  const PackedView& backward(const Tensor& weight, bool transposed) { return get(copies_[1], weight, !transposed); }

 private:
  struct Copy {
    Tensor bytes;
    PackedView view;
    bool valid = false;
  };
  static const PackedView& get(Copy& copy, const Tensor& weight, bool turned);
  Copy copies_[2];
  uint64_t version_ = 0;
};

// The same for x bfloat16 and weight, bias float32: products of bfloat16 with float32 sums, y in `out` (bfloat16 or float32),
// gradients of x bfloat16, of weight and bias float32. The weight's gradient is added to the one it has, if any, at once.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool transposed,
              const std::shared_ptr<WeightCopies>& copies, DType out);

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
