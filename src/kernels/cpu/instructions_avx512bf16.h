// The bf16 dot-product instruction under the names of instructions_standin.h. Code that calls these must be compiled between
// PAGODA_BEGIN_AVX512BF16 and PAGODA_END_AVX512BF16.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "hwy/base.h"
#include "tensor/dtype.h"

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
  static HWY_INLINE void stream_pair(__m512 a, __m512 b, void* to) {  // 64-byte aligned
    const __m512bh line = _mm512_cvtne2ps_pbh(b, a);
    _mm512_stream_si512(static_cast<__m512i*>(to), reinterpret_cast<const __m512i&>(line));
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
  // a * b + c, rounded once.
  static HWY_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static HWY_INLINE Floats broadcast_float(float value) { return _mm512_set1_ps(value); }
  // The arithmetic of tiles, where subnormal numbers count as zero: within a FlushSubnormals.
  static HWY_INLINE Floats tile_multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static HWY_INLINE Floats tile_add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
};

// Subnormal inputs and results of vector instructions count as zero while this lives.
class FlushSubnormals {
 public:
  HWY_INLINE FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  HWY_INLINE ~FlushSubnormals() { _mm_setcsr(before_); }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  unsigned before_;
};

// Codes of a weight in groups (kernels/table.h, kGroups) as pairs of bfloat16, which hold any 8-bit integer exactly.
class PairDecoder {
 public:
  HWY_INLINE explicit PairDecoder(int offset) {
    alignas(64) uint16_t table[32];
    for (int i = 0; i < 32; ++i)
      table[i] = BFloat16(static_cast<float>(i % 16 - offset)).bits;  // the fifth bit is a neighbour's
    table_ = _mm512_load_si512(table);
    alignas(64) float floats[16];
    for (int i = 0; i < 16; ++i) floats[i] = static_cast<float>(i - offset);
    floats_ = _mm512_load_ps(floats);
  }
  using Words = __m512i;
  static HWY_INLINE Words load_words(const uint8_t* codes) { return _mm512_load_si512(codes); }
  // Nibble kAt, or byte kAt, of each 32-bit word as a float.
  template <int kAt>
  HWY_INLINE __m512 nibble(Words words) const {
    return _mm512_maskz_permutexvar_ps(0xFFFF, _mm512_maskz_srli_epi32(0xFFFF, words, 4 * kAt), floats_);
  }
  template <int kAt>
  HWY_INLINE __m512 byte(Words words) const {
    if constexpr (kAt < 3) words = _mm512_maskz_slli_epi32(0xFFFF, words, 24 - 8 * kAt);
    return _mm512_maskz_cvtepi32_ps(0xFFFF, _mm512_maskz_srai_epi32(0xFFFF, words, 24));
  }
  // 64 bytes: 8 inputs of 16 outputs into 4 rows of pairs.
  HWY_INLINE void nibbles(const uint8_t* codes, uint16_t* to) const {
    const __m512i words = _mm512_load_si512(codes);
    _mm512_store_si512(to, _mm512_permutexvar_epi16(words, table_));
    _mm512_store_si512(to + 32, _mm512_permutexvar_epi16(_mm512_srli_epi16(words, 4), table_));
    _mm512_store_si512(to + 64, _mm512_permutexvar_epi16(_mm512_srli_epi16(words, 8), table_));
    _mm512_store_si512(to + 96, _mm512_permutexvar_epi16(_mm512_srli_epi16(words, 12), table_));
  }
  // 64 bytes: 4 inputs of 16 outputs into 2 rows of pairs.
  HWY_INLINE void bytes(const uint8_t* codes, uint16_t* to) const {
    const __m512i words = _mm512_load_si512(codes);
    _mm512_store_si512(to, pair(_mm512_maskz_slli_epi32(0xFFFF, words, 24), _mm512_maskz_slli_epi32(0xFFFF, words, 16)));
    _mm512_store_si512(to + 32, pair(_mm512_maskz_slli_epi32(0xFFFF, words, 8), words));
  }

 private:
  // The uppermost bytes as floats, whose lower halves are zero.
  static HWY_INLINE __m512i upper(__m512i words) {
    return _mm512_castps_si512(_mm512_maskz_cvtepi32_ps(0xFFFF, _mm512_maskz_srai_epi32(0xFFFF, words, 24)));
  }
  static HWY_INLINE __m512i pair(__m512i even, __m512i odd) {
    return _mm512_or_si512(_mm512_maskz_srli_epi32(0xFFFF, upper(even), 16), upper(odd));
  }
  __m512i table_;
  __m512 floats_;
};

}  // namespace pagoda::native
PAGODA_END_AVX512BF16
