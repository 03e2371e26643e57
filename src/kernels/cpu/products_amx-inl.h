// Products of bfloat16 on tiles, native or stand-in. Included by one source for each, inside its region of instruction sets,
// hence no include guard and everything in an unnamed namespace.
//
// A tile of x is up to 16 rows of 32 inputs, as they lie in memory; a tile of weights is 32 inputs of one panel, as packed.
// Tiles are configured for the rows at hand, so that one row does the arithmetic of its batch: a sum takes 32 inputs at a
// time in ascending order, and within them even and odd inputs as the instruction has it. Inputs after the last whole 32 come
// from a copy padded with zeros.

namespace pagoda {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileBytes = 1024;
constexpr int64_t kGatedRows = 2 * kTileRows + 1;  // fewer wait for their weights, whatever follows
constexpr int64_t kTileGroup = 8;                  // panels whose sums are kept from cut to cut
// Tiles of a cut: the weights of two panels then stay in a first-level cache (48 KiB where there are tiles) beside one block of
// x, which streams through it from the second level.
constexpr int64_t kTileCut = 18;
constexpr int64_t kTileUncut = 24;  // of a product that is not cut: weights that just fill that cache cost less than kept sums
constexpr int64_t kTilePrefetch = 3;                                    // tiles read ahead where weights are read once
constexpr int64_t kBlockFloats = 2 * kTileRows * 2 * products::kPanel;  // sums of four tiles
// Rows of a piece: as many as stay in a second-level cache (2 MiB where there are tiles) while all panels pass by, since every
// piece reads the weights again.
constexpr int64_t kTilePieceBytes = 1 << 20;
constexpr int64_t kTileMaxPieceRows = 1024;
constexpr int64_t kOwnRows = 128;  // of a thread: fewer, and reading all weights costs more than rows that change cores

// Where tiles of x lie, in bytes: a row from the row before, the tile of the next 32 inputs, the tile of the next 16 rows.
struct TileRows {
  int64_t stride, next, second;
};

// Up to four tiles of sums: 2 x 2, 2 x 1, 1 x 4 or 1 x 1 tiles of rows and panels.
struct TileBlock {
  const char* x;  // first row, first input
  TileRows x_tiles;
  const char* w;  // first panel, first tile
  int64_t panel_bytes;
  int64_t tiles;
  int64_t next_bytes;  // from a panel to the same one of the block that follows
  float* acc;          // [rows][panels * kPanel]
  const char* ahead;   // weights to read ahead: `ahead_lines` lines a step of each of two panels
  int64_t ahead_lines;
  bool first, last;  // cut of the inputs
  bool streams;      // nothing but this block reads these weights
  int64_t m_begin, rows, panel;
};

inline standin::TileConfig tile_config(int64_t row_tiles, int64_t first_rows, int64_t second_rows) {
  standin::TileConfig config;
  for (int t = 0; t < 8; ++t) {
    config.row_bytes[t] = 64;
    config.rows[t] = static_cast<uint8_t>(kTileRows);
  }
  if (row_tiles == 1) {
    for (const int t : {0, 1, 2, 3, 4}) config.rows[t] = static_cast<uint8_t>(first_rows);
  } else {
    for (const int t : {0, 1, 4}) config.rows[t] = static_cast<uint8_t>(first_rows);
    for (const int t : {2, 3, 5}) config.rows[t] = static_cast<uint8_t>(second_rows);
  }
  return config;
}

// RowTiles x Panels accumulators: tiles 0 to 3 hold sums, 4 (and 5) x, the others weights. `before.run<kTile>()` comes before
// the step's product into that tile.
template <class Tiles, int RowTiles, int Panels>
struct TileStep {
  template <class Before>
  static HWY_INLINE void run(Tiles& tiles, const char* x, const TileRows& at, const char* w, int64_t panel_bytes,
                             const Before& before) {
    if constexpr (RowTiles == 2) {
      tiles.template load_stream<4>(x, at.stride);
    } else {
      tiles.template load<4>(x, at.stride);
    }
    if constexpr (RowTiles == 2) {
      tiles.template load<6>(w, 64);
      before.template run<0>();
      tiles.template dot<0, 4, 6>();
      if constexpr (Panels == 2) {
        tiles.template load<7>(w + panel_bytes, 64);
        before.template run<1>();
        tiles.template dot<1, 4, 7>();
      }
      tiles.template load_stream<5>(x + at.second, at.stride);
      before.template run<2>();
      tiles.template dot<2, 5, 6>();
      if constexpr (Panels == 2) {
        before.template run<3>();
        tiles.template dot<3, 5, 7>();
      }
    } else {
      tiles.template load<5>(w, 64);
      before.template run<0>();
      tiles.template dot<0, 4, 5>();
      if constexpr (Panels > 1) {
        tiles.template load<6>(w + panel_bytes, 64);
        before.template run<1>();
        tiles.template dot<1, 4, 6>();
      }
      if constexpr (Panels == 4) {
        tiles.template load<7>(w + 2 * panel_bytes, 64);
        before.template run<2>();
        tiles.template dot<2, 4, 7>();
        tiles.template load<5>(w + 3 * panel_bytes, 64);
        before.template run<3>();
        tiles.template dot<3, 4, 5>();
      }
    }
  }
};

// Where the sums of tile kTile lie in a block's.
template <int RowTiles, int Panels, int kTile>
HWY_INLINE float* tile_sums(float* acc) {
  constexpr int kRow = RowTiles == 2 ? kTile / 2 : 0, kPanelIndex = RowTiles == 2 ? kTile % 2 : kTile;
  return acc + (kRow * kTileRows * Panels + kPanelIndex) * products::kPanel;
}
template <int RowTiles, int Panels, int kTile>
constexpr bool holds_sums() {
  return (RowTiles == 2 ? kTile % 2 : kTile) < Panels;
}

template <class Finish>
struct TileProduct {
  const char* x;
  int64_t x_row_bytes;  // on average over 32 rows
  TileRows x_tiles;
  const PackedView& w;
  const Finish& finish;
  float* kept;  // [threads][kept_floats], null if inputs are not cut
  int64_t kept_floats;
  int64_t piece_rows;
  int64_t cut;  // tiles
  bool gated;   // panels are taken in pairs: one of the first half and its like of the second
  int64_t panels() const { return gated ? products::panel_count(w) / 2 : products::panel_count(w); }
};

// Walks from block to block of one shape. What follows a block's products, its stores and then the epilogue, is spread over
// the steps of the next one: the tiles would else wait for it, and it for them. (Stores all at once cost as much as two steps,
// one before each of the next block's first products next to nothing.)
template <class Tiles, class Finish, int RowTiles, int Panels>
class TileWalk {
 public:
  TileWalk(Tiles& tiles, const Finish& finish) : tiles_(tiles), finish_(finish) {}
  ~TileWalk() { flush(); }
  TileWalk(const TileWalk&) = delete;
  TileWalk& operator=(const TileWalk&) = delete;

