// Arithmetic on sizes that come from files or requests: overflow throws instead of wrapping.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace pagoda {

inline int64_t checked_add(int64_t a, int64_t b, std::string_view where) {
  int64_t result;
  if (__builtin_add_overflow(a, b, &result)) invalid(where, "size overflow: {} + {} does not fit in 64 bits", a, b);
  return result;
}

inline int64_t checked_mul(int64_t a, int64_t b, std::string_view where) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) invalid(where, "size overflow: {} * {} does not fit in 64 bits", a, b);
  return result;
}

// Rounds up to a multiple of `to` (> 0).
inline int64_t checked_round_up(int64_t a, int64_t to, std::string_view where) {
  return checked_mul(checked_add(a, to - 1, where) / to, to, where);
}

constexpr int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t to) { return div_up(a, to) * to; }

}  // namespace pagoda
