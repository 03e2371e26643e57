// Stores rows of keys and values into pages. Included once a target.

#if defined(PAGODA_KERNELS_CPU_PAGE_WRITER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_KERNELS_CPU_PAGE_WRITER_INL_H_
#undef PAGODA_KERNELS_CPU_PAGE_WRITER_INL_H_
#else
#define PAGODA_KERNELS_CPU_PAGE_WRITER_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/cpu/page_layout.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

// Calls fn(page element, k element) for the two dtypes.
template <class Fn>
HWY_INLINE void with_dtypes(DType page, DType k, const Fn& fn) {
  if (page == DType::kFloat32) {
    if (k == DType::kFloat32) return fn(float(), float());
    return fn(float(), BFloat16());
  }
  if (k == DType::kFloat32) return fn(BFloat16(), float());
  return fn(BFloat16(), BFloat16());
}

// Tokens that a thread should store at least, in whole pages: about 10 us.
inline int64_t store_grain(const KvPages& pages) {
  const int64_t tokens = 32768 / (pages.num_key_value_heads * (pages.head_dim + pages.v_head_dim));
  return std::max<int64_t>(kPageTokens, tokens / kPageTokens * kPageTokens);
}

// E: element of the pages, T: of the rows. Paddings that tile instructions read become 0.
template <class E, class T>
class PageWriter {
 public:
  PageWriter(const KvPages& pages, const View& k, const View& v)
      : pages_(pages), layout_(pages.head_dim, pages.v_head_dim, pages.dtype), k_(k), v_(v) {}

  // Rows [row, row + n) become tokens [token, token + n) of one page.
  void write(int64_t page, int64_t token, int64_t row, int64_t n) const {
    E* to = reinterpret_cast<E*>(pages_.page(page));
    for (int64_t head = 0; head < pages_.num_key_value_heads; ++head) {
      const T* keys = k_.as<T>() + row * k_.strides[0] + head * k_.strides[1];
      const T* values = v_.as<T>() + row * v_.strides[0] + head * v_.strides[1];
      write_keys(to + layout_.key(head, 0, 0), token, keys, n);
      write_values(to + layout_.value(head, 0, 0), token, values, n);
    }
  }

 private:
  static HWY_INLINE E element(T from) {
    if constexpr (sizeof(E) == sizeof(T)) {
      return from;
    } else {
      return static_cast<E>(static_cast<float>(from));
    }
  }
  static HWY_INLINE uint32_t bits(T from) { return element(from).bits; }

  // A dimension (or pair of dimensions) of all tokens is contiguous in the page: the inner loop is over tokens.
  void write_keys(E* HWY_RESTRICT to, int64_t token, const T* HWY_RESTRICT from, int64_t n) const {
    const int64_t dim = pages_.head_dim, stride = k_.strides[0];
    if constexpr (sizeof(E) == 4) {
      for (int64_t d = 0; d < dim; ++d) {
        for (int64_t i = 0; i < n; ++i) to[d * kPageTokens + token + i] = element(from[i * stride + d]);
      }
    } else {
      const auto put = [&](int64_t d, int64_t i, uint32_t pair) {
        std::memcpy(static_cast<void*>(to + d * kPageTokens + (token + i) * 2), &pair, sizeof pair);
      };
      int64_t d = 0;
      for (; d + 2 <= dim; d += 2) {
        for (int64_t i = 0; i < n; ++i) put(d, i, bits(from[i * stride + d]) | bits(from[i * stride + d + 1]) << 16);
      }
      if (d < dim) {
        for (int64_t i = 0; i < n; ++i) put(d, i, bits(from[i * stride + d]));
      }
    }
  }

