// y = x w^T + b, on plain weights (differentiable) and on packed ones (inference).
#pragma once

#include "ops/packed_weight.h"
#include "tensor/tensor.h"

namespace pagoda::ops {

// x [T, K], weight [N, K] (transposed: [K, N], HF's Conv1D), bias [N] or undefined; all float32 or all float64. Differentiable.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool transposed = false);

// bfloat16 copies, packed for products, of a float32 weight that trains: as it lies and turned. One of them gives y = x w^T,
// the other dx = dy w. Each is made when first asked for, and again once the weight's version has changed; an optimiser may
// renew those that there are in its own pass.
class WeightCopies {
 public:
  const PackedView& upright(const Tensor& weight, uint64_t version) { return get(upright_, weight, version, false); }
  const PackedView& turned(const Tensor& weight, uint64_t version) { return get(turned_, weight, version, true); }
  // Those that were asked for (no data: not yet), to be written for `version`.
  const PackedView& renew_upright(uint64_t version) { return renew(upright_, version); }
  const PackedView& renew_turned(uint64_t version) { return renew(turned_, version); }

 private:
  struct Copy {
    Tensor bytes;
    PackedView view;
    uint64_t version = ~uint64_t{0};
  };
  static const PackedView& get(Copy& copy, const Tensor& weight, uint64_t version, bool turned);
  static const PackedView& renew(Copy& copy, uint64_t version) {
    copy.version = version;
    return copy.view;
  }
  Copy upright_, turned_;
};

// The same for x bfloat16 and weight, bias float32: products of bfloat16 with float32 sums, y in `out` (bfloat16 or float32),
// gradients of x bfloat16, of weight and bias float32. The weight's gradient is added to the one it has, if any, at once.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool transposed,
              const std::shared_ptr<WeightCopies>& copies, uint64_t version, DType out);

struct LinearOptions {
  Tensor bias;                                // [N] float32 or undefined
  Activation activation = Activation::kNone;  // applied after the bias
  Tensor residual;                            // [T, N] of the result's dtype or undefined; added last
  DType out = DType::kFloat32;
};

// x [T, K] float32 or bfloat16, rows may be strided. No gradient. kUnsupported names format, dtype and device if no kernel
// fits.
Tensor linear(const Tensor& x, const PackedWeight& weight, const LinearOptions& options);

// activation(gate) * up of x's product with a weight that is one part of gates and one of as many ups, in x's dtype: the bits
// of linear and gated_activation, in one pass where a kernel has it. bias [N] or undefined. No gradient.
Tensor gated_linear(const Tensor& x, const PackedWeight& weight, const Tensor& bias, Activation activation);

}  // namespace pagoda::ops
