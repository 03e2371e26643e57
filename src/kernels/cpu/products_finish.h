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

// Bias, residual and rounding by vcvtne2ps2bf16 where y is bfloat16 of whole panels and there is no activation; the rest by
// call. The same bits but for subnormal numbers, which the instruction takes for zero: hence all of a product one way or the
// other, whatever the blocks.
class FinishRounded {
 public:
  FinishRounded(EpilogueFn call, const Epilogue& epilogue, const View& y)
      : call_(call, epilogue, y),
        bias_(epilogue.bias.as<float>()),
        residual_(epilogue.residual ? epilogue.residual.as<BFloat16>() : nullptr),
        residual_stride_(epilogue.residual ? epilogue.residual.strides[0] : 0),
        y_(y.as<BFloat16>()),
        y_stride_(y.strides[0]),
        inline_columns_(y.dtype == DType::kBFloat16 && epilogue.activation == Activation::kNone && y.dims[1] % kPanel == 0
                            ? y.dims[1]
                            : 0) {}

  template <int64_t kColumns>
  HWY_INLINE void rows(const float* acc, int64_t m_begin, int64_t rows, int64_t n_begin) const {
    if (n_begin + kColumns > inline_columns_) return call_.rows<kColumns>(acc, m_begin, rows, n_begin);
    BFloat16* to = y_ + m_begin * y_stride_ + n_begin;
    const BFloat16* residual = residual_ == nullptr ? nullptr : residual_ + m_begin * residual_stride_ + n_begin;
    for (int64_t r = 0; r < rows; ++r, acc += kColumns, to += y_stride_) {
      const auto value = [&](int64_t n) {
        __m512 v = _mm512_load_ps(acc + n);
        if (bias_ != nullptr) v = _mm512_add_ps(v, _mm512_loadu_ps(bias_ + n_begin + n));
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
  FinishByCall call_;
  const float* bias_;
  const BFloat16* residual_;
  int64_t residual_stride_;
  BFloat16* y_;
  int64_t y_stride_, inline_columns_;
};

PAGODA_END_AVX512BF16
#endif

}  // namespace pagoda::products
