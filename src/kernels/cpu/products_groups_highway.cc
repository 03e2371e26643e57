// Products on weights in groups by fused multiply-add in float32: AVX2, AVX-512 and the portable target from one source.
//
// Codes become floats, exactly, in a buffer that the rows share; a group's sum is one chain of multiply-adds over its inputs
// in ascending order, then scaled into the output's. So one row gives the same bits alone and in any batch. Rows in bfloat16 go
// by integers on AVX2 (groups_avx2.cc, groups_words_avx2.cc), and a few of them on codes of 4 bits on AVX-512.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/read_ahead.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/products_groups_highway.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "kernels/cpu/products_epilogue-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace grouped {

using groups::Block;
using groups::BlockFn;
using groups::kPanel;

const hn::CappedTag<float, 16> kTag;
const hn::RebindToSigned<decltype(kTag)> kInts;
const hn::RebindToUnsigned<decltype(kTag)> kWords;
using Vec = hn::Vec<decltype(kTag)>;
constexpr int kLanes = HWY_LANES(float) < 16 ? HWY_LANES(float) : 16;
constexpr int kVectors = 16 / kLanes;  // of a panel

#if HWY_TARGET == HWY_AVX3
constexpr Isa kIsa = Isa::kAvx512;
constexpr const char* kName = "avx512 groups";
constexpr int kRegisters = 32;
#elif HWY_TARGET == HWY_AVX2
constexpr Isa kIsa = Isa::kAvx2;
constexpr const char* kName = "avx2 groups";
constexpr int kRegisters = 16;
#else
constexpr Isa kIsa = Isa::kPortable;
constexpr const char* kName = "portable groups";
constexpr int kRegisters = 16;
#endif
constexpr int kAccumulators = kRegisters * 3 / 4;
constexpr int kMaxRows = kVectors == 1 ? 12 : kAccumulators / kVectors;  // 12, 6 or 3
constexpr int kDirectRows = 4;
constexpr int64_t kDirectAhead = 2048;  // bytes of a panel

HWY_INLINE Vec halves(const uint8_t* from) {
  const hn::Rebind<hwy::float16_t, decltype(kTag)> d16;
  return hn::PromoteTo(kTag, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(from)));
}
HWY_INLINE Vec signed_bytes(const uint8_t* from) {
  const hn::Rebind<int8_t, decltype(kTag)> d8;
  return hn::ConvertTo(kTag, hn::PromoteTo(kInts, hn::LoadU(d8, reinterpret_cast<const int8_t*>(from))));
}
HWY_INLINE Vec unsigned_bytes(const uint8_t* from) {
  const hn::Rebind<uint8_t, decltype(kTag)> d8;
  return hn::ConvertTo(kTag, hn::PromoteTo(kInts, hn::LoadU(d8, from)));
}

template <GroupScale kScale>
void expand_as(const PackedView& w, const uint8_t* scales, int64_t g_begin, int64_t count, float* scale, float* minimum) {
  for (int64_t g = g_begin; g < g_begin + count; ++g, scale += kPanel, minimum += kPanel) {
    const groups::GroupPlace place = groups::place_of(w, scales, g);
    for (int lane = 0; lane < 16; lane += kLanes) {
      Vec s, m = hn::Zero(kTag);
      if constexpr (kScale == GroupScale::kFloat || kScale == GroupScale::kFloatMin) {
        s = hn::LoadU(kTag, reinterpret_cast<const float*>(place.group) + lane);
        if constexpr (kScale == GroupScale::kFloatMin) {
          m = hn::LoadU(kTag, reinterpret_cast<const float*>(place.group) + 16 + lane);
        }
      } else if constexpr (kScale == GroupScale::kSuper || kScale == GroupScale::kSuperMin) {
        s = hn::Mul(halves(place.super + 2 * lane), signed_bytes(place.group + lane));
        if constexpr (kScale == GroupScale::kSuperMin) {
          m = hn::Neg(hn::Mul(halves(place.super + 32 + 2 * lane), unsigned_bytes(place.group + 16 + lane)));
        }
      } else {
        s = halves(place.group + 2 * lane);
        if constexpr (kScale == GroupScale::kHalfMin) m = halves(place.group + 32 + 2 * lane);
        if constexpr (kScale == GroupScale::kHalfZero) m = hn::Neg(hn::Mul(s, signed_bytes(place.group + 32 + lane)));
      }
      hn::Store(s, kTag, scale + lane);
      hn::Store(m, kTag, minimum + lane);
    }
  }
}

