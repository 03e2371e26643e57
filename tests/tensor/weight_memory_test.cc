// Memory for packed weights: zeroed, side by side, alive as long as its last weight.
#include "tensor/weight_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace pagoda {
namespace {

TEST(WeightMemory, LiesSideBySideInOneStretch) {
  WeightMemory memory;
  const auto first = memory.allocate(5000, "a"), second = memory.allocate(0, "b"), third = memory.allocate(1, "c");
  auto* begin = static_cast<char*>(first.get());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(begin) % (size_t{2} << 20), 0U);
  EXPECT_EQ(second.get(), begin + 8192);
  EXPECT_EQ(third.get(), begin + 8192 + 4096);
  EXPECT_TRUE(std::all_of(begin, begin + 5000, [](char c) { return c == 0; }));
}

TEST(WeightMemory, OneLargerThanAStretchHasItsOwn) {
  WeightMemory memory;
  const int64_t bytes = (int64_t{33} << 20) + 1;
  const auto small = memory.allocate(64, "small"), large = memory.allocate(bytes, "large");
  auto* data = static_cast<char*>(large.get());
  data[bytes - 1] = 1;  // to be written to its end
  EXPECT_EQ(static_cast<char*>(small.get())[0], 0);
}

TEST(WeightMemory, OutlivesTheObjectAndItsNeighbours) {
  std::shared_ptr<void> kept;
  {
    WeightMemory memory;
    const auto other = memory.allocate(4096, "other");
    kept = memory.allocate(4096, "kept");
  }
  std::memset(kept.get(), 1, 4096);
  EXPECT_EQ(static_cast<char*>(kept.get())[4095], 1);
}

TEST(WeightMemory, WhatTheSystemCannotGiveNamesTheWeight) {
  WeightMemory memory;
  try {
    memory.allocate(int64_t{1} << 60, "lm_head.weight");
    FAIL() << "memory was given";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory);
    EXPECT_NE(std::string(error.what()).find("lm_head.weight"), std::string::npos);
  }
}

}  // namespace
}  // namespace pagoda
