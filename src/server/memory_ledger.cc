// One counter, and how large it may become.
#include "server/memory_ledger.h"

#include <algorithm>

#include "base/cpu_info.h"

namespace pagoda::server {

int64_t MemoryLedger::share_of_memory() {
  // The largest answer is that of `most_logprobs` log-probabilities (generation_request.h).
  constexpr int64_t kLeast = int64_t{512} << 20;
  return std::max(kLeast, detect_cpu().memory_available / 16);
}

bool MemoryLedger::Lease::resize(int64_t bytes) noexcept {
  if (account_ == nullptr) return true;
  const auto counted = [](int64_t all) { return std::max<int64_t>(0, all - kFreeBytes); };
  const int64_t more = counted(bytes) - counted(bytes_);
  if (more == 0) {
    bytes_ = bytes;
    return true;
  }
  int64_t held = account_->held.load(std::memory_order_relaxed);
  do {
    if (more > 0 && more > account_->most - held) return false;
  } while (!account_->held.compare_exchange_weak(held, held + more, std::memory_order_relaxed));
  bytes_ = bytes;
  return true;
}

}  // namespace pagoda::server
