// From transformers 5.24: CONFIG_MAPPING[model_type]().to_dict(), without what has no meaning here.
#include "train/default_configs.h"

#include "base/error.h"

namespace pagoda::train {

namespace {

// clang-format off
constexpr const char* kConfigs[] = {
    R"({"model_type": "albert", "attention_probs_dropout_prob": 0.0, "bos_token_id": 2, "classifier_dropout_prob": 0.1,
       "embedding_size": 128, "eos_token_id": 3, "hidden_act": "gelu_new", "hidden_dropout_prob": 0.0,
       "hidden_size": 4096, "initializer_range": 0.02, "inner_group_num": 1, "intermediate_size": 16384,
       "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "num_attention_heads": 64, "num_hidden_groups": 1,
       "num_hidden_layers": 12, "pad_token_id": 0, "tie_word_embeddings": true, "type_vocab_size": 2, "vocab_size": 30000})",
    R"({"model_type": "bert", "attention_probs_dropout_prob": 0.1, "bos_token_id": null, "classifier_dropout": null,
       "eos_token_id": null, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768,
       "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
       "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0, "tie_word_embeddings": true,
       "type_vocab_size": 2, "vocab_size": 30522})",
    R"({"model_type": "camembert", "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "classifier_dropout": null,
       "eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768,
       "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
       "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1, "tie_word_embeddings": true,
       "type_vocab_size": 2, "vocab_size": 30522})",
    R"({"model_type": "distilbert", "activation": "gelu", "attention_dropout": 0.1, "bos_token_id": null, "dim": 768,
       "dropout": 0.1, "eos_token_id": null, "hidden_dim": 3072, "initializer_range": 0.02,
       "max_position_embeddings": 512, "n_heads": 12, "n_layers": 6, "pad_token_id": 0, "qa_dropout": 0.1,
       "seq_classif_dropout": 0.2, "sinusoidal_pos_embds": false, "tie_word_embeddings": true, "vocab_size": 30522})",
    R"({"model_type": "gpt2", "activation_function": "gelu_new", "attn_pdrop": 0.1, "bos_token_id": 50256,
       "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "n_embd": 768,
       "n_head": 12, "n_inner": null, "n_layer": 12, "n_positions": 1024, "pad_token_id": null, "resid_pdrop": 0.1,
       "scale_attn_by_inverse_layer_idx": false, "scale_attn_weights": true, "summary_activation": null,
       "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index",
       "summary_use_proj": true, "tie_word_embeddings": true, "vocab_size": 50257})",
    R"({"model_type": "gpt_bigcode", "activation_function": "gelu_pytorch_tanh", "attention_softmax_in_fp32": true,
       "attn_pdrop": 0.1, "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
       "layer_norm_epsilon": 1e-05, "multi_query": true, "n_embd": 768, "n_head": 12, "n_inner": null, "n_layer": 12,
       "n_positions": 1024, "num_key_value_heads": 1, "pad_token_id": null, "resid_pdrop": 0.1,
       "scale_attention_softmax_in_fp32": true, "scale_attn_weights": true, "tie_word_embeddings": true,
       "vocab_size": 50257})",
    R"({"model_type": "llama", "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
       "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008,
       "max_position_embeddings": 2048, "mlp_bias": false, "num_attention_heads": 32, "num_hidden_layers": 32,
       "num_key_value_heads": 32, "pad_token_id": null, "rms_norm_eps": 1e-06,
       "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "tie_word_embeddings": false,
       "vocab_size": 32000})",
    R"({"model_type": "mistral", "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 128,
       "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
       "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
       "pad_token_id": null, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
       "sliding_window": 4096, "tie_word_embeddings": false, "vocab_size": 32000})",
    R"({"model_type": "qwen2", "attention_dropout": 0.0, "bos_token_id": null, "eos_token_id": null, "hidden_act": "silu",
       "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 22016, "max_position_embeddings": 32768,
       "max_window_layers": 28, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
       "pad_token_id": null, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
       "sliding_window": null, "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 151936})",
    R"({"model_type": "roberta", "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "classifier_dropout": null,
       "eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768,
       "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
       "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1, "tie_word_embeddings": true,
       "type_vocab_size": 2, "vocab_size": 50265})",
    R"({"model_type": "xlm-roberta", "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "classifier_dropout": null,
       "eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768,
       "initializer_range": 0.02, "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512,
       "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1, "tie_word_embeddings": true,
       "type_vocab_size": 2, "vocab_size": 30522})",
};
// clang-format on

std::string type_of(const Json& config) { return config.at("model_type", "default config").as_string("default config"); }

}  // namespace

const std::vector<std::string>& default_config_types() {
  static const std::vector<std::string> kTypes = [] {
    std::vector<std::string> types;
    for (const char* text : kConfigs) types.push_back(type_of(Json::parse(text, "default config")));
    return types;
  }();
  return kTypes;
}

Json default_config(const std::string& model_type) {
  for (const char* text : kConfigs) {
    Json config = Json::parse(text, "default config");
    if (type_of(config) == model_type) return config;
  }
  std::string names;
  for (const std::string& name : default_config_types()) names += (names.empty() ? "" : ", ") + name;
  invalid("--model-type", "got '{}', need one of {}", model_type, names);
}

}  // namespace pagoda::train
