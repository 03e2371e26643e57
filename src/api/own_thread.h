// Opening models beside the caller's thread, which a Runtime would pin, or give a wish for memory.
#pragma once

#include <future>
#include <utility>

namespace pagoda::api {

// What fn returns or throws, run on a thread of its own. Threads that it starts inherit that one's cores, as the engine's
// should.
template <class Fn>
auto on_own_thread(Fn&& fn) {
  return std::async(std::launch::async, std::forward<Fn>(fn)).get();
}

}  // namespace pagoda::api
