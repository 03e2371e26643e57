// Attention with bfloat16 products: one item over an engine, which multiplies by vdpbf16ps or on AMX tiles.
//
// Included by attention.cc inside the namespace of a target and, for native engines, inside their target region, so it has no
// includes, namespaces or lambdas of its own. Queries, keys, values and weights are bfloat16, sums float32; scores, maxima and
// softmax are the float32 code of attention_tile-inl.h. A weight is rounded to bfloat16 before it counts in the row's total.
//
// Masked tokens: instructions take values in pairs or in tiles of 32 tokens, so a masked token meets a weight of 0. That is
// nothing if its value is finite; a block whose values are not is multiplied row by row, each row with its masked values
// zeroed.

// Values of a key block: page p of slot s (16 dimensions) begins at page[p] + s * slot_stride: [8 pairs][16][2].
struct HalfValues {
  const BFloat16* page[kBlockPages];
  int64_t slot_stride;
};
constexpr int64_t kPageSlot = kPageTokens * 16;          // elements of a slot of a page
constexpr int64_t kBlockSlot = kBlockPages * kPageSlot;  // of a slot of a copied block
constexpr int kHalfTileRows = 16;                        // at most, of any engine

// Keys and values of a block as an item's tiles use them.
struct HalfBlock {
  const BFloat16* keys[kBlockPages];
  HalfValues values;
  bool finite;  // or no row of the item masks what another sees
};

// Copies tokens [begin, end) of a block's values, slot by slot; the rest of their pages, and of a page beside them that shares
// a tile of 32 tokens, become 0.
inline void copy_values(const BFloat16* const* pages, int64_t slots, int64_t begin, int64_t end, BFloat16* to) {
  for (int64_t page = begin / 32 * 2; page < (end + 31) / 32 * 2; ++page) {
    const int64_t first = std::clamp<int64_t>(begin - page * kPageTokens, 0, kPageTokens);
    const int64_t last = std::clamp<int64_t>(end - page * kPageTokens, 0, kPageTokens);
    for (int64_t slot = 0; slot < slots; ++slot) {
      BFloat16* at = to + slot * kBlockSlot + page * kPageSlot;
      if (first == 0 && last == kPageTokens) {
        std::memcpy(static_cast<void*>(at), pages[page] + slot * kPageSlot, kPageSlot * sizeof(BFloat16));
        continue;
      }
      std::memset(static_cast<void*>(at), 0, kPageSlot * sizeof(BFloat16));
      for (int64_t t = first; t < last; ++t) {
        for (int64_t i = 0; i < 16; ++i) {
          const int64_t element = t / 2 * 32 + i * 2 + t % 2;
          at[element] = pages[page][slot * kPageSlot + element];
        }
      }
    }
  }
}

inline bool all_finite(const BFloat16* copied, int64_t slots, int64_t begin, int64_t end) {
  const int64_t first = begin / 32 * 2 * kPageSlot, last = (end + 31) / 32 * 2 * kPageSlot;
  for (int64_t slot = 0; slot < slots; ++slot) {
    uint32_t bad = 0;
    for (int64_t i = first; i < last; ++i) bad |= (copied[slot * kBlockSlot + i].bits & 0x7F80) == 0x7F80 ? 1u : 0u;
    if (bad != 0) return false;
  }
  return true;
}

// As weigh_scores, with weights rounded to bfloat16: weights[kKeyBlock], 0 where masked.
HWY_INLINE FloatVec weigh_scores_half(const TileRow& row, float maximum, const float* HWY_RESTRICT scores,
                                      BFloat16* HWY_RESTRICT weights) {
  const FloatTag d;
  const hn::RebindToUnsigned<FloatTag> d32;
  std::memset(static_cast<void*>(weights), 0, kKeyBlock * sizeof(BFloat16));
  const int64_t first = row.begin / kLanes * kLanes, last = (row.end + kLanes - 1) / kLanes * kLanes;
  const FloatVec subtract = hn::Set(d, maximum == kMinusInfinity ? 0.0f : maximum);
  FloatVec total = hn::Zero(d);
  for (int64_t t = first; t < last; t += kLanes) {
    const FloatVec weight = exp_weight(hn::Sub(hn::LoadU(d, scores + t), subtract));
    const auto raw = hn::BitCast(d32, weight);
    const auto odd = hn::And(hn::ShiftRight<16>(raw), hn::Set(d32, 1));
    const auto upper = hn::And(hn::Add(raw, hn::Add(odd, hn::Set(d32, 0x7FFF))), hn::Set(d32, 0xFFFF0000u));
    const FloatVec rounded = hn::IfThenElse(hn::Eq(weight, weight), hn::BitCast(d, upper), weight);
    store(rounded, weights + t);
    total = hn::Add(total, rounded);
  }
  return total;
}

