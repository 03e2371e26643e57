// Extended grapheme clusters (Unicode Standard Annex 29).
#pragma once

#include <cstddef>
#include <string_view>

namespace pagoda {

// End of the cluster that begins at text[pos] (pos < text.size(), at a cluster's begin, valid UTF-8).
size_t grapheme_end(std::string_view text, size_t pos);

}  // namespace pagoda
