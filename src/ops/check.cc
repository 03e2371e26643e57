// Texts of shape and dtype errors.
#include "ops/check.h"

#include <string>

namespace pagoda::ops {

void check_shape(const char* op, const char* name, const Tensor& tensor, std::initializer_list<int64_t> dims) {
  bool fits = tensor.is_defined() && tensor.rank() == static_cast<int>(dims.size());
  int axis = 0;
  for (const int64_t dim : dims) {
    if (!fits) break;
    fits = dim < 0 || tensor.dim(axis) == dim;
    ++axis;
  }
  if (fits) return;
  std::string need = "[";
  for (const int64_t dim : dims) need += (need.size() > 1 ? ", " : "") + (dim < 0 ? std::string("*") : std::to_string(dim));
  invalid(op, "{}: got {} {}, need {}]", name, tensor ? shape_string(tensor.view()) : "nothing",
          tensor ? dtype_name(tensor.dtype()) : "", need);
}

void check_dtype(const char* op, const char* name, const Tensor& tensor, std::initializer_list<DType> dtypes) {
  std::string need;
  for (const DType dtype : dtypes) {
    if (tensor.dtype() == dtype) return;
    need += (need.empty() ? "" : " or ") + std::string(dtype_name(dtype));
  }
  unsupported(op, "{}: got {}, need {}", name, dtype_name(tensor.dtype()), need);
}

void check_same_dtype(const char* op, const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype())
    invalid(op, "dtypes differ: got {} and {}, need equal ones", dtype_name(a.dtype()), dtype_name(b.dtype()));
}

}  // namespace pagoda::ops
