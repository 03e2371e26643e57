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
constexpr int64_t kTileGroup = 8;                                  // panels whose sums are kept from cut to cut
constexpr int64_t kTileAccStride = kTileGroup * products::kPanel;  // floats
constexpr int64_t kTileCut = 20;                                   // tiles: two panels then stay in a first-level cache
constexpr int64_t kTilePrefetch = 3;                               // tiles read ahead
// Rows of a piece: as many as stay in a second-level cache (2 MiB where there are tiles) while all panels pass by, since every
// piece reads the weights again.
constexpr int64_t kTilePieceBytes = 1 << 20;
constexpr int64_t kTileMaxPieceRows = 1024;

struct TileBlock {
  const char* x;     // first row, first input
  int64_t x_stride;  // bytes
  const char* tail;  // first row of the padded copy of the last inputs [rows][64 bytes], or null
  const char* w;     // first panel, first tile
  int64_t panel_bytes;
  int64_t tiles;  // whole ones; the tail is one more
  float* acc;
  int64_t acc_stride;  // floats
  bool first, prefetch;
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

// RowTiles x Panels accumulators: 2 x 2, 2 x 1, 1 x 4 or 1 x 1. Tiles 0 to 3 hold sums, 4 (and 5) x, the others weights.
template <class Tiles, int RowTiles, int Panels>
struct TileStep {
  static HWY_INLINE void run(Tiles& tiles, const char* x, int64_t x_stride, const char* w, int64_t panel_bytes) {
    tiles.template load<4>(x, x_stride);
    if constexpr (RowTiles == 2) {
      tiles.template load<6>(w, 64);
      tiles.template dot<0, 4, 6>();
      tiles.template load<5>(x + kTileRows * x_stride, x_stride);
      if constexpr (Panels == 2) {
        tiles.template load<7>(w + panel_bytes, 64);
        tiles.template dot<1, 4, 7>();
      }
      tiles.template dot<2, 5, 6>();
      if constexpr (Panels == 2) tiles.template dot<3, 5, 7>();
    } else {
      tiles.template load<5>(w, 64);
      tiles.template dot<0, 4, 5>();
      if constexpr (Panels == 4) {
        tiles.template load<6>(w + panel_bytes, 64);
        tiles.template dot<1, 4, 6>();
        tiles.template load<7>(w + 2 * panel_bytes, 64);
        tiles.template dot<2, 4, 7>();
        tiles.template load<5>(w + 3 * panel_bytes, 64);
        tiles.template dot<3, 4, 5>();
      }
    }
  }
};

template <class Tiles, int RowTiles, int Panels, int kTile>
HWY_INLINE void begin_sum(Tiles& tiles, const TileBlock& b) {
  constexpr int kRow = RowTiles == 2 ? kTile / 2 : 0, kPanelIndex = RowTiles == 2 ? kTile % 2 : kTile;
  if constexpr (kPanelIndex < Panels) {
    if (b.first) {
      tiles.template zero<kTile>();
    } else {
      tiles.template load<kTile>(b.acc + kRow * kTileRows * b.acc_stride + kPanelIndex * products::kPanel, b.acc_stride * 4);
    }
  }
}

template <class Tiles, int RowTiles, int Panels, int kTile>
HWY_INLINE void end_sum(Tiles& tiles, const TileBlock& b) {
  constexpr int kRow = RowTiles == 2 ? kTile / 2 : 0, kPanelIndex = RowTiles == 2 ? kTile % 2 : kTile;
  if constexpr (kPanelIndex < Panels) {
    tiles.template store<kTile>(b.acc + kRow * kTileRows * b.acc_stride + kPanelIndex * products::kPanel, b.acc_stride * 4);
  }
}

struct TileProduct {
  const View& x;
  const PackedView& w;
  const Epilogue& epilogue;
  const View& y;
  products::EpilogueFn finish;
  const BFloat16* tail;  // [M][32] or null
  float* kept;           // [threads][piece_rows][kTileAccStride], null if inputs are not cut
  int64_t piece_rows;
  int64_t cut;  // tiles
};

// The epilogue of a block runs between the next block's products and their stores: it would else wait for the tiles, and they
// for it. (Nor after the stores: loads that lie as stores under way do, modulo 4 KiB, wait for them.)
class Finisher {
 public:
  explicit Finisher(const TileProduct& product) : product_(product) {}
  float* block() { return block_; }  // for the sums of one block
  void finish_later(const float* acc, int64_t acc_stride, int64_t m_begin, int64_t rows, int64_t panel, int64_t panels) {
    waiting_ = {acc, acc_stride, m_begin, rows, panel, panels};
  }
  void flush() {
    if (waiting_.acc == nullptr) return;
    product_.finish(waiting_.acc, waiting_.acc_stride, waiting_.m_begin, waiting_.rows, waiting_.panel * products::kPanel,
                    waiting_.panels * products::kPanel, product_.epilogue, product_.y);
    waiting_.acc = nullptr;
  }

