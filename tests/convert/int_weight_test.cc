// Rounding and GPTQ: the formulas, and that the loss under the inputs falls.
#include "convert/int_weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/random.h"

namespace pagoda {
namespace {

std::vector<float> normal(int64_t count, uint64_t seed) {
  const RandomStream random(seed, 0);
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random.normal(i));
  return values;
}

// Sum of x x^T of `rows` inputs whose columns are correlated and of very different power.
std::vector<float> hessian_of(int64_t k, int64_t rows) {
  const std::vector<float> noise = normal(rows * k, 7);
  std::vector<float> h(static_cast<size_t>(k * k), 0.0f), x(static_cast<size_t>(k));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < k; ++i) {
      const float shared = noise[static_cast<size_t>(r * k + i / 4)];
      x[static_cast<size_t>(i)] = (0.1f + static_cast<float>(i % 7)) * (0.6f * noise[static_cast<size_t>(r * k + i)] + shared);
    }
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j)
        h[static_cast<size_t>(i * k + j)] += x[static_cast<size_t>(i)] * x[static_cast<size_t>(j)];
    }
  }
  return h;
}

// What calibration makes small: trace(d H d^T) of the differences d.
double loss(ThreadPool& pool, const std::vector<float>& w, const IntWeight& weight, const std::vector<float>& h) {
  std::vector<float> d(w.size());
  decode(pool, weight, d.data());
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) d[i] = w[i] - d[i];
  for (int64_t row = 0; row < weight.n; ++row) {
    const float* of_row = d.data() + row * weight.k;
    for (int64_t i = 0; i < weight.k; ++i) {
      for (int64_t j = 0; j < weight.k; ++j) {
        sum += double{of_row[i]} * double{h[static_cast<size_t>(i * weight.k + j)]} * double{of_row[j]};
      }
    }
  }
  return sum;
}

TEST(IntWeight, RoundsToNearestByTheExtremesOfEachGroup) {
  ThreadPool pool(1);
  const std::vector<float> w = {-7.5f, 3.2f, 0.4f, -0.6f, 0, 0, 0, 0};
  const IntWeight four = round_to_nearest(pool, w.data(), 1, 8, {4, 4, true, DType::kFloat32});
  ASSERT_EQ(four.groups, 2);
  EXPECT_FLOAT_EQ(four.scales[0], 1);  // 2 * 7.5 / 15
  EXPECT_EQ(four.codes, (std::vector<int8_t>{-8, 3, 0, -1, 0, 0, 0, 0}));
  const std::vector<float> positive = {1, 2, 3, 16};
  const IntWeight asymmetric = round_to_nearest(pool, positive.data(), 1, 4, {4, 0, false, DType::kFloat32});
  EXPECT_FLOAT_EQ(asymmetric.scales[0], 16.0f / 15);
  EXPECT_EQ(asymmetric.zeros[0], -8);
  std::vector<float> back(4);
  decode(pool, asymmetric, back.data());
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(back[i], positive[i], 8.0 / 15 + 1e-6);
  const IntWeight eight = round_to_nearest(pool, w.data(), 1, 8, {8, 0, true, DType::kFloat32});
  EXPECT_FLOAT_EQ(eight.scales[0], 15.0f / 255);
  EXPECT_EQ(eight.codes[0], -128);
}

TEST(IntWeight, ScalesAreOnesTheFileCanHold) {
  ThreadPool pool(1);
  const std::vector<float> w = normal(64, 3), tiny = {1e-30f, -1e-30f, 0, 0, 0, 0, 0, 0};
  const IntWeight weight = round_to_nearest(pool, w.data(), 2, 32, {4, 8, true, DType::kBFloat16});
  for (const float scale : weight.scales) EXPECT_EQ(static_cast<float>(BFloat16(scale)), scale);
  for (const DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
    const IntWeight small = round_to_nearest(pool, tiny.data(), 1, 8, {8, 0, true, dtype});
    EXPECT_GT(small.scales[0], 0) << dtype_name(dtype);
  }
}

