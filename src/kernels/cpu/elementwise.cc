// cast, add, activations, gated activations and embeddings, for all Highway targets.
#include <cstdint>

#include "kernels/cpu/fallback.h"
#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/runs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/elementwise.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/activation-inl.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

// body(at, access) over n elements.
template <class Body>
HWY_INLINE void over(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Whole());
  if (i < n) body(i, Part{n - i});
}

template <class X, class Y>
HWY_INLINE void copy_row(const X* from, Y* to, int64_t n) {
  over(n, [&](int64_t i, auto access) HWY_ATTR { access.put(access.get(from + i), to + i); });
}

void cast(const Exec& exec, View x, View y) {
  if (!is_vector_dtype(x.dtype) || !is_vector_dtype(y.dtype)) return reference_table().cast(exec, x, y);
  with_dtype(x.dtype, [&](auto x_zero) HWY_ATTR {
    with_dtype(y.dtype, [&](auto y_zero) HWY_ATTR {
      each_run(exec, {x, y}, kLightElements, [&](int64_t n, const int64_t* at) HWY_ATTR {
        copy_row(x.as<decltype(x_zero)>() + at[0], y.as<decltype(y_zero)>() + at[1], n);
      });
    });
  });
}

void add(const Exec& exec, View a, View b, View y) {
  if (!is_vector_dtype(y.dtype)) return reference_table().add(exec, a, b, y);
  with_dtype(y.dtype, [&](auto zero) HWY_ATTR {
    using T = decltype(zero);
    each_run(exec, {a, b, y}, kLightElements, [&](int64_t n, const int64_t* at) HWY_ATTR {
      const T *left = a.as<T>() + at[0], *right = b.as<T>() + at[1];
      T* to = y.as<T>() + at[2];
      over(n,
           [&](int64_t i, auto access) HWY_ATTR { access.put(hn::Add(access.get(left + i), access.get(right + i)), to + i); });
    });
  });
}

void activation(const Exec& exec, Activation kind, View x, View y) {
  if (!is_vector_dtype(x.dtype)) return reference_table().activation(exec, kind, x, y);
  with_dtype(x.dtype, [&](auto zero) HWY_ATTR {
    using T = decltype(zero);
    with_activation(kind, [&](auto kind_of) HWY_ATTR {
      each_run(exec, {x, y}, kHeavyElements, [&](int64_t n, const int64_t* at) HWY_ATTR {
        const T* from = x.as<T>() + at[0];
        T* to = y.as<T>() + at[1];
        over(n, [&](int64_t i, auto access)
                    HWY_ATTR { access.put(activate(FloatTag(), kind_of(), access.get(from + i)), to + i); });
      });
    });
  });
}

void gated_activation(const Exec& exec, Activation kind, View gate, View up, View y) {
  if (!is_vector_dtype(gate.dtype)) return reference_table().gated_activation(exec, kind, gate, up, y);
  with_dtype(gate.dtype, [&](auto zero) HWY_ATTR {
    using T = decltype(zero);
    with_activation(kind, [&](auto kind_of) HWY_ATTR {
      each_run(exec, {gate, up, y}, kHeavyElements, [&](int64_t n, const int64_t* at) HWY_ATTR {
        const T *g = gate.as<T>() + at[0], *u = up.as<T>() + at[1];
        T* to = y.as<T>() + at[2];
        over(n, [&](int64_t i, auto access) HWY_ATTR {
          access.put(hn::Mul(activate(FloatTag(), kind_of(), access.get(g + i)), access.get(u + i)), to + i);
        });
      });
    });
  });
}

void activation_backward(const Exec& exec, Activation kind, View x, View dy, View dx) {
  if (!is_vector_dtype(x.dtype)) return reference_table().activation_backward(exec, kind, x, dy, dx);
  with_dtype(x.dtype, [&](auto zero) HWY_ATTR {
    using T = decltype(zero);
    with_activation(kind, [&](auto kind_of) HWY_ATTR {
      each_run(exec, {x, dy, dx}, kHeavyElements, [&](int64_t n, const int64_t* at) HWY_ATTR {
        const T *from = x.as<T>() + at[0], *gradient = dy.as<T>() + at[1];
        T* to = dx.as<T>() + at[2];
        over(n, [&](int64_t i, auto access) HWY_ATTR {
          access.put(hn::Mul(access.get(gradient + i), derivative(kind_of(), access.get(from + i))), to + i);
        });
      });
    });
  });
}

