// A text or a pair as the rows of one sequence: where its parts lie between the special tokens, cut or in windows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/encoding.h"
#include "text/tokenizer.h"

namespace pagoda {

// A text or a pair, encoded, and where its sequences lie between the special tokens.
struct EncodedText {
  Encoding encoding;
  size_t first_begin = 0, first_end = 0, second_begin = 0, second_end = 0;
  bool cut_left = false;  // tokenizer_config.json's truncation_side: sequences lose their begin
  int64_t specials() const;
};

// Uncut. pair: null: one sequence. offsets: with offsets, tokens and words, which take some sixty bytes a token.
EncodedText encode_text(const Tokenizer& tokenizer, std::string_view text, const std::string* pair = nullptr,
                        bool offsets = true);

// Tokens [begin, end) of `from` behind `to`, with all that is known of them.
void append_part(Encoding& to, const Encoding& from, size_t begin, size_t end);

// Cuts what is longer than max_length at the ends of its sequences, or at their begins (cut_left).
void truncate_text(EncodedText& text, int64_t max_length, Truncation::Strategy strategy);
// The text as windows of at most max_length tokens: its last sequence is cut into parts that overlap by `stride` tokens, with
// the rest of the tokens around each. Parts are counted from the begin, with cut_left from the end. Throws kInvalidInput where
// there is no room, or the windows have more than 2^20 tokens.
std::vector<EncodedText> windows_of(const EncodedText& text, int64_t max_length, int64_t stride);

}  // namespace pagoda
