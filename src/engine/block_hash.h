// A name for the content of a full page: hash of its tokens chained to the page before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace pagoda {

// 128 bits. Equal hashes mean equal tokens from the sequence's first on, under the same salt.
struct BlockHash {
  uint64_t low = 0, high = 0;
  bool operator==(const BlockHash& other) const { return low == other.low && high == other.high; }
  bool operator!=(const BlockHash& other) const { return !(*this == other); }
};

struct BlockHashKey {
  size_t operator()(const BlockHash& hash) const { return static_cast<size_t>(hash.low); }
};

// Keyed by a number drawn at start, so that no client can prepare two prompts that collide.
class BlockHasher {
 public:
  BlockHasher();  // a key of this process's own
  explicit BlockHasher(uint64_t key) : key_(key) {}

  // What the first page is chained to. Requests under different salts never share pages.
  BlockHash root(std::string_view salt) const;
  // ids: kPageTokens of them.
  BlockHash next(const BlockHash& parent, const int32_t* ids) const;

 private:
  BlockHash absorb(const BlockHash& state, uint64_t low, uint64_t high) const;
  uint64_t key_;
};

}  // namespace pagoda
