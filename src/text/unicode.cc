// Lookups in the generated tables.
#include "text/unicode.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/unicode_tables.h"

namespace pagoda::unicode {

namespace {

const Record& record(uint32_t code) {
  return kRecords[code < 0x110000 ? kStage2[kStage1[code >> 8] * 256 + (code & 255)] : kStage2[kStage1[0x10FF] * 256 + 255]];
}

Codes find(const Mapping* begin, int count, const uint32_t* pool, uint32_t code, const Mapping** found = nullptr) {
  const Mapping* const it =
      std::lower_bound(begin, begin + count, code, [](const Mapping& m, uint32_t c) { return m.code < c; });
  if (it == begin + count || it->code != code) return {};
  if (found != nullptr) *found = it;
  return {pool + it->offset, it->length};
}

void append(std::string& out, Codes codes, uint32_t code) {
  if (codes.size == 0) return utf8_append(out, code);
  for (int i = 0; i < codes.size; ++i) utf8_append(out, codes.data[i]);
}

}  // namespace

Category category(uint32_t code) { return static_cast<Category>(record(code).category); }
int age(uint32_t code) { return record(code).age; }
char major_category(uint32_t code) { return category_name(category(code))[0]; }

const char* category_name(Category category) { return kCategoryNames[static_cast<int>(category)]; }

std::string plain_name(std::string_view name) {
  std::string out;
  for (char c : name) {
    if (c == '_' || c == '-' || c == ' ') continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  return out;
}

int script(uint32_t code) { return record(code).script; }
const char* script_name(int script) { return kScriptNames[script]; }

std::optional<int> script_by_name(std::string_view name) {
  const std::string wanted = plain_name(name);
  for (int i = 0; i < kScriptCount; ++i) {
    if (plain_name(kScriptNames[i]) == wanted) return i;
  }
  return std::nullopt;
}

Break grapheme_break(uint32_t code) { return static_cast<Break>(record(code).grapheme_break); }
bool is_pictographic(uint32_t code) { return (record(code).flags & kPictographic) != 0; }

int conjunct_break(uint32_t code) {
  const int flags = record(code).flags;
  return (flags & kConsonant) != 0 ? 1 : (flags & kLinker) != 0 ? 2 : (flags & kConjunctExtend) != 0 ? 3 : 0;
}

int combining_class(uint32_t code) { return record(code).combining_class; }

bool is_whitespace(uint32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 9 && code <= 13);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_number(uint32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  return major_category(code) == 'N';
}

bool is_word(uint32_t code) {
  if (code < 0x80)
    return (code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') || code == '_';
  const Record& r = record(code);
  const Category c = static_cast<Category>(r.category);
  if (r.age > kUnicode16) return false;
  return (r.flags & kAlphabetic) != 0 || (c >= Category::kMn && c <= Category::kNd) || c == Category::kPc || code == 0x200C ||
         code == 0x200D;
}

Codes lower(uint32_t code) {
  return (record(code).flags & kHasCase) == 0 ? Codes{} : find(kLower, kLowerCount, kLowerPool, code);
}
Codes upper(uint32_t code) {
  return (record(code).flags & kHasCase) == 0 ? Codes{} : find(kUpper, kUpperCount, kUpperPool, code);
}
Codes title(uint32_t code) {
  return (record(code).flags & kHasCase) == 0 ? Codes{} : find(kTitle, kTitleCount, kTitlePool, code);
}
void append_lower(std::string& out, uint32_t code) { append(out, lower(code), code); }
void append_upper(std::string& out, uint32_t code) { append(out, upper(code), code); }
void append_title(std::string& out, uint32_t code) { append(out, title(code), code); }

Codes decomposition(uint32_t code, bool compatibility) {
  if ((record(code).flags & kDecomposes) == 0) return {};
  const Mapping* mapping = nullptr;
  const Codes codes = find(kDecompositions, kDecompositionsCount, kDecompositionsPool, code, &mapping);
  return mapping != nullptr && (mapping->kind != 2 || compatibility) ? codes : Codes{};
}

bool is_inert(uint32_t code, bool compose, bool compatibility) {
  const Record& r = record(code);
  if (r.combining_class != 0) return false;
  if (!compose || compatibility)
    return (r.flags & (kDecomposes | (compose ? kComposesBack : 0))) == 0 && !(code >= 0xAC00 && code <= 0xD7A3 && !compose);
  return (r.flags & (kComposesBack | kNotNfc)) == 0;
}

uint32_t compose(uint32_t first, uint32_t second) {
  const Composition* const end = kCompositions + kCompositionsCount;
  const Composition* const it =
      std::lower_bound(kCompositions, end, std::pair(first, second),
                       [](const Composition& c, const auto& pair) { return std::pair(c.first, c.second) < pair; });
  return it != end && it->first == first && it->second == second ? it->composed : 0;
}

}  // namespace pagoda::unicode
