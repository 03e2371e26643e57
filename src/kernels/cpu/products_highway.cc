// Products on packed weights by fused multiply-add in float32: AVX2, AVX-512 and the portable target from one source.
//
// Every output is one chain of multiply-adds over the inputs in ascending order, whatever the block it falls in: so one row
// gives the same bits alone and in any batch, for both weight formats and both activation dtypes. bfloat16 weights and
// activations are widened, which is exact: this family rounds nothing but sums. On kBf16Pairs it is the one that takes float32
// activations on every machine; the bf16 instructions would round them first.
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/read_ahead.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/products_highway.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "kernels/cpu/products_epilogue-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace product {

using products::kPanel;

const hn::CappedTag<float, 16> kTag;
const hn::RebindToUnsigned<decltype(kTag)> kBits;
using Vec = hn::Vec<decltype(kTag)>;
constexpr int kLanes = HWY_LANES(float) < 16 ? HWY_LANES(float) : 16;
constexpr int kVectors = 16 / kLanes;  // of a panel

#if HWY_TARGET == HWY_AVX3
constexpr Isa kIsa = Isa::kAvx512;
constexpr const char* kName = "avx512";
constexpr int kRegisters = 32;
#elif HWY_TARGET == HWY_AVX2
constexpr Isa kIsa = Isa::kAvx2;
constexpr const char* kName = "avx2";
constexpr int kRegisters = 16;
#else
constexpr Isa kIsa = Isa::kPortable;
constexpr const char* kName = "portable";
constexpr int kRegisters = 16;
#endif

// Accumulators may take this many registers; the rest hold weights, a broadcast and a mask.
constexpr int kAccumulators = kRegisters * 3 / 4;
constexpr int kMaxRows = kVectors == 1 ? 12 : kAccumulators / kVectors;  // 12, 6 or 3
// Of a block on floats where a piece has many: 6 rows by 4 panels take fewer loads a multiply-add than 12 by 2.
constexpr int kManyRows = kVectors == 1 ? 6 : kMaxRows;
// On pairs both halves of the weights are alive beside the sums: with fewer registers free, compilers put sums into memory.
constexpr int kPairAccumulators = kRegisters == 32 ? 24 : 10;
constexpr int kPairRows = kVectors == 1 ? 12 : kPairAccumulators / kVectors;  // 12, 5 or 2
// Bytes read ahead of the multiply-adds, in the streams of all panels of a block together: enough to cover the latency of
// memory at its full rate.
constexpr int64_t kReadAhead = 4096;

using products::Block;
using products::BlockFn;

// One input's weights of a pair: the even input's bits are the low half.
template <bool kOdd>
HWY_INLINE Vec half(hn::Vec<decltype(kBits)> pairs) {
  if constexpr (kOdd) {
    return hn::BitCast(kTag, hn::And(pairs, hn::Set(kBits, 0xFFFF0000u)));
  } else {
    return hn::BitCast(kTag, hn::ShiftLeft<16>(pairs));
  }
}

// The multiply-adds of one input (kFloat32Panels) or of a pair of inputs (kBf16Pairs), for Rows rows and Panels panels.
template <int Rows, int Panels>
struct Step {
  static constexpr int kWide = Panels * kVectors;

  static HWY_INLINE void one(const float* x, int64_t x_stride, const Vec (&w)[kWide], Vec (&acc)[Rows][kWide]) {
    HWY_UNROLL(16)
    for (int r = 0; r < Rows; ++r) {
      const Vec value = hn::Set(kTag, x[r * x_stride]);
      HWY_UNROLL(16)
      for (int v = 0; v < kWide; ++v) acc[r][v] = hn::MulAdd(value, w[v], acc[r][v]);
    }
  }

  static HWY_INLINE void run(const float* x, int64_t x_stride, const float* w, int64_t panel_stride, Vec (&acc)[Rows][kWide]) {
    Vec weights[kWide];
    HWY_UNROLL(16)
    for (int v = 0; v < kWide; ++v) weights[v] = hn::Load(kTag, w + (v / kVectors) * panel_stride + (v % kVectors) * kLanes);
    one(x, x_stride, weights, acc);
  }

