// The blocks of products_avx512bf16.cc over plain C++, for tests on machines without the instruction.
#include <algorithm>
#include <cstring>
#include <utility>

#include "hwy/base.h"
#include "kernels/cpu/fill.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/instructions_standin.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/read_ahead.h"
// After what it uses.
#include "kernels/cpu/products_avx512bf16-inl.h"
// After the blocks that it uses.
#include "kernels/cpu/groups_bf16-inl.h"

namespace pagoda {
namespace {

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  run_dot<standin::Dot>(products::epilogue_portable(), exec, x, w, epilogue, y);
}

void run_groups(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  groups::run_by_rows(groups::nibbles_standin(), exec, x, w, epilogue, y, [&](const View& rows) {
    run_dot_groups<standin::Dot, standin::PairDecoder, 3>(products::epilogue_portable(), groups::expand_portable(), exec, rows,
                                                          w, epilogue, y);
  });
}

}  // namespace

void fill_products_avx512_bf16_standin(KernelTable& table) {
  table.add_product({"avx512_bf16 stand-in", Isa::kAvx512Bf16, products::takes_bf16_pairs, run});
  table.add_product({"avx512_bf16 groups stand-in", Isa::kAvx512Bf16, takes_bf16_groups, run_groups});
  fill_int8_vnni_standin(table);
}

}  // namespace pagoda
