// What becomes of a block of float32 sums, for kernels that finish a few rows at a time between their products: the epilogue by
// a call, or inline where the machine rounds to bfloat16 itself.
#pragma once

#include <cstdint>

#include "hwy/base.h"
#if defined(__x86_64__)
#include "kernels/cpu/instructions_avx512bf16.h"
#endif
#include "kernels/cpu/products.h"

namespace pagoda::products {

class FinishByCall {
 public:
  FinishByCall(EpilogueFn call, const Epilogue& epilogue, const View& y) : call_(call), epilogue_(epilogue), y_(y) {}
  // acc [rows][kColumns]: outputs [n_begin, n_begin + kColumns) of rows [m_begin, m_begin + rows).
  template <int64_t kColumns>
  void rows(const float* acc, int64_t m_begin, int64_t rows, int64_t n_begin) const {
    call_(acc, kColumns, m_begin, rows, n_begin, kColumns, epilogue_, y_);
  }

 private:
  EpilogueFn call_;
  const Epilogue& epilogue_;
  const View& y_;
};

#if defined(__x86_64__)
PAGODA_BEGIN_AVX512BF16

// Where there are tiles, the third level of caches is no faster than memory.
constexpr int64_t kTileStreamBytes = int64_t{1} << 20;

// Bias, residual and rounding by vcvtne2ps2bf16 where y is bfloat16 of whole panels and there is no activation; large float32
// results likewise; the rest by call. The same bits but for subnormal numbers, which the instruction takes for zero: hence all
// of a product one way or the other, whatever the blocks.
class FinishRounded {
 public:
  FinishRounded(EpilogueFn call, const Epilogue& epilogue, const View& y)
      : call_(call, epilogue, y),
        bias_(epilogue.bias.as<float>()),
        residual_(epilogue.residual ? epilogue.residual.as<BFloat16>() : nullptr),
        residual_stride_(epilogue.residual ? epilogue.residual.strides[0] : 0),
        y_(y.data),
        y_stride_(y.strides[0]),
        streams_(streams(y, epilogue.residual, kTileStreamBytes)) {
    const bool plain = epilogue.activation == Activation::kNone && y.dims[1] % kPanel == 0;
    rounds_ = y.dtype == DType::kBFloat16;
    if (plain && (rounds_ || (y.dtype == DType::kFloat32 && streams_))) inline_columns_ = y.dims[1];
  }

  template <int64_t kColumns>
  HWY_INLINE void rows(const float* acc, int64_t m_begin, int64_t rows, int64_t n_begin) const {
    if (n_begin + kColumns > inline_columns_) return call_.rows<kColumns>(acc, m_begin, rows, n_begin);
    const int64_t at = m_begin * y_stride_ + n_begin;
    if (!rounds_) return stream_floats<kColumns>(acc, rows, n_begin, static_cast<float*>(y_) + at);
    BFloat16* to = static_cast<BFloat16*>(y_) + at;
    if constexpr (kColumns % 32 == 0) {
      if (streams_) return stream_rounded<kColumns>(acc, rows, n_begin, to);
    }
    const BFloat16* residual = residual_ == nullptr ? nullptr : residual_ + m_begin * residual_stride_ + n_begin;
    for (int64_t r = 0; r < rows; ++r, acc += kColumns, to += y_stride_) {
      const auto value = [&](int64_t n) {
        __m512 v = biased(acc, n_begin, n);
        if (residual != nullptr) {
          // Masked forms: the others make GCC 12 warn of its own headers.
          const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(residual + r * residual_stride_ + n));
          v = _mm512_add_ps(
              v, _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xFFFF, _mm512_maskz_cvtepu16_epi32(0xFFFF, halves), 16)));
        }
        return v;
      };
      if constexpr (kColumns % 32 == 0) {
        HWY_UNROLL(2)
        for (int64_t n = 0; n < kColumns; n += 32) {
          native::Rounding::round_pair(value(n), value(n + 16), to + n);
        }
      } else {
        const __m256bh line = _mm512_cvtneps_pbh(value(0));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<const __m256i&>(line));
      }
    }
  }

 private:
  HWY_INLINE __m512 biased(const float* acc, int64_t n_begin, int64_t n) const {
    const __m512 v = _mm512_load_ps(acc + n);
    return bias_ == nullptr ? v : _mm512_add_ps(v, _mm512_loadu_ps(bias_ + n_begin + n));
  }
  template <int64_t kColumns>
  HWY_INLINE void stream_rounded(const float* acc, int64_t rows, int64_t n_begin, BFloat16* to) const {
    for (int64_t r = 0; r < rows; ++r, acc += kColumns, to += y_stride_) {
      for (int64_t n = 0; n < kColumns; n += 32) {
        native::Rounding::stream_pair(biased(acc, n_begin, n), biased(acc, n_begin, n + 16), to + n);
      }
    }
  }
  template <int64_t kColumns>
  HWY_INLINE void stream_floats(const float* acc, int64_t rows, int64_t n_begin, float* to) const {
    for (int64_t r = 0; r < rows; ++r, acc += kColumns, to += y_stride_) {
      for (int64_t n = 0; n < kColumns; n += 16) _mm512_stream_ps(to + n, biased(acc, n_begin, n));
    }
  }

  FinishByCall call_;
  const float* bias_;
  const BFloat16* residual_;
  int64_t residual_stride_;
  void* y_;
  int64_t y_stride_, inline_columns_ = 0;
  bool streams_, rounds_ = false;
};

PAGODA_END_AVX512BF16
#endif

}  // namespace pagoda::products
