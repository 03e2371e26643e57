// Norm modules: RMSNorm and LayerNorm.
#pragma once

#include <string>

#include "nn/module.h"

namespace pagoda {

enum class NormKind : uint8_t { kRms, kLayer };

class Norm : public Module {
 public:
  Norm(NormKind kind, const std::string& path, int64_t hidden_size, float eps);
  void collect(std::vector<Parameter*>& parameters) override;
  void prepare(Device& device, DType compute) override;
  Tensor forward(const Tensor& x) const;  // [T, hidden_size]

 private:
  NormKind kind_;
  float eps_;
  Parameter weight_, bias_;
};

}  // namespace pagoda
