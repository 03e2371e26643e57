// The tile instructions under the names of instructions_standin.h. Code that calls these must be compiled between
// PAGODA_BEGIN_AMX and PAGODA_END_AMX.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "hwy/base.h"
#include "kernels/cpu/instructions_avx512bf16.h"
#include "kernels/cpu/instructions_standin.h"  // TileConfig

#define PAGODA_BEGIN_AMX \
  HWY_PUSH_ATTRIBUTES("avx2,fma,bmi,bmi2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16")
#define PAGODA_END_AMX HWY_POP_ATTRIBUTES

PAGODA_BEGIN_AMX
namespace pagoda::native {

// The intrinsics take a tile's number as a literal; GCC's are macros that paste it.
#define PAGODA_TILE_CASES(call) \
  if constexpr (kTile == 0) {   \
    call(0);                    \
  }                             \
  if constexpr (kTile == 1) {   \
    call(1);                    \
  }                             \
  if constexpr (kTile == 2) {   \
    call(2);                    \
  }                             \
  if constexpr (kTile == 3) {   \
    call(3);                    \
  }                             \
  if constexpr (kTile == 4) {   \
    call(4);                    \
  }                             \
  if constexpr (kTile == 5) {   \
    call(5);                    \
  }                             \
  if constexpr (kTile == 6) {   \
    call(6);                    \
  }                             \
  if constexpr (kTile == 7) {   \
    call(7);                    \
  }

struct Tiles : Rounding {
  // GCC 12 does not tell the optimizer that tile loads (and the configuration) read memory.
  static HWY_INLINE void fence() { __asm__ volatile("" : : : "memory"); }

  HWY_INLINE void configure(const standin::TileConfig& config) {
    fence();
    _tile_loadconfig(&config);
  }
  HWY_INLINE void release() { _tile_release(); }
  template <int kTile>
  HWY_INLINE void zero() {
#define PAGODA_CALL(tile) _tile_zero(tile)
    PAGODA_TILE_CASES(PAGODA_CALL)
#undef PAGODA_CALL
  }
  template <int kTile>
  HWY_INLINE void load(const void* from, int64_t stride) {
    fence();
#define PAGODA_CALL(tile) _tile_loadd(tile, from, stride)
    PAGODA_TILE_CASES(PAGODA_CALL)
#undef PAGODA_CALL
  }
  // Data that passes by once: it leaves the first-level cache to what is read again.
  template <int kTile>
  HWY_INLINE void load_stream(const void* from, int64_t stride) {
    fence();
#define PAGODA_CALL(tile) _tile_stream_loadd(tile, from, stride)
    PAGODA_TILE_CASES(PAGODA_CALL)
#undef PAGODA_CALL
  }
  template <int kTile>
  HWY_INLINE void store(void* to, int64_t stride) {
#define PAGODA_CALL(tile) _tile_stored(tile, to, stride)
    PAGODA_TILE_CASES(PAGODA_CALL)
#undef PAGODA_CALL
    fence();
  }
  // C += A B, for the combinations that kernels use.
  template <int kC, int kA, int kB>
  HWY_INLINE void dot() {
    constexpr int kCase = kC * 100 + kA * 10 + kB;
#define PAGODA_CASE(c, a, b) \
  if constexpr (kCase == c * 100 + a * 10 + b) _tile_dpbf16ps(c, a, b)
    PAGODA_CASE(0, 4, 6);
    PAGODA_CASE(1, 4, 7);
    PAGODA_CASE(2, 5, 6);
    PAGODA_CASE(3, 5, 7);
    PAGODA_CASE(0, 4, 5);
    PAGODA_CASE(1, 4, 6);
    PAGODA_CASE(2, 4, 7);
    PAGODA_CASE(3, 4, 5);
    PAGODA_CASE(1, 4, 5);
    PAGODA_CASE(2, 4, 5);
    PAGODA_CASE(1, 5, 7);
    PAGODA_CASE(2, 4, 6);
    PAGODA_CASE(0, 6, 7);
    PAGODA_CASE(1, 6, 7);
    PAGODA_CASE(2, 6, 7);
    PAGODA_CASE(3, 6, 7);
#undef PAGODA_CASE
    static_assert(kCase == 46 || kCase == 147 || kCase == 256 || kCase == 357 || kCase == 45 || kCase == 146 || kCase == 247 ||
                  kCase == 345 || kCase == 157 || kCase == 246 || kCase == 145 || kCase == 245 || kCase == 67 || kCase == 167 ||
                  kCase == 267 || kCase == 367);
  }
};

#undef PAGODA_TILE_CASES

}  // namespace pagoda::native
PAGODA_END_AMX
