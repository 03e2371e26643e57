// The reference's table, for element types that the vector kernels leave to it (float64, float16).
#pragma once

#include "kernels/table.h"

namespace pagoda {

inline const KernelTable& reference_table() {
  static const KernelTable kTable = [] {
    KernelTable filled;
    fill_reference(filled);
    return filled;
  }();
  return kTable;
}

inline bool is_vector_dtype(DType dtype) { return dtype == DType::kFloat32 || dtype == DType::kBFloat16; }

}  // namespace pagoda
