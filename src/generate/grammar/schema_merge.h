// One JSON schema that says what two say: what allOf and keywords beside $ref and anyOf come down to.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/json.h"

namespace pagoda::grammar {

// What a keyword is to us.
enum class Keyword {
  kRead,
  kNote,     // says nothing about texts: titles, defaults, examples
  kRefused,  // has a meaning that we cannot keep to, or none that we know
};
Keyword keyword_kind(std::string_view name);

// Both are objects without $ref, allOf, anyOf and oneOf, or booleans. False where nothing fits both.
// Throws kUnsupported, naming the keyword, where two values of it cannot be made one.
Json merge_schemas(const Json& a, const Json& b, std::string_view where, std::string_view path);

// Tells whether a given value fits the keywords of the schema that speak of type, size and range; used where enum or const
// stands beside them. Throws kUnsupported where another keyword would have to be asked.
bool value_fits(const Json& value, const Json& schema, std::string_view where, std::string_view path);
bool is_of_type(const Json& value, std::string_view type);

}  // namespace pagoda::grammar
