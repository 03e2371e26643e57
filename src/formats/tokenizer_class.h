// Which of transformers' tokenizer classes reads a folder: AutoTokenizer's choice.
#pragma once

#include <string>

#include "base/json.h"
#include "formats/tokenizer_config.h"

namespace pagoda {

// Classes whose rules are known here. transformers 5 builds them anew from a vocabulary, also beside a tokenizer.json.
enum class TokenizerKind {
  kGeneric,  // none of its own: PreTrainedTokenizerFast, TokenizersBackend, or nothing is named
  kOther,    // one that is not known here
  kBert,
  kGpt2,
  kCodeGen,
  kQwen2,
  kGptNeoX,
  kRoberta,
  kLlama,
  kAlbert,
  kXlmRoberta,
  kCamembert,
  kT5,
};

struct TokenizerClass {
  TokenizerKind kind = TokenizerKind::kGeneric;
  std::string name;  // as the folder or the model type has it, without "Fast"; empty: none
};

// `model_config`: config.json or null. `byte_level`: there is a tokenizer.json and it names ByteLevel. Source: transformers
// 5.24, models/auto/tokenization_auto.py.
TokenizerClass choose_tokenizer_class(const TokenizerConfig& config, const Json& model_config, bool byte_level);

}  // namespace pagoda
