// Python's view of characters, over the Unicode tables as of version 14 (Python 3.11's).
#include "text/python_unicode.h"

#include <algorithm>
#include <iterator>

#include "base/utf8.h"
#include "text/unicode.h"

namespace pagoda::python {

namespace {

using unicode::Category;

constexpr int kPythonUnicode = 140;

struct Range {
  uint32_t first, last;
};

// What Python knows beyond the category: digits that are no decimals, numerals among the ideographs, letters with case that
// are none by category, and what may stand between a capital sigma and the letters that decide its form.
constexpr Range kDigits[] = {{0xB2, 0xB3},     {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},   {0x2070, 0x2070},
                             {0x2074, 0x2079}, {0x2080, 0x2089},   {0x2460, 0x2468},   {0x2474, 0x247C},   {0x2488, 0x2490},
                             {0x24EA, 0x24EA}, {0x24F5, 0x24FD},   {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},
                             {0x278A, 0x2792}, {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};
constexpr Range kNumerals[] = {
    {0x3405, 0x3405},   {0x3483, 0x3483},   {0x382A, 0x382A},   {0x3B4D, 0x3B4D},   {0x4E00, 0x4E00},   {0x4E03, 0x4E03},
    {0x4E07, 0x4E07},   {0x4E09, 0x4E09},   {0x4E5D, 0x4E5D},   {0x4E8C, 0x4E8C},   {0x4E94, 0x4E94},   {0x4E96, 0x4E96},
    {0x4EBF, 0x4EC0},   {0x4EDF, 0x4EDF},   {0x4EE8, 0x4EE8},   {0x4F0D, 0x4F0D},   {0x4F70, 0x4F70},   {0x5104, 0x5104},
    {0x5146, 0x5146},   {0x5169, 0x5169},   {0x516B, 0x516B},   {0x516D, 0x516D},   {0x5341, 0x5341},   {0x5343, 0x5345},
    {0x534C, 0x534C},   {0x53C1, 0x53C4},   {0x56DB, 0x56DB},   {0x58F1, 0x58F1},   {0x58F9, 0x58F9},   {0x5E7A, 0x5E7A},
    {0x5EFE, 0x5EFF},   {0x5F0C, 0x5F0E},   {0x5F10, 0x5F10},   {0x62FE, 0x62FE},   {0x634C, 0x634C},   {0x67D2, 0x67D2},
    {0x6F06, 0x6F06},   {0x7396, 0x7396},   {0x767E, 0x767E},   {0x8086, 0x8086},   {0x842C, 0x842C},   {0x8CAE, 0x8CAE},
    {0x8CB3, 0x8CB3},   {0x8D30, 0x8D30},   {0x9621, 0x9621},   {0x9646, 0x9646},   {0x964C, 0x964C},   {0x9678, 0x9678},
    {0x96F6, 0x96F6},   {0xF96B, 0xF96B},   {0xF973, 0xF973},   {0xF978, 0xF978},   {0xF9B2, 0xF9B2},   {0xF9D1, 0xF9D1},
    {0xF9D3, 0xF9D3},   {0xF9FD, 0xF9FD},   {0x20001, 0x20001}, {0x20064, 0x20064}, {0x200E2, 0x200E2}, {0x20121, 0x20121},
    {0x2092A, 0x2092A}, {0x20983, 0x20983}, {0x2098C, 0x2098C}, {0x2099C, 0x2099C}, {0x20AEA, 0x20AEA}, {0x20AFD, 0x20AFD},
    {0x20B19, 0x20B19}, {0x22390, 0x22390}, {0x22998, 0x22998}, {0x23B1B, 0x23B1B}, {0x2626D, 0x2626D}, {0x2F890, 0x2F890}};
constexpr Range kOtherLower[] = {
    {0xAA, 0xAA},     {0xBA, 0xBA},     {0x2B0, 0x2B8},     {0x2C0, 0x2C1},     {0x2E0, 0x2E4},     {0x345, 0x345},
    {0x37A, 0x37A},   {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78},   {0x1D9B, 0x1DBF},   {0x2071, 0x2071},   {0x207F, 0x207F},
    {0x2090, 0x209C}, {0x2170, 0x217F}, {0x24D0, 0x24E9},   {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},
    {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F}, {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}};
constexpr Range kOtherUpper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
constexpr Range kIgnorable[] = {{0x27, 0x27},     {0x2E, 0x2E},     {0x3A, 0x3A},     {0xB7, 0xB7},
                                {0x387, 0x387},   {0x55F, 0x55F},   {0x5F4, 0x5F4},   {0x2018, 0x2019},
                                {0x2024, 0x2024}, {0x2027, 0x2027}, {0xFE13, 0xFE13}, {0xFE52, 0xFE52},
                                {0xFE55, 0xFE55}, {0xFF07, 0xFF07}, {0xFF0E, 0xFF0E}, {0xFF1A, 0xFF1A}};

template <size_t N>
bool in_ranges(uint32_t code, const Range (&ranges)[N]) {
  const Range* at = std::lower_bound(std::begin(ranges), std::end(ranges), code,
                                     [](const Range& range, uint32_t value) { return range.last < value; });
  return at != std::end(ranges) && at->first <= code;
}

bool between(uint32_t code, uint32_t low, uint32_t high) { return code >= low && code <= high; }

Category category(uint32_t code) { return unicode::assigned(code, kPythonUnicode) ? unicode::category(code) : Category::kCn; }

bool ascii_letter(uint32_t code) { return between(code | 0x20, 'a', 'z'); }
bool has_case(uint32_t code) { return is_lower(code) || is_upper(code) || is_title(code); }

bool case_ignorable(uint32_t code) {
  switch (category(code)) {
    case Category::kMn:
    case Category::kMe:
    case Category::kCf:
    case Category::kLm:
    case Category::kSk: return true;
    default: return in_ranges(code, kIgnorable);
  }
}

}  // namespace

bool is_space(uint32_t code) {
  return between(code, 0x09, 0x0D) || between(code, 0x1C, 0x20) || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         between(code, 0x2000, 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool is_line_end(uint32_t code) {
  return between(code, 0x0A, 0x0D) || between(code, 0x1C, 0x1E) || code == 0x85 || code == 0x2028 || code == 0x2029;
}

bool is_alpha(uint32_t code) {
  if (code < 0x80) return ascii_letter(code);
  return between(static_cast<uint32_t>(category(code)), static_cast<uint32_t>(Category::kLu),
                 static_cast<uint32_t>(Category::kLo));
}
bool is_decimal(uint32_t code) { return code < 0x80 ? between(code, '0', '9') : category(code) == Category::kNd; }
bool is_digit(uint32_t code) { return is_decimal(code) || in_ranges(code, kDigits); }
bool is_numeric(uint32_t code) {
  if (code < 0x80) return between(code, '0', '9');
  const Category of = category(code);
  return of == Category::kNd || of == Category::kNl || of == Category::kNo || in_ranges(code, kNumerals);
}
bool is_alnum(uint32_t code) { return is_alpha(code) || is_numeric(code) || is_digit(code); }

bool is_printable(uint32_t code) {
  if (code < 0x80) return between(code, 0x20, 0x7E);
  switch (category(code)) {
    case Category::kCn:
    case Category::kCc:
    case Category::kCf:
    case Category::kCs:
    case Category::kCo:
    case Category::kZs:
    case Category::kZl:
    case Category::kZp: return false;
    default: return true;
  }
}

bool is_lower(uint32_t code) {
  if (code < 0x80) return between(code, 'a', 'z');
  return category(code) == Category::kLl || in_ranges(code, kOtherLower);
}
bool is_upper(uint32_t code) {
  if (code < 0x80) return between(code, 'A', 'Z');
  return category(code) == Category::kLu || in_ranges(code, kOtherUpper);
}
bool is_title(uint32_t code) { return code >= 0x80 && category(code) == Category::kLt; }
bool is_word(uint32_t code) { return is_alnum(code) || code == '_'; }

bool is_identifier_start(uint32_t code) {
  if (code < 0x80) return ascii_letter(code) || code == '_';
  if (between(code, 0xFC5E, 0xFC63) || (between(code, 0xFE70, 0xFE7E) && code % 2 == 0) || code == 0x37A || code == 0xE33 ||
      code == 0xEB3 || code == 0x2E2F || code == 0xFDFA || code == 0xFDFB || code == 0xFF9E || code == 0xFF9F) {
    return false;  // letters whose compatible forms are none
  }
  return is_alpha(code) || category(code) == Category::kNl || code == 0x1885 || code == 0x1886 || code == 0x2118 ||
         code == 0x212E;
}

bool is_identifier_part(uint32_t code) {
  if (is_identifier_start(code)) return true;
  if (code < 0x80) return between(code, '0', '9');
  switch (category(code)) {
    case Category::kMn:
    case Category::kMc:
    case Category::kNd:
    case Category::kPc: return true;
    default: break;
  }
  return code == 0xB7 || code == 0x387 || between(code, 0x1369, 0x1371) || code == 0x19DA || code == 0xE33 || code == 0xEB3 ||
         code == 0xFF9E || code == 0xFF9F;
}

int decimal_value(uint32_t code) {
  if (code < 0x80) return is_decimal(code) ? static_cast<int>(code - '0') : -1;
  if (!is_decimal(code)) return -1;
  // Decimal digits come in runs of ten from zero to nine.
  uint32_t first = code;
  while (is_decimal(first - 1)) --first;
  return static_cast<int>((code - first) % 10);
}

namespace {

void put_lower(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(between(code, 'A', 'Z') ? code + 32 : code));
  } else if (unicode::assigned(code, kPythonUnicode)) {
    unicode::append_lower(out, code);
  } else {
    utf8_append(out, code);
  }
}
void put_upper(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(between(code, 'a', 'z') ? code - 32 : code));
  } else if (unicode::assigned(code, kPythonUnicode)) {
    unicode::append_upper(out, code);
  } else {
    utf8_append(out, code);
  }
}
void put_title(std::string& out, uint32_t code) {
  if (code < 0x80) {
    put_upper(out, code);
  } else if (unicode::assigned(code, kPythonUnicode)) {
    unicode::append_title(out, code);
  } else {
    utf8_append(out, code);
  }
}

uint32_t code_before(std::string_view text, size_t& at) {
  --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  size_t next = at;
  return utf8_next(text, next);
}

// A capital sigma at [start, end) ends a word: a letter with case before it, none after it.
bool final_sigma(std::string_view text, size_t start, size_t end) {
  bool before = false;
  for (size_t at = start; at > 0;) {
    const uint32_t code = code_before(text, at);
    if (case_ignorable(code)) continue;
    before = has_case(code);
    break;
  }
  if (!before) return false;
  for (size_t at = end; at < text.size();) {
    const uint32_t code = utf8_next(text, at);
    if (!case_ignorable(code)) return !has_case(code);
  }
  return true;
}

constexpr uint32_t kCapitalSigma = 0x3A3;

void put_lower_at(std::string& out, std::string_view text, uint32_t code, size_t start, size_t end) {
  if (code == kCapitalSigma) {
    utf8_append(out, final_sigma(text, start, end) ? 0x3C2 : 0x3C3);
  } else {
    put_lower(out, code);
  }
}

// Calls put(out, code, start, end) for every code point.
template <class Put>
std::string each(std::string_view text, const Put& put) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const uint32_t code = utf8_next(text, i);
    put(out, code, start, i);
  }
  return out;
}

}  // namespace