// Engine: multiplies by dot products of pairs. I: the instruction, native or stand-in.
template <class I>
struct DotEngine {
  static constexpr int kRows = 6;
  static constexpr int kRegisters = 24;   // accumulators, of 32 registers
  static constexpr bool kCopies = false;  // reads values where they lie, if no token of a pair is to be zeroed
  static constexpr bool kKeyTails = false;

  static int64_t query_elements(int64_t head_dim) { return (head_dim + 1) / 2 * 2 * kRows; }

  // [head_dim / 2][rows][2]
  static void pack_query(const BFloat16* const* from, int rows, int64_t head_dim, BFloat16* to) {
    for (int64_t d = 0; d < head_dim; d += 2) {
      for (int r = 0; r < rows; ++r) {
        *to++ = from[r][d];
        *to++ = d + 1 < head_dim ? from[r][d + 1] : BFloat16();
      }
    }
  }

  static HWY_INLINE uint32_t pair_at(const BFloat16* from) {
    uint32_t pair;
    std::memcpy(&pair, from, sizeof pair);
    return pair;
  }

  template <int kCount, int kPages>
  static HWY_INLINE void score_pages(const BFloat16* q, const BFloat16* const* keys, int64_t pairs, int first, float* scores) {
    typename I::Floats sum[kCount][kPages];
    for (int r = 0; r < kCount; ++r) {
      for (int p = 0; p < kPages; ++p) sum[r][p] = I::zero();
    }
    for (int64_t pair = 0; pair < pairs; ++pair) {
      const BFloat16* at = q + pair * kCount * 2;
      if constexpr (kCount < kPages) {  // the fewer operands stay in registers
        typename I::Pairs query[kCount];
        for (int r = 0; r < kCount; ++r) query[r] = I::broadcast(pair_at(at + r * 2));
        for (int p = 0; p < kPages; ++p) {
          const typename I::Pairs key = I::load_pairs(keys[first + p] + pair * 2 * kPageTokens);
          for (int r = 0; r < kCount; ++r) sum[r][p] = I::dot(sum[r][p], query[r], key);
        }
      } else {
        typename I::Pairs key[kPages];
        for (int p = 0; p < kPages; ++p) key[p] = I::load_pairs(keys[first + p] + pair * 2 * kPageTokens);
        for (int r = 0; r < kCount; ++r) {
          const typename I::Pairs query = I::broadcast(pair_at(at + r * 2));
          for (int p = 0; p < kPages; ++p) sum[r][p] = I::dot(sum[r][p], query, key[p]);
        }
      }
    }
    for (int r = 0; r < kCount; ++r) {
      for (int p = 0; p < kPages; ++p) I::store(sum[r][p], scores + r * kKeyBlock + (first + p) * kPageTokens);
    }
  }

  template <int kCount>
  static HWY_NOINLINE void score_rows(const BFloat16* q, const BFloat16* const* keys, int64_t pairs, int first, int last,
                                      float* scores) {
    constexpr int kPages = kRegisters / kCount >= 8 ? 8 : 4;
    for (; first + kPages <= last; first += kPages) score_pages<kCount, kPages>(q, keys, pairs, first, scores);
    for (; first < last; ++first) score_pages<kCount, 1>(q, keys, pairs, first, scores);
  }

