// Gives every variable of a syntax tree its slot.
//
// jinja2 compiles a template to Python functions whose local variables are named by scope level; which level a name means is
// decided before anything runs, from all loads and stores in a scope (a loop body that assigns x anywhere has its own x,
// that starts as a copy of the outer one). The same rules are applied here, with slots in place of Python's variables.
#pragma once

#include "text/jinja_ast.h"

namespace pagoda::jinja {

// Throws TemplateError for what jinja2 refuses at this point: unknown filters and tests, assignments to `loop`,
// break outside a loop, blocks defined twice.
void resolve_template(TemplateCode& code);

}  // namespace pagoda::jinja
