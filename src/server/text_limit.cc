// Bytes instead of tokens.
#include "server/text_limit.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda::server {

namespace {

// At least so many bytes for a token, whatever the vocabulary: normalizers leave spaces out, and long words become one token.
constexpr size_t kLeastLongest = 64;
// Tokens near a cut may be others than in the whole text: so many more are kept.
constexpr size_t kAroundCut = 16;
constexpr size_t kAlwaysTokenized = size_t{1} << 20;

}  // namespace

TextLimit::TextLimit(const Tokenizer& tokenizer, int64_t most_tokens)
    : longest_(kLeastLongest), most_tokens_(static_cast<size_t>(most_tokens)) {
  for (int64_t id = 0; id < tokenizer.id_limit(); ++id) {
    const auto token = static_cast<int32_t>(id);
    const std::optional<std::string> bytes = tokenizer.token_bytes(token);
    longest_ = std::max(longest_, bytes ? bytes->size() : tokenizer.id_to_token(token).size());
  }
}

std::string TextLimit::fit(std::string text, std::string_view where, const Truncation& truncation) const {
  if (longest_ == 0) return text;
  if (!truncation.tokens) {
    if (text.size() > most_tokens_ * longest_) {
      invalid(where, "too long: got {} bytes of text, need at most {} ({} tokens of at most {} bytes)", text.size(),
              most_tokens_ * longest_, most_tokens_, longest_);
    }
    return text;
  }
  const size_t asked = *truncation.tokens < 0 ? most_tokens_ : static_cast<size_t>(*truncation.tokens);
  const size_t room = (std::min(asked, most_tokens_) + kAroundCut) * longest_;
  if (text.size() <= room) return text;
  if (truncation.left) {
    size_t begin = text.size() - room;
    while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0U) == 0x80U) ++begin;
    text.erase(0, begin);
  } else {
    text.resize(utf8_cut(text, room).size());
  }
  return text;
}

void TextLimit::check_tokens_only(const std::string& text, std::string_view where) const {
  if (text.size() > kAlwaysTokenized) fit(text, where);
}

}  // namespace pagoda::server
