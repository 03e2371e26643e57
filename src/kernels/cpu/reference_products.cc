// Scalar reference: packing of weights, products on packed weights, and the plain matrix product of training.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "kernels/cpu/groups.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/reference.h"

namespace pagoda {

namespace {
constexpr int64_t kPanel = 16;  // outputs of a panel
constexpr int64_t kTileK = 32;  // bf16 inputs of a tile
}  // namespace

int64_t packed_bytes(WeightFormat format, int64_t n, int64_t k) {
  const int64_t columns = checked_round_up(n, kPanel, "pack");
  const int64_t inputs = format == WeightFormat::kBf16Pairs ? checked_round_up(k, kTileK, "pack") : k;
  return checked_mul(checked_mul(columns, inputs, "pack"), format == WeightFormat::kBf16Pairs ? 2 : 4, "pack");
}

namespace reference {
namespace {

int64_t padded_k(const PackedView& w) { return w.format == WeightFormat::kBf16Pairs ? round_up(w.k, kTileK) : w.k; }

// Offset of weight (output n, input k) in elements of the format.
int64_t offset(const PackedView& w, int64_t n, int64_t k) {
  const int64_t panel = n / kPanel * padded_k(w) * kPanel, lane = n % kPanel;
  return w.format == WeightFormat::kBf16Pairs ? panel + (k / 2) * kPanel * 2 + lane * 2 + k % 2 : panel + k * kPanel + lane;
}

float weight(const PackedView& w, int64_t n, int64_t k) {
  if (w.format == WeightFormat::kInt8Rows) {
    return static_cast<float>(int8::codes_of(w, n / kPanel)[int8::code_place(n % kPanel, k)]) * int8::scales_of(w)[n];
  }
  if (w.format == WeightFormat::kGroups) {
    const groups::ScaleMin scale = groups::scale_min(w, n, k / w.groups.size);
    return static_cast<float>(groups::code(w, n, k)) * scale.scale + scale.minimum;
  }
  const int64_t at = offset(w, n, k);
  return w.format == WeightFormat::kBf16Pairs ? static_cast<float>(static_cast<const BFloat16*>(w.data)[at])
                                              : static_cast<const float*>(w.data)[at];
}

void pack(const Exec& exec, View w, const PackedView& into, int64_t n_begin) {
  dispatch(w.dtype, [&](auto zero) {
    using T = decltype(zero);
    exec.pool->parallel_for(w.dims[0], 64, [&](int64_t begin, int64_t end, int) {
      for (int64_t n = begin; n < end; ++n) {
        const T* from = row<T>(w, n);
        for (int64_t k = 0; k < into.k; ++k) {
          const int64_t at = offset(into, n_begin + n, k);
          void* data = const_cast<void*>(into.data);
          if (into.format == WeightFormat::kBf16Pairs) {
            if constexpr (std::is_same_v<T, BFloat16>) {
              static_cast<BFloat16*>(data)[at] = from[k];
            } else {
              static_cast<BFloat16*>(data)[at] = BFloat16(static_cast<float>(load(from[k])));
            }
          } else {
            static_cast<float*>(data)[at] = static_cast<float>(load(from[k]));
          }
        }
      }
    });
  });
}

void unpack(const Exec&, const PackedView& from, int64_t n_begin, View w) {
  dispatch(w.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t n = 0; n < w.dims[0]; ++n) {
      for (int64_t k = 0; k < from.k; ++k) row<T>(w, n)[k] = T(static_cast<Compute<T>>(weight(from, n_begin + n, k)));
    }
  });
}

void packed_embedding(const Exec&, const PackedView& table, View ids, View y) {
  dispatch(y.dtype, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t t = 0; t < y.dims[0]; ++t) {
      for (int64_t k = 0; k < table.k; ++k)
        row<T>(y, t)[k] = T(static_cast<Compute<T>>(weight(table, ids.as<int32_t>()[t], k)));
    }
  });
}

bool supports_all(WeightFormat, DType, int64_t) { return true; }

