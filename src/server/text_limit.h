// How long a text may be before anything looks at it, and what of a long one surely holds all that stays of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/generation_request.h"
#include "text/tokenizer.h"

namespace pagoda::server {

class TextLimit {
 public:
  // Bytes that are cut into tokens whatever they are: how many tokens they have is not known before.
  static constexpr size_t kAlwaysTokenized = size_t{1} << 20;

  TextLimit() = default;  // of no tokenizer: any text
  // most_tokens: that a prompt may have. Looks at the tokenizer as long as it lives.
  TextLimit(const Tokenizer& tokenizer, int64_t most_tokens);

  // Throws kInvalidInput naming `where` for more bytes than both `tokenized` and most_tokens of the longest tokens.
  void check(std::string_view text, std::string_view where, size_t tokenized = kAlwaysTokenized) const;
  // The text, checked; where it is to be truncated, whatever its length: itself, or of one longer than `tokenized` its end (or
  // begin) up to a word's end, where that has all the tokens that stay.
  std::string fit(std::string text, std::string_view where, const Truncation& truncation = {},
                  size_t tokenized = kAlwaysTokenized) const;

 private:
  const Tokenizer* tokenizer_ = nullptr;
  size_t longest_ = 0;  // token, in bytes
  size_t most_tokens_ = 0;
};

}  // namespace pagoda::server
