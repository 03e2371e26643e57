// The vector entries' fillers, one group a source file, one function an instruction set; fill_vector.cc composes them.
#pragma once

#include "kernels/table.h"

namespace pagoda {

#define PAGODA_VECTOR_GROUPS(X) \
  X(fill_attention)             \
  X(fill_attention_gradients)   \
  X(fill_norms) X(fill_elementwise) X(fill_rotary) X(fill_losses) X(fill_turned) X(fill_adam) X(fill_dropout)

#define PAGODA_DECLARE_GROUP(group)          \
  void group##_portable(KernelTable& table); \
  void group##_avx2(KernelTable& table);     \
  void group##_avx512(KernelTable& table);
PAGODA_VECTOR_GROUPS(PAGODA_DECLARE_GROUP)
#undef PAGODA_DECLARE_GROUP

// What training's attention has on tiles.
void fill_attention_gradients_amx(KernelTable& table);
void fill_attention_gradients_amx_standin(KernelTable& table);

// In a Highway source under HWY_ONCE: `group`_entries of each target's namespace under a name of its own.
#if defined(__x86_64__)
#define PAGODA_FILLERS_BY_TARGET(group)                                                      \
  void group##_portable(KernelTable& table) { HWY_STATIC_DISPATCH(group##_entries)(table); } \
  void group##_avx2(KernelTable& table) { N_AVX2::group##_entries(table); }                  \
  void group##_avx512(KernelTable& table) { N_AVX3::group##_entries(table); }
#else
#define PAGODA_FILLERS_BY_TARGET(group)                                                      \
  void group##_portable(KernelTable& table) { HWY_STATIC_DISPATCH(group##_entries)(table); } \
  void group##_avx2(KernelTable& table) { group##_portable(table); }                         \
  void group##_avx512(KernelTable& table) { group##_portable(table); }
#endif

}  // namespace pagoda
