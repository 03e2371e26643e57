// When the text of a folder's tokenizer loses its spaces before punctuation.
#pragma once

#include "formats/tokenizer_config.h"
#include "text/tokenizer.h"

namespace pagoda {

// As transformers' AutoTokenizer.decode(): where tokenizer_config.json sets clean_up_tokenization_spaces, which it passes over
// for BPE (unless clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output is set too).
bool cleans_up_spaces(const TokenizerConfig& config, const Tokenizer& tokenizer);

}  // namespace pagoda
