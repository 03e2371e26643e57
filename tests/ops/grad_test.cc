// Every differentiable op against finite differences, on the reference kernels in double; the tape's own rules.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "base/error.h"
#include "base/random.h"
#include "ops/attention.h"
#include "ops/dropout.h"
#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/math.h"
#include "ops/norm.h"
#include "ops/runtime.h"
#include "ops/tape.h"
#include "tests/gradients.h"

namespace pagoda {
namespace {

using testing::expect_gradients;

class Gradients : public ::testing::Test {
 protected:
  Gradients() : runtime_(options()) {}
  static RuntimeOptions options() {
    RuntimeOptions options;
    options.threads = 1;
    options.isa = Isa::kReference;
    return options;
  }
  Tensor leaf(const std::vector<int64_t>& dims) {
    Tensor tensor = Tensor::empty(runtime_.device(), DType::kFloat64, dims);
    const RandomStream random(5, ++stream_);
    for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data<double>()[i] = random.normal(static_cast<uint64_t>(i));
    tensor.set_requires_grad(true);
    return tensor;
  }
  Tensor ints(DType dtype, const std::vector<int64_t>& values) {
    Tensor tensor = Tensor::empty(runtime_.device(), dtype, {static_cast<int64_t>(values.size())});
    for (size_t i = 0; i < values.size(); ++i) {
      if (dtype == DType::kInt32) {
        tensor.data<int32_t>()[i] = static_cast<int32_t>(values[i]);
      } else {
        tensor.data<int64_t>()[i] = values[i];
      }
    }
    return tensor;
  }
  // Cosines and sines of some angles, [rows, half].
  std::pair<Tensor, Tensor> turns(int64_t rows, int64_t half) {
    Tensor cosines = Tensor::empty(runtime_.device(), DType::kFloat64, {rows, half}), sines = Tensor::like(cosines);
    for (int64_t i = 0; i < rows * half; ++i) {
      cosines.data<double>()[i] = std::cos(0.3 * static_cast<double>(i + 1));
      sines.data<double>()[i] = std::sin(0.3 * static_cast<double>(i + 1));
    }
    return {cosines, sines};
  }
  // A scalar that depends on every element of y [T, N] in its own way: cross-entropy of y against fixed labels.
  Tensor scalar(const Tensor& y) {
    std::vector<int64_t> labels;
    for (int64_t t = 0; t < y.dim(0); ++t) labels.push_back((3 * t + 1) % y.dim(1));
    return ops::cross_entropy(y, ints(DType::kInt64, labels), y.dim(0));
  }
  Runtime runtime_;
  uint64_t stream_ = 0;
};

TEST_F(Gradients, Linear) {
  const Tensor x = leaf({3, 4}), w = leaf({5, 4}), b = leaf({5}), wt = leaf({4, 5});
  expect_gradients({x, w, b}, [&] { return scalar(ops::linear(x, w, b)); });
  const Tensor x2 = leaf({3, 4});
  expect_gradients({x2, wt}, [&] { return scalar(ops::linear(x2, wt, Tensor(), true)); });
}

TEST_F(Gradients, Norms) {
  const Tensor x = leaf({3, 5}), w = leaf({5}), b = leaf({5}), x2 = leaf({3, 5}), w2 = leaf({5});
  expect_gradients({x, w, b}, [&] { return scalar(ops::layer_norm(x, w, b, 1e-5f)); });
  expect_gradients({x2, w2}, [&] { return scalar(ops::rms_norm(x2, w2, 1e-5f)); });
}

TEST_F(Gradients, Activations) {
  for (int kind = 0; kind <= static_cast<int>(Activation::kSqrtSoftplus); ++kind) {
    SCOPED_TRACE(kind);
    const Tensor x = leaf({4, 5}), gate = leaf({4, 5}), up = leaf({4, 5});
    expect_gradients({x}, [&] { return scalar(ops::activation(x, static_cast<Activation>(kind))); });
    expect_gradients({gate, up}, [&] { return scalar(ops::gated_activation(gate, up, static_cast<Activation>(kind))); });
  }
}

TEST_F(Gradients, ColumnsHeadsAndSums) {
  const Tensor x = leaf({3, 12}), y = leaf({3, 4});
  expect_gradients({x, y}, [&] {
    const Tensor heads =
        ops::view_as(ops::rotary(ops::heads(x, 1, 2, 5, 2), turns(3, 1).first, turns(3, 1).second, RotaryStyle::kHalf), {3, 4});
    return scalar(ops::add(ops::add(heads, y), ops::narrow(x, 4, 8)));
  });
}

TEST_F(Gradients, EmbeddingAddsRowsThatAreUsedTwice) {
  const Tensor table = leaf({4, 3}), ids = ints(DType::kInt32, {2, 0, 2});
  expect_gradients({table}, [&] { return scalar(ops::embedding(table, ids, DType::kFloat64)); });
  for (int64_t j = 0; j < 3; ++j) EXPECT_EQ(table.grad().data<double>()[3 + j], 0.0);  // row 1 is not used
}

// torch.nn.functional.embedding's padding_idx: the row is read and gets nothing, whatever it has of a tied head.
TEST_F(Gradients, EmbeddingGivesPaddingNothing) {
  Tensor table = leaf({4, 3});
  const Tensor ids = ints(DType::kInt32, {2, 0, 2, 3}), labels = ints(DType::kInt64, {0, 3, 1, 2});
  const auto loss = [&](bool tied, std::optional<int64_t> padding) {
    const Tensor x = ops::embedding(table, ids, DType::kFloat64, padding);
    const Tensor y = tied ? ops::linear(x, table, {}) : x;
    return tied ? ops::cross_entropy(y, labels, 4) : scalar(y);
  };
  const auto gradient = [&](bool tied, std::optional<int64_t> padding) {
    table.set_grad({});
    backward(loss(tied, padding));
    const double* values = table.grad().data<double>();
    return std::vector<double>(values, values + table.numel());
  };
  for (const bool tied : {false, true}) {
    const std::vector<double> all = gradient(tied, {}), got = gradient(tied, 2);
    std::vector<double> head(3);  // of row 2 in the head alone: the rows that went in held as they are
    if (tied) {
      const Tensor x = ops::embedding(table.detach(), ids, DType::kFloat64);
      table.set_grad({});
      backward(ops::cross_entropy(ops::linear(x, table, {}), labels, 4));
      for (size_t j = 0; j < 3; ++j) head[j] = table.grad().data<double>()[6 + j];
    }
    for (size_t i = 0; i < all.size(); ++i) {
      const bool padding = i / 3 == 2;
      EXPECT_NEAR(got[i], padding ? head[i - 6] : all[i], 1e-14) << tied << " " << i;
      EXPECT_EQ(std::abs(all[i] - got[i]) > 1e-6, padding) << tied << " " << i;
    }
  }
}

TEST_F(Gradients, AttentionInAllItsForms) {
  const auto starts = std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{0, 5, 6, 9});
  for (const AttentionSpec::Mask mask : {AttentionSpec::Mask::kCausal, AttentionSpec::Mask::kFull}) {
    for (const int64_t window : {0, 2}) {
      for (const float cap : {0.0f, 1.5f}) {
        AttentionSpec spec;
        spec.mask = mask;
        spec.window = window;
        spec.soft_cap = cap;
        spec.scale = 0.7f;
        const float slopes[4] = {0.5f, 0.25f, 0.125f, 0.0625f};
        if (window == 0) {
          spec.bias = AttentionSpec::Bias::kAlibi;
          spec.alibi_slopes = slopes;
        }
        const Tensor q = leaf({9, 12}), k = leaf({9, 6}), v = leaf({9, 4});
        expect_gradients({q, k, v}, [&] {
          return scalar(ops::view_as(
              ops::attention(ops::heads(q, 0, 4, 3, 3), ops::heads(k, 0, 2, 3, 3), ops::heads(v, 0, 2, 2, 2), starts, spec),
              {9, 8}));
        });
      }
    }
  }
}

TEST_F(Gradients, AttentionWithDropout) {
  const auto starts = std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{0, 5, 9});
  const std::vector<uint64_t> rows = {4, 9, 1, 100, 7, 3, 55, 2, 8};
  AttentionSpec spec;
  spec.mask = AttentionSpec::Mask::kFull;
  spec.scale = 0.7f;
  spec.dropout = 0.3f;
  spec.dropout_key = 11;
  spec.dropout_rows = rows.data();
  const Tensor q = leaf({9, 6}), k = leaf({9, 6}), v = leaf({9, 4});
  expect_gradients({q, k, v}, [&] {
    return scalar(ops::view_as(
        ops::attention(ops::heads(q, 0, 2, 3, 3), ops::heads(k, 0, 2, 3, 3), ops::heads(v, 0, 2, 2, 2), starts, spec), {9, 4}));
  });
}

