// Small transpositions in registers. Included once a target.

#if defined(PAGODA_KERNELS_CPU_TURN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_KERNELS_CPU_TURN_INL_H_
#undef PAGODA_KERNELS_CPU_TURN_INL_H_
#else
#define PAGODA_KERNELS_CPU_TURN_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 4 rows of 4 units of 32 bits turned; strides in units.
HWY_INLINE void turn_four(const uint32_t* from, int64_t from_stride, uint32_t* to, int64_t to_stride) {
  const hn::FixedTag<uint32_t, 4> d32;
  const hn::FixedTag<uint64_t, 2> d64;
  const auto a = hn::LoadU(d32, from), b = hn::LoadU(d32, from + from_stride);
  const auto c = hn::LoadU(d32, from + 2 * from_stride), e = hn::LoadU(d32, from + 3 * from_stride);
  const auto low_ab = hn::BitCast(d64, hn::InterleaveLower(d32, a, b)),
             high_ab = hn::BitCast(d64, hn::InterleaveUpper(d32, a, b));
  const auto low_ce = hn::BitCast(d64, hn::InterleaveLower(d32, c, e)),
             high_ce = hn::BitCast(d64, hn::InterleaveUpper(d32, c, e));
  hn::StoreU(hn::BitCast(d32, hn::InterleaveLower(d64, low_ab, low_ce)), d32, to);
  hn::StoreU(hn::BitCast(d32, hn::InterleaveUpper(d64, low_ab, low_ce)), d32, to + to_stride);
  hn::StoreU(hn::BitCast(d32, hn::InterleaveLower(d64, high_ab, high_ce)), d32, to + 2 * to_stride);
  hn::StoreU(hn::BitCast(d32, hn::InterleaveUpper(d64, high_ab, high_ce)), d32, to + 3 * to_stride);
}

// 8 rows of 8 elements of 16 bits turned; strides in elements.
HWY_INLINE void turn_eight(const uint16_t* from, int64_t from_stride, uint16_t* to, int64_t to_stride) {
  const hn::FixedTag<uint16_t, 8> d16;
  const hn::FixedTag<uint32_t, 4> d32;
  const hn::FixedTag<uint64_t, 2> d64;
  hn::Vec<decltype(d32)> pairs[8];
  for (int i = 0; i < 4; ++i) {
    const auto a = hn::LoadU(d16, from + 2 * i * from_stride), b = hn::LoadU(d16, from + (2 * i + 1) * from_stride);
    pairs[2 * i] = hn::BitCast(d32, hn::InterleaveLower(d16, a, b));
    pairs[2 * i + 1] = hn::BitCast(d32, hn::InterleaveUpper(d16, a, b));
  }
  hn::Vec<decltype(d64)> fours[8];  // [rows 0-3, then 4-7][columns 0-1, 2-3, 4-5, 6-7]
  for (int half = 0; half < 2; ++half) {
    const auto* p = pairs + 4 * half;
    fours[4 * half] = hn::BitCast(d64, hn::InterleaveLower(d32, p[0], p[2]));
    fours[4 * half + 1] = hn::BitCast(d64, hn::InterleaveUpper(d32, p[0], p[2]));
    fours[4 * half + 2] = hn::BitCast(d64, hn::InterleaveLower(d32, p[1], p[3]));
    fours[4 * half + 3] = hn::BitCast(d64, hn::InterleaveUpper(d32, p[1], p[3]));
  }
  for (int i = 0; i < 4; ++i) {
    hn::StoreU(hn::BitCast(d16, hn::InterleaveLower(d64, fours[i], fours[4 + i])), d16, to + 2 * i * to_stride);
    hn::StoreU(hn::BitCast(d16, hn::InterleaveUpper(d64, fours[i], fours[4 + i])), d16, to + (2 * i + 1) * to_stride);
  }
}

// Elements of 16 bits of two rows, 16 of each, side by side: to[16][2].
HWY_INLINE void pair_rows(const uint16_t* even, const uint16_t* odd, uint16_t* to) {
  const hn::FixedTag<uint16_t, 8> d16;
  for (int64_t half = 0; half < 16; half += 8) {
    const auto a = hn::LoadU(d16, even + half), b = hn::LoadU(d16, odd + half);
    hn::StoreU(hn::InterleaveLower(d16, a, b), d16, to + half * 2);
    hn::StoreU(hn::InterleaveUpper(d16, a, b), d16, to + half * 2 + 8);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // PAGODA_KERNELS_CPU_TURN_INL_H_
