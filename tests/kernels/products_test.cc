// Products on packed weights and packing: every table that this machine can run, and the stand-ins for instructions that
// it lacks, against the scalar reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "base/random.h"
#include "kernels/cpu/fill.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/reference.h"
#include "kernels/limits.h"
#include "kernels/table.h"
#include "tests/kernels/products_cases.h"
#include "tests/kernels/vector_tables.h"

namespace pagoda {
namespace {

using test::Candidate;
using test::candidates;
using test::GappedMatrix;
using test::Packed;
using test::Products;

struct Case {
  int64_t m, n, k;
  bool bias = false, residual = false;
  Activation activation = Activation::kNone;
};

// The error that a product may have: float32 rounding of the sums, relative to the sum of magnitudes, and y's own rounding.
template <class X, class Y>
void compare(const Exec& exec, const KernelTable& table, const KernelTable& reference, WeightFormat format, const Case& c,
             double tolerance) {
  GappedMatrix<float> w(c.n, c.k);
  w.fill(1);
  Packed packed(format, c.n, c.k);
  reference.pack(exec, w.view(), packed.view, int64_t{0});
  reference.unpack(exec, packed.view, int64_t{0}, w.view());
  GappedMatrix<X> x(c.m, c.k, 3, 1);
  x.fill(2);
  GappedMatrix<float> bias(1, c.n);
  bias.fill(3);
  GappedMatrix<Y> residual(c.m, c.n, 2);
  residual.fill(4);
  GappedMatrix<Y> y(c.m, c.n, 5, 1);
  Epilogue epilogue;
  if (c.bias) epilogue.bias = bias.view();
  if (c.residual) epilogue.residual = residual.view();
  epilogue.activation = c.activation;
  const ProductKernel* kernel = table.find_product(format, DTypeOf<X>::kValue, c.m);
  ASSERT_NE(kernel, nullptr);
  kernel->run(exec, x.view(), packed.view, epilogue, y.view());
  EXPECT_TRUE(y.gaps_untouched());
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) {
      double sum = c.bias ? bias.row(0)[j] : 0.0, magnitude = std::abs(sum);
      for (int64_t k = 0; k < c.k; ++k) {
        const double product = static_cast<double>(static_cast<float>(x.row(i)[k])) * w.row(j)[k];
        sum += product;
        magnitude += std::abs(product);
      }
      double expected = apply_activation(c.activation, sum);
      if (c.residual) expected += static_cast<float>(residual.row(i)[j]);
      double bound = tolerance * (magnitude + 1) * (1 + std::abs(sum));  // an activation may square the error
      if (std::is_same_v<Y, BFloat16>) bound += std::abs(expected) / 256;
      ASSERT_NEAR(static_cast<float>(y.row(i)[j]), expected, bound)
          << kernel->name << " m " << c.m << " n " << c.n << " k " << c.k << " at " << i << ", " << j;
    }
  }
}

constexpr double kFloatTolerance = 1e-5;

