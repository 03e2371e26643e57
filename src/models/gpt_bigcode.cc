// GPT-BigCode (HF modeling_gpt_bigcode.py; StarCoder, SantaCoder): GPT-2 with one key-value head, or heads interleaved.
#include "models/families.h"

namespace pagoda {

DecoderConfig gpt_bigcode_config(const ConfigReader& config) {
  DecoderConfig c = gpt2_like(config);
  c.activation = config.activation("activation_function", "gelu_pytorch_tanh");
  if (config.flag("multi_query", true)) {
    c.num_key_value_heads = 1;
  } else {
    c.qkv_layout = QkvLayout::kFusedPerHead;
  }
  return c;
}

}  // namespace pagoda