  void write_values(E* HWY_RESTRICT to, int64_t token, const T* HWY_RESTRICT from, int64_t n) const {
    const int64_t dim = pages_.v_head_dim, stride = v_.strides[0];
    if constexpr (sizeof(E) == 4) {
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t d = 0; d < dim; ++d) to[(token + i) * dim + d] = element(from[i * stride + d]);
      }
    } else {
      int64_t i = 0;
      while (i < n) {
        E* at = to + (token + i) / 2 * 32;
        if ((token + i) % 2 == 0 && i + 1 < n) {
          write_value_pair(at, from + i * stride, from + (i + 1) * stride);
          i += 2;
          continue;
        }
        // The other token of the pair is another thread's, or another call's: 16 bits at a time.
        at += (token + i) % 2;
        for (int64_t d = 0; d < dim; ++d) at[d / 16 * (16 * kPageTokens) + d % 16 * 2] = element(from[i * stride + d]);
        for (int64_t d = dim; d < layout_.value_dim; ++d) at[d / 16 * (16 * kPageTokens) + d % 16 * 2] = E();
        ++i;
      }
    }
  }

  void write_value_pair(E* HWY_RESTRICT to, const T* HWY_RESTRICT even, const T* HWY_RESTRICT odd) const {
    const int64_t dim = pages_.v_head_dim;
    int64_t d = 0;
    if constexpr (sizeof(T) == 2) {
      const hn::RebindToUnsigned<FloatTag> d32;
      for (; d + kLanes <= dim; d += kLanes) {
        const auto low = hn::ShiftRight<16>(hn::BitCast(d32, load(even + d))), high = hn::BitCast(d32, load(odd + d));
        hn::StoreU(hn::Or(low, high), d32, reinterpret_cast<uint32_t*>(to + d / 16 * (16 * kPageTokens) + d % 16 * 2));
      }
    }
    for (; d < layout_.value_dim; ++d) {
      E* at = to + d / 16 * (16 * kPageTokens) + d % 16 * 2;
      at[0] = d < dim ? element(even[d]) : E();
      at[1] = d < dim ? element(odd[d]) : E();
    }
  }

  const KvPages& pages_;
  PageLayout layout_;
  const View& k_;
  const View& v_;
};

// T: of the rows. The reference's codes and scales.
template <class T>
class CodeWriter {
 public:
  CodeWriter(const KvPages& pages, const View& k, const View& v)
      : pages_(pages), layout_(pages.head_dim, pages.v_head_dim, pages.dtype), k_(k), v_(v) {}

  // Rows [row, row + n) become tokens [token, token + n) of one page.
  void write(int64_t page, int64_t token, int64_t row, int64_t n) const {
    auto* to = reinterpret_cast<int8_t*>(pages_.page(page));
    for (int64_t head = 0; head < pages_.num_key_value_heads; ++head) {
      float* scales = reinterpret_cast<float*>(to + layout_.scales(head));
      for (int64_t i = 0; i < n; ++i) {
        int8_t* keys = to + layout_.key(head, token + i, 0);
        write_row(k_.as<T>() + (row + i) * k_.strides[0] + head * k_.strides[1], pages_.head_dim, layout_.key_dim,
                  scales + token + i, [&](int64_t d, const int8_t* codes, int64_t count) HWY_ATTR {
                    for (int64_t j = 0; j < count; j += 2) std::memcpy(keys + (d + j) * kPageTokens, codes + j, 2);
                  });
        int8_t* values = to + layout_.value(head, token + i, 0);
        write_row(v_.as<T>() + (row + i) * v_.strides[0] + head * v_.strides[1], pages_.v_head_dim, layout_.value_dim,
                  scales + kPageTokens + token + i, [&](int64_t d, const int8_t* codes, int64_t count) HWY_ATTR {
                    for (int64_t j = 0; j < count; ++j) values[(d + j) / 16 * (16 * kPageTokens) + (d + j) % 16 * 2] = codes[j];
                  });
      }
    }
  }

 private:
  static HWY_INLINE FloatVec part(const T* from, int64_t left) { return left >= kLanes ? load(from) : load_n(from, left); }

  // put(d, codes, count): codes of dimensions [d, d + count), zeros from `dim` to `padded`.
  template <class Put>
  void write_row(const T* from, int64_t dim, int64_t padded, float* scale, const Put& put) const {
    const FloatTag d;
    const hn::RebindToUnsigned<FloatTag> bits;
    auto largest = hn::Zero(bits);
    for (int64_t i = 0; i < dim; i += kLanes) {
      largest = hn::Max(largest, hn::And(hn::BitCast(bits, part(from + i, dim - i)), hn::Set(bits, 0x7FFFFFFFu)));
    }
    const CodeScale by = code_scale(hn::GetLane(hn::MaxOfLanes(bits, largest)));
    *scale = by.scale;
    const hn::Rebind<int8_t, FloatTag> d8;
    constexpr int64_t kAtOnce = 64;
    for (int64_t first = 0; first < padded; first += kAtOnce) {
      int8_t codes[kAtOnce] = {};
      for (int64_t i = 0; i < kAtOnce && first + i < dim && by.inverse != 0; i += kLanes) {
        const FloatVec x = hn::Mul(part(from + first + i, dim - first - i), hn::Set(d, by.inverse));
        hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(x)), d8, codes + i);
      }
      put(first, codes, std::min(kAtOnce, padded - first));
    }
  }

  const KvPages& pages_;
  PageLayout layout_;
  const View& k_;
  const View& v_;
};

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // PAGODA_KERNELS_CPU_PAGE_WRITER_INL_H_
