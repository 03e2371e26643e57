// Plain C++ in place of the bf16 dot-product and tile instructions: same names as instructions_avx512bf16.h and
// instructions_amx.h, same arithmetic as Intel's manual gives it (volume 2, VDPBF16PS and TDPBF16PS). For tests of everything
// around the instructions on machines that lack them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "tensor/dtype.h"

namespace pagoda::standin {

// Subnormal inputs count as zero, subnormal results become zero.
inline float flush(float v) {
  const uint32_t bits = float_to_bits(v);
  return (bits & 0x7F800000) == 0 ? bits_to_float(bits & 0x80000000) : v;
}
inline float widen(uint16_t bits) { return flush(bits_to_float(uint32_t{bits} << 16)); }
// Fused: the product of two widened bfloat16 is exact in float32, so that only the addition rounds.
inline float multiply_add(float a, float b, float c) { return flush(a * b + flush(c)); }

// The layout of LDTILECFG's operand.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// No instruction for rounding to bfloat16: kernels take their own.
struct Rounding {
  static constexpr bool kRounds = false;
};

struct Dot : Rounding {
  struct Floats {
    float lanes[16];
  };
  struct Pairs {
    uint16_t halves[32];
  };
  static Floats zero() { return {}; }
  static Floats load(const float* from) {
    Floats v;
    std::memcpy(v.lanes, from, sizeof v.lanes);
    return v;
  }
  static void store(Floats v, float* to) { std::memcpy(to, v.lanes, sizeof v.lanes); }
  static Pairs load_pairs(const void* from) {
    if (reinterpret_cast<uintptr_t>(from) % 64 != 0) std::abort();  // what the instruction would do
    Pairs v;
    std::memcpy(v.halves, from, sizeof v.halves);
    return v;
  }
  static Pairs broadcast(uint32_t pair) {
    Pairs v;
    for (int i = 0; i < 16; ++i) std::memcpy(v.halves + 2 * i, &pair, 4);
    return v;
  }
  // acc + a.odd * b.odd + a.even * b.even, each addition rounded.
  static Floats dot(Floats acc, Pairs a, Pairs b) {
    for (int i = 0; i < 16; ++i) {
      acc.lanes[i] = standin::multiply_add(widen(a.halves[2 * i + 1]), widen(b.halves[2 * i + 1]), acc.lanes[i]);
      acc.lanes[i] = standin::multiply_add(widen(a.halves[2 * i]), widen(b.halves[2 * i]), acc.lanes[i]);
    }
    return acc;
  }
  static Floats multiply_add(Floats a, Floats b, Floats c) {
    for (int i = 0; i < 16; ++i) c.lanes[i] = std::fma(a.lanes[i], b.lanes[i], c.lanes[i]);
    return c;
  }
  static Floats broadcast_float(float value) {
    Floats v;
    for (float& lane : v.lanes) lane = value;
    return v;
  }
  // The arithmetic of tiles.
  static Floats tile_multiply_add(Floats a, Floats b, Floats c) {
    for (int i = 0; i < 16; ++i) c.lanes[i] = standin::multiply_add(flush(a.lanes[i]), flush(b.lanes[i]), c.lanes[i]);
    return c;
  }
  static Floats tile_add(Floats a, Floats b) {
    for (int i = 0; i < 16; ++i) a.lanes[i] = flush(flush(a.lanes[i]) + flush(b.lanes[i]));
    return a;
  }
};
struct FlushSubnormals {
  FlushSubnormals() {}  // not trivial: the one of native:: is not either
};

class PairDecoder {
 public:
  explicit PairDecoder(int offset) : offset_(offset) {}
  struct Words {
    uint32_t lanes[16];
  };
  static Words load_words(const uint8_t* codes) {
    Words words;
    std::memcpy(words.lanes, codes, sizeof words.lanes);
    return words;
  }
  template <int kAt>
  Dot::Floats nibble(Words words) const {
    Dot::Floats v;
    for (int i = 0; i < 16; ++i) v.lanes[i] = static_cast<float>(static_cast<int>(words.lanes[i] >> 4 * kAt & 15) - offset_);
    return v;
  }
  template <int kAt>
  Dot::Floats byte(Words words) const {
    Dot::Floats v;
    for (int i = 0; i < 16; ++i) v.lanes[i] = static_cast<float>(static_cast<int8_t>(words.lanes[i] >> 8 * kAt));
    return v;
  }
  void nibbles(const uint8_t* codes, uint16_t* to) const {
    for (int word = 0; word < 32; ++word) {
      uint16_t bits;
      std::memcpy(&bits, codes + 2 * word, 2);
      for (int q = 0; q < 4; ++q) to[32 * q + word] = BFloat16(static_cast<float>((bits >> 4 * q & 15) - offset_)).bits;
    }
  }
  void bytes(const uint8_t* codes, uint16_t* to) const {
    for (int lane = 0; lane < 16; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const auto code = static_cast<int8_t>(codes[4 * lane + i]);
        to[i / 2 * 32 + 2 * lane + i % 2] = BFloat16(static_cast<float>(code)).bits;
      }
    }
  }

