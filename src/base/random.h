// Counter-based random numbers: value i of a stream depends on (seed, stream, i) alone, never on threads or order of calls.
#pragma once

#include <array>
#include <cstdint>

namespace pagoda {

// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): 128 random bits for a counter and a key.
std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high);

class RandomStream {
 public:
  RandomStream(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  uint64_t bits(uint64_t index) const;   // 64 random bits
  double uniform(uint64_t index) const;  // in [0, 1), 53 bits
  double normal(uint64_t index) const;   // mean 0, variance 1 (Box-Muller)

 private:
  uint64_t seed_;
  uint64_t stream_;
};

}  // namespace pagoda
