// Strings and ids, one or many.
#include "server/prompt_input.h"

#include <fmt/format.h>

#include "base/error.h"

namespace pagoda::server {

namespace {

std::vector<int32_t> ids_of(const Json& list, std::string_view where, int64_t vocab_size) {
  std::vector<int32_t> ids;
  for (const Json& each : list.as_array(where)) {
    const int64_t id = each.as_int(where);
    if (id < 0 || id >= vocab_size) {
      invalid(where, "token id outside the vocabulary: got {}, need 0 to {}", id, vocab_size - 1);
    }
    ids.push_back(static_cast<int32_t>(id));
  }
  if (ids.empty()) invalid(where, "empty list");
  return ids;
}

}  // namespace

std::vector<PromptInput> read_prompt_input(const Json& value, std::string_view where, int64_t most, int64_t vocab_size) {
  if (value.is_string()) return {value.as_string(where)};
  const Json::Array& list = value.as_array(where);
  if (list.empty()) invalid(where, "empty list");
  if (list[0].is_number()) return {ids_of(value, where, vocab_size)};
  if (static_cast<int64_t>(list.size()) > most) invalid(where, "too many: got {}, need at most {}", list.size(), most);
  std::vector<PromptInput> inputs;
  for (const Json& each : list) {
    if (each.is_string()) {
      inputs.emplace_back(each.as_string(where));
    } else {
      inputs.emplace_back(ids_of(each, where, vocab_size));
    }
  }
  return inputs;
}

std::string prompt_input_schema(int64_t most, int64_t vocab_size) {
  const std::string ids = fmt::format(
      R"({{"type": "array", "minItems": 1, "items": {{"type": "integer", "minimum": 0, "maximum": {}}}}})", vocab_size - 1);
  return fmt::format(
      R"({{"anyOf": [{{"type": "string"}}, {0}, {{"type": "array", "minItems": 1, "maxItems": {1}, "items": {{"anyOf": [{{"type": "string"}}, {0}]}}}}]}})",
      ids, most);
}

}  // namespace pagoda::server
