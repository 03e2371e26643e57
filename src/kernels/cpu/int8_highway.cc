// Products in int8 by 16-bit multiply-add: AVX2, AVX-512 and the portable target from one source; activations to codes, and
// sums to floats, for every kernel.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/cpu/fill.h"
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/read_ahead.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/int8_highway.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "kernels/cpu/products_epilogue-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace bytes {

using int8::Form;
using products::Block;
using products::BlockFn;
using products::kPanel;

const hn::CappedTag<float, 16> kTag;
const hn::RebindToSigned<decltype(kTag)> kInts;
const hn::Repartition<int16_t, decltype(kTag)> kWords;
using Vec = hn::Vec<decltype(kTag)>;
using Ints = hn::Vec<decltype(kInts)>;
constexpr int kLanes = HWY_LANES(float) < 16 ? HWY_LANES(float) : 16;
constexpr int kVectors = 16 / kLanes;  // of a panel

#if HWY_TARGET == HWY_AVX3
constexpr Isa kIsa = Isa::kAvx512;
constexpr const char* kName = "avx512 int8";
constexpr int kSums = 16, kMaxRows = 8;
#elif HWY_TARGET == HWY_AVX2
constexpr Isa kIsa = Isa::kAvx2;
constexpr const char* kName = "avx2 int8";
constexpr int kSums = 8, kMaxRows = 4;
#else
constexpr Isa kIsa = Isa::kPortable;
constexpr const char* kName = "portable int8";
constexpr int kSums = 8, kMaxRows = 2;
#endif

template <class T>
float largest_magnitude(const T* x, int64_t k) {
  // As integers: NaN is larger than infinity, infinity than any number.
  auto most = hn::Zero(kInts);
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) most = hn::Max(most, hn::BitCast(kInts, hn::Abs(load_float(kTag, x + i))));
  int32_t lanes[kLanes] = {}, largest = 0;
  hn::StoreU(most, kInts, lanes);
  for (const int32_t lane : lanes) largest = std::max(largest, lane);
  for (; i < k; ++i) {
    largest = std::max(largest, static_cast<int32_t>(float_to_bits(static_cast<float>(x[i])) & 0x7FFFFFFF));
  }
  return bits_to_float(static_cast<uint32_t>(largest));
}

HWY_INLINE Ints code_of(Vec x, Vec scale) {
  const auto rounded = hn::Round(hn::Div(x, scale));
  return hn::ConvertTo(kInts, hn::Min(rounded, hn::Set(kTag, 127.0f)));  // at least -127.5, to even: -128
}

void put(Form form, const int32_t* codes, int64_t k, int64_t count, void* to) {
  auto* bytes = static_cast<uint8_t*>(to);
  auto* words = static_cast<int16_t*>(to);
  const int32_t offset = form == Form::kUnsigned ? 128 : 0;
  if (form == Form::kWords) {
    constexpr int kPlaces[] = {0, 2, 1, 3};
    for (int64_t i = 0; i < count; ++i) words[(k + i) / 4 * 4 + kPlaces[(k + i) % 4]] = static_cast<int16_t>(codes[i]);
    return;
  }
  for (int64_t i = 0; i < count; ++i) bytes[k + i] = static_cast<uint8_t>(codes[i] + offset);
}

