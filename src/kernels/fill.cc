// Which fillers make up the table of a CPU, in order: each overrides what the one before it has.
#include "kernels/cpu/fill.h"
#include "kernels/cpu/reference.h"
#include "kernels/table.h"

namespace pagoda {

void fill_reference(KernelTable& table) {
  reference::fill_vector(table);
  reference::fill_attention(table);
  reference::fill_products(table);
  table.isa = Isa::kReference;
}

void fill_portable(KernelTable& table) {
  fill_vector_portable(table);
  fill_products_portable(table);
  table.isa = Isa::kPortable;
}

void fill_avx2(KernelTable& table) {
  fill_vector_avx2(table);
  fill_products_avx2(table);
  table.isa = Isa::kAvx2;
}

void fill_avx512(KernelTable& table) {
  fill_vector_avx512(table);
  fill_products_avx512(table);
  table.isa = Isa::kAvx512;
}

void fill_avx512_bf16(KernelTable& table) {
  fill_vector_avx512_bf16(table);
  fill_products_avx512_bf16(table);
  table.isa = Isa::kAvx512Bf16;
}

void fill_amx(KernelTable& table) {
  fill_vector_amx(table);
  fill_products_amx(table);
  table.isa = Isa::kAmx;
}

void fill_cpu(KernelTable& table, Isa isa) {
  fill_reference(table);
  if (isa >= Isa::kPortable) fill_portable(table);
  if (isa >= Isa::kAvx2) fill_avx2(table);
  if (isa >= Isa::kAvx512) fill_avx512(table);
  if (isa >= Isa::kAvx512Bf16) fill_avx512_bf16(table);
  if (isa >= Isa::kAmx) fill_amx(table);
}

}  // namespace pagoda
