// The nearest of several names, for messages about one that is not known.
#pragma once

#include <cstddef>
#include <string_view>

namespace pagoda {

// Letters to insert, delete or replace (Levenshtein), in bytes.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace pagoda
