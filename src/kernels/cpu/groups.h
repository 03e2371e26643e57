// Where codes and scales of a weight in kGroups lie, and what the kernels that compute from them share.
#pragma once

#include <cstdint>

#include "kernels/cpu/products.h"
#include "tensor/group_coding.h"

namespace pagoda::groups {

using products::kPanel;

// Scales of a panel: [groups]{scale[16], minimum[16]}; with super-blocks
// [super-blocks]{scale[16], minimum[16], groups of it {scale[16], minimum[16]}}; minima only where there are some.
struct ScaleLayout {
  int64_t super_bytes = 0, group_bytes = 0;  // of 16 outputs
};
constexpr ScaleLayout scale_layout(GroupScale scale) {
  switch (scale) {
    case GroupScale::kHalf: return {0, 32};
    case GroupScale::kHalfMin: return {0, 64};
    case GroupScale::kHalfZero: return {0, 48};
    case GroupScale::kFloat: return {0, 64};
    case GroupScale::kFloatMin: return {0, 128};
    case GroupScale::kSuper: return {32, 16};
    case GroupScale::kSuperMin: return {64, 32};
  }
  return {};
}

inline int64_t code_bytes(const PackedView& w) { return w.k * kPanel * w.groups.bits / 8; }
inline int64_t scale_bytes(const PackedView& w) {
  const ScaleLayout layout = scale_layout(w.groups.scale);
  return w.k / kSuperBlock * layout.super_bytes + w.k / w.groups.size * layout.group_bytes;
}
inline int64_t panel_bytes(const PackedView& w) { return round_up(code_bytes(w), 64) + round_up(scale_bytes(w), 64); }
// Scales first: who reads a panel's codes ahead comes to the scales of the next.
inline const uint8_t* scales_of(const PackedView& w, int64_t panel) {
  return static_cast<const uint8_t*>(w.data) + panel * panel_bytes(w);
}
inline const uint8_t* codes_of(const PackedView& w, int64_t panel) {
  return scales_of(w, panel) + round_up(scale_bytes(w), 64);
}
// The scales of the super-block that group g is in, and those of the group itself.
struct GroupPlace {
  const uint8_t *super, *group;
};
inline GroupPlace place_of(const PackedView& w, const uint8_t* scales, int64_t g) {
  const ScaleLayout layout = scale_layout(w.groups.scale);
  if (!w.groups.has_super()) return {nullptr, scales + g * layout.group_bytes};
  const int64_t per_super = kSuperBlock / w.groups.size;
  const uint8_t* super = scales + g / per_super * (layout.super_bytes + per_super * layout.group_bytes);
  return {super, super + layout.super_bytes + g % per_super * layout.group_bytes};
}

inline bool takes_groups(WeightFormat format) { return format == WeightFormat::kGroups; }

// One output's scale and minimum of group g, and the value of one code.
struct ScaleMin {
  float scale, minimum;
};
ScaleMin scale_min(const PackedView& w, int64_t n, int64_t g);
int code(const PackedView& w, int64_t n, int64_t k);

// Scales and minima of `count` groups from g_begin on, [count][16] each (minima only where the coding has some).
using ExpandFn = void (*)(const PackedView& w, const uint8_t* scales, int64_t g_begin, int64_t count, float* scale,
                          float* minimum);
ExpandFn expand_portable();
ExpandFn expand_avx2();
ExpandFn expand_avx512();

// Sums of x's rows over groups of `size` inputs, to[rows][k / size]: in one order, whatever the instruction set.
void sum_groups(const Exec& exec, const View& x, int64_t size, float* to);

// One call of a register block: rows x panels, over whole groups. Sums of a group begin at zero and run over its inputs in
// ascending order; then acc += sum * scale, acc += (sum of x) * minimum, each rounded once.
struct Block {
  const void* x;  // first row, first input of the cut
  int64_t x_stride;
  // Codes as elements, [inputs][16] or [inputs / 2][16][2] a panel, panel_stride elements apart; for Family::direct the codes
  // as they are packed, panel_stride bytes apart.
  const void* w;
  int64_t panel_stride;
  int offset;                    // of 4-bit codes
  int64_t size, count;           // inputs of a group, groups
  const float *scales, *minima;  // [panels][scale_stride]: [groups][16]; minima null: none
  int64_t scale_stride;
  // For Family::direct: scales as packed in float16, panels as far apart as codes (null: scales); bytes from w to its panel's
  // end.
  const uint8_t* halves;
  int64_t left;
  const float* sums;   // of x, [rows][sums_stride]
  const float* units;  // of x on a grid, likewise; null: x is floats
  int64_t sums_stride;
  float* acc;
  int64_t acc_stride;
  bool first;
  // What blocks that read no memory themselves read from it meanwhile, spread over their groups (null: nothing).
  const uint8_t* ahead;
  int64_t ahead_lines;  // of 64 bytes
};
using BlockFn = void (*)(const Block&);
// Codes of `inputs` inputs of a panel as elements; reads `ahead` bytes ahead of them.
using DecodeFn = void (*)(const GroupCoding& coding, const uint8_t* codes, int64_t inputs, int64_t ahead, void* to);

// Integers in place of floats: x, bfloat16, counts as brought to a grid, group by group: integers times a power of two, the
// largest input's doing. Sums of integers are exact, whatever computes them in whatever order.
//
// Magnitudes' bits, by codes of 4 bits: no sum of a group outgrows the 24 bits of a float, so that floats give the same sums.
// By codes of 8 bits: as many as an int16 has, since bfloat16 never comes nearer to 2^15 than 2^7; sums fit an int32.
constexpr int grid_bits(const GroupCoding& coding) { return coding.bits == 8 ? 15 : coding.size == 128 ? 13 : 14; }

// The grid of one group: x + magic, in float, ends in x's integer; unit is the grid's step.
struct Grid {
  float magic, unit;
  // most: the largest magnitude's bits, as bfloat16. No grid where all is as small as 2^-100 (then x counts as zero) or there
  // is something as large as 2^100 (then results are not finite).
  Grid(uint32_t most, const GroupCoding& coding) {
    const auto bits = static_cast<uint32_t>(grid_bits(coding)), exponent = most >> 7;
    empty = exponent < 27;
    finite = exponent <= 227;
    if (empty || !finite) {
      magic = 0;
      unit = finite ? 0.0f : bits_to_float(0x7FC00000);
      return;
    }
    unit = bits_to_float((exponent + 1 - bits) << 23);
    magic = bits_to_float((exponent + 24 - bits) << 23 | 0x400000);
  }
  bool empty, finite;
};

// Rows of x on the grid.
struct GridRows {
  int16_t* values;      // [rows][k], inputs in the order of the codes that they meet
  float *units, *sums;  // [rows][groups]; sums of x on the grid, null without minima
};
using TakeGridFn = void (*)(const View& x, const GroupCoding& coding, int64_t row, const GridRows& to);

// Codes of 4 bits, few rows, where bytes can be multiplied (groups_nibbles-inl.h).
constexpr int64_t kNibbleRows = 4;  // at most, by bytes
struct Nibbles {
  // The product of at most kNibbleRows rows.
  void (*run_few)(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y);
  // x on the grid, in exec.scratch: what the kernels of more rows take.
  View (*on_grid)(const Exec& exec, const View& x, const GroupCoding& coding);
};
Nibbles nibbles_avx512();
Nibbles nibbles_amx();
Nibbles nibbles_avx512_bf16();
Nibbles nibbles_standin();
// Runs the product by bytes, or `more` on x as it must be for any other kernel of the table.
template <class More>
void run_by_rows(const Nibbles& nibbles, const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue,
                 const View& y, const More& more) {
  if (w.groups.bits != 4) return more(x);
  if (x.dims[0] <= kNibbleRows) return nibbles.run_few(exec, x, w, epilogue, y);
  const ArenaScope scope(*exec.scratch);
  more(nibbles.on_grid(exec, x, w.groups));
}

constexpr float kDirectScale = 0x1p-24f;
// Blocks of one instruction set. Where take_grid is given they take x, bfloat16, as integers on its grid.
struct Family {
  int max_rows;
  const BlockFn (*blocks)[3];  // [rows - 1][for 1, 2 and 4 panels]; null where registers do not suffice
  DecodeFn decode;
  int64_t element_bytes;
  ExpandFn expand;
  products::TakeFn take;  // null: x as it lies
  products::EpilogueFn finish;
  // Blocks of at most direct_rows rows straight from codes, where elements on the way would cost more than they save. They take
  // float32 times kDirectScale for codes of 8 bits.
  int direct_rows = 0;
  const BlockFn (*direct)[3] = nullptr;  // as blocks
  TakeGridFn take_grid = nullptr;
};
void run_groups(const Family& family, const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue,
                const View& y);

// AVX2, x in bfloat16: few rows of 4-bit codes by products of bytes, all else by products of 16-bit integers.
void run_nibbles_avx2(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y);
void run_words_avx2(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y);

}  // namespace pagoda::groups
