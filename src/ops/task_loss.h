// Losses of a few logits a sequence: regression, several labels at once, the ends of an answer. Small: plain loops in double.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace pagoda::ops {

// Results are scalars [1] in the logits' dtype (float32 or float64), divided by `count` as cross_entropy's. Differentiable.

// Sum of (logits - targets)^2; both [N, C] of one dtype.
Tensor squared_error(const Tensor& logits, const Tensor& targets, int64_t count);
// Sum of the binary cross-entropy of sigmoid(logits); targets in [0, 1] ([N, C], torch's BCEWithLogitsLoss).
Tensor binary_cross_entropy(const Tensor& logits, const Tensor& targets, int64_t count);
// logits [T, C], sequence s being rows [starts[s], starts[s + 1]); labels int64 [sequences, C]: the row of the sequence, from
// 0, that column c should choose. Sum of the cross-entropies of softmaxes over the rows of a sequence. Labels outside the
// sequence: kInvalidInput.
Tensor row_cross_entropy(const Tensor& logits, const std::vector<int32_t>& starts, const Tensor& labels, int64_t count);

}  // namespace pagoda::ops
