// Packing of weights and its inverses, panel by panel: both formats are a transposition of 32-bit units (a float, or a pair).
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/groups.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/pack_panel.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/reference.h"

namespace pagoda::products {
namespace {

constexpr int64_t kUnits =
    64;  // 32-bit units of each of 16 rows that are turned at once: 4 kB, well inside a first-level cache

template <class Element>
constexpr int64_t kElements = 4 / static_cast<int64_t>(sizeof(Element));  // of a unit: 1 float or 2 bfloat16

// Where output n, input 0 of a packed weight lies; the unit after next is 16 units on.
template <class Element>
uint32_t* lane_of(const PackedView& w, int64_t n) {
  auto* data = static_cast<Element*>(const_cast<void*>(w.data));
  return reinterpret_cast<uint32_t*>(data + n / kPanel * panel_stride(w)) + n % kPanel;
}

// Units [0, count) of rows [0, rows) to their places in a panel.
void turn(const char* const (&from)[kPanel], int64_t rows, int64_t count, uint32_t* lane) {
  if (rows == kPanel) {
    for (int64_t i = 0; i < count; ++i, lane += kPanel) {
      for (int64_t r = 0; r < kPanel; ++r) std::memcpy(lane + r, from[r] + 4 * i, 4);
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i, lane += kPanel) {
    for (int64_t r = 0; r < rows; ++r) std::memcpy(lane + r, from[r] + 4 * i, 4);
  }
}

// Rows [begin, end) of w, all of one panel. The unit at the end of a row is filled with zeros.
template <class Element, class T>
void pack_rows(const View& w, int64_t begin, int64_t end, const PackedView& into, int64_t n_begin) {
  constexpr int64_t kPer = kElements<Element>, kAtOnce = kUnits * kPer;
  Element converted[kPanel][kAtOnce];
  const char* from[kPanel];
  uint32_t* lane = lane_of<Element>(into, n_begin + begin);
  for (int64_t k = 0; k < into.k; k += kAtOnce, lane += kUnits * kPanel) {
    const int64_t count = std::min(into.k - k, kAtOnce);
    const bool as_it_lies = std::is_same_v<T, Element> && count % kPer == 0;
    for (int64_t r = begin; r < end; ++r) {
      const T* source = row<T>(w, r) + k;
      Element* to = converted[r - begin];
      from[r - begin] = as_it_lies ? reinterpret_cast<const char*>(source) : reinterpret_cast<const char*>(to);
      if (as_it_lies) continue;
      for (int64_t i = 0; i < count; ++i) {
        if constexpr (std::is_same_v<T, Element>) {
          to[i] = source[i];
        } else {
          to[i] = Element(static_cast<float>(reference::load(source[i])));
        }
      }
      if (count % kPer != 0) to[count] = Element(0.0f);
    }
    turn(from, end - begin, div_up(count, kPer), lane);
  }
}

template <class Element, class T>
void unpack_row(const PackedView& from, int64_t n, T* to) {
  const uint32_t* lane = lane_of<Element>(from, n);
  Element elements[kElements<Element>];
  for (int64_t k = 0; k < from.k; k += kElements<Element>, lane += kPanel) {
    std::memcpy(static_cast<void*>(elements), lane, 4);
    const int64_t count = std::min(from.k - k, kElements<Element>);
    for (int64_t i = 0; i < count; ++i) {
      if constexpr (std::is_same_v<T, Element>) {
        to[k + i] = elements[i];
      } else {
        to[k + i] = T(static_cast<reference::Compute<T>>(static_cast<float>(elements[i])));
      }
    }
  }
}

bool holds_codes(WeightFormat format) { return format == WeightFormat::kGroups || format == WeightFormat::kInt8Rows; }

// One output of a weight of codes: kGroups, kInt8Rows.
template <class T>
void unpack_codes(const PackedView& from, int64_t n, T* to) {
  if (from.format == WeightFormat::kInt8Rows) {
    const int8_t* codes = int8::codes_of(from, n / kPanel);
    const float scale = int8::scales_of(from)[n];
    for (int64_t k = 0; k < from.k; ++k) {
      const float value = static_cast<float>(codes[int8::code_place(n % kPanel, k)]) * scale;
      to[k] = T(static_cast<reference::Compute<T>>(value));
    }
    return;
  }
  const int64_t size = from.groups.size;
  for (int64_t g = 0; g < from.k / size; ++g) {
    const groups::ScaleMin scale = groups::scale_min(from, n, g);
    for (int64_t k = g * size; k < (g + 1) * size; ++k) {
      const float value = static_cast<float>(groups::code(from, n, k)) * scale.scale + scale.minimum;
      to[k] = T(static_cast<reference::Compute<T>>(value));
    }
  }
}

// Calls fn with a zero of the format's element.
template <class Fn>
void dispatch_format(WeightFormat format, Fn&& fn) {
  if (format == WeightFormat::kBf16Pairs) {
    fn(BFloat16{});
  } else {
    fn(float{});
  }
}

template <PanelFn (*kPanelOfTarget)()>
void pack(const Exec& exec, View w, const PackedView& into, int64_t n_begin) {
  const bool vectors = into.format == WeightFormat::kBf16Pairs && (w.dtype == DType::kFloat32 || w.dtype == DType::kBFloat16);
  const PanelFn whole = vectors ? kPanelOfTarget() : nullptr;
  const int64_t n_end = n_begin + w.dims[0], first = n_begin / kPanel;
  if (w.dims[0] == 0) return;
  exec.pool->parallel_for(div_up(n_end, kPanel) - first, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t panel = first + begin; panel < first + end; ++panel) {
      const int64_t from = std::max(panel * kPanel, n_begin) - n_begin, to = std::min((panel + 1) * kPanel, n_end) - n_begin;
      if (whole != nullptr && to - from == kPanel) {
        whole(w, from, into, panel);
        continue;
      }
      dispatch_format(into.format, [&](auto element) {
        reference::dispatch(w.dtype,
                            [&](auto zero) { pack_rows<decltype(element), decltype(zero)>(w, from, to, into, n_begin); });
      });
    }
  });
}

void unpack(const Exec& exec, const PackedView& from, int64_t n_begin, View w) {
  exec.pool->parallel_for(w.dims[0], kPanel, [&](int64_t begin, int64_t end, int) {
    if (holds_codes(from.format)) {
      reference::dispatch(w.dtype, [&](auto zero) {
        for (int64_t n = begin; n < end; ++n) unpack_codes(from, n_begin + n, row<decltype(zero)>(w, n));
      });
      return;
    }
    dispatch_format(from.format, [&](auto element) {
      reference::dispatch(w.dtype, [&](auto zero) {
        for (int64_t n = begin; n < end; ++n) unpack_row<decltype(element)>(from, n_begin + n, row<decltype(zero)>(w, n));
      });
    });
  });
}

void packed_embedding(const Exec& exec, const PackedView& table, View ids, View y) {
  exec.pool->parallel_for(y.dims[0], 16, [&](int64_t begin, int64_t end, int) {
    if (holds_codes(table.format)) {
      reference::dispatch(y.dtype, [&](auto zero) {
        for (int64_t t = begin; t < end; ++t) unpack_codes(table, ids.as<int32_t>()[t], row<decltype(zero)>(y, t));
      });
      return;
    }
    dispatch_format(table.format, [&](auto element) {
      reference::dispatch(y.dtype, [&](auto zero) {
        for (int64_t t = begin; t < end; ++t) {
          unpack_row<decltype(element)>(table, ids.as<int32_t>()[t], row<decltype(zero)>(y, t));
        }
      });
    });
  });
}

}  // namespace

void fill_packing(KernelTable& table, Isa isa) {
  table.pack = {pack<pack_panel_portable>, isa};
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) table.pack = {pack<pack_panel_avx2>, isa};
  if (isa >= Isa::kAvx512) table.pack = {pack<pack_panel_avx512>, isa};
#endif
  table.unpack = {unpack, isa};
  table.packed_embedding = {packed_embedding, isa};
}

}  // namespace pagoda::products
