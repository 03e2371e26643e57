// Softmax and cross entropy, for all Highway targets.
#include <cmath>
#include <cstdint>

#include "kernels/cpu/fallback.h"
#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/runs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/losses.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

template <class T>
float largest_of(const T* x, int64_t n) {
  const FloatTag d;
  FloatVec largest = hn::Set(d, kLowest);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) largest = hn::Max(largest, load(x + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < n; ++i) result = std::max(result, static_cast<float>(x[i]));
  return result;
}

// Sum of exp(x - shift); short float32 sums are joined in float64, as vocabularies are long.
template <class T>
double sum_of_exponentials(const T* x, int64_t n, float shift) {
  const FloatTag d;
  constexpr int64_t kRun = 512;
  const FloatVec shift_by = hn::Set(d, shift);
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kRun) {
    const int64_t end = std::min(n, begin + kRun);
    FloatVec even = hn::Zero(d), odd = hn::Zero(d);
    int64_t i = begin;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      even = hn::Add(even, exp_of_negative(d, hn::Sub(load(x + i), shift_by)));
      odd = hn::Add(odd, exp_of_negative(d, hn::Sub(load(x + i + kLanes), shift_by)));
    }
    for (; i < end; i += kLanes) {
      const int64_t left = std::min(kLanes, end - i);
      const FloatVec e = exp_of_negative(d, hn::Sub(left == kLanes ? load(x + i) : load_n(x + i, left), shift_by));
      even = hn::Add(even, hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(left)), e));
    }
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd))));
  }
  return total;
}

// y = scale(exp(x - shift)).
template <class T, class Scale>
HWY_INLINE void map_exponentials(const T* x, T* y, int64_t n, float shift, const Scale& scale) {
  const FloatTag d;
  const FloatVec shift_by = hn::Set(d, shift);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(scale(exp_of_negative(d, hn::Sub(load(x + i), shift_by))), y + i);
  if (i < n) store_n(scale(exp_of_negative(d, hn::Sub(load_n(x + i, n - i), shift_by))), y + i, n - i);
}

template <class T>
void softmax_rows(const Exec& exec, View x, View y) {
  const int64_t width = x.dims[1];
  exec.pool->parallel_for(x.dims[0], row_grain(width, kHeavyElements / 2), [&](int64_t begin, int64_t end, int) HWY_ATTR {
    const FloatTag d;
    for (int64_t t = begin; t < end; ++t) {
      const T* from = x.as<T>() + t * x.strides[0];
      T* to = y.as<T>() + t * y.strides[0];
      const float shift = largest_of(from, width);
      const float total = static_cast<float>(sum_of_exponentials(from, width, shift));
      const FloatVec divide_by = hn::Set(d, total);
      map_exponentials(from, to, width, shift, [&](FloatVec e) HWY_ATTR { return hn::Div(e, divide_by); });
    }
  });
}

void softmax(const Exec& exec, View x, View y) {
  if (!is_vector_dtype(x.dtype)) return reference_table().softmax(exec, x, y);
  if (x.dtype == DType::kFloat32) return softmax_rows<float>(exec, x, y);
  softmax_rows<BFloat16>(exec, x, y);
}

template <class T>
void cross_entropy_rows(const Exec& exec, View logits, View labels, View losses, double scale, View dlogits) {
  const int64_t width = logits.dims[1];
  exec.pool->parallel_for(logits.dims[0], row_grain(width, kHeavyElements / 2), [&](int64_t begin, int64_t end, int) HWY_ATTR {
    const FloatTag d;
    for (int64_t t = begin; t < end; ++t) {
      const int64_t label = labels.as<int64_t>()[t];
      const T* from = logits.as<T>() + t * logits.strides[0];
      T* to = dlogits ? dlogits.as<T>() + t * dlogits.strides[0] : nullptr;
      if (label < 0) {
        losses.as<float>()[t] = 0;
        if (to != nullptr) std::fill(to, to + width, T());
        continue;
      }
      const float shift = largest_of(from, width);
      const double total = sum_of_exponentials(from, width, shift);
      losses.as<float>()[t] = static_cast<float>(std::log(total) + static_cast<double>(shift) -
                                                 static_cast<double>(static_cast<float>(from[label])));
      if (to == nullptr) continue;
      const float factor = static_cast<float>(scale / total);
      const float at_label =
          static_cast<float>(scale * (std::exp(static_cast<double>(static_cast<float>(from[label]) - shift)) / total - 1));
      const FloatVec times = hn::Set(d, factor);
      map_exponentials(from, to, width, shift, [&](FloatVec e) HWY_ATTR { return hn::Mul(e, times); });
      to[label] = static_cast<T>(at_label);
    }
  });
}

void cross_entropy(const Exec& exec, View logits, View labels, View losses, double scale, View dlogits) {
  if (!is_vector_dtype(logits.dtype)) return reference_table().cross_entropy(exec, logits, labels, losses, scale, dlogits);
  if (logits.dtype == DType::kFloat32) return cross_entropy_rows<float>(exec, logits, labels, losses, scale, dlogits);
  cross_entropy_rows<BFloat16>(exec, logits, labels, losses, scale, dlogits);
}

}  // namespace

void fill_losses_entries(KernelTable& table) {
  table.softmax = {softmax, kTargetIsa};
  table.cross_entropy = {cross_entropy, kTargetIsa};
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_losses)
}  // namespace pagoda
#endif