template <class X, class Y>
void product_rows(const View& x, const PackedView& w, const Epilogue& epilogue, const View& y, int64_t panel) {
  const int64_t n_begin = panel * kPanel, count = std::min(kPanel, w.n - n_begin);
  const bool pairs = w.format == WeightFormat::kBf16Pairs;
  const int64_t base = offset(w, n_begin, 0);
  for (int64_t m = 0; m < y.dims[0]; ++m) {
    const X* in = row<X>(x, m);
    float sums[kPanel] = {};
    if (pairs) {
      const BFloat16* panel_data = static_cast<const BFloat16*>(w.data) + base;
      for (int64_t k = 0; k < w.k; ++k) {
        const float value = static_cast<float>(load(in[k]));
        const BFloat16* weights = panel_data + (k / 2) * kPanel * 2 + k % 2;
        for (int64_t lane = 0; lane < kPanel; ++lane) sums[lane] += value * static_cast<float>(weights[2 * lane]);
      }
    } else {
      const float* weights = static_cast<const float*>(w.data) + base;
      for (int64_t k = 0; k < w.k; ++k, weights += kPanel) {
        const float value = static_cast<float>(load(in[k]));
        for (int64_t lane = 0; lane < kPanel; ++lane) sums[lane] += value * weights[lane];
      }
    }
    Y* out = row<Y>(y, m) + n_begin;
    for (int64_t lane = 0; lane < count; ++lane) {
      float value = sums[lane];
      if (epilogue.bias) value += epilogue.bias.as<float>()[n_begin + lane];
      value = apply_activation(epilogue.activation, value);
      if (epilogue.residual) value += static_cast<float>(load(row<Y>(epilogue.residual, m)[n_begin + lane]));
      store(out[lane], static_cast<Compute<Y>>(value));
    }
  }
}

// In the order of every kernel on groups: sums of codes by group, scaled into the output's.
template <class X, class Y>
void group_rows(const View& x, const PackedView& w, const Epilogue& epilogue, const View& y, int64_t n) {
  const int64_t size = w.groups.size;
  for (int64_t m = 0; m < y.dims[0]; ++m) {
    const X* in = row<X>(x, m);
    float value = 0;
    for (int64_t g = 0; g < w.k / size; ++g) {
      float sum = 0, sum_x = 0;
      for (int64_t k = g * size; k < (g + 1) * size; ++k) {
        const float element = static_cast<float>(load(in[k]));
        sum += element * static_cast<float>(groups::code(w, n, k));
        sum_x += element;
      }
      const groups::ScaleMin scale = groups::scale_min(w, n, g);
      value += sum * scale.scale;
      value += sum_x * scale.minimum;
    }
    if (epilogue.bias) value += epilogue.bias.as<float>()[n];
    value = apply_activation(epilogue.activation, value);
    if (epilogue.residual) value += static_cast<float>(load(row<Y>(epilogue.residual, m)[n]));
    store(row<Y>(y, m)[n], static_cast<Compute<Y>>(value));
  }
}

// Activations of a row as int8 codes (zeros before); the scale is returned. The one definition that all kernels on int8 equal
// to the bit.
template <class X>
float quantize_row(const X* x, int64_t k, int8_t* codes) {
  float most = 0;
  bool finite = true;
  for (int64_t i = 0; i < k; ++i) {
    const float magnitude = std::abs(static_cast<float>(load(x[i])));
    finite = finite && magnitude <= 3.4028235e38f;
    if (!(magnitude <= most)) most = magnitude;
  }
  if (!finite) return most / 127.5f;
  const float scale = std::max(most / 127.5f, 1.1754944e-38f);
  for (int64_t i = 0; i < k; ++i) {
    codes[i] = static_cast<int8_t>(std::min(std::nearbyint(static_cast<float>(load(x[i])) / scale), 127.0f));
  }
  return scale;
}

template <class X, class Y>
void int8_row(const View& x, const PackedView& w, const Epilogue& epilogue, const View& y, int64_t m) {
  std::vector<int8_t> codes(static_cast<size_t>(w.k));
  const float x_scale = quantize_row(row<X>(x, m), w.k, codes.data());
  for (int64_t n = 0; n < w.n; ++n) {
    const int8_t* weights = int8::codes_of(w, n / kPanel);
    int32_t sum = 0;
    for (int64_t k = 0; k < w.k; ++k) sum += codes[static_cast<size_t>(k)] * weights[int8::code_place(n % kPanel, k)];
    float value = static_cast<float>(sum) * (x_scale * int8::scales_of(w)[n]);
    if (epilogue.bias) value += epilogue.bias.as<float>()[n];
    value = apply_activation(epilogue.activation, value);
    if (epilogue.residual) value += static_cast<float>(load(row<Y>(epilogue.residual, m)[n]));
    store(row<Y>(y, m)[n], static_cast<Compute<Y>>(value));
  }
}