void expand(const PackedView& w, const uint8_t* scales, int64_t g_begin, int64_t count, float* scale, float* minimum) {
  switch (w.groups.scale) {
    case GroupScale::kHalf: return expand_as<GroupScale::kHalf>(w, scales, g_begin, count, scale, minimum);
    case GroupScale::kHalfMin: return expand_as<GroupScale::kHalfMin>(w, scales, g_begin, count, scale, minimum);
    case GroupScale::kHalfZero: return expand_as<GroupScale::kHalfZero>(w, scales, g_begin, count, scale, minimum);
    case GroupScale::kFloat: return expand_as<GroupScale::kFloat>(w, scales, g_begin, count, scale, minimum);
    case GroupScale::kFloatMin: return expand_as<GroupScale::kFloatMin>(w, scales, g_begin, count, scale, minimum);
    case GroupScale::kSuper: return expand_as<GroupScale::kSuper>(w, scales, g_begin, count, scale, minimum);
    case GroupScale::kSuperMin: return expand_as<GroupScale::kSuperMin>(w, scales, g_begin, count, scale, minimum);
  }
}

// Code i of each 32-bit word as a float.
template <int kBits>
HWY_INLINE Vec code_at(hn::Vec<decltype(kWords)> words, int i, hn::Vec<decltype(kInts)> offset) {
  if constexpr (kBits == 8) {
    return hn::ConvertTo(kTag, hn::ShiftRight<24>(hn::BitCast(kInts, hn::ShiftLeftSame(words, 24 - 8 * i))));
  } else {
    const int nibble = i % 2 * 4 + i / 2;
    const auto code = hn::And(hn::ShiftRightSame(words, 4 * nibble), hn::Set(kWords, 15u));
    return hn::ConvertTo(kTag, hn::Sub(hn::BitCast(kInts, code), offset));
  }
}

template <int kBits>
void decode_as(const uint8_t* codes, int64_t inputs, int64_t ahead, int offset_value, float* to) {
  constexpr int kInputs = 32 / kBits;  // of a line of 64 bytes
  const auto offset = hn::Set(kInts, offset_value);
  for (int64_t k = 0; k < inputs; k += kInputs, codes += 64, to += kInputs * kPanel) {
    read_ahead(codes, ahead);
    for (int v = 0; v < kVectors; ++v) {
      const auto words = hn::Load(kWords, reinterpret_cast<const uint32_t*>(codes) + v * kLanes);
      HWY_UNROLL(8)
      for (int i = 0; i < kInputs; ++i) hn::Store(code_at<kBits>(words, i, offset), kTag, to + i * kPanel + v * kLanes);
    }
  }
}

void decode(const GroupCoding& coding, const uint8_t* codes, int64_t inputs, int64_t ahead, void* to) {
  if (coding.bits == 4) {
    decode_as<4>(codes, inputs, ahead, coding.offset, static_cast<float*>(to));
  } else {
    decode_as<8>(codes, inputs, ahead, coding.offset, static_cast<float*>(to));
  }
}

// acc += sums * scale + (sum of x) * minimum, for group g of the block.
template <int Rows, int Panels, bool kHalves>
HWY_INLINE void add_group(const Block& b, int64_t g, const Vec (&sums)[Rows][Panels * kVectors]) {
  HWY_UNROLL(16)
  for (int v = 0; v < Panels * kVectors; ++v) {
    const int64_t at = (v / kVectors) * b.scale_stride + g * kPanel + (v % kVectors) * kLanes;
    Vec scale;
    if constexpr (kHalves) {
      scale = halves(b.halves + (v / kVectors) * b.panel_stride + (g * kPanel + (v % kVectors) * kLanes) * 2);
    } else {
      scale = hn::Load(kTag, b.scales + at);
    }
    HWY_UNROLL(16)
    for (int r = 0; r < Rows; ++r) {
      float* to = b.acc + r * b.acc_stride + v * kLanes;
      Vec acc = b.first && g == 0 ? hn::Zero(kTag) : hn::Load(kTag, to);
      acc = hn::MulAdd(sums[r][v], scale, acc);
      if (b.minima != nullptr) {
        acc = hn::MulAdd(hn::Set(kTag, b.sums[r * b.sums_stride + g]), hn::Load(kTag, b.minima + at), acc);
      }
      hn::Store(acc, kTag, to);
    }
  }
}

