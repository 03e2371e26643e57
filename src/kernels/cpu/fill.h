// The parts of each filler, by the files that hold them; kernels/fill.cc composes them.
#pragma once

#include "kernels/table.h"

namespace pagoda {

// products, gemm, pack, unpack, packed_embedding
void fill_products_portable(KernelTable& table);
void fill_products_avx2(KernelTable& table);
void fill_products_avx512(KernelTable& table);
void fill_products_avx512_bf16(KernelTable& table);
void fill_products_amx(KernelTable& table);
// products on weights in groups, called by the fillers above
void fill_groups_portable(KernelTable& table);
void fill_groups_avx2(KernelTable& table);
void fill_groups_avx512(KernelTable& table);
// products in int8, likewise
void fill_int8_portable(KernelTable& table);
void fill_int8_avx2(KernelTable& table);
void fill_int8_avx512(KernelTable& table);
void fill_int8_vnni(KernelTable& table);
void fill_int8_amx(KernelTable& table);
// gemm on tiles, likewise
void fill_gemm_amx(KernelTable& table);
void fill_gemm_amx_standin(KernelTable& table);
void fill_int8_vnni_standin(KernelTable& table);
void fill_int8_amx_standin(KernelTable& table);
// The same code over plain C++ in place of the instructions: runs on every machine, slowly. For tests.
void fill_products_avx512_bf16_standin(KernelTable& table);
void fill_products_amx_standin(KernelTable& table);

// everything else: norms, rotary, activations, embeddings, losses, attention and its cache
void fill_vector_portable(KernelTable& table);
void fill_vector_avx2(KernelTable& table);
void fill_vector_avx512(KernelTable& table);
// attention on bfloat16 products: native, and over plain C++ in place of the instructions (needs AVX2). For tests.
void fill_vector_avx512_bf16(KernelTable& table);
void fill_vector_amx(KernelTable& table);
void fill_vector_avx512_bf16_standin(KernelTable& table);
void fill_vector_amx_standin(KernelTable& table);

}  // namespace pagoda
