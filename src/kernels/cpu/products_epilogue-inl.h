// Bias, activation, residual and rounding of a block of float32 sums, for every Highway target.

#if defined(PAGODA_KERNELS_CPU_PRODUCTS_EPILOGUE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_KERNELS_CPU_PRODUCTS_EPILOGUE_INL_H_
#undef PAGODA_KERNELS_CPU_PRODUCTS_EPILOGUE_INL_H_
#else
#define PAGODA_KERNELS_CPU_PRODUCTS_EPILOGUE_INL_H_
#endif

#include <algorithm>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/products.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace product {

// One panel's 16 outputs of one row; whole vectors whatever `count`, so that padding changes no bits.
template <class Y>
HWY_INLINE void finish_panel(const float* acc, const float* bias, Activation activation, const Y* residual, Y* y) {
  const hn::CappedTag<float, 16> d;
  for (size_t lane = 0; lane < 16; lane += hn::Lanes(d)) {
    auto v = hn::LoadU(d, acc + lane);
    if (bias != nullptr) v = hn::Add(v, hn::LoadU(d, bias + lane));
    v = activate(d, activation, v);
    if (residual != nullptr) v = hn::Add(v, load_float(d, residual + lane));
    store_rounded(d, v, y + lane);
  }
}

// Whole panels without an activation, the most frequent case: nothing is decided within the loops.
template <class Y, bool kBias, bool kResidual>
void finish_plain(const float* acc, int64_t ld, int64_t m_begin, int64_t rows, int64_t n_begin, int64_t columns,
                  const Epilogue& epilogue, const View& y) {
  const hn::CappedTag<float, 16> d;
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(hn::CappedTag<float, 16>()));
  const float* bias = kBias ? epilogue.bias.as<float>() + n_begin : nullptr;
  const int64_t y_stride = y.strides[0], residual_stride = kResidual ? epilogue.residual.strides[0] : 0;
  const Y* residual = kResidual ? products::row<Y>(epilogue.residual, m_begin) + n_begin : nullptr;
  Y* out = products::row<Y>(y, m_begin) + n_begin;
  [[maybe_unused]] const bool streams = products::streams(y, epilogue.residual, products::kStreamBytes);
  for (int64_t r = 0; r < rows; ++r, acc += ld, out += y_stride, residual += residual_stride) {
    const auto value = [&](int64_t n) HWY_ATTR {
      auto v = hn::LoadU(d, acc + n);
      if constexpr (kBias) v = hn::Add(v, hn::LoadU(d, bias + n));
      if constexpr (kResidual) v = hn::Add(v, load_float(d, residual + n));
      return v;
    };
    int64_t n = 0;
    if constexpr (!kResidual && sizeof(Y) == sizeof(float)) {
      for (; streams && n + kStep <= columns; n += kStep) hn::Stream(value(n), d, out + n);
    }
    for (; n + 2 * kStep <= columns; n += 2 * kStep) store_rounded_pair(d, value(n), value(n + kStep), out + n);
    for (; n < columns; n += kStep) store_rounded(d, value(n), out + n);
  }
}

