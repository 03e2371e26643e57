// Regular expressions as grammars: what Python's re, ECMAScript and Rust's regex crate agree on.
#pragma once

#include <functional>
#include <string_view>

#include "generate/grammar/expression.h"

namespace pagoda::grammar {

// How one code point of a set is written: as it is, or with the escapes of a JSON string.
using CharWriter = std::function<Expr(const CodeSet&)>;

struct RegexExpr {
  Expr expr;
  int64_t min_chars = 0, max_chars = 0;  // of a match; kUnbounded
  // The whole pattern repeats one set: its length may be bounded further.
  bool one_set = false;
  CodeSet set;
  bool at_start = false, at_end = false;  // every alternative begins with ^, ends with $
};

// Where dialects differ on what a class holds: what all of them take, or what any of them takes.
enum class Dialects { kAll, kAny };

// The pattern matches the whole text. Read: alternation, groups (named ones too), classes, the escapes \d \w \s and their
// opposites, \p{..}, \xHH, \uHHHH, \u{..}, ^ and $ at the ends, ? * + {m,n}, lazy or not (the texts are the same).
// Where dialects differ, only what all of them take is written: \d is 0 to 9, \D no digit of any script, . no line end.
// kUnsupported by name: look-around, back-references, word boundaries, atomic and possessive parts, inline flags, ^ and $ in
// the middle. kInvalidInput: what is no pattern.
RegexExpr add_regex(Builder& builder, std::string_view pattern, const CharWriter& writer, Dialects dialects = Dialects::kAll);

}  // namespace pagoda::grammar
