// tekken.json, Mistral's own tokenizer file, as the tokenizer.json that transformers makes of it.
#pragma once

#include <string_view>

#include "base/json.h"
#include "base/limits.h"

namespace pagoda {

// kInvalidInput where a field is missing or ranks have gaps, kUnsupported for files of the first version, which list no special
// tokens.
Json tekken_tree(const Json& tekken, std::string_view where, const Limits& limits = {});

}  // namespace pagoda
