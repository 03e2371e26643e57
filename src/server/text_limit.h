// How long a text may be before anything looks at it: what surely has more tokens than the model takes is not cut into tokens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/generation_request.h"
#include "text/tokenizer.h"

namespace pagoda::server {

class TextLimit {
 public:
  TextLimit() = default;  // of no tokenizer: any text
  // most_tokens: that a prompt may have.
  TextLimit(const Tokenizer& tokenizer, int64_t most_tokens);

  // The text, or where it is to be truncated its end (or begin) that surely holds all that stays. Throws kInvalidInput naming
  // `where` for one that cannot fit: it has more bytes than most_tokens of the longest tokens.
  std::string fit(std::string text, std::string_view where, const Truncation& truncation = {}) const;
  // The same for who asks for tokens alone; some more is taken.
  void check_tokens_only(const std::string& text, std::string_view where) const;

 private:
  size_t longest_ = 0;  // token, in bytes
  size_t most_tokens_ = 0;
};

}  // namespace pagoda::server