// The products of bfloat16 training against those of float32 on the same, bfloat16-valued numbers: only sums' order and the
// rounding of y and dx differ.
TEST(TrainingProducts, Bfloat16AgreesWithFloat32) {
  RuntimeOptions options;
  options.threads = 2;
  Runtime runtime(options);
  Device& device = runtime.device();
  for (const bool transposed : {false, true}) {
    for (const auto& [tokens, inputs, outputs] :
         std::vector<std::array<int64_t, 3>>{{1, 16, 16}, {5, 33, 17}, {64, 96, 130}, {131, 70, 48}}) {
      const auto rounded = [&](const std::vector<int64_t>& dims, uint64_t stream) {
        Tensor tensor = Tensor::empty(device, DType::kFloat32, dims);
        const RandomStream random(7, stream);
        for (int64_t i = 0; i < tensor.numel(); ++i) {
          tensor.data<float>()[i] = static_cast<float>(BFloat16(static_cast<float>(random.normal(static_cast<uint64_t>(i)))));
        }
        return tensor;
      };
      const Tensor x = rounded({tokens, inputs}, 1), bias = rounded({outputs}, 3), dy = rounded({tokens, outputs}, 4);
      const Tensor w = rounded(transposed ? std::vector<int64_t>{inputs, outputs} : std::vector<int64_t>{outputs, inputs}, 2);
      struct Result {
        Tensor y, dx, dw, db;
      };
      // Twice over the same weight: the second gradient is added to the first.
      const auto run = [&](bool half) {
        Tensor in = ops::cast(x, half ? DType::kBFloat16 : DType::kFloat32).detach();
        Tensor weight = Tensor::like(w), shift = Tensor::like(bias);
        device.kernels->cast(device.exec, w.view(), weight.view());
        device.kernels->cast(device.exec, bias.view(), shift.view());
        for (Tensor* leaf : {&in, &weight, &shift}) leaf->set_requires_grad(true);
        const auto copies = std::make_shared<ops::WeightCopies>();
        const auto once = [&] {
          return half ? ops::linear(in, weight, shift, transposed, copies, 1, DType::kBFloat16)
                      : ops::linear(in, weight, shift, transposed);
        };
        const Tensor y = once();
        for (const Tensor& result : {y, once()}) {
          // dy enters as the gradient of a sum of products.
          const Tensor seed = ops::cast(dy, result.dtype());
          backward(ops::attach(Tensor::zeros(device, DType::kFloat32, {1}), {result},
                               [seed](const Tensor&) { return std::vector<Tensor>{seed}; }));
        }
        return Result{y, in.grad(), weight.grad(), shift.grad()};
      };
      const Result expected = run(false), got = run(true);
      const auto near = [&](const Tensor& a, const Tensor& b, double bound) {
        const Tensor wide = ops::cast(b, DType::kFloat32);
        ASSERT_EQ(a.dims(), wide.dims());
        double size = 0, error = 0;
        for (int64_t i = 0; i < a.numel(); ++i) {
          size = std::max(size, std::fabs(static_cast<double>(a.data<float>()[i])));
          const double difference = std::fabs(static_cast<double>(a.data<float>()[i] - wide.data<float>()[i]));
          error = difference <= error ? error : difference;  // a NaN stays
        }
        EXPECT_LE(error, bound * size) << tokens << " x " << inputs << " x " << outputs;
      };
      near(expected.y, got.y, 1.0 / 256);
      near(expected.dx, got.dx, 1.0 / 128);
      near(expected.dw, got.dw, 1e-5);
      near(expected.db, got.db, 1e-5);
    }
  }
}

