// Self-attention: projections, heads, positions, and the one branch between dense and paged.
#pragma once

#include <string>

#include "nn/context.h"
#include "nn/linear.h"
#include "nn/rotary.h"

namespace pagoda {

// How q, k and v lie in the projection's output.
enum class QkvLayout : uint8_t {
  kSeparate,      // three parameters (LLaMA)
  kFused,         // one parameter: all of q, then k, then v (GPT-2, multi-query BigCode)
  kFusedPerHead,  // one parameter: q, k, v of head 0, then of head 1 ... (multi-head BigCode)
};

struct AttentionConfig {
  int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  QkvLayout qkv_layout = QkvLayout::kSeparate;
  AttentionSpec spec;
  RotaryStyle rotary_style = RotaryStyle::kHalf;
};

class Attention : public Module {
 public:
  Attention(int layer, std::string path, const AttentionConfig& config, LinearSpec qkv, LinearSpec out);
  void collect(std::vector<Parameter*>& parameters) override;
  void prepare(Device& device, DType compute) override;
  // x [T, hidden_size] -> residual + dropout(attention(x)), the weights of attention themselves being dropped by
  // probs_dropout. turns: null where positions are not rotary.
  Tensor forward(const Tensor& x, const Tensor& residual, const Rotary::Turns* turns, const ForwardContext& context,
                 const ops::DropoutSite& dropout = {}, const ops::DropoutSite& probs_dropout = {}) const;
  const AttentionConfig& config() const { return config_; }
  void collect_linears(std::vector<Linear*>& linears) {
    linears.push_back(&qkv_);
    linears.push_back(&out_);
  }
  int64_t packed_bytes() const { return qkv_.packed_bytes() + out_.packed_bytes(); }

 private:
  int layer_;
  std::string path_;
  AttentionConfig config_;
  Linear qkv_, out_;
};

}  // namespace pagoda