template <class Y>
void finish_block(const float* acc, int64_t ld, int64_t m_begin, int64_t rows, int64_t n_begin, int64_t columns,
                  const Epilogue& epilogue, const View& y) {
  constexpr int64_t kPanel = products::kPanel;
  const float* bias = epilogue.bias.as<float>();
  const int64_t n_end = std::min(n_begin + columns, y.dims[1]), n_whole = n_begin + (n_end - n_begin) / kPanel * kPanel;
  const int64_t rest = n_end - n_whole;
  if (epilogue.activation == Activation::kNone && rest == 0) {
    const auto finish = epilogue.residual ? (bias != nullptr ? finish_plain<Y, true, true> : finish_plain<Y, false, true>)
                                          : (bias != nullptr ? finish_plain<Y, true, false> : finish_plain<Y, false, false>);
    return finish(acc, ld, m_begin, rows, n_begin, n_whole - n_begin, epilogue, y);
  }
  float bias_part[kPanel] = {};
  Y residual_part[kPanel] = {}, y_part[kPanel];
  if (bias != nullptr) std::copy(bias + n_whole, bias + n_end, bias_part);
  for (int64_t r = 0; r < rows; ++r, acc += ld) {
    const Y* residual = epilogue.residual ? products::row<Y>(epilogue.residual, m_begin + r) : nullptr;
    Y* out = products::row<Y>(y, m_begin + r);
    for (int64_t n = n_begin; n < n_whole; n += kPanel) {
      finish_panel(acc + (n - n_begin), bias == nullptr ? nullptr : bias + n, epilogue.activation,
                   residual == nullptr ? nullptr : residual + n, out + n);
    }
    if (rest == 0) continue;
    if (residual != nullptr) std::copy(residual + n_whole, residual + n_end, residual_part);
    finish_panel(acc + (n_whole - n_begin), bias == nullptr ? nullptr : bias_part, epilogue.activation,
                 residual == nullptr ? nullptr : residual_part, y_part);
    std::copy(y_part, y_part + rest, out + n_whole);
  }
}

inline void finish(const float* acc, int64_t ld, int64_t m_begin, int64_t rows, int64_t n_begin, int64_t columns,
                   const Epilogue& epilogue, const View& y) {
  if (y.dtype == DType::kBFloat16) {
    finish_block<BFloat16>(acc, ld, m_begin, rows, n_begin, columns, epilogue, y);
  } else {
    finish_block<float>(acc, ld, m_begin, rows, n_begin, columns, epilogue, y);
  }
}

// v as bfloat16 has it.
template <bool kFlush, class D>
HWY_INLINE hn::Vec<D> rounded(D d, hn::Vec<D> v) {
  const hn::RebindToUnsigned<D> d32;
  const auto upper = hn::BitCast(d, hn::And(round_upper(d, v), hn::Set(d32, 0xFFFF0000u)));
  if constexpr (!kFlush) return upper;
  const auto tiny = hn::Lt(hn::Abs(upper), hn::Set(d, 1.17549435e-38f));
  return hn::IfThenElse(tiny, hn::CopySign(hn::Zero(d), upper), upper);
}

template <bool kFlush>
void finish_gated(const float* acc, int64_t ld, int64_t m_begin, int64_t rows, int64_t n_begin, int64_t /*columns*/,
                  const Epilogue& epilogue, const View& y) {
  constexpr int64_t kPanel = products::kPanel;
  const hn::CappedTag<float, 16> d;
  constexpr auto kStep = static_cast<int64_t>(hn::MaxLanes(hn::CappedTag<float, 16>()));
  const float* bias = epilogue.bias ? epilogue.bias.as<float>() + n_begin : nullptr;
  const int64_t half = y.dims[1];
  for (int64_t r = 0; r < rows; ++r, acc += ld) {
    BFloat16* out = products::row<BFloat16>(y, m_begin + r) + n_begin;
    for (int64_t n = 0; n < kPanel; n += kStep) {
      auto gate = hn::LoadU(d, acc + n), up = hn::LoadU(d, acc + kPanel + n);
      if (bias != nullptr) {
        gate = hn::Add(gate, hn::LoadU(d, bias + n));
        up = hn::Add(up, hn::LoadU(d, bias + half + n));
      }
      gate = rounded<kFlush>(d, gate);
      up = rounded<kFlush>(d, up);
      // Known to the compiler, the activation leaves the loop without a branch.
      const auto activated = epilogue.activation == Activation::kSilu ? activate(d, Activation::kSilu, gate)
                                                                      : activate(d, epilogue.activation, gate);
      store_rounded(d, hn::Mul(activated, up), out + n);
    }
  }
}

}  // namespace product
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // PAGODA_KERNELS_CPU_PRODUCTS_EPILOGUE_INL_H_