TEST_F(Gradients, ATensorUsedTwiceSumsItsGradients) {
  const Tensor x = leaf({2, 3});
  expect_gradients({x}, [&] { return scalar(ops::add(x, ops::add(x, x))); });
}

TEST_F(Gradients, NoNodeWithoutNeed) {
  const Tensor x = leaf({2, 3});
  Tensor plain = Tensor::zeros(runtime_.device(), DType::kFloat64, {2, 3});
  EXPECT_FALSE(ops::add(plain, plain).grad_node());
  EXPECT_TRUE(ops::add(x, plain).grad_node());
  const NoGrad no_grad;
  EXPECT_FALSE(ops::add(x, x).grad_node());
}

TEST_F(Gradients, Dropout) {
  const auto rows = std::make_shared<ops::DropoutRows>(ops::DropoutRows{9, {4, 5, 100}});
  const Tensor x = leaf({3, 6});
  expect_gradients({x}, [&] { return scalar(ops::dropout(x, 0.4f, rows, 2)); });
  EXPECT_EQ(ops::dropout(x, 0.4f, nullptr, 2).id(), x.id());
  EXPECT_EQ(ops::dropout(x, 0, rows, 2).id(), x.id());
  EXPECT_THROW(ops::dropout(x, 1, rows, 2), Error);
}

