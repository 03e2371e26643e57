// Weights in groups: packing, single elements, and the product around its register blocks.
#include "kernels/cpu/groups.h"

#include <cstring>

#include "kernels/cpu/int8.h"

namespace pagoda {

int64_t packed_bytes(const PackedView& shape) {
  if (shape.format != WeightFormat::kGroups && shape.format != WeightFormat::kInt8Rows) {
    return packed_bytes(shape.format, shape.n, shape.k);
  }
  // Four times what a column can need fits, so that no product below overflows.
  checked_mul(checked_round_up(shape.n, groups::kPanel, "pack"), checked_mul(shape.k, 16, "pack"), "pack");
  if (shape.format == WeightFormat::kInt8Rows) {
    return int8::padded_n(shape) / groups::kPanel * int8::panel_bytes(shape) + int8::padded_n(shape) * 8;
  }
  return div_up(shape.n, groups::kPanel) * groups::panel_bytes(shape);
}

namespace groups {
namespace {

constexpr int64_t kMaxPieceRows = 96;
constexpr int64_t kScratchBytes = 32 << 10;  // of codes as elements: inside a first-level cache
constexpr int64_t kMostInputs = 512;         // of a cut
constexpr int64_t kReadAhead = 4096;

// Byte and shift of a code within its panel.
struct CodePlace {
  int64_t byte;
  int shift;
};
CodePlace code_place(const GroupCoding& coding, int64_t lane, int64_t k) {
  if (coding.bits == 8) return {k / 4 * 64 + lane * 4 + k % 4, 0};
  const int64_t nibble = k % 8 / 2;
  return {k / 8 * 64 + lane * 4 + k % 2 * 2 + nibble / 2, static_cast<int>(nibble % 2 * 4)};
}

float half_at(const uint8_t* row, int64_t lane) {
  uint16_t bits;
  std::memcpy(&bits, row + 2 * lane, 2);
  return float16_to_float(bits);
}
float float_at(const uint8_t* row, int64_t lane) {
  float value;
  std::memcpy(&value, row + 4 * lane, 4);
  return value;
}
void put_half(uint8_t* row, int64_t lane, float value) {
  const uint16_t bits = float_to_float16(value);
  std::memcpy(row + 2 * lane, &bits, 2);
}
void put_float(uint8_t* row, int64_t lane, float value) { std::memcpy(row + 4 * lane, &value, 4); }

void pack_scale(const GroupRows& rows, int64_t row, int64_t g, int64_t lane, const GroupPlace& place) {
  auto *super = const_cast<uint8_t*>(place.super), *group = const_cast<uint8_t*>(place.group);
  const GroupCoding& coding = rows.coding;
  const int64_t at = row * (rows.k / coding.size) + g;
  switch (coding.scale) {
    case GroupScale::kHalf: put_half(group, lane, rows.scales[static_cast<size_t>(at)]); break;
    case GroupScale::kHalfMin:
      put_half(group, lane, rows.scales[static_cast<size_t>(at)]);
      put_half(group + 32, lane, rows.minima[static_cast<size_t>(at)]);
      break;
    case GroupScale::kHalfZero:
      put_half(group, lane, rows.scales[static_cast<size_t>(at)]);
      group[32 + lane] = rows.small_minima[static_cast<size_t>(at)];
      break;
    case GroupScale::kFloat: put_float(group, lane, rows.scales[static_cast<size_t>(at)]); break;
    case GroupScale::kFloatMin:
      put_float(group, lane, rows.scales[static_cast<size_t>(at)]);
      put_float(group + 64, lane, rows.minima[static_cast<size_t>(at)]);
      break;
    case GroupScale::kSuper:
    case GroupScale::kSuperMin: {
      const int64_t super_at = row * (rows.k / kSuperBlock) + g * coding.size / kSuperBlock;
      put_half(super, lane, rows.scales[static_cast<size_t>(super_at)]);
      group[lane] = static_cast<uint8_t>(rows.small_scales[static_cast<size_t>(at)]);
      if (coding.scale == GroupScale::kSuper) break;
      put_half(super + 32, lane, rows.minima[static_cast<size_t>(super_at)]);
      group[16 + lane] = rows.small_minima[static_cast<size_t>(at)];
      break;
    }
  }
}

// log2 of the most panels, at most `panels`, that one of these blocks takes together.
int width_of(const BlockFn* blocks, int64_t panels) {
  return panels >= 4 && blocks[2] != nullptr ? 2 : panels >= 2 && blocks[1] != nullptr ? 1 : 0;
}

struct Product {
  const Family& family;
  const View& x;
  const PackedView& w;
  const Epilogue& epilogue;
  const View& y;
  const void* wide;    // x as float32 or, with units, on its grid; null if it is taken as it lies
  const float* sums;   // of x over groups; null without minima
  const float* units;  // of x's grid over groups
  bool direct;         // straight from codes; wide is as Family::direct takes it
};

// x as Family::direct takes it, to[rows][k]; false where the scale would round.
bool take_direct(const Family& family, const View& x, int bits, float* to) {
  const int64_t rows = x.dims[0], k = x.dims[1];
  if (x.dtype == DType::kFloat32) {
    for (int64_t i = 0; i < rows; ++i) std::copy_n(products::row<float>(x, i), k, to + i * k);
  } else {
    family.take(x, 0, rows, 0, k, to);
  }
  if (bits != 8) return true;
  constexpr uint32_t kLeast = uint32_t{27} << 23;  // 2^-100
  uint32_t tiny = 0;
  for (int64_t i = 0; i < rows * k; ++i) {
    const uint32_t magnitude = float_to_bits(to[i]) & 0x7FFFFFFF;
    tiny |= static_cast<uint32_t>(magnitude - 1 < kLeast - 1);  // zero is not
    to[i] *= kDirectScale;
  }
  return tiny == 0;
}

// Groups [g, g + count) of panels [panel, panel + panels).
struct Cut {
  int64_t panel, panels, g, count;
};

// What the blocks of a cut read besides x.
struct CutScratch {
  alignas(64) char elements[kScratchBytes];
  alignas(64) float scales[4 * kMostInputs];  // of at least 16 inputs a group
  alignas(64) float minima[4 * kMostInputs];
};

// Direct blocks read scales in float16 where they lie.
bool reads_halves(const Product& product) { return product.direct && product.w.groups.scale == GroupScale::kHalf; }

const uint8_t* codes_at(const PackedView& w, const Cut& cut) {
  return codes_of(w, cut.panel) + cut.g * w.groups.size * kPanel * w.groups.bits / 8;
}

void take_cut(const Product& product, const Cut& cut, CutScratch& to) {
  const Family& family = product.family;
  const PackedView& w = product.w;
  const int64_t inputs = cut.count * w.groups.size;
  for (int64_t p = 0; p < cut.panels; ++p) {
    if (!product.direct) {
      family.decode(w.groups, codes_at(w, cut) + p * panel_bytes(w), inputs, kReadAhead,
                    to.elements + p * inputs * kPanel * family.element_bytes);
    }
    if (reads_halves(product)) continue;
    const int64_t at = p * cut.count * kPanel;
    family.expand(w, scales_of(w, cut.panel + p), cut.g, cut.count, to.scales + at, to.minima + at);
  }
}

// All of a block at panel p of a cut but its rows.
Block block_at(const Product& product, const Cut& cut, const CutScratch& from, int64_t p) {
  const PackedView& w = product.w;
  const uint8_t *codes = codes_at(w, cut), *scales = scales_of(w, cut.panel);
  Block block = {};
  block.size = w.groups.size;
  block.count = cut.count;
  block.offset = w.groups.offset;
  block.first = cut.g == 0;
  block.scale_stride = cut.count * kPanel;
  block.scales = from.scales + p * block.scale_stride;
  if (product.sums != nullptr) block.minima = from.minima + p * block.scale_stride;
  if (product.direct) {
    block.w = codes + p * panel_bytes(w);
    block.panel_stride = panel_bytes(w);
    block.left = panel_bytes(w) - (codes - scales);
    if (reads_halves(product)) {
      block.halves = scales + p * panel_bytes(w) + cut.g * scale_layout(GroupScale::kHalf).group_bytes;
    }
  } else {
    block.panel_stride = cut.count * block.size * kPanel;
    block.w = from.elements + p * block.panel_stride * product.family.element_bytes;
  }
  return block;
}

struct Ahead {
  const uint8_t* from;
  int64_t lines;
};

// What is decoded after a cut of one panel: the next cut of `most` groups of it, else the first of the panel after it.
Ahead next_codes(const Product& product, const Cut& cut, int64_t most) {
  const PackedView& w = product.w;
  if (product.direct || cut.panels != 1) return {};
  const int64_t end = cut.g + cut.count, all = w.k / w.groups.size;
  const auto lines = [&](int64_t groups) { return groups * w.groups.size * w.groups.bits / 32; };
  if (end < all) return {codes_at(w, {cut.panel, 1, end, 0}), lines(std::min(most, all - end))};
  if (cut.panel + 1 == products::panel_count(w)) return {};
  return {scales_of(w, cut.panel + 1), round_up(scale_bytes(w), 64) / 64 + lines(std::min(most, all))};
}

void run_piece(const Product& product, const products::Pieces::Piece& piece) {
  const auto [m_begin, rows, panel_begin, panel_end] = piece;
  const Family& family = product.family;
  const int64_t size = product.w.groups.size, all = product.w.k / size;
  const bool wide = product.wide != nullptr;
  const int64_t x_bytes = product.units != nullptr ? 2 : wide ? 4 : dtype_size(product.x.dtype);
  const int64_t x_stride = wide ? product.w.k : product.x.strides[0];
  const char* x = wide ? static_cast<const char*>(product.wide) : product.x.as<char>();
  const BlockFn(*blocks)[3] = product.direct ? family.direct : family.blocks;
  const int64_t row_blocks = div_up(rows, int64_t{family.max_rows}), largest = div_up(rows, row_blocks);
  const int64_t together = int64_t{1} << width_of(blocks[largest - 1], 4);
  const int64_t most = reads_halves(product) ? product.w.k
                       : product.direct      ? kMostInputs
                                        : std::min(kMostInputs, kScratchBytes / (together * kPanel * family.element_bytes));
  const int64_t most_groups = std::max<int64_t>(1, most / size);
  CutScratch scratch;
  alignas(64) float acc[kMaxPieceRows * 4 * kPanel];
  for (int64_t panel = panel_begin; panel < panel_end; panel += together) {
    Cut cut{panel, std::min(together, panel_end - panel), 0, 0};
    for (; cut.g < all; cut.g += cut.count) {
      cut.count = std::min(most_groups, all - cut.g);
      take_cut(product, cut, scratch);
      const Ahead next = next_codes(product, cut, most_groups);
      for (int64_t i = 0; i < row_blocks; ++i) {
        const int64_t begin = rows * i / row_blocks, in_block = rows * (i + 1) / row_blocks - begin;
        const int64_t line = next.lines * i / row_blocks, lines = next.lines * (i + 1) / row_blocks - line;
        for (int64_t p = 0; p < cut.panels;) {
          const int width = width_of(blocks[in_block - 1], cut.panels - p);
          Block block = block_at(product, cut, scratch, p);
          if (p == 0) {
            block.ahead = next.from + line * 64;
            block.ahead_lines = lines;
          }
          block.x = x + ((m_begin + begin) * x_stride + cut.g * size) * x_bytes;
          block.x_stride = x_stride;
          const int64_t first_group = (m_begin + begin) * all + cut.g;
          block.sums = product.sums == nullptr ? nullptr : product.sums + first_group;
          block.units = product.units == nullptr ? nullptr : product.units + first_group;
          block.sums_stride = all;
          block.acc_stride = together * kPanel;
          block.acc = acc + begin * block.acc_stride + p * kPanel;
          blocks[in_block - 1][width](block);
          p += int64_t{1} << width;
        }
      }
    }
    family.finish(acc, together * kPanel, m_begin, rows, panel * kPanel, cut.panels * kPanel, product.epilogue, product.y);
  }
}

// Sixteen sums side by side, then in pairs.
template <class T>
void sum_row(const T* x, int64_t size, int64_t count, float* to) {
  for (int64_t g = 0; g < count; ++g, x += size) {
    float lanes[16];
    for (int i = 0; i < 16; ++i) lanes[i] = static_cast<float>(x[i]);
    for (int64_t k = 16; k < size; k += 16) {
      for (int i = 0; i < 16; ++i) lanes[i] += static_cast<float>(x[k + i]);
    }
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    to[g] = lanes[0];
  }
}

// What brings m rows of x into another form: a few are no work for several threads.
template <class Take>
void take_rows(const Exec& exec, int64_t m, const Take& take) {
  exec.pool->parallel_for(m, m <= 4 ? m : 4, [&](int64_t begin, int64_t end, int) { take(begin, end); });
}

Product product_on_grid(const Family& family, const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue,
                        const View& y) {
  const int64_t m = y.dims[0], count = w.k / w.groups.size;
  GridRows rows = {};
  rows.values = exec.scratch->allocate_array<int16_t>(m * w.k);
  rows.units = exec.scratch->allocate_array<float>(m * count);
  if (w.groups.has_minimum()) rows.sums = exec.scratch->allocate_array<float>(m * count);
  take_rows(exec, m, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) family.take_grid(x, w.groups, i, rows);
  });
  return {family, x, w, epilogue, y, rows.values, rows.sums, rows.units, m <= family.direct_rows};
}

Product product_of_floats(const Family& family, const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue,
                          const View& y) {
  const int64_t m = y.dims[0];
  float *sums = nullptr, *wide = nullptr;
  bool direct = m <= family.direct_rows;
  if (w.groups.has_minimum()) {
    sums = exec.scratch->allocate_array<float>(m * (w.k / w.groups.size));
    sum_groups(exec, x, w.groups.size, sums);
  }
  if (direct) {
    wide = exec.scratch->allocate_array<float>(m * w.k);
    direct = take_direct(family, x, w.groups.bits, wide);
    if (!direct) wide = nullptr;
  }
  if (!direct && family.take != nullptr && x.dtype != DType::kFloat32) {
    wide = exec.scratch->allocate_array<float>(m * w.k);
    take_rows(exec, m, [&](int64_t begin, int64_t end) { family.take(x, begin, end - begin, 0, w.k, wide + begin * w.k); });
  }
  return {family, x, w, epilogue, y, wide, sums, nullptr, direct};
}

}  // namespace

