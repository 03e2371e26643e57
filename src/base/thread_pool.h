// One pool of threads that forks and joins in under a microsecond while a step runs, and sleeps between steps.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace pagoda {

class ThreadPool {
 public:
  // num_threads counts the calling thread. cores: logical cores to pin to, one a thread (empty: not pinned);
  // the calling thread is pinned only if pin_caller.
  explicit ThreadPool(int num_threads, std::vector<int> cores = {}, bool pin_caller = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls fn(begin, end, thread) over [0, n) in pieces of at most `grain` (> 0), each piece once: thread t begins with the t-th
  // of num_threads even shares of the pieces, so that rows stay in the caches of one core from region to region, and then helps
  // with the others' shares. Results must not depend on who does what. The first exception of any piece is thrown here after
  // all have ended.
  // Called from inside a region it runs on the calling thread alone.
  template <class Fn>
  void parallel_for(int64_t n, int64_t grain, Fn&& fn) {
    if (n <= 0) return;
    using Plain = std::remove_reference_t<Fn>;
    run(
        n, grain, [](void* self, int64_t begin, int64_t end, int thread) { (*static_cast<Plain*>(self))(begin, end, thread); },
        const_cast<std::remove_const_t<Plain>*>(&fn));
  }

  // While an object of this lives, idle threads spin instead of sleeping.
  class Step {
   public:
    explicit Step(ThreadPool& pool) : pool_(pool) { pool_.steps_.fetch_add(1, std::memory_order_relaxed); }
    ~Step() { pool_.steps_.fetch_sub(1, std::memory_order_relaxed); }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    ThreadPool& pool_;
  };

  // Forks so far (a region of one piece, or of a pool of one, forks nothing): a test counts those of a decoder layer.
  uint64_t regions() const { return regions_.load(std::memory_order_relaxed); }

 private:
  using Body = void (*)(void* self, int64_t begin, int64_t end, int thread);
  void run(int64_t n, int64_t grain, Body body, void* self);
  void work(int thread);
  int64_t share_begin(int thread) const { return pieces_ * thread / num_threads_; }
  void worker(int thread);
  bool inside_region() const;  // is the calling thread running a piece of a region now?

  struct alignas(64) Shared {
    std::atomic<uint64_t> value{0};
  };

  int num_threads_;
  std::vector<std::thread> threads_;
  std::mutex callers_;  // one region at a time
  std::atomic<bool> active_{false};
  std::atomic<std::thread::id> owner_{};
  // The region being run; written before epoch_ moves, read after.
  Body body_ = nullptr;
  void* self_ = nullptr;
  int64_t n_ = 0, grain_ = 1, pieces_ = 0;
  Shared epoch_;              // moves by one for each region
  std::vector<Shared> next_;  // [num_threads] first piece of each share not yet taken
  Shared pending_;            // workers that have not left the region
  std::atomic<uint64_t> regions_{0};
  std::atomic<int> steps_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stop_{false};
};

}  // namespace pagoda
