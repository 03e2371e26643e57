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
// After what it uses.
#include "kernels/cpu/products_amx-inl.h"
// After the blocks that they use.
#include "kernels/cpu/products_avx512bf16-inl.h"

#include "kernels/cpu/groups_bf16-inl.h"

#include "kernels/cpu/groups_amx-inl.h"

namespace pagoda {
namespace {

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  run_tiles<standin::Tiles>(products::FinishByCall(products::epilogue_portable(), epilogue, y), exec, x, w);
}

void run_groups(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  groups::run_by_rows(groups::nibbles_standin(), exec, x, w, epilogue, y, [&](const View& rows) {
    run_group_tiles<standin::Tiles, standin::Dot, standin::PairDecoder, standin::FlushSubnormals>(
        products::FinishByCall(products::epilogue_portable(), epilogue, y), groups::expand_portable(), exec, rows, w);
  });
}

}  // namespace

void fill_products_amx_standin(KernelTable& table) {
  table.add_product({"amx stand-in", Isa::kAmx, products::takes_bf16_pairs, run});
  table.add_product({"amx groups stand-in", Isa::kAmx, takes_bf16_groups, run_groups});
  fill_int8_amx_standin(table);
}

}  // namespace pagoda
