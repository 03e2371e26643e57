// Loops that do nothing but multiply-add in registers: what limits.cc times.
#pragma once

#include <cstdint>

namespace pagoda::limits {

struct Loop {
  float (*run)(int64_t steps) = nullptr;  // the result must be used
  double flops_per_step = 0;
};
Loop fma_portable();
Loop fma_avx2();
Loop fma_avx512();
Loop dot_avx512_bf16();
Loop tiles_amx();
// int8, an operation being a multiplication or an addition.
Loop dot_vnni();
Loop byte_tiles_amx();

// Reads [data, data + bytes), bytes a multiple of 4096, as four streams side by side (as the kernels of few rows do) or one.
using ReadFn = uint64_t (*)(const void* data, int64_t bytes, bool four_streams);
ReadFn read_portable();
ReadFn read_avx2();

}  // namespace pagoda::limits
