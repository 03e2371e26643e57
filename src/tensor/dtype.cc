// Names of element types and the float16 conversions.
#include "tensor/dtype.h"

#include "base/error.h"

namespace pagoda {

namespace {
struct Entry {
  DType dtype;
  int bits;
  const char* name;
  const char* safetensors;
};
constexpr Entry kEntries[] = {
    {DType::kFloat64, 64, "float64", "F64"},
    {DType::kFloat32, 32, "float32", "F32"},
    {DType::kBFloat16, 16, "bfloat16", "BF16"},
    {DType::kFloat16, 16, "float16", "F16"},
    {DType::kInt64, 64, "int64", "I64"},
    {DType::kInt32, 32, "int32", "I32"},
    {DType::kInt16, 16, "int16", "I16"},
    {DType::kInt8, 8, "int8", "I8"},
    {DType::kUInt8, 8, "uint8", "U8"},
    {DType::kBool, 8, "bool", "BOOL"},
    {DType::kInt4Block, 4, "int4", "I4"},
    {DType::kFloat8E4M3, 8, "float8_e4m3fn", "F8_E4M3"},
    {DType::kFloat8E5M2, 8, "float8_e5m2", "F8_E5M2"},
    // Exponents alone, of scales: read as the bytes that they are, which other files call U8.
    {DType::kUInt8, 8, "float8_e8m0fnu", "F8_E8M0"},
};

const Entry& entry(DType dtype) {
  for (const Entry& e : kEntries) {
    if (e.dtype == dtype) return e;
  }
  return kEntries[0];
}
}  // namespace

int dtype_bits(DType dtype) { return entry(dtype).bits; }
const char* dtype_name(DType dtype) { return entry(dtype).name; }
const char* safetensors_dtype_name(DType dtype) { return entry(dtype).safetensors; }

bool is_floating(DType dtype) {
  return dtype == DType::kFloat64 || dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16 ||
         dtype == DType::kFloat8E4M3 || dtype == DType::kFloat8E5M2;
}

DType parse_dtype(std::string_view name, std::string_view where) {
  std::string_view plain = name;
  if (plain.rfind("torch.", 0) == 0) plain.remove_prefix(6);
  for (const Entry& e : kEntries) {
    if (e.dtype != DType::kInt4Block && (plain == e.name || plain == e.safetensors)) return e.dtype;
  }
  if (plain == "float") return DType::kFloat32;
  if (plain == "half") return DType::kFloat16;
  unsupported(where, "unknown dtype: got '{}', need float32, bfloat16, float16, int8 ... or their safetensors names", name);
}

float float16_to_float(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t exponent = (bits >> 10) & 0x1F;
  uint32_t mantissa = bits & 0x3FF;
  if (exponent == 31) return bits_to_float(sign | 0x7F800000 | (mantissa << 13));
  if (exponent != 0) return bits_to_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
  if (mantissa == 0) return bits_to_float(sign);
  int shift = 0;
  while ((mantissa & 0x400) == 0) {
    mantissa <<= 1;
    ++shift;
  }
  return bits_to_float(sign | (static_cast<uint32_t>(113 - shift) << 23) | ((mantissa & 0x3FF) << 13));
}

uint16_t float_to_float16(float value) {
  const uint32_t raw = float_to_bits(value);
  const uint32_t sign = (raw >> 16) & 0x8000;
  const uint32_t magnitude = raw & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00 | ((magnitude >> 13) & 0x3FF));
  if (magnitude >= 0x477FF000) return static_cast<uint16_t>(sign | 0x7C00);  // 65520 and above round to infinity
  if (magnitude < 0x38800000) {                                              // below 2^-14: subnormal or zero
    if (magnitude < 0x33000000) return static_cast<uint16_t>(sign);
    const uint32_t shift = 126 - (magnitude >> 23);
    const uint32_t mantissa = (magnitude & 0x7FFFFF) | 0x800000;
    const uint32_t rounded = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
    return static_cast<uint16_t>(sign | (rounded + ((rest > half || (rest == half && (rounded & 1) != 0)) ? 1 : 0)));
  }
  const uint32_t rebased = magnitude - 0x38000000;
  return static_cast<uint16_t>(sign | ((rebased + 0xFFF + ((rebased >> 13) & 1)) >> 13));
}

}  // namespace pagoda
