// Shape and dtype checks that ops make before a kernel is called.
#pragma once

#include <initializer_list>

#include "base/error.h"
#include "tensor/tensor.h"

namespace pagoda::ops {

// -1 in `dims` accepts any size. Error: "[op] name: got [2, 3] float32, need [*, 4]".
void check_shape(const char* op, const char* name, const Tensor& tensor, std::initializer_list<int64_t> dims);
void check_dtype(const char* op, const char* name, const Tensor& tensor, std::initializer_list<DType> dtypes);
void check_same_dtype(const char* op, const Tensor& a, const Tensor& b);

}  // namespace pagoda::ops
