// Products of bfloat16 by vdpbf16ps (AMD Zen 4 and later; Xeons since Cooper Lake), and the loop that measures its rate.
#if defined(__x86_64__)

#include "kernels/cpu/instructions_avx512bf16.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/limits.h"
#include "kernels/cpu/products.h"
#include "kernels/cpu/read_ahead.h"

PAGODA_BEGIN_AVX512BF16
#include "kernels/cpu/products_avx512bf16-inl.h"
// After the blocks that it uses.
#include "kernels/cpu/groups_bf16-inl.h"

namespace pagoda {
namespace {

float dot_loop(int64_t steps) { return loop_on_chains<native::Dot>(0x3F803F00, 0x3C003B80, steps); }

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  run_dot<native::Dot>(products::epilogue_avx512(), exec, x, w, epilogue, y);
}

void run_groups(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  groups::run_by_rows(groups::nibbles_avx512_bf16(), exec, x, w, epilogue, y, [&](const View& rows) {
    run_dot_groups<native::Dot, native::PairDecoder>(products::epilogue_avx512(), groups::expand_avx512(), exec, rows, w,
                                                     epilogue, y);
  });
}

}  // namespace
}  // namespace pagoda
PAGODA_END_AVX512BF16

namespace pagoda {

void fill_products_avx512_bf16(KernelTable& table) {
  table.add_product({"avx512_bf16", Isa::kAvx512Bf16, products::takes_bf16_pairs, run});
  table.add_product({"avx512_bf16 groups", Isa::kAvx512Bf16, takes_bf16_groups, run_groups});
  fill_int8_vnni(table);
}

limits::Loop limits::dot_avx512_bf16() { return {dot_loop, 24.0 * 16 * 2 * 2}; }

}  // namespace pagoda

#endif
