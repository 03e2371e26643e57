// Characters in templates are Python's.
#pragma once

#include "text/python_unicode.h"

namespace pagoda::jinja {

using namespace python;

}  // namespace pagoda::jinja
