// The limits of this machine that every figure of speed is set against, measured on the pool that runs the kernels.
#pragma once

#include <cstdint>

#include "base/cpu_info.h"
#include "base/thread_pool.h"
#include "tensor/dtype.h"

namespace pagoda {

// GB/s (10^9 bytes) at which all threads together read `bytes` of memory, the best of several passes. Throws kOutOfMemory.
double measure_read_bandwidth(ThreadPool& pool, int64_t bytes = int64_t{1} << 30);

// GFLOP/s of the instruction that products of this dtype (float32, bfloat16, int8) use in this instruction set, all threads
// together, from registers alone; a multiply-add counts as two. Where an instruction set has no bfloat16 products, both
// dtypes give the float32 rate. int8: operations on integers, 0 where nothing multiplies bytes. 0 for kReference. The caller
// sees to it that the machine has the instruction set.
double measure_flops(ThreadPool& pool, Isa isa, DType dtype);

}  // namespace pagoda
