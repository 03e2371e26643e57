// Few rows of weights in groups of 4-bit codes by products of bytes: vpdpbusd, its stand-in, or vpmaddubsw. Included by one
// source for each, inside its region of instruction sets, hence no include guard and everything in an unnamed namespace.
//
// x is brought to a grid first, group by group: integers of 13 or 14 bits times a power of two, the largest input's doing. Then
// a group's sum fits the 24 bits of a float, so that it is exact, whatever computes it in whatever order: bytes here, tiles or
// pairs of bfloat16 (which hold an input on the grid as well as any) for many rows. What the grid takes from x is less than
// 2^-14 of the group's largest input; bfloat16 itself has 2^-9 of each.

namespace pagoda {
namespace {

using groups::Grid;

constexpr int64_t kNibbleCut = 32;      // groups whose scales are taken at a time
constexpr int64_t kNibbleAhead = 2048;  // bytes of a panel

// x for products of bytes.
struct NibbleInputs {
  int8_t* digits;       // [rows][K / 8][16]: of every 8 inputs the high digits of 0 4 1 5 2 6 3 7, then the low ones
  int32_t* starts;      // [rows][groups]: what a group's sum begins with, for codes that are stored without their sign
  float *units, *sums;  // [rows][groups]; sums of x on the grid, null without minima
};

template <class Digits>
void take_nibble_inputs(const View& x, const GroupCoding& coding, int64_t row, const NibbleInputs& to) {
  const int64_t k = x.dims[1], size = coding.size, all = k / size;
  const BFloat16* from = products::row<BFloat16>(x, row);
  int8_t* digits = to.digits + row * k * 2;
  for (int64_t g = 0; g < all; ++g, from += size, digits += 2 * size) {
    const Grid grid(Digits::largest(from, size), coding);
    int32_t sum = 0;
    if (grid.empty || !grid.finite) {
      std::memset(digits, 0, static_cast<size_t>(2 * size));
    } else {
      sum = Digits::digits(from, size, grid.magic, digits);
    }
    to.starts[row * all + g] = -coding.offset * sum;
    to.units[row * all + g] = grid.unit;
    if (to.sums != nullptr) to.sums[row * all + g] = static_cast<float>(sum) * grid.unit;
  }
}

// A row of x on the grid.
template <class Digits>
void round_to_grid(const View& x, const GroupCoding& coding, int64_t row, BFloat16* to) {
  const int64_t size = coding.size;
  const BFloat16* from = products::row<BFloat16>(x, row);
  for (int64_t k = 0; k < x.dims[1]; k += size) {
    const Grid grid(Digits::largest(from + k, size), coding);
    if (grid.empty || !grid.finite) {
      std::fill_n(to + k, size, grid.finite ? BFloat16(0.0f) : BFloat16(bits_to_float(0x7FC00000)));
    } else {
      Digits::round(from + k, size, grid.magic, to + k);
    }
  }
}

struct NibbleProduct {
  const PackedView& w;
  const NibbleInputs& x;
  groups::ExpandFn expand;
};

// Reads some panels side by side ahead of their use, the panels that come after them too: each as one stretch of bytes, scales
// and codes.
template <int kPanels>
class PanelsAhead {
 public:
  PanelsAhead(const PackedView& w, int64_t panel)
      : from_(groups::scales_of(w, panel)),
        panel_bytes_(groups::panel_bytes(w)),
        next_(std::min(panel_bytes_, round_up(groups::scale_bytes(w), 64) + kNibbleAhead)),
        begin_(next_) {}
  HWY_INLINE void line() {
    const int64_t at = next_ < panel_bytes_ ? next_ : next_ + (kPanels - 1) * panel_bytes_;
    HWY_UNROLL(4)
    for (int p = 0; p < kPanels; ++p) read_ahead(from_, at + p * panel_bytes_);
    next_ += 64;
  }
  // All that belongs to a share of the panels.
  HWY_INLINE void until(int64_t share, int64_t of) {
    while (next_ < begin_ + panel_bytes_ * share / of) line();
  }

