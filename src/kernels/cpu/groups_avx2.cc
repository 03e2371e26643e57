// Few rows of weights in groups of 4-bit codes by vpmaddubsw, and rows brought to their grid: machines from AVX2 up, without
// AVX-512-VNNI.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "hwy/base.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/products_finish.h"

#define PAGODA_BEGIN_AVX2 HWY_PUSH_ATTRIBUTES("avx2,fma,bmi,bmi2,f16c")
#define PAGODA_END_AVX2 HWY_POP_ATTRIBUTES

PAGODA_BEGIN_AVX2
#include "kernels/cpu/groups_nibbles-inl.h"

namespace pagoda {
namespace {

// x brought to integers of two digits, x = 256 * high + low; sizes are multiples of 16.
struct Digits {
  static HWY_INLINE __m256i widen(const BFloat16* x) {
    return _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))), 16);
  }
  static HWY_INLINE __m128i halves_added(__m256i v) {
    return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
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
  // Of every 8 inputs the high digits of 0 4 1 5 2 6 3 7, then the low ones. Returns the sum.
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
    __m128i four = halves_added(sum);
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
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

// Lines of 8 inputs whose products of bytes an int16 holds: 8 times 15 * 128 * 2.
constexpr int64_t kWordLines = 4;

HWY_INLINE __m256i four(const int8_t* digits) {
  int32_t bits;
  std::memcpy(&bits, digits, sizeof bits);
  return _mm256_set1_epi32(bits);
}

HWY_INLINE __m256 load_halves(const uint8_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// kRows rows of kPanels panels, to to[kRows][stride]. A line of codes is two registers of 8 outputs.
template <int kRows, int kPanels>
void word_block(const NibbleProduct& p, int64_t panel, int64_t row, float* to, int64_t stride) {
  constexpr int kWide = 2 * kPanels;
  const int64_t size = p.w.groups.size, all = p.w.k / size, lines = size / 8, digits_stride = p.w.k * 2;
  const int64_t panel_bytes = groups::panel_bytes(p.w);
  const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1), high_place = _mm256_set1_epi16(256);
  const bool halves = p.w.groups.scale == GroupScale::kHalf;
  const uint8_t* half = groups::scales_of(p.w, panel);
  alignas(64) float scales[kPanels][kNibbleCut * 16], minimum[kPanels][kNibbleCut * 16];
  __m256 acc[kRows][kWide];
  HWY_UNROLL(16)
  for (int i = 0; i < kRows * kWide; ++i) acc[i / kWide][i % kWide] = _mm256_setzero_ps();
  PanelsAhead<kPanels> ahead(p.w, panel);
  const uint8_t* codes = groups::codes_of(p.w, panel);
  const int8_t* digits = p.x.digits + row * digits_stride;
  for (int64_t begin = 0; begin < all; begin += kNibbleCut) {
    const int64_t count = std::min(kNibbleCut, all - begin);
    for (int q = 0; q < kPanels && !halves; ++q) {
      p.expand(p.w, groups::scales_of(p.w, panel + q), begin, count, scales[q], minimum[q]);
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t g = row * all + begin + i;
      __m256i sums[kRows][kWide];
      HWY_UNROLL(4)
      for (int r = 0; r < kRows; ++r) {
        HWY_UNROLL(8)
        for (int v = 0; v < kWide; ++v) sums[r][v] = _mm256_set1_epi32(p.x.starts[g + r * all]);
      }
      for (int64_t line = 0; line < lines;) {
        __m256i high[kRows][kWide], low[kRows][kWide];
        HWY_UNROLL(16)
        for (int j = 0; j < kRows * kWide; ++j) {
          high[j / kWide][j % kWide] = _mm256_setzero_si256();
          low[j / kWide][j % kWide] = _mm256_setzero_si256();
        }
        for (const int64_t end = std::min(lines, line + kWordLines); line < end; ++line, codes += 64, digits += 16) {
          ahead.line();
          HWY_UNROLL(4)
          for (int r = 0; r < kRows; ++r) {
            const int8_t* from = digits + r * digits_stride;
            const __m256i x[4] = {four(from), four(from + 4), four(from + 8), four(from + 12)};
            HWY_UNROLL(8)
            for (int v = 0; v < kWide; ++v) {
              const auto* at = reinterpret_cast<const __m256i*>(codes + (v / 2) * panel_bytes + (v % 2) * 32);
              const __m256i both = _mm256_load_si256(at), first = _mm256_and_si256(both, mask);
              const __m256i second = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
              high[r][v] = _mm256_add_epi16(high[r][v], _mm256_maddubs_epi16(first, x[0]));
              low[r][v] = _mm256_add_epi16(low[r][v], _mm256_maddubs_epi16(first, x[2]));
              high[r][v] = _mm256_add_epi16(high[r][v], _mm256_maddubs_epi16(second, x[1]));
              low[r][v] = _mm256_add_epi16(low[r][v], _mm256_maddubs_epi16(second, x[3]));
            }
          }
        }
        HWY_UNROLL(16)
        for (int j = 0; j < kRows * kWide; ++j) {
          const int r = j / kWide, v = j % kWide;
          sums[r][v] = _mm256_add_epi32(sums[r][v], _mm256_madd_epi16(low[r][v], ones));
          sums[r][v] = _mm256_add_epi32(sums[r][v], _mm256_madd_epi16(high[r][v], high_place));
        }
      }
      ahead.until(begin + i + 1, all);
      HWY_UNROLL(4)
      for (int r = 0; r < kRows; ++r) {
        const __m256 unit = _mm256_set1_ps(p.x.units[g + r * all]);
        HWY_UNROLL(8)
        for (int v = 0; v < kWide; ++v) {
          const int64_t at = i * 16 + v % 2 * 8;
          const __m256 scale =
              halves ? load_halves(half + (v / 2) * panel_bytes + (begin * 16 + at) * 2) : _mm256_load_ps(scales[v / 2] + at);
          acc[r][v] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[r][v]), unit), scale, acc[r][v]);
          if (p.x.sums == nullptr) continue;
          acc[r][v] = _mm256_fmadd_ps(_mm256_set1_ps(p.x.sums[g + r * all]), _mm256_load_ps(minimum[v / 2] + at), acc[r][v]);
        }
      }
    }
  }
  HWY_UNROLL(16)
  for (int i = 0; i < kRows * kWide; ++i) {
    const int v = i % kWide;
    _mm256_store_ps(to + i / kWide * stride + v / 2 * 16 + v % 2 * 8, acc[i / kWide][v]);
  }
}