 private:
  int offset_;
};

// The int8 instructions: four bytes where a pair of bfloat16 is, sums int32 in the floats' bits.
struct ByteDot : Dot {
  // a unsigned, b signed.
  static Floats dot(Floats acc, Pairs a, Pairs b) {
    for (int i = 0; i < 16; ++i) {
      uint8_t x[4];
      int8_t w[4];
      int32_t sum;
      std::memcpy(x, a.halves + 2 * i, 4);
      std::memcpy(w, b.halves + 2 * i, 4);
      std::memcpy(&sum, acc.lanes + i, 4);
      for (int j = 0; j < 4; ++j) sum += x[j] * w[j];
      std::memcpy(acc.lanes + i, &sum, 4);
    }
    return acc;
  }
};

struct NibbleDot : Dot {
  struct Ints {
    int32_t lanes[16];
  };
  static Ints zero_ints() { return {}; }
  static Ints broadcast_int(int32_t value) {
    Ints v;
    for (int32_t& lane : v.lanes) lane = value;
    return v;
  }
  static Ints low_nibbles(const uint8_t* codes) { return nibbles(codes, 0); }
  static Ints high_nibbles(const uint8_t* codes) { return nibbles(codes, 4); }
  static Ints four(const int8_t* digits) {
    int32_t bits;
    std::memcpy(&bits, digits, sizeof bits);
    return broadcast_int(bits);
  }
  static Ints dot(Ints acc, Ints codes, Ints x) {
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 4; ++j) {
        acc.lanes[i] += (codes.lanes[i] >> 8 * j & 15) * static_cast<int8_t>(static_cast<uint32_t>(x.lanes[i]) >> 8 * j);
      }
    }
    return acc;
  }
  static Floats to_float(Ints high, Ints low) {
    Floats v;
    for (int i = 0; i < 16; ++i) v.lanes[i] = static_cast<float>(high.lanes[i] * 256 + low.lanes[i]);
    return v;
  }
  static Floats multiply(Floats a, Floats b) {
    for (int i = 0; i < 16; ++i) a.lanes[i] *= b.lanes[i];
    return a;
  }
  static uint32_t largest(const BFloat16* x, int64_t size) {
    uint32_t most = 0;
    for (int64_t i = 0; i < size; ++i) most = std::max(most, uint32_t{x[i].bits} & 0x7FFF);
    return most;
  }
  static int32_t digits(const BFloat16* x, int64_t size, float magic, int8_t* to) {
    constexpr int kPlaces[] = {0, 2, 4, 6, 1, 3, 5, 7};
    int32_t sum = 0;
    for (int64_t i = 0; i < size; ++i) {
      const auto v = static_cast<int32_t>(float_to_bits(static_cast<float>(x[i]) + magic) - float_to_bits(magic));
      sum += v;
      int8_t* at = to + i / 8 * 16 + kPlaces[i % 8];
      at[0] = static_cast<int8_t>((v + 128) >> 8);
      at[8] = static_cast<int8_t>(v & 255);
    }
    return sum;
  }
  static void round(const BFloat16* x, int64_t size, float magic, BFloat16* to) {
    for (int64_t i = 0; i < size; ++i) to[i] = BFloat16((static_cast<float>(x[i]) + magic) - magic);
  }

 private:
  static Ints nibbles(const uint8_t* codes, int shift) {
    Ints v;
    std::memcpy(v.lanes, codes, sizeof v.lanes);
    for (int32_t& lane : v.lanes) lane = static_cast<int32_t>(static_cast<uint32_t>(lane) >> shift & 0x0F0F0F0F);
    return v;
  }
};

