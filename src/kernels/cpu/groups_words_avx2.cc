// Products of rows in bfloat16 on weights in groups by vpmaddwd: twice the products an instruction that floats would have.
//
// x comes as 16-bit integers on its grid (groups.h), codes as 16-bit integers too: up to four rows of 8-bit codes straight from
// their bytes, all else through a buffer of pairs that the rows share. A group's sum is an exact int32, so that one row gives
// the same bits alone and in any batch, and what products of bytes (groups_avx2.cc) give.
#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "hwy/base.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/read_ahead.h"

HWY_PUSH_ATTRIBUTES("avx2,fma,bmi,bmi2,f16c")
#include "kernels/cpu/grid_avx2-inl.h"

namespace pagoda {
namespace {

using groups::Block;
using groups::BlockFn;
using groups::kPanel;

constexpr int kVectors = 2;  // of a panel
constexpr int kSums = 12;    // of sixteen registers
constexpr int kMaxRows = kSums / kVectors;
constexpr int kDirectRows = 4;
constexpr int64_t kDirectAhead = 2048;  // bytes of a panel

template <bool kEvenOdd>
void take_grid(const View& x, const GroupCoding& coding, int64_t row, const groups::GridRows& to) {
  const int64_t k = x.dims[1], size = coding.size, all = k / size;
  const BFloat16* from = products::row<BFloat16>(x, row);
  int16_t* values = to.values + row * k;
  for (int64_t g = row * all; g < (row + 1) * all; ++g, from += size, values += size) {
    const groups::Grid grid(Digits::largest(from, size), coding);
    int32_t sum = 0;
    if (grid.empty || !grid.finite) {
      std::fill_n(values, size, int16_t{0});
    } else {
      sum = Digits::words<kEvenOdd>(from, size, grid.magic, values);
    }
    to.units[g] = grid.unit;
    if (to.sums != nullptr) to.sums[g] = static_cast<float>(sum) * grid.unit;
  }
}

HWY_INLINE void put(int16_t* to, __m256i words) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), words); }
HWY_INLINE __m256i load(const void* from) { return _mm256_load_si256(static_cast<const __m256i*>(from)); }

// The 16-bit pairs of a line of 64 bytes: of 8-bit codes inputs 0 and 2, then 1 and 3; of 4-bit codes 0 and 1, 2 and 3, 4 and
// 5, 6 and 7. To to[inputs / 2][16][2].
void decode(const GroupCoding& coding, const uint8_t* codes, int64_t inputs, int64_t ahead, void* to) {
  auto* words = static_cast<int16_t*>(to);
  const __m256i mask = _mm256_set1_epi16(15), offset = _mm256_set1_epi16(static_cast<int16_t>(coding.offset));
  const int64_t in_line = 32 / coding.bits;
  for (int64_t k = 0; k < inputs; k += in_line, codes += 64, words += in_line * kPanel) {
    read_ahead(codes, ahead);
    HWY_UNROLL(2)
    for (int v = 0; v < kVectors; ++v) {
      const __m256i line = load(codes + 32 * v);
      int16_t* at = words + 16 * v;
      if (coding.bits == 8) {
        put(at, _mm256_srai_epi16(_mm256_slli_epi16(line, 8), 8));
        put(at + 32, _mm256_srai_epi16(line, 8));
        continue;
      }
      put(at, _mm256_sub_epi16(_mm256_and_si256(line, mask), offset));
      put(at + 32, _mm256_sub_epi16(_mm256_and_si256(_mm256_srli_epi16(line, 4), mask), offset));
      put(at + 64, _mm256_sub_epi16(_mm256_and_si256(_mm256_srli_epi16(line, 8), mask), offset));
      put(at + 96, _mm256_sub_epi16(_mm256_srli_epi16(line, 12), offset));
    }
  }
}

