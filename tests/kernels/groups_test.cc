// Products on weights in groups, their packing and rows: every table that this machine can run, and the stand-ins for
// instructions that it lacks, against sums in double of the same codes and scales.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/groups.h"
#include "kernels/table.h"
#include "tests/group_values.h"
#include "tests/kernels/vector_tables.h"

namespace pagoda {
namespace {

using pagoda::testing::group_value;
using test::Matrix;
using test::Numbers;

std::vector<test::NamedTable> tables() {
  const CpuInfo cpu = detect_cpu();
  std::vector<test::NamedTable> list;
  const auto add = [&](const char* name, Isa needs, auto... fillers) {
    if (!isa_supported(needs, cpu) || !test::table_wanted(name)) return;
    test::NamedTable& named = list.emplace_back(test::NamedTable{name, {}});
    fill_reference(named.table);
    (fillers(named.table), ...);
  };
  add("reference", Isa::kReference);
  add("portable", Isa::kPortable, fill_products_portable);
  add("avx2", Isa::kAvx2, fill_products_avx2);
  add("avx512", Isa::kAvx512, fill_products_avx512);
  add("avx512_bf16", Isa::kAvx512Bf16, fill_products_avx512, fill_products_avx512_bf16);
  add("amx", Isa::kAmx, fill_products_avx512, fill_products_amx);
  add("avx512_bf16 stand-in", Isa::kPortable, fill_products_portable, fill_products_avx512_bf16_standin);
  add("amx stand-in", Isa::kPortable, fill_products_portable, fill_products_amx_standin);
  return list;
}

// Every kind of scale with the group sizes and bits that formats have.
std::vector<GroupCoding> codings() {
  return {{4, 32, GroupScale::kHalf, 8},    {4, 32, GroupScale::kHalfMin, 0},  {4, 128, GroupScale::kHalfZero, 0},
          {4, 64, GroupScale::kFloat, 8},   {4, 32, GroupScale::kFloatMin, 0}, {4, 32, GroupScale::kSuperMin, 0},
          {4, 16, GroupScale::kSuper, 8},   {4, 16, GroupScale::kSuperMin, 0}, {8, 32, GroupScale::kHalf, 0},
          {8, 32, GroupScale::kHalfMin, 0}, {8, 128, GroupScale::kFloat, 0},   {8, 64, GroupScale::kHalfZero, 0},
          {8, 16, GroupScale::kSuper, 0},   {8, 32, GroupScale::kSuperMin, 0}, {8, 32, GroupScale::kFloatMin, 0}};
}

int64_t step_of(const GroupCoding& coding) { return coding.has_super() ? kSuperBlock : coding.size; }

std::string name_of(const GroupCoding& c) {
  return std::to_string(c.bits) + " bits, groups of " + std::to_string(c.size) + ", scale " +
         std::to_string(static_cast<int>(c.scale));
}

float half(float value) { return float16_to_float(float_to_float16(value)); }

GroupRows random_rows(const GroupCoding& coding, int64_t n, int64_t k, uint64_t seed) {
  GroupRows rows(coding, n, k);
  Numbers numbers(seed);
  for (int8_t& code : rows.codes) {
    code = static_cast<int8_t>(coding.bits == 8 ? numbers.below(256) - 128 : numbers.below(16) - coding.offset);
  }
  const bool floats = coding.scale == GroupScale::kFloat || coding.scale == GroupScale::kFloatMin;
  for (float& scale : rows.scales) scale = floats ? numbers.next(0.02f) : half(numbers.next(0.02f));
  for (float& minimum : rows.minima) minimum = floats ? numbers.next(0.3f) : half(numbers.next(0.3f));
  for (int8_t& scale : rows.small_scales) scale = static_cast<int8_t>(numbers.below(128) - 64);
  for (uint8_t& minimum : rows.small_minima) minimum = static_cast<uint8_t>(numbers.below(64));
  return rows;
}

// Packed bytes on the heap, so that the sanitizer sees a step past them; packed in uneven parts.
struct Packed {
  explicit Packed(const GroupRows& rows) {
    view = {nullptr, WeightFormat::kGroups, rows.rows, rows.k, rows.coding};
    const auto bytes = static_cast<size_t>(packed_bytes(view));
    data.reset(static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
    std::memset(data.get(), 0, bytes);
    view.data = data.get();
    for (int64_t begin = 0; begin < rows.rows; begin += 7) {
      const int64_t count = std::min<int64_t>(7, rows.rows - begin);
      GroupRows part(rows.coding, count, rows.k);
      const auto copy = [&](auto& to, const auto& from) {
        const size_t width = from.size() / static_cast<size_t>(rows.rows);
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(begin) * width), to.size(), to.begin());
      };
      copy(part.codes, rows.codes);
      copy(part.scales, rows.scales);
      copy(part.minima, rows.minima);
      copy(part.small_scales, rows.small_scales);
      copy(part.small_minima, rows.small_minima);
      pack_groups(part, view, begin);
    }
  }
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  std::unique_ptr<char, Free> data;
  PackedView view;
};

struct Case {
  int64_t m, n, k;
  bool bias = false, residual = false;
  Activation activation = Activation::kNone;
};

void compare(const Exec& exec, const KernelTable& table, const GroupRows& rows, const Packed& packed, const Case& c, DType in,
             DType out) {
  Numbers numbers(7);
  Matrix x(in, {c.m, c.k}), bias(DType::kFloat32, {1, c.n}, 0, 0), residual(out, {c.m, c.n}), y(out, {c.m, c.n}, 5);
  x.fill(numbers);
  bias.fill(numbers);
  residual.fill(numbers);
  const std::vector<uint8_t> before = y.bytes();
  Epilogue epilogue;
  if (c.bias) epilogue.bias = bias.view();
  if (c.residual) epilogue.residual = residual.view();
  epilogue.activation = c.activation;
  const ProductKernel* kernel = table.find_product(WeightFormat::kGroups, in, c.m);
  ASSERT_NE(kernel, nullptr);
  kernel->run(exec, x.view(), packed.view, epilogue, y.view());
  std::vector<float> w(static_cast<size_t>(c.n * c.k));
  for (int64_t n = 0; n < c.n; ++n) {
    for (int64_t k = 0; k < c.k; ++k) w[static_cast<size_t>(n * c.k + k)] = group_value(rows, n, k);
  }
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) {
      double sum = c.bias ? static_cast<double>(bias.at(0, j)) : 0.0, magnitude = std::abs(sum);
      for (int64_t k = 0; k < c.k; ++k) {
        const double product = static_cast<double>(x.at(i, k)) * static_cast<double>(w[static_cast<size_t>(j * c.k + k)]);
        sum += product;
        magnitude += std::abs(product);
      }
      double expected = apply_activation(c.activation, sum);
      if (c.residual) expected += static_cast<double>(residual.at(i, j));
      // Sums of codes and of x are larger than those of weights by what the minimum takes away.
      double bound = 1e-5 * (2 * magnitude + 1) * (1 + std::abs(sum));
      if (out == DType::kBFloat16) bound += std::abs(expected) / 256;
      ASSERT_NEAR(static_cast<double>(y.at(i, j)), expected, bound)
          << kernel->name << " m " << c.m << " n " << c.n << " k " << c.k << " at " << i << ", " << j;
    }
  }
  // Guards: all but the elements themselves.
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) y.set(i, j, 0);
  }
  Matrix zeros(out, {c.m, c.n}, 5);
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) zeros.set(i, j, 0);
  }
  EXPECT_EQ(y.bytes(), zeros.bytes());
}