class Tiles : public Rounding {
 public:
  void configure(const TileConfig& config) {
    if (config.palette != 1 || config.start_row != 0) std::abort();
    for (int t = 0; t < 8; ++t) {
      if (config.rows[t] > 16 || config.row_bytes[t] > 64) std::abort();
    }
    config_ = config;
    configured_ = true;
    std::memset(data_, 0, sizeof data_);
  }
  void release() { configured_ = false; }
  template <int kTile>
  void zero() {
    check(kTile);
    std::memset(data_[kTile], 0, sizeof data_[kTile]);
  }
  template <int kTile>
  void load(const void* from, int64_t stride) {
    check(kTile);
    std::memset(data_[kTile], 0, sizeof data_[kTile]);
    for (int r = 0; r < config_.rows[kTile]; ++r) {
      std::memcpy(data_[kTile][r], static_cast<const char*>(from) + r * stride, config_.row_bytes[kTile]);
    }
  }
  template <int kTile>
  void load_stream(const void* from, int64_t stride) {
    load<kTile>(from, stride);
  }
  template <int kTile>
  void store(void* to, int64_t stride) {
    check(kTile);
    for (int r = 0; r < config_.rows[kTile]; ++r) {
      std::memcpy(static_cast<char*>(to) + r * stride, data_[kTile][r], config_.row_bytes[kTile]);
    }
  }
  // C += A B. Even and odd products are summed apart from zero, then together, then into C.
  template <int kC, int kA, int kB>
  void dot() {
    check(kC);
    check(kA);
    check(kB);
    const int rows = config_.rows[kC], columns = config_.row_bytes[kC] / 4, pairs = config_.row_bytes[kA] / 4;
    if (config_.rows[kA] != rows || config_.rows[kB] != pairs || config_.row_bytes[kB] != columns * 4) std::abort();
    for (int m = 0; m < rows; ++m) {
      for (int n = 0; n < columns; ++n) {
        float even = 0, odd = 0;
        for (int k = 0; k < pairs; ++k) {
          even = multiply_add(half(kA, m, 2 * k), half(kB, k, 2 * n), even);
          odd = multiply_add(half(kA, m, 2 * k + 1), half(kB, k, 2 * n + 1), odd);
        }
        float sum;
        std::memcpy(&sum, &data_[kC][m][4 * n], 4);
        sum = flush(flush(sum) + flush(even + odd));
        std::memcpy(&data_[kC][m][4 * n], &sum, 4);
      }
    }
  }

 protected:
  void check(int tile) const {
    if (!configured_ || config_.rows[tile] == 0 || config_.row_bytes[tile] == 0) std::abort();
  }
  float half(int tile, int r, int i) const {
    uint16_t bits;
    std::memcpy(&bits, &data_[tile][r][2 * i], 2);
    return widen(bits);
  }
  TileConfig config_;
  bool configured_ = false;
  uint8_t data_[8][16][64] = {};
};

class ByteTiles : public Tiles {
 public:
  // C += A B over signed bytes.
  template <int kC, int kA, int kB>
  void dot() {
    check(kC);
    check(kA);
    check(kB);
    const int rows = config_.rows[kC], columns = config_.row_bytes[kC] / 4, fours = config_.row_bytes[kA] / 4;
    if (config_.rows[kA] != rows || config_.rows[kB] != fours || config_.row_bytes[kB] != columns * 4) std::abort();
    for (int m = 0; m < rows; ++m) {
      for (int n = 0; n < columns; ++n) {
        int32_t sum;
        std::memcpy(&sum, &data_[kC][m][4 * n], 4);
        for (int k = 0; k < 4 * fours; ++k) {
          sum += static_cast<int8_t>(data_[kA][m][k]) * static_cast<int8_t>(data_[kB][k / 4][4 * n + k % 4]);
        }
        std::memcpy(&data_[kC][m][4 * n], &sum, 4);
      }
    }
  }
};

}  // namespace pagoda::standin
