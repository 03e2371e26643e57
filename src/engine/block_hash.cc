// Chained hashes: Philox as a keyed permutation in cipher-block chaining.
#include "engine/block_hash.h"

#include <random>

#include "base/random.h"
#include "ops/attention.h"

namespace pagoda {

BlockHasher::BlockHasher() {
  std::random_device device;
  key_ = (uint64_t{device()} << 32) | device();
}

BlockHash BlockHasher::absorb(const BlockHash& state, uint64_t low, uint64_t high) const {
  const std::array<uint32_t, 4> mixed = philox(key_, state.low ^ low, state.high ^ high);
  return {(uint64_t{mixed[1]} << 32) | mixed[0], (uint64_t{mixed[3]} << 32) | mixed[2]};
}

BlockHash BlockHasher::root(std::string_view salt) const {
  // The length first: salts of different lengths must not meet after padding.
  BlockHash state = absorb({}, salt.size(), ~uint64_t{0});
  for (size_t i = 0; i < salt.size(); i += 8) {
    uint64_t word = 0;
    for (size_t j = i; j < salt.size() && j < i + 8; ++j) word = (word << 8) | static_cast<unsigned char>(salt[j]);
    state = absorb(state, word, 0);
  }
  return state;
}

BlockHash BlockHasher::next(const BlockHash& parent, const int32_t* ids) const {
  const auto word = [&](int64_t i) {
    return (uint64_t{static_cast<uint32_t>(ids[i])} << 32) | static_cast<uint32_t>(ids[i + 1]);
  };
  BlockHash state = parent;
  for (int64_t i = 0; i < kPageTokens; i += 4) state = absorb(state, word(i), word(i + 2));
  return state;
}

}  // namespace pagoda
