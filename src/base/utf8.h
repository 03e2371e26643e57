// UTF-8: validation, code points, lengths.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pagoda {

constexpr uint32_t kReplacement = 0xFFFD;

// Decodes the code point at text[pos] and moves pos past it. Strict (no overlong forms, no surrogates, at most U+10FFFF):
// an ill-formed byte gives kReplacement and moves one maximal ill-formed prefix on, as Rust and Python do.
uint32_t utf8_next(std::string_view text, size_t& pos);
// Appends a code point; surrogates and values over U+10FFFF become kReplacement.
void utf8_append(std::string& out, uint32_t code);
bool utf8_valid(std::string_view text);
// Offset of the first ill-formed byte, or npos.
size_t utf8_invalid_at(std::string_view text);
// Number of code points (ill-formed prefixes count as one each).
size_t utf8_length(std::string_view text);
// Ill-formed bytes replaced by U+FFFD, as Python's errors="replace".
std::string utf8_replace_invalid(std::string_view text);
// The beginning of a text, at most so many bytes and no part of a character: for messages.
std::string_view utf8_cut(std::string_view text, size_t most_bytes);
// Length of the longest prefix that does not end inside a code point: what may be shown of a stream so far.
size_t utf8_complete_prefix(std::string_view text);

}  // namespace pagoda
