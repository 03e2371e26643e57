// Whole panels of bfloat16 pairs from rows of weights, by vectors.
#pragma once

#include "kernels/table.h"

namespace pagoda::products {

// 16 rows of w (float32 or bfloat16) from `row` on as a panel of kBf16Pairs.
using PanelFn = void (*)(const View& w, int64_t row, const PackedView& into, int64_t panel);
PanelFn pack_panel_portable();
PanelFn pack_panel_avx2();
PanelFn pack_panel_avx512();

}  // namespace pagoda::products
