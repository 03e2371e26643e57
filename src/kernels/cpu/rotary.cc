// Rotary positions in place, both pair styles, for all Highway targets.
#include <cstdint>

#include "kernels/cpu/fallback.h"
#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/runs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rotary.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

HWY_INLINE void turn(FloatVec& a, FloatVec& b, FloatVec cos, FloatVec sin) {
  const FloatVec turned = hn::NegMulAdd(b, sin, hn::Mul(a, cos));
  b = hn::MulAdd(a, sin, hn::Mul(b, cos));
  a = turned;
}

// v[i], v[i + pairs]
template <class T, class Access>
HWY_INLINE void turn_halves(T* v, int64_t i, int64_t pairs, const float* cos, const float* sin, FloatVec sign, Access access) {
  FloatVec a = access.get(v + i), b = access.get(v + i + pairs);
  turn(a, b, access.get(cos + i), hn::Mul(access.get(sin + i), sign));
  access.put(a, v + i);
  access.put(b, v + i + pairs);
}

HWY_INLINE void load_pairs_of(const float* from, FloatVec& even, FloatVec& odd) {
  hn::LoadInterleaved2(FloatTag(), from, even, odd);
}
HWY_INLINE void store_pairs_of(FloatVec even, FloatVec odd, float* to) { hn::StoreInterleaved2(even, odd, FloatTag(), to); }
HWY_INLINE void load_pairs_of(const BFloat16* from, FloatVec& even, FloatVec& odd) {
  const hn::RebindToUnsigned<FloatTag> d32;
  const auto bits = hn::LoadU(d32, reinterpret_cast<const uint32_t*>(from));
  even = hn::BitCast(FloatTag(), hn::ShiftLeft<16>(bits));
  odd = hn::BitCast(FloatTag(), hn::And(bits, hn::Set(d32, 0xFFFF0000u)));
}
HWY_INLINE void store_pairs_of(FloatVec even, FloatVec odd, BFloat16* to) {
  const hn::RebindToUnsigned<FloatTag> d32;
  const auto low = hn::ShiftRight<16>(hn::BitCast(d32, round_to(even, to))), high = hn::BitCast(d32, round_to(odd, to));
  hn::StoreU(hn::Or(low, high), d32, reinterpret_cast<uint32_t*>(to));
}

template <class T>
HWY_INLINE void turn_row(T* v, int64_t pairs, const float* cos, const float* sin, RotaryStyle style, FloatVec sign) {
  const FloatTag d;
  int64_t i = 0;
  if (style == RotaryStyle::kHalf) {
    for (; i + kLanes <= pairs; i += kLanes) turn_halves(v, i, pairs, cos, sin, sign, Whole());
    if (i < pairs) turn_halves(v, i, pairs, cos, sin, sign, Part{pairs - i});
    return;
  }
  for (; i + kLanes <= pairs; i += kLanes) {
    FloatVec a, b;
    load_pairs_of(v + 2 * i, a, b);
    turn(a, b, hn::LoadU(d, cos + i), hn::Mul(hn::LoadU(d, sin + i), sign));
    store_pairs_of(a, b, v + 2 * i);
  }
  if (i < pairs) {
    T buffer[2 * kLanes] = {};
    std::copy(v + 2 * i, v + 2 * pairs, buffer);
    FloatVec a, b;
    load_pairs_of(buffer, a, b);
    turn(a, b, load_n(cos + i, pairs - i), hn::Mul(load_n(sin + i, pairs - i), sign));
    store_pairs_of(a, b, buffer);
    std::copy(buffer, buffer + 2 * (pairs - i), v + 2 * i);
  }
}

template <class T>
void turn_rows(const Exec& exec, View x, View cos, View sin, RotaryStyle style, bool inverse) {
  const int64_t pairs = cos.dims[1];
  exec.pool->parallel_for(x.dims[0], row_grain(2 * pairs * x.dims[1], kLightElements),
                          [&](int64_t begin, int64_t end, int) HWY_ATTR {
                            const FloatVec sign = hn::Set(FloatTag(), inverse ? -1.0f : 1.0f);
                            for (int64_t t = begin; t < end; ++t) {
                              const float *c = cos.as<float>() + t * cos.strides[0], *s = sin.as<float>() + t * sin.strides[0];
                              T* v = x.as<T>() + t * x.strides[0];
                              for (int64_t head = 0; head < x.dims[1]; ++head, v += x.strides[1])
                                turn_row(v, pairs, c, s, style, sign);
                            }
                          });
}

void rotary(const Exec& exec, View x, View cos, View sin, RotaryStyle style, bool inverse) {
  if (!is_vector_dtype(x.dtype)) return reference_table().rotary(exec, x, cos, sin, style, inverse);
  if (x.dtype == DType::kFloat32) return turn_rows<float>(exec, x, cos, sin, style, inverse);
  turn_rows<BFloat16>(exec, x, cos, sin, style, inverse);
}

}  // namespace

void fill_rotary_entries(KernelTable& table) { table.rotary = {rotary, kTargetIsa}; }

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_rotary)
}  // namespace pagoda
#endif
