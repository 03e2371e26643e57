// What the kernels of matrix products share: where a packed weight's panels lie, and how the work is cut into pieces.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/checked.h"
#include "kernels/table.h"

namespace pagoda::products {

constexpr int64_t kPanel = 16;  // outputs of a panel
constexpr int64_t kTileK = 32;  // bf16 inputs of a tile: what K is padded to in kBf16Pairs

inline int64_t panel_count(const PackedView& w) { return div_up(w.n, kPanel); }
inline int64_t padded_k(const PackedView& w) { return w.format == WeightFormat::kBf16Pairs ? round_up(w.k, kTileK) : w.k; }
// Elements of the format from a panel to the next.
inline int64_t panel_stride(const PackedView& w) { return padded_k(w) * kPanel; }

// What the instructions on bfloat16 support, at any number of rows.
inline bool takes_bf16_pairs(WeightFormat format, DType x, int64_t) {
  return format == WeightFormat::kBf16Pairs && x == DType::kBFloat16;
}

template <class T>
T* row(const View& view, int64_t i) {
  return view.as<T>() + i * view.strides[0];
}

// Writes a block of float32 sums, acc[rows][ld] for outputs [n_begin, n_begin + columns) of rows [m_begin, m_begin + rows) of
// y, through the epilogue. n_begin is a multiple of kPanel; columns past y's end are padding and are dropped.
using EpilogueFn = void (*)(const float* acc, int64_t ld, int64_t m_begin, int64_t rows, int64_t n_begin, int64_t columns,
                            const Epilogue& epilogue, const View& y);
EpilogueFn epilogue_portable();
EpilogueFn epilogue_avx2();
EpilogueFn epilogue_avx512();
// The same for Epilogue::gated and bfloat16 y: acc[rows][2 kPanel] of one panel of gates and its like, n_begin counted in y.
// The activation is that of the target's gated_activation, to the bit. flush: gates and ups that are subnormal once rounded are
// zero, as vcvtne2ps2bf16 has it.
EpilogueFn gated_epilogue_portable();
EpilogueFn gated_epilogue_avx2();
EpilogueFn gated_epilogue_avx512(bool flush);

// Results of at least `bytes` are written round the caches, whole lines at a time, where no cache would keep them for who comes
// next. (Through them, rows that lie many pages apart cost four times the product itself.) The joins of ThreadPool flush them.
constexpr int64_t kStreamBytes = int64_t{32} << 20;
inline bool streams(const View& y, const View& residual, int64_t bytes) {
  const int64_t row_bytes = y.strides[0] * dtype_size(y.dtype);
  return !residual && y.dims[0] * row_bytes >= bytes && row_bytes % 64 == 0 && reinterpret_cast<uintptr_t>(y.data) % 64 == 0;
}

// One call of a register block: rows x panels of sums over `k` inputs.
struct Block {
  const void* x;         // first row, at the first input; float, or bfloat16 for families that take it as it lies
  int64_t x_stride;      // elements
  const void* w;         // first panel, at the first input
  int64_t panel_stride;  // elements
  int64_t k;             // inputs
  float* acc;            // [rows][acc_stride]
  int64_t acc_stride;
  bool first;     // start from zero, not from acc
  bool prefetch;  // the weights are not in a cache yet
  // Where they are: what is read from memory meanwhile, spread over the block.
  const char* ahead;
  int64_t ahead_lines;  // of 64 bytes
};
using BlockFn = void (*)(const Block&);

// Copies rows [m_begin, m_begin + rows), inputs [k_begin, k_begin + k), of x as float32 to to[rows][k].
using TakeFn = void (*)(const View& x, int64_t m_begin, int64_t rows, int64_t k_begin, int64_t k, float* to);

// A family of register blocks that add in the same order, and so give the same bits.
struct BlockFamily {
  int max_rows;                // of a block
  const BlockFn (*blocks)[3];  // [rows - 1][for 1, 2 and 4 panels]; null where registers do not suffice
  TakeFn take;                 // null: blocks read x as it lies
  EpilogueFn finish;
  // For pieces of many rows: a panel's weights are widened once, to[k][16], and taken by the blocks for floats. Null: never.
  void (*widen_panel)(const void* pairs, int64_t k, float* to) = nullptr;
  const BlockFn (*wide_blocks)[3] = nullptr;
  int many_rows = max_rows;  // of a block where a piece has at least kManyRows
};
constexpr int64_t kManyRows = 48;
// The float32 families on kFloat32Panels, x as it lies.
BlockFamily float_blocks_portable();
BlockFamily float_blocks_avx2();
BlockFamily float_blocks_avx512();

// to[column][row] = from[row][column]; strides in elements.
using TurnFn = void (*)(const float* from, int64_t from_row, int64_t rows, int64_t columns, float* to, int64_t to_row);
TurnFn turn_floats_portable();
TurnFn turn_floats_avx2();
TurnFn turn_floats_avx512();

// The product of all y.dims[0] rows by a family's blocks: pieces, cuts of the inputs, epilogue.
void run_blocks(const BlockFamily& family, const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue,
                const View& y);

// Entries that are the same source for every instruction set: gemm over the family of `isa` (gemm.cc); pack,
// unpack and packed_embedding (products_pack.cc).
void fill_gemm(KernelTable& table, Isa isa);
using GemmFn = void(const Exec&, View a, bool transpose_a, View b, bool transpose_b, bool accumulate, View c);
GemmFn* gemm_of(Isa isa);  // kPortable, kAvx2 or kAvx512
void fill_packing(KernelTable& table, Isa isa);

// What threads take one by one, in the order of ThreadPool's shares. Any cut gives the same bits, since no sum is ever split.
// Few rows: each thread has its own panels, in runs that shrink as the work runs out, so that a thread reads long stretches of
// weights and the last run still ends with the others. Many: each has its own rows, which its caches then hold from product to
// product, in runs of panels that others can take over.
class Pieces {
 public:
  // Row blocks of at most max_rows, evenly sized in whole row_steps; runs of whole panel_steps. A thread has rows of its own
  // where these are at least own_rows.
  Pieces(int64_t m, int64_t max_rows, int64_t row_step, int64_t own_rows, int64_t panels, int64_t panel_step, int threads);

  struct Piece {
    int64_t m_begin, rows, panel_begin, panel_end;
  };
  int64_t count() const { return row_blocks_ * columns_ * runs_; }
  Piece operator[](int64_t i) const;

 private:
  // A column is one thread's share of the panels; its run r begins at panel begins_[r] of the share.
  static constexpr int kMaxRuns = 16;
  int64_t rows_, block_rows_, row_blocks_, panels_, columns_, column_panels_, runs_ = 0;
  int64_t begins_[kMaxRuns + 1];
};

}  // namespace pagoda::products