  void scores(const BFloat16* q, int rows, const HalfBlock& block, const BFloat16* /*key_tails*/, int64_t head_dim, int first,
              int last, float* to) const {
    const int64_t pairs = (head_dim + 1) / 2;
    switch (rows) {
      case 1: return score_rows<1>(q, block.keys, pairs, first, last, to);
      case 2: return score_rows<2>(q, block.keys, pairs, first, last, to);
      case 3: return score_rows<3>(q, block.keys, pairs, first, last, to);
      case 4: return score_rows<4>(q, block.keys, pairs, first, last, to);
      case 5: return score_rows<5>(q, block.keys, pairs, first, last, to);
      default: return score_rows<6>(q, block.keys, pairs, first, last, to);
    }
  }

  template <int kCount, int kColumns>
  static HWY_INLINE void value_slots(const BFloat16* weights, const HalfValues& values, int64_t slot, int64_t begin,
                                     int64_t end, float* sums, int64_t row_floats) {
    typename I::Floats sum[kCount][kColumns];
    for (int r = 0; r < kCount; ++r) {
      for (int c = 0; c < kColumns; ++c) sum[r][c] = I::zero();
    }
    for (int64_t pair = begin / 2; pair < (end + 1) / 2; ++pair) {
      const BFloat16* from = values.page[pair / 8] + slot * values.slot_stride + pair % 8 * 32;
      typename I::Pairs value[kColumns];
      for (int c = 0; c < kColumns; ++c) value[c] = I::load_pairs(from + c * values.slot_stride);
      for (int r = 0; r < kCount; ++r) {
        const typename I::Pairs weight = I::broadcast(pair_at(weights + r * kKeyBlock + pair * 2));
        for (int c = 0; c < kColumns; ++c) sum[r][c] = I::dot(sum[r][c], weight, value[c]);
      }
    }
    for (int r = 0; r < kCount; ++r) {
      for (int c = 0; c < kColumns; ++c) I::store(sum[r][c], sums + r * row_floats + (slot + c) * 16);
    }
  }

  template <int kCount>
  static HWY_NOINLINE void value_rows(const BFloat16* weights, const HalfValues& values, int64_t slots, int64_t begin,
                                      int64_t end, float* sums, int64_t row_floats) {
    int64_t slot = 0;
    for (; slot + 4 <= slots; slot += 4) value_slots<kCount, 4>(weights, values, slot, begin, end, sums, row_floats);
    for (; slot < slots; ++slot) value_slots<kCount, 1>(weights, values, slot, begin, end, sums, row_floats);
  }

  void values(const BFloat16* weights, int rows, const HalfValues& from, int64_t slots, int64_t begin, int64_t end, float* sums,
              int64_t row_floats) const {
    switch (rows) {
      case 1: return value_rows<1>(weights, from, slots, begin, end, sums, row_floats);
      case 2: return value_rows<2>(weights, from, slots, begin, end, sums, row_floats);
      case 3: return value_rows<3>(weights, from, slots, begin, end, sums, row_floats);
      case 4: return value_rows<4>(weights, from, slots, begin, end, sums, row_floats);
      case 5: return value_rows<5>(weights, from, slots, begin, end, sums, row_floats);
      default: return value_rows<6>(weights, from, slots, begin, end, sums, row_floats);
    }
  }
};

// Engine: 16 rows at a time on tiles. T: the tile instructions, native or stand-in. Fewer rows leave the rest of a tile idle:
// a decode step waits for memory, not for tiles.
template <class T>
struct TileEngine {
  static constexpr int kRows = 16;
  static constexpr bool kCopies = true;    // a tile of values needs two pages in one piece
  static constexpr bool kKeyTails = true;  // the last dimensions, if fewer than 32, need a tile filled up with zeros
  static constexpr int64_t kTileElements = 16 * 32;

