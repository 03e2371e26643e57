// Pages handed out and shared: counts, order, names, copy on write, nothing leaked.
#include "engine/block_pool.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/random.h"
#include "engine/kv_cache.h"

namespace pagoda {
namespace {

TEST(BlockPool, HandsOutEachPageOnce) {
  BlockPool pool(3);
  const int32_t a = *pool.allocate(), b = *pool.allocate(), c = *pool.allocate();
  EXPECT_NE(a, b);
  EXPECT_NE(b, c);
  EXPECT_FALSE(pool.allocate().has_value());
  pool.retain(b);
  pool.release(b);
  EXPECT_EQ(pool.num_free(), 0);
  pool.release(b);
  EXPECT_EQ(pool.allocate(), b);
}

TEST(BlockPool, KnownPagesAreHandedOutLastTheLongestUnusedFirst) {
  BlockPool pool(4);
  const BlockHasher hasher(1);
  const BlockHash x = hasher.root("x"), y = hasher.root("y");
  const int32_t a = *pool.allocate(), b = *pool.allocate(), c = *pool.allocate();
  EXPECT_TRUE(pool.publish(a, x));
  EXPECT_TRUE(pool.publish(b, y));
  EXPECT_FALSE(pool.publish(c, x));  // the first page keeps the name
  pool.release(a);
  pool.release(b);
  pool.release(c);
  EXPECT_EQ(pool.find(x), a);  // comes back from the free list
  EXPECT_EQ(pool.references(a), 1);
  pool.release(a);  // now used later than b
  EXPECT_EQ(pool.allocate(), c);
  pool.allocate();
  EXPECT_EQ(pool.allocate(), b);
  EXPECT_FALSE(pool.find(y).has_value());
  EXPECT_EQ(pool.allocate(), a);
  EXPECT_FALSE(pool.find(x).has_value());
  EXPECT_EQ(pool.num_published(), 0);
}

TEST(BlockHasher, NamesDependOnAllThatCameBeforeAndOnTheKey) {
  const BlockHasher hasher(1);
  std::vector<int32_t> ids(static_cast<size_t>(kPageTokens), 7);
  const BlockHash first = hasher.next(hasher.root("a"), ids.data());
  EXPECT_EQ(first, hasher.next(hasher.root("a"), ids.data()));
  EXPECT_NE(first, hasher.next(hasher.root("b"), ids.data()));
  EXPECT_NE(first, hasher.next(first, ids.data()));
  EXPECT_NE(first, BlockHasher(2).next(BlockHasher(2).root("a"), ids.data()));
  EXPECT_NE(hasher.root(std::string_view("a\0", 2)), hasher.root("a"));
  for (size_t i = 0; i < ids.size(); ++i) {
    std::vector<int32_t> other = ids;
    other[i] ^= 1 << 20;
    EXPECT_NE(first, hasher.next(hasher.root("a"), other.data())) << i;
  }
}

TEST(BlockManager, CopiesAPageBeforeASharedOneIsWritten) {
  KvCache cache({{2, 4, 4, 0}, {1, 6, 6, 0}}, DType::kFloat32, 8);
  BlockManager blocks(8);
  BlockTable table;
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(blocks.reserve(table, 20, copies));
  EXPECT_TRUE(copies.empty());
  table.num_tokens = 20;
  std::memset(cache.pages(0).page(table.blocks[1]), 7, 16);
  BlockTable other = blocks.fork(table);
  EXPECT_EQ(blocks.pool().num_free(), 6);
  ASSERT_TRUE(blocks.reserve(other, 21, copies));
  ASSERT_EQ(copies.size(), 1u);
  cache.copy(copies[0]);
  EXPECT_EQ(other.blocks[0], table.blocks[0]);  // full page: shared still
  EXPECT_NE(other.blocks[1], table.blocks[1]);  // partly filled page: copied
  EXPECT_EQ(std::memcmp(cache.pages(0).page(other.blocks[1]), cache.pages(0).page(table.blocks[1]), 16), 0);
  blocks.release(table, true);
  blocks.release(other, true);
  EXPECT_EQ(blocks.pool().num_free(), 8);
}

TEST(BlockManager, ReserveFailsWholeOrNotAtAll) {
  BlockManager blocks(2);
  BlockTable table;
  std::vector<BlockCopy> copies;
  ASSERT_TRUE(blocks.reserve(table, 16, copies));
  table.num_tokens = 16;
  EXPECT_FALSE(blocks.reserve(table, 64, copies));
  EXPECT_EQ(table.blocks.size(), 1u);
  EXPECT_EQ(blocks.pool().num_free(), 1);
}

TEST(BlockManager, NothingLeaksUnderRandomForksAndReleases) {
  BlockManager blocks(64);
  std::vector<BlockTable> tables;
  std::vector<BlockCopy> copies;
  const RandomStream random(1, 2);
  for (uint64_t i = 0; i < 5000; ++i) {
    const uint64_t choice = random.bits(i) % 4;
    if (tables.empty() || choice == 0) {
      tables.emplace_back();
    } else if (choice == 1 && tables.size() < 20) {
      tables.push_back(blocks.fork(tables[random.bits(i) / 4 % tables.size()]));
    } else if (choice == 2) {
      BlockTable& table = tables[random.bits(i) / 4 % tables.size()];
      if (blocks.reserve(table, table.num_tokens + 5, copies)) table.num_tokens += 5;
    } else {
      const size_t victim = random.bits(i) / 4 % tables.size();
      blocks.release(tables[victim], i % 2 == 0);
      tables.erase(tables.begin() + static_cast<std::ptrdiff_t>(victim));
    }
    int64_t held = 0;
    std::vector<int> seen(64);
    for (const BlockTable& table : tables) {
      for (const int32_t block : table.blocks) held += seen[static_cast<size_t>(block)]++ == 0 ? 1 : 0;
    }
    ASSERT_EQ(blocks.pool().num_free(), 64 - held);
  }
}

}  // namespace
}  // namespace pagoda
