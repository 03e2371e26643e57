// Products of weights in groups on tiles, native or stand-in. Included by one source for each after groups_bf16-inl.h, inside
// its region of instruction sets, hence no include guard and everything in an unnamed namespace.
//
// A group's sum is a tile's: 32 inputs (16 in groups of 16) at a time from zero, in the instruction's order. Then it is scaled
// into the output's sums, which stay in registers. One row goes the way of its batch.

namespace pagoda {
namespace {

constexpr int64_t kGroupTileRows = 16;
constexpr int64_t kGroupScratchTiles = 24;  // tiles of codes: half a first-level cache where there are tiles
constexpr int64_t kGroupPanels = 2;         // that share the reading of x where rows are many
constexpr int64_t kDecodeAhead = 3;         // groups decoded before their product, where codes are used once
constexpr int64_t kCodesAhead = 4096;       // bytes
constexpr int64_t kGroupPieceRows = 512;
constexpr int64_t kGroupOwnRows = 128;  // as kOwnRows of products_amx-inl.h

struct GroupTileCut {
  const char* x;  // first row, first input of the cut
  int64_t x_stride;
  uint16_t* pairs;       // codes as tiles
  const uint8_t* codes;  // to be decoded on the way, or null: they were before
  int64_t tiles;         // of a group
  int64_t count;         // groups
  const float *scales, *minima;
  const float* sums;  // of x, [rows][sums_stride]
  int64_t sums_stride;
  float* acc;  // [kRows][16]
  bool first;
  float (*stored)[256];  // four tiles of sums
};

// kRows: at least the rows that tiles are configured for; what is computed beyond them is not used. kInputs: of a tile.
template <class Tiles, class I, class Decoder, int kRows, int kInputs>
class GroupTileWalk {
 public:
  GroupTileWalk(Tiles& tiles, const GroupCoding& coding) : tiles_(tiles), decoder_(coding.offset), bits_(coding.bits) {}

  void run(const GroupTileCut& c) {
    typename I::Floats acc[kRows];
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) acc[r] = c.first ? I::zero() : I::load(c.acc + r * 16);
    if (c.codes != nullptr) {
      for (int64_t g = 0; g < std::min(kDecodeAhead, c.count); ++g) decode(c, g);
    }
    // Four tiles of sums in turn: a tile is stored four groups after its product began, and read a group later.
    for (int64_t g = 0; g < c.count + 5; g += 4) {
      step<0>(c, g, acc);
      step<1>(c, g + 1, acc);
      step<2>(c, g + 2, acc);
      step<3>(c, g + 3, acc);
    }
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) I::store(acc[r], c.acc + r * 16);
  }

 private:
  static constexpr int64_t kTileElements = kInputs * 16;
  HWY_INLINE void decode(const GroupTileCut& c, int64_t g) const {
    const int64_t inputs = c.tiles * kInputs;
    uint16_t* to = c.pairs + g * inputs * 16;
    const uint8_t* codes = c.codes + g * inputs * 16 * bits_ / 8;
    if (bits_ == 4) {
      for (int64_t k = 0; k < inputs; k += 8, codes += 64, to += 128) {
        read_code_ahead(codes, kCodesAhead);
        decoder_.nibbles(codes, to);
      }
    } else {
      for (int64_t k = 0; k < inputs; k += 4, codes += 64, to += 64) {
        read_code_ahead(codes, kCodesAhead);
        decoder_.bytes(codes, to);
      }
    }
  }

