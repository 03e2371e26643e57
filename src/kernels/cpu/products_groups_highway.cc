// Products on weights in groups by fused multiply-add in float32: AVX2, AVX-512 and the portable target from one source.
//
// Codes become floats, exactly, in a buffer that the rows share; a group's sum is one chain of multiply-adds over its inputs
// in ascending order, then scaled into the output's. So one row gives the same bits alone and in any batch.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/hwy_targets.h"

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
const hn::RebindToUnsigned<decltype(kTag)> kBits;
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

// Nibble `kAt` of each 32-bit word as a float.
template <int kAt>
HWY_INLINE Vec nibble(hn::Vec<decltype(kBits)> words, hn::Vec<decltype(kInts)> offset) {
  const auto code = hn::And(hn::ShiftRight<4 * kAt>(words), hn::Set(kBits, 15u));
  return hn::ConvertTo(kTag, hn::Sub(hn::BitCast(kInts, code), offset));
}

HWY_INLINE void read_ahead(const uint8_t* from, int64_t bytes) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(bytes)));
}

void decode_4(const uint8_t* codes, int64_t inputs, int64_t ahead, int offset_value, float* to) {
  const auto offset = hn::Set(kInts, offset_value);
  for (int64_t k = 0; k < inputs; k += 8, codes += 64, to += 8 * kPanel) {
    read_ahead(codes, ahead);
    for (int v = 0; v < kVectors; ++v) {
      const auto words = hn::Load(kBits, reinterpret_cast<const uint32_t*>(codes) + v * kLanes);
      float* at = to + v * kLanes;
      hn::Store(nibble<0>(words, offset), kTag, at);
      hn::Store(nibble<4>(words, offset), kTag, at + kPanel);
      hn::Store(nibble<1>(words, offset), kTag, at + 2 * kPanel);
      hn::Store(nibble<5>(words, offset), kTag, at + 3 * kPanel);
      hn::Store(nibble<2>(words, offset), kTag, at + 4 * kPanel);
      hn::Store(nibble<6>(words, offset), kTag, at + 5 * kPanel);
      hn::Store(nibble<3>(words, offset), kTag, at + 6 * kPanel);
      hn::Store(nibble<7>(words, offset), kTag, at + 7 * kPanel);
    }
  }
}

void decode_8(const uint8_t* codes, int64_t inputs, int64_t ahead, float* to) {
  for (int64_t k = 0; k < inputs; k += 4, codes += 64, to += 4 * kPanel) {
    read_ahead(codes, ahead);
    for (int v = 0; v < kVectors; ++v) {
      const auto words = hn::Load(kInts, reinterpret_cast<const int32_t*>(codes) + v * kLanes);
      float* at = to + v * kLanes;
      hn::Store(hn::ConvertTo(kTag, hn::ShiftRight<24>(hn::ShiftLeft<24>(words))), kTag, at);
      hn::Store(hn::ConvertTo(kTag, hn::ShiftRight<24>(hn::ShiftLeft<16>(words))), kTag, at + kPanel);
      hn::Store(hn::ConvertTo(kTag, hn::ShiftRight<24>(hn::ShiftLeft<8>(words))), kTag, at + 2 * kPanel);
      hn::Store(hn::ConvertTo(kTag, hn::ShiftRight<24>(words)), kTag, at + 3 * kPanel);
    }
  }
}

void decode(const GroupCoding& coding, const uint8_t* codes, int64_t inputs, int64_t ahead, void* to) {
  if (coding.bits == 4) {
    decode_4(codes, inputs, ahead, coding.offset, static_cast<float*>(to));
  } else {
    decode_8(codes, inputs, ahead, static_cast<float*>(to));
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
    HWY_UNROLL(16)
    for (int v = 0; v < kWide; ++v) {
      const int64_t at = (v / kVectors) * b.scale_stride + g * kPanel + (v % kVectors) * kLanes;
      const Vec scale = hn::Load(kTag, b.scales + at);
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
}

template <int Rows, int Panels>
constexpr BlockFn block_if_it_fits() {
  if constexpr (Rows * Panels * kVectors <= kAccumulators || Panels == 1) {
    return run_block<Rows, Panels>;
  } else {
    return nullptr;
  }
}
template <int... kRows>
struct BlockTable {
  static constexpr BlockFn kBlocks[sizeof...(kRows)][3] = {
      {block_if_it_fits<kRows + 1, 1>(), block_if_it_fits<kRows + 1, 2>(), block_if_it_fits<kRows + 1, 4>()}...};
};
template <int... kRows>
constexpr auto& blocks_of(std::integer_sequence<int, kRows...>) {
  return BlockTable<kRows...>::kBlocks;
}

void widen(const View& x, int64_t m_begin, int64_t rows, int64_t k_begin, int64_t k, float* to) {
  for (int64_t r = 0; r < rows; ++r, to += k) {
    const BFloat16* from = products::row<BFloat16>(x, m_begin + r) + k_begin;
    for (int64_t i = 0; i < k; i += kLanes) hn::StoreU(load_float(kTag, from + i), kTag, to + i);  // k: a multiple of 16
  }
}

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  const groups::Family family{kMaxRows,       blocks_of(std::make_integer_sequence<int, kMaxRows>()), decode, 4, expand, widen,
                              product::finish};
  groups::run_groups(family, exec, x, w, epilogue, y);
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
groups::ExpandFn groups::expand_avx512() { return N_AVX3::grouped::expand; }
#else
namespace portable = HWY_NAMESPACE;
#endif
void fill_groups_portable(KernelTable& table) { portable::grouped::fill(table); }
groups::ExpandFn groups::expand_portable() { return portable::grouped::expand; }

}  // namespace pagoda
#endif
