// The products of gemm_amx.cc over plain C++, for tests on machines without tiles.
#include <algorithm>
#include <cstring>

#include "hwy/base.h"
#include "kernels/cpu/fill.h"
#include "kernels/cpu/instructions_standin.h"
#include "kernels/cpu/products.h"
// After what it uses.
#include "kernels/cpu/products_amx-inl.h"
// After what it uses.
#include "kernels/cpu/gemm_amx-inl.h"

namespace pagoda {

void fill_gemm_amx_standin(KernelTable& table) {
  table.gemm = {gemm_on_tiles<standin::Tiles, products::turn_floats_portable, Isa::kPortable>, Isa::kAmx};
}

}  // namespace pagoda
