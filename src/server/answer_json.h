// Pieces of answers that both generating endpoints write.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "engine/request.h"
#include "text/tokenizer.h"

namespace pagoda::server {

int64_t unix_seconds();  // since 1970: an answer's "created"
// The bytes that a token adds within a text, a word's space before it included; a control token's name.
std::string token_bytes(const Tokenizer& tokenizer, int32_t id);
// The text of one token as logprobs show it: its bytes, U+FFFD for parts of characters; "token_id:42" where ids are asked for
// or there is no tokenizer.
std::string token_text(const Tokenizer* tokenizer, int32_t id, bool as_id);
// Texts of a sequence's tokens that join to the text of all: a character in parts belongs to the token that completes it, and
// a text does not begin with its first word's space.
struct TokenTexts {
  size_t offset = 0;      // characters of all so far
  bool begun = false;     // a token of text came before
  std::string part = {};  // of a character
  std::string next(const Tokenizer* tokenizer, int32_t id, bool as_id);
};
Json stop_reason_json(const std::variant<std::monostate, int32_t, std::string>& reason);
Json ids_json(const std::vector<int32_t>& ids);
// [null, {"12": {"logprob": ..., "rank": ..., "decoded_token": ...}, ...}, ...]: for each position, null for the first. As
// text, since a prompt may have a million of them.
std::string prompt_logprobs_text(const std::vector<PositionLogprobs>& positions, const Tokenizer* tokenizer);
// Adds a member to the text of an object that has some.
void add_member(std::string& object, std::string_view key, std::string_view json);

}  // namespace pagoda::server