  TileEngine() {
    standin::TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.rows[tile] = 16;
      config.row_bytes[tile] = 64;
    }
    tiles.configure(config);
  }
  ~TileEngine() { tiles.release(); }
  TileEngine(const TileEngine&) = delete;
  TileEngine& operator=(const TileEngine&) = delete;

  static int64_t padded(int64_t head_dim) { return (head_dim + 31) / 32 * 32; }
  static int64_t query_elements(int64_t head_dim) { return padded(head_dim) * kRows; }

  // [16][head_dim padded to 32], zeros past rows and dimensions
  static void pack_query(const BFloat16* const* from, int rows, int64_t head_dim, BFloat16* to) {
    for (int r = 0; r < kRows; ++r) {
      for (int64_t d = 0; d < padded(head_dim); ++d) *to++ = r < rows && d < head_dim ? from[r][d] : BFloat16();
    }
  }

  template <int kPages>
  HWY_INLINE void score_pages(const BFloat16* q, const BFloat16* const* keys, const BFloat16* key_tails, int64_t head_dim,
                              int first, float* to) {
    tiles.template zero<0>();
    if constexpr (kPages > 1) tiles.template zero<1>();
    if constexpr (kPages > 2) tiles.template zero<2>();
    if constexpr (kPages > 3) tiles.template zero<3>();
    for (int64_t d = 0; d < head_dim; d += 32) {
      tiles.template load<4>(q + d, padded(head_dim) * 2);
      const BFloat16* page[kPages];
      for (int p = 0; p < kPages; ++p) {
        page[p] = d + 32 <= head_dim ? keys[first + p] + d * kPageTokens : key_tails + (first + p) * kTileElements;
      }
      tiles.template load<5>(page[0], 64);
      tiles.template dot<0, 4, 5>();
      if constexpr (kPages > 1) {
        tiles.template load<6>(page[1], 64);
        tiles.template dot<1, 4, 6>();
      }
      if constexpr (kPages > 2) {
        tiles.template load<7>(page[2], 64);
        tiles.template dot<2, 4, 7>();
      }
      if constexpr (kPages > 3) {
        tiles.template load<5>(page[3], 64);
        tiles.template dot<3, 4, 5>();
      }
    }
    to += first * kPageTokens;
    tiles.template store<0>(to, kKeyBlock * 4);
    if constexpr (kPages > 1) tiles.template store<1>(to + kPageTokens, kKeyBlock * 4);
    if constexpr (kPages > 2) tiles.template store<2>(to + 2 * kPageTokens, kKeyBlock * 4);
    if constexpr (kPages > 3) tiles.template store<3>(to + 3 * kPageTokens, kKeyBlock * 4);
  }

  HWY_NOINLINE void scores(const BFloat16* q, int /*rows*/, const HalfBlock& block, const BFloat16* key_tails, int64_t head_dim,
                           int first, int last, float* to) {
    for (; first + 4 <= last; first += 4) score_pages<4>(q, block.keys, key_tails, head_dim, first, to);
    switch (last - first) {
      case 1: return score_pages<1>(q, block.keys, key_tails, head_dim, first, to);
      case 2: return score_pages<2>(q, block.keys, key_tails, head_dim, first, to);
      case 3: return score_pages<3>(q, block.keys, key_tails, head_dim, first, to);
      default: return;
    }
  }

  template <int kColumns>
  HWY_INLINE void value_slots(const BFloat16* weights, const BFloat16* values, int64_t begin, int64_t end, float* sums,
                              int64_t row_floats) {
    tiles.template zero<0>();
    if constexpr (kColumns > 1) tiles.template zero<1>();
    if constexpr (kColumns > 2) tiles.template zero<2>();
    if constexpr (kColumns > 3) tiles.template zero<3>();
    for (int64_t group = begin / 32; group < (end + 31) / 32; ++group) {
      const BFloat16* from = values + group * kTileElements;
      tiles.template load<4>(weights + group * 32, kKeyBlock * 2);
      tiles.template load<5>(from, 64);
      tiles.template dot<0, 4, 5>();
      if constexpr (kColumns > 1) {
        tiles.template load<6>(from + kBlockSlot, 64);
        tiles.template dot<1, 4, 6>();
      }
      if constexpr (kColumns > 2) {
        tiles.template load<7>(from + 2 * kBlockSlot, 64);
        tiles.template dot<2, 4, 7>();
      }
      if constexpr (kColumns > 3) {
        tiles.template load<5>(from + 3 * kBlockSlot, 64);
        tiles.template dot<3, 4, 5>();
      }
    }
    tiles.template store<0>(sums, row_floats * 4);
    if constexpr (kColumns > 1) tiles.template store<1>(sums + 16, row_floats * 4);
    if constexpr (kColumns > 2) tiles.template store<2>(sums + 32, row_floats * 4);
    if constexpr (kColumns > 3) tiles.template store<3>(sums + 48, row_floats * 4);
  }

  HWY_NOINLINE void values(const BFloat16* weights, int /*rows*/, const HalfValues& from, int64_t slots, int64_t begin,
                           int64_t end, float* sums, int64_t row_floats) {
    const BFloat16* block = from.page[0];
    int64_t slot = 0;
    for (; slot + 4 <= slots; slot += 4) {
      value_slots<4>(weights, block + slot * kBlockSlot, begin, end, sums + slot * 16, row_floats);
    }
    switch (slots - slot) {
      case 1: return value_slots<1>(weights, block + slot * kBlockSlot, begin, end, sums + slot * 16, row_floats);
      case 2: return value_slots<2>(weights, block + slot * kBlockSlot, begin, end, sums + slot * 16, row_floats);
      case 3: return value_slots<3>(weights, block + slot * kBlockSlot, begin, end, sums + slot * 16, row_floats);
      default: return;
    }
  }

  T tiles;
};

