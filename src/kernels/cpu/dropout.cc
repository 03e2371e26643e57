// Dropout of activations in vectors of columns for all Highway targets: the reference's bits.
#include <cstdint>

#include "kernels/cpu/dropout_draws.h"
#include "kernels/cpu/fallback.h"
#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/runs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/dropout.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

const hn::RebindToUnsigned<FloatTag> kBits;
using BitsVec = hn::Vec<decltype(kBits)>;

struct Row {
  BitsVec first, second, least;
  FloatVec scale;
};

// `counters`: column * kDrawStep of each lane.
HWY_INLINE FloatVec keep(const Row& row, BitsVec counters, FloatVec values) {
  BitsVec x = hn::Add(row.first, counters);
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(kBits, kDrawFirst));
  x = hn::Xor(x, row.second);
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<13>(x)), hn::Set(kBits, kDrawSecond));
  x = hn::ShiftRight<8>(hn::Xor(x, hn::ShiftRight<16>(x)));
  // Below 2^24, so that the signed comparison, which every target has, is the same.
  const hn::RebindToSigned<FloatTag> di;
  const auto drops = hn::Lt(hn::BitCast(di, x), hn::BitCast(di, row.least));
  return hn::IfThenZeroElse(hn::RebindMask(FloatTag(), drops), hn::Mul(values, row.scale));
}

template <class T>
HWY_INLINE void drop_row(const Row& row, const T* from, int64_t n, T* to) {
  BitsVec counters = hn::Mul(hn::Iota(kBits, 0), hn::Set(kBits, kDrawStep));
  const BitsVec next = hn::Set(kBits, static_cast<uint32_t>(kLanes) * kDrawStep);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes, counters = hn::Add(counters, next)) store(keep(row, counters, load(from + i)), to + i);
  if (i < n) store_n(keep(row, counters, load_n(from + i, n - i)), to + i, n - i);
}

void drop_rows(const DropoutSpec& spec, const View& x, const View& y, int64_t begin, int64_t end) {
  const BitsVec least = hn::Set(kBits, least_kept(spec));
  const FloatVec scale = hn::Set(FloatTag(), 1 / (1 - spec.p));
  for (int64_t t = begin; t < end; ++t) {
    const RowWords words = row_words(spec, t);
    const Row row{hn::Set(kBits, words.first), hn::Set(kBits, words.second), least, scale};
    with_dtype(x.dtype, [&](auto zero) HWY_ATTR {
      using T = decltype(zero);
      drop_row(row, x.as<T>() + t * x.strides[0], x.dims[1], y.as<T>() + t * y.strides[0]);
    });
  }
}

void dropout(const Exec& exec, const DropoutSpec& spec, View x, View y) {
  if (!is_vector_dtype(x.dtype)) return reference_table().dropout(exec, spec, x, y);
  exec.pool->parallel_for(x.dims[0], row_grain(x.dims[1], kLightElements),
                          [&](int64_t begin, int64_t end, int) { drop_rows(spec, x, y, begin, end); });
}

}  // namespace

void fill_dropout_entries(KernelTable& table) { table.dropout = {dropout, kTargetIsa}; }

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_dropout)
}  // namespace pagoda
#endif
