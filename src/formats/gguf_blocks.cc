// Each decoder multiplies and adds in the order of the published one, so that results are equal bit for bit.
#include "formats/gguf_blocks.h"

#include <cstring>
#include <iterator>

#include "tensor/dtype.h"

namespace pagoda {

namespace {

constexpr int64_t kSuper = kSuperBlock;  // elements of a super-block (QK_K)

uint16_t u16(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] | bytes[1] << 8); }
float half(const uint8_t* bytes) { return float16_to_float(u16(bytes)); }
float number(int value) { return static_cast<float>(value); }

void decode_f32(const uint8_t* blocks, int64_t count, float* out) {
  std::memcpy(out, blocks, static_cast<size_t>(count) * sizeof(float));
}

void decode_f16(const uint8_t* blocks, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = half(blocks + 2 * i);
}

void decode_bf16(const uint8_t* blocks, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = bits_to_float(uint32_t{u16(blocks + 2 * i)} << 16);
}

// d, 16 bytes: the low nibbles are elements 0 to 15, the high ones 16 to 31.
void decode_q4_0(const uint8_t* block, int64_t count, float* out) {
  for (; count > 0; --count, block += 18, out += 32) {
    const float d = half(block);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * number((block[2 + i] & 15) - 8);
      out[i + 16] = d * number((block[2 + i] >> 4) - 8);
    }
  }
}

// d, m, 16 bytes.
void decode_q4_1(const uint8_t* block, int64_t count, float* out) {
  for (; count > 0; --count, block += 20, out += 32) {
    const float d = half(block), m = half(block + 2);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * number(block[4 + i] & 15) + m;
      out[i + 16] = d * number(block[4 + i] >> 4) + m;
    }
  }
}

uint32_t u32(const uint8_t* bytes) { return u16(bytes) | uint32_t{u16(bytes + 2)} << 16; }

// d, fifth bits (bit i: element i), 16 bytes.
void decode_q5_0(const uint8_t* block, int64_t count, float* out) {
  for (; count > 0; --count, block += 22, out += 32) {
    const float d = half(block);
    const uint32_t fifth = u32(block + 2);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * number(static_cast<int>((block[6 + i] & 15u) | (fifth >> i & 1u) << 4) - 16);
      out[i + 16] = d * number(static_cast<int>((block[6 + i] >> 4u) | (fifth >> (i + 16) & 1u) << 4) - 16);
    }
  }
}

// d, m, fifth bits, 16 bytes.
void decode_q5_1(const uint8_t* block, int64_t count, float* out) {
  for (; count > 0; --count, block += 24, out += 32) {
    const float d = half(block), m = half(block + 2);
    const uint32_t fifth = u32(block + 4);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * number(static_cast<int>((block[8 + i] & 15u) | (fifth >> i & 1u) << 4)) + m;
      out[i + 16] = d * number(static_cast<int>((block[8 + i] >> 4u) | (fifth >> (i + 16) & 1u) << 4)) + m;
    }
  }
}

void decode_q8_0(const uint8_t* block, int64_t count, float* out) {
  for (; count > 0; --count, block += 34, out += 32) {
    const float d = half(block);
    for (int i = 0; i < 32; ++i) out[i] = number(static_cast<int8_t>(block[2 + i])) * d;
  }
}

// 16 scales and minima of 4 bits, 64 bytes of 2-bit values, d, dmin. Byte l of a half holds elements l, 32 + l, 64 + l, 96 + l.
void decode_q2_k(const uint8_t* block, int64_t count, float* out) {
  for (; count > 0; --count, block += 84, out += kSuper) {
    const uint8_t *scales = block, *values = block + 16;
    const float d = half(block + 80), dmin = half(block + 82);
    for (int sub = 0; sub < 16; ++sub) {
      const float scale = d * number(scales[sub] & 15), low = dmin * number(scales[sub] >> 4);
      for (int i = 0; i < 16; ++i) {
        const int element = 16 * sub + i, part = element / 128, shift = element % 128 / 32 * 2;
        out[element] = scale * number(values[32 * part + element % 32] >> shift & 3) - low;
      }
    }
  }
}

