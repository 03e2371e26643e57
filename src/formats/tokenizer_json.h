// Hugging Face's tokenizer.json: every model, normaliser, pre-tokenizer, post-processor and decoder it may name.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/limits.h"
#include "text/tokenizer.h"

namespace pagoda {

struct TokenizerJsonOptions {
  // Off: only the general path, no short cut that gives the same ids faster. For tests of that equality.
  bool fast_paths = true;
  // Unigram's scores are decimal digits that serde_json read; off: the doubles themselves.
  bool decimal_scores = true;
};

// Throws kInvalidInput naming the field; kUnsupported for BPE dropout (its encodings are random).
PipelineParts parse_tokenizer_json(const Json& json, std::string_view where, const Limits& limits = {},
                                   const TokenizerJsonOptions& options = {});
// The file's added tokens and the ids that it gives them.
std::vector<std::pair<int64_t, AddedToken>> json_added_tokens(const Json& json, std::string_view where);
std::shared_ptr<const Tokenizer> read_tokenizer_json(std::string_view text, std::string_view where, const Limits& limits = {},
                                                     const TokenizerJsonOptions& options = {});

}  // namespace pagoda
