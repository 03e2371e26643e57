// Few rows of weights in groups of 4-bit codes by vpdpbusd, and rows brought to their grid.
#if defined(__x86_64__)

#include "kernels/cpu/instructions_nibbles.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/groups.h"
#include "kernels/cpu/products_finish.h"
#include "kernels/cpu/read_ahead.h"

PAGODA_BEGIN_VNNI
#include "kernels/cpu/groups_nibbles-inl.h"

namespace pagoda {
namespace {

struct NoFlush {
  NoFlush() {}
};

void run_rounded(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y) {
  run_nibbles<native::NibbleDot, DotBlocks<native::NibbleDot>, native::FlushSubnormals>(
      products::FinishRounded(products::epilogue_avx512(), epilogue, y), groups::expand_avx512(), exec, x, w);
}

void run(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y) {
  run_nibbles<native::NibbleDot, DotBlocks<native::NibbleDot>, NoFlush>(
      products::FinishByCall(products::epilogue_avx512(), epilogue, y), groups::expand_avx512(), exec, x, w);
}

}  // namespace
}  // namespace pagoda
PAGODA_END_VNNI

namespace pagoda {

groups::Nibbles groups::nibbles_amx() { return {run_rounded, on_grid<native::NibbleDot>}; }
groups::Nibbles groups::nibbles_avx512_bf16() { return {run, on_grid<native::NibbleDot>}; }

}  // namespace pagoda

#endif
