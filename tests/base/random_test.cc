// Philox against the published vectors, and the moments of what is drawn.
#include "base/random.h"

#include <gtest/gtest.h>

namespace pagoda {
namespace {

TEST(Random, PhiloxKnownAnswers) {
  // Random123's kat_vectors for philox4x32-10.
  EXPECT_EQ(philox(0, 0, 0), (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ull, ~0ull, ~0ull), (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

TEST(Random, Moments) {
  const RandomStream stream(7, 3);
  double sum = 0, square = 0, uniform = 0;
  constexpr int kCount = 200'000;
  for (int i = 0; i < kCount; ++i) {
    const double x = stream.normal(static_cast<uint64_t>(i)), u = stream.uniform(static_cast<uint64_t>(i));
    sum += x;
    square += x * x;
    uniform += u;
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
  }
  EXPECT_NEAR(sum / kCount, 0, 0.01);
  EXPECT_NEAR(square / kCount, 1, 0.02);
  EXPECT_NEAR(uniform / kCount, 0.5, 0.005);
  EXPECT_NE(RandomStream(7, 4).bits(0), stream.bits(0));
}

}  // namespace
}  // namespace pagoda
