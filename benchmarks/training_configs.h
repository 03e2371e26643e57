// The models that the programs of training time: config.json of the published sizes of RoBERTa and GPT-2, and a small LLaMA.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/json.h"

namespace pagoda {

// name: roberta, gpt2 or small. layers: 0: as published.
inline Json training_config(const std::string& name, int64_t layers = 0) {
  const char* text = nullptr;
  if (name == "roberta") {
    text = R"({"architectures": ["RobertaForMaskedLM"], "model_type": "roberta", "vocab_size": 50265, "hidden_size": 768,
      "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
      "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
      "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1})";
  } else if (name == "gpt2") {
    text = R"({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 50257, "n_embd": 768, "n_layer": 12,
      "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
      "n_head": 12, "n_positions": 1024, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5})";
  } else if (name == "small") {
    text = R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4096, "hidden_size": 288,
      "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 6, "intermediate_size": 768,
      "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": true})";
  } else {
    invalid("--model", "got '{}', need roberta, gpt2 or small", name);
  }
  Json config = Json::parse(text, "config");
  if (layers > 0) config.set(name == "gpt2" ? "n_layer" : "num_hidden_layers", layers);
  return config;
}

}  // namespace pagoda
