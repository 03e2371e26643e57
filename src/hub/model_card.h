// A README.md for a model that has none: what its own files say, and no more.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace pagoda::hub {

// Parameters of a model, and how most of them are kept. None: the card does not say.
struct CardWeights {
  int64_t parameters = 0;
  std::string dtype;
};

// From config.json, adapter_config.json, the headers of safetensors files and trainer_state.json of a folder; files that are
// missing or cannot be read are passed over. `name` is the title (ORG/NAME). Front matter as the hub reads it (YAML). weights:
// of a model whose files pack them, so that headers do not tell.
std::string make_model_card(const std::string& folder, const std::string& name, const std::optional<CardWeights>& weights = {});

}  // namespace pagoda::hub
