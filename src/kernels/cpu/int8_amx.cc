// Products in int8 on AMX tiles.
#if defined(__x86_64__)

#include "kernels/cpu/instructions_int8.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/products_finish.h"

PAGODA_BEGIN_TILES_INT8
#include "kernels/cpu/products_amx-inl.h"

namespace pagoda {
namespace {

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  if (x.dims[0] == 0) return;
  const ArenaScope scope(*exec.scratch);
  const int8::Operands o =
      int8::prepare(exec, x, w, epilogue, int8::Form::kSigned, int8::quantize_avx512(), products::epilogue_avx512());
  run_tiles<native::ByteTiles>(products::FinishByCall(int8::finish_avx512(), o.epilogue, y), exec, o.x, o.w);
}

}  // namespace
}  // namespace pagoda
PAGODA_END_TILES_INT8

namespace pagoda {

void fill_int8_amx(KernelTable& table) { table.add_product({"amx int8", Isa::kAmx, int8::takes_int8, run}); }

}  // namespace pagoda

#endif
