// Python's view of characters, for ASCII and Latin-1; other letters map to themselves.
#include "text/jinja_unicode.h"

#include "base/utf8.h"

namespace pagoda::jinja {

namespace {
bool between(uint32_t code, uint32_t low, uint32_t high) { return code >= low && code <= high; }
}  // namespace

bool is_space(uint32_t code) {
  return between(code, 0x09, 0x0D) || between(code, 0x1C, 0x20) || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         between(code, 0x2000, 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool is_line_end(uint32_t code) {
  return between(code, 0x0A, 0x0D) || between(code, 0x1C, 0x1E) || code == 0x85 || code == 0x2028 || code == 0x2029;
}

bool is_decimal(uint32_t code) { return between(code, '0', '9'); }
bool is_digit(uint32_t code) { return is_decimal(code) || code == 0xB2 || code == 0xB3 || code == 0xB9; }
bool is_numeric(uint32_t code) { return is_digit(code) || between(code, 0xBC, 0xBE); }
bool is_lower(uint32_t code) {
  return between(code, 'a', 'z') || code == 0xAA || code == 0xB5 || code == 0xBA || (between(code, 0xDF, 0xFF) && code != 0xF7);
}
bool is_upper(uint32_t code) { return between(code, 'A', 'Z') || (between(code, 0xC0, 0xDE) && code != 0xD7); }
bool is_title(uint32_t code) { return code == 0x1C5; }
bool is_alpha(uint32_t code) { return is_lower(code) || is_upper(code) || code >= 0x100; }
bool is_alnum(uint32_t code) { return is_alpha(code) || is_numeric(code); }
bool is_printable(uint32_t code) {
  if (code < 0x20 || between(code, 0x7F, 0xA0) || code == 0xAD) return false;
  if (code != ' ' && is_space(code)) return false;
  return !between(code, 0x200B, 0x200F) && !between(code, 0x202A, 0x202E) && code != 0xFEFF && !between(code, 0xE000, 0xF8FF);
}
bool is_word(uint32_t code) { return is_alnum(code) || code == '_'; }
bool is_identifier_start(uint32_t code) { return is_alpha(code) || code == '_'; }
bool is_identifier_part(uint32_t code) { return is_identifier_start(code) || is_decimal(code); }
int decimal_value(uint32_t code) { return is_decimal(code) ? static_cast<int>(code - '0') : -1; }

namespace {

void put_upper(std::string& out, uint32_t code) {
  if (code == 0xDF) {
    out += "SS";
  } else if (code == 0xFF) {
    utf8_append(out, 0x178);
  } else if (code == 0xB5) {
    utf8_append(out, 0x39C);
  } else if (is_lower(code) && code != 0xAA && code != 0xBA) {
    utf8_append(out, code - 32);
  } else {
    utf8_append(out, code);
  }
}
void put_lower(std::string& out, uint32_t code) { utf8_append(out, is_upper(code) ? code + 32 : code); }
void put_title(std::string& out, uint32_t code) {
  if (code == 0xDF) {
    out += "Ss";
  } else {
    put_upper(out, code);
  }
}

template <class Put>
std::string each(std::string_view text, const Put& put) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) put(out, utf8_next(text, i));
  return out;
}

}  // namespace

std::string upper(std::string_view text) { return each(text, put_upper); }
std::string lower(std::string_view text) { return each(text, put_lower); }
std::string casefold(std::string_view text) {
  return each(text, [](std::string& out, uint32_t code) {
    if (code == 0xDF) {
      out += "ss";
    } else {
      put_lower(out, code);
    }
  });
}
std::string swapcase(std::string_view text) {
  return each(text, [](std::string& out, uint32_t code) { is_upper(code) ? put_lower(out, code) : put_upper(out, code); });
}
std::string capitalize(std::string_view text) {
  bool first = true;
  return each(text, [&](std::string& out, uint32_t code) {
    first ? put_title(out, code) : put_lower(out, code);
    first = false;
  });
}
std::string title(std::string_view text) {
  bool previous = false;
  return each(text, [&](std::string& out, uint32_t code) {
    previous ? put_lower(out, code) : put_title(out, code);
    previous = is_lower(code) || is_upper(code) || is_title(code);
  });
}

}  // namespace pagoda::jinja
