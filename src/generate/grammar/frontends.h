// The readers of grammars: each adds its rules to a builder and names the first.
#pragma once

#include <string_view>

#include "base/json.h"
#include "generate/grammar/expression.h"
#include "generate/grammar/grammar.h"

namespace pagoda::grammar {

Rule add_gbnf(Builder& builder, std::string_view source);
Rule add_lark(Builder& builder, std::string_view source);
Rule add_json_schema(Builder& builder, const Json& schema, const JsonGrammarOptions& options);
Rule add_json_object(Builder& builder, const JsonGrammarOptions& options);

}  // namespace pagoda::grammar