  // b.acc null: sums that are not kept between cuts.
  void run(TileBlock b) {
    if (b.acc == nullptr) b.acc = sums_;
    const char *w = b.w, *x = b.x;
    const int64_t steps = b.tiles;
    // The epilogue's rows of a step.
    const int64_t slice = waiting_.last ? div_up(waiting_.rows, std::max<int64_t>(1, steps - 1)) : 0;
    read_ahead(b, 0, steps);
    if (waiting_.acc == nullptr) {
      Step::run(tiles_, x, b.x_tiles, w, b.panel_bytes, Begin{tiles_, b});
    } else {
      Step::run(tiles_, x, b.x_tiles, w, b.panel_bytes, StoreAndBegin{tiles_, waiting_.acc, b});
    }
    int64_t done = 0;
    for (int64_t i = 1; i < steps; ++i) {
      x += b.x_tiles.next, w += kTileBytes;
      read_ahead(b, i, steps);
      Step::run(tiles_, x, b.x_tiles, w, b.panel_bytes, Nothing{});
      if (done < slice_end(slice)) done = finish(done, slice);
    }
    while (done < slice_end(slice)) done = finish(done, slice);
    waiting_ = b;
  }

  void flush() {
    if (waiting_.acc == nullptr) return;
    const Store store{tiles_, waiting_.acc};
    store.template run<0>();
    store.template run<1>();
    store.template run<2>();
    store.template run<3>();
    if (waiting_.last) finish(0, waiting_.rows);
    waiting_.acc = nullptr;
  }

