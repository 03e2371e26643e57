// Tables of pages: which pages hold a sequence's tokens, made, shared, found again and given back. Touches no memory of the
// cache.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/block_hash.h"
#include "engine/block_pool.h"

namespace pagoda {

// What is known of one sequence. Pages are held until release().
struct BlockTable {
  std::vector<int32_t> blocks;    // page of positions [16 i, 16 i + 16); -1: left behind by a sliding window
  int64_t num_tokens = 0;         // positions whose keys and values are stored
  std::vector<BlockHash> hashes;  // of the first full pages, as far as they were named
};

// To be done before the step that follows, in order.
struct BlockCopy {
  int32_t from, to;
};

class BlockManager {
 public:
  // window > 0: no layer ever reads a key that lies further back; pages that fall behind are given back.
  explicit BlockManager(int64_t num_blocks, int64_t window = 0) : pool_(num_blocks), window_(window) {}

  const BlockPool& pool() const { return pool_; }
  const BlockHasher& hasher() const { return hasher_; }

  // Makes room for positions up to `length` and makes the pages that will be written the table's own: a shared one is
  // replaced, and its copy added to `copies`. False: too few pages are free; all is as before.
  bool reserve(BlockTable& table, int64_t length, std::vector<BlockCopy>& copies);
  // A second table over the same pages.
  BlockTable fork(const BlockTable& table);
  // Gives all pages back and empties the table. forget: nobody will ask for what they hold.
  void release(BlockTable& table, bool forget);

  // Fills an empty table with known pages that begin `ids`, at most `most` tokens of them. Returns the number of tokens found.
  int64_t find_prefix(BlockTable& table, const BlockHash& root, const std::vector<int32_t>& ids, int64_t most);
  // Names the full pages of ids[0, length), which are stored or will be by the step being prepared.
  void publish(BlockTable& table, const BlockHash& root, const std::vector<int32_t>& ids, int64_t length);
  // Takes back the names of pages beyond num_tokens: the step that was to fill them does not happen.
  void retract(BlockTable& table);
  // After num_tokens grew: gives back the pages that the window has left.
  void trim(BlockTable& table);

 private:
  BlockPool pool_;
  BlockHasher hasher_;
  int64_t window_;
};

}  // namespace pagoda
