// Special tokens of a model's configs after its tokenizer's, as transformers' Trainer aligns them before training.
#pragma once

#include <string>

#include "base/json.h"
#include "formats/tokenizer_config.h"
#include "text/tokenizer.h"

namespace pagoda::train {

// eos_token_id, bos_token_id and pad_token_id of `config` (config.json) and `generation` (generation_config.json; null: the
// model has none) become those of the tokenizer's tokens of these names, where it has them. End tokens are only ever added:
// lists keep what they hold, and generation_config.json keeps its other ones. Returns what changed ("eos_token_id 0, ..."); "":
// nothing. `model_type`: of the config.json beside the tokenizer, which chooses its class where nothing else does; "": none.
// Source: transformers 5.24, trainer_utils.py, align_special_tokens.
std::string align_special_tokens(const Tokenizer& tokenizer, const TokenizerConfig& names, const std::string& model_type,
                                 Json& config, Json* generation);

}  // namespace pagoda::train
