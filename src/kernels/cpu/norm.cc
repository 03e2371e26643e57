// RMS and layer norm with the residual addition before them, and their backward, for all Highway targets.
#include <cmath>
#include <cstdint>

#include "kernels/cpu/fallback.h"
#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/runs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/norm.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

// Sums over a row: vector i of the row goes to accumulator i % 4, so the order is a function of the width alone.
struct RowSum {
  FloatVec sum[4];
  HWY_INLINE RowSum() {
    for (FloatVec& part : sum) part = hn::Zero(FloatTag());
  }
  HWY_INLINE float total() const {
    return hn::GetLane(hn::SumOfLanes(FloatTag(), hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]))));
  }
};

// body(at, access, accumulator) over the row; `which` is the accumulator's number.
template <class Body>
HWY_INLINE void over_row(int64_t width, const Body& body) {
  int64_t j = 0;
  for (; j + 4 * kLanes <= width; j += 4 * kLanes) {
    body(j, Whole(), 0);
    body(j + kLanes, Whole(), 1);
    body(j + 2 * kLanes, Whole(), 2);
    body(j + 3 * kLanes, Whole(), 3);
  }
  int which = 0;
  for (; j + kLanes <= width; j += kLanes) body(j, Whole(), which++);
  if (j < width) body(j, Part{width - j}, which);
}

// The rows that the statistics are taken of: x, or x + delta rounded to T and kept in `sum`.
template <class T, class Take>
HWY_INLINE const T* read_row(const T* x, const T* delta, T* sum, int64_t width, const Take& take) {
  if (delta == nullptr) {
    over_row(width, [&](int64_t j, auto access, int which) HWY_ATTR { take(access.get(x + j), which); });
    return x;
  }
  over_row(width, [&](int64_t j, auto access, int which) HWY_ATTR {
    const FloatVec v = hn::Add(access.get(x + j), access.get(delta + j));
    access.put(v, sum + j);
    take(round_to(v, x), which);
  });
  return sum;
}

template <class T>
void rms_norm_rows(const Exec& exec, View x, View delta, View sum, View weight, float eps, View y, View rstd) {
  const int64_t width = x.dims[1];
  exec.pool->parallel_for(x.dims[0], row_grain(width, kLightElements), [&](int64_t begin, int64_t end, int) HWY_ATTR {
    const FloatTag d;
    const float* scale = weight.as<float>();
    for (int64_t t = begin; t < end; ++t) {
      RowSum squares;
      const T* row =
          read_row<T>(x.as<T>() + t * x.strides[0], delta ? delta.as<T>() + t * delta.strides[0] : nullptr,
                      delta ? sum.as<T>() + t * sum.strides[0] : nullptr, width,
                      [&](FloatVec v, int which) HWY_ATTR { squares.sum[which] = hn::MulAdd(v, v, squares.sum[which]); });
      const float inverse = 1.0f / std::sqrt(squares.total() / static_cast<float>(width) + eps);
      const FloatVec factor = hn::Set(d, inverse);
      T* to = y.as<T>() + t * y.strides[0];
      over_row(width, [&](int64_t j, auto access, int) HWY_ATTR {
        access.put(hn::Mul(hn::Mul(access.get(row + j), factor), access.get(scale + j)), to + j);
      });
      if (rstd) rstd.as<float>()[t] = inverse;
    }
  });
}

template <class T>
void layer_norm_rows(const Exec& exec, View x, View delta, View sum, View weight, View bias, float eps, View y, View mean,
                     View rstd) {
  const int64_t width = x.dims[1];
  exec.pool->parallel_for(x.dims[0], row_grain(width, kLightElements), [&](int64_t begin, int64_t end, int) HWY_ATTR {
    const FloatTag d;
    const float *scale = weight.as<float>(), *shift = bias.as<float>();
    for (int64_t t = begin; t < end; ++t) {
      RowSum values;
      const T* row = read_row<T>(x.as<T>() + t * x.strides[0], delta ? delta.as<T>() + t * delta.strides[0] : nullptr,
                                 delta ? sum.as<T>() + t * sum.strides[0] : nullptr, width,
                                 [&](FloatVec v, int which) HWY_ATTR { values.sum[which] = hn::Add(values.sum[which], v); });
      const float mu = values.total() / static_cast<float>(width);
      const FloatVec centre = hn::Set(d, mu);
      RowSum squares;
      const int64_t whole = width / kLanes * kLanes;
      over_row(width, [&](int64_t j, auto access, int which) HWY_ATTR {
        FloatVec v = hn::Sub(access.get(row + j), centre);
        if (j >= whole) v = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(width - j)), v);
        squares.sum[which] = hn::MulAdd(v, v, squares.sum[which]);
      });
      const float inverse = 1.0f / std::sqrt(squares.total() / static_cast<float>(width) + eps);
      const FloatVec factor = hn::Set(d, inverse);
      T* to = y.as<T>() + t * y.strides[0];
      over_row(width, [&](int64_t j, auto access, int) HWY_ATTR {
        const FloatVec normal = hn::Mul(hn::Sub(access.get(row + j), centre), factor);
        const FloatVec offset = shift != nullptr ? access.get(shift + j) : hn::Zero(d);
        access.put(hn::MulAdd(normal, access.get(scale + j), offset), to + j);
      });
      if (mean) mean.as<float>()[t] = mu;
      if (rstd) rstd.as<float>()[t] = inverse;
    }
  });
}