void sum_groups(const Exec& exec, const View& x, int64_t size, float* to) {
  const int64_t rows = x.dims[0], count = x.dims[1] / size;
  const auto sum = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      if (x.dtype == DType::kBFloat16) {
        sum_row(products::row<BFloat16>(x, i), size, count, to + i * count);
      } else {
        sum_row(products::row<float>(x, i), size, count, to + i * count);
      }
    }
  };
  if (rows <= 4) {
    sum(0, rows, 0);
  } else {
    exec.pool->parallel_for(rows, 4, sum);
  }
}

int code(const PackedView& w, int64_t n, int64_t k) {
  const CodePlace place = code_place(w.groups, n % kPanel, k);
  const uint8_t byte = codes_of(w, n / kPanel)[place.byte];
  return w.groups.bits == 8 ? static_cast<int8_t>(byte) : (byte >> place.shift & 15) - w.groups.offset;
}

ScaleMin scale_min(const PackedView& w, int64_t n, int64_t g) {
  const int64_t lane = n % kPanel;
  const GroupPlace place = place_of(w, scales_of(w, n / kPanel), g);
  switch (w.groups.scale) {
    case GroupScale::kHalf: return {half_at(place.group, lane), 0};
    case GroupScale::kHalfMin: return {half_at(place.group, lane), half_at(place.group + 32, lane)};
    case GroupScale::kHalfZero: {
      const float scale = half_at(place.group, lane);
      return {scale, -(scale * static_cast<float>(static_cast<int8_t>(place.group[32 + lane])))};
    }
    case GroupScale::kFloat: return {float_at(place.group, lane), 0};
    case GroupScale::kFloatMin: return {float_at(place.group, lane), float_at(place.group + 64, lane)};
    case GroupScale::kSuper:
      return {half_at(place.super, lane) * static_cast<float>(static_cast<int8_t>(place.group[lane])), 0};
    case GroupScale::kSuperMin:
      return {half_at(place.super, lane) * static_cast<float>(static_cast<int8_t>(place.group[lane])),
              -(half_at(place.super + 32, lane) * static_cast<float>(place.group[16 + lane]))};
  }
  return {};
}

