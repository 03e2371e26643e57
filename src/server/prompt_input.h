// What OpenAI's endpoints take as `prompt` or `input`: a string, a list of strings, a list of token ids, a list of such lists.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"

namespace pagoda::server {

using PromptInput = std::variant<std::string, std::vector<int32_t>>;

// Throws kInvalidInput: an empty list, more than `most`, ids outside the vocabulary. `where` names the field.
std::vector<PromptInput> read_prompt_input(const Json& value, std::string_view where, int64_t most, int64_t vocab_size);
// The same as a JSON Schema.
std::string prompt_input_schema(int64_t most, int64_t vocab_size);

}  // namespace pagoda::server
