// A counter and a queue.
#include "server/http_turns.h"

namespace pagoda::server {

bool Turns::take(std::function<void()> comes) {
  const std::lock_guard lock(mutex_);
  if (free_ == 0) {
    waiting_.push_back(std::move(comes));
    return false;
  }
  --free_;
  return true;
}

void Turns::give_back() noexcept {
  std::function<void()> next;  // called, and destroyed, without the lock
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) {
      ++free_;
      return;
    }
    next.swap(waiting_.front());
    waiting_.pop_front();
  }
  try {
    next();
  } catch (...) {  // no memory to go on with this one, whose Turn is given back by now
  }
}

}  // namespace pagoda::server
