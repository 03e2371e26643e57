// GPT-2 (HF modeling_gpt2.py): LayerNorm, learned positions, fused qkv, weights stored transposed (Conv1D).
#include <cmath>

#include "base/error.h"
#include "models/families.h"

namespace pagoda {

DecoderConfig gpt2_like(const ConfigReader& config) {
  DecoderConfig c;
  c.names = {"transformer.", "wte",           "wpe",         "h",          "ln_1",       "ln_2",
             "ln_f",         {"attn.c_attn"}, "attn.c_proj", {"mlp.c_fc"}, "mlp.c_proj", "attn"};
  c.vocab_size = config.size("vocab_size", 50257, 1 << 28);
  c.hidden_size = config.size("n_embd", 768, 1 << 20);
  c.num_hidden_layers = config.size("n_layer", 12, 4096);
  c.num_attention_heads = config.size("n_head", 12, 1 << 16);
  if (c.hidden_size % c.num_attention_heads != 0) {
    invalid(config.where(), "n_head: got {}, need a divisor of n_embd {}", c.num_attention_heads, c.hidden_size);
  }
  c.head_dim = c.hidden_size / c.num_attention_heads;
  c.num_key_value_heads = c.num_attention_heads;
  c.intermediate_size = config.size("n_inner", 4 * c.hidden_size, 1 << 24);
  c.norm = NormKind::kLayer;
  c.norm_eps = static_cast<float>(config.positive("layer_norm_epsilon", 1e-5));
  c.qkv_layout = QkvLayout::kFused;
  c.qkv_bias = c.attention_out_bias = c.mlp_bias = Bias::kAll;
  c.max_position_embeddings = config.size("n_positions", 1024, 1 << 28);
  c.max_positions = c.max_position_embeddings;
  c.windows.assign(static_cast<size_t>(c.num_hidden_layers), 0);
  const bool scaled = config.flag("scale_attn_weights", true);
  c.attention_scales.assign(static_cast<size_t>(c.num_hidden_layers),
                            scaled ? static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim))) : 1.0f);
  c.tie_word_embeddings = config.flag("tie_word_embeddings", true);
  c.initializer_range = config.initializer_range();
  c.dropouts.embedding = config.probability("embd_pdrop", 0.1);
  c.dropouts.attention_output = c.dropouts.mlp_output = config.probability("resid_pdrop", 0.1);
  c.dropouts.attention_probs = config.probability("attn_pdrop", 0.1);
  return c;
}

DecoderConfig gpt2_config(const ConfigReader& config) {
  DecoderConfig c = gpt2_like(config);
  c.activation = config.activation("activation_function", "gelu_new");
  c.transposed_linear = true;
  if (config.flag("add_cross_attention", false)) {
    unsupported(config.where(), "add_cross_attention: an encoder-decoder GPT-2 is not supported yet");
  }
  if (config.flag("scale_attn_by_inverse_layer_idx", false)) {
    for (size_t i = 0; i < c.attention_scales.size(); ++i) c.attention_scales[i] /= static_cast<float>(i + 1);
  }
  return c;
}

}  // namespace pagoda