template <class Engine>
struct HalfRun : AttentionItemBase {
  static constexpr int kRows = Engine::kRows;

  int64_t value_slots() const { return call.layout.value_dim / 16; }

  void pack_queries() const {
    for (int64_t tile = 0; tile < item.rows; tile += kRows) {
      const int rows = static_cast<int>(std::min<int64_t>(kRows, item.rows - tile));
      const BFloat16* from[kRows];
      for (int r = 0; r < rows; ++r) {
        from[r] = call.q.as<BFloat16>() + (sequence.first_row + query(tile + r)) * call.q.strides[0] +
                  head(tile + r) * call.q.strides[1];
      }
      Engine::pack_query(from, rows, call.pages.head_dim,
                         scratch.half_query + tile / kRows * Engine::query_elements(call.pages.head_dim));
    }
  }

  HalfBlock prepare(int64_t block) const {
    HalfBlock result = {};
    const int64_t start = block * kKeyBlock, key_dim = call.pages.head_dim;
    const TileRow first = tile_row(0, start), last = tile_row(item.rows - 1, start);
    const int64_t begin = first.begin, end = last.end;  // what any row of the item sees
    if (begin >= end) return result;
    const BFloat16* values[kBlockPages] = {};
    for (int64_t p = begin / kPageTokens; p < (end + kPageTokens - 1) / kPageTokens; ++p) {
      const auto* data = reinterpret_cast<const BFloat16*>(call.pages.page(sequence.table[block * kBlockPages + p]));
      result.keys[p] = data + call.layout.key(item.kv_head, 0, 0);
      values[p] = data + call.layout.value(item.kv_head, 0, 0);
      if (Engine::kKeyTails && key_dim % 32 != 0) {
        const int64_t elements = key_dim % 32 * kPageTokens + (key_dim % 2) * kPageTokens;
        BFloat16* tail = scratch.key_tails + p * 512;
        std::memset(static_cast<void*>(tail), 0, 512 * sizeof(BFloat16));
        std::memcpy(static_cast<void*>(tail), result.keys[p] + key_dim / 32 * 512,
                    static_cast<size_t>(elements) * sizeof(BFloat16));
      }
    }
    const bool uniform = last.begin <= begin && first.end >= end;  // every row sees all of it
    if (!Engine::kCopies && uniform && begin % 2 == 0 && end % 2 == 0) {
      std::copy(values, values + kBlockPages, result.values.page);
      result.values.slot_stride = kPageSlot;
      result.finite = true;
      return result;
    }
    copy_values(values, value_slots(), begin, end, scratch.values);
    for (int64_t p = 0; p < kBlockPages; ++p) result.values.page[p] = scratch.values + p * kPageSlot;
    result.values.slot_stride = kBlockSlot;
    result.finite = uniform || all_finite(scratch.values, value_slots(), begin, end);
    return result;
  }

