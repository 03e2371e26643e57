// Operands of the products turned, for all Highway targets: matrices packed from their columns, transposed, and panels of
// pairs.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/fallback.h"
#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/pack_panel.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/runs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/products_turn.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/turn-inl.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

using products::kPanel;
const hn::RebindToUnsigned<FloatTag> kBits;
using BitsVec = hn::Vec<decltype(kBits)>;

// bfloat16 bits of kLanes elements in the lower (upper) halves of lanes, the others 0.
HWY_INLINE BitsVec lower_bits(const BFloat16* from) {
  return hn::PromoteTo(kBits, hn::LoadU(hn::Rebind<uint16_t, FloatTag>(), reinterpret_cast<const uint16_t*>(from)));
}
HWY_INLINE BitsVec lower_bits(const float* from) { return hn::ShiftRight<16>(round_upper(FloatTag(), load(from))); }
HWY_INLINE BitsVec upper_bits(const BFloat16* from) { return hn::ShiftLeft<16>(lower_bits(from)); }
HWY_INLINE BitsVec upper_bits(const float* from) {
  return hn::And(round_upper(FloatTag(), load(from)), hn::Set(kBits, 0xFFFF0000u));
}

// The pairs of rows `even` and `odd` (null: zeros) of one panel; columns past `count` are zeros.
template <class T>
HWY_INLINE void pack_pair(const T* even, const T* odd, int64_t count, uint32_t* to) {
  T left[kPanel] = {}, right[kPanel] = {};
  if (count < kPanel) {
    std::copy(even, even + count, left);
    even = left;
    if (odd != nullptr) std::copy(odd, odd + count, right);
    odd = right;
  } else if (odd == nullptr) {
    odd = right;
  }
  for (int64_t i = 0; i < kPanel; i += kLanes) hn::StoreU(hn::Or(lower_bits(even + i), upper_bits(odd + i)), kBits, to + i);
}

// Panels [begin, end) of w's columns; `first` is the panel of `into` where column 0 goes.
template <class T>
void pack_panels(const View& w, int64_t begin, int64_t end, const PackedView& into, int64_t first) {
  const int64_t k = into.k, units = products::padded_k(into) / 2, stride = products::panel_stride(into) / 2;
  auto* to = static_cast<uint32_t*>(const_cast<void*>(into.data)) + (first + begin) * stride;
  const T* data = w.as<T>() + begin * kPanel;
  const int64_t columns = w.dims[1] - begin * kPanel;
  for (int64_t unit = 0; unit < units; ++unit, to += kPanel) {
    const T* even = data + 2 * unit * w.strides[0];
    for (int64_t p = 0; p < end - begin; ++p) {
      uint32_t* into_panel = to + p * stride;
      if (2 * unit >= k) {
        std::memset(into_panel, 0, kPanel * sizeof(uint32_t));
      } else {
        const T* row = even + p * kPanel;
        pack_pair(row, 2 * unit + 1 < k ? row + w.strides[0] : nullptr, std::min(kPanel, columns - p * kPanel), into_panel);
      }
    }
  }
}

void pack_turned(const Exec& exec, View w, const PackedView& into, int64_t n_begin) {
  if (!is_vector_dtype(w.dtype)) return reference_table().pack_turned(exec, w, into, n_begin);
  constexpr int64_t kAtOnce = 4;  // panels whose columns lie side by side in a row
  const int64_t panels = (w.dims[1] + kPanel - 1) / kPanel, first = n_begin / kPanel;
  const int64_t grain = std::max<int64_t>(1, kLightElements / std::max<int64_t>(1, kAtOnce * kPanel * into.k));
  exec.pool->parallel_for((panels + kAtOnce - 1) / kAtOnce, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin * kAtOnce; p < std::min(panels, end * kAtOnce); p += kAtOnce) {
      const int64_t last = std::min(panels, p + kAtOnce);
      if (w.dtype == DType::kFloat32) {
        pack_panels<float>(w, p, last, into, first);
      } else {
        pack_panels<BFloat16>(w, p, last, into, first);
      }
    }
  });
}

