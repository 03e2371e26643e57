// Rows in bfloat16 brought to a grid of integers (groups.h) by AVX2. Included by its sources inside their region of instruction
// sets, hence no include guard and everything in an unnamed namespace.

namespace pagoda {
namespace {

// Sizes are multiples of 16.
struct Digits {
  static HWY_INLINE __m256i widen(const BFloat16* x) {
    return _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))), 16);
  }
  static HWY_INLINE int32_t total(__m256i v) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
  }
  // The largest magnitude's bits.
  static uint32_t largest(const BFloat16* x, int64_t size) {
    __m256i most = _mm256_setzero_si256();
    for (int64_t i = 0; i < size; i += 16) {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i));
      most = _mm256_max_epu16(most, _mm256_and_si256(bits, _mm256_set1_epi16(0x7FFF)));
    }
    const __m128i eight = _mm_max_epu16(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    // The instruction finds a smallest.
    const __m128i least = _mm_minpos_epu16(_mm_sub_epi16(_mm_set1_epi16(0x7FFF), eight));
    return 0x7FFF - static_cast<uint32_t>(_mm_extract_epi16(least, 0));
  }
  static HWY_INLINE __m256 shifted(const BFloat16* x, float magic) {
    return _mm256_add_ps(_mm256_castsi256_ps(widen(x)), _mm256_set1_ps(magic));
  }
  // The lowest byte of each of eight integers.
  static HWY_INLINE __m128i bytes(__m256i v) {
    const __m256i lowest = _mm256_set1_epi32(0x0C080400);
    const __m256i four = _mm256_shuffle_epi8(v, lowest);
    return _mm_unpacklo_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
  }
  // Two digits of each, x = 256 * high + low: of every 8 inputs the high ones of 0 4 1 5 2 6 3 7, then the low ones. Returns
  // the sum.
  static int32_t digits(const BFloat16* x, int64_t size, float magic, int8_t* to) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i begin = _mm256_castps_si256(_mm256_set1_ps(magic)), rounding = _mm256_set1_epi32(128);
    __m256i sum = _mm256_setzero_si256();
    for (int64_t i = 0; i < size; i += 8) {
      __m256i v = _mm256_sub_epi32(_mm256_castps_si256(shifted(x + i, magic)), begin);
      sum = _mm256_add_epi32(sum, v);
      v = _mm256_permutevar8x32_epi32(v, order);
      const __m128i high = bytes(_mm256_srai_epi32(_mm256_add_epi32(v, rounding), 8));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * i), _mm_unpacklo_epi64(high, bytes(v)));
    }
    return total(sum);
  }
  // As 16 bits: every four inputs in the order 0 2 1 3 where kEvenOdd. Returns the sum.
  template <bool kEvenOdd>
  static int32_t words(const BFloat16* x, int64_t size, float magic, int16_t* to) {
    const __m256i begin = _mm256_castps_si256(_mm256_set1_ps(magic));
    const __m256i even_odd = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15, 0, 1, 4, 5, 2, 3, 6, 7, 8,
                                              9, 12, 13, 10, 11, 14, 15);
    __m256i sum = _mm256_setzero_si256();
    for (int64_t i = 0; i < size; i += 16) {
      const __m256i first = _mm256_sub_epi32(_mm256_castps_si256(shifted(x + i, magic)), begin);
      const __m256i second = _mm256_sub_epi32(_mm256_castps_si256(shifted(x + i + 8, magic)), begin);
      sum = _mm256_add_epi32(sum, _mm256_add_epi32(first, second));
      __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), 0xD8);
      if constexpr (kEvenOdd) words = _mm256_shuffle_epi8(words, even_odd);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), words);
    }
    return total(sum);
  }
  // Eight inputs on the grid, as bfloat16 in the low halves.
  static HWY_INLINE __m256i rounded(const BFloat16* x, float magic) {
    return _mm256_srli_epi32(_mm256_castps_si256(_mm256_sub_ps(shifted(x, magic), _mm256_set1_ps(magic))), 16);
  }
  static void round(const BFloat16* x, int64_t size, float magic, BFloat16* to) {
    for (int64_t i = 0; i < size; i += 16) {
      const __m256i halves = _mm256_packus_epi32(rounded(x + i, magic), rounded(x + i + 8, magic));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm256_permute4x64_epi64(halves, 0xD8));
    }
  }
};

HWY_INLINE __m256 load_halves(const uint8_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

}  // namespace
}  // namespace pagoda