template <int Rows, int Panels>
void run_block(const Block& b) {
  constexpr int kWide = Panels * kVectors;
  const float *x = static_cast<const float*>(b.x), *w = static_cast<const float*>(b.w);
  const int64_t x_stride = b.x_stride;
  for (int64_t g = 0; g < b.count; ++g) {
    Vec sums[Rows][kWide];
    HWY_UNROLL(16)
    for (int r = 0; r < Rows; ++r) {
      HWY_UNROLL(16)
      for (int v = 0; v < kWide; ++v) sums[r][v] = hn::Zero(kTag);
    }
    for (int64_t k = 0; k < b.size; ++k, ++x, w += kPanel) {
      Vec weights[kWide];
      HWY_UNROLL(16)
      for (int v = 0; v < kWide; ++v) {
        weights[v] = hn::Load(kTag, w + (v / kVectors) * b.panel_stride + (v % kVectors) * kLanes);
      }
      HWY_UNROLL(16)
      for (int r = 0; r < Rows; ++r) {
        const Vec value = hn::Set(kTag, x[r * x_stride]);
        HWY_UNROLL(16)
        for (int v = 0; v < kWide; ++v) sums[r][v] = hn::MulAdd(value, weights[v], sums[r][v]);
      }
    }
    add_group<Rows, Panels, false>(b, g, sums);
  }
}

// Byte i of each 32-bit word as its highest.
struct TopByte {
  alignas(64) uint8_t index[4][64];
  constexpr TopByte() : index() {
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 64; ++j) index[i][j] = static_cast<uint8_t>(j % 4 == 3 ? j % 16 - 3 + i : 0x80);
    }
  }
};
constexpr TopByte kTopByte;

// Code i of each word as a float; codes of 8 bits times 2^24, which x makes good (groups::kDirectScale): a shuffle and a
// conversion, where a shift each way would cost as much as all the rest.
template <int kBits>
HWY_INLINE Vec direct_code(hn::Vec<decltype(kWords)> words, int i, hn::Vec<decltype(kInts)> offset) {
  if constexpr (kBits == 8) {
    const hn::Repartition<uint8_t, decltype(kTag)> d8;
    const auto top = hn::TableLookupBytesOr0(hn::BitCast(d8, words), hn::Load(d8, kTopByte.index[i]));
    return hn::ConvertTo(kTag, hn::BitCast(kInts, top));
  } else {
    return code_at<kBits>(words, i, offset);
  }
}

// One chain of multiply-adds an output straight from codes: the bits of run_block on the elements of decode.
template <int kBits, int Rows, int Panels>
void run_direct(const Block& b) {
  constexpr int kWide = Panels * kVectors, kInputs = 32 / kBits;  // of a line of 64 bytes
  const auto* x = static_cast<const float*>(b.x);
  const auto* codes = static_cast<const uint8_t*>(b.w);
  const auto offset = hn::Set(kInts, b.offset);
  int64_t ahead = kDirectAhead, left = b.left - kDirectAhead;
  for (int64_t g = 0; g < b.count; ++g) {
    Vec sums[Rows][kWide];
    HWY_UNROLL(16)
    for (int i = 0; i < Rows * kWide; ++i) sums[i / kWide][i % kWide] = hn::Zero(kTag);
    for (int64_t k = 0; k < b.size; k += kInputs, x += kInputs, codes += 64, left -= 64) {
      if (left <= 0) ahead = kDirectAhead + (Panels - 1) * b.panel_stride;  // the panels that come after these
      HWY_UNROLL(16)
      for (int v = 0; v < kWide; ++v) {
        const uint8_t* at = codes + (v / kVectors) * b.panel_stride + (v % kVectors) * kLanes * 4;
        if (v % kVectors == 0) read_ahead(at, ahead);
        const auto words = hn::Load(kWords, reinterpret_cast<const uint32_t*>(at));
        HWY_UNROLL(8)
        for (int i = 0; i < kInputs; ++i) {
          const Vec weight = direct_code<kBits>(words, i, offset);
          HWY_UNROLL(4)
          for (int r = 0; r < Rows; ++r) sums[r][v] = hn::MulAdd(hn::Set(kTag, x[r * b.x_stride + i]), weight, sums[r][v]);
        }
      }
    }
    b.halves != nullptr ? add_group<Rows, Panels, true>(b, g, sums) : add_group<Rows, Panels, false>(b, g, sums);
  }
}

