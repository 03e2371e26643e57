// Scalar reference: norms, rotary, activations, dropout, embeddings, softmax, loss, Adam. Plain loops, the oracle for all
// others.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/dropout_draws.h"
#include "kernels/cpu/fallback.h"
#include "kernels/cpu/reference.h"

namespace pagoda {

namespace {

template <class F>
F activate(Activation kind, F x) {
  constexpr F kHalf = F(0.5), kOne = F(1);
  const F sqrt2 = F(1.4142135623730951), sqrt_2_over_pi = F(0.7978845608028654);
  const auto sigmoid = [&](F v) { return kOne / (kOne + std::exp(-v)); };
  switch (kind) {
    case Activation::kNone: return x;
    case Activation::kSilu: return x * sigmoid(x);
    case Activation::kGelu: return kHalf * x * (kOne + std::erf(x / sqrt2));
    case Activation::kGeluTanh: return kHalf * x * (kOne + std::tanh(sqrt_2_over_pi * (x + F(0.044715) * x * x * x)));
    case Activation::kGeluFast: return kHalf * x * (kOne + std::tanh(x * F(0.7978845608) * (kOne + F(0.044715) * x * x)));
    case Activation::kGelu10: return std::clamp(kHalf * x * (kOne + std::erf(x / sqrt2)), F(-10), F(10));
    case Activation::kQuickGelu: return x * sigmoid(F(1.702) * x);
    case Activation::kRelu: return x > 0 ? x : F(0) * x;  // keeps NaN
    case Activation::kRelu2: return x > 0 ? x * x : F(0) * x;
    case Activation::kRelu6: return x < 0 ? F(0) : x > 6 ? F(6) : x;
    case Activation::kLeakyRelu: return x > 0 ? x : F(0.01) * x;
    case Activation::kSigmoid: return sigmoid(x);
    case Activation::kTanh: return std::tanh(x);
    case Activation::kMish: return x * std::tanh(x > 20 ? x : std::log1p(std::exp(x)));
    case Activation::kHardSwish: return x * std::clamp(x + F(3), F(0), F(6)) / F(6);
    case Activation::kHardSigmoid: return std::clamp(x + F(3), F(0), F(6)) / F(6);
    case Activation::kLaplace: return kHalf * (kOne + std::erf((x - F(0.707107)) / (F(0.282095) * sqrt2)));
    case Activation::kSqrtSoftplus: return std::sqrt(x > 20 ? x : std::log1p(std::exp(x)));
  }
  return x;
}

}  // namespace

float apply_activation(Activation kind, float x) { return activate(kind, x); }
double apply_activation(Activation kind, double x) { return activate(kind, x); }

double activation_derivative(Activation kind, double x) {
  constexpr double kSqrt2 = 1.4142135623730951, kSqrt2OverPi = 0.7978845608028654, kInvSqrt2Pi = 0.3989422804014327;
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  switch (kind) {
    case Activation::kNone: return 1;
    case Activation::kSilu: {
      const double s = sigmoid(x);
      return s * (1 + x * (1 - s));
    }
    case Activation::kGelu: return 0.5 * (1 + std::erf(x / kSqrt2)) + x * kInvSqrt2Pi * std::exp(-0.5 * x * x);
    case Activation::kGelu10: {
      const double y = 0.5 * x * (1 + std::erf(x / kSqrt2));
      return y < -10 || y > 10 ? 0 : activation_derivative(Activation::kGelu, x);
    }
    case Activation::kGeluTanh:
    case Activation::kGeluFast: {
      const double t = std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * kSqrt2OverPi * (1 + 3 * 0.044715 * x * x);
    }
    case Activation::kQuickGelu: {
      const double s = sigmoid(1.702 * x);
      return s + 1.702 * x * s * (1 - s);
    }
    case Activation::kRelu: return x > 0 ? 1 : 0;
    case Activation::kRelu2: return x > 0 ? 2 * x : 0;
    case Activation::kRelu6: return x > 0 && x < 6 ? 1 : 0;
    case Activation::kLeakyRelu: return x > 0 ? 1 : 0.01;
    case Activation::kSigmoid: {
      const double s = sigmoid(x);
      return s * (1 - s);
    }
    case Activation::kTanh: {
      const double t = std::tanh(x);
      return 1 - t * t;
    }
    case Activation::kMish: {
      const double t = std::tanh(x > 20 ? x : std::log1p(std::exp(x)));
      return t + x * (1 - t * t) * sigmoid(x);
    }
    case Activation::kHardSwish: return x < -3 ? 0 : x > 3 ? 1 : (2 * x + 3) / 6;
    case Activation::kHardSigmoid: return x < -3 || x > 3 ? 0 : 1.0 / 6;
    case Activation::kLaplace: {
      const double sigma = 0.282095, z = (x - 0.707107) / sigma;
      return kInvSqrt2Pi / sigma * std::exp(-0.5 * z * z);
    }
    case Activation::kSqrtSoftplus: return sigmoid(x) / (2 * std::sqrt(x > 20 ? x : std::log1p(std::exp(x))));
  }
  return 1;
}

namespace reference {
namespace {

void cast(const Exec&, View x, View y) {
  const int64_t rows = x.rank <= 1 ? 1 : x.numel() / std::max<int64_t>(1, x.dims[x.rank - 1]);
  const int64_t width = x.dims[x.rank - 1], sx = x.rank <= 1 ? 0 : x.strides[x.rank - 2],
                sy = y.rank <= 1 ? 0 : y.strides[y.rank - 2];
  dispatch(x.dtype, [&](auto zero_x) {
    using X = decltype(zero_x);
    dispatch(y.dtype, [&](auto zero_y) {
      using Y = decltype(zero_y);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < width; ++j) y.as<Y>()[i * sy + j] = Y(static_cast<Compute<Y>>(load(x.as<X>()[i * sx + j])));
      }
    });
  });
}

void add(const Exec&, View a, View b, View y) {
  dispatch(y.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < y.dims[0]; ++i) {
      const T *ra = row<T>(a, i), *rb = row<T>(b, i);
      T* ry = row<T>(y, i);
      for (int64_t j = 0, width = y.numel() / y.dims[0]; j < width; ++j) store(ry[j], load(ra[j]) + load(rb[j]));
    }
  });
}