// Two inputs for every output, and acc += products of pairs. No intrinsics: GCC 12 takes the inputs of all rows first and then
// has no registers left for the sums. The order of volatile statements is kept.
HWY_INLINE __m256i pair(const int16_t* x) {
  using Word = int32_t __attribute__((may_alias, aligned(2)));
  __m256i inputs;
  __asm__ volatile("vpbroadcastd %1, %0" : "=x"(inputs) : "m"(*reinterpret_cast<const Word*>(x)));
  return inputs;
}
HWY_INLINE void add_products(__m256i& acc, __m256i inputs, __m256i weights) {
  __m256i products;
  __asm__ volatile("vpmaddwd %2, %3, %1\n\tvpaddd %1, %0, %0" : "+x"(acc), "=&x"(products) : "x"(weights), "x"(inputs));
}

// acc += sums * unit * scale + (sum of x) * minimum, for group g of the block.
template <int Rows, int Panels, bool kHalves, bool kMinima>
HWY_INLINE void add_scaled(const Block& b, int64_t g, const __m256i (&sums)[Rows][Panels * kVectors]) {
  const float *units = b.units + g, *x_sums = b.sums + (kMinima ? g : 0);
  const float *scales = b.scales + g * kPanel, *minima = b.minima + (kMinima ? g * kPanel : 0);
  const uint8_t* halves = b.halves + (kHalves ? g * kPanel * 2 : 0);
  const int64_t rows = b.sums_stride, acc_stride = b.acc_stride, scale_stride = b.scale_stride, panel_stride = b.panel_stride;
  float* acc = b.acc;
  HWY_UNROLL(8)
  for (int v = 0; v < Panels * kVectors; ++v) {
    const int64_t panel = v / kVectors, lane = v % kVectors * 8;
    const __m256 scale =
        kHalves ? load_halves(halves + panel * panel_stride + lane * 2) : _mm256_load_ps(scales + panel * scale_stride + lane);
    HWY_UNROLL(6)
    for (int r = 0; r < Rows; ++r) {
      float* to = acc + r * acc_stride + v * 8;
      const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[r][v]), _mm256_set1_ps(units[r * rows]));
      __m256 sum = _mm256_fmadd_ps(scaled, scale, _mm256_load_ps(to));
      if constexpr (kMinima) {
        sum = _mm256_fmadd_ps(_mm256_set1_ps(x_sums[r * rows]), _mm256_load_ps(minima + panel * scale_stride + lane), sum);
      }
      _mm256_store_ps(to, sum);
    }
  }
}
template <int Rows, int Panels, bool kHalves>
HWY_INLINE void add_group(const Block& b, int64_t g, const __m256i (&sums)[Rows][Panels * kVectors]) {
  b.minima == nullptr ? add_scaled<Rows, Panels, kHalves, false>(b, g, sums)
                      : add_scaled<Rows, Panels, kHalves, true>(b, g, sums);
}

template <int Rows, int Panels>
HWY_INLINE void begin_sums(const Block& b) {
  if (!b.first) return;
  for (int r = 0; r < Rows; ++r) std::fill_n(b.acc + r * b.acc_stride, Panels * kPanel, 0.0f);
}

template <int Rows, int Panels>
void run_block(const Block& b) {
  constexpr int kWide = Panels * kVectors;
  const auto *x = static_cast<const int16_t*>(b.x), *w = static_cast<const int16_t*>(b.w);
  const int64_t x_stride = b.x_stride;
  begin_sums<Rows, Panels>(b);
  const int64_t lines = (b.ahead_lines + b.count - 1) / b.count;  // a group
  int64_t line = 0;
  for (int64_t g = 0; g < b.count; ++g) {
    for (const int64_t end = std::min(b.ahead_lines, line + lines); line < end; ++line) read_ahead(b.ahead, line * 64);
    __m256i sums[Rows][kWide];
    HWY_UNROLL(12)
    for (int i = 0; i < Rows * kWide; ++i) sums[i / kWide][i % kWide] = _mm256_setzero_si256();
    for (int64_t k = 0; k < b.size; k += 2, x += 2, w += 2 * kPanel) {
      __m256i weights[kWide];
      HWY_UNROLL(8)
      for (int v = 0; v < kWide; ++v) weights[v] = load(w + (v / kVectors) * b.panel_stride + (v % kVectors) * 16);
      HWY_UNROLL(6)
      for (int r = 0; r < Rows; ++r) {
        const __m256i inputs = pair(x + r * x_stride);
        HWY_UNROLL(8)
        for (int v = 0; v < kWide; ++v) {
          add_products(sums[r][v], inputs, weights[v]);
        }
      }
    }
    add_group<Rows, Panels, false>(b, g, sums);
  }
}

