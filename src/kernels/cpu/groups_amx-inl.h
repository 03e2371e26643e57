// Products of weights in groups on tiles, native or stand-in. Included by one source for each after groups_bf16-inl.h, inside
// its region of instruction sets, hence no include guard and everything in an unnamed namespace.
//
// A group's sum is a tile's: 32 inputs (16 in groups of 16) at a time from zero, in the instruction's order. Then it is scaled
// into the output's sums, which stay in registers. A product of tiles is two chains of fused multiply-adds for each output,
// even and odd inputs apart, then added, with subnormal numbers as zero (and so it is measured, bit for bit): one or two rows,
// which leave tiles nearly empty, are computed so by vectors.

namespace pagoda {
namespace {

constexpr int64_t kGroupTileRows = 16;
constexpr int64_t kGroupScratchTiles = 12;  // of each panel's codes: with two half a first-level cache where there are tiles
constexpr int64_t kGroupCut = 4;            // groups at most that many rows pass by: x, codes and sums fit a first-level cache
constexpr int64_t kGroupPanels = 2;         // that share the reading of x where rows are many
constexpr int64_t kDecodeAhead = 3;         // groups decoded before their product, where codes are used once
constexpr int64_t kCodesAhead = 2048;       // bytes
constexpr int64_t kGroupVectorRows = 2;     // at most, by vectors
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
  float* acc;  // [kRows][acc_stride], 16 outputs each
  int64_t acc_stride;
  bool first;
  float (*stored)[256];  // four tiles of sums
};

// kRows: at least the rows that tiles are configured for; what is computed beyond them is not used. kInputs: of a tile.
template <class Tiles, class I, class Decoder, int kRows, int kInputs>
class GroupTileWalk {
 public:
  GroupTileWalk(Tiles& tiles, const Decoder& decoder, int bits) : tiles_(tiles), decoder_(decoder), bits_(bits) {}

  void run(const GroupTileCut& c) {
    typename I::Floats acc[kRows];
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) acc[r] = c.first ? I::zero() : I::load(c.acc + r * c.acc_stride);
    if (c.codes != nullptr) {
      for (int64_t g = 0; g < std::min(kDecodeAhead, c.count); ++g) decode(c, g);
    }
    // Four tiles of sums in turn: a tile is stored three groups after its product began, and read two later.
    for (int64_t g = 0; g < c.count + 5; g += 4) {
      step<0>(c, g, acc);
      step<1>(c, g + 1, acc);
      step<2>(c, g + 2, acc);
      step<3>(c, g + 3, acc);
    }
    HWY_UNROLL(16)
    for (int r = 0; r < kRows; ++r) I::store(acc[r], c.acc + r * c.acc_stride);
  }

 private:
  static constexpr int64_t kTileElements = kInputs * 16;
  HWY_INLINE void decode(const GroupTileCut& c, int64_t g) const {
    const int64_t inputs = c.tiles * kInputs;
    uint16_t* to = c.pairs + g * inputs * 16;
    const uint8_t* codes = c.codes + g * inputs * 16 * bits_ / 8;
    if (bits_ == 4) {
      for (int64_t k = 0; k < inputs; k += 8, codes += 64, to += 128) {
        read_ahead(codes, kCodesAhead);
        decoder_.nibbles(codes, to);
      }
    } else {
      for (int64_t k = 0; k < inputs; k += 4, codes += 64, to += 64) {
        read_ahead(codes, kCodesAhead);
        decoder_.bytes(codes, to);
      }
    }
  }

  template <int kTile>
  HWY_INLINE void step(const GroupTileCut& c, int64_t g, typename I::Floats (&acc)[kRows]) {
    constexpr int kOldest = (kTile + 1) % 4;
    if (g >= 3 && g - 3 < c.count) tiles_.template store<kOldest>(c.stored[kOldest], 64);
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
  const Decoder& decoder_;
  const int bits_;
};

// Groups of a cut where `rest` are left.
inline int64_t stream_groups(int64_t rest, int64_t tiles_of_group) {
  return rest >= kGroupCut && tiles_of_group <= 2 ? kGroupCut : rest >= 2 ? 2 : 1;
}

// Many rows: one panel's groups of a cut, decoded before, times all tiles of rows, without a pause between these: the sums of a
// tile of rows are scaled during the products of the next. kLag: groups between a product's begin and its storing, one less
// than there are tiles of sums; count is a multiple of those. kGroup: tiles of a group.
template <class Tiles, class I, int kInputs, int kGroup, int kLag>
class GroupTileStream {
 public:
  explicit GroupTileStream(Tiles& tiles) : tiles_(tiles) {}

