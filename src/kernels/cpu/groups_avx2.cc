// Few rows of weights in groups of 4-bit codes by vpmaddubsw, and rows brought to their grid: machines from AVX2 up, without
// AVX-512-VNNI.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "hwy/base.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/products_finish.h"
#include "kernels/cpu/read_ahead.h"

#define PAGODA_BEGIN_AVX2 HWY_PUSH_ATTRIBUTES("avx2,fma,bmi,bmi2,f16c")
#define PAGODA_END_AVX2 HWY_POP_ATTRIBUTES

PAGODA_BEGIN_AVX2
#include "kernels/cpu/grid_avx2-inl.h"
#include "kernels/cpu/groups_nibbles-inl.h"

namespace pagoda {
namespace {

// Lines of 8 inputs whose products of bytes an int16 holds: 8 times 15 * 128 * 2.
constexpr int64_t kWordLines = 4;

HWY_INLINE __m256i four(const int8_t* digits) {
  int32_t bits;
  std::memcpy(&bits, digits, sizeof bits);
  return _mm256_set1_epi32(bits);
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

void groups::run_nibbles_avx2(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y) {
  run<products::epilogue_avx2, groups::expand_avx2>(exec, x, w, epilogue, y);
}
groups::Nibbles groups::nibbles_avx512() { return {run<products::epilogue_avx512, groups::expand_avx512>, on_grid<Digits>}; }

}  // namespace pagoda

#endif
