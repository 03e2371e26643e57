// Whether words become tokens by BPE: transformers treats the text of such tokenizers apart.
#pragma once

#include "text/model.h"
#include "text/tokenizer.h"

namespace pagoda {

bool is_bpe(const TokenModel& model);
// Of make_pipeline_tokenizer(); no for every other.
bool is_bpe(const Tokenizer& tokenizer);

}  // namespace pagoda
