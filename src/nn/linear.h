// Linear: one or more named parameters joined along their outputs; plain in training, packed in inference.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/module.h"
#include "ops/dropout.h"
#include "ops/linear.h"

namespace pagoda {

struct LinearSpec {
  struct Part {
    std::string path;  // module path; ".weight" and ".bias" are added
    int64_t out_features;
  };
  int64_t in_features = 0;
  std::vector<Part> parts;
  bool bias = false;
  bool transposed = false;  // the state dict holds [in, out] (HF's Conv1D of GPT-2)
  Init init = Init::kNormal;
};

struct LowRank;  // nn/lora.h

class Linear : public Module {
 public:
  explicit Linear(LinearSpec spec);
  void collect(std::vector<Parameter*>& parameters) override;
  void prepare(Device& device, DType compute) override;

  int64_t out_features() const { return out_features_; }
  size_t num_parts() const { return spec_.parts.size(); }
  bool transposed() const { return spec_.transposed; }
  // Of one part, in training. Low-rank additions (LoRA) count among the module's parameters from then on.
  Parameter& weight(size_t part) { return weights_[part]; }
  void set_low_rank(size_t part, std::shared_ptr<LowRank> added) { low_rank_[part] = std::move(added); }

  // x [T, in] -> [T, out] of all parts joined: activation(x w^T + b) + residual (undefined: none). rows: those of the batch
  // that x has, for the dropout of low-rank additions; null: x has all of them.
  Tensor forward(const Tensor& x, Activation activation = Activation::kNone, const Tensor& residual = {},
                 const std::shared_ptr<const ops::DropoutRows>& rows = nullptr) const;
  // dropout(x w^T + b) + residual.
  Tensor forward_dropped(const Tensor& x, const Tensor& residual, const std::shared_ptr<const ops::DropoutRows>& rows,
                         const ops::DropoutSite& dropout) const;
  // forward(x), one result a part: views of one product when packed, products of their own when not.
  std::vector<Tensor> forward_parts(const Tensor& x) const;
  // activation(gate) * up of the two parts' results, where weights are packed: the bits of forward_parts and gated_activation.
  Tensor forward_gated(const Tensor& x, Activation activation) const {
    return ops::gated_linear(x, *packed_, packed_bias_, activation);
  }
  // float32 results whatever x is (logits).
  Tensor forward_float32(const Tensor& x, const std::shared_ptr<const ops::DropoutRows>& rows = nullptr) const;
  const std::shared_ptr<PackedWeight>& packed() const { return packed_; }
  int64_t packed_bytes() const { return packed_ ? packed_->bytes() : 0; }  // what a product reads
  // Shares the packed weight of another (tied embeddings).
  void share(std::shared_ptr<PackedWeight> packed) { packed_ = std::move(packed); }

 private:
  Tensor packed_forward(const Tensor& x, Activation activation, const Tensor& residual, DType out) const;
  LinearSpec spec_;
  int64_t out_features_ = 0;
  Tensor plain_forward(size_t part, const Tensor& x, DType out,
                       const std::shared_ptr<const ops::DropoutRows>& rows = nullptr) const;
  std::vector<Parameter> weights_, biases_;
  std::vector<std::shared_ptr<LowRank>> low_rank_;  // one a weight; null: none
  std::shared_ptr<PackedWeight> packed_;
  Tensor packed_bias_;  // [out] float32
};

}  // namespace pagoda
