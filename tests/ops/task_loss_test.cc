// Losses of heads: gradients against finite differences in double, values of torch, bad labels.
#include "ops/task_loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "ops/runtime.h"
#include "tests/gradients.h"

namespace pagoda {
namespace {

class TaskLoss : public ::testing::Test {
 protected:
  TaskLoss() : runtime_(options()) {}
  static RuntimeOptions options() {
    RuntimeOptions options;
    options.threads = 1;
    options.isa = Isa::kReference;
    return options;
  }
  Tensor doubles(const std::vector<double>& values, const std::vector<int64_t>& dims, bool leaf = false) {
    Tensor tensor = Tensor::empty(runtime_.device(), DType::kFloat64, dims);
    std::copy(values.begin(), values.end(), tensor.data<double>());
    if (leaf) tensor.set_requires_grad(true);
    return tensor;
  }
  Tensor random_leaf(int64_t rows, int64_t columns) {
    std::vector<double> values;
    const RandomStream random(3, 1);
    for (int64_t i = 0; i < rows * columns; ++i) values.push_back(2 * random.normal(static_cast<uint64_t>(i)));
    return doubles(values, {rows, columns}, true);
  }
  Runtime runtime_;
};

TEST_F(TaskLoss, Gradients) {
  const Tensor targets = doubles({0.5, -1, 2, 0, 1, 1}, {3, 2}), hot = doubles({0, 1, 1, 0, 1, 0}, {3, 2});
  const Tensor first = random_leaf(3, 2), second = random_leaf(3, 2), third = random_leaf(6, 2);
  testing::expect_gradients({first}, [&] { return ops::squared_error(first, targets, 7); });
  testing::expect_gradients({second}, [&] { return ops::binary_cross_entropy(second, hot, 7); });
  Tensor labels = Tensor::empty(runtime_.device(), DType::kInt64, {3, 2});
  const int64_t rows[] = {1, 0, 0, 0, 2, 1};
  std::copy_n(rows, 6, labels.data<int64_t>());
  testing::expect_gradients({third}, [&] { return ops::row_cross_entropy(third, {0, 2, 3, 6}, labels, 4); });
}

TEST_F(TaskLoss, ValuesOfTorch) {
  const Tensor logits = doubles({1, -2, 0.5, 30}, {2, 2});
  EXPECT_NEAR(ops::squared_error(logits, doubles({0, 0, 0, 30}, {2, 2}), 4).data<double>()[0], (1 + 4 + 0.25) / 4, 1e-12);
  // torch.nn.functional.binary_cross_entropy_with_logits(tensor([[1., -2.], [.5, 30.]]), tensor([[1., 0.], [0., 0.]]))
  EXPECT_NEAR(ops::binary_cross_entropy(logits, doubles({1, 0, 0, 0}, {2, 2}), 4).data<double>()[0], 7.8535667, 1e-6);
  Tensor label = Tensor::empty(runtime_.device(), DType::kInt64, {1, 2});
  label.data<int64_t>()[0] = 0;
  label.data<int64_t>()[1] = 1;
  EXPECT_NEAR(ops::row_cross_entropy(logits, {0, 2}, label, 1).data<double>()[0], std::log1p(std::exp(-0.5)), 1e-12);
}

TEST_F(TaskLoss, BadLabels) {
  const Tensor logits = random_leaf(4, 2);
  Tensor label = Tensor::zeros(runtime_.device(), DType::kInt64, {1, 2});
  EXPECT_THROW(ops::row_cross_entropy(logits, {0, 3}, label, 1), Error);
  label.data<int64_t>()[1] = 4;
  EXPECT_THROW(ops::row_cross_entropy(logits, {0, 4}, label, 1), Error);
  EXPECT_THROW(ops::squared_error(logits, random_leaf(2, 2), 1), Error);
}

}  // namespace
}  // namespace pagoda
