// The value that codes and scales stand for, spelled out: what tests hold kernels and formats to.
#pragma once

#include "tensor/group_coding.h"

namespace pagoda::testing {

inline float group_value(const GroupRows& rows, int64_t n, int64_t k) {
  const GroupCoding& c = rows.coding;
  const auto at = static_cast<size_t>(n * (rows.k / c.size) + k / c.size);
  const auto super = static_cast<size_t>(n * (rows.k / kSuperBlock) + k / kSuperBlock);
  const auto code = static_cast<float>(rows.codes[static_cast<size_t>(n * rows.k + k)]);
  switch (c.scale) {
    case GroupScale::kHalf:
    case GroupScale::kFloat: return code * rows.scales[at];
    case GroupScale::kHalfMin:
    case GroupScale::kFloatMin: return code * rows.scales[at] + rows.minima[at];
    case GroupScale::kHalfZero:
      return code * rows.scales[at] - rows.scales[at] * static_cast<float>(static_cast<int8_t>(rows.small_minima[at]));
    case GroupScale::kSuper: return code * (rows.scales[super] * static_cast<float>(rows.small_scales[at]));
    case GroupScale::kSuperMin:
      return code * (rows.scales[super] * static_cast<float>(rows.small_scales[at])) -
             rows.minima[super] * static_cast<float>(rows.small_minima[at]);
  }
  return 0;
}

}  // namespace pagoda::testing