// x + delta rounded to the dtype of the residual stream, as a framework that stores it would.
template <class T>
const T* add_delta(const View& x, const View& delta, const View& sum, int64_t i) {
  const T* rx = row<T>(x, i);
  if (!delta) return rx;
  const T* rd = row<T>(delta, i);
  T* rs = row<T>(sum, i);
  for (int64_t j = 0; j < x.dims[1]; ++j) store(rs[j], load(rx[j]) + load(rd[j]));
  return rs;
}

void rms_norm(const Exec&, View x, View delta, View sum, View weight, float eps, View y, View rstd) {
  dispatch(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    const int64_t width = x.dims[1];
    for (int64_t i = 0; i < x.dims[0]; ++i) {
      const T* in = add_delta<T>(x, delta, sum, i);
      C square = 0;
      for (int64_t j = 0; j < width; ++j) square += load(in[j]) * load(in[j]);
      const C inverse = C(1) / std::sqrt(square / C(width) + C(eps));
      T* out = row<T>(y, i);
      for (int64_t j = 0; j < width; ++j) store(out[j], load(in[j]) * inverse * C(element(weight, j)));
      if (rstd) static_cast<C*>(rstd.data)[i] = inverse;
    }
  });
}

void rms_norm_backward(const Exec&, View x, View weight, View rstd, View dy, View dx, View dweight) {
  dispatch(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    const int64_t width = x.dims[1];
    for (int64_t i = 0; i < x.dims[0]; ++i) {
      const T *in = row<T>(x, i), *g = row<T>(dy, i);
      const C r = static_cast<C*>(rstd.data)[i];
      C dot = 0;
      for (int64_t j = 0; j < width; ++j) dot += load(g[j]) * C(element(weight, j)) * load(in[j]);
      const C c = dot * r * r * r / C(width);
      T* out = row<T>(dx, i);
      for (int64_t j = 0; j < width; ++j) {
        if (dweight) static_cast<C*>(dweight.data)[j] += load(g[j]) * load(in[j]) * r;
        store(out[j], load(g[j]) * C(element(weight, j)) * r - load(in[j]) * c);
      }
    }
  });
}

void layer_norm(const Exec&, View x, View delta, View sum, View weight, View bias, float eps, View y, View mean, View rstd) {
  dispatch(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    const int64_t width = x.dims[1];
    for (int64_t i = 0; i < x.dims[0]; ++i) {
      const T* in = add_delta<T>(x, delta, sum, i);
      C total = 0;
      for (int64_t j = 0; j < width; ++j) total += load(in[j]);
      const C mu = total / C(width);
      C square = 0;
      for (int64_t j = 0; j < width; ++j) square += (load(in[j]) - mu) * (load(in[j]) - mu);
      const C inverse = C(1) / std::sqrt(square / C(width) + C(eps));
      T* out = row<T>(y, i);
      for (int64_t j = 0; j < width; ++j) {
        const C shift = bias ? C(element(bias, j)) : C(0);
        store(out[j], (load(in[j]) - mu) * inverse * C(element(weight, j)) + shift);
      }
      if (mean) static_cast<C*>(mean.data)[i] = mu;
      if (rstd) static_cast<C*>(rstd.data)[i] = inverse;
    }
  });
}

