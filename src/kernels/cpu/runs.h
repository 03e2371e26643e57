// Rows of strided views, and how many of them are worth a piece of a parallel region.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "tensor/device.h"
#include "tensor/view.h"

namespace pagoda {

// Elements whose work takes some four (light) or ten (heavy) microseconds on one core: a smaller piece is not worth a fork.
constexpr int64_t kLightElements = 12288;  // a few operations an element
constexpr int64_t kHeavyElements = 12288;  // an exponential an element

inline int64_t row_grain(int64_t width, int64_t elements) {
  return std::max<int64_t>(1, elements / std::max<int64_t>(1, width));
}

// Where row `row` (over all leading axes) of a view begins.
inline int64_t row_offset(const View& view, int64_t row) {
  int64_t at = 0;
  for (int axis = view.rank - 2; axis >= 0; --axis) {
    at += row % view.dims[axis] * view.strides[axis];
    row /= view.dims[axis];
  }
  return at;
}

// Calls fn(n, offsets) for runs of n elements that together cover the (equally shaped) views; offsets[i] is where the run
// begins in views[i]. Contiguous views are cut without regard to rows.
template <size_t kViews, class Fn>
void each_run(const Exec& exec, const View (&views)[kViews], int64_t elements, const Fn& fn) {
  const int64_t count = views[0].numel();
  if (count == 0) return;
  if (std::all_of(views, views + kViews, [](const View& view) { return view.is_contiguous(); })) {
    constexpr int64_t kRun = 4096;
    exec.pool->parallel_for((count + kRun - 1) / kRun, row_grain(kRun, elements), [&](int64_t begin, int64_t end, int) {
      int64_t offsets[kViews];
      std::fill(offsets, offsets + kViews, begin * kRun);
      fn(std::min(count, end * kRun) - begin * kRun, offsets);
    });
    return;
  }
  const int64_t width = views[0].dims[views[0].rank - 1];
  exec.pool->parallel_for(count / width, row_grain(width, elements), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t offsets[kViews];
      for (size_t i = 0; i < kViews; ++i) offsets[i] = row_offset(views[i], row);
      fn(width, offsets);
    }
  });
}

// Calls fn(begin, end) over ranges of n columns, for sums over rows: each column belongs to one thread, so that the order of
// its sum is that of the rows. `rows` is how many elements a column has.
template <class Fn>
void each_columns(const Exec& exec, int64_t n, int64_t rows, const Fn& fn) {
  constexpr int64_t kColumns = 64;
  exec.pool->parallel_for((n + kColumns - 1) / kColumns, row_grain(kColumns * rows, kLightElements),
                          [&](int64_t begin, int64_t end, int) { fn(begin * kColumns, std::min(n, end * kColumns)); });
}

}  // namespace pagoda
