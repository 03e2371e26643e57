// Products of bfloat16 on AMX tiles (Xeons since Sapphire Rapids), and the loop that measures their rate.
#if defined(__x86_64__)

#include "kernels/cpu/instructions_amx.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/limits.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/products_finish.h"
#include "kernels/cpu/read_ahead.h"

PAGODA_BEGIN_AMX
#include "kernels/cpu/products_amx-inl.h"
// After the blocks that they use.
#include "kernels/cpu/products_avx512bf16-inl.h"

#include "kernels/cpu/groups_bf16-inl.h"

#include "kernels/cpu/groups_amx-inl.h"

namespace pagoda {
namespace {

float tile_loop(int64_t steps) {
  alignas(64) BFloat16 ones[16 * 32];
  for (BFloat16& one : ones) one = BFloat16(0.01f);
  return loop_on_tiles<native::Tiles>(ones, steps);
}

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  if (epilogue.gated) {
    return run_tiles<native::Tiles>(products::FinishByCall(products::gated_epilogue_avx512(true), epilogue, y), exec, x, w,
                                    true);
  }
  run_tiles<native::Tiles>(products::FinishRounded(products::epilogue_avx512(), epilogue, y), exec, x, w);
}

void run_groups(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  groups::run_by_rows(groups::nibbles_amx(), exec, x, w, epilogue, y, [&](const View& rows) {
    run_group_tiles<native::Tiles, native::Dot, native::PairDecoder, native::FlushSubnormals>(
        products::FinishRounded(products::epilogue_avx512(), epilogue, y), groups::expand_avx512(), exec, rows, w);
  });
}

}  // namespace
}  // namespace pagoda
PAGODA_END_AMX

namespace pagoda {

void fill_products_amx(KernelTable& table) {
  table.add_product({"amx", Isa::kAmx, products::takes_bf16_pairs, run, kGatedRows});
  table.add_product({"amx groups", Isa::kAmx, takes_bf16_groups, run_groups});
  fill_int8_amx(table);
  fill_gemm_amx(table);
}

limits::Loop limits::tiles_amx() { return {tile_loop, 4.0 * 16 * 16 * 32 * 2}; }

}  // namespace pagoda

#endif
