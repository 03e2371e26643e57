// By the configuration and the kind of model.
#include "formats/clean_up.h"

#include "text/is_bpe.h"

namespace pagoda {

bool cleans_up_spaces(const TokenizerConfig& config, const Tokenizer& tokenizer) {
  constexpr const char* kForBpe = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output";
  if (!config.clean_up_tokenization_spaces) return false;
  return !is_bpe(tokenizer) || config.raw.get_bool(kForBpe, false, "tokenizer_config.json");
}

}  // namespace pagoda