// kBits: 0 for blocks on elements.
template <int kBits, int Rows, int Panels>
constexpr BlockFn block_if_it_fits() {
  if constexpr (Rows * Panels * kVectors > kAccumulators && Panels > 1) {
    return nullptr;
  } else if constexpr (kBits == 0) {
    return run_block<Rows, Panels>;
  } else {
    return run_direct<kBits, Rows, Panels>;
  }
}
template <int kBits, int... kRows>
struct BlockTable {
  static constexpr BlockFn kBlocks[sizeof...(kRows)][3] = {{block_if_it_fits<kBits, kRows + 1, 1>(),
                                                            block_if_it_fits<kBits, kRows + 1, 2>(),
                                                            block_if_it_fits<kBits, kRows + 1, 4>()}...};
};
template <int kBits, int... kRows>
constexpr auto& blocks_of(std::integer_sequence<int, kRows...>) {
  return BlockTable<kBits, kRows...>::kBlocks;
}

void widen(const View& x, int64_t m_begin, int64_t rows, int64_t k_begin, int64_t k, float* to) {
  for (int64_t r = 0; r < rows; ++r, to += k) {
    const BFloat16* from = products::row<BFloat16>(x, m_begin + r) + k_begin;
    for (int64_t i = 0; i < k; i += kLanes) hn::StoreU(load_float(kTag, from + i), kTag, to + i);  // k: a multiple of 16
  }
}

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  using Direct = std::make_integer_sequence<int, kDirectRows>;
  const groups::Family family{kMaxRows,
                              blocks_of<0>(std::make_integer_sequence<int, kMaxRows>()),
                              decode,
                              4,
                              expand,
                              widen,
                              product::finish,
                              kDirectRows,
                              w.groups.bits == 4 ? blocks_of<4>(Direct()) : blocks_of<8>(Direct())};
  const auto floats = [&](const View& rows) { groups::run_groups(family, exec, rows, w, epilogue, y); };
  if (x.dtype != DType::kBFloat16) return floats(x);
#if HWY_TARGET == HWY_AVX3
  groups::run_by_rows(groups::nibbles_avx512(), exec, x, w, epilogue, y, floats);
#elif HWY_TARGET == HWY_AVX2
  w.groups.bits == 4 && x.dims[0] <= groups::kNibbleRows ? groups::run_nibbles_avx2(exec, x, w, epilogue, y)
                                                         : groups::run_words_avx2(exec, x, w, epilogue, y);
#else
  floats(x);
#endif
}

bool supports(WeightFormat format, DType x, int64_t) {
  return groups::takes_groups(format) && (x == DType::kFloat32 || x == DType::kBFloat16);
}

void fill(KernelTable& table) { table.add_product({kName, kIsa, supports, run}); }

}  // namespace grouped
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {

#if defined(__x86_64__)
namespace portable = N_SSSE3;
void fill_groups_avx2(KernelTable& table) { N_AVX2::grouped::fill(table); }
void fill_groups_avx512(KernelTable& table) { N_AVX3::grouped::fill(table); }
groups::ExpandFn groups::expand_avx2() { return N_AVX2::grouped::expand; }
groups::ExpandFn groups::expand_avx512() { return N_AVX3::grouped::expand; }
#else
namespace portable = HWY_NAMESPACE;
#endif
void fill_groups_portable(KernelTable& table) { portable::grouped::fill(table); }
groups::ExpandFn groups::expand_portable() { return portable::grouped::expand; }

}  // namespace pagoda
#endif
