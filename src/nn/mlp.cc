// Feed-forward blocks over ops.
#include "nn/mlp.h"

#include "ops/math.h"

namespace pagoda {

Mlp::Mlp(LinearSpec in, LinearSpec out, Activation activation)
    : in_(std::move(in)), out_(std::move(out)), activation_(activation) {}

void Mlp::collect(std::vector<Parameter*>& parameters) {
  in_.collect(parameters);
  out_.collect(parameters);
}

void Mlp::prepare(Device& device, DType compute) {
  in_.prepare(device, compute);
  out_.prepare(device, compute);
}

Tensor Mlp::forward(const Tensor& x, const Tensor& residual) const {
  if (in_.num_parts() == 1) return out_.forward(in_.forward(x, activation_), Activation::kNone, residual);
  const std::vector<Tensor> parts = in_.forward_parts(x);
  return out_.forward(ops::gated_activation(parts[0], parts[1], activation_), Activation::kNone, residual);
}

}  // namespace pagoda
