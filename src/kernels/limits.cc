// Read bandwidth and multiply-add rate by timing plain loops on the pool: short passes, the best of several, since other load
// on the machine can only slow a pass down.
#include "kernels/limits.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/checked.h"
#include "base/error.h"
#include "kernels/cpu/limits.h"

namespace pagoda {
namespace {

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Keeps the compiler from leaving out the work that gave `value`.
template <class T>
void use(const T& value) {
  __asm__ volatile("" : : "m"(value) : "memory");
}

limits::Loop loop_of(Isa isa, DType dtype) {
#if defined(__x86_64__)
  const bool bf16 = dtype == DType::kBFloat16;
  if (dtype == DType::kInt8) {
    return isa == Isa::kAmx ? limits::byte_tiles_amx() : isa == Isa::kAvx512Bf16 ? limits::dot_vnni() : limits::Loop{};
  }
  switch (isa) {
    case Isa::kReference: return {};
    case Isa::kPortable: return limits::fma_portable();
    case Isa::kAvx2: return limits::fma_avx2();
    case Isa::kAvx512: return limits::fma_avx512();
    case Isa::kAvx512Bf16: return bf16 ? limits::dot_avx512_bf16() : limits::fma_avx512();
    case Isa::kAmx: return bf16 ? limits::tiles_amx() : limits::fma_avx512();
  }
#endif
  return isa == Isa::kReference || dtype == DType::kInt8 ? limits::Loop{} : limits::fma_portable();
}

}  // namespace

double measure_read_bandwidth(ThreadPool& pool, int64_t bytes) {
  constexpr int64_t kPiece = 256 << 10, kHugePage = 2 << 20;
  constexpr int kPasses = 5;
  bytes = round_up(std::max<int64_t>(bytes, 1), kHugePage);
  const std::unique_ptr<void, void (*)(void*)> memory(std::aligned_alloc(kHugePage, static_cast<size_t>(bytes)), std::free);
  if (memory == nullptr) fail(ErrorKind::kOutOfMemory, "limits", "cannot measure the read bandwidth: need {} bytes", bytes);
  auto* data = static_cast<char*>(memory.get());
#if defined(__linux__)
  madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // the limit is what memory gives, not what small pages cost
#endif
  const ThreadPool::Step step(pool);
  // Pages that were never written all share one page of zeros, which is in the cache.
  pool.parallel_for(bytes / kPiece, 8, [&](int64_t begin, int64_t end, int) {
    std::memset(data + begin * kPiece, 1, static_cast<size_t>((end - begin) * kPiece));
  });
#if defined(__x86_64__)
  const limits::ReadFn read = isa_supported(Isa::kAvx2, detect_cpu()) ? limits::read_avx2() : limits::read_portable();
#else
  const limits::ReadFn read = limits::read_portable();
#endif
  double best = 0;
  for (int pass = 0; pass < 2 * kPasses; ++pass) {
    std::atomic<uint64_t> sum{0};
    const auto begin_time = std::chrono::steady_clock::now();
    pool.parallel_for(bytes / kPiece, 4, [&](int64_t begin, int64_t end, int) {
      uint64_t part = 0;
      for (int64_t i = begin; i < end; ++i) part ^= read(data + i * kPiece, kPiece, pass % 2 == 0);
      sum.fetch_xor(part, std::memory_order_relaxed);
    });
    best = std::max(best, static_cast<double>(bytes) / seconds_since(begin_time));
    use(sum.load());
  }
  return best * 1e-9;
}

double measure_flops(ThreadPool& pool, Isa isa, DType dtype) {
  const limits::Loop loop = loop_of(isa, dtype);
  if (loop.run == nullptr) return 0;
  constexpr int kPasses = 20;
  constexpr double kPieceSeconds = 100e-6;
  const int64_t pieces = int64_t{32} * pool.num_threads();  // taken one by one, as kernels do: the last one's wait is counted
  const ThreadPool::Step step(pool);
  // As many steps as take a piece's time once the clock has risen.
  int64_t steps = 1000;
  for (double seconds = 0; seconds < kPieceSeconds; steps *= 2) {
    const auto begin = std::chrono::steady_clock::now();
    use(loop.run(2 * steps));
    seconds = seconds_since(begin);
  }
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto begin_time = std::chrono::steady_clock::now();
    pool.parallel_for(pieces, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) use(loop.run(steps));
    });
    best = std::max(best, loop.flops_per_step * static_cast<double>(steps * pieces) / seconds_since(begin_time));
  }
  return best * 1e-9;
}

}  // namespace pagoda
