// The products of training on unpacked matrices: b is packed into panels for the call, block by block of its columns, and the
// rest is a product on packed weights. Sums run over the inner dimension in ascending order, whatever the threads.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/fallback.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/reference.h"

namespace pagoda::products {
namespace {

constexpr int64_t kScratchFloats = int64_t{8} << 20;  // of packed b, and of turned a, at a time

constexpr int64_t kPanelsAtOnce = 8;  // whose columns lie side by side in a row: half a kilobyte is read at a time

// Panels [k][16] of b, from column n on; zeros past the last column.
void pack_columns(const View& b, int64_t n, int64_t panels, int64_t inner, float* to) {
  const int64_t whole = std::min(panels, (b.dims[1] - n) / kPanel), rest = b.dims[1] - n - whole * kPanel;
  for (int64_t k = 0; k < inner; ++k, to += kPanel) {
    const float* from = row<float>(b, k) + n;
    for (int64_t p = 0; p < whole; ++p) std::memcpy(to + p * inner * kPanel, from + p * kPanel, kPanel * sizeof(float));
    if (whole == panels) continue;
    float* last = to + whole * inner * kPanel;
    for (int64_t j = 0; j < kPanel; ++j) last[j] = j < rest ? from[whole * kPanel + j] : 0.0f;
  }
}

// Panel [k][16] of rows [n, n + count) of b; zeros beyond.
void pack_rows(TurnFn turn, const View& b, int64_t n, int64_t count, int64_t inner, float* to) {
  turn(row<float>(b, n), b.strides[0], count, inner, to, kPanel);
  if (count == kPanel) return;
  for (int64_t k = 0; k < inner; ++k, to += kPanel) std::fill(to + count, to + kPanel, 0.0f);
}

// c = op(a) b for b in panels; a's turned rows are made block by block.
void run_packed(const BlockFamily& family, TurnFn turn, const Exec& exec, const View& a, bool transpose_a, const PackedView& b,
                bool accumulate, const View& c) {
  Epilogue epilogue;
  if (!transpose_a) {
    if (accumulate) epilogue.residual = c;
    run_blocks(family, exec, a, b, epilogue, c);
    return;
  }
  constexpr int64_t kRowsTurned = 32;
  // A cache line more than the rows are long: a power of two apart, rows of a block would meet in few sets of a cache.
  const int64_t stride = b.k + 16;
  const ArenaScope scope(*exec.scratch);
  const int64_t at_once = std::min(c.dims[0], std::max<int64_t>(96, kScratchFloats / std::max<int64_t>(1, b.k) / 96 * 96));
  auto* turned = exec.scratch->allocate_array<float>(at_once * stride);
  for (int64_t m = 0; m < c.dims[0]; m += at_once) {
    const int64_t rows = std::min(at_once, c.dims[0] - m);
    exec.pool->parallel_for(rows, kRowsTurned, [&](int64_t begin, int64_t end, int) {
      turn(a.as<float>() + m + begin, a.strides[0], b.k, end - begin, turned + begin * stride, stride);
    });
    View x = a;
    x.data = turned;
    x.dims[0] = rows;
    x.dims[1] = b.k;
    x.strides[0] = stride;
    View y = c;
    y.data = row<float>(c, m);
    y.dims[0] = rows;
    if (accumulate) epilogue.residual = y;
    run_blocks(family, exec, x, b, epilogue, y);
  }
}

template <BlockFamily (*kFamily)(), TurnFn (*kTurn)()>
void gemm(const Exec& exec, View a, bool transpose_a, View b, bool transpose_b, bool accumulate, View c) {
  if (c.dtype != DType::kFloat32 || a.dtype != DType::kFloat32 || b.dtype != DType::kFloat32) {
    reference_table().gemm(exec, a, transpose_a, b, transpose_b, accumulate, c);
    return;
  }
  const int64_t n = c.dims[1], inner = a.dims[transpose_a ? 0 : 1];
  if (c.dims[0] == 0 || n == 0) return;
  const ArenaScope scope(*exec.scratch);
  const int64_t panels = div_up(n, kPanel), floats = inner * kPanel;
  const int64_t at_once = std::min(panels, std::max<int64_t>(4, kScratchFloats / std::max<int64_t>(1, floats) / 4 * 4));
  auto* packed = exec.scratch->allocate_array<float>(at_once * floats);
  for (int64_t panel = 0; panel < panels; panel += at_once) {
    const int64_t count = std::min(at_once, panels - panel);
    exec.pool->parallel_for(count, transpose_b ? 1 : kPanelsAtOnce, [&](int64_t begin, int64_t end, int) {
      if (!transpose_b) return pack_columns(b, (panel + begin) * kPanel, end - begin, inner, packed + begin * floats);
      for (int64_t p = begin; p < end; ++p) {
        const int64_t column = (panel + p) * kPanel;
        pack_rows(kTurn(), b, column, std::min(kPanel, n - column), inner, packed + p * floats);
      }
    });
    View part = c;
    part.data = c.as<float>() + panel * kPanel;
    part.dims[1] = std::min(count * kPanel, n - panel * kPanel);
    run_packed(kFamily(), kTurn(), exec, a, transpose_a, {packed, WeightFormat::kFloat32Panels, part.dims[1], inner},
               accumulate, part);
  }
}

}  // namespace

GemmFn* gemm_of(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return gemm<float_blocks_avx2, turn_floats_avx2>;
  if (isa == Isa::kAvx512) return gemm<float_blocks_avx512, turn_floats_avx512>;
#endif
  (void)isa;
  return gemm<float_blocks_portable, turn_floats_portable>;
}

void fill_gemm(KernelTable& table, Isa isa) { table.gemm = {gemm_of(isa), isa}; }

}  // namespace pagoda::products