// 32 bytes of third bits (clear: 4 less), 64 bytes of 2-bit values, 16 scales of 6 bits, d.
void decode_q3_k(const uint8_t* block, int64_t count, float* out) {
  for (; count > 0; --count, block += 110, out += kSuper) {
    const uint8_t *third = block, *values = block + 32, *scales = block + 96;
    const float d = half(block + 108);
    for (int sub = 0; sub < 16; ++sub) {
      const int low = sub < 8 ? scales[sub] & 15 : scales[sub - 8] >> 4;
      const int high = scales[8 + sub % 4] >> (sub / 4 * 2) & 3;
      const float scale = d * number((low | high << 4) - 32);
      for (int i = 0; i < 16; ++i) {
        const int element = 16 * sub + i, part = element / 128, shift = element % 128 / 32 * 2;
        const int value = values[32 * part + element % 32] >> shift & 3;
        const bool set = (third[element % 32] >> (element / 32) & 1) != 0;
        out[element] = scale * number(value - (set ? 0 : 4));
      }
    }
  }
}

// Scale and minimum of sub-block j out of the 12 bytes of Q4_K and Q5_K.
void scale_and_minimum(const uint8_t* packed, int j, int& scale, int& minimum) {
  if (j < 4) {
    scale = packed[j] & 63;
    minimum = packed[j + 4] & 63;
  } else {
    scale = (packed[j + 4] & 15) | (packed[j - 4] >> 2 & 48);
    minimum = packed[j + 4] >> 4 | (packed[j] >> 2 & 48);
  }
}

// d, dmin, 12 bytes of scales, 128 bytes: the low nibbles of 32 bytes are one sub-block, the high ones the next.
void decode_q4_k(const uint8_t* block, int64_t count, float* out) {
  for (; count > 0; --count, block += 144, out += kSuper) {
    const float d = half(block), dmin = half(block + 2);
    for (int sub = 0; sub < 8; ++sub) {
      int scale = 0, minimum = 0;
      scale_and_minimum(block + 4, sub, scale, minimum);
      const float times = d * number(scale), low = dmin * number(minimum);
      const uint8_t* values = block + 16 + sub / 2 * 32;
      for (int i = 0; i < 32; ++i) out[32 * sub + i] = times * number(values[i] >> (sub % 2 * 4) & 15) - low;
    }
  }
}

// As Q4_K with 32 bytes of fifth bits before the nibbles: bit `sub` of byte i.
void decode_q5_k(const uint8_t* block, int64_t count, float* out) {
  for (; count > 0; --count, block += 176, out += kSuper) {
    const float d = half(block), dmin = half(block + 2);
    const uint8_t* fifth = block + 16;
    for (int sub = 0; sub < 8; ++sub) {
      int scale = 0, minimum = 0;
      scale_and_minimum(block + 4, sub, scale, minimum);
      const float times = d * number(scale), low = dmin * number(minimum);
      const uint8_t* values = block + 48 + sub / 2 * 32;
      for (int i = 0; i < 32; ++i) {
        const int value = (values[i] >> (sub % 2 * 4) & 15) | (fifth[i] >> sub & 1) << 4;
        out[32 * sub + i] = times * number(value) - low;
      }
    }
  }
}

// 128 bytes of low nibbles, 64 of upper bit pairs, 16 scales of 8 bits, d.
void decode_q6_k(const uint8_t* block, int64_t count, float* out) {
  for (; count > 0; --count, block += 210, out += kSuper) {
    const uint8_t *low = block, *high = block + 128, *scales = block + 192;
    const float d = half(block + 208);
    for (int sub = 0; sub < 16; ++sub) {
      const float scale = d * number(static_cast<int8_t>(scales[sub]));
      for (int i = 0; i < 16; ++i) {
        const int element = 16 * sub + i, part = element / 128, inner = element % 128;
        const int nibble = low[64 * part + inner % 64] >> (inner / 64 * 4) & 15;
        const int pair = high[32 * part + inner % 32] >> (inner / 32 * 2) & 3;
        out[element] = scale * number((nibble | pair << 4) - 32);
      }
    }
  }
}

