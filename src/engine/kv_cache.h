// Memory of the keys and values of all layers, cut into pages.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/block_manager.h"
#include "models/model.h"

namespace pagoda {

class KvCache {
 public:
  // A page holds kPageTokens tokens of every layer. Memory is reserved at once and touched as pages are used.
  KvCache(const std::vector<LayerStateSpec>& layers, DType dtype, int64_t num_pages);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  static int64_t bytes_per_token(const std::vector<LayerStateSpec>& layers, DType dtype);
  // How far back any layer looks; 0: some layer sees everything.
  static int64_t window(const std::vector<LayerStateSpec>& layers);
  int64_t num_pages() const { return num_pages_; }
  int64_t page_bytes() const { return page_bytes_; }
  DType dtype() const { return layers_.empty() ? DType::kFloat32 : layers_.front().dtype; }
  const KvPages& pages(int layer) const { return layers_[static_cast<size_t>(layer)]; }
  void copy(const BlockCopy& copy);  // in every layer

 private:
  uint8_t* memory_ = nullptr;
  int64_t num_pages_ = 0, memory_bytes_ = 0, page_bytes_ = 0;
  std::vector<KvPages> layers_;
};

}  // namespace pagoda
