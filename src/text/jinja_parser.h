// Tokens to syntax tree, by jinja2's grammar with the tags generation, break and continue.
#pragma once

#include <memory>
#include <string_view>

#include "base/limits.h"
#include "text/jinja_ast.h"

namespace pagoda::jinja {

// Throws TemplateError (TemplateSyntaxError, TemplateAssertionError) with the line. The variables are not resolved yet.
std::unique_ptr<TemplateCode> parse_template(std::string_view source, const Limits& limits);

}  // namespace pagoda::jinja