template <class T>
float quantize_row(const T* x, int64_t k, int64_t padded, Form form, void* to) {
  const float most = largest_magnitude(x, k);
  const bool finite = most <= 3.4028235e38f;
  float scale = most / 127.5f;
  std::memset(to, form == Form::kUnsigned ? 128 : 0, static_cast<size_t>(padded * int8::form_bytes(form)));
  if (!finite) return scale;
  scale = std::max(scale, 1.1754944e-38f);
  const Vec divisor = hn::Set(kTag, scale);
  const hn::Rebind<int8_t, decltype(kTag)> d8;
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    Ints codes = code_of(load_float(kTag, x + i), divisor);
    if (form == Form::kSigned) {
      hn::StoreU(hn::DemoteTo(d8, codes), d8, static_cast<int8_t*>(to) + i);
      continue;
    }
    if (form == Form::kUnsigned) {
      const hn::Rebind<uint8_t, decltype(kTag)> du8;
      hn::StoreU(hn::DemoteTo(du8, hn::Add(codes, hn::Set(kInts, 128))), du8, static_cast<uint8_t*>(to) + i);
      continue;
    }
    int32_t lanes[kLanes] = {};
    hn::StoreU(codes, kInts, lanes);
    put(form, lanes, i, kLanes, to);
  }
  if (i < k) {
    float rest[kLanes] = {};
    for (int64_t j = i; j < k; ++j) rest[j - i] = static_cast<float>(x[j]);
    int32_t lanes[kLanes] = {};
    hn::StoreU(code_of(hn::LoadU(kTag, rest), divisor), kInts, lanes);
    put(form, lanes, i, k - i, to);
  }
  return scale;
}

float quantize(const View& x, int64_t i, int64_t padded, Form form, void* to) {
  return x.dtype == DType::kBFloat16 ? quantize_row(products::row<BFloat16>(x, i), x.dims[1], padded, form, to)
                                     : quantize_row(products::row<float>(x, i), x.dims[1], padded, form, to);
}

void finish_sums(const float* acc, int64_t ld, int64_t m_begin, int64_t rows, int64_t n_begin, int64_t columns,
                 const Epilogue& epilogue, const View& y) {
  constexpr int64_t kRows = 8, kColumns = 128;
  const auto& e = static_cast<const int8::Int8Epilogue&>(epilogue);
  alignas(64) float values[kRows * kColumns];
  for (int64_t row = 0; row < rows; row += kRows) {
    const int64_t count = std::min(kRows, rows - row);
    for (int64_t column = 0; column < columns; column += kColumns) {
      const int64_t width = std::min(kColumns, columns - column), n = n_begin + column;
      for (int64_t r = 0; r < count; ++r) {
        const float* from = acc + (row + r) * ld + column;
        const Vec x_scale = hn::Set(kTag, e.x_scales[m_begin + row + r]);
        for (int64_t i = 0; i < width; i += kLanes) {
          auto sum = hn::BitCast(kInts, hn::LoadU(kTag, from + i));
          if (e.w_sums != nullptr) sum = hn::Sub(sum, hn::ShiftLeft<7>(hn::LoadU(kInts, e.w_sums + n + i)));
          const Vec scale = hn::Mul(x_scale, hn::LoadU(kTag, e.w_scales + n + i));
          hn::Store(hn::Mul(hn::ConvertTo(kTag, sum), scale), kTag, values + r * kColumns + i);
        }
      }
      e.finish(values, kColumns, m_begin + row, count, n, width, epilogue, y);
    }
  }
}

// acc += the products of four inputs; even and odd ones apart, as 16-bit pairs.
HWY_INLINE Ints multiply_add(Ints weights_even, Ints weights_odd, Ints x_even, Ints x_odd, Ints acc) {
#if HWY_ARCH_X86
  Ints unused = hn::Zero(kInts);
  acc = hn::ReorderWidenMulAccumulate(kInts, hn::BitCast(kWords, weights_even), hn::BitCast(kWords, x_even), acc, unused);
  return hn::ReorderWidenMulAccumulate(kInts, hn::BitCast(kWords, weights_odd), hn::BitCast(kWords, x_odd), acc, unused);
#else
  const auto low = [](Ints v) { return hn::ShiftRight<16>(hn::ShiftLeft<16>(v)); };
  acc = hn::Add(acc, hn::Mul(low(weights_even), low(x_even)));
  acc = hn::Add(acc, hn::Mul(hn::ShiftRight<16>(weights_even), hn::ShiftRight<16>(x_even)));
  acc = hn::Add(acc, hn::Mul(low(weights_odd), low(x_odd)));
  return hn::Add(acc, hn::Mul(hn::ShiftRight<16>(weights_odd), hn::ShiftRight<16>(x_odd)));
#endif
}

