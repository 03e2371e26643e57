// Patterns of JSON Schema's string formats: each takes only texts of the format, not always all of them.
#pragma once

#include <string_view>

namespace pagoda::grammar {

// Empty: a format that is not read.
std::string_view format_pattern(std::string_view format);

}  // namespace pagoda::grammar