  // cuts[panels]: of the same groups and rows; panels take turns, so that the second finds x in the first-level cache.
  void run(const GroupTileCut* cuts, int64_t panels, int64_t block_bytes, int64_t blocks) {
    const int64_t count = cuts->count, stride = cuts->acc_stride;
    // The first block's products have no sums of a block before them beside them: scaled all the same, to where nothing reads.
    alignas(64) float nowhere[kGroupTileRows * kGroupPanels * products::kPanel] = {};
    float* to = nowhere;
    Now now;
    now.scales = cuts->scales;
    now.minima = cuts->minima;
    now.sums = cuts->sums;
    now.begins = true;
    for (int64_t block = 0; block <= blocks; ++block) {
      now.ends = block == blocks;
      for (int64_t panel = 0; panel < panels; ++panel) {
        const GroupTileCut& c = cuts[panel];
        now.x = c.x + block * block_bytes;
        now.pairs = c.pairs;
        now.stored = c.stored + turn_ * kGroupCut;
        turn_ = 1 - turn_;
        now.before = c.stored + turn_ * kGroupCut;
        typename I::Floats acc[kGroupTileRows];
        HWY_UNROLL(16)
        for (int r = 0; r < kGroupTileRows; ++r) acc[r] = c.first ? I::zero() : I::load(to + r * stride);
        for (int64_t g = 0; g < count; g += kTiles) {
          step<0>(now, g, count, c.sums_stride, acc);
          if constexpr (kTiles > 1) step<1>(now, g + 1, count, c.sums_stride, acc);
          if constexpr (kTiles > 2) step<2>(now, g + 2, count, c.sums_stride, acc);
          if constexpr (kTiles > 2) step<3>(now, g + 3, count, c.sums_stride, acc);
        }
        HWY_UNROLL(16)
        for (int r = 0; r < kGroupTileRows; ++r) I::store(acc[r], to + r * stride);
        if (now.ends) return;
        now.begins = false;
        now.scales = c.scales;
        now.minima = c.minima;
        now.sums = c.sums == nullptr ? nullptr : c.sums + block * kGroupTileRows * c.sums_stride;
        to = c.acc + block * kGroupTileRows * stride;
      }
    }
  }

 private:
  static constexpr int kTiles = kLag + 1;
  struct Now {
    const char* x;
    const uint16_t* pairs;
    float (*stored)[256];                 // this block's sums
    const float *scales, *minima, *sums;  // of the block before
    float (*before)[256];
    bool begins, ends;  // there is no block before; no further block
  };
  template <int kTile>
  HWY_INLINE void step(const Now& now, int64_t g, int64_t count, int64_t sums_stride,
                       typename I::Floats (&acc)[kGroupTileRows]) {
    constexpr int kOldest = (kTile + 1) % kTiles, kX = 4 + kTile % 2, kW = 6 + kTile % 2;
    if constexpr (kLag > 0) {
      if (g >= kLag ? !now.ends : !now.begins) {
        tiles_.template store<kOldest>(g >= kLag ? now.stored[g - kLag] : now.before[count - kLag + g], 64);
      }
    }
    if (!now.ends) {
      tiles_.template zero<kTile>();
      HWY_UNROLL(4)
      for (int t = 0; t < kGroup; ++t) {
        tiles_.template load<kX>(now.x + (g * kGroup + t) * kXBytes, kInputs * 2);
        tiles_.template load<kW>(now.pairs + (g * kGroup + t) * kInputs * 16, 64);
        tiles_.template dot<kTile, kX, kW>();
      }
      if constexpr (kLag == 0) tiles_.template store<kTile>(now.stored[g], 64);
    }
    const float* before = now.before[g];
    const typename I::Floats scale = I::load(now.scales + g * 16);
    HWY_UNROLL(16)
    for (int r = 0; r < kGroupTileRows; ++r) acc[r] = I::multiply_add(I::load(before + r * 16), scale, acc[r]);
    if (now.minima == nullptr) return;
    const typename I::Floats minimum = I::load(now.minima + g * 16);
    HWY_UNROLL(16)
    for (int r = 0; r < kGroupTileRows; ++r) {
      acc[r] = I::multiply_add(I::broadcast_float(now.sums[r * sums_stride + g]), minimum, acc[r]);
    }
  }