template <int Rows, int Panels>
void run_block(const Block& b) {
  constexpr int kWide = Panels * kVectors;
  Ints acc[Rows][kWide];
  auto* sums = reinterpret_cast<int32_t*>(b.acc);
  HWY_UNROLL(8)
  for (int r = 0; r < Rows; ++r) {
    HWY_UNROLL(8)
    for (int v = 0; v < kWide; ++v)
      acc[r][v] = b.first ? hn::Zero(kInts) : hn::LoadU(kInts, sums + r * b.acc_stride + v * kLanes);
  }
  const auto* x = static_cast<const int32_t*>(b.x);
  const auto* w = static_cast<const int16_t*>(b.w);
  for (int64_t i = 0; i < b.k; i += 2, x += 2, w += 32) {
    HWY_UNROLL(8)
    for (int v = 0; v < kWide; ++v) {
      const int16_t* at = w + (v / kVectors) * b.panel_stride + (v % kVectors) * kLanes * 2;
      const auto four = hn::Load(kWords, at);
      if (b.prefetch && v % kVectors == 0) {
        read_ahead(at, 4096 / Panels);
      }
      const Ints even = hn::BitCast(kInts, hn::ShiftRight<8>(hn::ShiftLeft<8>(four)));
      const Ints odd = hn::BitCast(kInts, hn::ShiftRight<8>(four));
      HWY_UNROLL(8)
      for (int r = 0; r < Rows; ++r) {
        acc[r][v] =
            multiply_add(even, odd, hn::Set(kInts, x[r * b.x_stride]), hn::Set(kInts, x[r * b.x_stride + 1]), acc[r][v]);
      }
    }
  }
  HWY_UNROLL(8)
  for (int r = 0; r < Rows; ++r) {
    HWY_UNROLL(8)
    for (int v = 0; v < kWide; ++v) hn::StoreU(acc[r][v], kInts, sums + r * b.acc_stride + v * kLanes);
  }
}

template <int Rows, int Panels>
constexpr BlockFn block_if_it_fits() {
  if constexpr (Rows * Panels * kVectors <= kSums || Panels == 1) {
    return run_block<Rows, Panels>;
  } else {
    return nullptr;
  }
}
template <int... kRows>
struct BlockTable {
  static constexpr BlockFn kBlocks[sizeof...(kRows)][3] = {
      {block_if_it_fits<kRows + 1, 1>(), block_if_it_fits<kRows + 1, 2>(), block_if_it_fits<kRows + 1, 4>()}...};
};
template <int... kRows>
constexpr auto& blocks_of(std::integer_sequence<int, kRows...>) {
  return BlockTable<kRows...>::kBlocks;
}

void run(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y) {
  if (x.dims[0] == 0) return;
  const ArenaScope scope(*exec.scratch);
  const int8::Operands o = int8::prepare(exec, x, w, epilogue, Form::kWords, quantize, product::finish);
  const auto& blocks = blocks_of(std::make_integer_sequence<int, kMaxRows>());
  products::run_blocks({kMaxRows, blocks, nullptr, finish_sums, nullptr, nullptr}, exec, o.x, o.w, o.epilogue, y);
}

void fill(KernelTable& table) { table.add_product({kName, kIsa, int8::takes_int8, run}); }

}  // namespace bytes
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {

#if defined(__x86_64__)
namespace portable = N_SSSE3;
void fill_int8_avx2(KernelTable& table) { N_AVX2::bytes::fill(table); }
void fill_int8_avx512(KernelTable& table) { N_AVX3::bytes::fill(table); }
int8::QuantizeFn int8::quantize_avx512() { return N_AVX3::bytes::quantize; }
products::EpilogueFn int8::finish_avx512() { return N_AVX3::bytes::finish_sums; }
#else
namespace portable = HWY_NAMESPACE;
#endif
void fill_int8_portable(KernelTable& table) { portable::bytes::fill(table); }
int8::QuantizeFn int8::quantize_portable() { return portable::bytes::quantize; }
products::EpilogueFn int8::finish_portable() { return portable::bytes::finish_sums; }

}  // namespace pagoda
#endif
