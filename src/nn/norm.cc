// Norm modules over ops.
#include "nn/norm.h"

#include "ops/math.h"
#include "ops/norm.h"

namespace pagoda {

Norm::Norm(NormKind kind, const std::string& path, int64_t hidden_size, float eps)
    : kind_(kind),
      eps_(eps),
      weight_{path + ".weight", {hidden_size}, Init::kOnes, {}},
      bias_{path + ".bias", {hidden_size}, Init::kZeros, {}} {}

void Norm::collect(std::vector<Parameter*>& parameters) {
  parameters.push_back(&weight_);
  if (kind_ == NormKind::kLayer) parameters.push_back(&bias_);
}

void Norm::prepare(Device&, DType) {
  weight_.value = ops::cast(weight_.value, DType::kFloat32);
  if (kind_ == NormKind::kLayer) bias_.value = ops::cast(bias_.value, DType::kFloat32);
}

Tensor Norm::forward(const Tensor& x) const {
  return kind_ == NormKind::kRms ? ops::rms_norm(x, weight_.value, eps_) : ops::layer_norm(x, weight_.value, bias_.value, eps_);
}

}  // namespace pagoda