  template <bool kOdd>
  static HWY_INLINE void run_half(const float* x, int64_t x_stride, const uint32_t* w, int64_t panel_stride,
                                  Vec (&acc)[Rows][kWide]) {
    Vec weights[kWide];
    HWY_UNROLL(16)
    for (int v = 0; v < kWide; ++v) {
      weights[v] = half<kOdd>(hn::Load(kBits, w + (v / kVectors) * panel_stride + (v % kVectors) * kLanes));
    }
    one(x, x_stride, weights, acc);
  }
};

template <int Rows, int Panels, bool kPairs>
void run_block(const Block& b) {
  using S = Step<Rows, Panels>;
  Vec acc[Rows][S::kWide];
  HWY_UNROLL(16)
  for (int r = 0; r < Rows; ++r) {
    HWY_UNROLL(16)
    for (int v = 0; v < S::kWide; ++v) {
      acc[r][v] = b.first ? hn::Zero(kTag) : hn::LoadU(kTag, b.acc + r * b.acc_stride + v * kLanes);
    }
  }
  constexpr int64_t kStepBytes = 64;  // of a panel
  const int64_t steps = kPairs ? b.k / 2 : b.k;
  const float* x = static_cast<const float*>(b.x);
  const int64_t x_stride = b.x_stride;
  // In 32-bit units: a float, or a pair.
  const int64_t stride = kPairs ? b.panel_stride / 2 : b.panel_stride;
  const auto* w = static_cast<const typename std::conditional<kPairs, uint32_t, float>::type*>(b.w);
  const auto step = [&]() HWY_ATTR {
    if constexpr (kPairs) {
      S::template run_half<false>(x, x_stride, w, stride, acc);
      S::template run_half<true>(x + 1, x_stride, w, stride, acc);
      x += 2;
    } else {
      S::run(x, x_stride, w, stride, acc);
      x += 1;
    }
    w += kPanel;
  };
  constexpr int64_t kPrefetch = kReadAhead / Panels;
  int64_t i = 0;
  if (b.prefetch) {
    const int64_t main = std::max<int64_t>(0, steps - kPrefetch / kStepBytes);
    for (; i < main; ++i) {
      HWY_UNROLL(16)
      for (int p = 0; p < Panels; ++p) read_ahead(w + p * stride, kPrefetch);
      step();
    }
    // The end of these panels: read ahead into the panels that come next.
    const int64_t next = kPrefetch + (Panels - 1) * stride * 4;
    for (; i < steps; ++i) {
      HWY_UNROLL(16)
      for (int p = 0; p < Panels; ++p) read_ahead(w + p * stride, next);
      step();
    }
  } else {
    if constexpr (!kPairs) {
      const int64_t apart = b.ahead_lines > 0 ? steps / b.ahead_lines : 0;
      if (apart > 0) {
        const char* ahead = b.ahead;
        for (int64_t line = 0; line < b.ahead_lines; ++line, ahead += 64) {
          __builtin_prefetch(ahead, 0, 2);
          for (const int64_t end = i + apart; i < end; ++i) step();
        }
      }
    }
    for (; i < steps; ++i) step();
  }
  if constexpr (kPairs) {
    if (b.k % 2 != 0) S::template run_half<false>(x, x_stride, w, stride, acc);
  }
  HWY_UNROLL(16)
  for (int r = 0; r < Rows; ++r) {
    HWY_UNROLL(16)
    for (int v = 0; v < S::kWide; ++v) hn::StoreU(acc[r][v], kTag, b.acc + r * b.acc_stride + v * kLanes);
  }
}

// A block of Rows rows and Panels panels if its accumulators leave registers for weights, a broadcast and a mask.
template <int Rows, int Panels, bool kPairs>
constexpr BlockFn block_if_it_fits() {
  constexpr int kLimit = !kPairs ? kAccumulators : Panels == 4 && kRegisters == 32 ? 20 : kPairAccumulators;
  if constexpr (Rows * Panels * kVectors <= kLimit || Panels == 1) {
    return run_block<Rows, Panels, kPairs>;
  } else {
    return nullptr;
  }
}

template <bool kPairs, int... kRows>
struct BlockTable {
  static constexpr BlockFn kBlocks[sizeof...(kRows)][3] = {{block_if_it_fits<kRows + 1, 1, kPairs>(),
                                                            block_if_it_fits<kRows + 1, 2, kPairs>(),
                                                            block_if_it_fits<kRows + 1, 4, kPairs>()}...};
};
template <bool kPairs, int... kRows>
constexpr auto& blocks_of(std::integer_sequence<int, kRows...>) {
  return BlockTable<kPairs, kRows...>::kBlocks;
}