TEST(Gptq, LosesFarLessThanRoundingToNearest) {
  ThreadPool pool(2);
  constexpr int64_t kN = 24, kK = 160;  // more than two blocks of the factorisation, with a rest
  const std::vector<float> w = normal(kN * kK, 1), h = hessian_of(kK, 500);
  for (const bool symmetric : {true, false}) {
    for (const bool order : {true, false}) {
      const IntCoding coding{4, 32, symmetric, DType::kFloat32};
      const GptqInputs inputs = prepare_gptq(pool, h, kK, {0.01, order});
      const IntWeight better = gptq(pool, w.data(), kN, kK, coding, inputs);
      const double plain = loss(pool, w, round_to_nearest(pool, w.data(), kN, kK, coding), h);
      EXPECT_LT(loss(pool, w, better, h), 0.5 * plain) << symmetric << order;
    }
  }
}

TEST(Gptq, EqualsRoundingWhereInputsAreIndependent) {
  ThreadPool pool(1);
  constexpr int64_t kN = 4, kK = 64;
  const std::vector<float> w = normal(kN * kK, 2);
  std::vector<float> h(kK * kK, 0.0f);
  for (size_t i = 0; i < kK; ++i) h[i * kK + i] = 1;
  const IntWeight weight = gptq(pool, w.data(), kN, kK, {8, 0, true, DType::kFloat32}, prepare_gptq(pool, h, kK));
  for (int64_t i = 0; i < kN * kK; ++i) {
    const float scale = weight.scales[static_cast<size_t>(i / kK)];
    const float wanted = std::min(std::max(std::nearbyint(w[static_cast<size_t>(i)] / scale), -128.0f), 127.0f);
    EXPECT_EQ(weight.codes[static_cast<size_t>(i)], static_cast<int8_t>(wanted)) << i;
  }
}

TEST(Gptq, ColumnsWithoutInputsAndSingularInputsAreNoTrouble) {
  ThreadPool pool(1);
  constexpr int64_t kN = 3, kK = 70;
  const std::vector<float> w = normal(kN * kK, 4);
  std::vector<float> nothing(kK * kK, 0.0f), one = hessian_of(kK, 1);  // rank 0 and 1
  for (std::vector<float>* h : {&nothing, &one}) {
    const IntWeight weight = gptq(pool, w.data(), kN, kK, {4, 0, true, DType::kFloat32}, prepare_gptq(pool, *h, kK));
    std::vector<float> back(w.size());
    decode(pool, weight, back.data());
    for (const float value : back) EXPECT_TRUE(std::isfinite(value));
  }
}

// q, k and v have one input, and gate and up.
TEST(Gptq, OneFactorServesAllMatricesOfAnInput) {
  ThreadPool pool(2);
  constexpr int64_t kN = 5, kK = 64;
  const std::vector<float> h = hessian_of(kK, 200);
  const GptqInputs shared = prepare_gptq(pool, h, kK);
  for (const uint64_t seed : {6, 7}) {
    const std::vector<float> w = normal(kN * kK, seed);
    const IntCoding coding{4, 32, true, DType::kFloat32};
    const IntWeight together = gptq(pool, w.data(), kN, kK, coding, shared);
    const IntWeight alone = gptq(pool, w.data(), kN, kK, coding, prepare_gptq(pool, h, kK));
    EXPECT_EQ(together.codes, alone.codes);
    EXPECT_EQ(together.scales, alone.scales);
  }
}

TEST(Gptq, IsTheSameWithAnyNumberOfThreads) {
  constexpr int64_t kN = 40, kK = 96;
  const std::vector<float> w = normal(kN * kK, 5);
  std::vector<IntWeight> results;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const std::vector<float> h = hessian_of(kK, 200);
    results.push_back(gptq(pool, w.data(), kN, kK, {4, 32, true, DType::kFloat32}, prepare_gptq(pool, h, kK)));
  }
  EXPECT_EQ(results[0].codes, results[1].codes);
  EXPECT_EQ(results[0].scales, results[1].scales);
}

TEST(IntWeight, HasNoCodeForWhatIsNotFinite) {
  std::vector<float> w(6, 0.5f);
  EXPECT_NO_THROW(check_finite("layer.weight", w.data(), 2, 3));
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity()}) {
    w[5] = value;
    try {
      check_finite("layer.weight", w.data(), 2, 3);
      ADD_FAILURE() << value;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
      EXPECT_NE(error.message().find("[layer.weight] got"), std::string::npos) << error.message();
      EXPECT_NE(error.message().find("at [1, 2], need finite"), std::string::npos) << error.message();
    }
  }
}

}  // namespace
}  // namespace pagoda
