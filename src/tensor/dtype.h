// Element types, their sizes and names, and conversions of 16-bit floats.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace pagoda {

enum class DType : uint8_t {
  kFloat64,  // reference kernels only: the oracle for gradients
  kFloat32,
  kBFloat16,
  kFloat16,
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kUInt8,
  kBool,
  kInt4Block,   // packed weights only: blocks of 4-bit values with scales (layout known to `kernels` alone)
  kFloat8E4M3,  // storage only
  kFloat8E5M2,  // storage only
};

// Bits of one element (kInt4Block: 4, without its scales).
int dtype_bits(DType dtype);
inline int64_t dtype_size(DType dtype) { return dtype_bits(dtype) / 8; }
bool is_floating(DType dtype);
const char* dtype_name(DType dtype);              // "float32", as torch prints it
const char* safetensors_dtype_name(DType dtype);  // "F32"
// Both spellings are read, "torch.float32" too; unknown names throw kUnsupported from `where`.
DType parse_dtype(std::string_view name, std::string_view where);

inline float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// bfloat16: the upper half of a float32; rounding to nearest even, NaN stays NaN.
struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(float value) {
    const uint32_t raw = float_to_bits(value);
    bits = (raw & 0x7FFFFFFF) > 0x7F800000 ? static_cast<uint16_t>((raw >> 16) | 0x40)
                                           : static_cast<uint16_t>((raw + 0x7FFF + ((raw >> 16) & 1)) >> 16);
  }
  explicit operator float() const { return bits_to_float(uint32_t{bits} << 16); }
};

// IEEE binary16; rounding to nearest even, overflow to infinity, subnormals kept.
float float16_to_float(uint16_t bits);
uint16_t float_to_float16(float value);

struct Float16 {
  uint16_t bits = 0;
  Float16() = default;
  explicit Float16(float value) : bits(float_to_float16(value)) {}
  explicit operator float() const { return float16_to_float(bits); }
};

// The C++ type of an element: dtype_of<float>.
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<double> {
  static constexpr DType kValue = DType::kFloat64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType kValue = DType::kFloat32;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType kValue = DType::kBFloat16;
};
template <>
struct DTypeOf<Float16> {
  static constexpr DType kValue = DType::kFloat16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType kValue = DType::kInt64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType kValue = DType::kInt32;
};
template <>
struct DTypeOf<int16_t> {
  static constexpr DType kValue = DType::kInt16;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType kValue = DType::kInt8;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType kValue = DType::kUInt8;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType kValue = DType::kBool;
};

}  // namespace pagoda