std::string upper(std::string_view text) {
  return each(text, [](std::string& out, uint32_t code, size_t, size_t) { put_upper(out, code); });
}

std::string lower(std::string_view text) {
  return each(text,
              [&](std::string& out, uint32_t code, size_t start, size_t end) { put_lower_at(out, text, code, start, end); });
}

std::string casefold(std::string_view text) {
  return each(text, [](std::string& out, uint32_t code, size_t, size_t) {
    if (code < 0x80) {
      put_lower(out, code);
    } else if (code == 0x1E9E) {
      out += "ss";
    } else if (code == 0x131) {
      utf8_append(out, code);
    } else if (between(code, 0x13A0, 0x13FD) || between(code, 0xAB70, 0xABBF)) {
      put_upper(out, code);  // Cherokee folds to capitals
    } else {
      std::string big;
      put_upper(big, code);
      for (size_t i = 0; i < big.size();) put_lower(out, utf8_next(big, i));
    }
  });
}

std::string swapcase(std::string_view text) {
  return each(text, [&](std::string& out, uint32_t code, size_t start, size_t end) {
    if (is_upper(code)) {
      put_lower_at(out, text, code, start, end);
    } else if (is_lower(code)) {
      put_upper(out, code);
    } else {
      utf8_append(out, code);
    }
  });
}

std::string capitalize(std::string_view text) {
  return each(text, [&](std::string& out, uint32_t code, size_t start, size_t end) {
    if (start == 0) {
      put_title(out, code);
    } else {
      put_lower_at(out, text, code, start, end);
    }
  });
}

std::string title(std::string_view text) {
  bool previous = false;
  return each(text, [&](std::string& out, uint32_t code, size_t start, size_t end) {
    if (previous) {
      put_lower_at(out, text, code, start, end);
    } else {
      put_title(out, code);
    }
    previous = has_case(code);
  });
}

}  // namespace pagoda::python