 private:
  using Step = TileStep<Tiles, RowTiles, Panels>;
  struct Nothing {
    template <int kTile>
    HWY_INLINE void run() const {}
  };
  struct Begin {
    Tiles& tiles;
    const TileBlock& b;
    template <int kTile>
    HWY_INLINE void run() const {
      if (b.first) {
        tiles.template zero<kTile>();
      } else {
        tiles.template load<kTile>(tile_sums<RowTiles, Panels, kTile>(b.acc), Panels * products::kPanel * 4);
      }
    }
  };
  struct Store {
    Tiles& tiles;
    float* acc;
    template <int kTile>
    HWY_INLINE void run() const {
      if constexpr (holds_sums<RowTiles, Panels, kTile>()) {
        tiles.template store<kTile>(tile_sums<RowTiles, Panels, kTile>(acc), Panels * products::kPanel * 4);
      }
    }
  };
  struct StoreAndBegin {
    Tiles& tiles;
    float* acc;
    const TileBlock& b;
    template <int kTile>
    HWY_INLINE void run() const {
      Store{tiles, acc}.template run<kTile>();
      Begin{tiles, b}.template run<kTile>();
    }
  };

  int64_t slice_end(int64_t slice) const { return slice == 0 ? 0 : waiting_.rows; }
  int64_t finish(int64_t begin, int64_t count) {
    const int64_t end = std::min(waiting_.rows, begin + count);
    constexpr int64_t kColumns = Panels * products::kPanel;
    finish_.template rows<kColumns>(waiting_.acc + begin * kColumns, waiting_.m_begin + begin, end - begin,
                                    waiting_.panel * products::kPanel);
    return end;
  }

  static HWY_INLINE void read_ahead(const TileBlock& b, int64_t step, int64_t steps) {
    if (b.streams) {
      // Near the end of these panels, on to the panels that come next.
      const int64_t ahead = step + kTilePrefetch < steps ? 0 : b.next_bytes - steps * kTileBytes;
      const auto from = reinterpret_cast<uintptr_t>(b.w) + static_cast<uintptr_t>(ahead + (step + kTilePrefetch) * kTileBytes);
      for (int p = 0; p < Panels; ++p) {
        HWY_UNROLL(16)
        for (int row = 0; row < 16; ++row)
          __builtin_prefetch(reinterpret_cast<const void*>(from + static_cast<uintptr_t>(p * b.panel_bytes + row * 64)));
      }
    } else if (b.ahead_lines > 0) {
      const auto from = reinterpret_cast<uintptr_t>(b.ahead) + static_cast<uintptr_t>(step * b.ahead_lines * 64);
      for (int64_t line = 0; line < b.ahead_lines; ++line) {
        for (int p = 0; p < Panels; ++p)
          __builtin_prefetch(reinterpret_cast<const void*>(from + static_cast<uintptr_t>(p * b.panel_bytes + line * 64)), 0, 2);
      }
    }
  }

