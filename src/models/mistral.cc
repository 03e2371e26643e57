// Mistral (HF modeling_mistral.py): LLaMA with a sliding window on every layer.
#include "models/families.h"

namespace pagoda {

DecoderConfig mistral_config(const ConfigReader& config) {
  DecoderConfig c = llama_like(config);
  // A config without the field has HF's default; null means none.
  const Json* window = config.json().find("sliding_window");
  if (window == nullptr || !window->is_null()) {
    c.windows.assign(static_cast<size_t>(c.num_hidden_layers), config.size("sliding_window", 4096, int64_t{1} << 31));
  }
  return c;
}

}  // namespace pagoda
