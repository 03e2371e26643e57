// Adam and AdamW in one pass over parameter, gradient and moments, which also renews packed copies, for all Highway targets.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/runs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/adam.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/turn-inl.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

using products::kPanel;

struct Update {
  FloatVec keep_average, beta2, rest2, rate, root, epsilon, keep, decay, scale;

  explicit Update(const AdamStep& step) {
    const FloatTag d;
    const double n = static_cast<double>(step.step), rate_of = static_cast<double>(step.learning_rate);
    const double correction1 = 1 - std::pow(static_cast<double>(step.beta1), n);
    const double correction2 = 1 - std::pow(static_cast<double>(step.beta2), n);
    keep_average = hn::Set(d, 1 - step.beta1);
    beta2 = hn::Set(d, step.beta2);
    rest2 = hn::Set(d, 1 - step.beta2);
    rate = hn::Set(d, static_cast<float>(rate_of / correction1));
    root = hn::Set(d, static_cast<float>(std::sqrt(correction2)));
    epsilon = hn::Set(d, step.epsilon);
    keep = hn::Set(d, static_cast<float>(step.decoupled ? 1.0 - rate_of * static_cast<double>(step.weight_decay) : 1.0));
    decay = hn::Set(d, step.decoupled ? 0.0f : step.weight_decay);
    scale = hn::Set(d, step.gradient_scale);
  }

  // The elements at p, g, m and v; returns the new parameters.
  template <class Access>
  HWY_INLINE FloatVec run(const Access& access, float* p, const float* g, float* m, float* v) const {
    const FloatVec before = access.get(p);
    const FloatVec slope = hn::MulAdd(access.get(g), scale, hn::Mul(decay, before));
    const FloatVec old = access.get(m);
    const FloatVec average = hn::MulAdd(keep_average, hn::Sub(slope, old), old);
    const FloatVec square = hn::MulAdd(beta2, access.get(v), hn::Mul(hn::Mul(rest2, slope), slope));
    access.put(average, m);
    access.put(square, v);
    const FloatVec divisor = hn::Add(hn::Div(hn::Sqrt(square), root), epsilon);
    const FloatVec after = hn::Sub(hn::Mul(before, keep), hn::Div(hn::Mul(rate, average), divisor));
    access.put(after, p);
    return after;
  }
};

constexpr int64_t kColumns = 1024;  // of a block of rows at a time: 32 kB as bfloat16

// A block of up to 16 rows by up to kColumns columns from (row, column) on, as bfloat16 with zeros past its borders, into the
// copies. Columns are a multiple of 32 from the matrix's first.
void pack_block(const BFloat16 (&block)[kPanel][kColumns], int64_t row, int64_t column, int64_t columns,
                const PackedView& upright, const PackedView& turned) {
  if (upright.data != nullptr) {
    auto* to = static_cast<uint32_t*>(const_cast<void*>(upright.data)) + row / kPanel * products::panel_stride(upright) / 2 +
               column / 2 * kPanel;
    const auto* from = reinterpret_cast<const uint32_t*>(&block[0][0]);
    const int64_t units = (columns + 31) / 32 * 16;
    for (int64_t unit = 0; unit < units; unit += 4) {
      for (int64_t r = 0; r < kPanel; r += 4) {
        turn_four(from + r * (kColumns / 2) + unit, kColumns / 2, to + unit * kPanel + r, kPanel);
      }
    }
  }
  if (turned.data != nullptr) {
    const int64_t stride = products::panel_stride(turned);
    auto* to = static_cast<uint16_t*>(const_cast<void*>(turned.data)) + column / kPanel * stride + row * kPanel;
    for (int64_t c = 0; c < columns; c += kPanel, to += stride) {
      for (int64_t r = 0; r < kPanel; r += 2) {
        pair_rows(reinterpret_cast<const uint16_t*>(&block[r][c]), reinterpret_cast<const uint16_t*>(&block[r + 1][c]),
                  to + r * kPanel);
      }
    }
  }
}

void adam(const Exec& exec, const AdamStep& step, View parameter, View gradient, View m, View v, const PackedView& upright,
          const PackedView& turned) {
  if (upright.data == nullptr && turned.data == nullptr) {
    each_run(exec, {parameter, gradient, m, v}, kLightElements, [&](int64_t n, const int64_t* at) HWY_ATTR {
      const Update update(step);
      float *p = parameter.as<float>() + at[0], *first = m.as<float>() + at[2], *second = v.as<float>() + at[3];
      const float* g = gradient.as<float>() + at[1];
      int64_t i = 0;
      for (; i + kLanes <= n; i += kLanes) update.run(Whole(), p + i, g + i, first + i, second + i);
      if (i < n) update.run(Part{n - i}, p + i, g + i, first + i, second + i);
    });
    return;
  }
  const int64_t rows = parameter.dims[0], width = parameter.dims[1];
  const int64_t row_blocks = (rows + kPanel - 1) / kPanel, column_blocks = (width + kColumns - 1) / kColumns;
  exec.pool->parallel_for(row_blocks * column_blocks, 1, [&](int64_t begin, int64_t end, int) HWY_ATTR {
    const Update update(step);
    alignas(64) BFloat16 block[kPanel][kColumns];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / column_blocks * kPanel, column = i % column_blocks * kColumns;
      const int64_t height = std::min(kPanel, rows - row), columns = std::min(kColumns, width - column);
      if (height < kPanel || columns % 32 != 0) std::memset(static_cast<void*>(block), 0, sizeof block);
      for (int64_t r = 0; r < height; ++r) {
        const int64_t at = (row + r) * width + column;
        float *p = parameter.as<float>() + at, *first = m.as<float>() + at, *second = v.as<float>() + at;
        const float* g = gradient.as<float>() + at;
        int64_t j = 0;
        for (; j + kLanes <= columns; j += kLanes)
          store(update.run(Whole(), p + j, g + j, first + j, second + j), &block[r][j]);
        if (j < columns) {
          const Part part{columns - j};
          part.put(update.run(part, p + j, g + j, first + j, second + j), &block[r][j]);
        }
      }
      pack_block(block, row, column, columns, upright, turned);
    }
  });
}

}  // namespace

void fill_adam_entries(KernelTable& table) { table.adam = {adam, kTargetIsa}; }

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_adam)
}  // namespace pagoda
#endif
