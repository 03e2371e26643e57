// Errors of the engine as those of the API: nothing else leaves it.
#pragma once

#include "pagoda/error.h"

namespace pagoda::api {

// Throws the current exception as an Error; call inside catch (...).
[[noreturn]] void throw_translated();

// What fn returns. Callers' callbacks run outside of it: what they throw goes on as it is.
template <class Fn>
decltype(auto) translated(Fn&& fn) {
  try {
    return fn();
  } catch (...) {
    throw_translated();
  }
}

}  // namespace pagoda::api
