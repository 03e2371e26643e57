// Patterns of tokenizer files parsed to a tree: Oniguruma's Ruby syntax (Hugging Face) or Rust's (tiktoken).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "text/code_set.h"

namespace pagoda {

enum class PatternDialect {
  kOniguruma,  // ^ and $ at every line, (?m) lets . match a newline, {n,m}+ repeats the repeat
  kRust,       // ^ and $ at the text's ends, (?s) lets . match a newline
};

struct PatternNode {
  enum class Kind {
    kEmpty,
    kSet,           // one code point of `set`
    kConcat,        // children in order
    kAlternate,     // children by preference
    kRepeat,        // child 0, min to max times
    kGroup,         // capture (number > 0) or plain group (number 0) of child 0
    kAtomic,        // (?>child 0)
    kLook,          // look-around of child 0
    kAssert,        // one of the letters A z Z b B G ^ $
    kBackReference  // number, or name
  };
  enum class Greed { kGreedy, kLazy, kPossessive };
  Kind kind = Kind::kEmpty;
  std::vector<std::unique_ptr<PatternNode>> children;
  CodeSet set;
  // kAssert b, B: the inside of the class of word characters. kSet:
  // Where the set is a union of things PCRE2 knows: its own spelling of the inside of a class, newer code points added. Else
  // empty.
  std::string class_text;
  bool class_negated = false;
  bool ignore_case = false;   // kSet, kBackReference: under (?i)
  int64_t min = 0, max = -1;  // kRepeat; max -1: no bound
  Greed greed = Greed::kGreedy;
  bool behind = false, negative = false;  // kLook
  char assertion = 0;
  int number = 0;
  std::string name;
  int nesting = 0;  // groups and repeats on the deepest path down from here, this one included
};

struct Pattern {
  std::unique_ptr<PatternNode> root;
  int groups = 0;
};

// Throws kInvalidInput "[where] pattern ...: ..." with the byte offset; kUnsupported for constructs neither engine shares.
Pattern parse_pattern(std::string_view text, PatternDialect dialect, std::string_view where, const Limits& limits = {});

// The same pattern as PCRE2 reads it (UTF and UCP on, newline is LF).
std::string to_pcre2(const PatternNode& root);

}  // namespace pagoda
