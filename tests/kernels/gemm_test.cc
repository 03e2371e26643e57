// The products of training on unpacked matrices: every table that this machine can run, and the stand-ins for instructions that
// it lacks, against sums in double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string_view>
#include <vector>

#include "tests/kernels/products_cases.h"
#include "tests/kernels/vector_tables.h"

namespace pagoda {
namespace {

using test::Candidate;
using test::candidates;
using test::GappedMatrix;
using test::Products;

template <class T>
void gemm_equals_double(const Exec& exec, const KernelTable& table, int64_t m, int64_t n, int64_t k, int variant) {
  const bool transpose_a = (variant & 1) != 0, transpose_b = (variant & 2) != 0, accumulate = (variant & 4) != 0;
  GappedMatrix<T> a(transpose_a ? k : m, transpose_a ? m : k, 3, 1), b(transpose_b ? n : k, transpose_b ? k : n, 1), c(m, n, 2);
  a.fill(1);
  b.fill(2);
  c.fill(3);
  std::vector<double> expected(static_cast<size_t>(m * n)), bound(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = accumulate ? static_cast<double>(c.row(i)[j]) : 0.0, magnitude = std::abs(sum);
      for (int64_t p = 0; p < k; ++p) {
        const double left = transpose_a ? a.row(p)[i] : a.row(i)[p], right = transpose_b ? b.row(j)[p] : b.row(p)[j];
        sum += left * right;
        magnitude += std::abs(left * right);
      }
      expected[static_cast<size_t>(i * n + j)] = sum;
      bound[static_cast<size_t>(i * n + j)] = 1e-5 * (magnitude + 1e-3);
    }
  }
  table.gemm(exec, a.view(), transpose_a, b.view(), transpose_b, accumulate, c.view());
  EXPECT_TRUE(c.gaps_untouched());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const size_t at = static_cast<size_t>(i * n + j);
      ASSERT_NEAR(static_cast<double>(c.row(i)[j]), expected[at], bound[at])
          << "m " << m << " n " << n << " k " << k << " variant " << variant;
    }
  }
}

TEST_F(Products, GemmOverOddSizesAllTranspositions) {
  for (const Candidate& candidate : candidates()) {
    SCOPED_TRACE(candidate.name);
    const KernelTable table = table_of(candidate);
    test::Share share;
    for (int variant = 0; variant < 8; ++variant) {
      for (const int64_t m : {1, 3, 16, 49, 100}) {
        for (const int64_t n : {1, 17, 65, 100}) {
          for (const int64_t k : {0, 1, 31, 64, 200}) {
            if (share.wanted()) gemm_equals_double<float>(exec_, table, m, n, k, variant);
          }
        }
      }
      if (share.wanted()) gemm_equals_double<float>(exec_, table, 97, 50, 3000, variant);
      gemm_equals_double<double>(exec_, table, 9, 5, 30, variant);
      if (HasFatalFailure()) return;
    }
    // More of b than is packed at once.
    const bool slow = std::string_view(candidate.name).find("stand-in") != std::string_view::npos;
    if (share.wanted()) gemm_equals_double<float>(exec_, table, 2, 100, slow ? 14000 : 140000, 0);
  }
}

// Where float32 is computed in parts of bfloat16 no part of it is lost: the error stays what sums of float32 have, also beside
// the largest numbers and where a part would round to infinity.
TEST_F(Products, GemmIsAsExactAsFloat32) {
  constexpr int64_t kM = 40, kN = 70, kK = 700;  // long enough for tiles
  for (const Candidate& candidate : candidates()) {
    SCOPED_TRACE(candidate.name);
    const KernelTable table = table_of(candidate);
    for (const float scale : {1.0f, 1e-15f, 1e30f, std::numeric_limits<float>::max()}) {
      GappedMatrix<float> a(kM, kK), b(kN, kK), c(kM, kN);
      std::mt19937 random(7);
      std::normal_distribution<float> normal;
      for (int64_t p = 0; p < kK; ++p) {
        for (int64_t i = 0; i < kM; ++i) a.row(i)[p] = scale > 1e30f ? (p == 3 * i ? scale : 0.0f) : normal(random) * scale;
        for (int64_t j = 0; j < kN; ++j) b.row(j)[p] = normal(random) * (scale > 1e30f ? 0x1p-20f : 1.0f);
      }
      table.gemm(exec_, a.view(), false, b.view(), true, false, c.view());
      double worst = 0;
      for (int64_t i = 0; i < kM; ++i) {
        for (int64_t j = 0; j < kN; ++j) {
          double sum = 0, magnitude = 0;
          for (int64_t p = 0; p < kK; ++p) {
            const double term = double{a.row(i)[p]} * b.row(j)[p];
            sum += term;
            magnitude += std::abs(term);
          }
          if (magnitude > 0) worst = std::max(worst, std::abs(c.row(i)[j] - sum) / magnitude);
        }
      }
      EXPECT_LT(worst, 0x1p-21) << "scale " << scale;
    }
  }
}

TEST_F(Products, GemmGivesTheSameBitsWithAnyThreads) {
  for (const Candidate& candidate : candidates()) {
    const KernelTable table = table_of(candidate);
    GappedMatrix<float> a(150, 333), b(333, 130), first(150, 130), c(150, 130);
    a.fill(1);
    b.fill(2);
    table.gemm(exec_, a.view(), false, b.view(), false, false, first.view());
    for (const int threads : {1, 2, 5}) {
      ThreadPool pool(threads);
      Exec exec = exec_;
      exec.pool = &pool;
      table.gemm(exec, a.view(), false, b.view(), false, false, c.view());
      EXPECT_EQ(0, std::memcmp(c.row(0), first.row(0), 150 * 130 * 4)) << candidate.name << " threads " << threads;
    }
  }
}

}  // namespace
}  // namespace pagoda
