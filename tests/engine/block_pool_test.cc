// Pages handed out and shared: counts, copy on write, nothing leaked.
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

const std::vector<LayerStateSpec> kLayers = {{2, 4, 4, 0}, {1, 6, 6, 0}};

TEST(KvCache, CopiesAPageBeforeASharedOneIsWritten) {
  KvCache cache(kLayers, DType::kFloat32, 8);
  BlockTable table;
  ASSERT_TRUE(cache.reserve(table, 20));
  table.num_tokens = 20;
  std::memset(cache.pages(0).page(table.blocks[1]), 7, 16);
  BlockTable other = cache.fork(table);
  EXPECT_EQ(cache.pool().num_free(), 6);
  ASSERT_TRUE(cache.reserve(other, 21));
  EXPECT_EQ(other.blocks[0], table.blocks[0]);  // full page: shared still
  EXPECT_NE(other.blocks[1], table.blocks[1]);  // partly filled page: copied
  EXPECT_EQ(std::memcmp(cache.pages(0).page(other.blocks[1]), cache.pages(0).page(table.blocks[1]), 16), 0);
  cache.release(table);
  cache.release(other);
  EXPECT_EQ(cache.pool().num_free(), 8);
}

TEST(KvCache, ReserveFailsWholeOrNotAtAll) {
  KvCache cache(kLayers, DType::kBFloat16, 2);
  BlockTable table;
  ASSERT_TRUE(cache.reserve(table, 16));
  table.num_tokens = 16;
  EXPECT_FALSE(cache.reserve(table, 64));
  EXPECT_EQ(table.blocks.size(), 1u);
  EXPECT_EQ(cache.pool().num_free(), 1);
}

TEST(KvCache, NothingLeaksUnderRandomForksAndReleases) {
  KvCache cache(kLayers, DType::kFloat32, 64);
  std::vector<BlockTable> tables;
  const RandomStream random(1, 2);
  for (uint64_t i = 0; i < 5000; ++i) {
    const uint64_t choice = random.bits(i) % 4;
    if (tables.empty() || choice == 0) {
      tables.emplace_back();
    } else if (choice == 1 && tables.size() < 20) {
      tables.push_back(cache.fork(tables[random.bits(i) / 4 % tables.size()]));
    } else if (choice == 2) {
      BlockTable& table = tables[random.bits(i) / 4 % tables.size()];
      if (cache.reserve(table, table.num_tokens + 5)) table.num_tokens += 5;
    } else {
      const size_t victim = random.bits(i) / 4 % tables.size();
      cache.release(tables[victim]);
      tables.erase(tables.begin() + static_cast<std::ptrdiff_t>(victim));
    }
    int64_t held = 0;
    std::vector<int> seen(64);
    for (const BlockTable& table : tables) {
      for (const int32_t block : table.blocks) held += seen[static_cast<size_t>(block)]++ == 0 ? 1 : 0;
    }
    ASSERT_EQ(cache.pool().num_free(), 64 - held);
  }
}

}  // namespace
}  // namespace pagoda
