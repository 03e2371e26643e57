// Multiply-add and read loops for every Highway target.
#include "kernels/cpu/hwy_targets.h"
#include "kernels/cpu/limits.h"
#include "kernels/cpu/read_ahead.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/limits_highway.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace limit {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_AVX3
constexpr int kChains = 24;  // latency 4 at two a cycle needs 8; as many as the kernels have
#else
constexpr int kChains = 12;
#endif

float fma(int64_t steps) {
  const hn::ScalableTag<float> d;
  hn::Vec<decltype(d)> acc[kChains];
  const auto factor = hn::Set(d, 0.999f), term = hn::Set(d, 0.001f);
  HWY_UNROLL(32)
  for (int i = 0; i < kChains; ++i) acc[i] = hn::Set(d, static_cast<float>(i));
  for (int64_t step = 0; step < steps; ++step) {
    HWY_UNROLL(32)
    for (int i = 0; i < kChains; ++i) acc[i] = hn::MulAdd(acc[i], factor, term);
  }
  HWY_UNROLL(32)
  for (int i = 1; i < kChains; ++i) acc[0] = hn::Add(acc[0], acc[i]);
  return hn::GetLane(acc[0]);
}

limits::Loop fma_loop() { return {fma, 2.0 * kChains * static_cast<double>(hn::Lanes(hn::ScalableTag<float>()))}; }

template <int kStreams>
uint64_t read_streams(const void* data, int64_t bytes) {
  const hn::ScalableTag<uint64_t> d;
  constexpr int kVectors = static_cast<int>(64 / HWY_LANES(uint8_t));
  const int64_t part = bytes / kStreams;
  const auto* from = static_cast<const uint8_t*>(data);
  hn::Vec<decltype(d)> sums[kStreams];
  HWY_UNROLL(4)
  for (int s = 0; s < kStreams; ++s) sums[s] = hn::Zero(d);
  for (int64_t at = 0; at < part; at += 64) {
    HWY_UNROLL(4)
    for (int s = 0; s < kStreams; ++s) {
      const uint8_t* line = from + s * part + at;
      read_ahead(line, 2048);
      HWY_UNROLL(4)
      for (int v = 0; v < kVectors; ++v) {
        sums[s] = hn::Xor(sums[s], hn::Load(d, reinterpret_cast<const uint64_t*>(line) + v * HWY_LANES(uint64_t)));
      }
    }
  }
  HWY_UNROLL(4)
  for (int s = 1; s < kStreams; ++s) sums[0] = hn::Xor(sums[0], sums[s]);
  return hn::GetLane(sums[0]);
}

uint64_t read(const void* data, int64_t bytes, bool four_streams) {
  return four_streams ? read_streams<4>(data, bytes) : read_streams<1>(data, bytes);
}

}  // namespace limit
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda::limits {

#if defined(__x86_64__)
namespace portable = N_SSSE3;
Loop fma_avx2() { return N_AVX2::limit::fma_loop(); }
Loop fma_avx512() { return N_AVX3::limit::fma_loop(); }
ReadFn read_avx2() { return N_AVX2::limit::read; }
#else
namespace portable = HWY_NAMESPACE;
#endif
Loop fma_portable() { return portable::limit::fma_loop(); }
ReadFn read_portable() { return portable::limit::read; }

}  // namespace pagoda::limits
#endif
