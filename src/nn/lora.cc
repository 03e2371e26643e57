// Two thin products and a factor; lengths of outputs.
#include "nn/lora.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "ops/math.h"
#include "ops/tape.h"

namespace pagoda {

namespace {

// How many rows or columns of so many elements a thread takes: less is not worth waking one for.
int64_t together(int64_t elements) {
  constexpr int64_t kElements = 1 << 16;
  return std::max<int64_t>(16, kElements / std::max<int64_t>(1, elements));
}

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

// fn(number of the output, one of its weights) over a weight, outputs shared among threads.
template <class T, class Fn>
void for_each_weight(const Tensor& weight, bool transposed, Fn&& fn) {
  const int64_t outputs = weight.dim(transposed ? 1 : 0), inputs = weight.dim(transposed ? 0 : 1);
  weight.device().exec.pool->parallel_for(outputs, together(inputs), [&](int64_t begin, int64_t end, int) {
    T* const values = weight.data<T>();
    for (int64_t k = 0; transposed && k < inputs; ++k) {
      for (int64_t n = begin; n < end; ++n) fn(n, values[k * outputs + n]);
    }
    for (int64_t n = begin; !transposed && n < end; ++n) {
      for (int64_t k = 0; k < inputs; ++k) fn(n, values[n * inputs + k]);
    }
  });
}

template <class T>
Tensor lengths_of(const Tensor& weight, bool transposed) {
  const Tensor lengths = Tensor::zeros(weight.device(), weight.dtype(), {weight.dim(transposed ? 1 : 0)});
  std::vector<double> squares(static_cast<size_t>(lengths.numel()));
  for_each_weight<T>(weight, transposed, [&](int64_t n, T value) {
    squares[static_cast<size_t>(n)] += static_cast<double>(value) * static_cast<double>(value);
  });
  for (size_t n = 0; n < squares.size(); ++n) lengths.data<T>()[n] = static_cast<T>(std::sqrt(squares[n]));
  return lengths;
}

// Factors of the outputs: a weight of zeros stays one.
template <class P>
std::vector<P> ratios(const Tensor& magnitude, const Tensor& lengths) {
  std::vector<P> factors(static_cast<size_t>(magnitude.numel()));
  for (size_t n = 0; n < factors.size(); ++n) {
    const P length = lengths.data<P>()[n];
    factors[n] = length == 0 ? P(0) : magnitude.data<P>()[n] / length;
  }
  return factors;
}

// Element type T of activations, P of the parameters beside them.
template <class T, class P>
P value_of(T value) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return static_cast<float>(value);
  } else {
    return value;
  }
}

// y = x * factor + bias by columns, in `into`; bias may be undefined.
template <class T, class P>
void scale_columns(const Tensor& x, const std::vector<P>& factors, const Tensor& bias, const Tensor& into) {
  const int64_t columns = x.dim(1);
  x.device().exec.pool->parallel_for(x.dim(0), together(columns), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const T* const from = x.data<T>() + row * columns;
      T* const to = into.data<T>() + row * columns;
      for (int64_t n = 0; n < columns; ++n) {
        const P scaled = value_of<T, P>(from[n]) * factors[static_cast<size_t>(n)];
        to[n] = T(bias ? scaled + bias.data<P>()[n] : scaled);
      }
    }
  });
}

// Sums over rows of dy * x (x undefined: of dy), divided by `lengths` where there are any.
template <class T, class P>
Tensor column_sums(const Tensor& dy, const Tensor& x, const Tensor& lengths) {
  const int64_t columns = dy.dim(1);
  const Tensor sums = Tensor::zeros(dy.device(), std::is_same_v<P, double> ? DType::kFloat64 : DType::kFloat32, {columns});
  dy.device().exec.pool->parallel_for(columns, together(dy.dim(0)), [&](int64_t begin, int64_t end, int) {
    P* const into = sums.data<P>();
    for (int64_t row = 0; row < dy.dim(0); ++row) {
      for (int64_t n = begin; n < end; ++n) {
        const P grad = value_of<T, P>(dy.data<T>()[row * columns + n]);
        into[n] += x ? grad * value_of<T, P>(x.data<T>()[row * columns + n]) : grad;
      }
    }
    for (int64_t n = begin; lengths && n < end; ++n) {
      const P length = lengths.data<P>()[n];
      into[n] = length == 0 ? P(0) : into[n] / length;
    }
  });
  return sums;
}

