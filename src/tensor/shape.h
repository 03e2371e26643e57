// Sizes of shapes that come from files.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/checked.h"

namespace pagoda {

// kInvalidInput where the number does not fit in 64 bits.
inline int64_t element_count(const std::vector<int64_t>& shape, std::string_view where) {
  int64_t count = 1;
  for (const int64_t dim : shape) count = checked_mul(count, dim, where);
  return count;
}

}  // namespace pagoda
