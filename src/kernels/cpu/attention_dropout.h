// Which attention weights dropout keeps: drawn from counters, so that forward and backward, any threads and any cut of the
// batch agree.
#pragma once

#include <cstdint>

#include "base/random.h"
#include "kernels/table.h"

namespace pagoda {

// A query row's draws: key j is kept where mix(seed + j * kDropoutStep) >= threshold. Chances are in steps of 2^-24.
constexpr uint32_t kDropoutStep = 0x9E3779B9u;

inline uint32_t dropout_seed(const AttentionSpec& spec, int64_t row, int64_t head) {
  return philox(spec.dropout_key, spec.dropout_rows[row], static_cast<uint64_t>(head))[0];
}

// The finaliser of MurmurHash3: every bit of the result depends on every bit of x. Vector kernels compute the same.
inline uint32_t dropout_mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return x ^ (x >> 16);
}

inline int32_t dropout_threshold(const AttentionSpec& spec) { return static_cast<int32_t>(spec.dropout * 16777216.0f); }

inline bool dropout_keeps(uint32_t seed, int64_t key, int32_t threshold) {
  return static_cast<int32_t>(dropout_mix(seed + static_cast<uint32_t>(key) * kDropoutStep) >> 8) >= threshold;
}

}  // namespace pagoda