// x * magnitude / lengths + bias by columns; lengths are constants.
template <class T, class P>
Tensor with_magnitude_of(const Tensor& x, const Tensor& magnitude, const Tensor& lengths, const Tensor& bias) {
  const Tensor y = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
  scale_columns<T, P>(x, ratios<P>(magnitude, lengths), bias, y);
  if (!needs_grad({&x, &magnitude, &bias})) return y;
  return ops::attach(y, {x, magnitude, bias}, [x, magnitude, lengths, bias](const Tensor& dy) {
    Tensor dx = Tensor::empty(x.device(), x.dtype(), {x.dim(0), x.dim(1)});
    scale_columns<T, P>(dy, ratios<P>(magnitude, lengths), {}, dx);
    return std::vector<Tensor>{dx, column_sums<T, P>(dy, x, lengths),
                               bias && bias.requires_grad() ? column_sums<T, P>(dy, {}, {}) : Tensor()};
  });
}

Tensor with_magnitude(const Tensor& x, const Tensor& magnitude, const Tensor& lengths, const Tensor& bias) {
  switch (x.dtype()) {
    case DType::kFloat64: return with_magnitude_of<double, double>(x, magnitude, lengths, bias);
    case DType::kBFloat16: return with_magnitude_of<BFloat16, float>(x, magnitude, lengths, bias);
    default: return with_magnitude_of<float, float>(x, magnitude, lengths, bias);
  }
}

}  // namespace

Tensor with_low_rank(const Tensor& weight, const Tensor& a, const Tensor& b, float scale, bool transposed) {
  Device& device = weight.device();
  const Tensor sum = Tensor::empty(device, a.dtype(), weight.dims());
  if (weight.dtype() == sum.dtype()) {
    std::memcpy(sum.view().data, weight.view().data, static_cast<size_t>(weight.bytes()));
  } else {
    device.kernels->cast(device.exec, weight.view(), sum.view());
  }
  const Tensor high = scaled(b, scale);
  // W + B A, or its transpose A^T B^T.
  if (transposed) {
    device.kernels->gemm(device.exec, a.view(), true, high.view(), true, true, sum.view());
  } else {
    device.kernels->gemm(device.exec, high.view(), false, a.view(), false, true, sum.view());
  }
  return sum;
}

Tensor output_lengths(const Tensor& weight, bool transposed) {
  return weight.dtype() == DType::kFloat64 ? lengths_of<double>(weight, transposed) : lengths_of<float>(weight, transposed);
}

void set_output_lengths(const Tensor& weight, const Tensor& magnitude, bool transposed) {
  const std::vector<float> factors = ratios<float>(magnitude, output_lengths(weight, transposed));
  for_each_weight<float>(weight, transposed, [&](int64_t n, float& value) { value *= factors[static_cast<size_t>(n)]; });
}

Tensor LowRank::dropped(const Tensor& x, const std::shared_ptr<const ops::DropoutRows>& rows) const {
  const bool drops = draws && draws->rows;
  return drops ? ops::dropout(x, dropout.p, rows ? rows : draws->rows, dropout.site) : x;
}

Tensor LowRank::addition(const Tensor& kept, DType out) const {
  return product(times(product(kept, a, kept.dtype()), scale), b, out);
}

Tensor LowRank::forward(const Tensor& x, DType out, const std::shared_ptr<const ops::DropoutRows>& rows) const {
  return addition(dropped(x, rows), out);
}

const Tensor& LowRank::lengths(const Parameter& weight, bool transposed) const {
  const std::array<uint64_t, 3> versions{weight.version, a.version, b.version};
  if (!lengths_ || versions != versions_) {
    lengths_ = output_lengths(with_low_rank(weight.value, a.value, b.value, scale, transposed), transposed);
    versions_ = versions;
  }
  return lengths_;
}

Tensor LowRank::forward_dora(const Tensor& x, const Parameter& weight, bool transposed, const Tensor& bias, const Base& base,
                             const std::shared_ptr<const ops::DropoutRows>& rows) const {
  const Tensor kept = dropped(x, rows), of_base = base(kept, false);
  const Tensor sum = ops::add(of_base, addition(kept, of_base.dtype()));
  const bool drops = kept.id() != x.id();
  const Tensor y = with_magnitude(sum, magnitude.value, lengths(weight, transposed), drops ? Tensor() : bias);
  return drops ? ops::add(y, base(ops::add(x, times(kept, -1)), true)) : y;
}

}  // namespace pagoda