TEST_F(Gradients, CheckpointedBlocksGiveTheSameBits) {
  const auto rows = std::make_shared<ops::DropoutRows>(ops::DropoutRows{9, {4, 5, 100}});
  const Tensor x = leaf({3, 4}), w = leaf({4, 4}), b = leaf({4});
  const auto block = [&](const Tensor& in) {
    return ops::add(in, ops::dropout(ops::activation(ops::linear(in, w, b), Activation::kGelu), 0.3f, rows, 1));
  };
  expect_gradients({x, w, b}, [&] { return scalar(ops::checkpoint(ops::checkpoint(x, block), block)); });
  std::vector<Tensor> grads;
  for (const Tensor& each : {x, w, b}) {
    grads.push_back(each.grad());
    Tensor(each).set_grad(Tensor());
  }
  backward(scalar(block(block(x))));
  size_t i = 0;
  for (const Tensor& each : {x, w, b}) {
    EXPECT_EQ(std::memcmp(each.grad().data<double>(), grads[i].data<double>(), static_cast<size_t>(each.bytes())), 0) << i;
    ++i;
  }
  const NoGrad no_grad;
  EXPECT_FALSE(ops::checkpoint(x, block).grad_node());
}

TEST_F(Gradients, TheTapeIsFreedByTheWalk) {
  const int64_t before = runtime_.allocator().bytes_in_use();
  {
    const Tensor x = leaf({2, 3});
    backward(scalar(ops::activation(x, Activation::kSilu)));
  }
  EXPECT_EQ(runtime_.allocator().bytes_in_use(), before);
}

TEST_F(Gradients, WrongShapesNameOpAndShapes) {
  const Tensor x = leaf({3, 4}), w = leaf({5, 3});
  try {
    ops::linear(x, w, Tensor());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
    EXPECT_EQ(error.message(), "[linear] weight: got [5, 3] float64, need [5, 4]");
  }
  EXPECT_THROW(backward(x), Error);
  EXPECT_THROW(ops::embedding(w, ints(DType::kInt32, {5}), DType::kFloat64), Error);
  EXPECT_THROW(ops::embedding(w, ints(DType::kInt32, {-1}), DType::kFloat64), Error);
  EXPECT_THROW(ops::cross_entropy(x, ints(DType::kInt64, {0, 1, 4}), 3), Error);
}

TEST_F(Gradients, LabelSmoothingEqualsTransformers) {
  // LabelSmoother(0.1)({"logits": x}, y) of transformers.trainer_pt_utils, and its gradient.
  Tensor x = Tensor::empty(runtime_.device(), DType::kFloat64, {3, 3});
  const std::vector<double> values{1, -2, .5, .25, 3, -1, 0, 1, 2};
  std::copy(values.begin(), values.end(), x.data<double>());
  x.set_requires_grad(true);
  const Tensor labels = ints(DType::kInt64, {2, -100, 0});
  const Tensor loss = ops::cross_entropy(x, labels, 2, 0.1);
  EXPECT_NEAR(loss.data<double>()[0], 1.6894347667266654, 1e-12);
  backward(loss);
  const std::vector<double> wanted{0.2852, -0.0016, -0.2836, 0, 0, 0, -0.4217, 0.1057, 0.3160};
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(x.grad().data<double>()[i], wanted[i], 6e-5) << i;
}

TEST(Runtime, ImpossibleMachinesAreRefused) {
  RuntimeOptions options;
  options.threads = 5000;
  EXPECT_THROW(Runtime runtime(options), Error);
  options.threads = 1;
  options.cores = {100'000};
  EXPECT_THROW(Runtime runtime(options), Error);
  EXPECT_EQ(parse_core_list("0,2,4-6"), (std::vector<int>{0, 2, 4, 5, 6}));
  for (const char* bad : {"a", "1-", "3-1", "1;2", "-1"}) EXPECT_THROW(parse_core_list(bad), Error) << bad;
}

}  // namespace
}  // namespace pagoda
