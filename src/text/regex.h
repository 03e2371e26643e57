// A compiled pattern: PCRE2 with its JIT, under match limits.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "text/pattern_syntax.h"

namespace pagoda {

// Working memory of one matching thread; any Regex may use it, one at a time.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

// Immutable and safe to share between threads.
class Regex {
 public:
  // `where` names the file and field in errors.
  static std::shared_ptr<const Regex> compile(std::string_view pattern, PatternDialect dialect, std::string_view where,
                                              const Limits& limits = {});
  // A pattern that matches this text alone.
  static std::shared_ptr<const Regex> literal(std::string_view text, std::string_view where);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  // First match at or after `from`, with look-behind into what precedes. `text` must be valid UTF-8.
  // Throws kInvalidInput when the limits are reached.
  bool search(std::string_view text, size_t from, size_t& begin, size_t& end, RegexScratch& scratch) const;

  // All matches as Oniguruma's and Rust's iterators give them: an empty match right after a match is left out.
  template <class Found>
  void for_each_match(std::string_view text, RegexScratch& scratch, Found&& found) const {
    size_t from = 0, begin = 0, end = 0, last_end = std::string_view::npos;
    while (from <= text.size() && search(text, from, begin, end, scratch)) {
      if (begin == end && end == last_end) {
        if (from >= text.size()) break;
        do {
          ++from;
        } while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80);
        continue;
      }
      found(begin, end);
      from = last_end = end;
    }
  }

  const std::string& source() const { return source_; }

 private:
  Regex() = default;
  struct Code;
  std::unique_ptr<Code> code_;
  std::string source_;
};

}  // namespace pagoda
