// Draws: their distribution, what they depend on, and bad rows; log-probabilities.
#include "generate/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace pagoda {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::string refusal(const std::vector<float>& row) {
  try {
    argmax(row.data(), static_cast<int64_t>(row.size()));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
    return error.message();
  }
  return "";
}

TEST(Argmax, FirstOfEquals) {
  const std::vector<float> row = {-kInf, 1, 3, 3, 2};
  EXPECT_EQ(argmax(row.data(), 5), 2);
  const std::vector<float> negative = {-kInf, -3e38F};
  EXPECT_EQ(argmax(negative.data(), 2), 1);
  const std::vector<float> infinite = {1, kInf, kInf};
  EXPECT_EQ(argmax(infinite.data(), 3), 1);
}

TEST(Argmax, BadRowsAreNamed) {
  EXPECT_EQ(refusal({1, kNan, 3}), "[generate] logits are not finite: got NaN, need finite (NaN weights?)");
  EXPECT_EQ(refusal({kNan, kNan}), "[generate] logits are not finite: got NaN, need finite (NaN weights?)");
  EXPECT_THAT(refusal({-kInf, kNan}), ::testing::HasSubstr("got NaN"));
  EXPECT_THAT(refusal({-kInf, -kInf}), ::testing::HasSubstr("got -inf for every token"));
  EXPECT_THAT(refusal({}), ::testing::HasSubstr("got -inf for every token"));
  EXPECT_EQ(refusal({-kInf, 0}), "");
}

TEST(Sample, RefusesBadRows) {
  LogitsScratch scratch;
  for (const float bad : {kNan, kInf}) {
    const std::vector<float> row = {1, bad};
    EXPECT_THROW(sample_at(row.data(), 2, 0.5, scratch), Error);
    EXPECT_THROW(log_sum_exp(row.data(), 2), Error);
  }
}

TEST(Sample, WalksTheDistribution) {
  LogitsScratch scratch;
  const std::vector<float> row = {std::log(1.0F), -kInf, std::log(2.0F), std::log(1.0F), -kInf};
  EXPECT_EQ(sample_at(row.data(), 5, 0.0, scratch), 0);
  EXPECT_EQ(sample_at(row.data(), 5, 0.2499, scratch), 0);
  EXPECT_EQ(sample_at(row.data(), 5, 0.2501, scratch), 2);
  EXPECT_EQ(sample_at(row.data(), 5, 0.7499, scratch), 2);
  EXPECT_EQ(sample_at(row.data(), 5, 0.7501, scratch), 3);
  EXPECT_EQ(sample_at(row.data(), 5, std::nextafter(1.0, 0.0), scratch), 3);
  EXPECT_EQ(sample_at(row.data(), 5, 1.0, scratch), 3);  // rounding never gives a banned token
}

// Chi-square over tokens: 9 degrees of freedom; 35 has probability 6e-5.
TEST(Sample, FrequenciesFollowProbabilities) {
  std::vector<float> row(10);
  std::vector<double> p(10);
  for (size_t i = 0; i < 10; ++i) row[i] = static_cast<float>(std::sin(3.0 * static_cast<double>(i)));
  const double total = log_sum_exp(row.data(), 10);
  for (size_t i = 0; i < 10; ++i) p[i] = std::exp(row[i] - total);
  LogitsScratch scratch;
  constexpr int kDraws = 200000;
  const auto chi_square = [&](bool along_steps) {
    std::vector<int> counts(10);
    for (uint64_t i = 0; i < kDraws; ++i) {
      const DrawKey key = along_steps ? DrawKey{42, 3, i} : DrawKey{42, i, 3};
      ++counts[static_cast<size_t>(sample(row.data(), 10, key, scratch))];
    }
    double sum = 0;
    for (size_t i = 0; i < 10; ++i) sum += std::pow(counts[i] - kDraws * p[i], 2) / (kDraws * p[i]);
    return sum;
  };
  EXPECT_LT(chi_square(true), 35);
  EXPECT_LT(chi_square(false), 35);
}

TEST(Sample, DependsOnSeedSequenceAndStepAlone) {
  const std::vector<float> row(1000, 0.0F);
  LogitsScratch scratch;
  const auto draw = [&](uint64_t seed, uint64_t sequence, uint64_t step) {
    return sample(row.data(), 1000, {seed, sequence, step}, scratch);
  };
  const int32_t first = draw(1, 2, 3);
  std::vector<float> others = {1, 2, 3};
  sample(others.data(), 3, {9, 9, 9}, scratch);  // other work between, with the same scratch
  EXPECT_EQ(draw(1, 2, 3), first);
  int same = 0;
  for (uint64_t i = 0; i < 300; ++i) {
    same += draw(i, 0, 0) == draw(i + 1, 0, 0);
    same += draw(1, i, 0) == draw(1, i + 1, 0);
    same += draw(1, 0, i) == draw(1, 0, i + 1);
  }
  EXPECT_LT(same, 10);  // 0.9 expected
}

TEST(Logprobs, AgreeWithSoftmax) {
  const std::vector<float> row = {1, 3, -kInf, 3, 2};
  const double total = log_sum_exp(row.data(), 5);
  EXPECT_NEAR(total, std::log(std::exp(1.0) + 2 * std::exp(3.0) + std::exp(2.0)), 1e-12);
  std::vector<float> out(5);
  log_softmax(row.data(), 5, out.data());
  EXPECT_FLOAT_EQ(out[1], static_cast<float>(3 - total));
  EXPECT_EQ(out[2], -kInf);
  const std::vector<TokenLogprob> top = top_logprobs(row.data(), 5, 3, total);
  ASSERT_EQ(top.size(), 3U);
  EXPECT_EQ(top[0].id, 1);
  EXPECT_EQ(top[1].id, 3);
  EXPECT_EQ(top[2].id, 4);
  EXPECT_NEAR(top[0].logprob, 3 - total, 1e-12);
  EXPECT_EQ(top_logprobs(row.data(), 5, 99, total).size(), 5U);
  EXPECT_TRUE(top_logprobs(row.data(), 5, 0, total).empty());
  EXPECT_EQ(token_rank(row.data(), 5, 3), 1);
  EXPECT_EQ(token_rank(row.data(), 5, 4), 3);
  const std::vector<float> huge = {1e30F, 1e30F, -1e30F};
  EXPECT_TRUE(std::isfinite(log_sum_exp(huge.data(), 3)));
}

}  // namespace
}  // namespace pagoda
