// Whether a tokenizer's token_type_ids are handed to the model.
#pragma once

#include <string>

#include "formats/tokenizer_config.h"

namespace pagoda {

// As transformers' tokenizers: by model_input_names, or their class (of our families BERT's alone has them). model_type: of
// config.json, for tokenizers that name no class.
bool gives_type_ids(const TokenizerConfig& tokenizer, const std::string& model_type);

}  // namespace pagoda
