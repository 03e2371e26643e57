// Forward passes that keep the gradient of the logits, which backward only scales.
#include "ops/task_loss.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/tape.h"

namespace pagoda::ops {

namespace {

double at(const Tensor& tensor, int64_t index) {
  return tensor.dtype() == DType::kFloat64 ? tensor.data<double>()[index] : static_cast<double>(tensor.data<float>()[index]);
}

Tensor tensor_of(const Tensor& like, const std::vector<double>& values, const std::vector<int64_t>& dims) {
  Tensor out = Tensor::empty(like.device(), like.dtype(), dims);
  for (size_t i = 0; i < values.size(); ++i) {
    if (like.dtype() == DType::kFloat64) {
      out.data<double>()[i] = values[i];
    } else {
      out.data<float>()[i] = static_cast<float>(values[i]);
    }
  }
  return out;
}

void check_dtype(const char* op, const Tensor& logits) {
  if (logits.dtype() != DType::kFloat32 && logits.dtype() != DType::kFloat64) {
    unsupported(op, "logits: got {}, need float32 or float64", dtype_name(logits.dtype()));
  }
}

// The scalar `sum` whose gradient with respect to the logits is `gradient`.
Tensor scalar_loss(const Tensor& logits, double sum, std::vector<double> gradient) {
  const Tensor raw = tensor_of(logits, {sum}, {1});
  if (!needs_grad({&logits})) return raw;
  const std::vector<int64_t> dims = {logits.dim(0), logits.dim(1)};
  return attach(raw, {logits}, [raw, dims, gradient = std::move(gradient)](const Tensor& grad) {
    std::vector<double> scaled(gradient.size());
    const double scale = at(grad, 0);
    for (size_t i = 0; i < scaled.size(); ++i) scaled[i] = scale * gradient[i];
    return std::vector<Tensor>{tensor_of(raw, scaled, dims)};
  });
}

void check_pair(const char* op, const Tensor& logits, const Tensor& targets) {
  check_dtype(op, logits);
  if (targets.dtype() != logits.dtype() || targets.rank() != 2 || logits.rank() != 2 || targets.dim(0) != logits.dim(0) ||
      targets.dim(1) != logits.dim(1)) {
    invalid(op, "targets: got another shape or dtype than the logits have");
  }
}

// term(logit, target, &gradient), summed.
template <class Term>
Tensor element_loss(const char* op, const Tensor& logits, const Tensor& targets, int64_t count, Term&& term) {
  check_pair(op, logits, targets);
  const int64_t size = logits.dim(0) * logits.dim(1);
  const auto whole = static_cast<double>(std::max<int64_t>(count, 1));
  std::vector<double> gradient(static_cast<size_t>(size));
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    double& slope = gradient[static_cast<size_t>(i)];
    sum += term(at(logits, i), at(targets, i), slope);
    slope /= whole;
  }
  return scalar_loss(logits, sum / whole, std::move(gradient));
}

}  // namespace

Tensor squared_error(const Tensor& logits, const Tensor& targets, int64_t count) {
  return element_loss("squared_error", logits, targets, count, [](double logit, double target, double& slope) {
    slope = 2 * (logit - target);
    return (logit - target) * (logit - target);
  });
}

Tensor binary_cross_entropy(const Tensor& logits, const Tensor& targets, int64_t count) {
  return element_loss("binary_cross_entropy", logits, targets, count, [](double logit, double target, double& slope) {
    slope = 1 / (1 + std::exp(-logit)) - target;
    return std::max(logit, 0.0) - logit * target + std::log1p(std::exp(-std::abs(logit)));
  });
}

Tensor row_cross_entropy(const Tensor& logits, const std::vector<int32_t>& starts, const Tensor& labels, int64_t count) {
  constexpr const char* kOp = "row_cross_entropy";
  check_dtype(kOp, logits);
  const int64_t columns = logits.dim(1), sequences = static_cast<int64_t>(starts.size()) - 1;
  if (labels.dtype() != DType::kInt64 || labels.rank() != 2 || labels.dim(0) != sequences || labels.dim(1) != columns ||
      starts.back() != logits.dim(0)) {
    invalid(kOp, "labels: need int64 [{}, {}] for {} rows", sequences, columns, starts.back());
  }
  const auto whole = static_cast<double>(std::max<int64_t>(count, 1));
  std::vector<double> gradient(static_cast<size_t>(logits.dim(0) * columns));
  double sum = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t begin = starts[static_cast<size_t>(s)], end = starts[static_cast<size_t>(s) + 1];
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t label = labels.data<int64_t>()[s * columns + c];
      if (label < 0 || label >= end - begin) invalid(kOp, "label: got {}, need 0 to {}", label, end - begin - 1);
      double largest = -HUGE_VAL, total = 0;
      for (int64_t t = begin; t < end; ++t) largest = std::max(largest, at(logits, t * columns + c));
      for (int64_t t = begin; t < end; ++t) total += std::exp(at(logits, t * columns + c) - largest);
      sum += std::log(total) + largest - at(logits, (begin + label) * columns + c);
      for (int64_t t = begin; t < end; ++t) {
        const double share = std::exp(at(logits, t * columns + c) - largest) / total;
        gradient[static_cast<size_t>(t * columns + c)] = (share - (t == begin + label ? 1 : 0)) / whole;
      }
    }
  }
  return scalar_loss(logits, sum / whole, std::move(gradient));
}

}  // namespace pagoda::ops