void rms_norm(const Exec& exec, View x, View delta, View sum, View weight, float eps, View y, View rstd) {
  if (weight.dtype != DType::kFloat32 || !is_vector_dtype(x.dtype)) {
    return reference_table().rms_norm(exec, x, delta, sum, weight, eps, y, rstd);
  }
  if (x.dtype == DType::kFloat32) return rms_norm_rows<float>(exec, x, delta, sum, weight, eps, y, rstd);
  rms_norm_rows<BFloat16>(exec, x, delta, sum, weight, eps, y, rstd);
}

void layer_norm(const Exec& exec, View x, View delta, View sum, View weight, View bias, float eps, View y, View mean,
                View rstd) {
  if (weight.dtype != DType::kFloat32 || (bias && bias.dtype != DType::kFloat32) || !is_vector_dtype(x.dtype)) {
    return reference_table().layer_norm(exec, x, delta, sum, weight, bias, eps, y, mean, rstd);
  }
  if (x.dtype == DType::kFloat32) return layer_norm_rows<float>(exec, x, delta, sum, weight, bias, eps, y, mean, rstd);
  layer_norm_rows<BFloat16>(exec, x, delta, sum, weight, bias, eps, y, mean, rstd);
}

template <class T>
void rms_norm_gradients(const Exec& exec, View x, View weight, View rstd, View dy, View dx, View dweight) {
  const int64_t rows = x.dims[0], width = x.dims[1];
  const float *scale = weight.as<float>(), *inverse = rstd.as<float>();
  // Sums over rows read x and dy before dx, which may be one of them, is written.
  if (dweight) {
    each_columns(exec, width, rows, [&](int64_t begin, int64_t end) HWY_ATTR {
      const FloatTag d;
      for (int64_t t = 0; t < rows; ++t) {
        const T *in = x.as<T>() + t * x.strides[0], *g = dy.as<T>() + t * dy.strides[0];
        const FloatVec factor = hn::Set(d, inverse[t]);
        float* to = dweight.as<float>();
        over_row(end - begin, [&](int64_t i, auto access, int) HWY_ATTR {
          const int64_t j = begin + i;
          const FloatVec normal = hn::Mul(access.get(in + j), factor);
          access.put(hn::MulAdd(access.get(g + j), normal, access.get(to + j)), to + j);
        });
      }
    });
  }
  exec.pool->parallel_for(rows, row_grain(width, kLightElements), [&](int64_t begin, int64_t end, int) HWY_ATTR {
    const FloatTag d;
    for (int64_t t = begin; t < end; ++t) {
      const T *in = x.as<T>() + t * x.strides[0], *g = dy.as<T>() + t * dy.strides[0];
      T* to = dx.as<T>() + t * dx.strides[0];
      RowSum dots;
      over_row(width, [&](int64_t j, auto access, int which) HWY_ATTR {
        dots.sum[which] = hn::MulAdd(hn::Mul(access.get(g + j), access.get(scale + j)), access.get(in + j), dots.sum[which]);
      });
      const float r = inverse[t];
      const FloatVec factor = hn::Set(d, r), c = hn::Set(d, dots.total() * r * r * r / static_cast<float>(width));
      over_row(width, [&](int64_t j, auto access, int) HWY_ATTR {
        const FloatVec direct = hn::Mul(hn::Mul(access.get(g + j), access.get(scale + j)), factor);
        access.put(hn::NegMulAdd(access.get(in + j), c, direct), to + j);
      });
    }
  });
}