 private:
  const uint8_t* from_;
  int64_t panel_bytes_, next_, begin_;
};

// Rows [row, row + kRows) of some panels, to acc[kRows][stride].
template <class I, int kRows, int kPanels>
void nibble_block(const NibbleProduct& p, int64_t panel, int64_t row, float* to, int64_t stride) {
  using Ints = typename I::Ints;
  using Floats = typename I::Floats;
  const int64_t size = p.w.groups.size, all = p.w.k / size, lines = size / 8, digits_stride = p.w.k * 2;
  const int64_t panel_bytes = groups::panel_bytes(p.w);
  const bool minima = p.x.sums != nullptr, halves = p.w.groups.scale == GroupScale::kHalf;
  const uint8_t* half = groups::scales_of(p.w, panel);
  alignas(64) float scales[kPanels][kNibbleCut * 16], minimum[kPanels][kNibbleCut * 16];
  Floats acc[kRows][kPanels];
  HWY_UNROLL(8)
  for (int i = 0; i < kRows * kPanels; ++i) acc[i / kPanels][i % kPanels] = I::zero();
  PanelsAhead<kPanels> ahead(p.w, panel);
  const uint8_t* codes = groups::codes_of(p.w, panel);
  const int8_t* digits = p.x.digits + row * digits_stride;
  for (int64_t begin = 0; begin < all; begin += kNibbleCut) {
    const int64_t count = std::min(kNibbleCut, all - begin);
    for (int q = 0; q < kPanels && !halves; ++q) {
      p.expand(p.w, groups::scales_of(p.w, panel + q), begin, count, scales[q], minimum[q]);
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t g = row * all + begin + i;
      Ints high[kRows][kPanels], low[kRows][kPanels];
      HWY_UNROLL(4)
      for (int r = 0; r < kRows; ++r) {
        HWY_UNROLL(4)
        for (int q = 0; q < kPanels; ++q) {
          high[r][q] = I::zero_ints();
          low[r][q] = I::broadcast_int(p.x.starts[g + r * all]);
        }
      }
      for (int64_t line = 0; line < lines; ++line, codes += 64, digits += 16) {
        ahead.line();
        Ints first[kPanels], second[kPanels];
        HWY_UNROLL(4)
        for (int q = 0; q < kPanels; ++q) {
          first[q] = I::low_nibbles(codes + q * panel_bytes);
          second[q] = I::high_nibbles(codes + q * panel_bytes);
        }
        HWY_UNROLL(4)
        for (int r = 0; r < kRows; ++r) {
          const int8_t* at = digits + r * digits_stride;
          const Ints x[4] = {I::four(at), I::four(at + 4), I::four(at + 8), I::four(at + 12)};
          HWY_UNROLL(4)
          for (int q = 0; q < kPanels; ++q) {
            high[r][q] = I::dot(I::dot(high[r][q], first[q], x[0]), second[q], x[1]);
            low[r][q] = I::dot(I::dot(low[r][q], first[q], x[2]), second[q], x[3]);
          }
        }
      }
      ahead.until(begin + i + 1, all);
      Floats scale[kPanels];
      HWY_UNROLL(4)
      for (int q = 0; q < kPanels; ++q) {
        scale[q] = halves ? I::load_halves(half + (begin + i) * 32 + q * panel_bytes) : I::load(scales[q] + i * 16);
      }
      HWY_UNROLL(4)
      for (int r = 0; r < kRows; ++r) {
        const Floats unit = I::broadcast_float(p.x.units[g + r * all]);
        HWY_UNROLL(4)
        for (int q = 0; q < kPanels; ++q) {
          acc[r][q] = I::multiply_add(I::multiply(I::to_float(high[r][q], low[r][q]), unit), scale[q], acc[r][q]);
        }
      }
      if (!minima) continue;
      HWY_UNROLL(4)
      for (int r = 0; r < kRows; ++r) {
        const Floats sum = I::broadcast_float(p.x.sums[g + r * all]);
        HWY_UNROLL(4)
        for (int q = 0; q < kPanels; ++q) acc[r][q] = I::multiply_add(sum, I::load(minimum[q] + i * 16), acc[r][q]);
      }
    }
  }
  HWY_UNROLL(8)
  for (int i = 0; i < kRows * kPanels; ++i)
    I::store(acc[i / kPanels][i % kPanels], to + i / kPanels * stride + i % kPanels * 16);
}

// The blocks of run_nibbles by the dot-product instruction.
template <class I>
struct DotBlocks {
  static constexpr int kWidest = 4;  // side by side: memory gives more to several streams
  // All rows of kPanels panels, or of one, to acc[rows][kPanels * 16].
  template <int kPanels>
  static void run(const NibbleProduct& p, int64_t panel, int64_t rows, float* acc) {
    constexpr int64_t kStride = kPanels * products::kPanel;
    constexpr int kTwo = kPanels == 1 ? 1 : 2;
    for (int64_t row = 0; row < rows;) {
      const int64_t rest = rows - row;
      float* to = acc + row * kStride;
      if (rest >= 3) {
        for (int64_t q = 0; q < kPanels; q += kTwo) {
          rest == 3 ? nibble_block<I, 3, kTwo>(p, panel + q, row, to + q * 16, kStride)
                    : nibble_block<I, 4, kTwo>(p, panel + q, row, to + q * 16, kStride);
        }
        row += rest == 3 ? 3 : 4;
      } else if (rest == 2) {
        nibble_block<I, 2, kPanels>(p, panel, row, to, kStride);
        row += 2;
      } else {
        nibble_block<I, 1, kPanels>(p, panel, row, to, kStride);
        row += 1;
      }
    }
  }
};

// At most groups::kNibbleRows rows. Digits make integers of x, Blocks are register blocks of whole panels.
template <class Digits, class Blocks, class Flush, class Finish>
void run_nibbles(const Finish& finish, groups::ExpandFn expand, const Exec& exec, const View& x, const PackedView& w) {
  const int64_t m = x.dims[0], all = w.k / w.groups.size;
  if (m == 0 || w.n == 0) return;
  const ArenaScope scope(*exec.scratch);
  NibbleInputs inputs;
  inputs.digits = exec.scratch->allocate_array<int8_t>(m * w.k * 2);
  inputs.starts = exec.scratch->allocate_array<int32_t>(m * all);
  inputs.units = exec.scratch->allocate_array<float>(m * all);
  inputs.sums = w.groups.has_minimum() ? exec.scratch->allocate_array<float>(m * all) : nullptr;
  for (int64_t row = 0; row < m; ++row) take_nibble_inputs<Digits>(x, w.groups, row, inputs);
  const NibbleProduct product{w, inputs, expand};
  const products::Pieces pieces(m, groups::kNibbleRows, groups::kNibbleRows, groups::kNibbleRows + 1, products::panel_count(w),
                                2, exec.pool->num_threads());
  exec.pool->parallel_for(pieces.count(), 1, [&](int64_t begin, int64_t end, int) {
    const Flush flush;
    alignas(64) float acc[groups::kNibbleRows * Blocks::kWidest * products::kPanel];
    for (int64_t i = begin; i < end; ++i) {
      const products::Pieces::Piece piece = pieces[i];
      int64_t panel = piece.panel_begin;
      for (; panel + Blocks::kWidest <= piece.panel_end; panel += Blocks::kWidest) {
        Blocks::template run<Blocks::kWidest>(product, panel, m, acc);
        finish.template rows<Blocks::kWidest * products::kPanel>(acc, 0, m, panel * products::kPanel);
      }
      for (; panel < piece.panel_end; ++panel) {
        Blocks::template run<1>(product, panel, m, acc);
        finish.template rows<products::kPanel>(acc, 0, m, panel * products::kPanel);
      }
    }
  });
}

// x on the grid, in exec.scratch.
template <class Digits>
View on_grid(const Exec& exec, const View& x, const GroupCoding& coding) {
  View to = x;
  auto* data = exec.scratch->allocate_array<BFloat16>(x.dims[0] * x.dims[1]);
  to.data = data;
  to.strides[0] = x.dims[1];
  exec.pool->parallel_for(x.dims[0], 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) round_to_grid<Digits>(x, coding, i, data + i * x.dims[1]);
  });
  return to;
}

}  // namespace
}  // namespace pagoda
