// tiktoken rank files: a token in base64 and its rank a line.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "text/tokenizer.h"

namespace pagoda {

// `pattern` empty: that of the known vocabulary with this number of ranks (cl100k, o200k, p50k, r50k); another size is
// kInvalidInput asking for a pattern. Texts are read as plain text: no special token is looked for.
std::shared_ptr<const Tokenizer> read_tiktoken(std::string_view text, std::string_view pattern, std::string_view where,
                                               const Limits& limits = {});

}  // namespace pagoda
