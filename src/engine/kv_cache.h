// Keys and values of all layers in pages: memory, the pool that hands pages out, and the tables of sequences.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/block_pool.h"
#include "models/model.h"

namespace pagoda {

// What the cache knows of one sequence. Pages are held from construction to release().
struct BlockTable {
  std::vector<int32_t> blocks;  // page of positions [16 i, 16 i + 16)
  int64_t num_tokens = 0;       // positions whose keys and values are stored
};

class KvCache {
 public:
  // A page holds kPageTokens tokens of every layer. Memory is reserved at once and touched as pages are used.
  KvCache(const std::vector<LayerStateSpec>& layers, DType dtype, int64_t num_pages);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  static int64_t bytes_per_token(const std::vector<LayerStateSpec>& layers, DType dtype);
  int64_t page_bytes() const { return page_bytes_; }
  const KvPages& pages(int layer) const { return layers_[static_cast<size_t>(layer)]; }
  const BlockPool& pool() const { return pool_; }

  // Makes room for positions up to `length` and makes the pages that will be written the table's own (copy on write).
  // False: no page is free; the table is as before.
  bool reserve(BlockTable& table, int64_t length);
  // A second table over the same pages.
  BlockTable fork(const BlockTable& table);
  void release(BlockTable& table);

 private:
  uint8_t* memory_ = nullptr;
  int64_t memory_bytes_ = 0, page_bytes_ = 0;
  std::vector<KvPages> layers_;
  BlockPool pool_;
};

}  // namespace pagoda
