// Dropout of activations by every instruction set, to the same bits. Beside the table, not in it: one op calls it, and what it
// gives does not depend on who computes it.
#pragma once

#include <cstdint>

#include "base/cpu_info.h"
#include "tensor/device.h"
#include "tensor/view.h"

namespace pagoda {

// Whether an element is dropped is a function of the seed, the number that its row bears, the site and its column.
struct DropoutSpec {
  float p = 0;  // in (0, 1): the chance that an element is dropped, in steps of 2^-24; those kept grow by 1 / (1 - p)
  uint64_t seed = 0;
  const uint64_t* rows = nullptr;  // [T] numbers of rows
  uint32_t site = 0;
};

// y [T, H] = x with elements dropped; float32, bfloat16 or float64; rows may be strided, y may be x. The gradient of x is that
// of y, dropped likewise. isa: the table's.
void dropout(const Exec& exec, Isa isa, const DropoutSpec& spec, const View& x, const View& y);

}  // namespace pagoda
