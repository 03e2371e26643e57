// One account of the memory that a server holds for its clients: bodies, what open requests keep, answers that are not sent
// yet.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

namespace pagoda::server {

// Thread-safe; copies are the same ledger, and leases may outlive it. What finds no room is refused (503), so that a few
// clients who ask for much, or who do not read what they asked for, cannot take the memory of all.
class MemoryLedger {
 public:
  class Lease;
  // Of each lease so much is free: how many there are is bounded elsewhere (connections, open requests), and whoever asks for
  // little is served however much others hold.
  static constexpr int64_t kFreeBytes = 32 << 10;

  MemoryLedger() : MemoryLedger(share_of_memory()) {}
  explicit MemoryLedger(int64_t most) : account_(std::make_shared<Account>(most)) {}
  // A sixteenth of the memory that is free now, and room for one of the largest answers at least.
  static int64_t share_of_memory();
  static MemoryLedger unbounded() { return MemoryLedger(std::numeric_limits<int64_t>::max() / 2); }

  int64_t most() const { return account_->most; }
  // Whether one lease could have so much while nobody else has any: else it is no use to come again.
  bool could_hold(int64_t bytes) const { return bytes - kFreeBytes <= most(); }
  int64_t held() const { return account_->held.load(std::memory_order_relaxed); }

 private:
  struct Account {
    explicit Account(int64_t bytes) : most(bytes) {}
    const int64_t most;
    std::atomic<int64_t> held{0};
  };
  std::shared_ptr<Account> account_;
};

// Bytes that count until its end. Used by one thread at a time.
class MemoryLedger::Lease {
 public:
  Lease() = default;  // of no ledger: nothing counts
  explicit Lease(const MemoryLedger& ledger) : account_(ledger.account_) {}
  Lease(Lease&& other) noexcept : account_(std::move(other.account_)), bytes_(std::exchange(other.bytes_, 0)) {}
  Lease& operator=(Lease&& other) noexcept {
    std::swap(account_, other.account_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Lease() { resize(0); }

  int64_t bytes() const { return bytes_; }
  // False, and nothing changes, where there is no room for more; less always finds room.
  bool resize(int64_t bytes) noexcept;

 private:
  std::shared_ptr<Account> account_;
  int64_t bytes_ = 0;
};

}  // namespace pagoda::server
