// The product on packed weights around its register blocks: pieces for the threads, cuts of long inputs, the epilogue.
#include "kernels/cpu/products.h"

namespace pagoda::products {

Pieces::Pieces(int64_t m, int64_t max_rows, int64_t row_step, int64_t own_rows, int64_t panels, int64_t panel_step, int threads)
    : rows_(m), panels_(panels) {
  const bool own = threads > 1 && m >= own_rows * threads;
  int64_t blocks = div_up(m, max_rows / row_step * row_step);
  if (own) blocks = round_up(blocks, threads);
  block_rows_ = std::min(m, round_up(div_up(m, blocks), row_step));
  row_blocks_ = div_up(m, block_rows_);
  columns_ = own ? 1 : threads;
  column_panels_ = round_up(div_up(panels, columns_), columns_ == 1 ? panel_step : 2);
  // Two thirds of what is left, then again; the last are short.
  int64_t begin = 0;
  while (begin < column_panels_ && runs_ + 1 < kMaxRuns && threads > 1) {
    const int64_t run = (column_panels_ - begin) * 2 / 3 / panel_step * panel_step;
    if (run < panel_step) break;
    begins_[runs_++] = begin;
    begin += run;
  }
  if (begin < column_panels_) begins_[runs_++] = begin;
  begins_[runs_] = column_panels_;
}

Pieces::Piece Pieces::operator[](int64_t i) const {
  const int64_t run = i % runs_, m_begin = i / runs_ % row_blocks_ * block_rows_, column = i / (runs_ * row_blocks_);
  const int64_t first = column * column_panels_;
  return {m_begin, std::min(block_rows_, rows_ - m_begin), std::min(panels_, first + begins_[run]),
          std::min(panels_, first + begins_[run + 1])};
}

namespace {

constexpr int64_t kMaxPieceRows = 96;
constexpr int64_t kGroup = 8;  // panels whose sums are kept while inputs are taken cut by cut
constexpr int64_t kAccStride = kGroup * kPanel;
constexpr int64_t kScratch = 64 << 10;        // elements of x that stay close: half a second-level cache as float32
constexpr int64_t kWeightScratch = 64 << 10;  // floats of widened panels

struct Product {
  const BlockFamily& family;
  const View& x;
  const PackedView& w;
  const Epilogue& epilogue;
  const View& y;
  float* wide;    // [threads][kScratch]: rows of a piece as float32; null if x is taken as it lies
  float* panels;  // [threads][kWeightScratch]: panels as float32; null if they are taken as they lie
};

// log2 of the most panels, at most `panels`, that a block of `rows` takes together.
int width_of(const BlockFn (*table)[3], int64_t rows, int64_t panels) {
  const BlockFn* blocks = table[rows - 1];
  return panels >= 4 && blocks[2] != nullptr ? 2 : panels >= 2 && blocks[1] != nullptr ? 1 : 0;
}

// Weights that are wanted next.
struct Ahead {
  const char* from;
  int64_t lines;
};

// The rows of a piece times a few panels taken together: blocks that differ by one row at most.
void run_panels(int max_rows, const BlockFn (*table)[3], Block block, int64_t x_bytes, int64_t w_bytes, int64_t rows,
                int64_t panels, const Ahead& ahead) {
  const int64_t row_blocks = div_up(rows, int64_t{max_rows});
  const Block whole = block;
  for (int64_t i = 0; i < row_blocks; ++i) {
    const int64_t begin = rows * i / row_blocks, count = rows * (i + 1) / row_blocks - begin;
    const int64_t line = ahead.lines * i / row_blocks;
    block.ahead = ahead.from + line * 64;
    block.ahead_lines = ahead.lines * (i + 1) / row_blocks - line;
    block.x = static_cast<const char*>(whole.x) + begin * block.x_stride * x_bytes;
    block.w = whole.w;
    block.acc = whole.acc + begin * block.acc_stride;
    block.prefetch = whole.prefetch && i == 0;
    for (int64_t panel = 0; panel < panels;) {
      const int width = width_of(table, count, panels - panel);
      table[count - 1][width](block);
      panel += int64_t{1} << width;
      block.w = static_cast<const char*>(block.w) + (block.panel_stride * w_bytes << width);
      block.acc += kPanel << width;
    }
  }
}

// Widening a panel costs about as much as a third of a block.
bool widens_panels(const BlockFamily& family, int64_t rows) { return rows > 2 * family.max_rows; }

// What a piece takes after [k_begin, k_begin + k_count) of the panel before `panel`: the same inputs of that panel, the next
// cut of the group's first, or the first cut of the panels after the group.
Ahead next_weights(const PackedView& w, int64_t k_begin, int64_t k_count, int64_t cut, int64_t group, int64_t panel,
                   int64_t group_end) {
  if (panel == group_end && k_begin + k_count < w.k) {
    k_begin += k_count;
    k_count = std::min(cut, w.k - k_begin);
    panel = group;
  } else if (panel == group_end) {
    k_begin = 0;
    k_count = std::min(cut, w.k);
  }
  if (panel >= panel_count(w)) return {};
  return {static_cast<const char*>(w.data) + (panel * panel_stride(w) + k_begin * kPanel) * 2, k_count * kPanel * 2 / 64};
}

void run_piece(const Product& product, const Pieces::Piece& piece, int thread) {
  const auto [m_begin, rows, panel_begin, panel_end] = piece;
  const PackedView& w = product.w;
  const int64_t k = w.k, stride = panel_stride(w), w_bytes = w.format == WeightFormat::kBf16Pairs ? 2 : 4;
  const int64_t x_bytes = product.wide != nullptr ? 4 : dtype_size(product.x.dtype);
  const BlockFamily& family = product.family;
  const bool widen = product.panels != nullptr && widens_panels(family, rows);
  const BlockFn(*table)[3] = widen ? family.wide_blocks : family.blocks;
  const int max_rows = rows >= kManyRows ? family.many_rows : family.max_rows;
  const int64_t largest_block = div_up(rows, div_up(rows, int64_t{max_rows}));
  const int64_t together = int64_t{1} << width_of(table, largest_block, 4);
  float* panels_wide = widen ? product.panels + thread * kWeightScratch : nullptr;
  // Even cuts of whole tiles, so that rows and panels fit the scratch. Sums pass from one cut to the next through memory as
  // float32: cutting changes no bits.
  int64_t most = kScratch / rows;
  if (widen) most = std::min(most, kWeightScratch / (together * kPanel));
  most = std::max(kTileK, most / kTileK * kTileK);
  const int64_t cuts = std::max<int64_t>(1, div_up(k, most));
  const int64_t cut = round_up(div_up(k, cuts), kTileK);
  alignas(64) float acc[kMaxPieceRows * kAccStride];

  for (int64_t group = panel_begin; group < panel_end; group += kGroup) {
    const int64_t group_end = std::min(panel_end, group + kGroup);
    int64_t k_begin = 0;
    do {
      const int64_t k_count = std::min(cut, k - k_begin);
      Block block;
      block.k = k_count;
      block.first = k_begin == 0;
      block.acc_stride = kAccStride;
      if (product.wide != nullptr) {
        float* wide = product.wide + thread * kScratch;
        if (group == panel_begin || cuts > 1) {
          family.take(product.x, m_begin, rows, k_begin, k_count, wide);
        }
        block.x = wide;
        block.x_stride = k_count;
      } else {
        block.x = product.x.as<char>() + (m_begin * product.x.strides[0] + k_begin) * x_bytes;
        block.x_stride = product.x.strides[0];
      }
      for (int64_t panel = group; panel < group_end;) {
        const int64_t panels = std::min(together, group_end - panel);
        const char* weights = static_cast<const char*>(w.data) + (panel * stride + k_begin * kPanel) * w_bytes;
        block.acc = acc + (panel - group) * kPanel;
        block.w = weights;
        block.panel_stride = stride;
        block.prefetch = !widen;
        Ahead ahead = {};
        if (widen) {
          for (int64_t p = 0; p < panels; ++p) {
            family.widen_panel(weights + p * stride * w_bytes, k_count, panels_wide + p * cut * kPanel);
          }
          block.w = panels_wide;
          block.panel_stride = cut * kPanel;
          // Blocks read no memory while they compute on what was widened: the next cut's weights can come meanwhile.
          ahead = next_weights(w, k_begin, k_count, cut, group, panel + panels, group_end);
        }
        run_panels(max_rows, table, block, x_bytes, widen ? 4 : w_bytes, rows, panels, ahead);
        panel += panels;
      }
      k_begin += k_count;
    } while (k_begin < k);
    family.finish(acc, kAccStride, m_begin, rows, group * kPanel, (group_end - group) * kPanel, product.epilogue, product.y);
  }
}

}  // namespace

void run_blocks(const BlockFamily& family, const Exec& exec, const View& x, const PackedView& w, const Epilogue& epilogue,
                const View& y) {
  if (y.dims[0] == 0 || w.n == 0) return;
  const ArenaScope scope(*exec.scratch);
  const int threads = exec.pool->num_threads();
  float* wide = family.take == nullptr ? nullptr : exec.scratch->allocate_array<float>(threads * kScratch);
  const bool widen = family.widen_panel != nullptr && widens_panels(family, y.dims[0]);
  float* panels = widen ? exec.scratch->allocate_array<float>(threads * kWeightScratch) : nullptr;
  const Product product{family, x, w, epilogue, y, wide, panels};
  const Pieces pieces(y.dims[0], kMaxPieceRows, family.max_rows, kMaxPieceRows, panel_count(w), 4, threads);
  exec.pool->parallel_for(pieces.count(), 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      run_piece(product, pieces[i], thread);
    }
  });
}

}  // namespace pagoda::products
