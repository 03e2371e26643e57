// The tape tells of each leaf once, when its gradient is whole, the last layers' first.
#include "ops/tape_hook.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ops/linear.h"
#include "ops/loss.h"
#include "ops/math.h"
#include "ops/runtime.h"

namespace pagoda {
namespace {

class TapeHook : public testing::Test {
 protected:
  static RuntimeOptions options() {
    RuntimeOptions options;
    options.threads = 1;
    options.isa = Isa::kReference;
    return options;
  }
  Tensor leaf(int64_t rows, int64_t columns, double value) {
    Tensor tensor = Tensor::empty(runtime_.device(), DType::kFloat64, {rows, columns});
    for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data<double>()[i] = value * static_cast<double>(i % 5 - 2);
    tensor.set_requires_grad(true);
    return tensor;
  }
  static std::vector<double> values(const Tensor& gradient) {
    return {gradient.data<double>(), gradient.data<double>() + gradient.numel()};
  }
  Runtime runtime_{options()};
};

TEST_F(TapeHook, TellsOfEachLeafOnceWithItsWholeGradient) {
  Tensor x = leaf(2, 3, 1);
  x.set_requires_grad(false);
  const Tensor first = leaf(3, 3, 0.3), twice = leaf(3, 3, 0.2), last = leaf(4, 3, 0.1);
  Tensor labels = Tensor::zeros(runtime_.device(), DType::kInt64, {2});
  const auto loss = [&] {
    const Tensor h = ops::linear(ops::linear(x, first, {}), twice, {});
    return ops::cross_entropy(ops::linear(ops::add(h, ops::linear(h, twice, {})), last, {}), labels, 2);
  };
  backward(loss());
  std::vector<std::vector<double>> want;
  for (const Tensor& each : {first, twice, last}) {
    want.push_back(values(each.grad()));
    Tensor(each).set_grad(Tensor());
  }
  std::vector<const void*> told;
  backward(loss(), [&](const Tensor& ready) {
    told.push_back(ready.id());
    const Tensor* const leaves[] = {&first, &twice, &last};
    for (size_t i = 0; i < 3; ++i) {
      if (leaves[i]->id() != ready.id()) continue;
      EXPECT_EQ(values(ready.grad()), want[i]);
    }
  });
  EXPECT_EQ(told, (std::vector<const void*>{last.id(), twice.id(), first.id()}));
}

// Leaves inside a checkpointed block are told of while the walk goes on, a shared one once a block.
TEST_F(TapeHook, TellsOfLeavesInCheckpointedBlocks) {
  const Tensor x = leaf(2, 3, 1), first = leaf(3, 3, 0.3), shared = leaf(3, 3, 0.2), last = leaf(4, 3, 0.1);
  Tensor labels = Tensor::zeros(runtime_.device(), DType::kInt64, {2});
  const auto loss = [&](bool kept) {
    const auto block = [&](const Tensor& in, const Tensor& own) {
      const auto run = [own, shared](const Tensor& rows) { return ops::linear(ops::linear(rows, own, {}), shared, {}); };
      return kept ? run(in) : ops::checkpoint(in, run);
    };
    const Tensor h = block(block(x, first), shared);
    return ops::cross_entropy(ops::linear(h, last, {}), labels, 2);
  };
  backward(loss(true));
  std::vector<std::vector<double>> want;
  for (const Tensor& each : {x, first, shared, last}) {
    want.push_back(values(each.grad()));
    Tensor(each).set_grad(Tensor());
  }
  std::vector<const void*> told;
  backward(loss(false), [&](const Tensor& ready) {
    const Tensor* const leaves[] = {&x, &first, &shared, &last};
    for (size_t i = 0; i < 4; ++i) {
      if (leaves[i]->id() != ready.id()) continue;
      told.push_back(ready.id());
      const bool complete = i != 2 || std::count(told.begin(), told.end(), ready.id()) == 2;
      if (complete) {
        EXPECT_EQ(values(ready.grad()), want[i]) << i;
      }
    }
  });
  EXPECT_EQ(told, (std::vector<const void*>{last.id(), shared.id(), shared.id(), first.id(), x.id()}));
}

}  // namespace
}  // namespace pagoda
