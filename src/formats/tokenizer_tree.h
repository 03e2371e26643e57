// Parts of a tokenizer.json that is made here: of a class's rules, or of a SentencePiece model.
#pragma once

#include <string_view>

#include "base/json.h"

namespace pagoda::tokenizer_tree {

inline constexpr const char* kMark = "\xE2\x96\x81";  // SentencePiece's for a space

Json part(const char* type);
Json sequence(const char* key, Json::Array steps);
Json metaspace(const char* scheme, bool split);
Json replace(std::string_view pattern, const char* content);
Json replace_regex(std::string_view pattern, const char* content);
Json split_regex(std::string_view pattern);  // what matches stands alone
Json precompiled(std::string_view charsmap);
Json strip_first_space();

}  // namespace pagoda::tokenizer_tree