  template <int kTile>
  HWY_INLINE void step(const GroupTileCut& c, int64_t g, typename I::Floats (&acc)[kRows]) {
    if (g >= 4 && g - 4 < c.count) tiles_.template store<kTile>(c.stored[kTile], 64);
    if (g < c.count) {
      if (c.codes != nullptr && g + kDecodeAhead < c.count) decode(c, g + kDecodeAhead);
      constexpr int kX = 4 + kTile % 2, kW = 6 + kTile % 2;
      tiles_.template zero<kTile>();
      for (int64_t t = g * c.tiles; t < (g + 1) * c.tiles; ++t) {
        tiles_.template load<kX>(c.x + t * kInputs * 2, c.x_stride);
        tiles_.template load<kW>(c.pairs + t * kTileElements, 64);
        tiles_.template dot<kTile, kX, kW>();
      }
    }
    if (g >= 5 && g - 5 < c.count) add(c, g - 5, c.stored[(kTile + 3) % 4], acc);
  }

  HWY_INLINE void add(const GroupTileCut& c, int64_t g, const float* sums, typename I::Floats (&acc)[kRows]) const {
    const typename I::Floats scale = I::load(c.scales + g * 16);
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) acc[r] = I::multiply_add(I::load(sums + r * 16), scale, acc[r]);
    if (c.minima == nullptr) return;
    const typename I::Floats minimum = I::load(c.minima + g * 16);
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      acc[r] = I::multiply_add(I::broadcast_float(c.sums[r * c.sums_stride + g]), minimum, acc[r]);
    }
  }

  Tiles& tiles_;
  const Decoder decoder_;
  const int bits_;
};

template <class Finish>
struct GroupTileProduct {
  const View& x;
  const PackedView& w;
  const Finish& finish;
  groups::ExpandFn expand;
  const float* sums;  // [rows][groups], null without minima
  float* acc;         // [threads][kGroupPanels][kGroupPieceRows][16]
};

inline standin::TileConfig group_tile_config(int64_t rows, int64_t inputs) {
  standin::TileConfig config;
  for (int t = 0; t < 8; ++t) {
    config.row_bytes[t] = 64;
    config.rows[t] = static_cast<uint8_t>(rows);
  }
  for (const int t : {4, 5}) config.row_bytes[t] = static_cast<uint16_t>(inputs * 2);
  for (const int t : {6, 7}) config.rows[t] = static_cast<uint8_t>(inputs / 2);
  return config;
}

template <class Tiles, class I, class Decoder, int kInputs, class Finish>
class GroupTilePiece {
 public:
  GroupTilePiece(const GroupTileProduct<Finish>& product, const products::Pieces::Piece& piece, int thread)
      : p_(product),
        piece_(piece),
        acc_(product.acc + thread * kGroupPanels * kGroupPieceRows * 16),
        size_(product.w.groups.size),
        all_(product.w.k / size_),
        tiles_of_group_(size_ / kInputs) {}

  void run() {
    const bool once = piece_.rows <= kGroupTileRows;  // codes are decoded on the way
    const int64_t panels = once ? 1 : kGroupPanels;
    const int64_t cut = std::max<int64_t>(1, kGroupScratchTiles * 32 / panels / size_);
    for (int64_t panel = piece_.panel_begin; panel < piece_.panel_end; panel += panels) {
      const int64_t together = std::min(panels, piece_.panel_end - panel);
      for (int64_t g = 0; g < all_; g += cut) {
        const int64_t count = std::min(cut, all_ - g);
        for (int64_t p = 0; p < together; ++p) {
          p_.expand(p_.w, groups::scales_of(p_.w, panel + p), g, count, scales_[p], minima_[p]);
          if (!once) decode_pairs<Decoder>(p_.w.groups, codes_at(panel + p, g), count * size_, kCodesAhead, pairs_[p]);
        }
        rows_of_cut(panel, together, g, count, once);
      }
      for (int64_t p = 0; p < together; ++p) {
        p_.finish.template rows<products::kPanel>(acc_ + p * kGroupPieceRows * 16, piece_.m_begin, piece_.rows,
                                                  (panel + p) * products::kPanel);
      }
    }
    tiles_.release();
  }

