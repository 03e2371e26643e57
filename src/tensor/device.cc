// Arena and caching allocator.
#include "tensor/device.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdlib>

#include "base/checked.h"
#include "base/error.h"

namespace pagoda {

namespace {

constexpr int64_t kAlignment = 64;
// From this size memory is aligned to a huge page, so that the kernel may back it by one.
constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kMinChunk = kHugePage;
constexpr int64_t kSlab = int64_t{32} << 20;
constexpr int64_t kMinSlabBlock = int64_t{16} << 10;

char* system_allocate(int64_t bytes) {
  const int64_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  void* data = std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>(round_up(bytes, alignment)));
  if (data == nullptr) fail(ErrorKind::kOutOfMemory, "memory", "allocation failed: need {} bytes", bytes);
#if defined(__linux__)
  // Rows of weights and cache are far apart: with small pages each is a miss of the address cache.
  if (bytes >= kHugePage) ::madvise(data, static_cast<size_t>(round_up(bytes, alignment)), MADV_HUGEPAGE);
#endif
  return static_cast<char*>(data);
}

}  // namespace

Arena::~Arena() {
  for (const Chunk& chunk : chunks_) std::free(chunk.data);
}

void* Arena::allocate(int64_t bytes) {
  bytes = round_up(std::max<int64_t>(bytes, 1), kAlignment);
  while (current_ < chunks_.size() && used_ + bytes > chunks_[current_].size) {
    before_ += chunks_[current_].size;
    used_ = 0;
    ++current_;
  }
  if (current_ == chunks_.size()) {
    const int64_t size = std::max({bytes, kMinChunk, before_});
    chunks_.push_back({system_allocate(size), size});
  }
  char* data = chunks_[current_].data + used_;
  used_ += bytes;
  return data;
}

int64_t Arena::mark() const { return before_ + used_; }

void Arena::release(int64_t mark) {
  while (current_ > 0 && mark < before_) {
    --current_;
    before_ -= chunks_[current_].size;
  }
  used_ = mark - before_;
  if (mark == 0) reset();
}

void Arena::reset() {
  if (chunks_.size() > 1) {
    int64_t total = 0;
    for (const Chunk& chunk : chunks_) {
      total += chunk.size;
      std::free(chunk.data);
    }
    chunks_.clear();
    chunks_.push_back({system_allocate(total), total});
  }
  current_ = 0;
  used_ = 0;
  before_ = 0;
}

CachingAllocator::~CachingAllocator() {
  trim();
  for (char* slab : slabs_) std::free(slab);
}

// Most weights and activations are smaller than a huge page: each on pages of its own would cost misses of the address cache
// all the same. Where overruns are looked for, every block keeps its own end.
bool CachingAllocator::from_slab([[maybe_unused]] int64_t rounded) {
#if defined(__SANITIZE_ADDRESS__)
  return false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
  return false;
#endif
#endif
  return rounded >= kMinSlabBlock && rounded < kHugePage;
}

void* CachingAllocator::cut(int64_t rounded) {
  const std::lock_guard lock(mutex_);
  const int64_t size = round_up(rounded, kAlignment);
  if (slab_left_ < size) {
    slabs_.reserve(slabs_.size() + 1);
    int64_t bytes = kSlab;
    try {
      slab_at_ = system_allocate(bytes);
    } catch (const Error&) {
      slab_at_ = system_allocate(bytes = kHugePage);
    }
    slabs_.push_back(slab_at_);
    slab_left_ = bytes;
    ++system_allocations_;
  }
  char* data = slab_at_;
  slab_at_ += size;
  slab_left_ -= size;
  return data;
}

void* CachingAllocator::allocate_new(int64_t rounded) {
  if (from_slab(rounded)) return cut(rounded);
  void* data = system_allocate(rounded);
  const std::lock_guard lock(mutex_);
  ++system_allocations_;
  return data;
}

int CachingAllocator::size_class(int64_t bytes, int64_t& rounded) {
  // Eight steps a power of two: at most an eighth of a block is wasted.
  int64_t size = std::max<int64_t>(bytes, 256);
  int shift = 63 - __builtin_clzll(static_cast<uint64_t>(size));
  const int64_t step = int64_t{1} << std::max(shift - 3, 6);
  rounded = round_up(size, step);
  shift = 63 - __builtin_clzll(static_cast<uint64_t>(rounded));
  return shift * 8 + static_cast<int>((rounded >> std::max(shift - 3, 0)) & 7);
}

// With the lock held; null where nothing fits. Small blocks are not worth a search.
void* CachingAllocator::take_cached(size_t index, int64_t rounded) {
  for (size_t i = index; i < free_.size() && (i == index || rounded >= kMinSlabBlock); ++i) {
    if (class_bytes_[i] > 2 * rounded) break;
    if (free_[i].empty()) continue;
    void* data = free_[i].back();
    if (i != index) larger_.emplace(data, i);
    free_[i].pop_back();
    cached_ -= class_bytes_[i];
    in_use_ += class_bytes_[i];
    return data;
  }
  return nullptr;
}

void* CachingAllocator::allocate(int64_t bytes) {
  if (bytes < 0 || bytes > (int64_t{1} << 46))
    fail(ErrorKind::kOutOfMemory, "memory", "allocation too large: got {} bytes", bytes);
  int64_t rounded = 0;
  const size_t index = static_cast<size_t>(size_class(bytes, rounded));
  {
    const std::lock_guard lock(mutex_);
    if (free_.size() <= index) {
      free_.resize(index + 1);
      class_bytes_.resize(index + 1);
    }
    class_bytes_[index] = rounded;
    if (void* data = take_cached(index, rounded)) return data;
    in_use_ += rounded;
  }
  try {
    return allocate_new(rounded);
  } catch (...) {
    trim();  // what is cached in other sizes may be what is missing
    try {
      return allocate_new(rounded);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      in_use_ -= rounded;
      throw;
    }
  }
}

void CachingAllocator::deallocate(void* data, int64_t bytes) {
  int64_t rounded = 0;
  size_t index = static_cast<size_t>(size_class(bytes, rounded));
  const std::lock_guard lock(mutex_);
  if (const auto larger = larger_.empty() ? larger_.end() : larger_.find(data); larger != larger_.end()) {
    index = larger->second;
    rounded = class_bytes_[index];
    larger_.erase(larger);
  }
  free_[index].push_back(data);
  in_use_ -= rounded;
  cached_ += rounded;
}

void CachingAllocator::trim() {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < free_.size(); ++i) {
    if (from_slab(class_bytes_[i])) continue;
    for (void* data : free_[i]) std::free(data);
    cached_ -= class_bytes_[i] * static_cast<int64_t>(free_[i].size());
    free_[i].clear();
  }
}

int64_t CachingAllocator::bytes_in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

int64_t CachingAllocator::bytes_cached() const {
  const std::lock_guard lock(mutex_);
  return cached_;
}

int64_t CachingAllocator::system_allocations() const {
  const std::lock_guard lock(mutex_);
  return system_allocations_;
}

}  // namespace pagoda