struct WordBlocks {
  static constexpr int kWidest = 2;
  // All rows of kPanels panels, or of one, to acc[rows][kPanels * 16].
  template <int kPanels>
  static void run(const NibbleProduct& p, int64_t panel, int64_t rows, float* acc) {
    constexpr int64_t kStride = kPanels * products::kPanel;
    int64_t row = 0;
    for (; row + 2 <= rows; row += 2) {
      for (int64_t q = 0; q < kPanels; ++q) word_block<2, 1>(p, panel + q, row, acc + row * kStride + q * 16, kStride);
    }
    if (row < rows) word_block<1, kPanels>(p, panel, row, acc + row * kStride, kStride);
  }
};

struct NoFlush {
  NoFlush() {}
};

template <products::EpilogueFn (*kFinish)(), groups::ExpandFn (*kExpand)()>
void run(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y) {
  run_nibbles<Digits, WordBlocks, NoFlush>(products::FinishByCall(kFinish(), epilogue, y), kExpand(), exec, x, w);
}

}  // namespace
}  // namespace pagoda
PAGODA_END_AVX2

namespace pagoda {

groups::Nibbles groups::nibbles_avx2() { return {run<products::epilogue_avx2, groups::expand_avx2>, on_grid<Digits>}; }
groups::Nibbles groups::nibbles_avx512() { return {run<products::epilogue_avx512, groups::expand_avx512>, on_grid<Digits>}; }

}  // namespace pagoda

#endif
