// Weights in kInt8Rows and products with activations that are made int8 by token: what the kernels share.
//
// Sums of integers are exact, so every kernel gives the same bits: y = float(sum) * (scale of the row of x * scale of the
// output), then the epilogue. The kernels are those for bfloat16 pairs with other instructions: a pair of bfloat16 is as wide
// as four bytes, so that panels, tiles and blocks are laid the same (as_pairs).
#pragma once

#include <cstdint>

#include "kernels/cpu/products.h"

namespace pagoda::int8 {

using products::kPanel;

constexpr int64_t kTileInputs = 64;  // what K is padded to

// [N/16][K/4][16][4] codes, then a scale (float32) an output, then the sum of an output's codes (int32).
inline int64_t padded_k(const PackedView& w) { return round_up(w.k, kTileInputs); }
inline int64_t panel_bytes(const PackedView& w) { return padded_k(w) * kPanel; }
inline int64_t padded_n(const PackedView& w) { return round_up(w.n, kPanel); }
inline const int8_t* codes_of(const PackedView& w, int64_t panel) {
  return static_cast<const int8_t*>(w.data) + panel * panel_bytes(w);
}
inline const float* scales_of(const PackedView& w) { return reinterpret_cast<const float*>(codes_of(w, padded_n(w) / kPanel)); }
inline const int32_t* sums_of(const PackedView& w) { return reinterpret_cast<const int32_t*>(scales_of(w) + padded_n(w)); }
inline int64_t code_place(int64_t lane, int64_t k) { return k / 4 * 64 + lane * 4 + k % 4; }

inline bool takes_int8(WeightFormat format, DType x, int64_t) {
  return format == WeightFormat::kInt8Rows && (x == DType::kFloat32 || x == DType::kBFloat16);
}

// How a kernel wants the codes of x: bytes, bytes + 128, or 16-bit integers with those of every four inputs in the order 0, 2,
// 1, 3.
enum class Form : uint8_t { kSigned, kUnsigned, kWords };
inline int64_t form_bytes(Form form) { return form == Form::kWords ? 2 : 1; }
// Row i of x as codes, padded with zeros to padded_k; returns its scale, the largest magnitude / 127.5 as compressed-tensors
// has it. Codes are rounded to nearest even, at most 127. A row that is not finite has codes 0 and a scale that is not.
using QuantizeFn = float (*)(const View& x, int64_t i, int64_t padded, Form form, void* to);
QuantizeFn quantize_portable();
QuantizeFn quantize_avx512();

// The product by vpdpbusd, which tables with tiles take for few rows: sums are the same, and memory gives it more.
void run_vnni(const Exec& exec, View x, const PackedView& w, const Epilogue& epilogue, View y);
constexpr int64_t kVnniRows = 8;  // at most, beside tiles

// What follows the sums; passed where products pass their Epilogue.
struct Int8Epilogue : Epilogue {
  const float *x_scales = nullptr, *w_scales = nullptr;
  const int32_t* w_sums = nullptr;  // times 128 are taken from the sums; null: codes of x were signed
  products::EpilogueFn finish = nullptr;
};
// An EpilogueFn whose acc are int32 and whose epilogue is an Int8Epilogue.
products::EpilogueFn finish_portable();
products::EpilogueFn finish_avx512();

// x as codes, and the weight, as views of bfloat16 pairs (kWords: x as float32).
struct Operands {
  View x;
  PackedView w;
  Int8Epilogue epilogue;
};
Operands prepare(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, Form form, QuantizeFn quantize,
                 products::EpilogueFn finish);

}  // namespace pagoda::int8