 private:
  const uint8_t* codes_at(int64_t panel, int64_t g) const {
    return groups::codes_of(p_.w, panel) + g * size_ * 2 * p_.w.groups.bits;
  }
  void configure(int64_t rows) {
    if (configured_ == rows) return;
    configured_ = rows;
    tiles_.configure(group_tile_config(rows, kInputs));
  }
  void rows_of_cut(int64_t panel, int64_t together, int64_t g, int64_t count, bool once) {
    for (int64_t row = 0; row < piece_.rows; row += kGroupTileRows) {
      const int64_t rows = std::min(kGroupTileRows, piece_.rows - row);
      configure(rows);
      for (int64_t p = 0; p < together; ++p) {
        GroupTileCut c;
        c.x = reinterpret_cast<const char*>(products::row<BFloat16>(p_.x, piece_.m_begin + row) + g * size_);
        c.x_stride = p_.x.strides[0] * 2;
        c.pairs = pairs_[p];
        c.codes = once ? codes_at(panel + p, g) : nullptr;
        c.tiles = tiles_of_group_;
        c.count = count;
        c.scales = scales_[p];
        c.minima = p_.sums == nullptr ? nullptr : minima_[p];
        c.sums = p_.sums == nullptr ? nullptr : p_.sums + (piece_.m_begin + row) * all_ + g;
        c.sums_stride = all_;
        c.acc = acc_ + (p * kGroupPieceRows + row) * 16;
        c.first = g == 0;
        c.stored = stored_;
        if (rows == 1) {
          walk<1>(c);
        } else if (rows <= 4) {
          walk<4>(c);
        } else if (rows <= 8) {
          walk<8>(c);
        } else {
          walk<16>(c);
        }
      }
    }
  }
  template <int kRows>
  void walk(const GroupTileCut& c) {
    GroupTileWalk<Tiles, I, Decoder, kRows, kInputs>(tiles_, p_.w.groups).run(c);
  }

  const GroupTileProduct<Finish>& p_;
  const products::Pieces::Piece piece_;
  float* acc_;
  const int64_t size_, all_, tiles_of_group_;
  int64_t configured_ = 0;
  Tiles tiles_;
  // Of a cut: as many floats of scales as groups of 16 inputs can need.
  alignas(64) uint16_t pairs_[kGroupPanels][kGroupScratchTiles * 512];
  alignas(64) float scales_[kGroupPanels][kGroupScratchTiles * 32];
  alignas(64) float minima_[kGroupPanels][kGroupScratchTiles * 32];
  alignas(64) float stored_[4][256] = {};  // rows that tiles do not have stay zero
};

template <class Tiles, class I, class Decoder, class Finish>
void run_group_tiles(const Finish& finish, groups::ExpandFn expand, const Exec& exec, const View& x, const PackedView& w) {
  const int64_t m = x.dims[0], all = w.k / w.groups.size;
  if (m == 0 || w.n == 0) return;
  const ArenaScope scope(*exec.scratch);
  const int threads = exec.pool->num_threads();
  float* sums = nullptr;
  if (w.groups.has_minimum()) {
    sums = exec.scratch->allocate_array<float>((m + kGroupTileRows) * all);  // rows of a tile that are not there are read too
    std::fill_n(sums + m * all, kGroupTileRows * all, 0.0f);
    groups::sum_groups(exec, x, w.groups.size, sums);
  }
  float* acc = exec.scratch->allocate_array<float>(threads * kGroupPanels * kGroupPieceRows * 16);
  const GroupTileProduct<Finish> product{x, w, finish, expand, sums, acc};
  const products::Pieces pieces(m, kGroupPieceRows, kGroupTileRows, kGroupOwnRows, products::panel_count(w), 4, threads);
  exec.pool->parallel_for(pieces.count(), 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      if (pieces[i].panel_begin >= pieces[i].panel_end) continue;
      if (w.groups.size == 16) {
        GroupTilePiece<Tiles, I, Decoder, 16, Finish>(product, pieces[i], thread).run();
      } else {
        GroupTilePiece<Tiles, I, Decoder, 32, Finish>(product, pieces[i], thread).run();
      }
    }
  });
}

}  // namespace
}  // namespace pagoda
