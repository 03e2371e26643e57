// Pages of the cache as numbers: who holds how many references to which, and what the pages are known to hold.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/block_hash.h"

namespace pagoda {

// Knows no memory: page p is a number below num_blocks. Every call takes constant time. Not thread-safe: owned by the engine's
// thread.
//
// A page without references is free, and may still be known by the hash of what it holds: free pages wait in a list in the
// order in which they will be handed out. Pages whose content nobody can ask for come first, the last freed of them foremost
// (it is warm in the CPU's cache); then known pages, the longest unused first.
class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);

  std::optional<int32_t> allocate();  // one reference; empty when none is free. What the page held is forgotten
  void retain(int32_t block);         // one more reference
  void release(int32_t block);        // one less; free at zero

  // The page known by this hash, with one more reference.
  std::optional<int32_t> find(const BlockHash& hash);
  // From now on find(hash) gives this page, until it is handed out anew. False if another page has the hash already.
  bool publish(int32_t block, const BlockHash& hash);
  void unpublish(int32_t block);  // a page that is not known stays so

  int32_t references(int32_t block) const { return pages_[static_cast<size_t>(block)].references; }
  bool published(int32_t block) const { return pages_[static_cast<size_t>(block)].published; }
  int64_t num_blocks() const { return static_cast<int64_t>(pages_.size()) - 1; }
  int64_t num_free() const { return num_free_; }
  int64_t num_published() const { return static_cast<int64_t>(known_.size()); }

 private:
  struct Page {
    int32_t references = 0;
    int32_t next = 0, previous = 0;  // in the list of free pages
    bool published = false;
    BlockHash hash;
  };
  Page& page(int32_t block) { return pages_[static_cast<size_t>(block)]; }
  void insert_free(int32_t block, int32_t before);
  void remove_free(int32_t block);

  std::vector<Page> pages_;  // the last one is head and tail of the free list
  std::unordered_map<BlockHash, int32_t, BlockHashKey> known_;
  int64_t num_free_ = 0;
};

}  // namespace pagoda
