// Bytes instead of tokens, where that is sure.
#include "server/text_limit.h"

#include <algorithm>

#include "base/error.h"

namespace pagoda::server {

namespace {

// At least so many bytes for a token, whatever the vocabulary.
constexpr size_t kLeastLongest = 64;
// Tokens near a cut may be others than in the whole text: so many more are kept.
constexpr size_t kAroundCut = 16;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Where a word ends and white space begins: no tokenizer's word reaches over it.
bool is_word_end(std::string_view text, size_t at) { return is_space(text[at]) && !is_space(text[at - 1]); }

// The last one at or before `at`; 0: none.
size_t word_end_before(std::string_view text, size_t at) {
  while (at > 0 && !is_word_end(text, at)) --at;
  return at;
}

// The first one at or after `at`; the text's end: none.
size_t word_end_after(std::string_view text, size_t at) {
  at = std::max<size_t>(at, 1);
  while (at < text.size() && !is_word_end(text, at)) ++at;
  return at;
}

}  // namespace

TextLimit::TextLimit(const Tokenizer& tokenizer, int64_t most_tokens)
    : tokenizer_(&tokenizer), longest_(kLeastLongest), most_tokens_(static_cast<size_t>(most_tokens)) {
  for (int64_t id = 0; id < tokenizer.id_limit(); ++id) {
    const auto token = static_cast<int32_t>(id);
    const std::optional<std::string> bytes = tokenizer.token_bytes(token);
    longest_ = std::max(longest_, bytes ? bytes->size() : tokenizer.id_to_token(token).size());
  }
}

void TextLimit::check(std::string_view text, std::string_view where, size_t tokenized) const {
  if (tokenizer_ == nullptr) return;
  const size_t most = std::max(tokenized, most_tokens_ * longest_);
  if (text.size() > most) invalid(where, "too long: got {} bytes of text, need at most {}", text.size(), most);
}

std::string TextLimit::fit(std::string text, std::string_view where, const Truncation& truncation, size_t tokenized) const {
  if (tokenizer_ == nullptr) return text;
  if (!truncation.tokens) {
    check(text, where);
    return text;
  }
  const size_t keep = *truncation.tokens < 0 ? most_tokens_ : std::min(static_cast<size_t>(*truncation.tokens), most_tokens_);
  const size_t room = std::max(tokenized, (keep + kAroundCut) * longest_);
  if (text.size() <= room) return text;
  const size_t at = truncation.left ? word_end_after(text, text.size() - room) : word_end_before(text, room);
  if (at == 0 || at == text.size()) return text;
  std::string part = truncation.left ? text.substr(at) : text.substr(0, at);
  // A normalizer drops white space, and a long word may be one token: how many there are shows when they are there.
  return tokenizer_->encode_ids(part, false).size() >= keep + kAroundCut ? part : text;
}

}  // namespace pagoda::server
