// Ranks as threads: what each gets, sums in the order of ranks, a rank that leaves.
#include "comm/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "tensor/dtype.h"

namespace pagoda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void on_ranks(int size, const std::function<void(Communicator&)>& run) {
  auto ranks = make_local_communicators(size);
  std::vector<std::thread> threads;
  for (auto& each : ranks) threads.emplace_back([&run, ranks = std::move(each)] { run(*ranks); });
  for (std::thread& thread : threads) thread.join();
}

class Ranks : public ::testing::TestWithParam<int> {};

TEST_P(Ranks, SumsAreTheSameBitsOnAll) {
  const int size = GetParam();
  for (const int64_t count : {0, 1, 5, 1000}) {
    std::vector<float> want(static_cast<size_t>(count), 0.0F);
    const auto value = [](int rank, int64_t i) {
      return static_cast<float>(RandomStream(1, static_cast<uint64_t>(rank)).normal(static_cast<uint64_t>(i)));
    };
    for (int64_t i = 0; i < count; ++i) {
      want[static_cast<size_t>(i)] = value(0, i);
      for (int r = 1; r < size; ++r) want[static_cast<size_t>(i)] += value(r, i);
    }
    on_ranks(size, [&](Communicator& ranks) {
      std::vector<float> values;
      for (int64_t i = 0; i < count; ++i) values.push_back(value(ranks.rank(), i));
      ranks.all_reduce(values.data(), count);
      EXPECT_EQ(values, want);
    });
  }
}

TEST_P(Ranks, GatherBroadcastScalars) {
  const int size = GetParam();
  on_ranks(size, [&](Communicator& ranks) {
    EXPECT_EQ(ranks.size(), size);
    std::vector<int64_t> sizes;
    std::string mine(static_cast<size_t>(ranks.rank()), static_cast<char>('a' + ranks.rank())), want;
    for (int r = 0; r < size; ++r) {
      sizes.push_back(r);
      want += std::string(static_cast<size_t>(r), static_cast<char>('a' + r));
    }
    std::string all(want.size(), '?');
    ranks.all_gather(mine.data(), all.data(), sizes);
    EXPECT_EQ(all, want);
    int64_t number = ranks.rank() == size - 1 ? 42 : 0;
    ranks.broadcast(&number, sizeof(number), size - 1);
    EXPECT_EQ(number, 42);
    EXPECT_EQ(ranks.all_reduce(int64_t{ranks.rank() + 1}), size * (size + 1) / 2);
    EXPECT_DOUBLE_EQ(ranks.all_reduce(0.5), 0.5 * size);
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, Ranks, ::testing::Values(1, 2, 3, 4));

TEST(Wires, BFloat16RoundsWhatTravels) {
  on_ranks(2, [](Communicator& ranks) {
    std::vector<float> values{1.001F, 1e-3F, -3};
    ranks.all_reduce(values.data(), 3, Wire::kBFloat16);
    EXPECT_EQ(values[0], static_cast<float>(BFloat16(2 * static_cast<float>(BFloat16(1.001F)))));
    EXPECT_EQ(values[2], -6);
  });
}

TEST(Failures, NobodyWaitsForARankThatIsGone) {
  std::atomic<int> told{0};
  auto ranks = make_local_communicators(3);
  std::vector<std::thread> threads;
  for (auto& each : ranks) {
    threads.emplace_back([&told, mine = std::move(each)]() mutable {
      try {
        const auto own = std::move(mine);
        if (own->rank() == 1) fail(ErrorKind::kInternal, "test", "a rank fails");
        own->barrier();
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::kDevice) {
          EXPECT_THAT(error.message(), HasSubstr("rank 1 is gone"));
          ++told;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(told, 2);
}

}  // namespace
}  // namespace pagoda
