// Time as programs measure it.
#pragma once

#include <chrono>

namespace pagoda {

// Of a clock that never goes back.
inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace pagoda
