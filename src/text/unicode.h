// Unicode properties of code points, from one pinned extract (Unicode 16, a few facts of 17) that knows the age of each.
// Age matters because the libraries whose results we match froze at different versions: `at` arguments say which.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda::unicode {

enum class Category : uint8_t {
  kCn,
  kLu,
  kLl,
  kLt,
  kLm,
  kLo,
  kMn,
  kMc,
  kMe,
  kNd,
  kNl,
  kNo,
  kPc,
  kPd,
  kPs,
  kPe,
  kPi,
  kPf,
  kPo,
  kSm,
  kSc,
  kSk,
  kSo,
  kZs,
  kZl,
  kZp,
  kCc,
  kCf,
  kCs,
  kCo,
};

enum class Break : uint8_t {
  kOther,
  kCr,
  kLf,
  kControl,
  kExtend,
  kZwj,
  kRegional,
  kPrepend,
  kSpacingMark,
  kL,
  kV,
  kT,
  kLv,
  kLvt,
};

// Versions, times ten.
constexpr int kUnicode9 = 90;
constexpr int kUnicode16 = 160;
constexpr int kUnicode17 = 170;

Category category(uint32_t code);                          // as of the newest data
int age(uint32_t code);                                    // version * 10 in which it was assigned; 0: never
inline bool assigned(uint32_t code, int at);               // assigned in version `at`
char major_category(uint32_t code);                        // 'L', 'M', 'N', 'P', 'S', 'Z', 'C'
const char* category_name(Category category);              // "Lu"
int script(uint32_t code);                                 // number for script_name
const char* script_name(int script);                       // "Latin"
std::string plain_name(std::string_view name);             // in lower case, without spaces, '_' and '-'
std::optional<int> script_by_name(std::string_view name);  // compared as plain names
Break grapheme_break(uint32_t code);
bool is_pictographic(uint32_t code);
int conjunct_break(uint32_t code);  // 0 none, 1 consonant, 2 linker, 3 extend
int combining_class(uint32_t code);

bool is_whitespace(uint32_t code);  // White_Space, unchanged since Unicode 6.3
bool is_number(uint32_t code);      // N, Unicode 17
bool is_word(uint32_t code);        // \w of Rust's regex crate: letters, marks, digits, connectors, joiners; Unicode 16

// Full case mappings of one code point appended to `out` as UTF-8 (Unicode 17).
void append_lower(std::string& out, uint32_t code);
void append_upper(std::string& out, uint32_t code);
void append_title(std::string& out, uint32_t code);
// The mapping as code points: empty when the code point maps to itself.
struct Codes {
  const uint32_t* data = nullptr;
  int size = 0;
};
Codes lower(uint32_t code);
Codes upper(uint32_t code);
Codes title(uint32_t code);

// One step of decomposition; size 0 where there is none. Hangul is left to the caller.
Codes decomposition(uint32_t code, bool compatibility);
// True where a text of such code points alone is already in the normal form (composed or not, canonical or compatible).
bool is_inert(uint32_t code, bool compose, bool compatibility);
// Composition of a pair without Hangul; 0 where there is none.
uint32_t compose(uint32_t first, uint32_t second);

inline bool assigned(uint32_t code, int at) {
  const int since = age(code);
  return since != 0 && since <= at;
}

}  // namespace pagoda::unicode
