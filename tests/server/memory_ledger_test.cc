// The account of bytes held for clients: what is granted, what is refused, what comes back.
#include "server/memory_ledger.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace pagoda::server {
namespace {

constexpr int64_t kFree = MemoryLedger::kFreeBytes;

TEST(MemoryLedger, GrantsUpToItsBound) {
  const MemoryLedger ledger(1000);
  MemoryLedger::Lease first(ledger), second(ledger);
  EXPECT_TRUE(first.resize(kFree + 600));
  EXPECT_EQ(ledger.held(), 600);
  EXPECT_FALSE(second.resize(kFree + 401));
  EXPECT_EQ(second.bytes(), 0);
  EXPECT_TRUE(second.resize(kFree + 400));
  EXPECT_FALSE(first.resize(kFree + 601));
  EXPECT_EQ(first.bytes(), kFree + 600);
  EXPECT_TRUE(first.resize(100));  // less always finds room
  EXPECT_EQ(ledger.held(), 400);
}

TEST(MemoryLedger, LittleIsFree) {
  const MemoryLedger ledger(0);
  std::vector<MemoryLedger::Lease> many;
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(many.emplace_back(ledger).resize(kFree));
  EXPECT_EQ(ledger.held(), 0);
  EXPECT_FALSE(many[0].resize(kFree + 1));
}

TEST(MemoryLedger, ALeaseGivesBackOnceWhereverItWent) {
  const MemoryLedger ledger(1000), other(1000);
  {
    MemoryLedger::Lease moved;
    {
      MemoryLedger::Lease lease(ledger);
      EXPECT_TRUE(lease.resize(kFree + 700));
      moved = std::move(lease);
    }
    EXPECT_EQ(ledger.held(), 700);
    MemoryLedger::Lease last(other);
    EXPECT_TRUE(last.resize(kFree + 5));
    last = std::move(moved);
    EXPECT_EQ(last.bytes(), kFree + 700);
  }
  EXPECT_EQ(ledger.held(), 0);
  EXPECT_EQ(other.held(), 0);
}

TEST(MemoryLedger, ThreadsTogetherStayWithinIt) {
  const MemoryLedger ledger(1000);
  std::atomic<bool> beyond{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 2000; ++round) {
        MemoryLedger::Lease lease(ledger);
        lease.resize(kFree + 300 + (i + round) % 100);
        if (ledger.held() > 1000 || ledger.held() < 0) beyond = true;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(beyond);
  EXPECT_EQ(ledger.held(), 0);
}

TEST(MemoryLedger, HasAShareOfTheMemory) { EXPECT_GE(MemoryLedger().most(), int64_t{512} << 20); }

}  // namespace
}  // namespace pagoda::server
