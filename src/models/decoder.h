// The one decoder skeleton: embeddings, pre-norm blocks of attention and MLP, final norm, head. Families fill its config.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "nn/attention.h"
#include "nn/embedding.h"
#include "nn/mlp.h"
#include "nn/norm.h"

namespace pagoda {

// State-dict paths of the parts; in `layers` the layer's number follows.
struct DecoderNames {
  std::string base;       // prefix that HF may leave out: "model."
  std::string embed;      // under base: "embed_tokens"
  std::string positions;  // learned: "wpe"
  std::string layers;     // "layers"
  std::string attention_norm, mlp_norm, final_norm;
  std::vector<std::string> qkv;  // one or three, under the layer
  std::string attention_out;
  std::vector<std::string> mlp_in;  // one (plain) or two (gate, up)
  std::string mlp_out;
  std::string attention;  // path of the module, for observers
};

enum class Bias : uint8_t { kNone, kAll };

struct DecoderConfig {
  DecoderNames names;
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  NormKind norm = NormKind::kRms;
  float norm_eps = 1e-5f;
  Activation activation = Activation::kSilu;
  QkvLayout qkv_layout = QkvLayout::kSeparate;
  std::optional<RotaryConfig> rotary;   // empty: learned positions
  int64_t max_position_embeddings = 0;  // rows of the learned table, or what rotary was made for
  int64_t max_positions = 0;            // the context that the model may be used with
  Bias qkv_bias = Bias::kNone, attention_out_bias = Bias::kNone, mlp_bias = Bias::kNone;
  bool transposed_linear = false;  // Conv1D
  bool tie_word_embeddings = false;
  bool may_lack_head = false;           // HF's class without one (LlamaModel): a checkpoint of it need not have lm_head
  std::vector<int64_t> windows;         // a layer each; 0: none
  std::vector<float> attention_scales;  // a layer each
  double initializer_range = 0.02;
  Dropouts dropouts;
};

// The name of a head that has a weight of its own.
constexpr const char* kHeadWeight = "lm_head.weight";

class DecoderModel : public Model {
 public:
  explicit DecoderModel(DecoderConfig config);
  Outputs forward(const Inputs& inputs, const ForwardContext& context) const override;
  // The parts of forward(), for calibration block by block: rows [T, hidden_size] as they enter the first block, and as a block
  // leaves them.
  Tensor embed(const Inputs& inputs, const Layout& layout) const;
  Tensor run_block(int layer, const Tensor& x, const ForwardContext& context) const;
  // Outputs::logits of rows of Outputs::hidden: for who wants more rows than should exist at once. rows: as Linear::forward
  // has.
  Tensor logits(const Tensor& hidden, const std::shared_ptr<const ops::DropoutRows>& rows = nullptr) const;
  std::vector<LayerStateSpec> layer_states() const override;
  int64_t vocab_size() const override { return config_.vocab_size; }
  int64_t hidden_size() const override { return config_.hidden_size; }
  int64_t max_positions() const override { return config_.max_positions; }
  bool positions_are_learned() const override { return !config_.rotary.has_value(); }
  double initializer_range() const override { return config_.initializer_range; }
  int64_t num_layers() const override { return config_.num_hidden_layers; }
  const Dropouts& dropouts() const override { return config_.dropouts; }
  void set_dropouts(const Dropouts& dropouts) override { config_.dropouts = dropouts; }
  void collect(std::vector<Parameter*>& parameters) override;
  // 0: a checkpoint without a head, which gives hidden states alone.
  int64_t num_logits() const override { return has_head_ ? config_.vocab_size : 0; }
  std::vector<Linear*> linears();  // of the blocks, and an untied head
  std::vector<Embedding*> embeddings();
  void prepare(Device& device, DType compute) override;
  const DecoderConfig& config() const { return config_; }
  // Bytes of packed weights that a step reads: of all blocks, and of the head. 0 until prepared for inference.
  int64_t block_bytes() const;
  int64_t head_bytes() const { return head_ ? head_->packed_bytes() : 0; }

 private:
  struct Block {
    std::string path;
    Norm attention_norm, mlp_norm;
    Attention attention;
    Mlp mlp;
  };
  std::string base_prefix() const override { return config_.names.base; }
  void adapt(const WeightSource& weights, bool draws_missing) override;
  std::vector<std::string> stored_names(const std::string& name) const override;
  void make_head();
  Block make_block(int layer) const;
  Rotary::Turns turns(Device& device, const Layout& layout) const;  // none where positions are learned
  Tensor run(int layer, const Tensor& x, const Rotary::Turns& turns, const ForwardContext& context) const;
  DecoderConfig config_;
  Embedding embed_;
  std::optional<Embedding> positions_;
  std::optional<Rotary> rotary_;
  std::vector<Block> blocks_;
  Norm final_norm_;
  std::optional<Linear> head_;  // untied, or sharing the packed table
  bool has_head_ = true;
};

}  // namespace pagoda
