// Matrices as small integers in groups along their inputs: what formats hand over, and what kernels compute from.
#pragma once

#include <cstdint>
#include <vector>

namespace pagoda {

// How the scale and the minimum of a group are kept. An element is code * scale + minimum.
enum class GroupScale : uint8_t {
  kHalf,      // scale float16, no minimum
  kHalfMin,   // scale and minimum float16
  kHalfZero,  // scale float16, minimum = -(scale * zero), zero int8
  kFloat,     // scale float32, no minimum
  kFloatMin,  // scale and minimum float32
  // Super-blocks of 256 inputs: scale = float16 of the super-block * int8 of the group, and
  kSuper,     // no minimum
  kSuperMin,  // minimum = -(another float16 of the super-block * uint8 of the group)
};

constexpr int64_t kSuperBlock = 256;

struct GroupCoding {
  int bits = 0;      // of a code: 4 or 8; 0: no groups
  int64_t size = 0;  // inputs of a group: 16, 32, 64 or 128
  GroupScale scale = GroupScale::kHalf;
  int offset = 0;  // codes of 4 bits are -offset to 15 - offset (0 or 8), codes of 8 bits -128 to 127

  explicit operator bool() const { return bits != 0; }
  bool operator==(const GroupCoding& other) const {
    return bits == other.bits && size == other.size && scale == other.scale && offset == other.offset;
  }
  bool has_minimum() const {
    return scale == GroupScale::kHalfMin || scale == GroupScale::kHalfZero || scale == GroupScale::kFloatMin ||
           scale == GroupScale::kSuperMin;
  }
  bool has_super() const { return scale == GroupScale::kSuper || scale == GroupScale::kSuperMin; }
};

// Some rows of [rows, k], k a multiple of the group (of the super-block where there is one).
struct GroupRows {
  // Every vector has its size.
  GroupRows(const GroupCoding& how, int64_t count, int64_t inputs) : coding(how), rows(count), k(inputs) {
    const auto size = [&](int64_t of) { return static_cast<size_t>(rows * (k / of)); };
    codes.resize(size(1));
    scales.resize(size(how.has_super() ? kSuperBlock : how.size));
    if (how.has_minimum() && how.scale != GroupScale::kHalfZero) minima.resize(scales.size());
    if (how.has_super()) small_scales.resize(size(how.size));
    if (how.scale == GroupScale::kSuperMin || how.scale == GroupScale::kHalfZero) small_minima.resize(size(how.size));
  }
  GroupCoding coding;
  int64_t rows, k;
  std::vector<int8_t> codes;          // [rows, k]
  std::vector<float> scales;          // [rows, groups], or super-blocks; float16's values but for kFloat and kFloatMin
  std::vector<float> minima;          // like scales: kHalfMin, kFloatMin; kSuperMin: what is multiplied by -small_minima
  std::vector<int8_t> small_scales;   // [rows, groups]: kSuper, kSuperMin
  std::vector<uint8_t> small_minima;  // [rows, groups]: kSuperMin, kHalfZero (as int8)
};

}  // namespace pagoda
