// A SentencePiece model in a folder of no class, as transformers reads it: a pipeline that does what SentencePiece does.
#pragma once

#include <string_view>

#include "base/json.h"
#include "formats/tokenizer_config.h"
#include "text/sentencepiece.h"

namespace pagoda {

// A tokenizer.json without added tokens and post-processor: normaliser, splitting, model and decoder. Pieces of a byte-pair
// model are called as config.added_tokens call their ids. kInvalidInput for pieces that cannot be merged.
Json sentencepiece_own_tree(const SentencePieceModel& model, const TokenizerConfig& config, std::string_view where);

// `config` with the model's own names of its special tokens, and its control pieces where the files list no other tokens.
TokenizerConfig completed_by_model(const SentencePieceModel& model, TokenizerConfig config);

}  // namespace pagoda