void run_groups(const Family& family, const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue,
                const View& y) {
  const int64_t m = y.dims[0];
  if (m == 0 || w.n == 0) return;
  const ArenaScope scope(*exec.scratch);
  const Product product = family.take_grid != nullptr ? product_on_grid(family, exec, x, w, epilogue, y)
                                                      : product_of_floats(family, exec, x, w, epilogue, y);
  const products::Pieces pieces(m, kMaxPieceRows, family.max_rows, kMaxPieceRows, products::panel_count(w), 4,
                                exec.pool->num_threads());
  exec.pool->parallel_for(pieces.count(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) run_piece(product, pieces[i]);
  });
}

}  // namespace groups

namespace {

// Codes whose scale is that of the row's first group.
void pack_int8(const GroupRows& rows, const PackedView& into, int64_t n_begin) {
  const int64_t count = into.k / rows.coding.size;
  for (int64_t r = 0; r < rows.rows; ++r) {
    const int64_t n = n_begin + r;
    auto* codes = const_cast<int8_t*>(int8::codes_of(into, n / groups::kPanel));
    const int8_t* from = rows.codes.data() + r * into.k;
    int32_t sum = 0;
    for (int64_t k = 0; k < into.k; ++k) {
      codes[int8::code_place(n % groups::kPanel, k)] = from[k];
      sum += from[k];
    }
    const_cast<float*>(int8::scales_of(into))[n] = rows.scales[static_cast<size_t>(r * count)];
    const_cast<int32_t*>(int8::sums_of(into))[n] = sum;
  }
}

}  // namespace

void pack_groups(const GroupRows& rows, const PackedView& into, int64_t n_begin) {
  if (into.format == WeightFormat::kInt8Rows) return pack_int8(rows, into, n_begin);
  const GroupCoding& coding = into.groups;
  const int64_t count = into.k / coding.size;
  for (int64_t r = 0; r < rows.rows; ++r) {
    const int64_t n = n_begin + r, lane = n % groups::kPanel, panel = n / groups::kPanel;
    auto* codes = const_cast<uint8_t*>(groups::codes_of(into, panel));
    const int8_t* from = rows.codes.data() + r * into.k;
    for (int64_t k = 0; k < into.k; ++k) {
      const groups::CodePlace place = groups::code_place(coding, lane, k);
      if (coding.bits == 8) {
        codes[place.byte] = static_cast<uint8_t>(from[k]);
      } else {
        codes[place.byte] = static_cast<uint8_t>(codes[place.byte] | ((from[k] + coding.offset) & 15) << place.shift);
      }
    }
    const uint8_t* scales = groups::scales_of(into, panel);
    for (int64_t g = 0; g < count; ++g) groups::pack_scale(rows, r, g, lane, groups::place_of(into, scales, g));
  }
}

}  // namespace pagoda
