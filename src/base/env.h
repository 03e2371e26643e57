// Environment variables: the one place where they are read.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pagoda {

// The variable's value, or nothing when it is unset. A variable set to the empty string gives "".
std::optional<std::string> env(std::string_view name);

}  // namespace pagoda