  int64_t turn_ = 0;
  static constexpr int64_t kXBytes = kGroupTileRows * kInputs * 2;
  Tiles& tiles_;
};

// One group of some panels for a few rows: sums[panel][row] are what tiles would hold.
template <class I, class Decoder, int kPanels, int kRows, int kInputs>
HWY_INLINE void group_by_vectors(const Decoder& decoder, int bits, const uint8_t* codes, int64_t panel_bytes, int64_t ahead,
                                 const float* x, int64_t x_stride, int64_t tiles, typename I::Floats (&sums)[kPanels][kRows]) {
  using Floats = typename I::Floats;
  HWY_UNROLL(4)
  for (int i = 0; i < kPanels * kRows; ++i) sums[i / kRows][i % kRows] = I::zero();
  for (int64_t t = 0; t < tiles; ++t, x += kInputs) {
    Floats even[kPanels][kRows], odd[kPanels][kRows];
    HWY_UNROLL(4)
    for (int i = 0; i < kPanels * kRows; ++i) even[i / kRows][i % kRows] = odd[i / kRows][i % kRows] = I::zero();
    const auto pair = [&](int p, int k, Floats first, Floats second) {
      HWY_UNROLL(2)
      for (int r = 0; r < kRows; ++r) {
        even[p][r] = I::tile_multiply_add(I::broadcast_float(x[r * x_stride + k]), first, even[p][r]);
        odd[p][r] = I::tile_multiply_add(I::broadcast_float(x[r * x_stride + k + 1]), second, odd[p][r]);
      }
    };
    if (bits == 4) {
      HWY_UNROLL(4)
      for (int k = 0; k < kInputs; k += 8, codes += 64) {
        HWY_UNROLL(2)
        for (int p = 0; p < kPanels; ++p) {
          read_ahead(codes + p * panel_bytes, ahead);
          const auto words = Decoder::load_words(codes + p * panel_bytes);
          pair(p, k, decoder.template nibble<0>(words), decoder.template nibble<4>(words));
          pair(p, k + 2, decoder.template nibble<1>(words), decoder.template nibble<5>(words));
          pair(p, k + 4, decoder.template nibble<2>(words), decoder.template nibble<6>(words));
          pair(p, k + 6, decoder.template nibble<3>(words), decoder.template nibble<7>(words));
        }
      }
    } else {
      HWY_UNROLL(8)
      for (int k = 0; k < kInputs; k += 4, codes += 64) {
        HWY_UNROLL(2)
        for (int p = 0; p < kPanels; ++p) {
          read_ahead(codes + p * panel_bytes, ahead);
          const auto words = Decoder::load_words(codes + p * panel_bytes);
          pair(p, k, decoder.template byte<0>(words), decoder.template byte<1>(words));
          pair(p, k + 2, decoder.template byte<2>(words), decoder.template byte<3>(words));
        }
      }
    }
    HWY_UNROLL(4)
    for (int i = 0; i < kPanels * kRows; ++i) {
      Floats& sum = sums[i / kRows][i % kRows];
      sum = I::tile_add(sum, I::tile_add(even[i / kRows][i % kRows], odd[i / kRows][i % kRows]));
    }
  }
}

template <class Finish>
struct GroupTileProduct {
  const View& x;
  const PackedView& w;
  const Finish& finish;
  groups::ExpandFn expand;
  const float* sums;  // [rows][groups], null without minima
  const float* wide;  // x as float32 where there are few rows, else null
  const char* tiles;  // x as tiles where there are many rows (row_to_tiles), else null
  float* acc;         // [threads][kGroupPieceRows][kGroupPanels][16]
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
        tiles_of_group_(size_ / kInputs),
        decoder_(product.w.groups.offset) {}