void widen(const View& x, int64_t m_begin, int64_t rows, int64_t k_begin, int64_t k, float* to) {
  for (int64_t r = 0; r < rows; ++r, to += k) {
    const BFloat16* from = products::row<BFloat16>(x, m_begin + r) + k_begin;
    int64_t i = 0;
    for (; i + kLanes <= k; i += kLanes) hn::StoreU(load_float(kTag, from + i), kTag, to + i);
    for (; i < k; ++i) to[i] = static_cast<float>(from[i]);
  }
}

void widen_panel(const void* pairs, int64_t k, float* to) {
  const auto* from = static_cast<const uint32_t*>(pairs);
  for (int64_t i = 0; i < k; i += 2, from += kPanel, to += 2 * kPanel) {  // panels are padded to whole pairs, and so is `to`
    for (int v = 0; v < kVectors; ++v) {
      const auto both = hn::Load(kBits, from + v * kLanes);
      hn::Store(half<false>(both), kTag, to + v * kLanes);
      hn::Store(half<true>(both), kTag, to + kPanel + v * kLanes);
    }
  }
}

products::BlockFamily family(bool pairs, bool widens) {
  const auto& floats = blocks_of<false>(std::make_integer_sequence<int, kMaxRows>());
  const products::TakeFn take = widens ? widen : nullptr;
  if (!pairs) return {kMaxRows, floats, take, finish, nullptr, nullptr, kManyRows};
  return {kPairRows, blocks_of<true>(std::make_integer_sequence<int, kPairRows>()), take, finish, widen_panel, floats,
          kPairRows};
}

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  products::run_blocks(family(w.format == WeightFormat::kBf16Pairs, x.dtype == DType::kBFloat16), exec, x, w, epilogue, y);
}

bool supports(WeightFormat format, DType x, int64_t) {
  return (format == WeightFormat::kFloat32Panels || format == WeightFormat::kBf16Pairs) &&
         (x == DType::kFloat32 || x == DType::kBFloat16);
}

void fill(KernelTable& table) { table.add_product({kName, kIsa, supports, run}); }

}  // namespace product
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {

namespace {
void fill_plain(KernelTable& table, Isa isa) {
  products::fill_gemm(table, isa);
  products::fill_packing(table, isa);
}
}  // namespace

#if defined(__x86_64__)
namespace portable = N_SSSE3;
void fill_products_avx2(KernelTable& table) {
  N_AVX2::product::fill(table);
  fill_groups_avx2(table);
  fill_int8_avx2(table);
  fill_plain(table, Isa::kAvx2);
}
void fill_products_avx512(KernelTable& table) {
  N_AVX3::product::fill(table);
  fill_groups_avx512(table);
  fill_int8_avx512(table);
  fill_plain(table, Isa::kAvx512);
}
products::BlockFamily products::float_blocks_avx2() { return N_AVX2::product::family(false, false); }
products::BlockFamily products::float_blocks_avx512() { return N_AVX3::product::family(false, false); }
products::EpilogueFn products::epilogue_avx2() { return N_AVX2::product::finish; }
products::EpilogueFn products::epilogue_avx512() { return N_AVX3::product::finish; }
products::EpilogueFn products::gated_epilogue_avx2() { return N_AVX2::product::finish_gated<false>; }
products::EpilogueFn products::gated_epilogue_avx512(bool flush) {
  return flush ? N_AVX3::product::finish_gated<true> : N_AVX3::product::finish_gated<false>;
}
#else
namespace portable = HWY_NAMESPACE;
#endif
void fill_products_portable(KernelTable& table) {
  portable::product::fill(table);
  fill_groups_portable(table);
  fill_int8_portable(table);
  fill_plain(table, Isa::kPortable);
}
products::BlockFamily products::float_blocks_portable() { return portable::product::family(false, false); }
products::EpilogueFn products::epilogue_portable() { return portable::product::finish; }
products::EpilogueFn products::gated_epilogue_portable() { return portable::product::finish_gated<false>; }

}  // namespace pagoda
#endif