  // Tile `tile` over a block: into scratch.block, maxima and totals.
  void attend(Engine& engine, int64_t tile, int64_t block_start, const HalfBlock& block, float* maxima, float* totals) const {
    const int rows = static_cast<int>(std::min<int64_t>(kRows, item.rows - tile));
    TileRow tile_rows[kRows];
    int64_t begin = kKeyBlock, end = 0;
    for (int r = 0; r < rows; ++r) {
      tile_rows[r] = tile_row(tile + r, block_start);
      maxima[r] = kMinusInfinity;
      totals[r] = 0;
      if (tile_rows[r].begin >= tile_rows[r].end) continue;
      begin = std::min(begin, tile_rows[r].begin);
      end = std::max(end, tile_rows[r].end);
    }
    if (begin >= end) return;
    engine.scores(scratch.half_query + tile / kRows * Engine::query_elements(call.pages.head_dim), rows, block,
                  scratch.key_tails, call.pages.head_dim, static_cast<int>(begin / kPageTokens),
                  static_cast<int>((end + kPageTokens - 1) / kPageTokens), scratch.scores);
    for (int r = 0; r < rows; ++r) {
      if (tile_rows[r].begin >= tile_rows[r].end) continue;
      maxima[r] = hn::GetLane(
          hn::MaxOfLanes(FloatTag(), shape_scores(call.spec, tile_rows[r], block_start, scratch.scores + r * kKeyBlock)));
    }
    for (int r = 0; r < rows; ++r) {
      BFloat16* weights = scratch.weights + r * kKeyBlock;
      if (tile_rows[r].begin >= tile_rows[r].end) {
        std::memset(static_cast<void*>(weights), 0, kKeyBlock * sizeof(BFloat16));
        continue;
      }
      totals[r] = hn::GetLane(
          hn::SumOfLanes(FloatTag(), weigh_scores_half(tile_rows[r], maxima[r], scratch.scores + r * kKeyBlock, weights)));
    }
    if (block.finite) {
      engine.values(scratch.weights, rows, block.values, value_slots(), begin, end, scratch.block, call.row_floats);
      return;
    }
    attend_row_by_row(engine, tile_rows, rows, block);
  }

  // Row r's values go through the first row of the engine, which sees no masked value.
  HWY_NOINLINE void attend_row_by_row(Engine& engine, const TileRow* tile_rows, int rows, const HalfBlock& block) const {
    const BFloat16* copied[kBlockPages];
    for (int r = 0; r < rows; ++r) {
      if (tile_rows[r].begin >= tile_rows[r].end) continue;
      HalfValues own;
      own.slot_stride = kBlockSlot;
      for (int p = 0; p < kBlockPages; ++p) {
        copied[p] = block.values.page[p];
        own.page[p] = scratch.row_values + p * kPageSlot;
      }
      copy_block_values(copied, tile_rows[r].begin, tile_rows[r].end);
      if (r > 0) {
        std::memcpy(static_cast<void*>(scratch.weights), scratch.weights + r * kKeyBlock, kKeyBlock * sizeof(BFloat16));
      }
      engine.values(scratch.weights, 1, own, value_slots(), tile_rows[r].begin, tile_rows[r].end, scratch.row_sums,
                    call.row_floats);
      std::copy(scratch.row_sums, scratch.row_sums + call.row_floats, scratch.block + r * call.row_floats);
    }
  }

  // From one copied block (slots kBlockSlot apart) to another.
  void copy_block_values(const BFloat16* const* pages, int64_t begin, int64_t end) const {
    for (int64_t slot = 0; slot < value_slots(); ++slot) {
      const BFloat16* from[kBlockPages];
      for (int p = 0; p < kBlockPages; ++p) from[p] = pages[p] + slot * kBlockSlot;
      copy_values(from, 1, begin, end, scratch.row_values + slot * kBlockSlot);
    }
  }

