// One update of one parameter: a single pass over it, its gradient and the optimiser's state.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace pagoda::ops {

// Of all updates: tensors are float32, contiguous, of the parameter's shape unless said otherwise, and changed in place.
// `gradient_scale` multiplies the gradient as it is read (clipping). Elements are independent, and where sums are needed their
// order is that of fixed blocks: results do not depend on threads.

// Kingma & Ba 2014; decoupled: Loshchilov & Hutter 2019 (torch.optim.AdamW), else decay is part of the gradient
// (torch.optim.Adam).
struct AdamOptions {
  double learning_rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
  bool decoupled = true;
  int64_t step = 1;  // 1 for the first
};
void adam(const AdamOptions& options, const Tensor& parameter, const Tensor& gradient, const Tensor& exp_avg,
          const Tensor& exp_avg_sq, float gradient_scale);

struct SgdOptions {  // torch.optim.SGD
  double learning_rate = 1e-3, momentum = 0, weight_decay = 0;
  bool nesterov = false;
  int64_t step = 1;
};
// momentum_buffer: undefined where momentum is 0.
void sgd(const SgdOptions& options, const Tensor& parameter, const Tensor& gradient, const Tensor& momentum_buffer,
         float gradient_scale);

struct LionOptions {  // Chen et al. 2023
  double learning_rate = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0;
};
void lion(const LionOptions& options, const Tensor& parameter, const Tensor& gradient, const Tensor& exp_avg,
          float gradient_scale);

// Shazeer & Stern 2018 with a learning rate from outside (transformers.optimization.Adafactor, scale_parameter and
// relative_step off, no first moment).
struct AdafactorOptions {
  double learning_rate = 1e-3, weight_decay = 0;
  double epsilon = 1e-30, clip_threshold = 1, decay_rate = -0.8;
  int64_t step = 1;
};
// A matrix [N, K] has exp_avg_sq_row [N] and exp_avg_sq_col [K]; a vector has exp_avg_sq in place of the row and no column.
void adafactor(const AdafactorOptions& options, const Tensor& parameter, const Tensor& gradient, const Tensor& row,
               const Tensor& column, float gradient_scale);

// average = decay * average + (1 - decay) * x
void moving_average(double decay, const Tensor& x, const Tensor& average);
// Sum of squares, by fixed blocks in double.
double sum_of_squares(const Tensor& x);
bool all_finite(const Tensor& x);  // float32, bfloat16 or float64

}  // namespace pagoda::ops