  Tiles& tiles_;
  const Finish& finish_;
  // Of the block before: finished by the time that the next one's are stored.
  alignas(64) float sums_[kBlockFloats];
  TileBlock waiting_ = {};
};

// A piece's group of panels over one cut of the inputs.
struct TileCut {
  int64_t panel_begin, panel_end, tile_begin;
  bool last;
};

// Rows [m_begin, m_begin + rows) of panels [panel_begin, panel_end) over one cut of the inputs, `step` rows a block.
// kept: kBlockFloats a block, or null.
template <class Tiles, class Finish, int RowTiles, int Panels>
float* tile_rows(TileWalk<Tiles, Finish, RowTiles, Panels>& walk, const TileProduct<Finish>& product, TileBlock block,
                 int64_t m_begin, int64_t rows, int64_t step, const TileCut& cut, int64_t panel_begin, int64_t panel_end,
                 float* kept) {
  const PackedView& w = product.w;
  const char* x = product.x + m_begin * product.x_row_bytes + cut.tile_begin * block.x_tiles.next;
  const int64_t row_blocks = div_up(rows, step), steps = block.tiles;
  block.streams = row_blocks == 1;
  block.last = cut.last;
  const int64_t together = product.gated ? 1 : Panels;
  block.next_bytes = together * block.panel_bytes;
  const int64_t stride = block.panel_bytes;
  if (product.gated) block.panel_bytes = product.panels() * stride;
  for (int64_t panel = panel_begin; panel < panel_end; panel += together) {
    block.panel = panel;
    block.w = static_cast<const char*>(w.data) + panel * stride + cut.tile_begin * kTileBytes;
    // The rows share the reading of the panels that come next: in this cut, in the next one, or after this group.
    block.ahead = block.w + block.next_bytes;
    if (panel + together >= panel_end) {
      block.ahead =
          cut.last ? block.ahead - cut.tile_begin * kTileBytes : block.w - (panel - panel_begin) * stride + steps * kTileBytes;
    }
    block.ahead_lines = block.streams ? 0 : div_up(kTileBytes / 64, row_blocks);
    for (int64_t row = 0; row < rows; row += step) {
      block.m_begin = m_begin + row;
      block.rows = std::min(step, rows - row);
      block.x = x + row * product.x_row_bytes;
      block.acc = kept;
      if (kept != nullptr) kept += kBlockFloats;
      walk.run(block);
      block.ahead += steps * block.ahead_lines * 64;
    }
  }
  return kept;
}

template <int RowTiles, class Tiles, class Finish>
float* tile_group(Tiles& tiles, const TileProduct<Finish>& product, const TileBlock& block, int64_t m_begin, int64_t rows,
                  int64_t step, const TileCut& cut, float* kept) {
  if (product.gated) {
    TileWalk<Tiles, Finish, RowTiles, 2> walk(tiles, product.finish);
    return tile_rows(walk, product, block, m_begin, rows, step, cut, cut.panel_begin, cut.panel_end, kept);
  }
  constexpr int kTogether = RowTiles == 2 ? 2 : 4;
  const int64_t whole = cut.panel_begin + (cut.panel_end - cut.panel_begin) / kTogether * kTogether;
  if (whole > cut.panel_begin) {
    TileWalk<Tiles, Finish, RowTiles, kTogether> walk(tiles, product.finish);
    kept = tile_rows(walk, product, block, m_begin, rows, step, cut, cut.panel_begin, whole, kept);
  }
  if (whole < cut.panel_end) {
    TileWalk<Tiles, Finish, RowTiles, 1> walk(tiles, product.finish);
    kept = tile_rows(walk, product, block, m_begin, rows, step, cut, whole, cut.panel_end, kept);
  }
  return kept;
}

template <class Tiles>
void configure_rows(Tiles& tiles, int64_t first, int64_t second) {
  tiles.configure(tile_config(second == 0 ? 1 : 2, first, second));
}

template <class Tiles, class Finish>
void tile_piece(const TileProduct<Finish>& product, const products::Pieces::Piece& piece, int thread) {
  const auto [m_begin, rows, panel_begin, panel_end] = piece;
  Tiles tiles;
  const PackedView& w = product.w;
  const int64_t all = div_up(w.k, products::kTileK);
  const int64_t square_rows = rows / (2 * kTileRows) * (2 * kTileRows), rest = rows - square_rows;
  TileBlock block = {};
  block.x_tiles = product.x_tiles;
  block.panel_bytes = products::panel_stride(w) * 2;
  int64_t configured[2] = {0, 0};  // rows of the first and second tile of rows
  const auto configure = [&](int64_t first, int64_t second) {
    if (configured[0] == first && configured[1] == second) return;
    configured[0] = first;
    configured[1] = second;
    configure_rows(tiles, first, second);
  };
  // Weights that are used twice stay in a cache from use to use.
  const bool once = product.kept == nullptr && (square_rows == 0 || rest == 0);
  const int64_t group_panels = once            ? std::max<int64_t>(1, panel_end - panel_begin)
                               : product.gated ? kTileGroup / 2
                                               : kTileGroup;
  for (int64_t group = panel_begin; group < panel_end; group += group_panels) {
    const int64_t group_end = std::min(panel_end, group + group_panels);
    for (int64_t tile = 0; tile < all; tile += product.cut) {
      const int64_t tile_end = std::min(all, tile + product.cut);
      const TileCut cut{group, group_end, tile, tile_end == all};
      block.tiles = tile_end - tile;
      block.first = tile == 0;
      float* kept = product.kept == nullptr ? nullptr : product.kept + thread * product.kept_floats;
      if (square_rows > 0) {
        configure(kTileRows, kTileRows);
        kept = tile_group<2>(tiles, product, block, m_begin, square_rows, 2 * kTileRows, cut, kept);
      }
      if (rest > kTileRows) {
        configure(kTileRows, rest - kTileRows);
        tile_group<2>(tiles, product, block, m_begin + square_rows, rest, rest, cut, kept);
      } else if (rest > 0) {
        configure(rest, 0);
        tile_group<1>(tiles, product, block, m_begin + square_rows, rest, rest, cut, kept);
      }
    }
  }
  tiles.release();
}

// Rows [begin, end) of x in tiles: of every 32 rows [tiles][32][64 bytes], padded with zeros along K. Where no padding is
// needed tiles are read from x itself: copies cost more than they gain, even where rows lie a power of two apart.
inline void pack_rows(const View& x, int64_t k, int64_t begin, int64_t end, char* to) {
  const int64_t tiles = div_up(k, products::kTileK);
  for (int64_t m = begin; m < end; ++m) {
    const char* row = reinterpret_cast<const char*>(products::row<BFloat16>(x, m));
    char* lines = to + (m / 32 * tiles * 32 + m % 32) * 64;
    for (int64_t t = 0; t < k / products::kTileK; ++t) std::memcpy(lines + t * 32 * 64, row + t * 64, 64);
    if (const int64_t last = k % products::kTileK; last != 0) {
      char* line = lines + (tiles - 1) * 32 * 64;
      std::memset(line, 0, 64);
      std::memcpy(line, row + (tiles - 1) * 64, static_cast<size_t>(last) * 2);
    }
  }
}

template <class Tiles, class Finish>
void run_tiles(const Finish& finish, const Exec& exec, const View& x, const PackedView& w, bool gated = false) {
  const int64_t m = x.dims[0];
  if (m == 0 || w.n == 0) return;
  if (w.k == 0) {
    alignas(64) constexpr float kZeros[2 * products::kPanel] = {};
    const int64_t columns = gated ? w.n / 2 : w.n;
    for (int64_t n = 0; n < columns; n += products::kPanel) {
      for (int64_t i = 0; i < m; ++i) {
        if (gated) {
          finish.template rows<2 * products::kPanel>(kZeros, i, 1, n);
        } else {
          finish.template rows<products::kPanel>(kZeros, i, 1, n);
        }
      }
    }
    return;
  }
  const ArenaScope scope(*exec.scratch);
  const int threads = exec.pool->num_threads();
  const int64_t all = div_up(w.k, products::kTileK), cuts = m <= 2 * kTileRows || all <= kTileUncut ? 1 : div_up(all, kTileCut);
  const int64_t fitting = kTilePieceBytes / (all * products::kTileK * 2) / (2 * kTileRows) * (2 * kTileRows);
  const int64_t piece_rows = std::clamp(fitting, 4 * kTileRows, kTileMaxPieceRows);
  // Blocks of at least one panel: those of two rows of tiles hold two panels, those of one row four.
  const int64_t kept_floats = (piece_rows / (2 * kTileRows) + 1) * (kTileGroup / 2 + 1) * kBlockFloats;
  float* kept = cuts == 1 ? nullptr : exec.scratch->allocate_array<float>(threads * kept_floats);
  TileProduct<Finish> product{x.as<char>(),
                              x.strides[0] * 2,
                              {x.strides[0] * 2, 64, kTileRows * x.strides[0] * 2},
                              w,
                              finish,
                              kept,
                              kept_floats,
                              piece_rows,
                              div_up(all, cuts),
                              gated};
  if (w.k % products::kTileK != 0) {
    char* packed = exec.scratch->allocate_array<char>(round_up(m, 32) * all * 64);
    exec.pool->parallel_for(m, m <= 64 ? m : 32,
                            [&](int64_t begin, int64_t end, int) { pack_rows(x, w.k, begin, end, packed); });
    product.x = packed;
    product.x_row_bytes = all * 64;
    product.x_tiles = {64, 32 * 64, kTileRows * 64};
  }
  const products::Pieces pieces(m, piece_rows, 2 * kTileRows, kOwnRows, product.panels(), gated ? 2 : 4, threads);
  exec.pool->parallel_for(pieces.count(), 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      tile_piece<Tiles>(product, pieces[i], thread);
    }
  });
}

// For the rate of the instruction: four products a step from registers alone. `tile`: 1 KiB of operands.
template <class Tiles>
float loop_on_tiles(const void* tile, int64_t steps) {
  alignas(64) float sums[kTileRows * products::kPanel];
  Tiles tiles;
  tiles.configure(tile_config(2, kTileRows, kTileRows));
  tiles.template zero<0>();
  tiles.template zero<1>();
  tiles.template zero<2>();
  tiles.template zero<3>();
  tiles.template load<4>(tile, 64);
  tiles.template load<5>(tile, 64);
  tiles.template load<6>(tile, 64);
  tiles.template load<7>(tile, 64);
  for (int64_t step = 0; step < steps; ++step) {
    tiles.template dot<0, 4, 6>();
    tiles.template dot<1, 4, 7>();
    tiles.template dot<2, 5, 6>();
    tiles.template dot<3, 5, 7>();
  }
  tiles.template store<0>(sums, 64);
  float sum = sums[0];
  tiles.template store<3>(sums, 64);
  sum += sums[0];
  tiles.release();
  return sum;
}

}  // namespace
}  // namespace pagoda
