// Dropout, forward and backward: the draws are made again in backward, so that no mask is kept.
#include "ops/dropout.h"

#include <algorithm>

#include "base/random.h"
#include "ops/check.h"
#include "ops/tape.h"

namespace pagoda::ops {

namespace {

constexpr int64_t kRowsOfRun = 8, kColumns = 256;

// The finaliser of MurmurHash3 with the row's second word between its halves: 32 bits that hang on row, site and column.
inline uint32_t draw(uint32_t first, uint32_t second, uint32_t column) {
  uint32_t x = first + column * 0x9E3779B9u;
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x ^= second;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return x ^ (x >> 16);
}

// All ones where column `begin + k` of a row is kept, else zero. Loops as plain as this one become vectors.
void keep_columns(uint32_t first, uint32_t second, int64_t begin, int64_t count, uint32_t least, uint32_t* kept) {
  for (int64_t k = 0; k < count; ++k) {
    const bool keeps = (draw(first, second, static_cast<uint32_t>(begin + k)) >> 8) >= least;
    kept[k] = keeps ? ~uint32_t{0} : 0;
  }
}

void drop_run(const float* x, const uint32_t* kept, int64_t count, float scale, float* y) {
  for (int64_t k = 0; k < count; ++k) y[k] = kept[k] != 0 ? x[k] * scale : 0.0f;
}
void drop_run(const double* x, const uint32_t* kept, int64_t count, float scale, double* y) {
  for (int64_t k = 0; k < count; ++k) y[k] = kept[k] != 0 ? x[k] * static_cast<double>(scale) : 0.0;
}
void drop_run(const BFloat16* x, const uint32_t* kept, int64_t count, float scale, BFloat16* y) {
  for (int64_t k = 0; k < count; ++k) {
    const uint32_t bits = float_to_bits(bits_to_float(uint32_t{x[k].bits} << 16) * scale);
    y[k].bits = static_cast<uint16_t>(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & kept[k]);
  }
}

template <class T>
void drop(const Tensor& x, const DropoutRows& rows, uint32_t site, uint32_t least, float scale, const Tensor& y) {
  const int64_t width = x.dim(1), x_stride = x.view().strides[0];
  x.device().exec.pool->parallel_for(x.dim(0), kRowsOfRun, [&](int64_t begin, int64_t end, int) {
    uint32_t kept[kColumns];
    for (int64_t t = begin; t < end; ++t) {
      const auto words = philox(rows.seed, rows.numbers[static_cast<size_t>(t)], site);
      for (int64_t j = 0; j < width; j += kColumns) {
        const int64_t count = std::min(kColumns, width - j);
        keep_columns(words[0], words[1], j, count, least, kept);
        drop_run(x.data<T>() + t * x_stride + j, kept, count, scale, y.data<T>() + t * width + j);
      }
    }
  });
}

Tensor apply(const Tensor& x, float p, const DropoutRows& rows, uint32_t site) {
  Tensor y = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
  // Chances are in steps of 2^-24, as those of attention's weights.
  const uint32_t least = static_cast<uint32_t>(p * 16777216.0f);
  const float scale = 1 / (1 - p);
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
  Tensor y = apply(x, p, *rows, site);
  if (!needs_grad({&x})) return y;
  return attach(y, {x}, [p, rows, site](const Tensor& dy) { return std::vector<Tensor>{apply(dy, p, *rows, site)}; });
}

}  // namespace pagoda::ops