  void run() {
    for (int64_t panel = piece_.panel_begin; panel < piece_.panel_end; panel += kGroupPanels) {
      const int64_t panels = std::min(kGroupPanels, piece_.panel_end - panel);
      if (p_.wide != nullptr) {
        if (panels == 2) {
          piece_.rows == 1 ? by_vectors<2, 1>(panel) : by_vectors<2, 2>(panel);
        } else {
          piece_.rows == 1 ? by_vectors<1, 1>(panel) : by_vectors<1, 2>(panel);
        }
      } else if (piece_.rows <= kGroupTileRows) {
        for (int64_t p = 0; p < panels; ++p) decode_once(panel + p, p, panels);
      } else {
        decode_first(panel, panels);
      }
      if (panels == 2) {
        p_.finish.template rows<2 * products::kPanel>(acc_, piece_.m_begin, piece_.rows, panel * products::kPanel);
      } else {
        p_.finish.template rows<products::kPanel>(acc_, piece_.m_begin, piece_.rows, panel * products::kPanel);
      }
    }
    if (configured_ != 0) tiles_.release();
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
  template <int kPanels, int kRows>
  void by_vectors(int64_t panel) {
    const GroupCoding& coding = p_.w.groups;
    const int64_t cut = std::max<int64_t>(1, kGroupPanels * kGroupScratchTiles * 32 / size_);
    const int64_t code_bytes = size_ * 2 * coding.bits, panel_bytes = groups::panel_bytes(p_.w);  // of a group, of a panel
    typename I::Floats acc[kPanels][kRows];
    HWY_UNROLL(4)
    for (int i = 0; i < kPanels * kRows; ++i) acc[i / kRows][i % kRows] = I::zero();
    for (int64_t begin = 0; begin < all_; begin += cut) {
      const int64_t count = std::min(cut, all_ - begin);
      for (int p = 0; p < kPanels; ++p) {
        p_.expand(p_.w, groups::scales_of(p_.w, panel + p), begin, count, scales_[p], minima_[p]);
        if (begin + count < all_) {
          read_scales_ahead(panel + p, begin + count, std::min(cut, all_ - begin - count));
        } else {
          read_scales_ahead(panel + p + kPanels, 0, std::min(cut, all_));
        }
      }
      const uint8_t* codes = codes_at(panel, begin);
      const float* x = p_.wide + piece_.m_begin * p_.w.k + begin * size_;
      for (int64_t g = 0; g < count; ++g, codes += code_bytes, x += size_) {
        // Near the end of these panels, on to the panels that come next.
        const bool turns = (all_ - begin - g) * code_bytes <= kCodesAhead;
        const int64_t ahead = kCodesAhead + (turns ? (kPanels - 1) * panel_bytes : 0);
        typename I::Floats sums[kPanels][kRows];
        group_by_vectors<I, Decoder, kPanels, kRows, kInputs>(decoder_, coding.bits, codes, panel_bytes, ahead, x, p_.w.k,
                                                              tiles_of_group_, sums);
        HWY_UNROLL(2)
        for (int p = 0; p < kPanels; ++p) {
          const typename I::Floats scale = I::load(scales_[p] + g * 16);
          HWY_UNROLL(2)
          for (int r = 0; r < kRows; ++r) acc[p][r] = I::multiply_add(sums[p][r], scale, acc[p][r]);
          if (p_.sums == nullptr) continue;
          const typename I::Floats minimum = I::load(minima_[p] + g * 16);
          HWY_UNROLL(2)
          for (int r = 0; r < kRows; ++r) {
            const float sum = p_.sums[(piece_.m_begin + r) * all_ + begin + g];
            acc[p][r] = I::multiply_add(I::broadcast_float(sum), minimum, acc[p][r]);
          }
        }
      }
    }
    HWY_UNROLL(4)
    for (int i = 0; i < kPanels * kRows; ++i) {
      I::store(acc[i / kRows][i % kRows], acc_ + (i % kRows * kPanels + i / kRows) * products::kPanel);
    }
  }
  // Few rows: codes are decoded on the way.
  void decode_once(int64_t panel, int64_t p, int64_t panels) {
    const int64_t cut = std::max<int64_t>(1, kGroupPanels * kGroupScratchTiles * 32 / size_);
    for (int64_t g = 0; g < all_; g += cut) {
      const int64_t count = std::min(cut, all_ - g);
      p_.expand(p_.w, groups::scales_of(p_.w, panel), g, count, scales_[0], minima_[0]);
      if (g + count < all_) {
        read_scales_ahead(panel, g + count, std::min(cut, all_ - g - count));
      } else {
        read_scales_ahead(panel + 1, 0, std::min(cut, all_));
      }
      rows_of_cut(scales_[0], minima_[0], codes_at(panel, g), p, panels, g, count);
    }
  }
  // Many rows: they share what was decoded before, and panels the reading of x.
  void decode_first(int64_t panel, int64_t panels) {
    configure(kGroupTileRows);
    for (int64_t g = 0, count; g < all_; g += count) {
      const int64_t rest = all_ - g;
      count = stream_groups(rest, tiles_of_group_);
      for (int64_t p = 0; p < panels; ++p) {
        p_.expand(p_.w, groups::scales_of(p_.w, panel + p), g, count, scales_[p], minima_[p]);
        decode_pairs_by(decoder_, p_.w.groups.bits, codes_at(panel + p, g), count * size_, kCodesAhead,
                        pairs_ + p * kGroupScratchTiles * 512);
      }
      GroupTileCut cuts[kGroupPanels];
      for (int64_t p = 0; p < panels; ++p) {
        cuts[p] = cut_of(pairs_ + p * kGroupScratchTiles * 512, scales_[p], minima_[p], p, panels, g, count);
        cuts[p].x = p_.tiles + (g * round_up(p_.x.dims[0], kGroupTileRows) + count * piece_.m_begin) * size_ * 2;
        cuts[p].stored = streamed_;
      }
      stream(cuts, panels);
    }
  }
  void read_scales_ahead(int64_t panel, int64_t g, int64_t count) const {
    const uint8_t* scales = groups::scales_of(p_.w, panel);
    const int64_t bytes = groups::scale_bytes(p_.w) * count / all_;
    for (int64_t at = 0; at < bytes; at += 64) read_ahead(groups::place_of(p_.w, scales, g).group, at);
  }
  GroupTileCut cut_of(uint16_t* pairs, const float* scales, const float* minima, int64_t p, int64_t panels, int64_t g,
                      int64_t count) {
    GroupTileCut c;
    c.x = reinterpret_cast<const char*>(products::row<BFloat16>(p_.x, piece_.m_begin) + g * size_);
    c.x_stride = p_.x.strides[0] * 2;
    c.pairs = pairs;
    c.codes = nullptr;
    c.tiles = tiles_of_group_;
    c.count = count;
    c.scales = scales;
    c.minima = p_.sums == nullptr ? nullptr : minima;
    c.sums = p_.sums == nullptr ? nullptr : p_.sums + piece_.m_begin * all_ + g;
    c.sums_stride = all_;
    c.acc_stride = panels * products::kPanel;
    c.acc = acc_ + p * products::kPanel;
    c.first = g == 0;
    c.stored = stored_;
    return c;
  }
  // At most one tile of rows, codes decoded on the way.
  void rows_of_cut(const float* scales, const float* minima, const uint8_t* codes, int64_t p, int64_t panels, int64_t g,
                   int64_t count) {
    const int64_t rows = piece_.rows;
    configure(rows);
    GroupTileCut c = cut_of(pairs_, scales, minima, p, panels, g, count);
    c.codes = codes;
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
  void stream(const GroupTileCut* cuts, int64_t panels) {
    const bool even = cuts->count % 2 == 0;
    if (tiles_of_group_ == 1) {
      cuts->count % 4 == 0 ? stream<1, 3>(cuts, panels) : even ? stream<1, 1>(cuts, panels) : stream<1, 0>(cuts, panels);
    } else if constexpr (kInputs == 32) {
      if (tiles_of_group_ == 2) {
        even ? stream<2, 1>(cuts, panels) : stream<2, 0>(cuts, panels);
      } else {
        even ? stream<4, 1>(cuts, panels) : stream<4, 0>(cuts, panels);
      }
    }
  }
  template <int kGroup, int kLag>
  void stream(const GroupTileCut* cuts, int64_t panels) {
    GroupTileStream<Tiles, I, kInputs, kGroup, kLag>(tiles_).run(cuts, panels, kGroupTileRows * cuts->count * size_ * 2,
                                                                 div_up(piece_.rows, kGroupTileRows));
  }
  template <int kRows>
  void walk(const GroupTileCut& c) {
    GroupTileWalk<Tiles, I, Decoder, kRows, kInputs>(tiles_, decoder_, p_.w.groups.bits).run(c);
  }

  const GroupTileProduct<Finish>& p_;
  const products::Pieces::Piece piece_;
  float* acc_;
  const int64_t size_, all_, tiles_of_group_;
  const Decoder decoder_;
  int64_t configured_ = 0;
  Tiles tiles_;
  // A load waits for a store before it whose address ends in the same 12 bits. What a stream stores of a group begins half way
  // between what it loads for that group and the next: hence the gap, and x as tiles begins with a page.
  alignas(4096) uint16_t pairs_[kGroupPanels * kGroupScratchTiles * 512];
  char gap_[2048];
  float streamed_[2 * kGroupCut][256] = {};
  // Of a cut: as many floats of scales as groups of 16 inputs can need.
  alignas(64) float scales_[kGroupPanels][kGroupPanels * kGroupScratchTiles * 32];
  alignas(64) float minima_[kGroupPanels][kGroupPanels * kGroupScratchTiles * 32];
  alignas(64) float stored_[4][256] = {};  // rows that tiles do not have stay zero
};

// Row i of x as its share of tiles, [cuts][rows / 16][tiles of the cut][16][inputs]; zeros where there is no such row.
inline void row_to_tiles(const View& x, int64_t size, int64_t i, char* tiles) {
  const int64_t inputs = std::min(size, products::kTileK), all = x.dims[1] / size, rows = round_up(x.dims[0], kGroupTileRows);
  for (int64_t g = 0, count; g < all; g += count) {
    count = stream_groups(all - g, size / inputs);
    char* to = tiles + (g * rows + i / kGroupTileRows * kGroupTileRows * count) * size * 2 + i % kGroupTileRows * inputs * 2;
    for (int64_t k = g * size; k < (g + count) * size; k += inputs, to += kGroupTileRows * inputs * 2) {
      if (i < x.dims[0]) {
        std::memcpy(to, products::row<BFloat16>(x, i) + k, static_cast<size_t>(inputs) * 2);
      } else {
        std::memset(to, 0, static_cast<size_t>(inputs) * 2);
      }
    }
  }
}

template <class Tiles, class I, class Decoder, class Flush, class Finish>
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
  float* wide = nullptr;
  if (m <= kGroupVectorRows) {
    wide = exec.scratch->allocate_array<float>(m * w.k);
    for (int64_t i = 0; i < m; ++i) {
      const BFloat16* row = products::row<BFloat16>(x, i);
      for (int64_t k = 0; k < w.k; ++k) wide[i * w.k + k] = static_cast<float>(row[k]);
    }
  }
  char* tiles = nullptr;
  if (m > kGroupTileRows) {
    const int64_t padded = round_up(m, kGroupTileRows);
    tiles = exec.scratch->allocate_array<char>(padded * w.k * 2 + 4096);
    tiles += -reinterpret_cast<uintptr_t>(tiles) % 4096;
    exec.pool->parallel_for(padded, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) row_to_tiles(x, w.groups.size, i, tiles);
    });
  }
  const GroupTileProduct<Finish> product{x, w, finish, expand, sums, wide, tiles, acc};
  const products::Pieces pieces(m, kGroupPieceRows, kGroupTileRows, kGroupOwnRows, products::panel_count(w), 4, threads);
  exec.pool->parallel_for(pieces.count(), 1, [&](int64_t begin, int64_t end, int thread) {
    const Flush flush;
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
