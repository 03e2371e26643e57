// JSON read byte by byte: where an object or a list ends, and the first byte that cannot belong to it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda::chat {

// One value, an object or a list, checked as it comes by JSON's grammar.
class JsonScanner {
 public:
  enum class State { kMore, kDone, kBad };
  State feed(char c);
  int64_t depth() const { return static_cast<int64_t>(open_.size()); }  // brackets open

 private:
  // The last eight are places within a number: at kZero, kInteger, kFraction and kPower it may end.
  enum class Expect : uint8_t {
    kValue,
    kValueOrEnd,
    kKey,
    kKeyOrEnd,
    kColon,
    kNext,
    kString,
    kEscape,
    kHex,
    kWord,
    kMinus,
    kZero,
    kInteger,
    kPoint,
    kFraction,
    kExponent,
    kSign,
    kPower
  };
  State value(char c);
  State open(char c);
  State close(char c);
  State next(char c);
  State number(char c);

  static constexpr size_t kMostDepth = 128;
  std::vector<char> open_;  // '{' or '['
  Expect expect_ = Expect::kValue;
  bool in_key_ = false;
  int hex_left_ = 0;
  std::string_view word_left_;  // of true, false or null
};

// The text of member `key` of an object that was parsed before; empty: none of that spelling. The last one counts.
std::string_view member_text(std::string_view object, std::string_view key);

inline bool is_json_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace pagoda::chat