// Blocks of 64 columns, two cache lines of each row of x, by 32 rows, a line of each row of y. The next block's rows lie too
// far apart for the machine to foresee them.
void turn(const Exec& exec, View x, View y) {
  constexpr int64_t kColumns = 64, kRows = 32;
  const int64_t m = x.dims[0], n = x.dims[1], stride = x.strides[0];
  const auto* from = x.as<uint16_t>();
  auto* to = y.as<uint16_t>();
  const auto turn_columns = [&](int64_t c) HWY_ATTR {
    uint16_t block[kColumns][kRows];
    const int64_t width = std::min(kColumns, n - c);
    for (int64_t r = 0; r < m; r += kRows) {
      const int64_t rows = std::min(kRows, m - r);
      const uint16_t* source = from + r * stride + c;
      for (int64_t i = kRows; i < std::min(2 * kRows, m - r); ++i) {
        __builtin_prefetch(source + i * stride);
        __builtin_prefetch(source + i * stride + width - 1);
      }
      if (rows == kRows && width == kColumns) {
        for (int64_t i = 0; i < kRows; i += 8) {
          for (int64_t j = 0; j < kColumns; j += 8) turn_eight(source + i * stride + j, stride, &block[j][i], kRows);
        }
      } else {
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < width; ++j) block[j][i] = source[i * stride + j];
        }
      }
      for (int64_t j = 0; j < width; ++j) {
        std::memcpy(to + (c + j) * y.strides[0] + r, block[j], static_cast<size_t>(rows) * 2);
      }
    }
  };
  const int64_t grain = std::max<int64_t>(1, kLightElements / (kColumns * std::max<int64_t>(1, m)));
  exec.pool->parallel_for((n + kColumns - 1) / kColumns, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) turn_columns(i * kColumns);
  });
}

void turn_floats(const float* from, int64_t from_row, int64_t rows, int64_t columns, float* to, int64_t to_row) {
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  constexpr int64_t kRows = 64;  // whose cache lines stay close while their columns are taken
  for (int64_t begin = 0; begin < whole_rows; begin += kRows) {
    for (int64_t c = 0; c < whole_columns; c += 4) {
      for (int64_t r = begin; r < std::min(whole_rows, begin + kRows); r += 4) {
        turn_four(reinterpret_cast<const uint32_t*>(from) + r * from_row + c, from_row,
                  reinterpret_cast<uint32_t*>(to) + c * to_row + r, to_row);
      }
    }
  }
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = c < whole_columns ? whole_rows : 0; r < rows; ++r) to[c * to_row + r] = from[r * from_row + c];
  }
}

// Rows [row, row + 16) of w as one panel of kBf16Pairs, with zeros past the last column.
void pack_whole_panel(const View& w, int64_t row, const PackedView& into, int64_t panel) {
  constexpr int64_t kColumns = 1024;
  alignas(64) BFloat16 block[kPanel][kColumns];
  auto* to = static_cast<uint32_t*>(const_cast<void*>(into.data)) + panel * products::panel_stride(into) / 2;
  for (int64_t column = 0; column < into.k; column += kColumns) {
    const int64_t count = std::min(kColumns, into.k - column), padded = (count + products::kTileK - 1) / products::kTileK;
    for (int64_t r = 0; r < kPanel; ++r) {
      BFloat16* line = block[r];
      with_dtype(w.dtype, [&](auto zero) HWY_ATTR {
        const auto* from = w.as<decltype(zero)>() + (row + r) * w.strides[0] + column;
        int64_t i = 0;
        for (; i + kLanes <= count; i += kLanes) store(load(from + i), line + i);
        if (i < count) store_n(load_n(from + i, count - i), line + i, count - i);
      });
      std::fill(line + count, line + padded * products::kTileK, BFloat16());
    }
    const auto* from = reinterpret_cast<const uint32_t*>(&block[0][0]);
    for (int64_t unit = 0; unit < padded * products::kTileK / 2; unit += 4, to += 4 * kPanel) {
      for (int64_t r = 0; r < kPanel; r += 4) turn_four(from + r * (kColumns / 2) + unit, kColumns / 2, to + r, kPanel);
    }
  }
}

}  // namespace

void fill_turned_entries(KernelTable& table) {
  table.pack_turned = {pack_turned, kTargetIsa};
  table.turn = {turn, kTargetIsa};
}
products::TurnFn turn_floats_of_target() { return turn_floats; }
products::PanelFn pack_panel_of_target() { return pack_whole_panel; }

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_turned)
products::TurnFn products::turn_floats_portable() { return HWY_STATIC_DISPATCH(turn_floats_of_target)(); }
products::PanelFn products::pack_panel_portable() { return HWY_STATIC_DISPATCH(pack_panel_of_target)(); }
#if defined(__x86_64__)
products::TurnFn products::turn_floats_avx2() { return N_AVX2::turn_floats_of_target(); }
products::TurnFn products::turn_floats_avx512() { return N_AVX3::turn_floats_of_target(); }
products::PanelFn products::pack_panel_avx2() { return N_AVX2::pack_panel_of_target(); }
products::PanelFn products::pack_panel_avx512() { return N_AVX3::pack_panel_of_target(); }
#endif
}  // namespace pagoda
#endif
