// Qwen2 (HF modeling_qwen2.py): LLaMA with biases on q, k and v, and windows on some layers.
#include <algorithm>

#include "base/error.h"
#include "models/families.h"

namespace pagoda {

DecoderConfig qwen2_config(const ConfigReader& config) {
  DecoderConfig c = llama_like(config);
  c.qkv_bias = Bias::kAll;
  if (!config.flag("use_sliding_window", false)) return c;
  const Json* given = config.json().find("sliding_window");
  if (given != nullptr && given->is_null()) return c;
  const int64_t window = config.size("sliding_window", 4096, int64_t{1} << 31);
  const Json* types = config.json().find("layer_types");
  if (types != nullptr && !types->is_null()) {
    const Json::Array& list = types->as_array(config.where() + ": layer_types");
    if (static_cast<int64_t>(list.size()) != c.num_hidden_layers) {
      invalid(config.where(), "layer_types: got {} entries, need {}", list.size(), c.num_hidden_layers);
    }
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string& type = list[i].as_string(config.where() + ": layer_types");
      if (type != "sliding_attention" && type != "full_attention") {
        unsupported(config.where(), "layer_types: got '{}', need full_attention or sliding_attention", type);
      }
      if (type == "sliding_attention") c.windows[i] = window;
    }
    return c;
  }
  const int64_t first = config.json().get_int("max_window_layers", 28, config.where());
  for (int64_t i = std::max<int64_t>(first, 0); i < c.num_hidden_layers; ++i) c.windows[static_cast<size_t>(i)] = window;
  return c;
}

}  // namespace pagoda
