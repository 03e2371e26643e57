// Register blocks over the bf16 dot-product instruction, native or stand-in. Included by one source for each, inside its region
// of instruction sets, hence no include guard and everything in an unnamed namespace.
//
// Each output is one chain over pairs of inputs in ascending order; within a pair the instruction adds the odd product first.
// Subnormal bfloat16 inputs and subnormal sums count as zero, as the instruction has it.

namespace pagoda {
namespace {

constexpr int kDotMaxRows = 12;
constexpr int64_t kDotReadAhead = 8192;  // bytes, in the streams of all panels of a block together

HWY_INLINE uint32_t pair_at(const BFloat16* x) {
  uint32_t pair;
  std::memcpy(&pair, x, sizeof pair);
  return pair;
}

// One pair of inputs of every row, or a last input without a partner (x's row may end there).
template <class I, int Rows, int Panels, bool kLone>
HWY_INLINE void dot_step(const BFloat16* x, int64_t x_stride, const char* w, int64_t panel_bytes,
                         typename I::Floats (&acc)[Rows][Panels]) {
  typename I::Pairs weights[Panels];
  HWY_UNROLL(4)
  for (int p = 0; p < Panels; ++p) weights[p] = I::load_pairs(w + p * panel_bytes);
  HWY_UNROLL(12)
  for (int r = 0; r < Rows; ++r) {
    const BFloat16* at = x + r * x_stride;
    const typename I::Pairs pair = I::broadcast(kLone ? uint32_t{at->bits} : pair_at(at));
    HWY_UNROLL(4)
    for (int p = 0; p < Panels; ++p) acc[r][p] = I::dot(acc[r][p], pair, weights[p]);
  }
}

template <class I, int Rows, int Panels>
void dot_block(const products::Block& b) {
  typename I::Floats acc[Rows][Panels];
  HWY_UNROLL(12)
  for (int r = 0; r < Rows; ++r) {
    HWY_UNROLL(4)
    for (int p = 0; p < Panels; ++p) {
      acc[r][p] = b.first ? I::zero() : I::load(b.acc + r * b.acc_stride + p * products::kPanel);
    }
  }
  const int64_t steps = b.k / 2, panel_bytes = b.panel_stride * 2, x_stride = b.x_stride;
  const BFloat16* x = static_cast<const BFloat16*>(b.x);
  const char* w = static_cast<const char*>(b.w);
  // Reading ahead past the end of these panels goes on in the panels that come next.
  constexpr int64_t kPrefetch = kDotReadAhead / Panels;
  const int64_t turn = b.prefetch ? steps - std::min(steps, kPrefetch / 64) : 0;
  for (int64_t i = 0; i < steps; ++i) {
    if (b.prefetch) {
      const int64_t ahead = i < turn ? kPrefetch : kPrefetch + (Panels - 1) * panel_bytes;
      HWY_UNROLL(4)
      for (int p = 0; p < Panels; ++p) {
        read_ahead(w, p * panel_bytes + ahead);
      }
    }
    dot_step<I, Rows, Panels, false>(x, x_stride, w, panel_bytes, acc);
    x += 2;
    w += 64;
  }
  if (b.k % 2 != 0) dot_step<I, Rows, Panels, true>(x, x_stride, w, panel_bytes, acc);
  HWY_UNROLL(12)
  for (int r = 0; r < Rows; ++r) {
    HWY_UNROLL(4)
    for (int p = 0; p < Panels; ++p) I::store(acc[r][p], b.acc + r * b.acc_stride + p * products::kPanel);
  }
}

// 24 accumulators of 32 registers; weights and broadcasts beside them.
template <class I, int Rows, int Panels>
constexpr products::BlockFn dot_block_if_it_fits() {
  if constexpr (Rows * Panels <= 24) {
    return dot_block<I, Rows, Panels>;
  } else {
    return nullptr;
  }
}

template <class I, int... kRows>
struct DotTable {
  static constexpr products::BlockFn kBlocks[sizeof...(kRows)][3] = {{dot_block_if_it_fits<I, kRows + 1, 1>(),
                                                                      dot_block_if_it_fits<I, kRows + 1, 2>(),
                                                                      dot_block_if_it_fits<I, kRows + 1, 4>()}...};
};
template <class I, int... kRows>
constexpr auto& dot_table(std::integer_sequence<int, kRows...>) {
  return DotTable<I, kRows...>::kBlocks;
}

// kRows: of a block at most; fewer where compiling matters more than speed.
template <class I, int kRows = kDotMaxRows>
void run_dot(products::EpilogueFn finish, const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue,
             const View& y) {
  const auto& blocks = dot_table<I>(std::make_integer_sequence<int, kRows>());
  products::run_blocks({kRows, blocks, nullptr, finish, nullptr, nullptr}, exec, x, w, epilogue, y);
}

// For the rate of the instruction: 24 chains, each begun with a product of its own, since equal ones would become one. a, b: an
// operand's 32 bits.
template <class I>
float loop_on_chains(uint32_t a, uint32_t b, int64_t steps) {
  constexpr int kChains = 24;
  typename I::Floats acc[kChains];
  const typename I::Pairs left = I::broadcast(a), right = I::broadcast(b);
  HWY_UNROLL(24)
  for (int i = 0; i < kChains; ++i) acc[i] = I::dot(I::zero(), left, I::broadcast(b + static_cast<uint32_t>(i)));
  for (int64_t step = 0; step < steps; ++step) {
    HWY_UNROLL(24)
    for (int i = 0; i < kChains; ++i) acc[i] = I::dot(acc[i], left, right);
  }
  float sums[kChains][16], sum = 0;
  for (int i = 0; i < kChains; ++i) {
    I::store(acc[i], sums[i]);
    sum += sums[i][0];
  }
  return sum;
}

}  // namespace
}  // namespace pagoda
