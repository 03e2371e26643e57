// Norms, rotary, activations, embeddings, softmax, loss and AdamW against the reference; a row alone equals a row in a batch.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "tests/kernels/vector_tables.h"

namespace pagoda::test {
namespace {

constexpr int64_t kWidths[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 576, 1000, 1536};
constexpr DType kDtypes[] = {DType::kFloat32, DType::kBFloat16};

// bfloat16 results may differ by a rounding of the last place.
double bound(DType dtype, double for_float = 1e-5) { return dtype == DType::kFloat32 ? for_float : 8e-3; }

View ids_view(std::vector<int32_t>& ids) {
  View v;
  v.data = ids.data();
  v.dtype = DType::kInt32;
  v.rank = 1;
  v.dims[0] = static_cast<int64_t>(ids.size());
  v.strides[0] = 1;
  return v;
}

// What a kernel wrote: guards between rows included.
using Outputs = std::vector<Matrix>;
// Runs rows [begin, end) of one kernel over inputs of its own into `outputs`.
using RowKernel = std::function<void(const KernelTable&, const Exec&, Outputs& outputs, int64_t begin, int64_t end)>;

// Together against the reference; then row by row, and with other thread counts, to the same bits.
void check_rows(const Outputs& start, int64_t rows, double tolerance, const std::string& what, const RowKernel& run) {
  Runner one(1), three(3);
  Outputs expected = start;
  run(oracle(), one.exec(), expected, 0, rows);
  for (const NamedTable& named : vector_tables()) {
    const std::string where = named.name + " " + what;
    Outputs together = start, threaded = start, alone = start;
    run(named.table, one.exec(), together, 0, rows);
    run(named.table, three.exec(), threaded, 0, rows);
    for (int64_t i = 0; i < rows; ++i) run(named.table, one.exec(), alone, i, i + 1);
    for (size_t i = 0; i < start.size(); ++i) {
      expect_near(together[i], expected[i], tolerance, where);
      ASSERT_EQ(together[i].bytes(), threaded[i].bytes()) << where << ", threads";
      ASSERT_EQ(together[i].bytes(), alone[i].bytes()) << where << ", row by row";
    }
  }
}

std::string label(const char* name, DType dtype, int64_t rows, int64_t width) {
  return std::string(name) + " " + dtype_name(dtype) + " [" + std::to_string(rows) + ", " + std::to_string(width) + "]";
}

// Row counts that exercise one row, a few, and a parallel region.
int64_t some_rows(int64_t width) { return width >= 576 ? 70 : width % 5 + 1; }

TEST(Norm, RmsNormAndFusedAddition) {
  for (DType dtype : kDtypes) {
    for (int64_t width : kWidths) {
      const int64_t rows = some_rows(width);
      Numbers numbers(7);
      Matrix x(dtype, {rows, width}), delta(dtype, {rows, width}, 5), weight(DType::kFloat32, {1, width}, 0);
      x.fill(numbers, 3);
      delta.fill(numbers);
      weight.fill(numbers);
      for (bool fused : {false, true}) {
        Outputs start = {Matrix(dtype, {rows, width}, 2), x, Matrix(DType::kFloat32, {rows, 1}, 0)};
        check_rows(start, rows, bound(dtype), label("rms_norm", dtype, rows, width),
                   [&](const KernelTable& table, const Exec& exec, Outputs& o, int64_t begin, int64_t end) {
                     // The sum goes back where x was.
                     View rstd = o[2].rows(begin, end);
                     rstd.rank = 1;
                     table.rms_norm(exec, fused ? o[1].rows(begin, end) : x.rows(begin, end),
                                    fused ? delta.rows(begin, end) : View(), fused ? o[1].rows(begin, end) : View(),
                                    weight.view(), 1e-5f, o[0].rows(begin, end), rstd);
                   });
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Norm, LayerNorm) {
  for (DType dtype : kDtypes) {
    for (int64_t width : kWidths) {
      const int64_t rows = some_rows(width);
      Numbers numbers(8);
      Matrix x(dtype, {rows, width}), delta(dtype, {rows, width}, 5), weight(DType::kFloat32, {1, width}, 0), bias = weight;
      x.fill(numbers, 3);
      delta.fill(numbers);
      weight.fill(numbers);
      bias.fill(numbers);
      for (int variant = 0; variant < 3; ++variant) {
        Outputs start = {Matrix(dtype, {rows, width}, 2), Matrix(dtype, {rows, width}), Matrix(DType::kFloat32, {rows, 1}, 0),
                         Matrix(DType::kFloat32, {rows, 1}, 0)};
        check_rows(start, rows, bound(dtype, 2e-5), label("layer_norm", dtype, rows, width),
                   [&](const KernelTable& table, const Exec& exec, Outputs& o, int64_t begin, int64_t end) {
                     const bool fused = variant == 1, with_bias = variant != 2;
                     View mean = o[2].rows(begin, end), rstd = o[3].rows(begin, end);
                     mean.rank = rstd.rank = 1;
                     // Width 1 has no variance: a large epsilon keeps rounding noise from being blown up.
                     table.layer_norm(exec, x.rows(begin, end), fused ? delta.rows(begin, end) : View(),
                                      fused ? o[1].rows(begin, end) : View(), weight.view(), with_bias ? bias.view() : View(),
                                      width == 1 ? 1.0f : 1e-5f, o[0].rows(begin, end), mean, rstd);
                   });
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Norm, Backward) {
  Runner one(1), three(3);
  for (DType dtype : kDtypes)
    for (int64_t width : kWidths) {
      const int64_t rows = width < 100 ? 37 : 70;
      Numbers numbers(9);
      Matrix x(dtype, {rows, width}), dy = x, weight(DType::kFloat32, {1, width}, 0), mean(DType::kFloat32, {rows, 1}, 0),
                                      rstd(DType::kFloat32, {rows, 1}, 0);
      x.fill(numbers, 2);
      dy.fill(numbers);
      weight.fill(numbers);
      const auto flat = [](Matrix& m, bool column) {
        View v = m.view();
        v.rank = 1;
        v.dims[0] = column ? m.height() : m.width();
        v.strides[0] = 1;
        return v;
      };
      for (bool centred : {false, true}) {
        struct Result {
          Matrix dx, dweight, dbias;
        };
        const auto run = [&](const KernelTable& table, Runner& runner) {
          Result r{Matrix(dtype, {rows, width}, 4), weight, weight};
          if (centred) {
            table.layer_norm_backward(runner.exec(), x.view(), flat(weight, false), flat(mean, true), flat(rstd, true),
                                      dy.view(), r.dx.view(), flat(r.dweight, false), flat(r.dbias, false));
          } else {
            table.rms_norm_backward(runner.exec(), x.view(), flat(weight, false), flat(rstd, true), dy.view(), r.dx.view(),
                                    flat(r.dweight, false));
          }
          return r;
        };
        Matrix y(dtype, {rows, width});
        if (centred) {
          oracle().layer_norm(one.exec(), x.view(), View(), View(), flat(weight, false), View(), 0.1f, y.view(),
                              flat(mean, true), flat(rstd, true));
        } else {
          oracle().rms_norm(one.exec(), x.view(), View(), View(), flat(weight, false), 0.1f, y.view(), flat(rstd, true));
        }
        const Result expected = run(oracle(), one);
        for (const NamedTable& named : vector_tables()) {
          const Result got = run(named.table, one), threaded = run(named.table, three);
          const std::string what = named.name + label(" backward", dtype, rows, width);
          expect_near(got.dx, expected.dx, bound(dtype, 3e-5), what + " dx");
          expect_near(got.dweight, expected.dweight, 3e-5, what + " dweight");
          expect_near(got.dbias, expected.dbias, 3e-5, what + " dbias");
          ASSERT_EQ(got.dx.bytes(), threaded.dx.bytes()) << what;
          ASSERT_EQ(got.dweight.bytes(), threaded.dweight.bytes()) << what;
          ASSERT_EQ(got.dbias.bytes(), threaded.dbias.bytes()) << what;
          if (HasFatalFailure()) return;
        }
      }
    }
}

TEST(Rotary, BothStylesAndBack) {
  for (DType dtype : kDtypes) {
    for (int64_t dim : {2, 6, 10, 16, 32, 34, 64, 80, 96, 128}) {
      for (RotaryStyle style : {RotaryStyle::kHalf, RotaryStyle::kInterleaved}) {
        for (int64_t pairs : {dim / 2, std::max<int64_t>(1, dim / 4)}) {
          const int64_t rows = dim == 64 ? 70 : 3, heads = 9;
          Numbers numbers(4);
          Matrix x(dtype, {rows, heads, dim}), cosine(DType::kFloat32, {rows, pairs}), sine = cosine;
          x.fill(numbers, 2);
          for (int64_t t = 0; t < rows; ++t) {
            for (int64_t i = 0; i < pairs; ++i) {
              const float angle = numbers.next(3);
              cosine.set(t, i, std::cos(angle));
              sine.set(t, i, std::sin(angle));
            }
          }
          for (bool inverse : {false, true}) {
            check_rows({x}, rows, bound(dtype, 2e-6), label("rotary", dtype, rows, dim),
                       [&](const KernelTable& table, const Exec& exec, Outputs& o, int64_t begin, int64_t end) {
                         table.rotary(exec, o[0].rows(begin, end), cosine.rows(begin, end), sine.rows(begin, end), style,
                                      inverse);
                       });
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

constexpr int kActivations = static_cast<int>(Activation::kSqrtSoftplus) + 1;

TEST(Activation, AllKindsPlainAndGated) {
  for (DType dtype : kDtypes) {
    for (int kind = 0; kind < kActivations; ++kind) {
      for (int64_t width : {1, 7, 16, 37, 1536}) {
        const int64_t rows = some_rows(width);
        Numbers numbers(11);
        Matrix x(dtype, {rows, width}), up(dtype, {rows, width}, 9);
        x.fill(numbers, 12);
        up.fill(numbers);
        const std::string what = label("activation", dtype, rows, width) + " kind " + std::to_string(kind);
        check_rows({Matrix(dtype, {rows, width}, 2), Matrix(dtype, {rows, width}, 2)}, rows, bound(dtype, 2e-6), what,
                   [&](const KernelTable& table, const Exec& exec, Outputs& o, int64_t begin, int64_t end) {
                     table.activation(exec, Activation(kind), x.rows(begin, end), o[0].rows(begin, end));
                     table.gated_activation(exec, Activation(kind), x.rows(begin, end), up.rows(begin, end),
                                            o[1].rows(begin, end));
                   });
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Activation, Backward) {
  for (DType dtype : kDtypes)
    for (int kind = 0; kind < kActivations; ++kind) {
      for (int64_t width : {1, 7, 16, 37, 1536}) {
        const int64_t rows = some_rows(width);
        Numbers numbers(12);
        Matrix x(dtype, {rows, width}), up = x, dy = x;
        x.fill(numbers, 8);
        up.fill(numbers);
        dy.fill(numbers);
        const Matrix empty(dtype, {rows, width}, 2);
        const std::string what = label("backward", dtype, rows, width) + " kind " + std::to_string(kind);
        check_rows({empty, empty, empty}, rows, bound(dtype, 2e-6), what,
                   [&](const KernelTable& table, const Exec& exec, Outputs& o, int64_t begin, int64_t end) {
                     table.activation_backward(exec, Activation(kind), x.rows(begin, end), dy.rows(begin, end),
                                               o[0].rows(begin, end));
                     table.gated_activation_backward(exec, Activation(kind), x.rows(begin, end), up.rows(begin, end),
                                                     dy.rows(begin, end), o[1].rows(begin, end), o[2].rows(begin, end));
                   });
        if (HasFatalFailure()) return;
      }
    }
}

TEST(Activation, ExtremesStayExtreme) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  Runner runner(1);
  const std::vector<float> values = {infinity, -infinity, nan,   0,      -0.0f,  88.8f, -88.8f,
                                     104,      -104,      1e30f, -1e30f, 1e-30f, 1e-40f};
  Matrix x(DType::kFloat32, {1, static_cast<int64_t>(values.size())}), expected = x, y = x;
  for (size_t i = 0; i < values.size(); ++i) x.set(0, static_cast<int64_t>(i), values[i]);
  for (int kind = 0; kind < kActivations; ++kind) {
    oracle().activation(runner.exec(), Activation(kind), x.view(), expected.view());
    for (const NamedTable& named : vector_tables()) {
      named.table.activation(runner.exec(), Activation(kind), x.view(), y.view());
      EXPECT_TRUE(std::isnan(y.at(0, 2))) << named.name << " kind " << kind;
      for (int64_t i = 3; i < x.width(); ++i) {
        if (std::isinf(expected.at(0, i)) || std::fabs(expected.at(0, i)) > 1e20f) {
          // 1e30 cubed overflows inside gelu_new: what matters is the side.
          EXPECT_GT(y.at(0, i) * std::copysign(1.0f, expected.at(0, i)), 1e20f)
              << named.name << " kind " << kind << " of " << x.at(0, i);
        } else {
          EXPECT_NEAR(y.at(0, i), expected.at(0, i), 1e-4) << named.name << " kind " << kind << " of " << x.at(0, i);
        }
      }
    }
  }
}

TEST(Elementwise, CastAndAdd) {
  for (DType from : kDtypes) {
    for (DType to : kDtypes) {
      for (int64_t width : kWidths) {
        const int64_t rows = some_rows(width);
        Numbers numbers(13);
        Matrix x(from, {rows, width}), other(from, {rows, width}, 6);
        x.fill(numbers, 100);
        other.fill(numbers, 100);
        check_rows({Matrix(to, {rows, width}, 2), x}, rows, 0, label("cast", from, rows, width),
                   [&](const KernelTable& table, const Exec& exec, Outputs& o, int64_t begin, int64_t end) {
                     table.cast(exec, x.rows(begin, end), o[0].rows(begin, end));
                     table.add(exec, o[1].rows(begin, end), other.rows(begin, end), o[1].rows(begin, end));
                   });
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Elementwise, CastRoundsToEvenAndKeepsNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  Runner runner(1);
  Numbers numbers(21);
  Matrix x(DType::kFloat32, {1, 4099}), y(DType::kBFloat16, {1, 4099}), expected = y;
  for (int64_t j = 0; j < x.width(); ++j) x.set(0, j, bits_to_float(static_cast<uint32_t>(numbers.bits() >> 32)));
  x.set(0, 5, infinity);
  x.set(0, 6, -infinity);
  x.set(0, 7, bits_to_float(0x7F800001));  // a NaN whose upper half alone is an infinity
  x.set(0, 8, bits_to_float(0x3F808000));  // half way: to even, down
  x.set(0, 9, bits_to_float(0x3F818000));  // half way: to even, up
  x.set(0, 10, bits_to_float(0x7F7FFFFF));
  oracle().cast(runner.exec(), x.view(), expected.view());
  for (const NamedTable& named : vector_tables()) {
    named.table.cast(runner.exec(), x.view(), y.view());
    for (int64_t j = 0; j < x.width(); ++j) {
      if (std::isnan(expected.at(0, j))) {
        ASSERT_TRUE(std::isnan(y.at(0, j))) << named.name << " " << j;
      } else {
        ASSERT_EQ(y.at(0, j), expected.at(0, j)) << named.name << " " << j;
      }
    }
  }
}

TEST(Embedding, ForwardAndBackward) {
  Runner one(1), three(3);
  for (DType from : kDtypes) {
    for (DType to : kDtypes) {
      for (int64_t width : {1, 7, 64, 100, 576}) {
        const int64_t rows = 50;
        Numbers numbers(14);
        Matrix words(from, {23, width});
        words.fill(numbers);
        std::vector<int32_t> ids;
        for (int64_t t = 0; t < rows; ++t) ids.push_back(static_cast<int32_t>(numbers.below(23)));
        check_rows({Matrix(to, {rows, width}, 2)}, rows, 0, label("embedding", from, rows, width),
                   [&](const KernelTable& table, const Exec& exec, Outputs& o, int64_t begin, int64_t end) {
                     std::vector<int32_t> some(ids.begin() + begin, ids.begin() + end);
                     table.embedding(exec, words.view(), ids_view(some), o[0].rows(begin, end));
                   });
        if (from != DType::kFloat32 || to != DType::kFloat32) continue;
        Matrix dy(DType::kFloat32, {rows, width});
        dy.fill(numbers);
        const auto backward = [&](const KernelTable& table, Runner& runner) {
          Matrix gradient = words;
          table.embedding_backward(runner.exec(), ids_view(ids), dy.view(), gradient.view());
          return gradient;
        };
        for (const NamedTable& named : vector_tables()) {
          ASSERT_EQ(backward(named.table, one).bytes(), backward(oracle(), one).bytes()) << named.name;
          ASSERT_EQ(backward(named.table, three).bytes(), backward(oracle(), one).bytes()) << named.name;
        }
      }
    }
  }
}

TEST(Loss, Softmax) {
  for (DType dtype : kDtypes) {
    for (int64_t width : kWidths) {
      const int64_t rows = some_rows(width);
      Numbers numbers(15);
      Matrix x(dtype, {rows, width});
      x.fill(numbers, 20);
      if (width > 3) x.set(0, 2, -std::numeric_limits<float>::infinity());
      check_rows({Matrix(dtype, {rows, width}, 2)}, rows, bound(dtype, 2e-6), label("softmax", dtype, rows, width),
                 [&](const KernelTable& table, const Exec& exec, Outputs& o, int64_t begin, int64_t end) {
                   table.softmax(exec, x.rows(begin, end), o[0].rows(begin, end));
                 });
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Loss, CrossEntropyAndItsGradient) {
  for (DType dtype : kDtypes) {
    for (int64_t width : {1, 2, 17, 33, 576, 49152}) {
      const int64_t rows = width > 1000 ? 5 : 9;
      Numbers numbers(16);
      Matrix logits(dtype, {rows, width});
      logits.fill(numbers, 10);
      std::vector<int64_t> labels;
      for (int64_t t = 0; t < rows; ++t) labels.push_back(t == 3 ? -100 : numbers.below(width));
      check_rows({logits, Matrix(DType::kFloat32, {rows, 1}, 0)}, rows, bound(dtype, 3e-6), label("loss", dtype, rows, width),
                 [&](const KernelTable& table, const Exec& exec, Outputs& o, int64_t begin, int64_t end) {
                   View classes = o[1].rows(begin, end), losses = classes;
                   losses.rank = classes.rank = 1;
                   classes.data = labels.data() + begin;
                   classes.dtype = DType::kInt64;
                   // In place, as training does.
                   table.cross_entropy(exec, o[0].rows(begin, end), classes, losses, 0.25, o[0].rows(begin, end));
                 });
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Optimizer, AdamIsTheReferenceAndRenewsPackedCopies) {
  Runner one(1), three(3);
  for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {1, 7}, {1, 1000}, {1, 200'000}, {17, 33}, {48, 64}, {64, 512}, {100, 1030}}) {
    for (const bool decoupled : {true, false}) {
      Numbers numbers(17);
      Matrix gradient(DType::kFloat32, {rows, columns}, 0), start = gradient;
      start.fill(numbers);
      // 64-byte aligned, zeroed.
      struct Copy {
        std::vector<uint8_t> bytes;
        PackedView view;
        Copy(int64_t n, int64_t k) : bytes(static_cast<size_t>(packed_bytes(WeightFormat::kBf16Pairs, n, k)) + 64) {
          view = {bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64) % 64, WeightFormat::kBf16Pairs, n, k};
        }
        std::vector<uint8_t> content() const {
          const auto* from = static_cast<const uint8_t*>(view.data);
          return {from, from + packed_bytes(view.format, view.n, view.k)};
        }
      };
      struct State {
        Matrix p, m, v;
        std::vector<uint8_t> upright, turned;
      };
      const auto run = [&](const KernelTable& table, Runner& runner, bool packs) {
        State s{start, Matrix(DType::kFloat32, {rows, columns}, 0), Matrix(DType::kFloat32, {rows, columns}, 0), {}, {}};
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < columns; ++j) {
            s.m.set(i, j, 0);
            s.v.set(i, j, 0);
          }
        }
        Copy upright(rows, columns), turned(columns, rows);
        Numbers gradients(18);
        for (int64_t step = 1; step <= 3; ++step) {
          gradient.fill(gradients, 0.1f);
          table.adam(runner.exec(), AdamStep{1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, step, 0.5f, decoupled}, s.p.view(),
                     gradient.view(), s.m.view(), s.v.view(), packs ? upright.view : PackedView{},
                     packs ? turned.view : PackedView{});
        }
        s.upright = upright.content();
        s.turned = turned.content();
        return s;
      };
      const State expected = run(oracle(), one, true);
      for (const NamedTable& named : vector_tables()) {
        State got = run(named.table, one, true);
        const State threaded = run(named.table, three, true), plain = run(named.table, one, false);
        expect_near(got.p, expected.p, 1e-6, named.name);
        expect_near(got.m, expected.m, 1e-6, named.name);
        expect_near(got.v, expected.v, 1e-6, named.name);
        ASSERT_EQ(got.p.bytes(), threaded.p.bytes());
        ASSERT_EQ(got.p.bytes(), plain.p.bytes());
        Copy upright(rows, columns), turned(columns, rows);
        oracle().pack(one.exec(), got.p.view(), upright.view, int64_t{0});
        oracle().pack_turned(one.exec(), got.p.view(), turned.view, int64_t{0});
        ASSERT_EQ(got.upright, upright.content()) << named.name << " " << rows << " x " << columns;
        ASSERT_EQ(got.turned, turned.content()) << named.name << " " << rows << " x " << columns;
        ASSERT_EQ(got.upright, threaded.upright);
        ASSERT_EQ(got.turned, threaded.turned);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// A decode step may fork six times a layer: what surrounds the products must not fork for one row.
TEST(Forks, OneRowForksNothing) {
  for (const NamedTable& named : vector_tables()) {
    for (DType dtype : kDtypes) {
      Runner runner(4);
      Numbers numbers(19);
      Matrix x(dtype, {1, 576}), delta = x, y = x, weight(DType::kFloat32, {1, 576}, 0), gate(dtype, {1, 1536}), up = gate,
                                 heads(dtype, {1, 12, 64}), cosine(DType::kFloat32, {1, 32}), sine = cosine,
                                 words(dtype, {3, 576});
      for (Matrix* m : {&x, &delta, &weight, &gate, &up, &heads, &cosine, &sine, &words}) m->fill(numbers);
      std::vector<int32_t> ids = {2};
      const uint64_t before = runner.pool.regions();
      named.table.rms_norm(runner.exec(), x.view(), delta.view(), x.view(), weight.view(), 1e-5f, y.view(), View());
      named.table.layer_norm(runner.exec(), x.view(), delta.view(), x.view(), weight.view(), View(), 1e-5f, y.view(), View(),
                             View());
      named.table.rotary(runner.exec(), heads.view(), cosine.view(), sine.view(), RotaryStyle::kHalf, false);
      named.table.gated_activation(runner.exec(), Activation::kSilu, gate.view(), up.view(), gate.view());
      named.table.activation(runner.exec(), Activation::kGelu, gate.view(), gate.view());
      named.table.add(runner.exec(), x.view(), delta.view(), x.view());
      named.table.cast(runner.exec(), x.view(), y.view());
      named.table.embedding(runner.exec(), words.view(), ids_view(ids), y.view());
      EXPECT_EQ(runner.pool.regions(), before) << named.name;
    }
  }
}

TEST(Turned, PackedAndPlainAreTheReferencesToTheByte) {
  Runner one(1), three(3);
  for (DType dtype : kDtypes) {
    for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
             {1, 1}, {2, 16}, {7, 5}, {32, 64}, {33, 47}, {64, 130}, {129, 31}, {300, 1000}}) {
      Numbers numbers(17);
      Matrix w(dtype, {rows, columns});
      w.fill(numbers);
      const auto packed = [&](const KernelTable& table, Runner& runner) {
        const int64_t bytes = packed_bytes(WeightFormat::kBf16Pairs, columns + 16, rows);
        std::vector<uint8_t> data(static_cast<size_t>(bytes) + 64, 0xA5);
        const auto at = reinterpret_cast<uintptr_t>(data.data());
        uint8_t* begin = data.data() + (64 - at % 64) % 64;
        table.pack_turned(runner.exec(), w.view(), PackedView{begin, WeightFormat::kBf16Pairs, columns + 16, rows}, 16);
        return std::vector<uint8_t>(begin, begin + bytes);
      };
      const auto expected = packed(oracle(), one);
      Matrix turned(DType::kBFloat16, {columns, rows});
      Matrix halves(DType::kBFloat16, {rows, columns});
      halves.fill(numbers);
      oracle().turn(one.exec(), halves.view(), turned.view());
      for (const NamedTable& named : vector_tables()) {
        ASSERT_EQ(packed(named.table, one), expected) << named.name << label("pack", dtype, rows, columns);
        ASSERT_EQ(packed(named.table, three), expected) << named.name << label("pack", dtype, rows, columns);
        Matrix got(DType::kBFloat16, {columns, rows});
        named.table.turn(three.exec(), halves.view(), got.view());
        ASSERT_EQ(got.bytes(), turned.bytes()) << named.name << label("turn", dtype, rows, columns);
      }
      // The reference's packed weight is that of the turned matrix.
      Matrix upright(dtype, {columns, rows});
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < columns; ++j) upright.set(j, i, w.at(i, j));
      }
      std::vector<uint8_t> plain(expected.size() + 64);
      uint8_t* begin = plain.data() + (64 - reinterpret_cast<uintptr_t>(plain.data()) % 64) % 64;
      oracle().pack(one.exec(), upright.view(), PackedView{begin, WeightFormat::kBf16Pairs, columns + 16, rows}, 16);
      const size_t first = static_cast<size_t>(packed_bytes(WeightFormat::kBf16Pairs, 16, rows));  // left alone by both
      ASSERT_TRUE(std::equal(expected.begin() + static_cast<int64_t>(first), expected.end(), begin + first));
    }
  }
}

// Sums over rows, in the order of the rows whatever the threads: the reference's bits.
TEST(Bias, BackwardAddsColumnsInOrder) {
  Runner one(1), three(3);
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t width : {1, 7, 15, 16, 17, 63, 64, 127, 128, 131, 300, 1025}) {
      for (const int64_t rows : {0, 1, 37, 200}) {
        Numbers numbers(static_cast<uint64_t>(width * 1000 + rows));
        Matrix dy(dtype, {rows, width}), before(DType::kFloat32, {width}, 5), expected = before;
        dy.fill(numbers, 2);
        for (int64_t j = 0; j < width; ++j) before.view().as<float>()[j] = numbers.next(1);
        expected = before;
        oracle().bias_backward(one.exec(), dy.view(), expected.view());
        for (const NamedTable& tested : vector_tables()) {
          Matrix sums = before, threaded = before;
          tested.table.bias_backward(one.exec(), dy.view(), sums.view());
          tested.table.bias_backward(three.exec(), dy.view(), threaded.view());
          ASSERT_EQ(sums.bytes(), expected.bytes()) << tested.name << " " << dtype_name(dtype) << " " << rows << " x " << width;
          ASSERT_EQ(threaded.bytes(), expected.bytes()) << tested.name << " " << rows << " x " << width;
        }
      }
    }
  }
}

}  // namespace
}  // namespace pagoda::test
