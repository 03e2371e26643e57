// Memory that is wanted soon, into the caches.
#pragma once

#include <cstdint>

namespace pagoda {

// The line at from + bytes. It may lie behind the end of what `from` points into, where a pointer must not be computed; reading
// ahead faults nowhere.
__attribute__((always_inline)) inline void read_ahead(const void* from, int64_t bytes) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(bytes);
  __builtin_prefetch(reinterpret_cast<const void*>(at));  // NOLINT(performance-no-int-to-ptr)
}

}  // namespace pagoda
