// Products in int8 on AMX tiles.
#if defined(__x86_64__)

#include "kernels/cpu/instructions_int8.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/limits.h"
#include "kernels/cpu/products_finish.h"

PAGODA_BEGIN_TILES_INT8
#include "kernels/cpu/products_amx-inl.h"

namespace pagoda {
namespace {

float byte_tile_loop(int64_t steps) {
  alignas(64) int8_t ones[16 * 64];
  std::fill_n(ones, 16 * 64, int8_t{1});
  return loop_on_tiles<native::ByteTiles>(ones, steps);
}

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  if (x.dims[0] == 0) return;
  if (x.dims[0] <= int8::kVnniRows) return int8::run_vnni(exec, x, w, epilogue, y);
  const ArenaScope scope(*exec.scratch);
  const int8::Operands o =
      int8::prepare(exec, x, w, epilogue, int8::Form::kSigned, int8::quantize_avx512(), products::epilogue_avx512());
  run_tiles<native::ByteTiles>(products::FinishByCall(int8::finish_avx512(), o.epilogue, y), exec, o.x, o.w);
}

}  // namespace
}  // namespace pagoda
PAGODA_END_TILES_INT8

namespace pagoda {

limits::Loop limits::byte_tiles_amx() { return {byte_tile_loop, 4.0 * 16 * 16 * 64 * 2}; }

void fill_int8_amx(KernelTable& table) { table.add_product({"amx int8", Isa::kAmx, int8::takes_int8, run}); }

}  // namespace pagoda

#endif
