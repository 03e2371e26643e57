// What a long task tells its caller, and how it is stopped.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>

namespace pagoda {

// Thrown by a task whose `cancel` was set.
struct Cancelled {};

struct TaskHooks {
  // May be null. Called by one thread at a time; total 0: not known.
  std::function<void(std::string_view stage, int64_t done, int64_t total)> progress;
  const std::atomic<bool>* cancel = nullptr;

  void at(std::string_view stage, int64_t done, int64_t total) const {
    check();
    if (progress) progress(stage, done, total);
  }
  void check() const {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) throw Cancelled();
  }
};

}  // namespace pagoda