// The same blocks as codes and scales.
void read_q4_0(const uint8_t* block, int64_t count, GroupRow row) {
  for (; count > 0; --count, block += 18, row.codes += 32) {
    *row.scales++ = half(block);
    for (int i = 0; i < 16; ++i) {
      row.codes[i] = static_cast<int8_t>((block[2 + i] & 15) - 8);
      row.codes[i + 16] = static_cast<int8_t>((block[2 + i] >> 4) - 8);
    }
  }
}

void read_q4_1(const uint8_t* block, int64_t count, GroupRow row) {
  for (; count > 0; --count, block += 20, row.codes += 32) {
    *row.scales++ = half(block);
    *row.minima++ = half(block + 2);
    for (int i = 0; i < 16; ++i) {
      row.codes[i] = static_cast<int8_t>(block[4 + i] & 15);
      row.codes[i + 16] = static_cast<int8_t>(block[4 + i] >> 4);
    }
  }
}

void read_fifths(const uint8_t* nibbles, uint32_t fifth, int offset, int8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<int8_t>(static_cast<int>((nibbles[i] & 15u) | (fifth >> i & 1u) << 4) - offset);
    codes[i + 16] = static_cast<int8_t>(static_cast<int>((nibbles[i] >> 4u) | (fifth >> (i + 16) & 1u) << 4) - offset);
  }
}

void read_q5_0(const uint8_t* block, int64_t count, GroupRow row) {
  for (; count > 0; --count, block += 22, row.codes += 32) {
    *row.scales++ = half(block);
    read_fifths(block + 6, u32(block + 2), 16, row.codes);
  }
}

void read_q5_1(const uint8_t* block, int64_t count, GroupRow row) {
  for (; count > 0; --count, block += 24, row.codes += 32) {
    *row.scales++ = half(block);
    *row.minima++ = half(block + 2);
    read_fifths(block + 8, u32(block + 4), 0, row.codes);
  }
}

void read_q8_0(const uint8_t* block, int64_t count, GroupRow row) {
  for (; count > 0; --count, block += 34, row.codes += 32) {
    *row.scales++ = half(block);
    std::memcpy(row.codes, block + 2, 32);
  }
}

void read_q2_k(const uint8_t* block, int64_t count, GroupRow row) {
  for (; count > 0; --count, block += 84, row.codes += kSuper) {
    *row.scales++ = half(block + 80);
    *row.minima++ = half(block + 82);
    for (int sub = 0; sub < 16; ++sub) {
      *row.small_scales++ = static_cast<int8_t>(block[sub] & 15);
      *row.small_minima++ = static_cast<uint8_t>(block[sub] >> 4);
    }
    for (int i = 0; i < kSuper; ++i) {
      row.codes[i] = static_cast<int8_t>(block[16 + 32 * (i / 128) + i % 32] >> (i % 128 / 32 * 2) & 3);
    }
  }
}

void read_q3_k(const uint8_t* block, int64_t count, GroupRow row) {
  for (; count > 0; --count, block += 110, row.codes += kSuper) {
    const uint8_t *third = block, *values = block + 32, *scales = block + 96;
    *row.scales++ = half(block + 108);
    for (int sub = 0; sub < 16; ++sub) {
      const int low = sub < 8 ? scales[sub] & 15 : scales[sub - 8] >> 4, high = scales[8 + sub % 4] >> (sub / 4 * 2) & 3;
      *row.small_scales++ = static_cast<int8_t>((low | high << 4) - 32);
    }
    for (int i = 0; i < kSuper; ++i) {
      const int value = values[32 * (i / 128) + i % 32] >> (i % 128 / 32 * 2) & 3;
      row.codes[i] = static_cast<int8_t>(value - ((third[i % 32] >> (i / 32) & 1) != 0 ? 0 : 4));
    }
  }
}

// What Q4_K and Q5_K begin with.
void read_scales_k(const uint8_t* block, GroupRow& row) {
  *row.scales++ = half(block);
  *row.minima++ = half(block + 2);
  for (int sub = 0; sub < 8; ++sub) {
    int scale = 0, minimum = 0;
    scale_and_minimum(block + 4, sub, scale, minimum);
    *row.small_scales++ = static_cast<int8_t>(scale);
    *row.small_minima++ = static_cast<uint8_t>(minimum);
  }
}

