// What the scalar reference kernels share: typed access by dtype, and their fillers.
#pragma once

#include <cmath>
#include <type_traits>

#include "kernels/table.h"

namespace pagoda::reference {

// Arithmetic is in double where the elements are, else in float: 16-bit floats are widened on load and rounded on store.
template <class T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
inline Compute<T> load(const T& value) {
  return static_cast<Compute<T>>(value);
}

template <class T>
inline void store(T& to, Compute<T> value) {
  to = T(value);
}

// Calls fn with a value of the element type: dispatch(view.dtype, [&](auto zero) { using T = decltype(zero); ... }).
template <class Fn>
void dispatch(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::kFloat64: fn(double{}); break;
    case DType::kBFloat16: fn(BFloat16{}); break;
    case DType::kFloat16: fn(Float16{}); break;
    default: fn(float{}); break;
  }
}

// Row i of a view of rank 2 (or of any rank, counting the first axis).
template <class T>
T* row(const View& view, int64_t i) {
  return view.as<T>() + i * view.strides[0];
}

// Element of a small parameter vector (norm weight, bias) in any float dtype.
inline double element(const View& view, int64_t i) {
  switch (view.dtype) {
    case DType::kFloat64: return view.as<double>()[i];
    case DType::kBFloat16: return static_cast<float>(view.as<BFloat16>()[i]);
    case DType::kFloat16: return static_cast<float>(view.as<Float16>()[i]);
    default: return view.as<float>()[i];
  }
}

void fill_vector(KernelTable& table);
void fill_attention(KernelTable& table);
void fill_products(KernelTable& table);

}  // namespace pagoda::reference
