// The products of training in float32 on AMX tiles.
#if defined(__x86_64__)

#include <algorithm>
#include <cstring>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/instructions_amx.h"
#include "kernels/cpu/products.h"

PAGODA_BEGIN_AMX
#include "kernels/cpu/products_amx-inl.h"
// After what it uses.
#include "kernels/cpu/gemm_amx-inl.h"
PAGODA_END_AMX

namespace pagoda {

void fill_gemm_amx(KernelTable& table) {
  table.gemm = {gemm_on_tiles<native::Tiles, products::turn_floats_avx512, Isa::kAvx512>, Isa::kAmx};
}

}  // namespace pagoda

#endif
