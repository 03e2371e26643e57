// UTF-8 after the Unicode standard's table 3-7 of well-formed sequences.
#include "base/utf8.h"

namespace pagoda {

namespace {

// Reads one code point. Returns its length in bytes; on ill-formed input sets `code` to kReplacement, `valid` to false and
// returns the length of the maximal subpart. `truncated` says that the text ended inside a sequence that was well-formed so
// far.
size_t decode(std::string_view text, size_t pos, uint32_t& code, bool& valid, bool& truncated) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(pos);
  valid = true;
  truncated = false;
  if (first < 0x80) {
    code = first;
    return 1;
  }
  unsigned low = 0x80, high = 0xBF;
  int extra = 0;
  if (first >= 0xC2 && first <= 0xDF) {
    extra = 1;
    code = first & 0x1F;
  } else if (first >= 0xE0 && first <= 0xEF) {
    extra = 2;
    code = first & 0x0F;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    extra = 3;
    code = first & 0x07;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    code = kReplacement;
    valid = false;
    return 1;
  }
  size_t used = 1;
  for (int i = 0; i < extra; ++i, ++used) {
    if (pos + used >= text.size()) {
      code = kReplacement;
      valid = false;
      truncated = true;
      return used;
    }
    const unsigned char next = byte(pos + used);
    if (next < low || next > high) {
      code = kReplacement;
      valid = false;
      return used;
    }
    low = 0x80;
    high = 0xBF;
    code = (code << 6) | (next & 0x3F);
  }
  return used;
}

}  // namespace

uint32_t utf8_next(std::string_view text, size_t& pos) {
  uint32_t code;
  bool valid, truncated;
  pos += decode(text, pos, code, valid, truncated);
  return code;
}

void utf8_append(std::string& out, uint32_t code) {
  if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) code = kReplacement;
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

size_t utf8_invalid_at(std::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    uint32_t code;
    bool valid, truncated;
    const size_t length = decode(text, pos, code, valid, truncated);
    if (!valid) return pos;
    pos += length;
  }
  return std::string_view::npos;
}

bool utf8_valid(std::string_view text) { return utf8_invalid_at(text) == std::string_view::npos; }

size_t utf8_length(std::string_view text) {
  size_t count = 0;
  for (size_t pos = 0; pos < text.size(); ++count) utf8_next(text, pos);
  return count;
}

std::string utf8_replace_invalid(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) utf8_append(out, utf8_next(text, pos));
  return out;
}

std::string_view utf8_cut(std::string_view text, size_t most_bytes) {
  if (text.size() <= most_bytes) return text;
  size_t end = most_bytes;
  while (end > 0 && most_bytes - end < 3 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end);
}

size_t utf8_complete_prefix(std::string_view text) {
  const size_t from = text.size() > 4 ? text.size() - 4 : 0;
  for (size_t pos = text.size(); pos > from;) {
    --pos;
    const unsigned char byte = static_cast<unsigned char>(text[pos]);
    if ((byte & 0xC0) == 0x80) continue;
    uint32_t code;
    bool valid, truncated;
    decode(text, pos, code, valid, truncated);
    return truncated ? pos : text.size();
  }
  return text.size();
}

}  // namespace pagoda
