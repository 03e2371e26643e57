// Feed-forward blocks: gated (LLaMA) and plain (GPT-2).
#pragma once

#include "nn/linear.h"

namespace pagoda {

class Mlp : public Module {
 public:
  // `in` has two parts (gate, up) for a gated block, one for a plain one.
  Mlp(LinearSpec in, LinearSpec out, Activation activation);
  void collect(std::vector<Parameter*>& parameters) override;
  void prepare(Device& device, DType compute) override;
  Tensor forward(const Tensor& x, const Tensor& residual) const;  // [T, hidden_size] -> residual + mlp(x)

 private:
  Linear in_, out_;
  Activation activation_;
};

}  // namespace pagoda