void layer_norm_backward(const Exec&, View x, View weight, View mean, View rstd, View dy, View dx, View dweight, View dbias) {
  dispatch(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    const int64_t width = x.dims[1];
    for (int64_t i = 0; i < x.dims[0]; ++i) {
      const T *in = row<T>(x, i), *g = row<T>(dy, i);
      const C mu = static_cast<C*>(mean.data)[i], r = static_cast<C*>(rstd.data)[i];
      C total = 0, dot = 0;
      for (int64_t j = 0; j < width; ++j) {
        const C gw = load(g[j]) * C(element(weight, j)), normal = (load(in[j]) - mu) * r;
        total += gw;
        dot += gw * normal;
      }
      T* out = row<T>(dx, i);
      for (int64_t j = 0; j < width; ++j) {
        const C normal = (load(in[j]) - mu) * r;
        if (dweight) static_cast<C*>(dweight.data)[j] += load(g[j]) * normal;
        if (dbias) static_cast<C*>(dbias.data)[j] += load(g[j]);
        store(out[j], r * (load(g[j]) * C(element(weight, j)) - total / C(width) - normal * dot / C(width)));
      }
    }
  });
}

void rotary(const Exec&, View x, View cos, View sin, RotaryStyle style, bool inverse) {
  dispatch(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    const int64_t half = cos.dims[1];
    for (int64_t t = 0; t < x.dims[0]; ++t) {
      const C *c = static_cast<C*>(cos.data) + t * cos.strides[0], *s = static_cast<C*>(sin.data) + t * sin.strides[0];
      for (int64_t head = 0; head < x.dims[1]; ++head) {
        T* v = x.as<T>() + t * x.strides[0] + head * x.strides[1];
        for (int64_t i = 0; i < half; ++i) {
          const int64_t first = style == RotaryStyle::kHalf ? i : 2 * i;
          const int64_t second = style == RotaryStyle::kHalf ? i + half : 2 * i + 1;
          const C a = load(v[first]), b = load(v[second]), turn = inverse ? -s[i] : s[i];
          store(v[first], a * c[i] - b * turn);
          store(v[second], b * c[i] + a * turn);
        }
      }
    }
  });
}

void activation(const Exec&, Activation kind, View x, View y) {
  dispatch(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < x.dims[0]; ++i) {
      for (int64_t j = 0; j < x.dims[1]; ++j) store(row<T>(y, i)[j], apply_activation(kind, load(row<T>(x, i)[j])));
    }
  });
}

void activation_backward(const Exec&, Activation kind, View x, View dy, View dx) {
  dispatch(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < x.dims[0]; ++i) {
      for (int64_t j = 0; j < x.dims[1]; ++j) {
        const double slope = activation_derivative(kind, load(row<T>(x, i)[j]));
        store(row<T>(dx, i)[j], static_cast<Compute<T>>(load(row<T>(dy, i)[j]) * slope));
      }
    }
  });
}

void gated_activation(const Exec&, Activation kind, View gate, View up, View y) {
  dispatch(gate.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < y.dims[0]; ++i) {
      for (int64_t j = 0; j < y.dims[1]; ++j) {
        store(row<T>(y, i)[j], apply_activation(kind, load(row<T>(gate, i)[j])) * load(row<T>(up, i)[j]));
      }
    }
  });
}

void gated_activation_backward(const Exec&, Activation kind, View gate, View up, View dy, View dgate, View dup) {
  dispatch(gate.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    for (int64_t i = 0; i < dy.dims[0]; ++i) {
      for (int64_t j = 0; j < dy.dims[1]; ++j) {
        const C g = load(row<T>(gate, i)[j]), u = load(row<T>(up, i)[j]), d = load(row<T>(dy, i)[j]);
        store(row<T>(dgate, i)[j], static_cast<C>(d * u * activation_derivative(kind, g)));
        store(row<T>(dup, i)[j], d * apply_activation(kind, g));
      }
    }
  });
}

void embedding(const Exec&, View table, View ids, View y) {
  dispatch(table.dtype, [&](auto zero_t) {
    using T = decltype(zero_t);
    dispatch(y.dtype, [&](auto zero_y) {
      using Y = decltype(zero_y);
      for (int64_t t = 0; t < y.dims[0]; ++t) {
        const T* from = row<T>(table, ids.as<int32_t>()[t]);
        for (int64_t j = 0; j < y.dims[1]; ++j) row<Y>(y, t)[j] = Y(static_cast<Compute<Y>>(load(from[j])));
      }
    });
  });
}

void embedding_backward(const Exec&, View ids, View dy, View dtable) {
  dispatch(dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t t = 0; t < dy.dims[0]; ++t) {
      T* into = row<T>(dtable, ids.as<int32_t>()[t]);
      for (int64_t j = 0; j < dy.dims[1]; ++j) store(into[j], load(into[j]) + load(row<T>(dy, t)[j]));
    }
  });
}