void read_q4_k(const uint8_t* block, int64_t count, GroupRow row) {
  for (; count > 0; --count, block += 144, row.codes += kSuper) {
    read_scales_k(block, row);
    for (int i = 0; i < kSuper; ++i) {
      row.codes[i] = static_cast<int8_t>(block[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15);
    }
  }
}

void read_q5_k(const uint8_t* block, int64_t count, GroupRow row) {
  for (; count > 0; --count, block += 176, row.codes += kSuper) {
    read_scales_k(block, row);
    for (int i = 0; i < kSuper; ++i) {
      const int nibble = block[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
      row.codes[i] = static_cast<int8_t>(nibble | (block[16 + i % 32] >> (i / 32) & 1) << 4);
    }
  }
}

void read_q6_k(const uint8_t* block, int64_t count, GroupRow row) {
  for (; count > 0; --count, block += 210, row.codes += kSuper) {
    *row.scales++ = half(block + 208);
    std::memcpy(row.small_scales, block + 192, 16);
    row.small_scales += 16;
    for (int i = 0; i < kSuper; ++i) {
      const int part = i / 128, inner = i % 128;
      const int nibble = block[64 * part + inner % 64] >> (inner / 64 * 4) & 15;
      const int pair = block[128 + 32 * part + inner % 32] >> (inner / 32 * 2) & 3;
      row.codes[i] = static_cast<int8_t>((nibble | pair << 4) - 32);
    }
  }
}

constexpr GgufType kTypes[] = {
    {0, "F32", 1, 4, decode_f32},
    {1, "F16", 1, 2, decode_f16},
    {30, "BF16", 1, 2, decode_bf16},
    {2, "Q4_0", 32, 18, decode_q4_0, {4, 32, GroupScale::kHalf, 8}, read_q4_0},
    {3, "Q4_1", 32, 20, decode_q4_1, {4, 32, GroupScale::kHalfMin, 0}, read_q4_1},
    {6, "Q5_0", 32, 22, decode_q5_0, {8, 32, GroupScale::kHalf, 0}, read_q5_0},
    {7, "Q5_1", 32, 24, decode_q5_1, {8, 32, GroupScale::kHalfMin, 0}, read_q5_1},
    {8, "Q8_0", 32, 34, decode_q8_0, {8, 32, GroupScale::kHalf, 0}, read_q8_0},
    {10, "Q2_K", kSuper, 84, decode_q2_k, {4, 16, GroupScale::kSuperMin, 0}, read_q2_k},
    {11, "Q3_K", kSuper, 110, decode_q3_k, {4, 16, GroupScale::kSuper, 8}, read_q3_k},
    {12, "Q4_K", kSuper, 144, decode_q4_k, {4, 32, GroupScale::kSuperMin, 0}, read_q4_k},
    {13, "Q5_K", kSuper, 176, decode_q5_k, {8, 32, GroupScale::kSuperMin, 0}, read_q5_k},
    {14, "Q6_K", kSuper, 210, decode_q6_k, {8, 16, GroupScale::kSuper, 0}, read_q6_k},
};

// ggml's numbers, those given up included.
constexpr const char* kNames[] = {
    "F32",    "F16",      "Q4_0",     "Q4_1",     "Q4_2",  "Q4_3",  "Q5_0",       "Q5_1",       "Q8_0",       "Q8_1",
    "Q2_K",   "Q3_K",     "Q4_K",     "Q5_K",     "Q6_K",  "Q8_K",  "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",    "IQ1_S",
    "IQ4_NL", "IQ3_S",    "IQ2_S",    "IQ4_XS",   "I8",    "I16",   "I32",        "I64",        "F64",        "IQ1_M",
    "BF16",   "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};

}  // namespace

const GgufType* find_gguf_type(uint32_t number) {
  for (const GgufType& type : kTypes) {
    if (type.number == number) return &type;
  }
  return nullptr;
}

std::string gguf_type_name(uint32_t number) {
  return number < std::size(kNames) ? kNames[number] : "type " + std::to_string(number);
}

std::string known_gguf_types() {
  std::string names;
  for (const GgufType& type : kTypes) names += (names.empty() ? "" : ", ") + std::string(type.name);
  return names;
}

}  // namespace pagoda
