// Products in int8 by vpdpbusd of AVX-512-VNNI.
#if defined(__x86_64__)

#include "kernels/cpu/instructions_int8.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/limits.h"
#include "kernels/cpu/read_ahead.h"

PAGODA_BEGIN_VNNI
#include "kernels/cpu/products_avx512bf16-inl.h"

namespace pagoda {
namespace {

float byte_loop(int64_t steps) { return loop_on_chains<native::ByteDot>(0x01020304, 0x04030201, steps); }

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  if (x.dims[0] == 0) return;
  const ArenaScope scope(*exec.scratch);
  const int8::Operands o =
      int8::prepare(exec, x, w, epilogue, int8::Form::kUnsigned, int8::quantize_avx512(), products::epilogue_avx512());
  run_dot<native::ByteDot>(int8::finish_avx512(), exec, o.x, o.w, o.epilogue, y);
}

}  // namespace
}  // namespace pagoda
PAGODA_END_VNNI

namespace pagoda {

void int8::run_vnni(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  run(exec, x, w, epilogue, y);
}

limits::Loop limits::dot_vnni() { return {byte_loop, 24.0 * 64 * 2}; }

void fill_int8_vnni(KernelTable& table) { table.add_product({"avx512_vnni int8", Isa::kAvx512Bf16, int8::takes_int8, run}); }

}  // namespace pagoda

#endif