 private:
  struct Waiting {
    const float* acc;
    int64_t acc_stride, m_begin, rows, panel, panels;
  };
  const TileProduct& product_;
  alignas(64) float block_[2 * kTileRows * 4 * products::kPanel];
  Waiting waiting_ = {};
};

template <class Tiles, int RowTiles, int Panels>
void tile_block(Tiles& tiles, Finisher& finisher, const TileBlock& b) {
  using Step = TileStep<Tiles, RowTiles, Panels>;
  begin_sum<Tiles, RowTiles, Panels, 0>(tiles, b);
  begin_sum<Tiles, RowTiles, Panels, 1>(tiles, b);
  begin_sum<Tiles, RowTiles, Panels, 2>(tiles, b);
  begin_sum<Tiles, RowTiles, Panels, 3>(tiles, b);
  const char* w = b.w;
  const char* x = b.x;
  const int64_t all = b.tiles + (b.tail != nullptr ? 1 : 0);
  for (int64_t i = 0; i < b.tiles; ++i, x += 64, w += kTileBytes) {
    if (b.prefetch) {
      // Near the end of these panels, on to the panels that come next.
      const int64_t ahead = i + kTilePrefetch < all ? 0 : (Panels - 1) * b.panel_bytes;
      for (int p = 0; p < Panels; ++p) {
        const auto line =
            reinterpret_cast<uintptr_t>(w) + static_cast<uintptr_t>(p * b.panel_bytes + ahead + kTilePrefetch * kTileBytes);
        HWY_UNROLL(16)
        for (int row = 0; row < 16; ++row)
          __builtin_prefetch(reinterpret_cast<const void*>(line + static_cast<uintptr_t>(row) * 64));
      }
    }
    Step::run(tiles, x, b.x_stride, w, b.panel_bytes);
  }
  if (b.tail != nullptr) Step::run(tiles, b.tail, 64, w, b.panel_bytes);
  finisher.flush();
  end_sum<Tiles, RowTiles, Panels, 0>(tiles, b);
  end_sum<Tiles, RowTiles, Panels, 1>(tiles, b);
  end_sum<Tiles, RowTiles, Panels, 2>(tiles, b);
  end_sum<Tiles, RowTiles, Panels, 3>(tiles, b);
}

// A piece's group of panels over one cut of the inputs.
struct TileCut {
  int64_t panel_begin, panel_end, tile_begin;
  bool prefetch, last;
};

// Rows [m_begin, m_begin + rows) of a group of panels over one cut of the inputs, rows <= 32 at a time being one block.
template <class Tiles, int RowTiles>
void tile_rows(Tiles& tiles, const TileProduct& product, Finisher& finisher, TileBlock block, int64_t m_begin, int64_t rows,
               int64_t step, const TileCut& cut) {
  constexpr int kTogether = RowTiles == 2 ? 2 : 4;
  const PackedView& w = product.w;
  const char* x = product.x.as<char>() + (m_begin * product.x.strides[0] + cut.tile_begin * products::kTileK) * 2;
  float* kept = block.acc;
  for (int64_t panel = cut.panel_begin; panel < cut.panel_end;) {
    const int64_t panels = panel + kTogether <= cut.panel_end ? kTogether : 1;
    block.w = static_cast<const char*>(w.data) + panel * block.panel_bytes + cut.tile_begin * kTileBytes;
    for (int64_t row = 0; row < rows; row += step) {
      block.x = x + row * block.x_stride;
      if (block.tail != nullptr) block.tail = reinterpret_cast<const char*>(product.tail + (m_begin + row) * products::kTileK);
      block.prefetch = cut.prefetch && row == 0;
      if (kept == nullptr) {
        block.acc = finisher.block();
        block.acc_stride = panels * products::kPanel;
      } else {
        block.acc = kept + row * kTileAccStride + (panel - cut.panel_begin) * products::kPanel;
        block.acc_stride = kTileAccStride;
      }
      if (panels == kTogether) {
        tile_block<Tiles, RowTiles, kTogether>(tiles, finisher, block);
      } else {
        tile_block<Tiles, RowTiles, 1>(tiles, finisher, block);
      }
      if (cut.last) {
        finisher.finish_later(block.acc, block.acc_stride, m_begin + row, std::min(step, rows - row), panel, panels);
      }
    }
    panel += panels;
  }
}

template <class Tiles>
void configure_rows(Tiles& tiles, int64_t first, int64_t second) {
  tiles.configure(tile_config(second == 0 ? 1 : 2, first, second));
}

template <class Tiles>
void tile_piece(const TileProduct& product, const products::Pieces::Piece& piece, int thread) {
  const auto [m_begin, rows, panel_begin, panel_end] = piece;
  Tiles tiles;
  Finisher finisher(product);
  const PackedView& w = product.w;
  const int64_t tiles_k = w.k / products::kTileK, all = div_up(w.k, products::kTileK);
  const int64_t square_rows = rows / (2 * kTileRows) * (2 * kTileRows), rest = rows - square_rows;
  TileBlock block;
  block.x_stride = product.x.strides[0] * 2;
  block.panel_bytes = products::panel_stride(w) * 2;
  float* kept = product.kept == nullptr ? nullptr : product.kept + thread * product.piece_rows * kTileAccStride;
  int64_t configured[2] = {0, 0};  // rows of the first and second tile of rows
  const auto configure = [&](int64_t first, int64_t second) {
    if (configured[0] == first && configured[1] == second) return;
    configured[0] = first;
    configured[1] = second;
    configure_rows(tiles, first, second);
  };
  for (int64_t group = panel_begin; group < panel_end; group += kTileGroup) {
    const int64_t group_end = std::min(panel_end, group + kTileGroup);
    int64_t tile = 0;
    do {
      const int64_t tile_end = std::min(all, tile + product.cut);
      TileCut cut{group, group_end, tile, true, tile_end == all};
      block.tiles = std::min(tile_end, tiles_k) - tile;
      block.tail = tile_end > tiles_k ? reinterpret_cast<const char*>(product.tail) : nullptr;
      block.first = tile == 0;
      if (square_rows > 0) {
        configure(kTileRows, kTileRows);
        block.acc = kept;
        tile_rows<Tiles, 2>(tiles, product, finisher, block, m_begin, square_rows, 2 * kTileRows, cut);
      }
      if (rest > 0) {
        block.acc = kept == nullptr ? nullptr : kept + square_rows * kTileAccStride;
        cut.prefetch = square_rows == 0;
        if (rest > kTileRows) {
          configure(kTileRows, rest - kTileRows);
          tile_rows<Tiles, 2>(tiles, product, finisher, block, m_begin + square_rows, rest, rest, cut);
        } else {
          configure(rest, 0);
          tile_rows<Tiles, 1>(tiles, product, finisher, block, m_begin + square_rows, rest, rest, cut);
        }
      }
      tile = tile_end;
    } while (tile < all);
    // The next group's sums take the place of these.
    if (kept != nullptr) finisher.flush();
  }
  finisher.flush();
  tiles.release();
}

template <class Tiles>
void run_tiles(products::EpilogueFn finish, const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue,
               const View& y) {
  const int64_t m = x.dims[0];
  if (m == 0 || w.n == 0) return;
  const ArenaScope scope(*exec.scratch);
  BFloat16* tail = nullptr;
  if (const int64_t last = w.k % products::kTileK; last != 0) {
    tail = exec.scratch->allocate_array<BFloat16>(m * products::kTileK);
    for (int64_t i = 0; i < m; ++i) {
      BFloat16* to = tail + i * products::kTileK;
      std::memset(static_cast<void*>(to), 0, products::kTileK * 2);
      std::memcpy(static_cast<void*>(to), products::row<BFloat16>(x, i) + w.k - last, static_cast<size_t>(last) * 2);
    }
  }
  const int threads = exec.pool->num_threads();
  const int64_t all = div_up(w.k, products::kTileK),
                cuts = std::max<int64_t>(1, m <= 2 * kTileRows ? 1 : div_up(all, kTileCut));
  const int64_t fitting =
      kTilePieceBytes / std::max<int64_t>(1, all * products::kTileK * 2) / (2 * kTileRows) * (2 * kTileRows);
  const int64_t piece_rows = std::clamp(fitting, 4 * kTileRows, kTileMaxPieceRows);
  float* kept = cuts == 1 ? nullptr : exec.scratch->allocate_array<float>(threads * piece_rows * kTileAccStride);
  const TileProduct product{x, w, epilogue, y, finish, tail, kept, piece_rows, std::max<int64_t>(1, div_up(all, cuts))};
  const products::Pieces pieces(m, piece_rows, 2 * kTileRows, products::panel_count(w), 4, threads);
  exec.pool->parallel_for(pieces.count(), 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      tile_piece<Tiles>(product, pieces[i], thread);
    }
  });
}

}  // namespace
}  // namespace pagoda
