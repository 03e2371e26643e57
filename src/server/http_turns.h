// Turns of work that takes long: so many at once, the others wait in order.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace pagoda::server {

// Thread-safe. Outlives its turns.
class Turns {
 public:
  explicit Turns(int64_t most) : free_(most) {}

  // True: the caller has a turn now. False: `comes` is called once it has one, on the thread of whoever gives one back; must
  // not block, and must begin with making a Turn.
  bool take(std::function<void()> comes);
  void give_back() noexcept;

 private:
  std::mutex mutex_;
  int64_t free_;
  std::deque<std::function<void()>> waiting_;
};

// A turn that was taken, until the end of its life.
class Turn {
 public:
  explicit Turn(Turns& turns) : turns_(&turns) {}
  Turn(Turn&& other) noexcept : turns_(std::exchange(other.turns_, nullptr)) {}
  Turn& operator=(Turn&&) = delete;
  ~Turn() {
    if (turns_ != nullptr) turns_->give_back();
  }

 private:
  Turns* turns_;
};

}  // namespace pagoda::server
