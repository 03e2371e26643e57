// DistilBERT (HF modeling_distilbert.py): BERT without types and pooler, under names of its own.
#include "base/error.h"
#include "models/encoder.h"
#include "models/labels.h"

namespace pagoda {

EncoderConfig distilbert_config(const ConfigReader& config, Head head) {
  EncoderConfig c;
  c.head = head;
  c.vocab_size = config.size("vocab_size", 30522, 1 << 28);
  c.hidden_size = config.size("dim", 768, 1 << 20);
  c.embedding_size = c.hidden_size;
  c.intermediate_size = config.size("hidden_dim", 4 * 768, 1 << 24);
  c.num_attention_heads = config.size("n_heads", 12, 1 << 16);
  if (c.hidden_size % c.num_attention_heads != 0) {
    invalid(config.where(), "n_heads: got {}, need a divisor of dim {}", c.num_attention_heads, c.hidden_size);
  }
  c.max_position_embeddings = config.size("max_position_embeddings", 512, 1 << 24);
  c.activation = config.activation("activation", "gelu");
  c.lm_activation = c.activation;
  c.class_activation = Activation::kRelu;
  c.tie_word_embeddings = config.flag("tie_word_embeddings", true);
  c.initializer_range = config.initializer_range();
  if (head == Head::kSequenceClassification || head == Head::kTokenClassification) {
    c.num_labels = static_cast<int64_t>(read_labels(config.json(), config.where()).names.size());
  }
  const float dropout = config.probability("dropout", 0.1);  // of embeddings and of feed-forward networks alone
  c.dropouts.embedding = c.dropouts.mlp_output = dropout;
  c.dropouts.attention_probs = config.probability("attention_dropout", 0.1);
  if (head == Head::kTokenClassification) c.dropouts.classifier = dropout;
  if (head == Head::kSequenceClassification) c.dropouts.classifier = config.probability("seq_classif_dropout", 0.2);
  if (head == Head::kQuestionAnswering) c.dropouts.classifier = config.probability("qa_dropout", 0.1);
  EncoderNames& n = c.names;
  n.base = "distilbert.";
  n.query = "attention.q_lin";
  n.key = "attention.k_lin";
  n.value = "attention.v_lin";
  n.attention_out = "attention.out_lin";
  n.attention_norm = "sa_layer_norm";
  n.mlp_in = "ffn.lin1";
  n.mlp_out = "ffn.lin2";
  n.mlp_norm = "output_layer_norm";
  n.attention = "attention";
  n.lm_dense = "vocab_transform";
  n.lm_norm = "vocab_layer_norm";
  n.lm_decoder = "vocab_projector";
  n.lm_bias = "vocab_projector.bias";
  n.class_dense = "pre_classifier";
  const int layers = static_cast<int>(config.size("n_layers", 6, 4096));
  for (int layer = 0; layer < layers; ++layer) {
    n.blocks.push_back("transformer.layer." + std::to_string(layer));
    c.layers.push_back(layer);
  }
  return c;
}

}  // namespace pagoda
