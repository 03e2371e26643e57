// groups_vnni.cc over plain C++, for tests on machines without the instruction.
#include <algorithm>
#include <cstring>

#include "hwy/base.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/instructions_standin.h"
#include "kernels/cpu/products_finish.h"
#include "kernels/cpu/read_ahead.h"
// After what it uses.
#include "kernels/cpu/groups_nibbles-inl.h"

namespace pagoda {
namespace {

struct NibbleDot : standin::NibbleDot {
  static Floats load_halves(const uint8_t* from) {
    Floats v;
    for (int i = 0; i < 16; ++i) {
      uint16_t bits;
      std::memcpy(&bits, from + 2 * i, 2);
      v.lanes[i] = float16_to_float(bits);
    }
    return v;
  }
};

void run(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y) {
  run_nibbles<NibbleDot, DotBlocks<NibbleDot>, standin::FlushSubnormals>(
      products::FinishByCall(products::epilogue_portable(), epilogue, y), groups::expand_portable(), exec, x, w);
}

}  // namespace

groups::Nibbles groups::nibbles_standin() { return {run, on_grid<NibbleDot>}; }

}  // namespace pagoda
