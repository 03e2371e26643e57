// How close do products on packed weights come to what this machine can do? Every layer shape of SmolLM2-135M and some squares.
//
// Usage: bench_gemm [ISA [THREADS]]. For each shape and number of rows M, the best of a few passes, each over different copies
// of the weight so that all of 1 GiB is read in turn: no weight is found in a cache. "limit" is the share of
// max(FLOPs / measured FLOP/s, bytes of weights, activations and results / measured read rate) in the time taken.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/cpu_info.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/limits.h"
#include "kernels/table.h"
#include "tensor/device.h"

namespace pagoda {
namespace {

constexpr int64_t kMemory = int64_t{1} << 30;
constexpr int kPasses = 5;
constexpr double kPassSeconds = 0.02;

struct Shape {
  const char* name;
  int64_t n, k;
};
constexpr Shape kShapes[] = {{"qkv", 960, 576},    {"attention out", 576, 576}, {"gate+up", 3072, 576},
                             {"down", 576, 1536},  {"head", 49152, 576},        {"768", 768, 768},
                             {"1024", 1024, 1024}, {"2048", 2048, 2048},        {"4096", 4096, 4096}};

View matrix(void* data, DType dtype, int64_t rows, int64_t columns) {
  View v;
  v.data = data;
  v.dtype = dtype;
  v.rank = 2;
  v.dims[0] = rows;
  v.dims[1] = columns;
  v.strides[0] = columns;
  v.strides[1] = 1;
  return v;
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Machine {
  Exec exec;
  const KernelTable* table;
  char* memory;
  double read_rate;  // bytes/s
};

void measure(const Machine& machine, WeightFormat format, DType dtype, double flop_rate) {
  const ProductKernel* kernel = machine.table->find_product(format, dtype, 1);
  std::printf("\n%s: weights and activations %s, limits %.1f GFLOP/s and %.1f GB/s\n", kernel->name, dtype_name(dtype),
              flop_rate * 1e-9, machine.read_rate * 1e-9);
  std::printf("%-14s %6s %6s %5s %10s %9s %9s %6s\n", "shape", "N", "K", "M", "us", "GB/s", "GFLOP/s", "limit");
  for (const Shape& shape : kShapes) {
    const int64_t bytes = packed_bytes(format, shape.n, shape.k), copies = kMemory / bytes;
    int64_t copy = 0;
    for (const int64_t m : {1, 2, 4, 8, 16, 64, 256, 512}) {
      std::vector<char> x(static_cast<size_t>(m * shape.k * dtype_size(dtype)), 0x3C);
      std::vector<char> y(static_cast<size_t>(m * shape.n * dtype_size(dtype)));
      const View in = matrix(x.data(), dtype, m, shape.k), out = matrix(y.data(), dtype, m, shape.n);
      double best = 1e30;
      for (int pass = 0; pass < kPasses; ++pass) {
        int64_t calls = 0;
        const double begin = seconds();
        double now = begin;
        for (; now - begin < kPassSeconds; now = seconds(), ++calls) {
          const PackedView w{machine.memory + copy * bytes, format, shape.n, shape.k};
          copy = (copy + 1) % copies;
          kernel->run(machine.exec, in, w, Epilogue(), out);
        }
        best = std::min(best, (now - begin) / static_cast<double>(calls));
      }
      const double flops = 2.0 * static_cast<double>(m * shape.n * shape.k);
      const double moved = static_cast<double>(bytes) + static_cast<double>(x.size() + y.size());
      const double limit = std::max(flops / flop_rate, moved / machine.read_rate);
      std::printf("%-14s %6d %6d %5d %10.1f %9.1f %9.1f %5.0f%%\n", shape.name, static_cast<int>(shape.n),
                  static_cast<int>(shape.k), static_cast<int>(m), best * 1e6, moved / best * 1e-9, flops / best * 1e-9,
                  100 * limit / best);
    }
  }
}

int run(int argc, char** argv) {
  const CpuInfo cpu = detect_cpu();
  const Isa isa = argc > 1 ? parse_isa(argv[1]) : best_isa(cpu);
  if (!isa_supported(isa, cpu)) unsupported("bench_gemm", "this machine has no {}", isa_name(isa));
  ThreadPool pool(argc > 2 ? std::atoi(argv[2]) : cpu.usable_cores);
  KernelTable table;
  fill_cpu(table, isa);
  CachingAllocator allocator;
  Arena arena;
  Machine machine;
  machine.exec.pool = &pool;
  machine.exec.scratch = &arena;
  machine.table = &table;
  const double read_rate = measure_read_bandwidth(pool, kMemory) * 1e9;
  machine.read_rate = read_rate;
  machine.memory = static_cast<char*>(allocator.allocate(kMemory));
  std::memset(machine.memory, 0x3C, kMemory);  // as bfloat16 and as float32 a small number
  std::printf("%s, %d threads, %s\n", cpu.model.c_str(), pool.num_threads(), isa_name(isa));
  {
    const ThreadPool::Step step(pool);
    measure(machine, WeightFormat::kBf16Pairs, DType::kBFloat16, measure_flops(pool, isa, DType::kBFloat16) * 1e9);
    measure(machine, WeightFormat::kFloat32Panels, DType::kFloat32, measure_flops(pool, isa, DType::kFloat32) * 1e9);
  }
  allocator.deallocate(machine.memory, kMemory);
  return 0;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  try {
    return pagoda::run(argc, argv);
  } catch (const pagoda::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return pagoda::exit_code(error.kind());
  }
}
