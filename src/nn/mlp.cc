// Feed-forward blocks over ops.
#include "nn/mlp.h"

#include "ops/math.h"

namespace pagoda {

Mlp::Mlp(std::string path, LinearSpec in, LinearSpec out, Activation activation)
    : path_(std::move(path)), in_(std::move(in)), out_(std::move(out)), activation_(activation) {}

void Mlp::collect(std::vector<Parameter*>& parameters) {
  in_.collect(parameters);
  out_.collect(parameters);
}

void Mlp::prepare(Device& device, DType compute) {
  in_.prepare(device, compute);
  out_.prepare(device, compute);
}

Tensor Mlp::forward(const Tensor& x, const Tensor& residual, const ForwardContext& context,
                    const ops::DropoutSite& dropout) const {
  Observer* observer = context.observer;
  Tensor activated;
  if (in_.num_parts() > 1 && observer == nullptr && in_.packed()) {
    activated = in_.forward_gated(x, activation_);
  } else if (in_.num_parts() > 1) {
    const std::vector<Tensor> parts = in_.forward_parts(x);
    activated = ops::gated_activation(parts[0], parts[1], activation_);
  } else if (observer == nullptr) {
    activated = in_.forward(x, activation_);
  } else {
    const Tensor plain = in_.forward(x);
    observer->observe(path_ + ".in", plain);
    activated = ops::activation(plain, activation_);
  }
  if (observer != nullptr) observer->observe(path_ + ".activated", activated);
  return out_.forward_dropped(activated, residual, context.layout->dropout, dropout);
}

}  // namespace pagoda
