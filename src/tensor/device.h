// The record of one device: its kernels, its memory, and what a kernel needs to run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/thread_pool.h"

namespace pagoda {

struct KernelTable;  // kernels/table.h
class PackedStore;   // ops/packed_weight.h
class WeightMemory;  // tensor/weight_memory.h

// Bump allocator for the scratch of kernels and of one step. Grows in chunks; reset() keeps the memory and joins the chunks
// into one, so that once warm nothing is allocated. Not thread-safe: used by the thread that calls kernels.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  void* allocate(int64_t bytes);  // 64-byte aligned, not zeroed
  template <class T>
  T* allocate_array(int64_t count) {
    return static_cast<T*>(allocate(count * static_cast<int64_t>(sizeof(T))));
  }
  int64_t mark() const;
  void release(int64_t mark);  // back to an earlier mark()
  void reset();

 private:
  struct Chunk {
    char* data;
    int64_t size;
  };
  std::vector<Chunk> chunks_;
  size_t current_ = 0;  // chunk in use
  int64_t used_ = 0;    // bytes used of it
  int64_t before_ = 0;  // bytes of the chunks before it
};

// Gives scratch back at the end of a scope.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.release(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena& arena_;
  int64_t mark_;
};

// Memory for tensors: 64-byte aligned. Implementations are thread-safe.
class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual void* allocate(int64_t bytes) = 0;  // throws kOutOfMemory
  virtual void deallocate(void* data, int64_t bytes) = 0;
};

// Keeps freed blocks in lists by size class (eight a power of two), so that a warm step asks the system for nothing. Where its
// own list is empty a request takes the smallest cached block of at most twice its size: steps that get smaller go on in the
// memory of larger ones. Blocks from 16 KiB to 2 MiB are cut from slabs on huge pages, which stay until the end.
class CachingAllocator : public Allocator {
 public:
  CachingAllocator() = default;
  ~CachingAllocator() override;
  void* allocate(int64_t bytes) override;
  void deallocate(void* data, int64_t bytes) override;
  void trim();  // gives cached blocks back to the system, those of slabs excepted
  int64_t bytes_in_use() const;
  int64_t bytes_cached() const;
  int64_t system_allocations() const;  // how often the system was asked: flat once warm

 private:
  static int size_class(int64_t bytes, int64_t& rounded);
  static bool from_slab(int64_t rounded);
  void* take_cached(size_t index, int64_t rounded);
  void* allocate_new(int64_t rounded);
  void* cut(int64_t rounded);
  mutable std::mutex mutex_;
  std::vector<std::vector<void*>> free_;
  std::vector<int64_t> class_bytes_;
  std::unordered_map<void*, size_t> larger_;  // blocks in use of a larger class than their request's, and that class
  std::vector<char*> slabs_;
  char* slab_at_ = nullptr;  // what is left of the last slab
  int64_t slab_left_ = 0;
  int64_t in_use_ = 0, cached_ = 0, system_allocations_ = 0;
};

// What a kernel runs with. Comes from the activation's device, which belongs to one Runtime.
struct Exec {
  ThreadPool* pool = nullptr;
  Arena* scratch = nullptr;
  void* stream = nullptr;  // CUDA stream
};

enum class DeviceKind { kCpu, kCuda };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;
  const KernelTable* kernels = nullptr;
  Allocator* allocator = nullptr;
  WeightMemory* weights = nullptr;
  Exec exec;
  PackedStore* packed = nullptr;  // weights packed beforehand, while a model is made ready; null: none
};

}  // namespace pagoda
