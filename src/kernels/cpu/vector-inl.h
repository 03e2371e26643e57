// What the row kernels share: float32 vectors over float32 or bfloat16 rows, whole and at a row's end. Included once a target.

#if defined(PAGODA_KERNELS_CPU_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_KERNELS_CPU_VECTOR_INL_H_
#undef PAGODA_KERNELS_CPU_VECTOR_INL_H_
#else
#define PAGODA_KERNELS_CPU_VECTOR_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/table.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

// At most 16 lanes, so that the tokens of a page are a whole number of vectors on every target.
using FloatTag = hn::CappedTag<float, 16>;
using FloatVec = hn::Vec<FloatTag>;
constexpr int64_t kLanes = HWY_LANES(float) < 16 ? HWY_LANES(float) : 16;

#if HWY_TARGET == HWY_AVX3
constexpr Isa kTargetIsa = Isa::kAvx512;
#elif HWY_TARGET == HWY_AVX2
constexpr Isa kTargetIsa = Isa::kAvx2;
#else
constexpr Isa kTargetIsa = Isa::kPortable;
#endif

template <class T>
HWY_INLINE FloatVec load(const T* from) {
  return load_float(FloatTag(), from);
}
template <class T>
HWY_INLINE void store(FloatVec v, T* to) {
  store_rounded(FloatTag(), v, to);
}

// The first n < kLanes elements; the other lanes are 0. Through memory: masked loads may fault on some targets.
template <class T>
HWY_INLINE FloatVec load_n(const T* from, int64_t n) {
  T buffer[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) buffer[i] = from[i];
  return load(buffer);
}
template <class T>
HWY_INLINE void store_n(FloatVec v, T* to, int64_t n) {
  T buffer[kLanes];
  store(v, buffer);
  for (int64_t i = 0; i < n; ++i) to[i] = buffer[i];
}

// How a loop body reaches kLanes elements, or the n left at a row's end.
struct Whole {
  template <class T>
  HWY_INLINE FloatVec get(const T* from) const {
    return load(from);
  }
  template <class T>
  HWY_INLINE void put(FloatVec v, T* to) const {
    store(v, to);
  }
};
struct Part {
  int64_t n;
  template <class T>
  HWY_INLINE FloatVec get(const T* from) const {
    return load_n(from, n);
  }
  template <class T>
  HWY_INLINE void put(FloatVec v, T* to) const {
    store_n(v, to, n);
  }
};

// Calls fn with a value of the (float32 or bfloat16) element type.
template <class Fn>
HWY_INLINE void with_dtype(DType dtype, const Fn& fn) {
  if (dtype == DType::kFloat32) return fn(float());
  fn(BFloat16());
}

// The rounding that an element of type T would suffer in memory.
HWY_INLINE FloatVec round_to(FloatVec v, const float* /*type*/) { return v; }
HWY_INLINE FloatVec round_to(FloatVec v, const BFloat16* /*type*/) {
  BFloat16 buffer[kLanes];
  store(v, buffer);
  return load(buffer);
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // PAGODA_KERNELS_CPU_VECTOR_INL_H_
