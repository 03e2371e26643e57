// A text's words as Python's str.split() has them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pagoda {

std::vector<std::string> split_words(std::string_view text);

}  // namespace pagoda
