// The config.json that transformers' config classes have by default, for a model from scratch named by its family alone.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace pagoda::train {

const std::vector<std::string>& default_config_types();  // model_type of each
// kInvalidInput for another type.
Json default_config(const std::string& model_type);

}  // namespace pagoda::train
