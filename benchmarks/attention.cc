// How close does attention come to what this machine can do, and what do scattered pages cost a decode step?
//
// Usage: bench_attention [ISA [THREADS]]. Heads are those of SmolLM2-135M (9 query, 3 key-value, 64 dimensions) and of a
// 7B model with grouped queries (32, 8, 128). Prefill: the dense entry over one causal sequence, in FLOP/s of what the mask
// leaves. Decode: one query over a paged context, pages in order and scattered; each call reads another cache, so that 512 MiB
// are read in turn and none is found in a processor cache. "limit" is the share of max(FLOPs / measured FLOP/s,
// bytes of keys and values / measured read rate) in the time taken.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/cpu_info.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/limits.h"
#include "kernels/table.h"
#include "tensor/device.h"

namespace pagoda {
namespace {

constexpr int64_t kMemory = int64_t{512} << 20;
constexpr int kPasses = 5;
constexpr double kPassSeconds = 0.03;

struct Heads {
  int64_t queries, keys, dim;
};
constexpr Heads kHeads[] = {{9, 3, 64}, {32, 8, 128}};

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Seconds a call takes: the best of a few passes.
template <class Fn>
double best_of(const Fn& fn) {
  double best = 1e30;
  for (int pass = 0; pass < kPasses; ++pass) {
    int64_t calls = 0;
    const double begin = seconds();
    double now = begin;
    for (; now - begin < kPassSeconds; now = seconds(), ++calls) fn();
    best = std::min(best, (now - begin) / static_cast<double>(calls));
  }
  return best;
}

// [rows, heads, dim] of small numbers.
struct Rows {
  std::vector<char> bytes;
  View view;
  Rows(DType dtype, int64_t rows, int64_t heads, int64_t dim)
      : bytes(static_cast<size_t>(rows * heads * dim * dtype_size(dtype))) {
    view.data = bytes.data();
    view.dtype = dtype;
    view.rank = 3;
    view.dims[0] = rows;
    view.dims[1] = heads;
    view.dims[2] = dim;
    view.strides[0] = heads * dim;
    view.strides[1] = dim;
    view.strides[2] = 1;
    for (int64_t i = 0; i < view.numel(); ++i) {
      const float value = static_cast<float>((i * 2654435761) % 2001) / 1000.0f - 1.0f;
      if (dtype == DType::kFloat32) view.as<float>()[i] = value;
      if (dtype == DType::kBFloat16) view.as<BFloat16>()[i] = BFloat16(value);
    }
  }
};

struct Machine {
  Exec exec;
  const KernelTable* table;
  uint8_t* memory;
  double read_rate, flop_rate;  // of the dtype measured; a second
};

void prefill(const Machine& machine, const Heads& heads, DType dtype, int64_t length) {
  Rows q(dtype, length, heads.queries, heads.dim), k(dtype, length, heads.keys, heads.dim),
      v(dtype, length, heads.keys, heads.dim), out(dtype, length, heads.queries, heads.dim);
  AttentionSpec spec;
  spec.scale = 0.125f;
  const int32_t starts[] = {0, static_cast<int32_t>(length)};
  const double time = best_of([&] {
    machine.table->attention(machine.exec, spec, RaggedRows{1, starts}, q.view, k.view, v.view, out.view, View());
    machine.exec.scratch->reset();
  });
  const double flops = 2.0 * static_cast<double>(length * (length + 1) / 2 * heads.queries * heads.dim * 2);
  std::printf("prefill %-9s %2d/%d x %-4d length %6d %10.1f us %8.1f GFLOP/s %4.0f%% of limit\n", dtype_name(dtype),
              static_cast<int>(heads.queries), static_cast<int>(heads.keys), static_cast<int>(heads.dim),
              static_cast<int>(length), time * 1e6, flops / time * 1e-9, 100 * flops / machine.flop_rate / time);
}

void decode(const Machine& machine, const Heads& heads, DType dtype, int64_t context, bool scattered) {
  Rows q(dtype, 1, heads.queries, heads.dim), out(dtype, 1, heads.queries, heads.dim);
  KvPages pages;
  pages.base = machine.memory;
  pages.num_key_value_heads = heads.keys;
  pages.head_dim = pages.v_head_dim = heads.dim;
  pages.dtype = dtype;
  pages.page_bytes = page_bytes(heads.keys, heads.dim, heads.dim, dtype);
  pages.pages_per_slab = kMemory / pages.page_bytes;
  pages.slab_bytes = kMemory;
  const int64_t each = context / kPageTokens, copies = pages.pages_per_slab / each;
  std::vector<int32_t> table(static_cast<size_t>(each * copies));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  if (scattered) {
    uint64_t state = 1;
    for (size_t i = table.size(); i > 1; --i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::swap(table[i - 1], table[(state >> 33) % i]);
    }
  }
  AttentionSpec spec;
  spec.scale = 0.125f;
  const int32_t starts[] = {0, 1}, length = static_cast<int32_t>(context);
  int64_t copy = 0;
  const uint64_t forks = machine.exec.pool->regions();
  uint64_t calls = 0;
  const double time = best_of([&] {
    PagedRows rows;
    rows.queries = {1, starts};
    rows.context_lengths = &length;
    rows.block_tables = table.data() + copy * each;
    rows.table_stride = each;
    copy = (copy + 1) % copies;
    ++calls;
    machine.table->attention_paged(machine.exec, spec, rows, pages, q.view, out.view);
  });
  const double flops = 2.0 * static_cast<double>(context * heads.queries * heads.dim * 2);
  const double bytes = static_cast<double>(context * heads.keys * heads.dim * 2 * dtype_size(dtype));
  const double limit = std::max(flops / machine.flop_rate, bytes / machine.read_rate);
  std::printf("decode  %-9s %2d/%d x %-4d context %5d %10.1f us %8.1f GB/s %8.0f%% of limit, pages %s, %s\n", dtype_name(dtype),
              static_cast<int>(heads.queries), static_cast<int>(heads.keys), static_cast<int>(heads.dim),
              static_cast<int>(context), time * 1e6, bytes / time * 1e-9, 100 * limit / time,
              scattered ? "scattered" : "in order ",
              (machine.exec.pool->regions() - forks) * 2 > calls ? "forks" : "does not fork");
}

int run(int argc, char** argv) {
  const CpuInfo cpu = detect_cpu();
  const Isa isa = argc > 1 ? parse_isa(argv[1]) : best_isa(cpu);
  if (!isa_supported(isa, cpu)) unsupported("bench_attention", "this machine has no {}", isa_name(isa));
  ThreadPool pool(argc > 2 ? std::atoi(argv[2]) : cpu.usable_cores);
  KernelTable table;
  fill_cpu(table, isa);
  CachingAllocator allocator;
  Arena arena;
  Machine machine;
  machine.exec.pool = &pool;
  machine.exec.scratch = &arena;
  machine.table = &table;
  machine.read_rate = measure_read_bandwidth(pool, kMemory) * 1e9;
  machine.memory = static_cast<uint8_t*>(allocator.allocate(kMemory));
  std::memset(machine.memory, 0x3C, static_cast<size_t>(kMemory));  // as bfloat16 and as float32 a small number
  const ThreadPool::Step step(pool);
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    machine.flop_rate = measure_flops(pool, isa, dtype) * 1e9;
    std::printf("%s, %d threads, %s, %s: limits %.1f GFLOP/s, %.1f GB/s\n", cpu.model.c_str(), pool.num_threads(),
                isa_name(isa), dtype_name(dtype), machine.flop_rate * 1e-9, machine.read_rate * 1e-9);
    for (const Heads& heads : kHeads) {
      for (const int64_t length : {128, 512, 2048}) prefill(machine, heads, dtype, length);
      for (const int64_t context : {128, 512, 2048, 8192}) {
        decode(machine, heads, dtype, context, false);
        decode(machine, heads, dtype, context, true);
      }
    }
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
