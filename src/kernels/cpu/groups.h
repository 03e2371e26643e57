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

inline void read_ahead(const uint8_t* from, int64_t bytes) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) + static_cast<uintptr_t>(bytes)));
}

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
  const float* sums;  // of x, [rows][sums_stride]
  int64_t sums_stride;
  float* acc;
  int64_t acc_stride;
  bool first;
};
using BlockFn = void (*)(const Block&);
// Codes of `inputs` inputs of a panel as elements; reads `ahead` bytes ahead of them.
using DecodeFn = void (*)(const GroupCoding& coding, const uint8_t* codes, int64_t inputs, int64_t ahead, void* to);

// Codes of 4 bits where bytes can be multiplied (groups_nibbles-inl.h): x, bfloat16, counts as brought to a grid for any number
// of rows, whose integers have so many bits that no sum of a group outgrows a float's 24.
constexpr int grid_bits(int64_t size) { return size == 128 ? 13 : 14; }
constexpr int64_t kNibbleRows = 4;  // at most, by bytes
struct Nibbles {
  // The product of at most kNibbleRows rows.
  void (*run_few)(const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue, const View& y);
  // x on the grid of groups of `size`, in exec.scratch: what the kernels of more rows take.
  View (*on_grid)(const Exec& exec, const View& x, int64_t size);
};
Nibbles nibbles_avx2();
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
  more(nibbles.on_grid(exec, x, w.groups.size));
}

constexpr float kDirectScale = 0x1p-24f;
struct Family {
  int max_rows;
  const BlockFn (*blocks)[3];  // [rows - 1][for 1, 2 and 4 panels]; null where registers do not suffice
  DecodeFn decode;
  int64_t element_bytes;
  ExpandFn expand;
  products::TakeFn take;  // null: x as it lies
  products::EpilogueFn finish;
  // Blocks of at most direct_rows rows straight from codes, where elements on the way would cost more than they save. They take
  // x as float32, times kDirectScale for codes of 8 bits.
  int direct_rows = 0;
  const BlockFn (*direct)[3] = nullptr;  // as blocks
};
void run_groups(const Family& family, const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue,
                const View& y);

}  // namespace pagoda::groups