TEST(Groups, EqualSumsInDoubleOverOddSizes) {
  test::Runner runner(3);
  for (const test::NamedTable& named : tables()) {
    SCOPED_TRACE(named.name);
    test::Share share;
    for (const GroupCoding& coding : codings()) {
      SCOPED_TRACE(name_of(coding));
      for (const int64_t steps : {1, 3}) {
        for (const int64_t n : {1, 17, 70}) {
          const int64_t k = steps * step_of(coding);
          const GroupRows rows = random_rows(coding, n, k, 3);
          const Packed packed(rows);
          for (const int64_t m : {1, 2, 3, 4, 5, 15, 17, 40}) {
            if (!share.wanted()) continue;
            compare(runner.exec(), named.table, rows, packed, {m, n, k}, DType::kBFloat16, DType::kBFloat16);
            if (n == 17) compare(runner.exec(), named.table, rows, packed, {m, n, k}, DType::kFloat32, DType::kFloat32);
            if (::testing::Test::HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST(Groups, LongRowsManyRowsAndEpilogues) {
  test::Runner runner(2);
  for (const test::NamedTable& named : tables()) {
    SCOPED_TRACE(named.name);
    for (const GroupCoding& coding : {codings()[0], codings()[5], codings()[6], codings()[8]}) {
      SCOPED_TRACE(name_of(coding));
      for (const Case& c : {Case{1, 33, 4096}, Case{290, 33, 256}, Case{20, 48, 2048, true, true, Activation::kSilu},
                            Case{3, 64, 512, true, false}, Case{33, 40, 256, false, true}}) {
        const GroupRows rows = random_rows(coding, c.n, c.k, 5);
        const Packed packed(rows);
        compare(runner.exec(), named.table, rows, packed, c, DType::kBFloat16, DType::kFloat32);
        compare(runner.exec(), named.table, rows, packed, c, DType::kFloat32, DType::kBFloat16);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(Groups, RowAloneGivesTheBitsOfItsBatch) {
  for (const test::NamedTable& named : tables()) {
    SCOPED_TRACE(named.name);
    for (const GroupCoding& coding : {codings()[0], codings()[2], codings()[7], codings()[9]}) {
      SCOPED_TRACE(name_of(coding));
      constexpr int64_t kRows = 150, kN = 50, kK = 1024;
      const Packed packed(random_rows(coding, kN, kK, 11));
      for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
        Numbers numbers(13);
        Matrix x(dtype, {kRows, kK});
        x.fill(numbers);
        Matrix all(DType::kFloat32, {kRows, kN});
        test::Runner one(1);
        const ProductKernel* kernel = named.table.find_product(WeightFormat::kGroups, dtype, kRows);
        kernel->run(one.exec(), x.view(), packed.view, {}, all.view());
        for (const int64_t m : {1, 2, 3, 4, 7, 8, 16, 17, 33, 97}) {
          test::Runner runner(static_cast<int>(1 + m % 3));
          Matrix y(DType::kFloat32, {m, kN});
          ASSERT_EQ(named.table.find_product(WeightFormat::kGroups, dtype, m), kernel);
          kernel->run(runner.exec(), x.rows(kRows - m, kRows), packed.view, {}, y.view());
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < kN; ++j) {
              ASSERT_EQ(float_to_bits(y.at(i, j)), float_to_bits(all.at(kRows - m + i, j))) << m << " rows, row " << i;
            }
          }
        }
      }
    }
  }
}

// Inputs of any size, alone as in a batch: what kernels of few rows make of x must not show.
TEST(Groups, ExtremeInputsGiveTheSameAloneAsInABatch) {
  constexpr int64_t kRows = 40, kN = 35, kK = 512;
  test::Runner runner(2);
  for (const test::NamedTable& named : tables()) {
    SCOPED_TRACE(named.name);
    for (const GroupCoding& coding : {codings()[0], codings()[2], codings()[5], codings()[8], codings()[12]}) {
      SCOPED_TRACE(name_of(coding));
      const Packed packed(random_rows(coding, kN, kK, 19));
      Numbers numbers(29);
      Matrix x(DType::kBFloat16, {kRows, kK}), all(DType::kFloat32, {kRows, kN});
      x.fill(numbers);
      for (int64_t k = 0; k < kK; ++k) {
        x.set(2, k, 0);
        x.set(3, k, x.at(3, k) * 1e-35F);
        x.set(4, k, k % 3 == 0 ? x.at(4, k) * 1e-9F : x.at(4, k));
        x.set(5, k, x.at(5, k) * 1e20F);
        x.set(6, k, k == 100 ? 1e38F : x.at(6, k));
      }
      x.set(0, 77, HUGE_VALF);
      x.set(1, 300, NAN);
      const ProductKernel* kernel = named.table.find_product(WeightFormat::kGroups, DType::kBFloat16, kRows);
      kernel->run(runner.exec(), x.view(), packed.view, {}, all.view());
      for (int64_t m = 0; m < 7; ++m) {
        Matrix y(DType::kFloat32, {1, kN});
        kernel->run(runner.exec(), x.rows(m, m + 1), packed.view, {}, y.view());
        for (int64_t j = 0; j < kN; ++j) {
          if (m < 2) {
            EXPECT_FALSE(std::isfinite(y.at(0, j)));
          } else if (m == 2) {
            EXPECT_EQ(y.at(0, j), 0);
          }
          if (std::isnan(y.at(0, j)) && std::isnan(all.at(m, j))) continue;
          ASSERT_EQ(float_to_bits(y.at(0, j)), float_to_bits(all.at(m, j))) << "row " << m;
        }
      }
    }
  }
}

TEST(Groups, UnpackAndEmbeddingGiveTheValues) {
  test::Runner runner(2);
  for (const test::NamedTable& named : tables()) {
    SCOPED_TRACE(named.name);
    for (const GroupCoding& coding : codings()) {
      SCOPED_TRACE(name_of(coding));
      const int64_t n = 37, k = 2 * step_of(coding);
      const GroupRows rows = random_rows(coding, n, k, 17);
      const Packed packed(rows);
      Matrix all(DType::kFloat32, {n - 5, k});
      named.table.unpack(runner.exec(), packed.view, int64_t{5}, all.view());
      for (int64_t i = 0; i < n - 5; ++i) {
        for (int64_t j = 0; j < k; ++j) ASSERT_EQ(all.at(i, j), group_value(rows, i + 5, j)) << i << ", " << j;
      }
      std::vector<int32_t> ids = {36, 0, 20, 20};
      View id_view;
      id_view.data = ids.data();
      id_view.dtype = DType::kInt32;
      id_view.rank = 1;
      id_view.dims[0] = 4;
      id_view.strides[0] = 1;
      Matrix y(DType::kBFloat16, {4, k});
      named.table.packed_embedding(runner.exec(), packed.view, id_view, y.view());
      for (int64_t t = 0; t < 4; ++t) {
        for (int64_t j = 0; j < k; ++j) {
          ASSERT_EQ(y.at(t, j), static_cast<float>(BFloat16(group_value(rows, ids[static_cast<size_t>(t)], j))));
        }
      }
    }
  }
}

// Sums of integers are exact: every table gives the reference's bits.
TEST(Int8Rows, EveryTableGivesTheReferencesBits) {
  test::Runner runner(3);
  Numbers numbers(23);
  for (const test::NamedTable& named : tables()) {
    SCOPED_TRACE(named.name);
    test::Share share;
    for (const int64_t k : {16, 48, 64, 80, 576, 4112}) {
      for (const int64_t n : {1, 17, 64, 100}) {
        GroupRows rows(GroupCoding{8, 16, GroupScale::kFloat, 0}, n, k);
        for (int8_t& code : rows.codes) code = static_cast<int8_t>(numbers.below(256) - 128);
        for (int64_t i = 0; i < n; ++i) {
          std::fill_n(rows.scales.begin() + i * (k / 16), k / 16, numbers.next(0.01f));
        }
        PackedView w{nullptr, WeightFormat::kInt8Rows, n, k};
        const auto bytes = static_cast<size_t>(packed_bytes(w));
        const std::unique_ptr<char, Packed::Free> data(static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
        std::memset(data.get(), 0, bytes);
        w.data = data.get();
        pack_groups(rows, w, 0);
        for (const int64_t m : {1, 2, 5, 16, 33, 300}) {
          if (!share.wanted() || (m == 300 && k != 80)) continue;
          for (const DType dtype : {DType::kBFloat16, DType::kFloat32}) {
            Matrix x(dtype, {m, k}), bias(DType::kFloat32, {1, n}, 0, 0), residual(dtype, {m, n}), y(dtype, {m, n}),
                z(dtype, {m, n});
            x.fill(numbers, 3);
            bias.fill(numbers);
            residual.fill(numbers);
            if (m == 5) {
              for (int64_t j = 0; j < k; ++j) x.set(1, j, 0);  // a row without a scale
              x.set(2, k / 2, HUGE_VALF);
              x.set(3, k - 1, NAN);
              x.set(4, 0, -1e30f);  // all others round to 0
            }
            Epilogue epilogue;
            epilogue.bias = bias.view();
            epilogue.residual = residual.view();
            named.table.find_product(WeightFormat::kInt8Rows, dtype, m)->run(runner.exec(), x.view(), w, epilogue, y.view());
            test::oracle().find_product(WeightFormat::kInt8Rows, dtype, m)->run(runner.exec(), x.view(), w, epilogue, z.view());
            for (int64_t i = 0; i < m; ++i) {
              for (int64_t j = 0; j < n; ++j) {
                if (std::isnan(z.at(i, j)) && std::isnan(y.at(i, j))) continue;
                ASSERT_EQ(float_to_bits(y.at(i, j)), float_to_bits(z.at(i, j)))
                    << "m " << m << " n " << n << " k " << k << " at " << i << ", " << j << ": " << y.at(i, j) << " for "
                    << z.at(i, j);
              }
            }
          }
        }
        Matrix back(DType::kFloat32, {n, k});
        named.table.unpack(runner.exec(), w, int64_t{0}, back.view());
        for (int64_t i = 0; i < n; ++i) {
          for (int64_t j = 0; j < k; ++j) {
            ASSERT_EQ(back.at(i, j), static_cast<float>(rows.codes[static_cast<size_t>(i * k + j)]) *
                                         rows.scales[static_cast<size_t>(i * (k / 16))]);
          }
        }
      }
    }
  }
}

// What one stream reads: near what the file's blocks have.
TEST(Groups, BitsAWeightAreNearTheFiles) {
  const auto bits = [](const GroupCoding& coding) {
    const PackedView w{nullptr, WeightFormat::kGroups, 576, 1536, coding};
    return 8.0 * static_cast<double>(packed_bytes(w)) / (576 * 1536);
  };
  EXPECT_LE(bits({4, 32, GroupScale::kHalf, 8}), 4.51);       // Q4_0: 4.5
  EXPECT_LE(bits({8, 32, GroupScale::kHalf, 0}), 8.51);       // Q8_0: 8.5
  EXPECT_LE(bits({4, 32, GroupScale::kSuperMin, 0}), 4.64);   // Q4_K: 4.5
  EXPECT_LE(bits({4, 128, GroupScale::kHalfZero, 0}), 4.20);  // AWQ: 4.16
}

}  // namespace
}  // namespace pagoda