// The same from 8-bit codes as they are packed.
template <int Rows, int Panels>
void run_direct(const Block& b) {
  constexpr int kWide = Panels * kVectors;
  const auto* x = static_cast<const int16_t*>(b.x);
  const auto* codes = static_cast<const uint8_t*>(b.w);
  int64_t ahead = kDirectAhead, left = b.left - kDirectAhead;
  begin_sums<Rows, Panels>(b);
  for (int64_t g = 0; g < b.count; ++g) {
    __m256i sums[Rows][kWide];
    HWY_UNROLL(12)
    for (int i = 0; i < Rows * kWide; ++i) sums[i / kWide][i % kWide] = _mm256_setzero_si256();
    for (int64_t k = 0; k < b.size; k += 4, x += 4, codes += 64, left -= 64) {
      if (left <= 0) ahead = kDirectAhead + (Panels - 1) * b.panel_stride;  // the panels that come after these
      HWY_UNROLL(8)
      for (int v = 0; v < kWide; ++v) {
        const uint8_t* at = codes + (v / kVectors) * b.panel_stride + (v % kVectors) * 32;
        if (v % kVectors == 0) read_ahead(at, ahead);
        const __m256i line = load(at);
        const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(line, 8), 8), odd = _mm256_srai_epi16(line, 8);
        HWY_UNROLL(4)
        for (int r = 0; r < Rows; ++r) {
          const int16_t* from = x + r * b.x_stride;
          add_products(sums[r][v], pair(from), even);
          add_products(sums[r][v], pair(from + 2), odd);
        }
      }
    }
    b.halves != nullptr ? add_group<Rows, Panels, true>(b, g, sums) : add_group<Rows, Panels, false>(b, g, sums);
  }
}

template <bool kDirect, int Rows, int Panels>
constexpr BlockFn block_if_it_fits() {
  if constexpr (Rows * Panels * kVectors > kSums) {
    return nullptr;
  } else if constexpr (kDirect) {
    return run_direct<Rows, Panels>;
  } else {
    return run_block<Rows, Panels>;
  }
}
template <bool kDirect, int... kRows>
struct BlockTable {
  static constexpr BlockFn kBlocks[sizeof...(kRows)][3] = {{block_if_it_fits<kDirect, kRows + 1, 1>(),
                                                            block_if_it_fits<kDirect, kRows + 1, 2>(),
                                                            block_if_it_fits<kDirect, kRows + 1, 4>()}...};
};
template <bool kDirect, int... kRows>
constexpr auto& blocks_of(std::integer_sequence<int, kRows...>) {
  return BlockTable<kDirect, kRows...>::kBlocks;
}

}  // namespace
}  // namespace pagoda
HWY_POP_ATTRIBUTES

namespace pagoda {

void groups::run_words_avx2(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y) {
  Family family = {};
  family.max_rows = kMaxRows;
  family.blocks = blocks_of<false>(std::make_integer_sequence<int, kMaxRows>());
  family.decode = decode;
  family.element_bytes = 2;
  family.expand = expand_avx2();
  family.finish = products::epilogue_avx2();
  family.take_grid = w.groups.bits == 8 ? take_grid<true> : take_grid<false>;
  if (w.groups.bits == 8) {
    family.direct_rows = kDirectRows;
    family.direct = blocks_of<true>(std::make_integer_sequence<int, kDirectRows>());
  }
  run_groups(family, exec, x, w, epilogue, y);
}

}  // namespace pagoda

#endif
