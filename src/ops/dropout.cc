// Dropout, forward and backward: the draws are made again in backward, so that no mask is kept.
#include "ops/dropout.h"

#include <algorithm>

#include "base/random.h"
#include "ops/check.h"
#include "ops/tape.h"

namespace pagoda::ops {

namespace {

constexpr int64_t kRowsOfRun = 8;

// y = x where a draw of 32 bits is at least `least`, scaled; else zero. One Philox block serves four columns.
template <class T>
void drop(const Tensor& x, const DropoutRows& rows, uint32_t site, uint32_t least, double scale, const Tensor& y) {
  const int64_t width = x.dim(1), x_stride = x.view().strides[0];
  const T* from = x.data<T>();
  T* into = y.data<T>();
  x.device().exec.pool->parallel_for(x.dim(0), kRowsOfRun, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const uint64_t number = rows.numbers[static_cast<size_t>(t)];
      for (int64_t j = 0; j < width; j += 4) {
        const auto draws = philox(rows.seed, number, (uint64_t{site} << 32) | static_cast<uint64_t>(j / 4));
        for (int64_t k = j; k < std::min(j + 4, width); ++k) {
          const bool kept = draws[static_cast<size_t>(k - j)] >= least;
          into[t * width + k] = T(kept ? static_cast<float>(from[t * x_stride + k]) * static_cast<float>(scale) : 0.0f);
        }
      }
    }
  });
}

template <>
void drop<double>(const Tensor& x, const DropoutRows& rows, uint32_t site, uint32_t least, double scale, const Tensor& y) {
  const int64_t width = x.dim(1), x_stride = x.view().strides[0];
  for (int64_t t = 0; t < x.dim(0); ++t) {
    for (int64_t k = 0; k < width; ++k) {
      const auto draws =
          philox(rows.seed, rows.numbers[static_cast<size_t>(t)], (uint64_t{site} << 32) | static_cast<uint64_t>(k / 4));
      y.data<double>()[t * width + k] =
          draws[static_cast<size_t>(k % 4)] >= least ? x.data<double>()[t * x_stride + k] * scale : 0.0;
    }
  }
}

Tensor apply(const Tensor& x, float p, const DropoutRows& rows, uint32_t site) {
  Tensor y = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
  const double share = static_cast<double>(p);
  const uint32_t least = static_cast<uint32_t>(std::min(share * 0x1.0p32, 0x1.0p32 - 1));
  const double scale = 1 / (1 - share);
  switch (x.dtype()) {
    case DType::kFloat64: drop<double>(x, rows, site, least, scale, y); break;
    case DType::kBFloat16: drop<BFloat16>(x, rows, site, least, scale, y); break;
    default: drop<float>(x, rows, site, least, scale, y);
  }
  return y;
}

}  // namespace

std::shared_ptr<const DropoutRows> pick_dropout_rows(const std::shared_ptr<const DropoutRows>& rows,
                                                     const std::vector<int32_t>& chosen) {
  if (rows == nullptr) return nullptr;
  auto picked = std::make_shared<DropoutRows>();
  picked->seed = rows->seed;
  for (const int32_t row : chosen) picked->numbers.push_back(rows->numbers[static_cast<size_t>(row)]);
  return picked;
}

Tensor dropout(const Tensor& x, float p, const std::shared_ptr<const DropoutRows>& rows, uint32_t site) {
  if (rows == nullptr || p == 0) return x;
  if (!(p > 0 && p < 1)) invalid("dropout", "got a probability of {}, need 0 to below 1", p);
  check_shape("dropout", "x", x, {static_cast<int64_t>(rows->numbers.size()), -1});
  check_dtype("dropout", "x", x, {DType::kFloat32, DType::kBFloat16, DType::kFloat64});
  const Tensor y = apply(x, p, *rows, site);
  if (!needs_grad({&x})) return y;
  return attach(y, {x}, [p, rows, site](const Tensor& dy) { return std::vector<Tensor>{apply(dy, p, *rows, site)}; });
}

}  // namespace pagoda::ops