TEST_F(Products, EqualReferenceOverOddSizes) {
  for (const Candidate& candidate : candidates()) {
    SCOPED_TRACE(candidate.name);
    const KernelTable table = table_of(candidate);
    test::Share share;
    for (const int64_t k : {1, 2, 3, 15, 31, 32, 33, 63, 65, 100, 576}) {
      for (const int64_t n : {1, 2, 15, 16, 17, 33, 64, 100, 129}) {
        for (const int64_t m : {1, 2, 3, 5, 7, 13, 17, 33, 50}) {
          if ((k > 100 && m > 7 && n > 64) || !share.wanted()) continue;
          const Case c{m, n, k};
          for (const WeightFormat format : {WeightFormat::kFloat32Panels, WeightFormat::kBf16Pairs}) {
            compare<float, float>(exec_, table, reference_, format, c, kFloatTolerance);
            if (n != 17 && k != 33) continue;
            compare<BFloat16, BFloat16>(exec_, table, reference_, format, c, kFloatTolerance);
            compare<BFloat16, float>(exec_, table, reference_, format, c, kFloatTolerance);
            compare<float, BFloat16>(exec_, table, reference_, format, c, kFloatTolerance);
          }
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_F(Products, EqualReferenceOnLongRowsAndManyRows) {
  test::Share share;
  for (const Candidate& candidate : candidates()) {
    SCOPED_TRACE(candidate.name);
    const KernelTable table = table_of(candidate);
    for (const Case& c : {Case{512, 40, 64}, Case{100, 48, 1536}, Case{70, 20, 3001}, Case{1, 300, 5000}, Case{2, 36, 70001}}) {
      if (!share.wanted()) continue;
      for (const WeightFormat format : {WeightFormat::kFloat32Panels, WeightFormat::kBf16Pairs}) {
        compare<float, float>(exec_, table, reference_, format, c, kFloatTolerance);
        compare<BFloat16, BFloat16>(exec_, table, reference_, format, c, kFloatTolerance);
      }
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(Products, NothingToDo) {
  for (const Candidate& candidate : candidates()) {
    SCOPED_TRACE(candidate.name);
    const KernelTable table = table_of(candidate);
    for (const WeightFormat format : {WeightFormat::kFloat32Panels, WeightFormat::kBf16Pairs}) {
      compare<BFloat16, float>(exec_, table, reference_, format, {0, 17, 32}, kFloatTolerance);
      compare<BFloat16, float>(exec_, table, reference_, format, {2, 17, 0, true}, kFloatTolerance);  // y = bias
    }
  }
}

TEST_F(Products, EpilogueHasEveryActivation) {
  for (const Candidate& candidate : candidates()) {
    SCOPED_TRACE(candidate.name);
    const KernelTable table = table_of(candidate);
    for (int kind = 0; kind <= static_cast<int>(Activation::kSqrtSoftplus); ++kind) {
      for (const bool residual : {false, true}) {
        Case c{7, 50, 60, true, residual, static_cast<Activation>(kind)};
        compare<float, float>(exec_, table, reference_, WeightFormat::kFloat32Panels, c, kFloatTolerance);
        compare<BFloat16, BFloat16>(exec_, table, reference_, WeightFormat::kBf16Pairs, c, kFloatTolerance);
      }
    }
  }
}

// The epilogue alone: inputs as they are (an identity weight), so that only the activation can differ.
TEST_F(Products, ActivationsAreWithinAMillionth) {
  GappedMatrix<float> identity(16, 16);
  for (int64_t i = 0; i < 16; ++i) {
    for (int64_t j = 0; j < 16; ++j) identity.row(i)[j] = i == j ? 1.0f : 0.0f;
  }
  Packed packed(WeightFormat::kFloat32Panels, 16, 16);
  reference_.pack(exec_, identity.view(), packed.view, int64_t{0});
  GappedMatrix<float> x(4000, 16), y(4000, 16);
  for (int64_t i = 0; i < 4000; ++i) {
    for (int64_t j = 0; j < 16; ++j) x.row(i)[j] = static_cast<float>((i * 16 + j - 32000) * 0.00071);
  }
  for (const Candidate& candidate : candidates()) {
    SCOPED_TRACE(candidate.name);
    const KernelTable table = table_of(candidate);
    for (int kind = 0; kind <= static_cast<int>(Activation::kSqrtSoftplus); ++kind) {
      Epilogue epilogue;
      epilogue.activation = static_cast<Activation>(kind);
      table.find_product(WeightFormat::kFloat32Panels, DType::kFloat32, 4000)
          ->run(exec_, x.view(), packed.view, epilogue, y.view());
      for (int64_t i = 0; i < 4000; ++i) {
        for (int64_t j = 0; j < 16; ++j) {
          const double in = x.row(i)[j], expected = apply_activation(epilogue.activation, in);
          // Where the formula itself cancels, relative to what it is the difference of: x in gelu, 1 in laplace.
          const double scale = epilogue.activation == Activation::kLaplace ? 1 : 1e-3;
          ASSERT_NEAR(y.row(i)[j], expected, 1e-6 * std::max({std::abs(in), std::abs(expected), scale}))
              << "activation " << kind << " of " << in;
        }
      }
    }
  }
}

template <class X>
void rows_do_not_depend_on_each_other(const Candidate& candidate, const KernelTable& table, const KernelTable& reference,
                                      WeightFormat format, int64_t n, int64_t k) {
  constexpr int64_t kRows = 70;
  GappedMatrix<float> w(n, k), bias(1, n);
  w.fill(1);
  bias.fill(5);
  GappedMatrix<X> x(kRows, k, 1);
  x.fill(2);
  Epilogue epilogue;
  epilogue.bias = bias.view();
  epilogue.activation = Activation::kSilu;
  std::vector<std::vector<float>> alone;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    Arena arena;
    Exec exec;
    exec.pool = &pool;
    exec.scratch = &arena;
    Packed packed(format, n, k);
    reference.pack(exec, w.view(), packed.view, int64_t{0});
    for (int64_t m = 1; m <= kRows; m += threads == 1 ? 1 : 7) {
      GappedMatrix<float> y(m, n);
      // m rows together, taken from the end so that a row's place in the batch changes too.
      table.find_product(format, x.view().dtype, m)->run(exec, x.rows(kRows - m, kRows), packed.view, epilogue, y.view());
      for (int64_t i = 0; i < m; ++i) {
        const int64_t from_end = m - 1 - i;
        if (static_cast<size_t>(from_end) >= alone.size()) {
          GappedMatrix<float> one(1, n);
          table.find_product(format, x.view().dtype, 1)
              ->run(exec, x.rows(kRows - m + i, kRows - m + i + 1), packed.view, epilogue, one.view());
          alone.insert(alone.begin() + from_end, std::vector<float>(one.row(0), one.row(0) + n));
        }
        ASSERT_EQ(0, std::memcmp(y.row(i), alone[static_cast<size_t>(from_end)].data(), static_cast<size_t>(n) * 4))
            << candidate.name << " row " << i << " of " << m << ", k " << k << ", threads " << threads;
      }
    }
  }
}

TEST_F(Products, RowAloneGivesTheBitsOfItsBatch) {
  test::Share share;
  for (const Candidate& candidate : candidates()) {
    const KernelTable table = table_of(candidate);
    for (const WeightFormat format : {WeightFormat::kFloat32Panels, WeightFormat::kBf16Pairs}) {
      for (const int64_t k : {33, 100, 1400}) {
        if (!share.wanted()) continue;
        rows_do_not_depend_on_each_other<float>(candidate, table, reference_, format, 83, k);
        rows_do_not_depend_on_each_other<BFloat16>(candidate, table, reference_, format, 83, k);
      }
      if (HasFatalFailure()) return;
    }
  }
}

// Results too large for caches are written round them: to the bits of a row alone, on any threads.
template <class Y>
void large_results_are_those_of_rows_alone(const Exec& exec, const Candidate& candidate, const KernelTable& table, int64_t m,
                                           int64_t n, bool bias) {
  constexpr int64_t kInputs = 32;
  GappedMatrix<float> w(n, kInputs), offset(1, n);
  w.fill(7);
  offset.fill(8);
  Packed packed(WeightFormat::kBf16Pairs, n, kInputs);
  table.pack(exec, w.view(), packed.view, int64_t{0});
  GappedMatrix<BFloat16> x(m, kInputs, 4);
  x.fill(9);
  const auto bytes = static_cast<size_t>(m * n) * sizeof(Y);
  const std::unique_ptr<void, void (*)(void*)> memory(std::aligned_alloc(64, (bytes + 63) / 64 * 64), std::free);
  std::memset(memory.get(), 0xFF, bytes);
  GappedMatrix<Y> alone(1, n);
  View y = alone.view();
  y.data = memory.get();
  y.dims[0] = m;
  Epilogue epilogue;
  if (bias) epilogue.bias = offset.view();
  table.find_product(WeightFormat::kBf16Pairs, DType::kBFloat16, m)->run(exec, x.view(), packed.view, epilogue, y);
  for (const int64_t row : {int64_t{0}, int64_t{1}, int64_t{31}, m / 2, m - 2, m - 1}) {
    table.find_product(WeightFormat::kBf16Pairs, DType::kBFloat16, 1)
        ->run(exec, x.rows(row, row + 1), packed.view, epilogue, alone.view());
    ASSERT_EQ(0, std::memcmp(static_cast<Y*>(memory.get()) + row * n, alone.row(0), static_cast<size_t>(n) * sizeof(Y)))
        << candidate.name << " row " << row << " of " << m << " x " << n;
  }
}

TEST_F(Products, LargeResultsGiveTheBitsOfRowsAlone) {
  test::Share share;
  for (const Candidate& candidate : candidates()) {
    const KernelTable table = table_of(candidate);
    for (const bool bias : {false, true}) {
      if (!share.wanted()) continue;
      large_results_are_those_of_rows_alone<BFloat16>(exec_, candidate, table, 523, 1024, bias);
      large_results_are_those_of_rows_alone<BFloat16>(exec_, candidate, table, 523, 1008, bias);  // no whole lines
      large_results_are_those_of_rows_alone<float>(exec_, candidate, table, 262, 1040, bias);
      large_results_are_those_of_rows_alone<float>(exec_, candidate, table, 1030, 8192, bias);
    }
    if (HasFatalFailure()) return;
  }
}

// Rounding instructions may take subnormal numbers for zero: then for a row alone as for one among many, in every column.
TEST_F(Products, SubnormalOutputsDoNotDependOnTheBatch) {
  for (const Candidate& candidate : candidates()) {
    SCOPED_TRACE(candidate.name);
    const KernelTable table = table_of(candidate);
    for (const int64_t n : {24, 40, 56, 64}) {
      constexpr int64_t kRows = 49;
      GappedMatrix<float> w(n, 64);
      for (int64_t j = 0; j < n; ++j) std::fill_n(w.row(j), 64, 0.0f);
      Packed packed(WeightFormat::kBf16Pairs, n, 64);
      reference_.pack(exec_, w.view(), packed.view, int64_t{0});
      GappedMatrix<BFloat16> x(kRows, 64), residual(kRows, n), all(kRows, n);
      for (int64_t i = 0; i < kRows; ++i) {
        std::fill_n(x.row(i), 64, BFloat16());
        for (int64_t j = 0; j < n; ++j) residual.row(i)[j].bits = static_cast<uint16_t>(1 + (i + j) % 100);  // subnormal
      }
      const ProductKernel* kernel = table.find_product(WeightFormat::kBf16Pairs, DType::kBFloat16, kRows);
      Epilogue epilogue;
      epilogue.residual = residual.view();
      kernel->run(exec_, x.view(), packed.view, epilogue, all.view());
      for (const int64_t i : {int64_t{0}, int64_t{31}, kRows - 1}) {
        GappedMatrix<BFloat16> one_x(1, 64), one_residual(1, n), one(1, n);
        std::fill_n(one_x.row(0), 64, BFloat16());
        std::copy_n(residual.row(i), n, one_residual.row(0));
        epilogue.residual = one_residual.view();
        kernel->run(exec_, one_x.view(), packed.view, epilogue, one.view());
        EXPECT_EQ(0, std::memcmp(one.row(0), all.row(i), static_cast<size_t>(n) * 2)) << n << " columns, row " << i;
      }
    }
  }
}

// Tables whose products take gates: this machine's own, and the stand-in above each of the others.
std::vector<std::pair<const char*, KernelTable>> gated_tables() {
  const CpuInfo cpu = detect_cpu();
  std::vector<std::pair<const char*, KernelTable>> tables;
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512}) {
    if (!isa_supported(isa, cpu)) continue;
    tables.push_back({isa_name(isa), {}});
    fill_cpu(tables.back().second, isa);
    fill_products_amx_standin(tables.back().second);
  }
  if (isa_supported(Isa::kAmx, cpu)) {
    tables.push_back({"amx", {}});
    fill_cpu(tables.back().second, Isa::kAmx);
  }
  return tables;
}

// Rows that are few go through two products and gated_activation, many through one: a row must not notice.
TEST_F(Products, GatedGiveTheBitsOfTwoProductsAndTheirGate) {
  for (const auto& [name, table] : gated_tables()) {
    SCOPED_TRACE(name);
    for (const Case& c : {Case{33, 32, 16}, Case{48, 96, 33, true}, Case{65, 544, 96}, Case{130, 64, 700, true},
                          Case{64, 32, 0, true}, Case{200, 160, 800}, Case{300, 1120, 64}}) {
      for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu}) {
        GappedMatrix<float> w(c.n, c.k), bias(1, c.n);
        w.fill(1);
        bias.fill(3);
        Packed packed(WeightFormat::kBf16Pairs, c.n, c.k);
        reference_.pack(exec_, w.view(), packed.view, int64_t{0});
        GappedMatrix<BFloat16> x(c.m, c.k, 5), joined(c.m, c.n), want(c.m, c.n / 2, 3), got(c.m, c.n / 2, 3);
        x.fill(2);
        for (int64_t i = 0; i < c.m; ++i) {  // some sums are subnormal
          for (int64_t k = 0; i % 7 == 3 && k < c.k; ++k) x.row(i)[k] = BFloat16(static_cast<float>(x.row(i)[k]) * 1e-38f);
        }
        Epilogue epilogue;
        if (c.bias) epilogue.bias = bias.view();
        const ProductKernel* kernel = table.find_product(WeightFormat::kBf16Pairs, DType::kBFloat16, c.m);
        ASSERT_GT(kernel->gated_rows, 0);
        ASSERT_LE(kernel->gated_rows, c.m);
        kernel->run(exec_, x.view(), packed.view, epilogue, joined.view());
        View gate = joined.view(), up = joined.view();
        gate.dims[1] = up.dims[1] = c.n / 2;
        up.data = joined.row(0) + c.n / 2;
        table.gated_activation(exec_, activation, gate, up, want.view());
        epilogue.activation = activation;
        epilogue.gated = true;
        kernel->run(exec_, x.view(), packed.view, epilogue, got.view());
        EXPECT_TRUE(got.gaps_untouched());
        for (int64_t i = 0; i < c.m; ++i) {
          ASSERT_EQ(0, std::memcmp(got.row(i), want.row(i), static_cast<size_t>(c.n)))
              << kernel->name << " m " << c.m << " n " << c.n << " k " << c.k << " row " << i;
        }
      }
    }
  }
}

// y may be its own residual: each element is read once, before it is written.
TEST_F(Products, ResidualMayBeTheOutput) {
  for (const Candidate& candidate : candidates()) {
    SCOPED_TRACE(candidate.name);
    const KernelTable table = table_of(candidate);
    for (const int64_t m : {1, 17, 33, 53}) {
      GappedMatrix<float> w(40, 64);
      w.fill(1);
      Packed packed(WeightFormat::kBf16Pairs, 40, 64);
      reference_.pack(exec_, w.view(), packed.view, int64_t{0});
      GappedMatrix<BFloat16> x(m, 64), y(m, 40), apart(m, 40), residual(m, 40);
      x.fill(2);
      y.fill(3);
      residual.fill(3);
      Epilogue epilogue;
      const ProductKernel* kernel = table.find_product(WeightFormat::kBf16Pairs, DType::kBFloat16, m);
      epilogue.residual = residual.view();
      kernel->run(exec_, x.view(), packed.view, epilogue, apart.view());
      epilogue.residual = y.view();
      kernel->run(exec_, x.view(), packed.view, epilogue, y.view());
      EXPECT_EQ(0, std::memcmp(y.row(0), apart.row(0), static_cast<size_t>(m * 40) * 2));
    }
  }
}

template <class T>
void pack_equals_reference(const Exec& exec, const KernelTable& table, const KernelTable& reference, WeightFormat format) {
  struct Part {
    int64_t rows, k;
  };
  // Parameters joined along n: the second begins inside a panel.
  for (const Part& part :
       {Part{16, 32}, Part{5, 7}, Part{33, 100}, Part{1, 1}, Part{70, 257}, Part{0, 3}, Part{16, 1100}, Part{48, 2051}}) {
    const int64_t n = 2 * part.rows;
    GappedMatrix<T> first(part.rows, part.k, 3, 1), second(part.rows, part.k);
    first.fill(1);
    second.fill(2);
    Packed ours(format, n, part.k), theirs(format, n, part.k);
    for (const bool mine : {true, false}) {
      const KernelTable& t = mine ? table : reference;
      const PackedView& into = mine ? ours.view : theirs.view;
      t.pack(exec, first.view(), into, int64_t{0});
      t.pack(exec, second.view(), into, part.rows);
    }
    ASSERT_EQ(0, std::memcmp(ours.data, theirs.data, static_cast<size_t>(packed_bytes(format, n, part.k))));
    GappedMatrix<T> back(part.rows, part.k, 2), expected(part.rows, part.k);
    table.unpack(exec, ours.view, part.rows, back.view());
    reference.unpack(exec, ours.view, part.rows, expected.view());
    EXPECT_TRUE(back.gaps_untouched());
    for (int64_t i = 0; i < part.rows; ++i) {
      ASSERT_EQ(0, std::memcmp(back.row(i), expected.row(i), static_cast<size_t>(part.k) * sizeof(T)));
    }
    if (part.rows == 0) continue;
    std::vector<int32_t> ids;
    for (int32_t t = 0; t < 40; ++t) ids.push_back(static_cast<int32_t>((t * 7) % n));
    View id_view;
    id_view.data = ids.data();
    id_view.dtype = DType::kInt32;
    id_view.rank = 1;
    id_view.dims[0] = 40;
    id_view.strides[0] = 1;
    GappedMatrix<T> y(40, part.k, 1), z(40, part.k, 1);
    table.packed_embedding(exec, ours.view, id_view, y.view());
    reference.packed_embedding(exec, ours.view, id_view, z.view());
    ASSERT_EQ(0, std::memcmp(y.row(0), z.row(0), static_cast<size_t>(39 * (part.k + 1) + part.k) * sizeof(T)));
  }
}

TEST_F(Products, PackingIsTheReferencesToTheByte) {
  for (const Candidate& candidate : candidates()) {
    SCOPED_TRACE(candidate.name);
    const KernelTable table = table_of(candidate);
    for (const WeightFormat format : {WeightFormat::kFloat32Panels, WeightFormat::kBf16Pairs}) {
      pack_equals_reference<float>(exec_, table, reference_, format);
      pack_equals_reference<BFloat16>(exec_, table, reference_, format);
      pack_equals_reference<Float16>(exec_, table, reference_, format);
      pack_equals_reference<double>(exec_, table, reference_, format);
    }
  }
}

// The candidates above leave out what the machine lacks; this says so by name, and holds the real instructions to the
// arithmetic of their stand-ins where it does not.
void native_equals_standin(const Exec& exec, const KernelTable& reference, Isa isa, void (*native)(KernelTable&),
                           void (*standin)(KernelTable&)) {
  if (!isa_supported(isa, detect_cpu())) {
    GTEST_SKIP() << "this machine has no " << isa_name(isa) << ": only its stand-in is tested";
  }
  KernelTable tables[2];
  native(tables[0]);
  standin(tables[1]);
  constexpr int64_t kN = 100, kK = 333;
  for (const int64_t m : {1, 7, 16, 33, 70}) {
    GappedMatrix<float> w(kN, kK), results[2] = {GappedMatrix<float>(m, kN), GappedMatrix<float>(m, kN)};
    w.fill(1);
    Packed packed(WeightFormat::kBf16Pairs, kN, kK);
    reference.pack(exec, w.view(), packed.view, int64_t{0});
    GappedMatrix<BFloat16> x(m, kK);
    x.fill(2);
    for (int t = 0; t < 2; ++t) {
      tables[t]
          .find_product(WeightFormat::kBf16Pairs, DType::kBFloat16, m)
          ->run(exec, x.view(), packed.view, Epilogue(), results[t].view());
    }
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < kN; ++j) ASSERT_NEAR(results[0].row(i)[j], results[1].row(i)[j], 1e-5 * kK);
    }
  }
}

TEST_F(Products, NativeDotProductsEqualStandIn) {
  native_equals_standin(exec_, reference_, Isa::kAvx512Bf16, fill_products_avx512_bf16, fill_products_avx512_bf16_standin);
}

TEST_F(Products, NativeTilesEqualStandIn) {
  native_equals_standin(exec_, reference_, Isa::kAmx, fill_products_amx, fill_products_amx_standin);
}

TEST(ProductPieces, CoverEveryRowAndPanelOnce) {
  for (const int64_t m : {1, 5, 95, 96, 97, 192, 200, 513}) {
    for (const int64_t panels : {1, 3, 4, 9, 36, 60, 192, 3072}) {
      for (const int threads : {1, 2, 3, 16, 64}) {
        const products::Pieces pieces(m, 96, threads % 2 == 0 ? 5 : 6, threads % 3 == 0 ? 64 : 96, panels, 4, threads);
        std::vector<int> seen(static_cast<size_t>(m * panels));
        int64_t most = 0;
        for (int64_t i = 0; i < pieces.count(); ++i) {
          const products::Pieces::Piece piece = pieces[i];
          ASSERT_GT(piece.rows, 0);
          ASSERT_LE(piece.rows, 96);
          ASSERT_LE(piece.panel_begin, piece.panel_end);
          ASSERT_LE(piece.panel_end, panels);
          most = std::max(most, piece.panel_end - piece.panel_begin);
          for (int64_t r = piece.m_begin; r < piece.m_begin + piece.rows; ++r) {
            for (int64_t p = piece.panel_begin; p < piece.panel_end; ++p) ++seen[static_cast<size_t>(r * panels + p)];
          }
        }
        ASSERT_TRUE(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }))
            << m << " rows, " << panels << " panels, " << threads << " threads";
        // With one block of rows no thread gets more than its share at once.
        if (m <= 95) {
          ASSERT_LE(most, std::max<int64_t>(4, div_up(panels, threads)));
        }
      }
    }
  }
}

TEST(Limits, AreMeasuredForEveryInstructionSetOfThisMachine) {
  ThreadPool pool(2);
  EXPECT_GT(measure_read_bandwidth(pool, int64_t{64} << 20), 0.1);
  EXPECT_EQ(measure_flops(pool, Isa::kReference, DType::kFloat32), 0);
  for (const Isa isa : supported_isas(detect_cpu())) {
    if (isa == Isa::kReference) continue;
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      EXPECT_GT(measure_flops(pool, isa, dtype), 0.1) << isa_name(isa) << " " << dtype_name(dtype);
    }
    EXPECT_EQ(measure_flops(pool, isa, DType::kInt8) > 0.1, isa == Isa::kAvx512Bf16 || isa == Isa::kAmx) << isa_name(isa);
  }
}

}  // namespace
}  // namespace pagoda