template <class T>
void layer_norm_gradients(const Exec& exec, View x, View weight, View mean, View rstd, View dy, View dx, View dweight,
                          View dbias) {
  const int64_t rows = x.dims[0], width = x.dims[1];
  const float *scale = weight.as<float>(), *centre = mean.as<float>(), *inverse = rstd.as<float>();
  if (dweight || dbias) {
    each_columns(exec, width, rows, [&](int64_t begin, int64_t end) HWY_ATTR {
      const FloatTag d;
      for (int64_t t = 0; t < rows; ++t) {
        const T *in = x.as<T>() + t * x.strides[0], *g = dy.as<T>() + t * dy.strides[0];
        const FloatVec mu = hn::Set(d, centre[t]), factor = hn::Set(d, inverse[t]);
        float *to_weight = dweight.as<float>(), *to_bias = dbias.as<float>();
        over_row(end - begin, [&](int64_t i, auto access, int) HWY_ATTR {
          const int64_t j = begin + i;
          const FloatVec gradient = access.get(g + j);
          if (to_weight != nullptr) {
            const FloatVec normal = hn::Mul(hn::Sub(access.get(in + j), mu), factor);
            access.put(hn::MulAdd(gradient, normal, access.get(to_weight + j)), to_weight + j);
          }
          if (to_bias != nullptr) access.put(hn::Add(gradient, access.get(to_bias + j)), to_bias + j);
        });
      }
    });
  }
  exec.pool->parallel_for(rows, row_grain(width, kLightElements), [&](int64_t begin, int64_t end, int) HWY_ATTR {
    const FloatTag d;
    for (int64_t t = begin; t < end; ++t) {
      const T *in = x.as<T>() + t * x.strides[0], *g = dy.as<T>() + t * dy.strides[0];
      T* to = dx.as<T>() + t * dx.strides[0];
      const FloatVec mu = hn::Set(d, centre[t]), factor = hn::Set(d, inverse[t]);
      RowSum totals, dots;
      over_row(width, [&](int64_t j, auto access, int which) HWY_ATTR {
        // Past the row's end the gradient is 0, so what stands in for x does not matter.
        const FloatVec weighted = hn::Mul(access.get(g + j), access.get(scale + j));
        totals.sum[which] = hn::Add(totals.sum[which], weighted);
        dots.sum[which] = hn::MulAdd(weighted, hn::Mul(hn::Sub(access.get(in + j), mu), factor), dots.sum[which]);
      });
      const float n = static_cast<float>(width);
      const FloatVec average = hn::Set(d, totals.total() / n), slope = hn::Set(d, dots.total() / n);
      over_row(width, [&](int64_t j, auto access, int) HWY_ATTR {
        const FloatVec weighted = hn::Mul(access.get(g + j), access.get(scale + j));
        const FloatVec normal = hn::Mul(hn::Sub(access.get(in + j), mu), factor);
        access.put(hn::Mul(factor, hn::NegMulAdd(normal, slope, hn::Sub(weighted, average))), to + j);
      });
    }
  });
}

void rms_norm_backward(const Exec& exec, View x, View weight, View rstd, View dy, View dx, View dweight) {
  if (weight.dtype != DType::kFloat32 || !is_vector_dtype(x.dtype)) {
    return reference_table().rms_norm_backward(exec, x, weight, rstd, dy, dx, dweight);
  }
  if (x.dtype == DType::kFloat32) return rms_norm_gradients<float>(exec, x, weight, rstd, dy, dx, dweight);
  rms_norm_gradients<BFloat16>(exec, x, weight, rstd, dy, dx, dweight);
}

void layer_norm_backward(const Exec& exec, View x, View weight, View mean, View rstd, View dy, View dx, View dweight,
                         View dbias) {
  if (weight.dtype != DType::kFloat32 || !is_vector_dtype(x.dtype)) {
    return reference_table().layer_norm_backward(exec, x, weight, mean, rstd, dy, dx, dweight, dbias);
  }
  if (x.dtype == DType::kFloat32) return layer_norm_gradients<float>(exec, x, weight, mean, rstd, dy, dx, dweight, dbias);
  layer_norm_gradients<BFloat16>(exec, x, weight, mean, rstd, dy, dx, dweight, dbias);
}

}  // namespace

void fill_norms_entries(KernelTable& table) {
  table.rms_norm = {rms_norm, kTargetIsa};
  table.layer_norm = {layer_norm, kTargetIsa};
  table.rms_norm_backward = {rms_norm_backward, kTargetIsa};
  table.layer_norm_backward = {layer_norm_backward, kTargetIsa};
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_norms)
}  // namespace pagoda
#endif
