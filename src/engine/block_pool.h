// Pages of the cache as numbers: who holds how many references to which.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace pagoda {

// Knows no memory: page p is a number below num_blocks. Freed pages are reused last-in first-out (warm in the cache).
// Not thread-safe: owned by the engine's thread.
class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);
  std::optional<int32_t> allocate();  // one reference; empty when none is free
  void retain(int32_t block);         // one more reference
  void release(int32_t block);        // one less; free at zero
  int32_t references(int32_t block) const { return references_[static_cast<size_t>(block)]; }
  int64_t num_blocks() const { return static_cast<int64_t>(references_.size()); }
  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }

 private:
  std::vector<int32_t> references_;
  std::vector<int32_t> free_;
};

}  // namespace pagoda
