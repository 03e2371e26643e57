// Rules GB3 to GB13 as one left-to-right pass.
#include "text/graphemes.h"

#include "base/utf8.h"
#include "text/unicode.h"

namespace pagoda {

size_t grapheme_end(std::string_view text, size_t pos) {
  using unicode::Break;
  // Two ASCII characters never join, but for CR LF.
  const unsigned char first_byte = static_cast<unsigned char>(text[pos]);
  if (first_byte < 0x80) {
    if (pos + 1 == text.size()) return pos + 1;
    if (static_cast<unsigned char>(text[pos + 1]) < 0x80)
      return first_byte == '\r' && text[pos + 1] == '\n' ? pos + 2 : pos + 1;
  }
  uint32_t code = utf8_next(text, pos);
  Break previous = unicode::grapheme_break(code);
  bool pictographic = unicode::is_pictographic(code);  // GB11: a pictograph, then only Extend so far
  bool joined = false;                                 // ... and then a ZWJ
  int regional = previous == Break::kRegional ? 1 : 0;
  int conjunct = unicode::conjunct_break(code);
  bool consonant = conjunct == 1, linker = false;  // GB9c
  while (pos < text.size()) {
    size_t next_pos = pos;
    code = utf8_next(text, next_pos);
    const Break next = unicode::grapheme_break(code);
    const bool next_pictographic = unicode::is_pictographic(code);
    conjunct = unicode::conjunct_break(code);
    bool join = false;
    if (previous == Break::kCr) {
      join = next == Break::kLf;
    } else if (previous == Break::kControl || previous == Break::kLf || next == Break::kControl || next == Break::kCr ||
               next == Break::kLf) {
      join = false;
    } else if (previous == Break::kL && (next == Break::kL || next == Break::kV || next == Break::kLv || next == Break::kLvt)) {
      join = true;
    } else if ((previous == Break::kLv || previous == Break::kV) && (next == Break::kV || next == Break::kT)) {
      join = true;
    } else if ((previous == Break::kLvt || previous == Break::kT) && next == Break::kT) {
      join = true;
    } else if (next == Break::kExtend || next == Break::kZwj || next == Break::kSpacingMark || previous == Break::kPrepend) {
      join = true;
    } else if (consonant && linker && conjunct == 1) {
      join = true;
    } else if (joined && next_pictographic) {
      join = true;
    } else if (next == Break::kRegional && regional % 2 == 1) {
      join = true;
    }
    if (!join) return pos;
    joined = pictographic && next == Break::kZwj;
    pictographic = next_pictographic || (pictographic && next == Break::kExtend);
    regional = next == Break::kRegional ? regional + 1 : 0;
    if (conjunct == 1) {
      consonant = true;
      linker = false;
    } else if (consonant && conjunct == 2) {
      linker = true;
    } else if (conjunct != 3 && next != Break::kZwj) {
      consonant = linker = false;
    }
    previous = next;
    pos = next_pos;
  }
  return pos;
}

}  // namespace pagoda
