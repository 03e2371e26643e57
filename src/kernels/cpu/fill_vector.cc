// The vector entries of each instruction set, put together from their groups.
#include "kernels/cpu/fill_vector.h"

#include "kernels/cpu/fill.h"

namespace pagoda {

#define PAGODA_CALL_PORTABLE(group) group##_portable(table);
#define PAGODA_CALL_AVX2(group) group##_avx2(table);
#define PAGODA_CALL_AVX512(group) group##_avx512(table);

void fill_vector_portable(KernelTable& table) { PAGODA_VECTOR_GROUPS(PAGODA_CALL_PORTABLE) }
void fill_vector_avx2(KernelTable& table) { PAGODA_VECTOR_GROUPS(PAGODA_CALL_AVX2) }
void fill_vector_avx512(KernelTable& table) { PAGODA_VECTOR_GROUPS(PAGODA_CALL_AVX512) }

}  // namespace pagoda
