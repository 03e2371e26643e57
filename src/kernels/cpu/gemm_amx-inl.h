// The products of training in float32 on tiles of bfloat16, native or stand-in. Included by one source for each, inside its
// region of instruction sets and after products_amx-inl.h; hence no include guard and everything in an unnamed namespace.
//
// The 24 bits of a float32 are the sum of three bfloat16 of 8 (Henry, Tang and Heinecke, "Leveraging the bfloat16 artificial
// intelligence datatype for higher-precision computations", 2019). Of the nine products of parts the six largest are taken;
// what is left out is below 2^-23 of a product, and mostly far below. Products of parts are exact, sums float32. Six products
// of bfloat16 on tiles take two thirds of the time of one of float32 in vectors. Parts below 2^-126 are zero, and an infinite
// element gives NaN where it may meet a zero part.

namespace pagoda {
namespace {

constexpr int64_t kParts = 3, kHigh = 0, kMiddle = 1, kLow = 2;
constexpr int64_t kPartStep = kParts * 2 * kTileBytes;  // 32 inputs of two tiles of rows, or of two panels: [part][tile]
constexpr int64_t kPartTiles = 16;                      // of the inner dimension at most, from one reading of c to the next
constexpr int64_t kPartGroupBytes = int64_t{5} << 17;   // rows that stay in a second-level cache (2 MiB) while columns pass by
constexpr int64_t kPartScratch = int64_t{32} << 20;     // bytes of a's parts at a time, and of b's
constexpr int64_t kPairsTogether = 4;                   // packed side by side: half a kilobyte of a row is read at a time

struct Split {
  uint32_t part[kParts];  // bfloat16 in the upper half
};
HWY_INLINE uint32_t nearest_bf16(uint32_t bits) { return (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u; }
HWY_INLINE Split split(float x) {
  constexpr uint32_t kExponent = 0x7F800000u;
  const uint32_t bits = float_to_bits(x), nearest = nearest_bf16(bits);
  // Cut where rounding would reach infinity. Infinities and NaN have but one part.
  uint32_t high = (nearest & kExponent) == kExponent ? bits & 0xFFFF0000u : nearest;
  high |= (bits & ~0x80000000u) > kExponent ? 0x00400000u : 0u;
  const float rest = (bits & kExponent) == kExponent ? 0.0f : x - bits_to_float(high);
  const uint32_t middle = nearest_bf16(float_to_bits(rest));
  return {{high, middle, float_to_bits(rest - bits_to_float(middle))}};
}

// 16 rows of 32 inputs as tiles of rows, a part each 2 tiles from the one before.
inline void split_rows(const float* from, int64_t stride, char* to) {
  for (int64_t r = 0; r < kTileRows; ++r, from += stride, to += 64) {
    uint16_t parts[kParts][32];
    for (int i = 0; i < 32; ++i) {
      const Split s = split(from[i]);
      for (int p = 0; p < kParts; ++p) parts[p][i] = static_cast<uint16_t>(s.part[p] >> 16);
    }
    for (int p = 0; p < kParts; ++p) std::memcpy(to + p * 2 * kTileBytes, parts[p], 64);
  }
}

// 32 inputs, a row each, of the 16 columns of a panel: pairs of inputs side by side.
inline void split_columns(const float* from, int64_t stride, char* to) {
  for (int64_t pair = 0; pair < 16; ++pair, from += 2 * stride, to += 64) {
    const float *even = from, *odd = from + stride;
    uint32_t parts[kParts][16];
    for (int i = 0; i < 16; ++i) {
      const Split e = split(even[i]), o = split(odd[i]);
      for (int p = 0; p < kParts; ++p) parts[p][i] = e.part[p] >> 16 | (o.part[p] & 0xFFFF0000u);
    }
    for (int p = 0; p < kParts; ++p) std::memcpy(to + p * 2 * kTileBytes, parts[p], 64);
  }
}

// The elements at (row, column) of a matrix, or of its transpose.
struct PartSource {
  const View& matrix;
  bool transposed;
  products::TurnFn turn;

  const float* at(int64_t row, int64_t column) const {
    return transposed ? products::row<float>(matrix, column) + row : products::row<float>(matrix, row) + column;
  }
  // The kRows x kColumns elements from (row, column) on: where they lie if they lie so, else a copy, zeros beyond the counts.
  template <int64_t kRows, int64_t kColumns>
  const float* take(int64_t row, int64_t column, int64_t rows, int64_t columns, float* copy, int64_t& stride) const {
    rows = std::min(rows, kRows), columns = std::min(columns, kColumns);
    const bool whole = rows == kRows && columns == kColumns;
    stride = matrix.strides[0];
    if (whole && !transposed) return at(row, column);
    if (!whole) std::fill(copy, copy + kRows * kColumns, 0.0f);
    if (rows > 0 && columns > 0) {
      if (transposed) {
        turn(at(row, column), matrix.strides[0], columns, rows, copy, kColumns);
      } else {
        for (int64_t r = 0; r < rows; ++r) std::copy_n(at(row + r, column), columns, copy + r * kColumns);
      }
    }
    stride = kColumns;
    return copy;
  }
};

// Blocks of 32 rows of `a` from row `begin` on, or pairs of panels of `b` from column `begin` on; inputs [k_begin, k_begin +
// k).
template <bool kColumns>
void pack_parts(const PartSource& from, int64_t begin, int64_t end, int64_t k_begin, int64_t k, char* to) {
  alignas(64) float copy[kTileRows * products::kTileK];
  const int64_t steps = div_up(k, products::kTileK);
  for (int64_t group = begin; group < end; group += kPairsTogether * 32) {
    const int64_t group_end = std::min(end, group + kPairsTogether * 32);
    for (int64_t step = 0; step < steps; ++step) {
      const int64_t at = k_begin + step * products::kTileK, inputs = k - step * products::kTileK;
      for (int64_t tile = group; tile < group_end; tile += 16) {
        const int64_t block = (tile - begin) / 32, half = (tile - begin) / 16 % 2;
        char* const into = to + (block * steps + step) * kPartStep + half * kTileBytes;
        int64_t stride = 0;
        if constexpr (kColumns) {
          const float* const block_at = from.take<32, 16>(at, tile, inputs, end - tile, copy, stride);
          split_columns(block_at, stride, into);
        } else {
          const float* const block_at = from.take<16, 32>(tile, at, end - tile, inputs, copy, stride);
          split_rows(block_at, stride, into);
        }
      }
    }
  }
}

// Lines of the result, a matrix's row apart: some come with each step, since all at once they would keep those of parts
// waiting.
struct ResultLines {
  const float* first;
  int64_t stride, count, a_step;  // elements; lines, two a row
};

// sums [rows][32] of the products of `steps` steps. Tiles 0 to 3 hold sums, 4 and 5 rows, 6 and 7 panels.
template <class Tiles, int kRowTiles, int kPanels>
HWY_INLINE void part_block(Tiles& tiles, const char* a, const char* b, int64_t steps, const ResultLines& lines, float* sums) {
  constexpr bool kSecondRows = kRowTiles == 2, kSecondPanel = kPanels == 2;
  const auto load_rows = [&](int64_t part) { tiles.template load<4>(a + part * 2 * kTileBytes, 64); };
  const auto load_second_rows = [&](int64_t part) {
    if constexpr (kSecondRows) tiles.template load<5>(a + (part * 2 + 1) * kTileBytes, 64);
  };
  const auto load_panel = [&](int64_t part) { tiles.template load<6>(b + part * 2 * kTileBytes, 64); };
  const auto load_second_panel = [&](int64_t part) {
    if constexpr (kSecondPanel) tiles.template load<7>(b + (part * 2 + 1) * kTileBytes, 64);
  };
  const auto dot_first = [&] { tiles.template dot<0, 4, 6>(); };
  const auto dot_right = [&] {
    if constexpr (kSecondPanel) tiles.template dot<1, 4, 7>();
  };
  const auto dot_below = [&] {
    if constexpr (kSecondRows) tiles.template dot<2, 5, 6>();
  };
  const auto dot_last = [&] {
    if constexpr (kSecondRows && kSecondPanel) tiles.template dot<3, 5, 7>();
  };
  // Four products of the parts at hand, while a tile that the last of them no longer needs is loaded with its next part.
  const auto then_rows = [&](int64_t part) {
    dot_first();
    dot_right();
    load_rows(part);
    dot_below();
    dot_last();
    load_second_rows(part);
  };
  const auto then_panels = [&](int64_t part) {
    dot_first();
    dot_below();
    load_panel(part);
    dot_right();
    dot_last();
    load_second_panel(part);
  };
  tiles.template zero<0>();
  tiles.template zero<1>();
  tiles.template zero<2>();
  tiles.template zero<3>();
  // Small products first: high x low, high x middle, middle x middle, middle x high, low x high, high x high.
  int64_t line = 0;
  for (int64_t step = 0; step < steps; ++step, a += kPartStep, b += kPartStep) {
    for (const int64_t end = std::min(lines.count, line + lines.a_step); line < end; ++line) {
      __builtin_prefetch(lines.first + line / 2 * lines.stride + line % 2 * products::kPanel, 1);
    }
    load_rows(kHigh);
    load_panel(kLow);
    load_second_panel(kLow);
    load_second_rows(kHigh);
    then_panels(kMiddle);
    then_rows(kMiddle);
    then_panels(kHigh);
    then_rows(kLow);
    then_rows(kHigh);
    dot_first();
    dot_right();
    dot_below();
    dot_last();
  }
  constexpr int64_t kBytes = 32 * 4;
  tiles.template store<0>(sums, kBytes);
  if constexpr (kPanels == 2) tiles.template store<1>(sums + products::kPanel, kBytes);
  if constexpr (kRowTiles == 2) tiles.template store<2>(sums + kTileRows * 32, kBytes);
  if constexpr (kRowTiles == 2 && kPanels == 2) tiles.template store<3>(sums + kTileRows * 32 + products::kPanel, kBytes);
}

template <class Tiles>
void part_block(Tiles& tiles, const char* a, const char* b, int64_t steps, int64_t rows, int64_t columns,
                const ResultLines& lines, float* sums) {
  const bool both_rows = rows > kTileRows, both_panels = columns > products::kPanel;
  if (both_rows && both_panels) return part_block<Tiles, 2, 2>(tiles, a, b, steps, lines, sums);
  if (both_rows) return part_block<Tiles, 2, 1>(tiles, a, b, steps, lines, sums);
  if (both_panels) return part_block<Tiles, 1, 2>(tiles, a, b, steps, lines, sums);
  part_block<Tiles, 1, 1>(tiles, a, b, steps, lines, sums);
}

inline void put_sums(const float* sums, int64_t columns, bool add, float* c) {
  if (add) {
    for (int64_t i = 0; i < columns; ++i) c[i] += sums[i];
  } else {
    for (int64_t i = 0; i < columns; ++i) c[i] = sums[i];
  }
}

// Rows [m_begin, m_end) by columns [n_begin, n_end) of c, from parts of the rows from m_begin on and of the columns from
// n_begin on.
template <class Tiles>
void part_piece(const char* a, const char* b, int64_t steps, int64_t m_begin, int64_t m_end, int64_t n_begin, int64_t n_end,
                bool add, const View& c) {
  alignas(64) float sums[32 * 32];
  Tiles tiles;
  int64_t configured = 0;
  for (int64_t n = n_begin; n < n_end; n += 32, b += steps * kPartStep) {
    const int64_t columns = std::min<int64_t>(32, n_end - n);
    const char* rows_at = a;
    for (int64_t m = m_begin; m < m_end; m += 32, rows_at += steps * kPartStep) {
      const int64_t rows = std::min<int64_t>(32, m_end - m);
      if (configured != rows) {
        configured = rows;
        tiles.configure(tile_config(rows > kTileRows ? 2 : 1, std::min(rows, kTileRows), rows - kTileRows));
      }
      const ResultLines lines{products::row<float>(c, m) + n, c.strides[0], 2 * rows, div_up(2 * rows, steps)};
      part_block(tiles, rows_at, b, steps, rows, columns, lines, sums);
      for (int64_t r = 0; r < rows; ++r) {
        float* const into = products::row<float>(c, m + r) + n;
        if (columns == 32) {
          put_sums(sums + r * 32, 32, add, into);
        } else {
          put_sums(sums + r * 32, columns, add, into);
        }
      }
    }
  }
  tiles.release();
}

// How many of `all` rows or columns, a multiple of 32, have parts of at most kPartScratch bytes.
inline int64_t parts_at_once(int64_t all, int64_t steps) {
  return std::min(round_up(all, 32), std::max<int64_t>(1, kPartScratch / (steps * kPartStep)) * 32);
}

template <class Tiles>
void gemm_in_parts(products::TurnFn turn, const Exec& exec, const View& a, bool transpose_a, const View& b, bool transpose_b,
                   bool accumulate, const View& c) {
  const int64_t m = c.dims[0], n = c.dims[1], inner = a.dims[transpose_a ? 0 : 1];
  if (m == 0 || n == 0) return;
  if (inner == 0) {
    for (int64_t i = 0; !accumulate && i < m; ++i) std::fill_n(products::row<float>(c, i), n, 0.0f);
    return;
  }
  const PartSource rows{a, transpose_a, turn}, columns{b, transpose_b, turn};
  const ArenaScope scope(*exec.scratch);
  const int64_t tiles = div_up(inner, products::kTileK), cut = div_up(tiles, div_up(tiles, kPartTiles));
  const int64_t rows_at_once = parts_at_once(m, cut), columns_at_once = parts_at_once(n, cut);
  char* const a_parts = exec.scratch->allocate_array<char>(rows_at_once / 32 * cut * kPartStep);
  char* const b_parts = exec.scratch->allocate_array<char>(columns_at_once / 32 * cut * kPartStep);
  const auto pack = [&]<bool kColumns>(const PartSource& from, int64_t begin, int64_t end, int64_t k_begin, int64_t k,
                                       char* to) {
    const int64_t block_bytes = div_up(k, products::kTileK) * kPartStep;
    exec.pool->parallel_for(div_up(end - begin, 32), kPairsTogether, [&](int64_t first, int64_t last, int) {
      pack_parts<kColumns>(from, begin + first * 32, std::min(end, begin + last * 32), k_begin, k, to + first * block_bytes);
    });
  };
  for (int64_t tile = 0; tile < tiles; tile += cut) {
    const int64_t k_begin = tile * products::kTileK, k = std::min(inner - k_begin, cut * products::kTileK);
    const int64_t steps = div_up(k, products::kTileK), block_bytes = steps * kPartStep;
    const bool add = accumulate || tile > 0;
    for (int64_t n_begin = 0; n_begin < n; n_begin += columns_at_once) {
      const int64_t n_end = std::min(n, n_begin + columns_at_once), pairs = div_up(n_end - n_begin, 32);
      pack.template operator()<true>(columns, n_begin, n_end, k_begin, k, b_parts);
      for (int64_t m_begin = 0; m_begin < m; m_begin += rows_at_once) {
        const int64_t m_end = std::min(m, m_begin + rows_at_once), blocks = div_up(m_end - m_begin, 32);
        pack.template operator()<false>(rows, m_begin, m_end, k_begin, k, a_parts);
        const int64_t group = std::max<int64_t>(1, kPartGroupBytes / block_bytes), groups = div_up(blocks, group);
        // A few runs of pairs a thread, so that the last ones end together.
        const int64_t runs = std::clamp<int64_t>(div_up(4 * exec.pool->num_threads(), groups), 1, pairs);
        const int64_t run = div_up(pairs, runs);
        exec.pool->parallel_for(groups * runs, 1, [&](int64_t begin, int64_t end, int) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t block = i / runs * group, pair = i % runs * run;
            if (pair >= pairs) continue;
            part_piece<Tiles>(a_parts + block * block_bytes, b_parts + pair * block_bytes, steps, m_begin + block * 32,
                              std::min(m_end, m_begin + (block + group) * 32), n_begin + pair * 32,
                              std::min(n_end, n_begin + (pair + run) * 32), add, c);
          }
        });
      }
    }
  }
}

// What one side of which is short (LoRA's) goes to vectors: there parts would cost more than products. The rows of a that is
// not turned are tokens, and are not looked at.
constexpr int64_t kShort = 64;

template <class Tiles, products::TurnFn (*kTurn)(), Isa kVectors>
void gemm_on_tiles(const Exec& exec, View a, bool transpose_a, View b, bool transpose_b, bool accumulate, View c) {
  const bool floats = c.dtype == DType::kFloat32 && a.dtype == DType::kFloat32 && b.dtype == DType::kFloat32;
  if (!floats || c.dims[1] < kShort || (transpose_a ? c.dims[0] : a.dims[1]) < kShort) {
    return products::gemm_of(kVectors)(exec, a, transpose_a, b, transpose_b, accumulate, c);
  }
  gemm_in_parts<Tiles>(kTurn(), exec, a, transpose_a, b, transpose_b, accumulate, c);
}

}  // namespace
}  // namespace pagoda
