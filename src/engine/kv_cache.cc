// One mapping, cut into slabs and pages.
#include "engine/kv_cache.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"

namespace pagoda {

namespace {
constexpr int64_t kMinSlab = int64_t{1} << 20;
}

int64_t KvCache::bytes_per_token(const std::vector<LayerStateSpec>& layers, DType dtype) {
  int64_t bytes = 0;
  for (const LayerStateSpec& layer : layers) {
    bytes =
        checked_add(bytes, pagoda::page_bytes(layer.num_key_value_heads, layer.head_dim, layer.v_head_dim, dtype), "kv_cache");
  }
  return bytes / kPageTokens;
}

int64_t KvCache::window(const std::vector<LayerStateSpec>& layers) {
  int64_t widest = 0;
  for (const LayerStateSpec& layer : layers) {
    if (layer.window <= 0) return 0;
    widest = std::max(widest, layer.window);
  }
  return widest;
}

KvCache::KvCache(const std::vector<LayerStateSpec>& layers, DType dtype, int64_t num_pages) : num_pages_(num_pages) {
  for (const LayerStateSpec& layer : layers) {
    KvPages pages;
    pages.layer_offset = page_bytes_;
    pages.num_key_value_heads = layer.num_key_value_heads;
    pages.head_dim = layer.head_dim;
    pages.v_head_dim = layer.v_head_dim;
    pages.dtype = dtype;
    layers_.push_back(pages);
    page_bytes_ = checked_add(
        page_bytes_, pagoda::page_bytes(layer.num_key_value_heads, layer.head_dim, layer.v_head_dim, dtype), "kv_cache");
  }
  const int64_t pages_per_slab = std::max<int64_t>(1, div_up(kMinSlab, std::max<int64_t>(page_bytes_, 1)));
  const int64_t slab_bytes = checked_mul(pages_per_slab, page_bytes_, "kv_cache");
  memory_bytes_ = std::max<int64_t>(checked_mul(div_up(num_pages, pages_per_slab), slab_bytes, "kv_cache"), 64);
  void* memory = ::mmap(nullptr, static_cast<size_t>(memory_bytes_), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) fail(ErrorKind::kOutOfMemory, "kv_cache", "no memory for the cache: need {} bytes", memory_bytes_);
  ::madvise(memory, static_cast<size_t>(memory_bytes_), MADV_HUGEPAGE);
  memory_ = static_cast<uint8_t*>(memory);
  for (KvPages& pages : layers_) {
    pages.base = memory_;
    pages.slab_bytes = slab_bytes;
    pages.pages_per_slab = pages_per_slab;
    pages.page_bytes = page_bytes_;
  }
}

KvCache::~KvCache() {
  if (memory_ != nullptr) ::munmap(memory_, static_cast<size_t>(memory_bytes_));
}

void KvCache::copy(const BlockCopy& copy) {
  for (const KvPages& pages : layers_) copy_page(pages, copy.from, copy.to);
}

}  // namespace pagoda
