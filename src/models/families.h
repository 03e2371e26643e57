// The families of decoder models: each reads its config.json into the skeleton's config.
#pragma once

#include "models/config_reader.h"
#include "models/decoder.h"

namespace pagoda {

DecoderConfig llama_config(const ConfigReader& config);  // LLaMA 1 to 3, SmolLM2
DecoderConfig mistral_config(const ConfigReader& config);
DecoderConfig qwen2_config(const ConfigReader& config);
DecoderConfig gpt2_config(const ConfigReader& config);
DecoderConfig gpt_bigcode_config(const ConfigReader& config);

// What LLaMA, Mistral and Qwen2 share: names, sizes, rotary.
DecoderConfig llama_like(const ConfigReader& config);
// What GPT-2 and BigCode share: names, sizes, learned positions.
DecoderConfig gpt2_like(const ConfigReader& config);

}  // namespace pagoda
