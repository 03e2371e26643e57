// Walks the kernel table, and hands measurements to the layers that may not see the kernels.
#include "ops/machine.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "kernels/limits.h"

namespace pagoda {

double measure_read_rate(Runtime& runtime, int64_t bytes) { return measure_read_bandwidth(runtime.pool(), bytes) * 1e9; }

double measure_flop_rate(Runtime& runtime, DType dtype) { return measure_flops(runtime.pool(), runtime.isa(), dtype) * 1e9; }

double measure_training_flop_rate(Runtime& runtime, DType dtype) {
  constexpr int kTries = 3;
  constexpr std::chrono::milliseconds kApart(40);
  const bool on_tiles = dtype == DType::kFloat32 && runtime.kernels().gemm.isa == Isa::kAmx;
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    if (i > 0) std::this_thread::sleep_for(kApart);
    best = std::max(best, measure_flop_rate(runtime, dtype));
    if (on_tiles) best = std::max(best, measure_flop_rate(runtime, DType::kBFloat16) / 6);
  }
  return best;
}

std::vector<KernelReport> kernel_report(const KernelTable& table) {
  std::vector<KernelReport> report;
#define PAGODA_REPORT(name, ...) report.push_back({#name, "", table.name.isa});
  PAGODA_KERNELS(PAGODA_REPORT)
#undef PAGODA_REPORT
  struct Case {
    WeightFormat format;
    DType x;
    const char* name;
  };
  for (const Case& each :
       {Case{WeightFormat::kFloat32Panels, DType::kFloat32, "float32"},
        Case{WeightFormat::kBf16Pairs, DType::kBFloat16, "bfloat16"}, Case{WeightFormat::kInt8Rows, DType::kBFloat16, "int8"},
        Case{WeightFormat::kGroups, DType::kBFloat16, "groups of 4 or 8 bits"}}) {
    for (const int64_t rows : {1, 16, 512}) {
      const ProductKernel* product = table.find_product(each.format, each.x, rows);
      if (product == nullptr) continue;
      report.push_back({std::string("product, ") + each.name + ", " + std::to_string(rows) + (rows == 1 ? " row" : " rows"),
                        product->name, product->isa});
    }
  }
  return report;
}

}  // namespace pagoda
