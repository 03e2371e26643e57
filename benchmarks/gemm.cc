// How close do products on packed weights come to what this machine can do? Every layer shape of SmolLM2-135M and some squares.
//
// Usage: bench_gemm [ISA|auto [THREADS [FORMAT]]]: all formats of weights, or those whose name begins so. For each shape and
// number of rows M, the best of a few passes, each over different copies of the weight so that all of 1 GiB is read in turn: no
// weight is found in a cache. "limit" is the share of max(FLOPs / measured FLOP/s, bytes of weights, activations and results /
// measured read rate) in the time taken.
#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "machine.h"

namespace pagoda {
namespace {

constexpr int64_t kMemory = int64_t{1} << 30;
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

void measure(Machine& machine, const std::string& wanted, const char* weights, const PackedView& format, DType dtype) {
  if (std::string_view(weights).substr(0, wanted.size()) != wanted) return;
  // Products in int8 take int8's rate; those from codes, whose sums of groups are scaled, that of the activations' dtype.
  const bool bytes_only = format.format == WeightFormat::kInt8Rows;
  const double flop_rate = machine.measured_flop_rate(bytes_only ? DType::kInt8 : dtype);
  const ProductKernel* kernel = machine.table.find_product(format.format, dtype, 1);
  std::printf("\n%s: weights %s, activations %s, limits %.1f GFLOP/s and %.1f GB/s\n", kernel->name, weights, dtype_name(dtype),
              flop_rate * 1e-9, machine.read_rate * 1e-9);
  std::printf("%-14s %6s %6s %5s %10s %9s %9s %6s\n", "shape", "N", "K", "M", "us", "GB/s", "GFLOP/s", "limit");
  for (const Shape& shape : kShapes) {
    PackedView w = format;
    w.n = shape.n;
    w.k = shape.k;
    if (w.format == WeightFormat::kGroups && w.k % (w.groups.has_super() ? kSuperBlock : w.groups.size) != 0) continue;
    const int64_t bytes = packed_bytes(w), copies = kMemory / bytes;
    int64_t copy = 0;
    for (const int64_t m : {1, 2, 3, 4, 8, 16, 64, 256, 512, 1024}) {
      AlignedBytes x(m * shape.k * dtype_size(dtype));
      AlignedBytes y(m * shape.n * dtype_size(dtype));
      const View in = matrix(x.data(), dtype, m, shape.k), out = matrix(y.data(), dtype, m, shape.n);
      const double best = best_of(kPassSeconds, [&] {
        w.data = machine.memory + copy * bytes;
        copy = (copy + 1) % copies;
        kernel->run(machine.exec, in, w, Epilogue(), out);
      });
      const double flops = 2.0 * static_cast<double>(m * shape.n * shape.k);
      const double moved = static_cast<double>(bytes) + static_cast<double>(x.size() + y.size());
      const double limit = std::max(flop_rate > 0 ? flops / flop_rate : 0, moved / machine.read_rate);
      std::printf("%-14s %6d %6d %5d %10.1f %9.1f %9.1f %5.0f%%\n", shape.name, static_cast<int>(shape.n),
                  static_cast<int>(shape.k), static_cast<int>(m), best * 1e6, moved / best * 1e-9, flops / best * 1e-9,
                  100 * limit / best);
    }
  }
}

// The products of training in float32: y, dx and dw of a layer (the last two: of LoRA), whose matrices lie in memory as they
// are.
void measure_training(Machine& machine, const std::string& wanted) {
  if (std::string_view("training").substr(0, wanted.size()) != wanted) return;
  constexpr int64_t kTokens = 1024;
  std::printf("\ntraining in float32, %d tokens, float32 limit %.1f GFLOP/s, that of bfloat16 / 6 %.1f\n",
              static_cast<int>(kTokens), machine.measured_flop_rate(DType::kFloat32) * 1e-9,
              machine.measured_flop_rate(DType::kBFloat16) / 6 * 1e-9);
  std::printf("%6s %6s %28s\n", "N", "K", "GFLOP/s of y, dx, dw");
  for (const auto& [n, k] :
       {std::pair<int64_t, int64_t>{768, 768}, {2304, 768}, {3072, 768}, {768, 3072}, {50257, 768}, {16, 768}, {768, 16}}) {
    AlignedBytes x(kTokens * k * 4), w(n * k * 4), y(kTokens * n * 4);
    const View in = matrix(x.data(), DType::kFloat32, kTokens, k), weight = matrix(w.data(), DType::kFloat32, n, k),
               out = matrix(y.data(), DType::kFloat32, kTokens, n);
    // As layers have them: what multipliers of zeros or of one number draw is not what they draw of many.
    uint32_t state = 1;
    for (AlignedBytes* bytes : {&x, &w, &y}) {
      for (int64_t i = 0; i < bytes->size() / 4; ++i) {
        state = state * 1664525 + 1013904223;
        static_cast<float*>(bytes->data())[i] = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
      }
    }
    const double flops = 2.0 * static_cast<double>(kTokens * n * k) * 1e-9;
    const auto& gemm = machine.table.gemm;
    const double forward = best_of(kPassSeconds, [&] { gemm(machine.exec, in, false, weight, true, false, out); });
    const double inputs = best_of(kPassSeconds, [&] { gemm(machine.exec, out, false, weight, false, false, in); });
    const double weights = best_of(kPassSeconds, [&] { gemm(machine.exec, out, true, in, false, false, weight); });
    std::printf("%6d %6d %9.1f %9.1f %9.1f\n", static_cast<int>(n), static_cast<int>(k), flops / forward, flops / inputs,
                flops / weights);
  }
}

void run(int argc, char** argv) {
  Machine machine("bench_gemm", kMemory, argc, argv);
  std::printf("%s, %d threads, %s\n", machine.cpu.model.c_str(), machine.pool.num_threads(), isa_name(machine.isa));
  const ThreadPool::Step step(machine.pool);
  const std::string wanted = argc > 3 ? argv[3] : "";
  const auto groups = [](int bits, int64_t size, GroupScale scale, int offset) {
    return PackedView{nullptr, WeightFormat::kGroups, 0, 0, {bits, size, scale, offset}};
  };
  measure(machine, wanted, "bfloat16", {nullptr, WeightFormat::kBf16Pairs}, DType::kBFloat16);
  measure(machine, wanted, "int8", {nullptr, WeightFormat::kInt8Rows}, DType::kBFloat16);
  measure(machine, wanted, "Q8_0", groups(8, 32, GroupScale::kHalf, 0), DType::kBFloat16);
  measure(machine, wanted, "Q4_0", groups(4, 32, GroupScale::kHalf, 8), DType::kBFloat16);
  measure(machine, wanted, "Q4_K", groups(4, 32, GroupScale::kSuperMin, 0), DType::kBFloat16);
  measure(machine, wanted, "Q6_K", groups(8, 16, GroupScale::kSuper, 0), DType::kBFloat16);
  measure(machine, wanted, "int4 in groups of 128", groups(4, 128, GroupScale::kHalf, 8), DType::kBFloat16);
  measure(machine, wanted, "int4 in groups of 128 with zeros", groups(4, 128, GroupScale::kHalfZero, 0), DType::kBFloat16);
  measure(machine, wanted, "float32", {nullptr, WeightFormat::kFloat32Panels}, DType::kFloat32);
  measure_training(machine, wanted);
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) { return pagoda::run_benchmark(argc, argv, pagoda::run); }
