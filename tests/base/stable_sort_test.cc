// Stable sorting without a temporary buffer: std::stable_sort's order, and no harm from NaN.
#include "base/stable_sort.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace pagoda {
namespace {

TEST(StableSort, KeepsTheOrderOfEquals) {
  std::mt19937 random(3);
  for (const int count : {0, 1, 2, 3, 7, 64, 65, 1000}) {
    std::vector<std::pair<int, int>> items;
    for (int i = 0; i < count; ++i) items.emplace_back(static_cast<int>(random() % 10), i);
    std::vector<std::pair<int, int>> wanted = items;
    std::sort(wanted.begin(), wanted.end());  // pairs: by value, then by place
    stable_sort(items, [](const auto& a, const auto& b) { return a.first < b.first; });
    EXPECT_EQ(items, wanted);
  }
}

TEST(StableSort, NanHarmsNothing) {
  std::vector<float> items;
  for (int i = 0; i < 300; ++i) items.push_back(i % 3 == 0 ? std::nanf("") : static_cast<float>(i * 7 % 31));
  stable_sort(items, [](float a, float b) { return a > b; });
  EXPECT_EQ(items.size(), 300u);
  EXPECT_EQ(std::count_if(items.begin(), items.end(), [](float v) { return std::isnan(v); }), 100);
}

}  // namespace
}  // namespace pagoda
