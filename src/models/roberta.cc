// RoBERTa and XLM-RoBERTa (HF modeling_roberta.py): BERT whose positions count from the padding id on, with heads of its own.
#include "base/error.h"
#include "models/encoder.h"

namespace pagoda {

EncoderConfig roberta_config(const ConfigReader& config, Head head) {
  EncoderConfig c = bert_like(config, head);
  c.names.base = "roberta.";
  c.names.lm_dense = "lm_head.dense";
  c.names.lm_norm = "lm_head.layer_norm";
  c.names.lm_decoder = "lm_head.decoder";
  c.names.lm_bias = "lm_head.bias";
  c.names.class_dense = "classifier.dense";
  if (head == Head::kSequenceClassification) c.dropouts.class_dense = c.dropouts.classifier;
  c.lm_activation = Activation::kGelu;
  const int64_t padding = config.json().get_int("pad_token_id", 1, config.where());
  if (padding < 0 || padding + 1 >= c.max_position_embeddings) {
    invalid(config.where(), "pad_token_id: got {}, need 0 to {}, below max_position_embeddings - 1", padding,
            c.max_position_embeddings - 2);
  }
  c.padding_idx = static_cast<int32_t>(padding);
  return c;
}

}  // namespace pagoda
