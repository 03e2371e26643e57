// The text of JSON as expressions: strings, numbers, white space, any value, one given value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "generate/grammar/expression.h"
#include "generate/grammar/grammar.h"

namespace pagoda::grammar {

CodeSet plain_characters();  // those that stand in a string as they are

class JsonText {
 public:
  JsonText(Builder& builder, const JsonGrammarOptions& options) : builder_(builder), options_(options) {}

  Expr space();  // what may stand inside brackets and around ',' and ':'
  Expr comma();
  Expr colon();
  // One code point of the set inside a string, escaped where it must be.
  Expr character(const CodeSet& set);
  Expr string(int64_t min, int64_t max);  // with quotes; lengths in code points, max kUnbounded
  Expr integer();                         // up to 18 digits, so that it fits int64
  Expr number();                          // up to 20 digits before and behind the point, exponents of two
  Expr boolean();
  Expr any_value();
  Expr any_object();
  Expr any_array();
  Expr key(std::string_view name);  // with quotes, spelled as json.dumps does without ensure_ascii
  // A key that is none of `names`, however it is spelled.
  Expr other_key(const std::vector<std::string>& names);
  Expr value(const Json& value);

 private:
  Expr any_character();
  Rule values();
  Builder& builder_;
  JsonGrammarOptions options_;
  Rule space_ = -1, character_ = -1, string_ = -1, number_ = -1, integer_ = -1, value_ = -1, object_ = -1, array_ = -1;
};

// A number between bounds, written without exponent. Bounds are numbers of the schema; null: none.
struct NumberBounds {
  Json low, high, multiple_of;
  bool low_open = false, high_open = false;
};
// Throws kUnsupported where a bound has too many digits, and where multiples would need too many states.
Expr bounded_number(Builder& builder, const NumberBounds& bounds, bool whole, std::string_view path);

}  // namespace pagoda::grammar
