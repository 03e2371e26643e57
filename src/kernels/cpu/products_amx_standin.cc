// The blocks of products_amx.cc over plain C++, for tests on machines without tiles.
#include <algorithm>
#include <cstring>
#include <utility>

#include "hwy/base.h"
#include "kernels/cpu/fill.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/instructions_standin.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/products_finish.h"
#include "kernels/cpu/read_ahead.h"
// After what it uses.
#include "kernels/cpu/products_amx-inl.h"
// After the blocks that they use.
#include "kernels/cpu/products_avx512bf16-inl.h"

#include "kernels/cpu/groups_bf16-inl.h"

#include "kernels/cpu/groups_amx-inl.h"

namespace pagoda {
namespace {

// Gates by the activation that the table's own gated_activation has.
template <products::EpilogueFn (*kGated)()>
void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  if (epilogue.gated) return run_tiles<standin::Tiles>(products::FinishByCall(kGated(), epilogue, y), exec, x, w, true);
  run_tiles<standin::Tiles>(products::FinishByCall(products::epilogue_portable(), epilogue, y), exec, x, w);
}

#if defined(__x86_64__)
products::EpilogueFn gated_epilogue_of_avx512() { return products::gated_epilogue_avx512(false); }
#endif

void run_groups(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  groups::run_by_rows(groups::nibbles_standin(), exec, x, w, epilogue, y, [&](const View& rows) {
    run_group_tiles<standin::Tiles, standin::Dot, standin::PairDecoder, standin::FlushSubnormals>(
        products::FinishByCall(products::epilogue_portable(), epilogue, y), groups::expand_portable(), exec, rows, w);
  });
}

}  // namespace

void fill_products_amx_standin(KernelTable& table) {
  auto* product = run<products::gated_epilogue_portable>;
#if defined(__x86_64__)
  if (table.gated_activation.isa == Isa::kAvx2) product = run<products::gated_epilogue_avx2>;
  if (table.gated_activation.isa >= Isa::kAvx512) product = run<gated_epilogue_of_avx512>;
#endif
  table.add_product({"amx stand-in", Isa::kAmx, products::takes_bf16_pairs, product, kGatedRows});
  table.add_product({"amx groups stand-in", Isa::kAmx, takes_bf16_groups, run_groups});
  fill_int8_amx_standin(table);
  fill_gemm_amx_standin(table);
}

}  // namespace pagoda
