// Gradients of the tape against central differences, in double.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "ops/tape.h"
#include "tensor/tensor.h"

namespace pagoda::testing {

// Of a scalar in float64, at every element of every leaf. The tape stays on: without it some ops work in place.
inline void expect_gradients(const std::vector<Tensor>& leaves, const std::function<Tensor()>& scalar) {
  backward(scalar());
  constexpr double kStep = 1e-5;
  for (size_t which = 0; which < leaves.size(); ++which) {
    const Tensor& x = leaves[which];
    ASSERT_TRUE(x.grad()) << "leaf " << which;
    for (int64_t i = 0; i < x.numel(); ++i) {
      double& value = x.data<double>()[i];
      const double kept = value;
      const auto at = [&](double moved) {
        value = moved;
        return scalar().data<double>()[0];
      };
      const double slope = (at(kept + kStep) - at(kept - kStep)) / (2 * kStep);
      value = kept;
      ASSERT_NEAR(x.grad().data<double>()[i], slope, 1e-6) << "leaf " << which << " element " << i;
    }
  }
}

}  // namespace pagoda::testing