void softmax(const Exec&, View x, View y) {
  dispatch(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    for (int64_t i = 0; i < x.dims[0]; ++i) {
      const T* in = row<T>(x, i);
      T* out = row<T>(y, i);
      C largest = -std::numeric_limits<C>::infinity(), total = 0;
      for (int64_t j = 0; j < x.dims[1]; ++j) largest = std::max(largest, load(in[j]));
      for (int64_t j = 0; j < x.dims[1]; ++j) total += std::exp(load(in[j]) - largest);
      for (int64_t j = 0; j < x.dims[1]; ++j) store(out[j], std::exp(load(in[j]) - largest) / total);
    }
  });
}

void cross_entropy(const Exec&, View logits, View labels, View losses, double scale, View dlogits) {
  dispatch(logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    for (int64_t t = 0; t < logits.dims[0]; ++t) {
      const int64_t label = labels.as<int64_t>()[t];
      const T* in = row<T>(logits, t);
      T* out = dlogits ? row<T>(dlogits, t) : nullptr;
      if (label < 0) {
        static_cast<C*>(losses.data)[t] = 0;
        for (int64_t j = 0; out != nullptr && j < logits.dims[1]; ++j) store(out[j], 0);
        continue;
      }
      C largest = -std::numeric_limits<C>::infinity();
      double total = 0;  // vocabularies are long: a float sum would lose digits that the loss needs
      for (int64_t j = 0; j < logits.dims[1]; ++j) largest = std::max(largest, load(in[j]));
      for (int64_t j = 0; j < logits.dims[1]; ++j) total += std::exp(static_cast<double>(load(in[j]) - largest));
      static_cast<C*>(losses.data)[t] = static_cast<C>(std::log(total) + largest - load(in[label]));
      for (int64_t j = 0; out != nullptr && j < logits.dims[1]; ++j) {
        const double p = std::exp(static_cast<double>(load(in[j]) - largest)) / total;
        store(out[j], static_cast<C>(scale * (p - (j == label ? 1 : 0))));
      }
    }
  });
}

void dropout(const Exec&, const DropoutSpec& spec, View x, View y) {
  dispatch(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Compute<T> scale = Compute<T>(1 / (1 - spec.p));
    const uint32_t least = least_kept(spec);
    for (int64_t t = 0; t < x.dims[0]; ++t) {
      const RowWords words = row_words(spec, t);
      const T* from = row<T>(x, t);
      T* to = row<T>(y, t);
      for (int64_t j = 0; j < x.dims[1]; ++j) store(to[j], draw(words, j) >= least ? load(from[j]) * scale : Compute<T>(0));
    }
  });
}

void adam(const Exec& exec, const AdamStep& step, View parameter, View gradient, View m, View v, const PackedView& upright,
          const PackedView& turned) {
  const double correction1 = 1 - std::pow(static_cast<double>(step.beta1), static_cast<double>(step.step));
  const double correction2 = std::sqrt(1 - std::pow(static_cast<double>(step.beta2), static_cast<double>(step.step)));
  const float rate = static_cast<float>(step.learning_rate / correction1), root = static_cast<float>(correction2);
  const float keep =
      static_cast<float>(step.decoupled ? 1.0 - static_cast<double>(step.learning_rate) * step.weight_decay : 1.0);
  const float decay = step.decoupled ? 0 : step.weight_decay;
  for (int64_t i = 0; i < parameter.numel(); ++i) {
    float &p = parameter.as<float>()[i], &mi = m.as<float>()[i], &vi = v.as<float>()[i];
    const float g = gradient.as<float>()[i] * step.gradient_scale + decay * p;
    mi += (1 - step.beta1) * (g - mi);
    vi = step.beta2 * vi + (1 - step.beta2) * g * g;
    p = p * keep - rate * mi / (std::sqrt(vi) / root + step.epsilon);
  }
  if (upright.data != nullptr) reference_table().pack(exec, parameter, upright, 0);
  if (turned.data != nullptr) reference_table().pack_turned(exec, parameter, turned, 0);
}

}  // namespace

void fill_vector(KernelTable& table) {
  table.cast = {cast};
  table.add = {add};
  table.rms_norm = {rms_norm};
  table.rms_norm_backward = {rms_norm_backward};
  table.layer_norm = {layer_norm};
  table.layer_norm_backward = {layer_norm_backward};
  table.rotary = {rotary};
  table.activation = {activation};
  table.activation_backward = {activation_backward};
  table.gated_activation = {gated_activation};
  table.gated_activation_backward = {gated_activation_backward};
  table.dropout = {dropout};
  table.embedding = {embedding};
  table.embedding_backward = {embedding_backward};
  table.softmax = {softmax};
  table.cross_entropy = {cross_entropy};
  table.adam = {adam};
}

}  // namespace reference
}  // namespace pagoda
