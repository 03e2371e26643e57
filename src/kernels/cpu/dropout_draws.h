// Which activations dropout keeps: drawn from counters, so that forward and backward, any threads and any cut of the batch
// agree.
#pragma once

#include <cstdint>

#include "base/random.h"
#include "kernels/table.h"

namespace pagoda {

// The finaliser of MurmurHash3 over first + column * kDrawStep, with the row's second word between its halves.
constexpr uint32_t kDrawStep = 0x9E3779B9u, kDrawFirst = 0x85EBCA6Bu, kDrawSecond = 0xC2B2AE35u;

struct RowWords {
  uint32_t first, second;
};

inline RowWords row_words(const DropoutSpec& spec, int64_t t) {
  const auto words = philox(spec.seed, spec.rows[t], spec.site);
  return {words[0], words[1]};
}

// Draws are below 2^24; those below this are dropped.
inline uint32_t least_kept(const DropoutSpec& spec) { return static_cast<uint32_t>(spec.p * 16777216.0f); }

inline uint32_t draw(const RowWords& row, int64_t column) {
  uint32_t x = row.first + static_cast<uint32_t>(column) * kDrawStep;
  x = ((x ^ (x >> 16)) * kDrawFirst) ^ row.second;
  x = (x ^ (x >> 13)) * kDrawSecond;
  return (x ^ (x >> 16)) >> 8;
}

}  // namespace pagoda
