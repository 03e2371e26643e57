// The int8 dot-product and tile instructions under the names that the blocks for bfloat16 call: four bytes stand where a pair
// of bfloat16 does, and sums are int32 in the same registers' bits. Code that calls these must be compiled between
// PAGODA_BEGIN_INT8 and PAGODA_END_INT8.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "hwy/base.h"
#include "kernels/cpu/instructions_amx.h"

#define PAGODA_BEGIN_VNNI HWY_PUSH_ATTRIBUTES("avx2,fma,bmi,bmi2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni")
#define PAGODA_END_VNNI HWY_POP_ATTRIBUTES
#define PAGODA_BEGIN_TILES_INT8 \
  HWY_PUSH_ATTRIBUTES(          \
      "avx2,fma,bmi,bmi2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx512vnni,amx-tile,amx-bf16,amx-int8")
#define PAGODA_END_TILES_INT8 HWY_POP_ATTRIBUTES

PAGODA_BEGIN_VNNI
namespace pagoda::native {

// acc += four products of an unsigned and a signed byte each; nothing saturates. No intrinsic: GCC 12 copies its accumulators
// from register to register, which costs as much as the products.
HWY_INLINE __m512i dot_bytes(__m512i acc, __m512i unsigned_bytes, __m512i signed_bytes) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(unsigned_bytes), "v"(signed_bytes));
  return acc;
}

struct ByteDot {
  using Floats = __m512i;
  using Pairs = __m512i;
  static HWY_INLINE Floats zero() { return _mm512_setzero_si512(); }
  static HWY_INLINE Floats load(const float* from) { return _mm512_loadu_si512(from); }
  static HWY_INLINE void store(Floats v, float* to) { _mm512_storeu_si512(to, v); }
  static HWY_INLINE Pairs load_pairs(const void* from) { return _mm512_load_si512(from); }
  static HWY_INLINE Pairs broadcast(uint32_t four) { return _mm512_set1_epi32(static_cast<int>(four)); }
  // x unsigned, weights signed.
  static HWY_INLINE Floats dot(Floats acc, Pairs x, Pairs w) { return dot_bytes(acc, x, w); }
};

}  // namespace pagoda::native
PAGODA_END_VNNI

PAGODA_BEGIN_TILES_INT8
namespace pagoda::native {

struct ByteTiles : Tiles {
  template <int kC, int kA, int kB>
  HWY_INLINE void dot() {
    constexpr int kCase = kC * 100 + kA * 10 + kB;
#define PAGODA_CASE(c, a, b) \
  if constexpr (kCase == c * 100 + a * 10 + b) _tile_dpbssd(c, a, b)
    PAGODA_CASE(0, 4, 6);
    PAGODA_CASE(1, 4, 7);
    PAGODA_CASE(2, 5, 6);
    PAGODA_CASE(3, 5, 7);
    PAGODA_CASE(0, 4, 5);
    PAGODA_CASE(1, 4, 6);
    PAGODA_CASE(2, 4, 7);
    PAGODA_CASE(3, 4, 5);
#undef PAGODA_CASE
    static_assert(kCase == 46 || kCase == 147 || kCase == 256 || kCase == 357 || kCase == 45 || kCase == 146 || kCase == 247 ||
                  kCase == 345);
  }
};

}  // namespace pagoda::native
PAGODA_END_TILES_INT8
