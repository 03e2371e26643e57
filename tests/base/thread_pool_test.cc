// The pool: every index once, exceptions carried, nesting, many callers.
#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <numeric>

#include "base/error.h"

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

}  // namespace
}  // namespace pagoda
