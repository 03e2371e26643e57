// A Runtime: thread pool, kernel table, allocator and scratch of one device. Everything that computes hangs from one.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/cpu_info.h"
#include "base/placement.h"
#include "base/thread_pool.h"
#include "kernels/table.h"
#include "tensor/device.h"
#include "tensor/weight_memory.h"

namespace pagoda {

struct RuntimeOptions {
  int threads = 0;         // 0: the machine's usable physical cores
  std::vector<int> cores;  // pin thread i to cores[i]; empty: not pinned
  std::optional<Isa> isa;  // empty: the best this machine has; a forced one it lacks throws kUnsupported
  bool place = false;      // choose cores and memory as base/placement.h does, where `cores` is empty
  int numa_node = -1;      // of these; -1: the one with most cores
};

// Not thread-safe: one thread at a time calls ops on a Runtime's tensors.
class Runtime {
 public:
  explicit Runtime(const RuntimeOptions& options = {});
  // With a table of the caller's own (tests: stand-ins for instructions that this machine lacks).
  Runtime(const RuntimeOptions& options, const KernelTable& table);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Device& device() { return device_; }
  ThreadPool& pool() { return *pool_; }
  const CpuInfo& cpu() const { return cpu_; }
  Isa isa() const { return table_.isa; }
  const KernelTable& kernels() const { return table_; }
  CachingAllocator& allocator() { return allocator_; }
  const Placement& placement() const { return placement_; }

 private:
  void start(const RuntimeOptions& options);
  CpuInfo cpu_;
  Placement placement_;
  KernelTable table_;
  std::unique_ptr<ThreadPool> pool_;
  CachingAllocator allocator_;
  WeightMemory weights_;
  Arena scratch_;
  Device device_;
};

// "0,2,4-6" as a list of cores; throws kInvalidInput.
std::vector<int> parse_core_list(const std::string& text);

}  // namespace pagoda
