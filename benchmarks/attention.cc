// How close does attention come to what this machine can do, and what do scattered pages cost a decode step?
//
// Usage: bench_attention [ISA [THREADS]]. Heads are those of SmolLM2-135M (9 query, 3 key-value, 64 dimensions) and of a
// 7B model with grouped queries (32, 8, 128). Prefill: the dense entry over one causal sequence, in FLOP/s of what the mask
// leaves. Decode: one query over a cached context that is contiguous (all keys and values of a head in one stretch, as a cache
// without pages has them), in pages that follow each other, and in scattered pages; the same arithmetic on the same bytes. Each
// call reads another context, so that 512 MiB are read in turn and none is found in a processor cache. The three take turns,
// best of kRounds. "limit" is the share of max(FLOPs / measured FLOP/s, bytes of keys and values / measured read rate) in the
// time taken.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "machine.h"

namespace pagoda {
namespace {

constexpr int64_t kMemory = int64_t{512} << 20;
constexpr double kPassSeconds = 0.03;
constexpr int kRounds = 3;

struct Heads {
  int64_t queries, keys, dim;
};
constexpr Heads kHeads[] = {{9, 3, 64}, {32, 8, 128}};

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

void prefill(Machine& machine, double flop_rate, const Heads& heads, DType dtype, int64_t length) {
  Rows q(dtype, length, heads.queries, heads.dim), k(dtype, length, heads.keys, heads.dim),
      v(dtype, length, heads.keys, heads.dim), out(dtype, length, heads.queries, heads.dim);
  AttentionSpec spec;
  spec.scale = 0.125f;
  const int32_t starts[] = {0, static_cast<int32_t>(length)};
  const double time = best_of(kPassSeconds, [&] {
    machine.table.attention(machine.exec, spec, RaggedRows{1, starts}, q.view, k.view, v.view, out.view, View());
    machine.arena.reset();
  });
  const int64_t pairs = length * (length + 1) / 2;  // of a query and a key that it sees
  const double flops = 2.0 * static_cast<double>(pairs * heads.queries * heads.dim * 2);
  std::printf("prefill %-9s %2d/%d x %-4d length %6d %10.1f us %8.1f GFLOP/s %4.0f%% of limit\n", dtype_name(dtype),
              static_cast<int>(heads.queries), static_cast<int>(heads.keys), static_cast<int>(heads.dim),
              static_cast<int>(length), time * 1e6, flops / time * 1e-9, 100 * flops / flop_rate / time);
}

enum class Placement { kContiguous, kInOrder, kScattered };

// One decode step over one context, each time another.
class Decode {
 public:
  Decode(Machine& machine, const Heads& heads, DType dtype, int64_t context, Placement placement)
      : machine_(machine),
        // Without pages a head is a sequence of its own: nothing but the place of its keys and values differs.
        sequences_(placement == Placement::kContiguous ? heads.keys : 1),
        q_(dtype, sequences_, heads.queries / sequences_, heads.dim),
        out_(dtype, sequences_, heads.queries / sequences_, heads.dim),
        each_(context / kPageTokens),
        lengths_(static_cast<size_t>(sequences_), static_cast<int32_t>(context)) {
    pages_.base = machine.memory;
    pages_.num_key_value_heads = heads.keys / sequences_;
    pages_.head_dim = pages_.v_head_dim = heads.dim;
    pages_.dtype = dtype;
    pages_.page_bytes = page_bytes(pages_.num_key_value_heads, heads.dim, heads.dim, dtype);
    pages_.pages_per_slab = kMemory / pages_.page_bytes;
    pages_.slab_bytes = kMemory;
    copies_ = pages_.pages_per_slab / (each_ * sequences_);
    table_.resize(static_cast<size_t>(each_ * sequences_ * copies_));
    for (size_t i = 0; i < table_.size(); ++i) table_[i] = static_cast<int32_t>(i);
    if (placement == Placement::kScattered) {
      uint64_t state = 1;
      for (size_t i = table_.size(); i > 1; --i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        std::swap(table_[i - 1], table_[(state >> 33) % i]);
      }
    }
    for (int64_t s = 0; s <= sequences_; ++s) starts_.push_back(static_cast<int32_t>(s));
    spec_.scale = 0.125f;
  }

  void operator()() {
    PagedRows rows;
    rows.queries = {sequences_, starts_.data()};
    rows.context_lengths = lengths_.data();
    rows.block_tables = table_.data() + copy_ * sequences_ * each_;
    rows.table_stride = each_;
    copy_ = (copy_ + 1) % copies_;
    machine_.table.attention_paged(machine_.exec, spec_, rows, pages_, q_.view, out_.view);
  }

 private:
  Machine& machine_;
  int64_t sequences_;
  Rows q_, out_;
  int64_t each_, copies_ = 0, copy_ = 0;
  KvPages pages_;
  AttentionSpec spec_;
  std::vector<int32_t> table_, starts_, lengths_;
};

void decode(Machine& machine, double flop_rate, const Heads& heads, DType dtype, int64_t context) {
  constexpr Placement kPlacements[] = {Placement::kContiguous, Placement::kInOrder, Placement::kScattered};
  constexpr const char* kNames[] = {"contiguous", "pages in order", "pages scattered"};
  double times[] = {1e30, 1e30, 1e30};
  bool forks[3] = {};
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < 3; ++i) {
      Decode step(machine, heads, dtype, context, kPlacements[i]);
      const uint64_t before = machine.pool.regions();
      uint64_t calls = 0;
      times[i] = std::min(times[i], best_of(kPassSeconds, [&] {
                            ++calls;
                            step();
                          }));
      forks[i] = (machine.pool.regions() - before) * 2 > calls;
    }
  }
  const double flops = 2.0 * static_cast<double>(context * heads.queries * heads.dim * 2);
  const double bytes = static_cast<double>(context * heads.keys * heads.dim * 2 * dtype_size(dtype));
  const double limit = std::max(flops / flop_rate, bytes / machine.read_rate);
  for (size_t i = 0; i < 3; ++i) {
    std::printf(
        "decode  %-9s %2d/%d x %-4d context %5d %10.1f us %8.1f GB/s %8.0f%% of limit, %-15s %+5.1f %% to contiguous, %s\n",
        dtype_name(dtype), static_cast<int>(heads.queries), static_cast<int>(heads.keys), static_cast<int>(heads.dim),
        static_cast<int>(context), times[i] * 1e6, bytes / times[i] * 1e-9, 100 * limit / times[i], kNames[i],
        100 * (times[i] / times[0] - 1), forks[i] ? "forks" : "does not fork");
  }
}

void run(int argc, char** argv) {
  Machine machine("bench_attention", kMemory, argc, argv);
  const ThreadPool::Step step(machine.pool);
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const double flop_rate = machine.measured_flop_rate(dtype);
    std::printf("%s, %d threads, %s, %s: limits %.1f GFLOP/s, %.1f GB/s\n", machine.cpu.model.c_str(),
                machine.pool.num_threads(), isa_name(machine.isa), dtype_name(dtype), flop_rate * 1e-9,
                machine.read_rate * 1e-9);
    for (const Heads& heads : kHeads) {
      for (const int64_t length : {128, 512, 2048}) prefill(machine, flop_rate, heads, dtype, length);
      for (const int64_t context : {128, 512, 2048, 8192}) {
        decode(machine, flop_rate, heads, dtype, context);
      }
    }
  }
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) { return pagoda::run_benchmark(argc, argv, pagoda::run); }
