// Codes of 4 bits by the byte dot-product instruction, under the names of instructions_standin.h. Code that calls these must be
// compiled between PAGODA_BEGIN_VNNI and PAGODA_END_VNNI.
#pragma once

#include <cstring>

#include "kernels/cpu/instructions_int8.h"

PAGODA_BEGIN_VNNI
namespace pagoda::native {

// Codes of 4 bits times x as integers of two digits, x = 256 * high + low, exactly; and x brought to such integers.
struct NibbleDot : Dot {
  using Ints = __m512i;
  static HWY_INLINE Ints zero_ints() { return _mm512_setzero_si512(); }
  static HWY_INLINE Ints broadcast_int(int32_t value) { return _mm512_set1_epi32(value); }
  static HWY_INLINE Ints low_nibbles(const uint8_t* codes) {
    return _mm512_and_si512(_mm512_load_si512(codes), _mm512_set1_epi8(15));
  }
  static HWY_INLINE Ints high_nibbles(const uint8_t* codes) {
    return _mm512_and_si512(_mm512_maskz_srli_epi16(~0u, _mm512_load_si512(codes), 4), _mm512_set1_epi8(15));
  }
  static HWY_INLINE Ints four(const int8_t* digits) {
    int32_t bits;
    std::memcpy(&bits, digits, sizeof bits);
    return broadcast_int(bits);
  }
  static HWY_INLINE Ints dot(Ints acc, Ints codes, Ints x) { return dot_bytes(acc, codes, x); }
  static HWY_INLINE Floats to_float(Ints high, Ints low) {
    return _mm512_maskz_cvtepi32_ps(0xFFFF, _mm512_add_epi32(_mm512_maskz_slli_epi32(0xFFFF, high, 8), low));
  }
  static HWY_INLINE Floats load_halves(const uint8_t* from) {
    return _mm512_maskz_cvtph_ps(0xFFFF, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static HWY_INLINE Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }

  static HWY_INLINE Ints widen(const BFloat16* x) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    return _mm512_maskz_slli_epi32(0xFFFF, _mm512_maskz_cvtepu16_epi32(0xFFFF, halves), 16);
  }
  // The largest magnitude's bits; size is a multiple of 16, as below.
  static HWY_INLINE uint32_t largest(const BFloat16* x, int64_t size) {
    Ints most = zero_ints();
    for (int64_t i = 0; i < size; i += 16) {
      most = _mm512_maskz_max_epi32(0xFFFF, most, _mm512_and_si512(widen(x + i), _mm512_set1_epi32(0x7FFFFFFF)));
    }
    const __m256i half = _mm256_max_epi32(lower_half(most), upper_half(most));
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1)))) >> 16;
  }
  static HWY_INLINE __m512 shifted(const BFloat16* x, float magic) {
    return _mm512_add_ps(_mm512_castsi512_ps(widen(x)), _mm512_set1_ps(magic));
  }
  // Of every 8 inputs the high digits of 0 4 1 5 2 6 3 7, then the low ones. Returns the sum.
  static HWY_INLINE int32_t digits(const BFloat16* x, int64_t size, float magic, int8_t* to) {
    const Ints order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    const Ints begin = _mm512_castps_si512(_mm512_set1_ps(magic)), rounding = _mm512_set1_epi32(128);
    Ints sum = zero_ints();
    for (int64_t i = 0; i < size; i += 16) {
      Ints v = _mm512_sub_epi32(_mm512_castps_si512(shifted(x + i, magic)), begin);
      sum = _mm512_add_epi32(sum, v);
      v = _mm512_maskz_permutexvar_epi32(0xFFFF, order, v);
      const __m128i low = _mm512_maskz_cvtepi32_epi8(0xFFFF, v);
      const __m128i high =
          _mm512_maskz_cvtepi32_epi8(0xFFFF, _mm512_maskz_srai_epi32(0xFFFF, _mm512_add_epi32(v, rounding), 8));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * i), _mm_unpacklo_epi64(high, low));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * i + 16), _mm_unpackhi_epi64(high, low));
    }
    const __m256i half = _mm256_add_epi32(lower_half(sum), upper_half(sum));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
  }
  static HWY_INLINE void round(const BFloat16* x, int64_t size, float magic, BFloat16* to) {
    for (int64_t i = 0; i < size; i += 16) {
      const __m512 v = _mm512_sub_ps(shifted(x + i, magic), _mm512_set1_ps(magic));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                          _mm512_maskz_cvtepi32_epi16(0xFFFF, _mm512_maskz_srli_epi32(0xFFFF, _mm512_castps_si512(v), 16)));
    }
  }

 private:
  // Masked forms, as above: GCC 12 warns of its own header's others.
  static HWY_INLINE __m256i lower_half(__m512i v) { return _mm512_maskz_extracti32x8_epi32(0xFF, v, 0); }
  static HWY_INLINE __m256i upper_half(__m512i v) { return _mm512_maskz_extracti32x8_epi32(0xFF, v, 1); }
};

}  // namespace pagoda::native
PAGODA_END_VNNI
