// Cross-entropy fused with softmax: the only place where a row's logits and its label meet.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace pagoda::ops {

// Mean of -log softmax(logits[t])[labels[t]] over the `count` labelled rows of all batches together (count >= labelled rows
// here: gradient accumulation and data parallel divide by the global count). labels int64 [T], negative = ignored (HF's -100).
// Labels outside the vocabulary throw kInvalidInput. Result: a scalar [1] in the logits' dtype. Differentiable.
// smoothing: this share of a row's loss is the mean over all classes instead of the label's (HF's LabelSmoother).
Tensor cross_entropy(const Tensor& logits, const Tensor& labels, int64_t count, double smoothing = 0);

}  // namespace pagoda::ops
