// The blocks of int8_vnni.cc and int8_amx.cc over plain C++, for tests on machines without the instructions.
#include <algorithm>
#include <cstring>
#include <utility>

#include "hwy/base.h"
#include "kernels/cpu/fill.h"
#include "kernels/cpu/instructions_standin.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/products_finish.h"
#include "kernels/cpu/read_ahead.h"
// After what they use.
#include "kernels/cpu/products_amx-inl.h"
#include "kernels/cpu/products_avx512bf16-inl.h"

namespace pagoda {
namespace {

void run_vnni(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  if (x.dims[0] == 0) return;
  const ArenaScope scope(*exec.scratch);
  const int8::Operands o =
      int8::prepare(exec, x, w, epilogue, int8::Form::kUnsigned, int8::quantize_portable(), products::epilogue_portable());
  run_dot<standin::ByteDot, 3>(int8::finish_portable(), exec, o.x, o.w, o.epilogue, y);
}

void run_amx(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  if (x.dims[0] == 0) return;
  const ArenaScope scope(*exec.scratch);
  const int8::Operands o =
      int8::prepare(exec, x, w, epilogue, int8::Form::kSigned, int8::quantize_portable(), products::epilogue_portable());
  run_tiles<standin::ByteTiles>(products::FinishByCall(int8::finish_portable(), o.epilogue, y), exec, o.x, o.w);
}

}  // namespace

void fill_int8_vnni_standin(KernelTable& table) {
  table.add_product({"avx512_vnni int8 stand-in", Isa::kAvx512Bf16, int8::takes_int8, run_vnni});
}
void fill_int8_amx_standin(KernelTable& table) {
  table.add_product({"amx int8 stand-in", Isa::kAmx, int8::takes_int8, run_amx});
}

}  // namespace pagoda
