// Two thin products and a factor.
#include "nn/lora.h"

#include <type_traits>

#include "ops/tape.h"

namespace pagoda {

namespace {

template <class T>
void scale_into(const Tensor& from, float factor, const Tensor& into) {
  const int64_t size = from.dim(0) * from.dim(1);
  for (int64_t i = 0; i < size; ++i) {
    if constexpr (std::is_same_v<T, double>) {
      into.data<T>()[i] = from.data<T>()[i] * static_cast<double>(factor);
    } else {
      into.data<T>()[i] = T(static_cast<float>(from.data<T>()[i]) * factor);
    }
  }
}

// Of a contiguous [T, r]: small.
Tensor scaled(const Tensor& x, float factor) {
  Tensor y = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
  switch (x.dtype()) {
    case DType::kFloat64: scale_into<double>(x, factor, y); break;
    case DType::kBFloat16: scale_into<BFloat16>(x, factor, y); break;
    default: scale_into<float>(x, factor, y);
  }
  return y;
}

Tensor times(const Tensor& x, float factor) {
  const Tensor y = scaled(x, factor);
  if (!needs_grad({&x})) return y;
  return ops::attach(y, {x}, [factor](const Tensor& grad) { return std::vector<Tensor>{scaled(grad, factor)}; });
}

Tensor product(const Tensor& x, const Parameter& weight, DType out) {
  if (x.dtype() != DType::kBFloat16) return ops::linear(x, weight.value, {}, false);
  return ops::linear(x, weight.value, {}, false, weight.copies, weight.version, out);
}

}  // namespace

Tensor LowRank::forward(const Tensor& x, DType out, const std::shared_ptr<const ops::DropoutRows>& rows) const {
  const bool drops = draws && draws->rows;
  const Tensor kept = drops ? ops::dropout(x, dropout.p, rows ? rows : draws->rows, dropout.site) : x;
  return product(times(product(kept, a, x.dtype()), scale), b, out);
}

}  // namespace pagoda
