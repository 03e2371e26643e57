// Sums by position, in double: rows are few beside what made them.
#include "engine/pooler.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace pagoda {

namespace {

void add_row(const Tensor& hidden, int64_t row, std::vector<double>& sum) {
  const auto size = static_cast<int64_t>(sum.size());
  if (hidden.dtype() == DType::kBFloat16) {
    const BFloat16* values = hidden.data<BFloat16>() + row * size;
    for (int64_t i = 0; i < size; ++i) sum[static_cast<size_t>(i)] += static_cast<double>(static_cast<float>(values[i]));
  } else {
    const float* values = hidden.data<float>() + row * size;
    for (int64_t i = 0; i < size; ++i) sum[static_cast<size_t>(i)] += static_cast<double>(values[i]);
  }
}

}  // namespace

void Pooler::take(const Tensor& hidden, int64_t row, int64_t from, int64_t count) {
  const PoolingType type = type_of(params_);
  if (sum_.empty()) sum_.assign(static_cast<size_t>(hidden.dim(1)), 0.0);
  for (int64_t position = std::max(from, seen_); position < std::min(from + count, length_); ++position) {
    const bool counts = type == PoolingType::kMean || (type == PoolingType::kCls && position == 0) ||
                        (type == PoolingType::kLast && position + 1 == length_);
    if (counts) add_row(hidden, row + position - from, sum_);
  }
  seen_ = std::max(seen_, std::min(from + count, length_));
}

std::vector<float> Pooler::finish() const {
  const size_t size = params_.dimensions > 0 ? std::min(sum_.size(), static_cast<size_t>(params_.dimensions)) : sum_.size();
  const double rows = type_of(params_) == PoolingType::kMean ? static_cast<double>(length_) : 1.0;
  double squares = 0;
  for (size_t i = 0; i < size; ++i) squares += sum_[i] / rows * (sum_[i] / rows);
  if (!std::isfinite(squares)) fail(ErrorKind::kInternal, "pooling", "the hidden states are not finite");
  // As torch.nn.functional.normalize: a vector of zeros stays one.
  const double scale = params_.normalize ? 1.0 / std::max(std::sqrt(squares), 1e-12) : 1.0;
  std::vector<float> result(size);
  for (size_t i = 0; i < size; ++i) result[i] = static_cast<float>(sum_[i] / rows * scale);
  return result;
}

}  // namespace pagoda
