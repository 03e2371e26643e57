// Dropout of activations: plain code, and vectors of columns for all Highway targets.
#include <cstdint>
#include <type_traits>

#include "base/random.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/runs.h"
#include "kernels/dropout.h"
#include "tensor/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dropout.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/vector-inl.h"

#ifndef PAGODA_KERNELS_CPU_DROPOUT_ONCE
#define PAGODA_KERNELS_CPU_DROPOUT_ONCE
namespace pagoda {
namespace {

// The finaliser of MurmurHash3 with the row's second word between its halves.
constexpr uint32_t kDrawStep = 0x9E3779B9u, kDrawFirst = 0x85EBCA6Bu, kDrawSecond = 0xC2B2AE35u;

struct RowWords {
  uint32_t first, second;
};
inline RowWords words_of(const DropoutSpec& spec, int64_t t) {
  const auto words = philox(spec.seed, spec.rows[t], spec.site);
  return {words[0], words[1]};
}
using DropRows = void(const DropoutSpec& spec, const View& x, const View& y, int64_t begin, int64_t end);
inline uint32_t least_kept(const DropoutSpec& spec) { return static_cast<uint32_t>(spec.p * 16777216.0f); }

}  // namespace
}  // namespace pagoda
#endif  // PAGODA_KERNELS_CPU_DROPOUT_ONCE

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

const hn::RebindToUnsigned<FloatTag> kBits;
using BitsVec = hn::Vec<decltype(kBits)>;

struct Row {
  BitsVec first, second, least;
  FloatVec scale;
};

// `counters`: column * kDrawStep of each lane.
HWY_INLINE FloatVec keep(const Row& row, BitsVec counters, FloatVec values) {
  BitsVec x = hn::Add(row.first, counters);
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(kBits, kDrawFirst));
  x = hn::Xor(x, row.second);
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<13>(x)), hn::Set(kBits, kDrawSecond));
  x = hn::ShiftRight<8>(hn::Xor(x, hn::ShiftRight<16>(x)));
  // Below 2^24, so that the signed comparison, which every target has, is the same.
  const hn::RebindToSigned<FloatTag> di;
  const auto drops = hn::Lt(hn::BitCast(di, x), hn::BitCast(di, row.least));
  return hn::IfThenZeroElse(hn::RebindMask(FloatTag(), drops), hn::Mul(values, row.scale));
}

template <class T>
HWY_INLINE void drop_row(const Row& row, const T* from, int64_t n, T* to) {
  BitsVec counters = hn::Mul(hn::Iota(kBits, 0), hn::Set(kBits, kDrawStep));
  const BitsVec next = hn::Set(kBits, static_cast<uint32_t>(kLanes) * kDrawStep);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes, counters = hn::Add(counters, next)) store(keep(row, counters, load(from + i)), to + i);
  if (i < n) store_n(keep(row, counters, load_n(from + i, n - i)), to + i, n - i);
}

void drop_rows(const DropoutSpec& spec, const View& x, const View& y, int64_t begin, int64_t end) {
  const BitsVec least = hn::Set(kBits, least_kept(spec));
  const FloatVec scale = hn::Set(FloatTag(), 1 / (1 - spec.p));
  for (int64_t t = begin; t < end; ++t) {
    const RowWords words = words_of(spec, t);
    const Row row{hn::Set(kBits, words.first), hn::Set(kBits, words.second), least, scale};
    with_dtype(x.dtype, [&](auto zero) HWY_ATTR {
      using T = decltype(zero);
      drop_row(row, x.as<T>() + t * x.strides[0], x.dims[1], y.as<T>() + t * y.strides[0]);
    });
  }
}

}  // namespace

DropRows* drop_rows_of_target() { return drop_rows; }

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {

namespace {

template <class T>
void drop_plainly(const DropoutSpec& spec, const View& x, const View& y, int64_t begin, int64_t end) {
  using C = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const uint32_t least = least_kept(spec);
  const C scale = C(1 / (1 - spec.p));
  for (int64_t t = begin; t < end; ++t) {
    const RowWords words = words_of(spec, t);
    const T* from = x.as<T>() + t * x.strides[0];
    T* to = y.as<T>() + t * y.strides[0];
    for (int64_t j = 0; j < x.dims[1]; ++j) {
      uint32_t draw = words.first + static_cast<uint32_t>(j) * kDrawStep;
      draw = ((draw ^ (draw >> 16)) * kDrawFirst) ^ words.second;
      draw = (draw ^ (draw >> 13)) * kDrawSecond;
      const bool keeps = ((draw ^ (draw >> 16)) >> 8) >= least;
      to[j] = keeps ? T(static_cast<C>(from[j]) * scale) : T(C(0));
    }
  }
}

DropRows* rows_of(Isa isa, DType dtype) {
  if (dtype == DType::kFloat64) return drop_plainly<double>;
  if (isa == Isa::kReference) return dtype == DType::kBFloat16 ? drop_plainly<BFloat16> : drop_plainly<float>;
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return N_AVX3::drop_rows_of_target();
  if (isa == Isa::kAvx2) return N_AVX2::drop_rows_of_target();
#endif
  return HWY_STATIC_DISPATCH(drop_rows_of_target)();
}

}  // namespace

void dropout(const Exec& exec, Isa isa, const DropoutSpec& spec, const View& x, const View& y) {
  DropRows* const rows = rows_of(isa, x.dtype);
  exec.pool->parallel_for(x.dims[0], row_grain(x.dims[1], kLightElements),
                          [&](int64_t begin, int64_t end, int) { rows(spec, x, y, begin, end); });
}

}  // namespace pagoda
#endif
