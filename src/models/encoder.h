// The encoder skeleton: embeddings, post-norm blocks of full attention and MLP, and a head. Families fill its config.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/config_reader.h"
#include "models/model.h"
#include "nn/attention.h"
#include "nn/embedding.h"
#include "nn/mlp.h"
#include "nn/norm.h"

namespace pagoda {

// State-dict paths of the parts: under `base` unless said otherwise.
struct EncoderNames {
  std::string base;  // prefix that a folder may lack: "bert."
  std::string words = "embeddings.word_embeddings", positions = "embeddings.position_embeddings";
  std::string types = "embeddings.token_type_embeddings";
  std::string embedding_norm = "embeddings.LayerNorm";
  std::string mapping;              // from embedding_size to hidden_size; empty: none
  std::vector<std::string> blocks;  // each path once, in the order of the state dict
  // Under a block.
  std::string query, key, value, attention_out, attention_norm, mlp_in, mlp_out, mlp_norm;
  std::string attention;  // path of the module, for observers
  std::string pooler;     // of the first row, with tanh; empty: the family has none
  // Heads, outside base.
  std::string lm_dense, lm_norm, lm_decoder, lm_bias;  // lm_bias: of a tied decoder
  std::string class_dense;                             // before the sequence's classifier; empty: the pooler is
};

struct EncoderConfig {
  EncoderNames names;
  Head head = Head::kNone;
  int64_t vocab_size = 0, embedding_size = 0, hidden_size = 0, intermediate_size = 0, num_attention_heads = 0;
  int64_t max_position_embeddings = 0;  // rows of the table
  int64_t type_vocab_size = 0;          // 0: no types
  std::vector<int> layers;              // the block that each layer runs: shared where one comes twice
  float norm_eps = 1e-12f;
  Activation activation = Activation::kGelu, lm_activation = Activation::kGelu, class_activation = Activation::kTanh;
  // RoBERTa: rows of this id stand at position padding_idx, the others count from padding_idx + 1.
  std::optional<int32_t> padding_idx;
  bool tie_word_embeddings = true;
  int64_t num_labels = 2;
  double initializer_range = 0.02;
  Dropouts dropouts;
};

// Sequences are whole: a row's position follows from the ids alone, whatever the layout says. wanted_rows choose the rows of
// token classification, question answering and masked LM; sequence classification gives one row a sequence.
class EncoderModel : public Model {
 public:
  explicit EncoderModel(EncoderConfig config);
  Outputs forward(const Inputs& inputs, const ForwardContext& context) const override;
  std::vector<LayerStateSpec> layer_states() const override { return {}; }
  int64_t vocab_size() const override { return config_.vocab_size; }
  int64_t hidden_size() const override { return config_.hidden_size; }
  int64_t max_positions() const override;
  bool positions_are_learned() const override { return true; }
  double initializer_range() const override { return config_.initializer_range; }
  int64_t num_layers() const override { return static_cast<int64_t>(config_.layers.size()); }
  Head head_kind() const override { return config_.head; }
  int64_t num_logits() const override;
  const Dropouts& dropouts() const override { return config_.dropouts; }
  void set_dropouts(const Dropouts& dropouts) override { config_.dropouts = dropouts; }
  void collect(std::vector<Parameter*>& parameters) override;
  std::vector<Linear*> linears();  // of the blocks, and of the head
  std::vector<Embedding*> embeddings();
  void prepare(Device& device, DType compute) override;
  const EncoderConfig& config() const { return config_; }

 private:
  struct Block {
    std::string path;
    Attention attention;
    Norm attention_norm;
    Mlp mlp;
    Norm mlp_norm;
  };
  // Dense, activation, norm, and the product with the vocabulary, whose weight is the embedding's where they are tied.
  struct LmHead {
    Linear dense;
    Norm norm;
    std::optional<Linear> decoder;  // untied
    Parameter bias;                 // tied
  };
  std::string base_prefix() const override { return config_.names.base; }
  void adapt(const WeightSource& weights, bool draws_missing) override;
  std::vector<std::string> stored_names(const std::string& name) const override;
  std::string at(const std::string& name) const;  // under the base
  Linear dense(const std::string& path, int64_t in, int64_t out) const;
  Block make_block(const std::string& path) const;
  void make_head();
  Tensor positions(const Inputs& inputs, const Layout& layout) const;
  Tensor embed(const Inputs& inputs, const Layout& layout) const;
  Tensor run(int layer, const Tensor& x, const ForwardContext& context) const;
  void apply_head(const Layout& layout, Outputs& outputs) const;
  Tensor vocabulary_logits(const Tensor& rows, const std::shared_ptr<const ops::DropoutRows>& draws) const;

  EncoderConfig config_;
  Embedding words_, positions_;
  std::optional<Embedding> types_;
  Norm embedding_norm_;
  std::optional<Linear> mapping_;
  std::vector<Block> blocks_;
  std::optional<Linear> pooler_, class_dense_, classifier_;
  std::optional<LmHead> lm_;
  std::shared_ptr<PackedWeight> tied_;  // the packed table
};

// The families: each reads its config.json; `head` was chosen from the architecture's name.
EncoderConfig bert_config(const ConfigReader& config, Head head);
EncoderConfig roberta_config(const ConfigReader& config, Head head);  // and XLM-RoBERTa
EncoderConfig distilbert_config(const ConfigReader& config, Head head);
EncoderConfig albert_config(const ConfigReader& config, Head head);
// What BERT and RoBERTa share: sizes, embeddings, blocks, pooler.
EncoderConfig bert_like(const ConfigReader& config, Head head);

}  // namespace pagoda
