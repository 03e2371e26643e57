// What the programs of this folder share: the machine under test with its limits, the timing of a call, and main.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/cpu_info.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/limits.h"
#include "kernels/table.h"
#include "tensor/device.h"

namespace pagoda {

// Made from the words "[ISA [THREADS]]"; by default the best instruction set on all usable cores.
struct Machine {
  Machine(const char* program, int64_t bytes, int argc, char** argv)
      : isa(choose_isa(program, cpu, argc > 1 && std::string_view(argv[1]) != "auto" ? argv[1] : nullptr)),
        pool(argc > 2 ? std::atoi(argv[2]) : cpu.usable_cores),
        memory_bytes(bytes) {
    fill_cpu(table, isa);
    exec.pool = &pool;
    exec.scratch = &arena;
    read_rate = measure_read_bandwidth(pool, memory_bytes) * 1e9;
    memory = static_cast<uint8_t*>(allocator.allocate(memory_bytes));
    std::memset(memory, 0x3C, static_cast<size_t>(memory_bytes));  // as bfloat16 and as float32 a small number
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  ~Machine() { allocator.deallocate(memory, memory_bytes); }

  double measured_flop_rate(DType dtype) { return measure_flops(pool, isa, dtype) * 1e9; }  // a second

  const CpuInfo cpu = detect_cpu();
  const Isa isa;
  ThreadPool pool;
  KernelTable table;
  CachingAllocator allocator;
  Arena arena;
  Exec exec;
  const int64_t memory_bytes;
  uint8_t* memory;   // so much that what is read in turn is in no processor cache
  double read_rate;  // bytes a second

 private:
  static Isa choose_isa(const char* program, const CpuInfo& cpu, const char* wanted) {
    const Isa isa = wanted != nullptr ? parse_isa(wanted) : best_isa(cpu);
    if (!isa_supported(isa, cpu)) unsupported(program, "this machine has no {}", isa_name(isa));
    return isa;
  }
};

// Memory as an engine's activations lie: from a cache line on. Every byte 0x3C.
class AlignedBytes {
 public:
  explicit AlignedBytes(int64_t size) : size_(size), data_(memory().allocate(size)) {
    std::memset(data_, 0x3C, static_cast<size_t>(size));
  }
  ~AlignedBytes() { memory().deallocate(data_, size_); }
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;
  void* data() { return data_; }
  int64_t size() const { return size_; }

 private:
  // Where the engine's tensors lie too: on huge pages.
  static CachingAllocator& memory() {
    static CachingAllocator allocator;
    return allocator;
  }
  int64_t size_;
  void* data_;
};

inline double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Seconds a call takes: the best of five passes.
template <class Fn>
double best_of(double pass_seconds, const Fn& fn) {
  double best = 1e30;
  for (int pass = 0; pass < 5; ++pass) {
    int64_t calls = 0;
    const double begin = seconds();
    double now = begin;
    for (; now - begin < pass_seconds; now = seconds(), ++calls) fn();
    best = std::min(best, (now - begin) / static_cast<double>(calls));
  }
  return best;
}

// main(): `run` until its end or its error, which is printed and gives the exit code.
inline int run_benchmark(int argc, char** argv, void (*run)(int argc, char** argv)) {
  try {
    run(argc, argv);
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return exit_code(error.kind());
  }
}

}  // namespace pagoda
