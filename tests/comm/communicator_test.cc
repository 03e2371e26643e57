// Ranks as threads: what each gets, sums in the order of ranks, a rank that leaves.
#include "comm/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/error.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

void on_ranks(int size, const std::function<void(Communicator&)>& run) {
  auto ranks = make_local_communicators(size);
  std::vector<std::thread> threads;
  for (auto& each : ranks) threads.emplace_back([&run, ranks = std::move(each)] { run(*ranks); });
  for (std::thread& thread : threads) thread.join();
}

class Ranks : public ::testing::TestWithParam<int> {};

TEST_P(Ranks, HaveTheTextOfTheFirst) {
  for (const std::string text : {"", "of rank 0"}) {
    on_ranks(GetParam(), [&](Communicator& ranks) {
      EXPECT_EQ(ranks.share(ranks.rank() == 0 ? text : std::to_string(ranks.rank())), text);
    });
  }
}

TEST_P(Ranks, MessagesArriveInTheirOrder) {
  const int size = GetParam();
  const auto value = [](int from, int to, int k) { return 100 * from + 10 * to + k; };
  on_ranks(size, [&](Communicator& ranks) {
    const int own = ranks.rank();
    std::vector<std::vector<int>> out, in;  // two messages to and from each other rank, of different sizes
    std::vector<Message> sends, receives;
    for (int r = 0; r < size; ++r) {
      for (int k = 0; k < 2 && r != own; ++k) {
        out.emplace_back(static_cast<size_t>(1 + r + k), value(own, r, k));
        in.emplace_back(static_cast<size_t>(1 + own + k));
        sends.push_back({r, out.back().data(), static_cast<int64_t>(out.back().size() * sizeof(int))});
        receives.push_back({r, in.back().data(), static_cast<int64_t>(in.back().size() * sizeof(int))});
      }
    }
    ranks.exchange(sends, receives);
    for (size_t i = 0; i < receives.size(); ++i) {
      for (const int each : in[i]) EXPECT_EQ(each, value(receives[i].rank, own, static_cast<int>(i % 2)));
    }
  });
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

TEST(Failures, SizesThatDiffer) {
  std::atomic<int> told{0};
  on_ranks(2, [&](Communicator& ranks) {
    std::vector<int> values(4);
    const int64_t bytes = ranks.rank() == 0 ? 8 : 16;
    try {
      ranks.exchange({{1 - ranks.rank(), values.data(), bytes}}, {{1 - ranks.rank(), values.data(), bytes}});
    } catch (const Error& error) {
      EXPECT_THAT(error.message(), HasSubstr("ranks differ in what they exchange"));
      ++told;
    }
  });
  EXPECT_EQ(told, 2);
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
