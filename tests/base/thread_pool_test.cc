// The pool: every index once, exceptions carried, nesting, many callers.
#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <numeric>

#include "base/error.h"
#include "base/thread_count.h"

namespace pagoda {
namespace {

TEST(ThreadPool, EveryIndexOnceForAllSizes) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (const int64_t n : {0, 1, 2, 15, 16, 17, 1000}) {
      for (const int64_t grain : {1, 3, 16, 2000}) {
        std::vector<std::atomic<int>> count(static_cast<size_t>(n));
        pool.parallel_for(n, grain, [&](int64_t begin, int64_t end, int thread) {
          EXPECT_LE(end - begin, grain);
          EXPECT_LT(thread, threads);
          for (int64_t i = begin; i < end; ++i) ++count[static_cast<size_t>(i)];
        });
        for (auto& value : count) EXPECT_EQ(value, 1);
      }
    }
  }
}

TEST(ThreadPool, FirstExceptionReachesTheCaller) {
  ThreadPool pool(3);
  for (int round = 0; round < 50; ++round) {
    EXPECT_THROW(pool.parallel_for(100, 1,
                                   [](int64_t begin, int64_t, int) {
                                     if (begin == 37) invalid("test", "at {}", begin);
                                   }),
                 Error);
    std::atomic<int> sum{0};
    pool.parallel_for(100, 1, [&](int64_t, int64_t, int) { ++sum; });
    EXPECT_EQ(sum, 100);
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)  // whose shadow memory needs more than any limit
[[noreturn]] void begin_too_many_threads() {
  const rlimit limit = {size_t{1} << 30, size_t{1} << 30};
  ::setrlimit(RLIMIT_AS, &limit);
  ::alarm(30);
  try {
    const ThreadPool pool(4000);
  } catch (const Error& error) {
    ::_exit(error.kind() == ErrorKind::kOutOfMemory && error.message().find("[threads]") == 0 ? 0 : 1);
  }
  ::_exit(2);
}

// A container may allow fewer threads than are asked for: an error, not a hang.
TEST(ThreadPool, ThreadsThatCannotBeginAreAnError) { EXPECT_EXIT(begin_too_many_threads(), ::testing::ExitedWithCode(0), ""); }
#endif

TEST(ThreadPool, NestedRegionsRunOnTheirThread) {
  ThreadPool pool(2);
  std::atomic<int> sum{0};
  const uint64_t before = pool.regions();
  pool.parallel_for(8, 1, [&](int64_t, int64_t, int) {
    pool.parallel_for(10, 1, [&](int64_t begin, int64_t end, int) { sum += static_cast<int>(end - begin); });
  });
  EXPECT_EQ(sum, 80);
  EXPECT_EQ(pool.regions() - before, 1u);
}

TEST(ThreadPool, ManyCallersTakeTurns) {
  ThreadPool pool(2);
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) pool.parallel_for(16, 1, [&](int64_t, int64_t, int) { ++sum; });
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 200 * 16);
}

TEST(ThreadPool, WorksAfterSleepAndWithinSteps) {
  ThreadPool pool(2);
  std::atomic<int> sum{0};
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const ThreadPool::Step step(pool);
    for (int i = 0; i < 100; ++i) pool.parallel_for(2, 1, [&](int64_t, int64_t, int) { ++sum; });
  }
  EXPECT_EQ(sum, 1000);
}

TEST(ThreadCount, IsWhatMaskAndQuotaAllow) {
  CpuInfo cpu;
  cpu.logical_cores = 12;
  EXPECT_EQ(most_threads(cpu), 12);  // no mask is known
  cpu.affinity = {0, 1, 4, 5};
  cpu.physical_first = {0, 4};
  EXPECT_EQ(most_threads(cpu), 4);
  cpu.quota_cores = 2.5;
  EXPECT_EQ(most_threads(cpu), 3);
  cpu.quota_cores = 0.1;
  EXPECT_EQ(most_threads(cpu), 1);
  cpu.quota_cores = 8;
  EXPECT_EQ(most_threads(cpu), 4);
}

int more_than_run() { return 4 * most_threads(detect_cpu()); }

double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Who spins keeps the core from those that have work: neither the workers of a step nor its caller may, where there are more
// threads than can run.
TEST(ThreadPool, MoreThreadsThanCanRunSleep) {
  ThreadPool pool(more_than_run());
  const ThreadPool::Step step(pool);
  const auto sleep = [] { std::this_thread::sleep_for(std::chrono::milliseconds(300)); };
  const auto begin_all = [&] { pool.parallel_for(pool.num_threads(), 1, [](int64_t, int64_t, int) {}); };
  begin_all();
  double before = processor_seconds();
  sleep();  // the workers wait for a region
  EXPECT_LT(processor_seconds() - before, 0.15);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> slept{false};
  before = processor_seconds();
  for (int round = 0; round < 100 && !slept; ++round) {
    pool.parallel_for(pool.num_threads(), 1, [&](int64_t, int64_t, int) {
      if (std::this_thread::get_id() != caller && !slept.exchange(true)) sleep();
    });
  }
  ASSERT_TRUE(slept);  // the caller waited for a worker
  EXPECT_LT(processor_seconds() - before, 0.15);
}

TEST(ThreadPool, ManyMoreThreadsThanCanRunGetOn) {
  ThreadPool pool(64 * most_threads(detect_cpu()));
  std::atomic<int64_t> sum{0};
  const ThreadPool::Step step(pool);
  for (int round = 0; round < 100; ++round)
    pool.parallel_for(pool.num_threads(), 1, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
  EXPECT_EQ(sum, int64_t{100} * pool.num_threads());
}

}  // namespace
}  // namespace pagoda
