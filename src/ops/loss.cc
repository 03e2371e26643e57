// Loss, forward and backward.
#include "ops/loss.h"

#include "kernels/table.h"
#include "ops/check.h"
#include "ops/tape.h"

namespace pagoda::ops {

namespace {

// -(1 - e) log p[y] - e mean(log p) = -log p[y] + e (x[y] - mean(x)): what smoothing adds to each row's loss and gradient.
template <class T>
void smooth(const Tensor& logits, const Tensor& labels, double share, double scale, const Tensor& losses,
            const Tensor& dlogits) {
  const int64_t columns = logits.dim(1);
  logits.device().exec.pool->parallel_for(logits.dim(0), 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t label = labels.data<int64_t>()[t];
      if (label < 0) continue;
      const T* row = logits.data<T>() + t * columns;
      double sum = 0;
      for (int64_t c = 0; c < columns; ++c) sum += static_cast<double>(row[c]);
      losses.data<T>()[t] += static_cast<T>(share * (static_cast<double>(row[label]) - sum / static_cast<double>(columns)));
      if (!dlogits.is_defined()) continue;
      T* gradient = dlogits.data<T>() + t * columns;
      const T each = static_cast<T>(scale * share / static_cast<double>(columns));
      for (int64_t c = 0; c < columns; ++c) gradient[c] -= each;
      gradient[label] += static_cast<T>(scale * share);
    }
  });
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, int64_t count, double smoothing) {
  check_shape("cross_entropy", "logits", logits, {-1, -1});
  check_shape("cross_entropy", "labels", labels, {logits.dim(0)});
  check_dtype("cross_entropy", "labels", labels, {DType::kInt64});
  check_dtype("cross_entropy", "logits", logits, {DType::kFloat32, DType::kFloat64});
  if (count <= 0) invalid("cross_entropy", "no labelled position: need at least one label that is not -100");
  for (int64_t t = 0; t < labels.dim(0); ++t) {
    const int64_t label = labels.data<int64_t>()[t];
    if (label >= logits.dim(1))
      invalid("cross_entropy", "label outside the vocabulary: got {}, need 0 to {}", label, logits.dim(1) - 1);
  }
  Tensor losses = Tensor::empty(logits.device(), logits.dtype(), {logits.dim(0)});
  const bool grad = needs_grad({&logits});
  Tensor dlogits;
  if (grad) dlogits = Tensor::empty(logits.device(), logits.dtype(), logits.dims());
  const Device& device = logits.device();
  device.kernels->cross_entropy(device.exec, logits.view(), labels.view(), losses.view(), 1.0 / static_cast<double>(count),
                                dlogits.view());
  if (smoothing > 0 && logits.dtype() == DType::kFloat64) {
    smooth<double>(logits, labels, smoothing, 1.0 / static_cast<double>(count), losses, dlogits);
  } else if (smoothing > 0) {
    smooth<float>(logits, labels, smoothing, 1.0 / static_cast<double>(count), losses, dlogits);
  }
  Tensor loss = Tensor::empty(logits.device(), logits.dtype(), {1});
  double sum = 0;
  for (int64_t t = 0; t < losses.dim(0); ++t) {
    sum += logits.dtype() == DType::kFloat64 ? losses.data<double>()[t] : static_cast<double>(losses.data<float>()[t]);
  }
  const double mean = sum / static_cast<double>(count);
  if (logits.dtype() == DType::kFloat64) {
    loss.data<double>()[0] = mean;
  } else {
    loss.data<float>()[0] = static_cast<float>(mean);
  }
  if (!grad) return loss;
  // The gradient was computed with the loss, for an incoming gradient of one: a loss is where the tape begins.
  return attach(loss, {logits}, [dlogits](const Tensor& dloss) {
    const double seed =
        dloss.dtype() == DType::kFloat64 ? dloss.data<double>()[0] : static_cast<double>(dloss.data<float>()[0]);
    if (seed != 1) unsupported("cross_entropy", "a loss can only begin the tape: got an incoming gradient of {}", seed);
    return std::vector<Tensor>{dlogits};
  });
}

}  // namespace pagoda::ops
