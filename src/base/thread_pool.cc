// Fork and join over one epoch counter; workers spin for it within a step and sleep on a condition variable between steps.
// Where a pool has more threads than can run at once nobody spins: whoever did would keep the core from those it waits for.
#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/thread_count.h"

namespace pagoda {

namespace {

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

void pin(pthread_t thread, int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  pthread_setaffinity_np(thread, sizeof set,
                         &set);  // a refusal (container) leaves the thread unpinned, which is slower but right
}

// Spins before sleeping when no step is under way: about 20 us, longer than the gaps between the regions of one call.
constexpr int kIdleSpins = 400;
// Within a step a waiting thread gives its core away now and then: the machine may have fewer cores than threads.
constexpr int kSpinsBeforeYield = 20'000;
// Where the count of steps begins in a pool of more threads than can run at once: no step is enough for them to spin.
constexpr int kNeverSpin = std::numeric_limits<int>::min() / 2;

bool spins_never(const std::atomic<int>& steps) { return steps.load(std::memory_order_relaxed) < 0; }

// sleeps: rather than spinning; whoever makes it zero must notify.
void await_zero(std::atomic<uint64_t>& count, bool sleeps) {
  for (int spins = 0;; ++spins) {
    const uint64_t left = count.load(std::memory_order_acquire);
    if (left == 0) return;
    if (sleeps) {
      count.wait(left, std::memory_order_acquire);
    } else {
      pause();
      if (spins > kSpinsBeforeYield) sched_yield();
    }
  }
}

// `cores`: those the threads are pinned to; empty: none.
bool oversubscribed(int num_threads, const std::vector<int>& cores) {
  if (num_threads == 1) return false;
  const size_t most = static_cast<size_t>(most_threads(detect_cpu()));
  const size_t pinned = std::set<int>(cores.begin(), cores.end()).size();
  return static_cast<size_t>(num_threads) > (cores.empty() ? most : std::min(most, pinned));
}

}  // namespace

ThreadPool::ThreadPool(int num_threads, std::vector<int> cores, bool pin_caller)
    : num_threads_(std::max(1, num_threads)),
      next_(static_cast<size_t>(num_threads_)),
      steps_(oversubscribed(num_threads_, cores) ? kNeverSpin : 0) {
  if (pin_caller && !cores.empty()) pin(pthread_self(), cores[0]);
  try {
    for (int thread = 1; thread < num_threads_; ++thread) {
      threads_.emplace_back([this, thread] { worker(thread); });
      if (!cores.empty()) pin(threads_.back().native_handle(), cores[static_cast<size_t>(thread) % cores.size()]);
    }
  } catch (const std::exception& error) {
    // Those that began wait for members of this object, whose destructor does not run.
    {
      const std::lock_guard lock(sleep_mutex_);
      stop_.store(true);
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    fail(ErrorKind::kOutOfMemory, "threads", "cannot begin more: got {}, need {} ({})", threads_.size() + 1, num_threads_,
         error.what());
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(sleep_mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::work(int thread) {
  for (int turn = 0; turn < num_threads_; ++turn) {
    const int share = (thread + turn) % num_threads_;
    const auto end = static_cast<uint64_t>(share_begin(share + 1));
    std::atomic<uint64_t>& next = next_[static_cast<size_t>(share)].value;
    while (next.load(std::memory_order_relaxed) < end) {
      const uint64_t piece = next.fetch_add(1, std::memory_order_relaxed);
      if (piece >= end) break;
      const int64_t begin = static_cast<int64_t>(piece) * grain_;
      try {
        body_(self_, begin, std::min(n_, begin + grain_), thread);
      } catch (...) {
        if (!failed_.exchange(true)) error_ = std::current_exception();
        for (Shared& other : next_)
          other.value.store(static_cast<uint64_t>(pieces_), std::memory_order_relaxed);  // start no more
      }
    }
  }
}

bool ThreadPool::inside_region() const {
  if (!active_.load(std::memory_order_acquire)) return false;
  const std::thread::id self = std::this_thread::get_id();
  if (self == owner_.load(std::memory_order_relaxed)) return true;
  return std::any_of(threads_.begin(), threads_.end(), [&](const std::thread& thread) { return thread.get_id() == self; });
}

void ThreadPool::run(int64_t n, int64_t grain, Body body, void* self) {
  if (grain < 1) grain = 1;
  if (n <= grain || num_threads_ == 1 || inside_region()) {
    for (int64_t begin = 0; begin < n; begin += grain) body(self, begin, std::min(n, begin + grain), 0);
    return;
  }
  const std::lock_guard lock(callers_);
  regions_.fetch_add(1, std::memory_order_relaxed);
  owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  active_.store(true, std::memory_order_release);
  body_ = body;
  self_ = self;
  n_ = n;
  grain_ = grain;
  pieces_ = n / grain + (n % grain != 0 ? 1 : 0);
  for (int share = 0; share < num_threads_; ++share) {
    next_[static_cast<size_t>(share)].value.store(static_cast<uint64_t>(share_begin(share)), std::memory_order_relaxed);
  }
  pending_.value.store(static_cast<uint64_t>(num_threads_ - 1), std::memory_order_relaxed);
  // Sequentially consistent with the sleepers' own check: either they see the epoch or we see them.
  epoch_.value.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    {
      const std::lock_guard sleep_lock(sleep_mutex_);
    }
    wake_.notify_all();
  }
  work(0);
  await_zero(pending_.value, spins_never(steps_));
  active_.store(false, std::memory_order_release);
  if (failed_.load(std::memory_order_relaxed)) {
    failed_.store(false);
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

void ThreadPool::worker(int thread) {
  const bool sleeps = spins_never(steps_);
  uint64_t seen = 0;
  for (;;) {
    int spins = 0;
    while (epoch_.value.load(std::memory_order_acquire) == seen && !stop_.load(std::memory_order_relaxed)) {
      pause();
      ++spins;
      if (steps_.load(std::memory_order_relaxed) > 0) {
        if (spins > kSpinsBeforeYield) sched_yield();
      } else if (sleeps || spins > kIdleSpins) {
        std::unique_lock lock(sleep_mutex_);
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        wake_.wait(lock, [&] { return stop_.load() || epoch_.value.load(std::memory_order_seq_cst) != seen; });
        sleepers_.fetch_sub(1, std::memory_order_seq_cst);
      }
    }
    if (stop_.load()) return;
    ++seen;  // a region starts only after every worker has left the last, so epochs cannot be skipped
    work(thread);
    // Kernels may write round the caches: as a locked instruction this, like the next fork, also flushes such stores.
    if (pending_.value.fetch_sub(1, std::memory_order_release) == 1 && sleeps) pending_.value.notify_one();
  }
}

}  // namespace pagoda
