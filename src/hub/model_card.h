// A README.md for a model that has none: what its own files say, and no more.
#pragma once

#include <string>

namespace pagoda::hub {

// From config.json, adapter_config.json, the headers of safetensors files and trainer_state.json of a folder; files that are
// missing or cannot be read are passed over. `name` is the title (ORG/NAME). Front matter as the hub reads it (YAML).
std::string make_model_card(const std::string& folder, const std::string& name);

}  // namespace pagoda::hub
