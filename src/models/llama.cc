// LLaMA and its kin (HF modeling_llama.py): RMSNorm, rotary positions, grouped queries, gated MLP.
#include <cmath>

#include "base/error.h"
#include "models/families.h"

namespace pagoda {

namespace {

// HF's defaults, where config.json says nothing; null there: as many as query heads.
int64_t default_key_value_heads(const ConfigReader& config, int64_t query_heads) {
  if (config.json().contains("num_key_value_heads")) return query_heads;
  const std::string family = config.json().get_string("model_type", "", config.where());
  return family == "mistral" ? 8 : family == "qwen2" ? 32 : query_heads;
}

int64_t default_positions(const ConfigReader& config) {
  const std::string family = config.json().get_string("model_type", "", config.where());
  return family == "mistral" ? 131072 : family == "qwen2" ? 32768 : 2048;
}

}  // namespace

DecoderConfig llama_like(const ConfigReader& config) {
  DecoderConfig c;
  c.names = {"model.",
             "embed_tokens",
             "",
             "layers",
             "input_layernorm",
             "post_attention_layernorm",
             "norm",
             {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
             "self_attn.o_proj",
             {"mlp.gate_proj", "mlp.up_proj"},
             "mlp.down_proj",
             "self_attn"};
  c.vocab_size = config.size("vocab_size", 1 << 28);
  c.hidden_size = config.size("hidden_size", 1 << 20);
  c.intermediate_size = config.size("intermediate_size", 1 << 24);
  c.num_hidden_layers = config.size("num_hidden_layers", 4096);
  c.num_attention_heads = config.size("num_attention_heads", 1 << 16);
  c.num_key_value_heads = config.size("num_key_value_heads", default_key_value_heads(config, c.num_attention_heads), 1 << 16);
  if (c.num_attention_heads % c.num_key_value_heads != 0) {
    invalid(config.where(), "num_key_value_heads: got {}, need a divisor of num_attention_heads {}", c.num_key_value_heads,
            c.num_attention_heads);
  }
  const Json* head_dim = config.json().find("head_dim");
  if (head_dim == nullptr || head_dim->is_null()) {
    if (c.hidden_size % c.num_attention_heads != 0) {
      invalid(config.where(), "num_attention_heads: got {}, need a divisor of hidden_size {} (or a head_dim)",
              c.num_attention_heads, c.hidden_size);
    }
    c.head_dim = c.hidden_size / c.num_attention_heads;
  } else {
    c.head_dim = config.size("head_dim", 1 << 14);
  }
  if (c.head_dim % 2 != 0) invalid(config.where(), "head_dim: got {}, need an even number for rotary positions", c.head_dim);
  c.norm = NormKind::kRms;
  c.norm_eps = static_cast<float>(config.positive("rms_norm_eps", 1e-6));
  c.activation = config.activation("hidden_act", "silu");
  c.qkv_layout = QkvLayout::kSeparate;
  c.max_position_embeddings = config.size("max_position_embeddings", default_positions(config), int64_t{1} << 31);
  c.rotary = config.rotary(c.head_dim, c.max_position_embeddings);
  c.max_positions = rotary_context(*c.rotary);
  c.windows.assign(static_cast<size_t>(c.num_hidden_layers), 0);
  c.attention_scales.assign(static_cast<size_t>(c.num_hidden_layers),
                            static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim))));
  c.tie_word_embeddings = config.flag("tie_word_embeddings", false);
  c.initializer_range = config.initializer_range();
  c.dropouts.attention_probs = config.probability("attention_dropout", 0);
  return c;
}

DecoderConfig llama_config(const ConfigReader& config) {
  DecoderConfig c = llama_like(config);
  const Bias attention = config.flag("attention_bias", false) ? Bias::kAll : Bias::kNone;
  c.qkv_bias = attention;
  c.attention_out_bias = attention;
  c.mlp_bias = config.flag("mlp_bias", false) ? Bias::kAll : Bias::kNone;
  return c;
}

}  // namespace pagoda
