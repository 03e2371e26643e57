// What this machine gives at most, measured on a Runtime's own threads, and which kernel computes what on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/runtime.h"

namespace pagoda {

// Bytes a second that all threads of the Runtime read together from `bytes` of memory. Throws kOutOfMemory.
double measure_read_rate(Runtime& runtime, int64_t bytes = int64_t{1} << 30);
// Floating point operations a second (a multiply-add is two) of the instruction that products of this dtype use in the
// Runtime's instruction set, all threads together, from registers. 0 for the reference kernels, and for int8 where nothing
// multiplies bytes: they have no such loop.
double measure_flop_rate(Runtime& runtime, DType dtype);
// The same of what training computes products of this dtype by: on tiles float32 is six products of bfloat16. The best of
// several tries a moment apart, since other load on the machine may last longer than one.
double measure_training_flop_rate(Runtime& runtime, DType dtype);

// One kernel of the table and the instruction set that it was written for.
struct KernelReport {
  std::string entry;   // "rms_norm"; for products the case: "product, bfloat16, 1 row"
  std::string kernel;  // the product kernel's own name; empty for the others
  Isa isa = Isa::kReference;
};
// Every entry in the table's order, then products by format of the weights and number of rows.
std::vector<KernelReport> kernel_report(const KernelTable& table);

}  // namespace pagoda