void gated_activation_backward(const Exec& exec, Activation kind, View gate, View up, View dy, View dgate, View dup) {
  if (!is_vector_dtype(gate.dtype)) return reference_table().gated_activation_backward(exec, kind, gate, up, dy, dgate, dup);
  with_dtype(gate.dtype, [&](auto zero) HWY_ATTR {
    using T = decltype(zero);
    with_activation(kind, [&](auto kind_of) HWY_ATTR {
      each_run(exec, {gate, up, dy, dgate, dup}, kHeavyElements, [&](int64_t n, const int64_t* at) HWY_ATTR {
        const T *g = gate.as<T>() + at[0], *u = up.as<T>() + at[1], *gradient = dy.as<T>() + at[2];
        T *to_gate = dgate.as<T>() + at[3], *to_up = dup.as<T>() + at[4];
        over(n, [&](int64_t i, auto access) HWY_ATTR {
          const FloatVec x = access.get(g + i), d = access.get(gradient + i);
          const FloatVec slope = hn::Mul(hn::Mul(d, access.get(u + i)), derivative(kind_of(), x));
          const FloatVec through = hn::Mul(d, activate(FloatTag(), kind_of(), x));
          access.put(slope, to_gate + i);
          access.put(through, to_up + i);
        });
      });
    });
  });
}

void embedding(const Exec& exec, View table, View ids, View y) {
  if (!is_vector_dtype(table.dtype) || !is_vector_dtype(y.dtype)) return reference_table().embedding(exec, table, ids, y);
  with_dtype(table.dtype, [&](auto t_zero) HWY_ATTR {
    with_dtype(y.dtype, [&](auto y_zero) HWY_ATTR {
      const int64_t width = y.dims[1];
      exec.pool->parallel_for(y.dims[0], row_grain(width, kLightElements), [&](int64_t begin, int64_t end, int) HWY_ATTR {
        for (int64_t t = begin; t < end; ++t) {
          copy_row(table.as<decltype(t_zero)>() + ids.as<int32_t>()[t] * table.strides[0],
                   y.as<decltype(y_zero)>() + t * y.strides[0], width);
        }
      });
    });
  });
}

void embedding_backward(const Exec& exec, View ids, View dy, View dtable) {
  if (!is_vector_dtype(dy.dtype) || dtable.dtype != DType::kFloat32) {
    return reference_table().embedding_backward(exec, ids, dy, dtable);
  }
  with_dtype(dy.dtype, [&](auto zero) HWY_ATTR {
    using T = decltype(zero);
    // A thread has columns, not tokens: a token's row may be asked for many times, and its sum keeps the order of t.
    each_columns(exec, dy.dims[1], dy.dims[0], [&](int64_t begin, int64_t end) HWY_ATTR {
      for (int64_t t = 0; t < dy.dims[0]; ++t) {
        const T* from = dy.as<T>() + t * dy.strides[0] + begin;
        float* to = dtable.as<float>() + ids.as<int32_t>()[t] * dtable.strides[0] + begin;
        over(end - begin,
             [&](int64_t i, auto access) HWY_ATTR { access.put(hn::Add(access.get(to + i), access.get(from + i)), to + i); });
      }
    });
  });
}

// to[i] += the sum of column i of `rows` rows, kVectors vectors of columns in registers; `access` reaches the last.
template <int kVectors, class T, class Access>
HWY_INLINE void add_columns(const T* from, int64_t stride, int64_t rows, float* to, const Access& access) {
  FloatVec sums[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = v + 1 < kVectors ? load(to + v * kLanes) : access.get(to + v * kLanes);
  for (int64_t t = 0; t < rows; ++t, from += stride) {
    for (int v = 0; v < kVectors; ++v) {
      sums[v] = hn::Add(sums[v], v + 1 < kVectors ? load(from + v * kLanes) : access.get(from + v * kLanes));
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    if (v + 1 < kVectors) {
      store(sums[v], to + v * kLanes);
    } else {
      access.put(sums[v], to + v * kLanes);
    }
  }
}

void bias_backward(const Exec& exec, View dy, View dbias) {
  if (!is_vector_dtype(dy.dtype)) return reference_table().bias_backward(exec, dy, dbias);
  constexpr int kVectors = 8;
  with_dtype(dy.dtype, [&](auto zero) HWY_ATTR {
    using T = decltype(zero);
    each_columns(exec, dy.dims[1], dy.dims[0], [&](int64_t begin, int64_t end) HWY_ATTR {
      int64_t i = begin;
      const auto add = [&](auto vectors, const auto& access) HWY_ATTR {
        add_columns<decltype(vectors)::value>(dy.as<T>() + i, dy.strides[0], dy.dims[0], dbias.as<float>() + i, access);
        i += decltype(vectors)::value * kLanes;
      };
      while (i + kVectors * kLanes <= end) add(std::integral_constant<int, kVectors>(), Whole());
      while (i + kLanes <= end) add(std::integral_constant<int, 1>(), Whole());
      if (i < end) add(std::integral_constant<int, 1>(), Part{end - i});
    });
  });
}

}  // namespace

void fill_elementwise_entries(KernelTable& table) {
  table.cast = {cast, kTargetIsa};
  table.add = {add, kTargetIsa};
  table.activation = {activation, kTargetIsa};
  table.gated_activation = {gated_activation, kTargetIsa};
  table.activation_backward = {activation_backward, kTargetIsa};
  table.gated_activation_backward = {gated_activation_backward, kTargetIsa};
  table.embedding = {embedding, kTargetIsa};
  table.embedding_backward = {embedding_backward, kTargetIsa};
  table.bias_backward = {bias_backward, kTargetIsa};
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_elementwise)
}  // namespace pagoda
#endif
