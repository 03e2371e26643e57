// BERT (HF modeling_bert.py): learned positions and types, post-norm blocks, a pooler over the first row.
#include "base/error.h"
#include "base/utf8.h"
#include "models/encoder.h"
#include "models/labels.h"

namespace pagoda {

EncoderConfig bert_like(const ConfigReader& config, Head head) {
  EncoderConfig c;
  c.head = head;
  c.vocab_size = config.size("vocab_size", 30522, 1 << 28);
  c.hidden_size = config.size("hidden_size", 768, 1 << 20);
  c.embedding_size = c.hidden_size;
  c.intermediate_size = config.size("intermediate_size", 3072, 1 << 24);
  c.num_attention_heads = config.size("num_attention_heads", 12, 1 << 16);
  if (c.hidden_size % c.num_attention_heads != 0) {
    invalid(config.where(), "num_attention_heads: got {}, need a divisor of hidden_size {}", c.num_attention_heads,
            c.hidden_size);
  }
  c.max_position_embeddings = config.size("max_position_embeddings", 512, 1 << 24);
  c.type_vocab_size = config.size("type_vocab_size", 2, 1 << 16);
  c.norm_eps = static_cast<float>(config.positive("layer_norm_eps", 1e-12));
  c.activation = config.activation("hidden_act", "gelu");
  c.tie_word_embeddings = config.flag("tie_word_embeddings", true);
  c.initializer_range = config.initializer_range();
  if (head == Head::kSequenceClassification || head == Head::kTokenClassification) {
    c.num_labels = static_cast<int64_t>(read_labels(config.json(), config.where()).names.size());
  }
  const float hidden_dropout = config.probability("hidden_dropout_prob", 0.1);
  c.dropouts.embedding = c.dropouts.attention_output = c.dropouts.mlp_output = hidden_dropout;
  c.dropouts.attention_probs = config.probability("attention_probs_dropout_prob", 0.1);
  if (head == Head::kSequenceClassification || head == Head::kTokenClassification) {
    c.dropouts.classifier = config.probability("classifier_dropout", hidden_dropout);
  }
  const std::string positions = config.json().get_string("position_embedding_type", "absolute", config.where());
  if (positions != "absolute") {
    unsupported(config.where(), "position_embedding_type: got '{}', need absolute", utf8_cut(positions, 64));
  }
  if (config.flag("is_decoder", false)) unsupported(config.where(), "is_decoder: got true, need an encoder");
  EncoderNames& n = c.names;
  n.query = "attention.self.query";
  n.key = "attention.self.key";
  n.value = "attention.self.value";
  n.attention_out = "attention.output.dense";
  n.attention_norm = "attention.output.LayerNorm";
  n.mlp_in = "intermediate.dense";
  n.mlp_out = "output.dense";
  n.mlp_norm = "output.LayerNorm";
  n.attention = "attention.self";
  n.pooler = "pooler.dense";
  const int layers = static_cast<int>(config.size("num_hidden_layers", 12, 4096));
  for (int layer = 0; layer < layers; ++layer) {
    n.blocks.push_back("encoder.layer." + std::to_string(layer));
    c.layers.push_back(layer);
  }
  return c;
}

EncoderConfig bert_config(const ConfigReader& config, Head head) {
  EncoderConfig c = bert_like(config, head);
  c.names.base = "bert.";
  c.names.lm_dense = "cls.predictions.transform.dense";
  c.names.lm_norm = "cls.predictions.transform.LayerNorm";
  c.names.lm_decoder = "cls.predictions.decoder";
  c.names.lm_bias = "cls.predictions.bias";
  c.lm_activation = c.activation;
  return c;
}

}  // namespace pagoda