void product(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  if (w.format == WeightFormat::kInt8Rows) {
    exec.pool->parallel_for(y.dims[0], 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t m = begin; m < end; ++m) {
        dispatch(x.dtype, [&](auto zero_x) {
          dispatch(y.dtype, [&](auto zero_y) { int8_row<decltype(zero_x), decltype(zero_y)>(x, w, epilogue, y, m); });
        });
      }
    });
    return;
  }
  if (w.format == WeightFormat::kGroups) {
    exec.pool->parallel_for(w.n, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t n = begin; n < end; ++n) {
        dispatch(x.dtype, [&](auto zero_x) {
          dispatch(y.dtype, [&](auto zero_y) { group_rows<decltype(zero_x), decltype(zero_y)>(x, w, epilogue, y, n); });
        });
      }
    });
    return;
  }
  exec.pool->parallel_for(div_up(w.n, kPanel), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t panel = begin; panel < end; ++panel) {
      dispatch(x.dtype, [&](auto zero_x) {
        dispatch(y.dtype, [&](auto zero_y) { product_rows<decltype(zero_x), decltype(zero_y)>(x, w, epilogue, y, panel); });
      });
    }
  });
}

void gemm(const Exec& exec, View a, bool transpose_a, View b, bool transpose_b, bool accumulate, View c) {
  const int64_t inner = a.dims[transpose_a ? 0 : 1];
  dispatch(c.dtype, [&](auto zero) {
    using T = decltype(zero);
    exec.pool->parallel_for(c.dims[0], 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        T* out = row<T>(c, i);
        if (!accumulate) std::fill(out, out + c.dims[1], T{});
        for (int64_t k = 0; k < inner; ++k) {
          const auto left = load(transpose_a ? row<T>(a, k)[i] : row<T>(a, i)[k]);
          const T* right = transpose_b ? b.as<T>() + k : row<T>(b, k);
          const int64_t stride = transpose_b ? b.strides[0] : 1;
          for (int64_t j = 0; j < c.dims[1]; ++j) store(out[j], load(out[j]) + left * load(right[j * stride]));
        }
      }
    });
  });
}

void pack_turned(const Exec&, View w, const PackedView& into, int64_t n_begin) {
  auto* to = static_cast<BFloat16*>(const_cast<void*>(into.data));
  const int64_t inputs = round_up(into.k, kTileK), columns = round_up(w.dims[1], kPanel);
  dispatch(w.dtype, [&](auto zero) {
    for (int64_t n = 0; n < columns; ++n) {
      BFloat16* lane = to + (n_begin + n) / kPanel * (inputs * kPanel) + (n_begin + n) % kPanel * 2;
      for (int64_t k = 0; k < inputs; ++k) {
        const bool inside = k < into.k && n < w.dims[1];
        lane[k / 2 * 2 * kPanel + k % 2] =
            inside ? BFloat16(static_cast<float>(load(row<decltype(zero)>(w, k)[n]))) : BFloat16(0.0f);
      }
    }
  });
}

void turn(const Exec&, View x, View y) {
  for (int64_t i = 0; i < x.dims[0]; ++i) {
    for (int64_t j = 0; j < x.dims[1]; ++j) row<BFloat16>(y, j)[i] = row<BFloat16>(x, i)[j];
  }
}

void bias_backward(const Exec&, View dy, View dbias) {
  dispatch(dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    for (int64_t i = 0; i < dy.dims[0]; ++i) {
      for (int64_t j = 0; j < dy.dims[1]; ++j) static_cast<C*>(dbias.data)[j] += load(row<T>(dy, i)[j]);
    }
  });
}

}  // namespace

void fill_products(KernelTable& table) {
  table.pack = {pack};
  table.pack_turned = {pack_turned};
  table.turn = {turn};
  table.unpack = {unpack};
  table.packed_embedding = {packed_embedding};
  table.gemm = {gemm};
  table.bias_backward = {bias_backward};
  table.add_product({"reference", Isa::kReference, supports_all, product});
}

}  // namespace reference
}  // namespace pagoda
