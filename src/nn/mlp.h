// Feed-forward blocks: gated (LLaMA) and plain (GPT-2).
#pragma once

#include <string>

#include "nn/context.h"
#include "nn/linear.h"

namespace pagoda {

class Mlp : public Module {
 public:
  // `in` has two parts (gate, up) for a gated block, one for a plain one.
  Mlp(std::string path, LinearSpec in, LinearSpec out, Activation activation);
  void collect(std::vector<Parameter*>& parameters) override;
  void prepare(Device& device, DType compute) override;
  // [T, hidden_size] -> residual + dropout(mlp(x)). An observer sees what a fused product would hide.
  Tensor forward(const Tensor& x, const Tensor& residual, const ForwardContext& context,
                 const ops::DropoutSite& dropout = {}) const;
  void collect_linears(std::vector<Linear*>& linears) {
    linears.push_back(&in_);
    linears.push_back(&out_);
  }
  int64_t packed_bytes() const { return in_.packed_bytes() + out_.packed_bytes(); }

 private:
  std::string path_;
  Linear in_, out_;
  Activation activation_;
};

}  // namespace pagoda
