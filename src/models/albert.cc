// ALBERT (HF modeling_albert.py): BERT with small embeddings mapped to the hidden size, and few blocks that many layers share.
#include "base/error.h"
#include "models/encoder.h"

namespace pagoda {

EncoderConfig albert_config(const ConfigReader& config, Head head) {
  EncoderConfig c = bert_like(config, head);
  c.embedding_size = config.size("embedding_size", 128, 1 << 20);
  // Here the defaults are others, and the feed-forward network drops nothing.
  c.dropouts.embedding = c.dropouts.attention_output = config.probability("hidden_dropout_prob", 0);
  c.dropouts.mlp_output = 0;
  c.dropouts.attention_probs = config.probability("attention_probs_dropout_prob", 0);
  if (head == Head::kSequenceClassification || head == Head::kTokenClassification) {
    c.dropouts.classifier = config.probability("classifier_dropout_prob", 0.1);
  }
  EncoderNames& n = c.names;
  n.base = "albert.";
  n.mapping = "encoder.embedding_hidden_mapping_in";
  n.query = "attention.query";
  n.key = "attention.key";
  n.value = "attention.value";
  n.attention_out = "attention.dense";
  n.attention_norm = "attention.LayerNorm";
  n.mlp_in = "ffn";
  n.mlp_out = "ffn_output";
  n.mlp_norm = "full_layer_layer_norm";
  n.attention = "attention";
  n.pooler = "pooler";
  n.lm_dense = "predictions.dense";
  n.lm_norm = "predictions.LayerNorm";
  n.lm_decoder = "predictions.decoder";
  n.lm_bias = "predictions.bias";
  c.activation = config.activation("hidden_act", "gelu_new");
  c.lm_activation = c.activation;
  const int layers = static_cast<int>(config.size("num_hidden_layers", 12, 4096));
  const int groups = static_cast<int>(config.size("num_hidden_groups", 1, 4096));
  const int inner = static_cast<int>(config.size("inner_group_num", 1, 64));
  if (groups > layers) invalid(config.where(), "num_hidden_groups: got {}, need at most num_hidden_layers {}", groups, layers);
  if (groups * inner > 4096)
    invalid(config.where(), "num_hidden_groups * inner_group_num: got {}, need at most 4096", groups * inner);
  n.blocks.clear();
  for (int block = 0; block < groups * inner; ++block) {
    n.blocks.push_back("encoder.albert_layer_groups." + std::to_string(block / inner) + ".albert_layers." +
                       std::to_string(block % inner));
  }
  c.layers.clear();
  for (int layer = 0; layer < layers; ++layer) {
    // The division of doubles is HF's: which group a layer falls in may hang on its rounding.
    const int group =
        static_cast<int>(static_cast<double>(layer) / (static_cast<double>(layers) / static_cast<double>(groups)));
    for (int i = 0; i < inner; ++i) c.layers.push_back(group * inner + i);
  }
  return c;
}

}  // namespace pagoda
