// The bf16 dot-product instruction under the names of instructions_standin.h. Code that calls these must be compiled between
// PAGODA_BEGIN_AVX512BF16 and PAGODA_END_AVX512BF16.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "hwy/base.h"

#define PAGODA_BEGIN_AVX512BF16 HWY_PUSH_ATTRIBUTES("avx2,fma,bmi,bmi2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#define PAGODA_END_AVX512BF16 HWY_POP_ATTRIBUTES

PAGODA_BEGIN_AVX512BF16
namespace pagoda::native {

struct Rounding {
  static constexpr bool kRounds = true;
  // a, then b, to bfloat16; subnormal numbers become 0.
  static HWY_INLINE void round_pair(__m512 a, __m512 b, void* to) {
    const __m512bh line = _mm512_cvtne2ps_pbh(b, a);
    _mm512_storeu_si512(to, reinterpret_cast<const __m512i&>(line));
  }
};

struct Dot : Rounding {
  using Floats = __m512;
  using Pairs = __m512i;
  static HWY_INLINE Floats zero() { return _mm512_setzero_ps(); }
  static HWY_INLINE Floats load(const float* from) { return _mm512_loadu_ps(from); }
  static HWY_INLINE void store(Floats v, float* to) { _mm512_storeu_ps(to, v); }
  static HWY_INLINE Pairs load_pairs(const void* from) { return _mm512_load_si512(from); }
  static HWY_INLINE Pairs broadcast(uint32_t pair) { return _mm512_set1_epi32(static_cast<int>(pair)); }
  static HWY_INLINE Floats dot(Floats acc, Pairs a, Pairs b) { return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b); }
};

}  // namespace pagoda::native
PAGODA_END_AVX512BF16