  void run() const {
    pack_queries();
    if (item.split == nullptr) start();
    {
      Engine engine;
      for (int64_t block = item.first_block; block < item.last_block; ++block) {
        const HalfBlock prepared = prepare(block);
        for (int64_t tile = 0; tile < item.rows; tile += kRows) {
          const int rows = static_cast<int>(std::min<int64_t>(kRows, item.rows - tile));
          float maxima[kRows], totals[kRows];
          attend(engine, tile, block * kKeyBlock, prepared, maxima, totals);
          if (item.split == nullptr) {
            merge(tile, rows, maxima, totals, scratch.block);
            continue;
          }
          const int64_t part = (block - item.split->first_block) * item.rows + tile;
          std::copy(maxima, maxima + rows, item.split->maxima + part);
          std::copy(totals, totals + rows, item.split->totals + part);
          std::copy(scratch.block, scratch.block + rows * call.row_floats, item.split->sums + part * call.row_floats);
        }
      }
    }
    if (item.split == nullptr) return finish();
    end_split(kRows);
  }
};

// Queries and pages of bfloat16 by an engine; anything else by float32 tiles.
template <class Engine>
void attend_halves(const Exec& exec, const AttentionSpec& spec, const KvPages& pages, const AttentionSequence* sequences,
                   int64_t count, View q, View out, View lse) {
  if (pages.dtype != DType::kBFloat16 || q.dtype != DType::kBFloat16) {
    return attend_floats(exec, spec, pages, sequences, count, q, out, lse);
  }
  const PageLayout layout(pages.head_dim, pages.v_head_dim, pages.dtype);
  const AttentionCall call = {spec, pages, layout, sequences, q.dims[1] / pages.num_key_value_heads, layout.value_dim,
                              q,    out,   lse};
  const AttentionShape shape = {call.group,    pages.num_key_value_heads, pages.head_dim,      pages.v_head_dim,
                                Engine::kRows, call.row_floats,           layout.element_bytes};
  const AttentionPlan plan = plan_attention(exec, spec, shape, sequences, count);
  if (plan.count == 0) return;
  const int64_t threads = plan.fork ? exec.pool->num_threads() : 1;
  AttentionScratch* scratch = exec.scratch->allocate_array<AttentionScratch>(threads);
  const int64_t tiles = (plan.max_rows + Engine::kRows - 1) / Engine::kRows;
  for (int64_t i = 0; i < threads; ++i) {
    scratch[i] = {};
    scratch[i].scores = exec.scratch->allocate_array<float>(kHalfTileRows * kKeyBlock);
    scratch[i].block = exec.scratch->allocate_array<float>(kHalfTileRows * call.row_floats);
    scratch[i].row_sums = exec.scratch->allocate_array<float>(kHalfTileRows * call.row_floats);
    scratch[i].sums = exec.scratch->allocate_array<float>(plan.max_rows * call.row_floats);
    scratch[i].maxima = exec.scratch->allocate_array<float>(plan.max_rows);
    scratch[i].totals = exec.scratch->allocate_array<float>(plan.max_rows);
    scratch[i].half_query = exec.scratch->allocate_array<BFloat16>(tiles * Engine::query_elements(pages.head_dim));
    scratch[i].weights = exec.scratch->allocate_array<BFloat16>(kHalfTileRows * kKeyBlock);
    std::fill(scratch[i].weights, scratch[i].weights + kHalfTileRows * kKeyBlock, BFloat16());
    scratch[i].values = exec.scratch->allocate_array<BFloat16>(layout.value_dim * kKeyBlock);
    scratch[i].row_values = exec.scratch->allocate_array<BFloat16>(layout.value_dim * kKeyBlock);
    scratch[i].key_tails = exec.scratch->allocate_array<BFloat16>(kBlockPages * 512);
  }
  exec.pool->parallel_for(plan.count, plan.fork ? 1 : plan.count, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const AttentionItem& item = plan.items[i];
      HalfRun<Engine>{{call, item, scratch[thread], sequences[item.sequence], Slots(pages.v_head_dim, true)}}.run();
    }
  });
}
