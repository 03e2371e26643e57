// The blocks of products_amx.cc over plain C++, for tests on machines without tiles.
#include <algorithm>
#include <cstring>

#include "hwy/base.h"
#include "kernels/cpu/fill.h"
#include "kernels/cpu/instructions_standin.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/products_finish.h"
// After what it uses.
#include "kernels/cpu/products_amx-inl.h"

namespace pagoda {
namespace {

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  run_tiles<standin::Tiles>(products::FinishByCall(products::epilogue_portable(), epilogue, y), exec, x, w);
}

}  // namespace

void fill_products_amx_standin(KernelTable& table) {
  table.add_product({"amx stand-in", Isa::kAmx, products::takes_bf16_pairs, run});
}

}  // namespace pagoda
