// The two engines that multiply in bfloat16 attention, by vdpbf16ps or on AMX tiles, and how a row's scores become weights.
//
// Included before attention_half-inl.h, by the same rules. Queries, keys, values and weights are bfloat16; sums, scores, maxima
// and totals float32. Weights are rounded to bfloat16 for the product with the values alone; their total is not.

constexpr int64_t kPageSlot = kPageTokens * 16;  // elements of a slot (16 dimensions) of a page's values: [8 pairs][16][2]
constexpr int kHalfTileRows = 16;                // at most, of any engine

// Keys and values of a block as an item's tiles use them: values [slots][kPageSlot].
struct HalfBlock {
  const BFloat16* keys[kBlockPages];
  const BFloat16* values[kBlockPages];
  const char* ahead[kBlockPages];  // pages of the block that comes next, to be read ahead; null where there is none
  bool uniform;                    // every row of the item sees the same tokens
  bool finite;                     // or no row of the item masks what another sees
};

// Copies tokens [begin, end) of a page's values, pair by pair; the others become 0.
inline void copy_values(const BFloat16* from, int64_t slots, int64_t begin, int64_t end, BFloat16* to) {
  std::memset(static_cast<void*>(to), 0, static_cast<size_t>(slots * kPageSlot) * sizeof(BFloat16));
  if (begin >= end) return;
  const int64_t first = begin / 2 * 32, elements = (end + 1) / 2 * 32 - first;
  for (int64_t slot = 0; slot < slots; ++slot, from += kPageSlot, to += kPageSlot) {
    std::memcpy(static_cast<void*>(to + first), from + first, static_cast<size_t>(elements) * sizeof(BFloat16));
    for (int64_t i = 0; begin % 2 != 0 && i < 32; i += 2) to[first + i] = BFloat16();
    for (int64_t i = 0; end % 2 != 0 && i < 32; i += 2) to[end / 2 * 32 + i + 1] = BFloat16();
  }
}

// Tokens outside [begin, end) of a page's values become 0.
inline void clear_values(BFloat16* values, int64_t slots, int64_t begin, int64_t end) {
  for (int64_t token = 0; token < kPageTokens; ++token) {
    if (token == begin) token = end;
    if (token >= kPageTokens) return;
    BFloat16* at = values + token / 2 * 32 + token % 2;
    for (int64_t i = 0; i < slots * 16; ++i) at[i / 16 * kPageSlot + i % 16 * 2] = BFloat16();
  }
}

inline bool all_finite(const BFloat16* values, int64_t elements) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < elements; ++i) bad |= (values[i].bits & 0x7F80) == 0x7F80 ? 1u : 0u;
  return bad == 0;
}

// 2^x for x <= 0, 2^-125 below that; NaN stays NaN. Relative error below 4e-6, a hundredth of what rounding to bfloat16 costs.
// The power of two comes out of the rounding addition's low bits, added to the exponent.
HWY_INLINE FloatVec exp2_weight(FloatVec x) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> di;
  const FloatVec magic = hn::Set(d, 12582912.0f);
  const FloatVec within = hn::Max(hn::Set(d, -125.0f), x);  // keeps a NaN in its second argument
  const FloatVec shifted = hn::Add(within, magic);
  const FloatVec r = hn::Sub(within, hn::Sub(shifted, magic));
  FloatVec p = hn::MulAdd(hn::Set(d, 9.618023e-3f), r, hn::Set(d, 5.5503406e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.4022651e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.9314720e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

// The kLanes scores from token t on, minus infinity where they are not in [begin, end).
HWY_INLINE FloatVec visible_scores(const float* scores, int64_t t, int64_t begin, int64_t end) {
  const FloatTag d;
  const FloatVec score = hn::LoadU(d, scores + t);
  if (t >= begin && t + kLanes <= end) return score;
  const FloatVec token = hn::Iota(d, static_cast<float>(t));
  const auto inside =
      hn::And(hn::Ge(token, hn::Set(d, static_cast<float>(begin))), hn::Lt(token, hn::Set(d, static_cast<float>(end))));
  return hn::IfThenElse(inside, score, hn::Set(d, kMinusInfinity));
}

constexpr int64_t kWeightStep = kLanes < 16 ? 2 * kLanes : 32;  // tokens of two vectors

template <class I>
HWY_INLINE void round_weights(FloatVec low, FloatVec high, BFloat16* to) {
  if constexpr (I::kRounds) {
    I::round_pair(low.raw, high.raw, to);
  } else {
    store_rounded_pair(FloatTag(), low, high, to);
  }
}

// 32 codes as bfloat16; scales of the first and the second half of each two vectors of codes.
template <class I>
HWY_INLINE void widen_line(const int8_t* codes, const FloatVec* scales, BFloat16* to) {
  const FloatTag d;
  const hn::Rebind<int8_t, FloatTag> d8;
  const hn::Rebind<int32_t, FloatTag> d32;
  for (int64_t i = 0; i < 32 / kLanes; i += 2) {
    const FloatVec low = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, codes + i * kLanes)));
    const FloatVec high = hn::ConvertTo(d, hn::PromoteTo(d32, hn::LoadU(d8, codes + (i + 1) * kLanes)));
    round_weights<I>(hn::Mul(low, scales[i]), hn::Mul(high, scales[i + 1]), to + i * kLanes);
  }
}

// A head's part of an int8 page as one of bfloat16; scales [keys, then values][16 tokens].
template <class I>
HWY_NOINLINE void widen_codes(const int8_t* keys, const int8_t* values, const float* scales, int64_t key_dim, int64_t value_dim,
                              BFloat16* wide_keys, BFloat16* wide_values) {
  const FloatTag d;
  constexpr int64_t kVectors = 32 / kLanes;
  HWY_ALIGN float twice[32];
  for (int64_t token = 0; token < kPageTokens; ++token) twice[2 * token] = twice[2 * token + 1] = scales[token];
  FloatVec by_token[kVectors];
  for (int64_t i = 0; i < kVectors; ++i) by_token[i] = hn::Load(d, twice + i * kLanes);
  for (int64_t at = 0; at < key_dim * kPageTokens; at += 32) widen_line<I>(keys + at, by_token, wide_keys + at);
  const hn::Repartition<uint64_t, FloatTag> d64;
  for (int64_t token = 0; token < kPageTokens; token += 2) {
    uint64_t both;
    std::memcpy(&both, scales + kPageTokens + token, sizeof both);
    FloatVec by_pair[kVectors];
    for (int64_t i = 0; i < kVectors; ++i) by_pair[i] = hn::BitCast(d, hn::Set(d64, both));
    for (int64_t at = token * 16; at < value_dim * kPageTokens; at += kPageSlot) {
      widen_line<I>(values + at, by_pair, wide_values + at);
    }
  }
}

// weigh_scores_half where the row sees the whole block: scores stay in registers from maximum to weight. Each lane's sum is
// taken in the same order.
template <class I>
HWY_INLINE bool weigh_whole_block(const float* HWY_RESTRICT scores, float scale, BFloat16* HWY_RESTRICT weights, float* maximum,
                                  float* total) {
  constexpr int kVectors = kKeyBlock / 16;
  const FloatTag d;
  FloatVec v[kVectors];
  HWY_UNROLL(kVectors)
  for (int i = 0; i < kVectors; ++i) v[i] = hn::LoadU(d, scores + i * 16);
  const FloatVec largest =
      hn::Max(hn::Max(hn::Max(v[0], v[1]), hn::Max(v[2], v[3])), hn::Max(hn::Max(v[4], v[5]), hn::Max(v[6], v[7])));
  const float most = hn::GetLane(hn::MaxOfLanes(d, largest));
  if (most == kMinusInfinity) return false;
  *maximum = most * scale;
  const FloatVec factor = hn::Set(d, scale * 1.44269504f), subtract = hn::Set(d, most);
  FloatVec sum = hn::Zero(d);
  HWY_UNROLL(kVectors)
  for (int i = 0; i < kVectors; ++i) {
    const FloatVec weight = exp2_weight(hn::Mul(hn::Sub(v[i], subtract), factor));
    v[i] = hn::IfThenZeroElse(hn::Eq(v[i], hn::Set(d, kMinusInfinity)), weight);
    sum = hn::Add(sum, v[i]);
    if (i % 2 == 1) round_weights<I>(v[i - 1], v[i], weights + (i - 1) * 16);
  }
  *total = hn::GetLane(hn::SumOfLanes(d, sum));
  return true;
}

// A row's scores, times scale > 0, become weights[kKeyBlock]: exp(score - maximum), 0 outside [begin, end).
template <class I>
HWY_INLINE void weigh_scores_half(const float* HWY_RESTRICT scores, int64_t begin, int64_t end, float scale,
                                  BFloat16* HWY_RESTRICT weights, float* maximum, float* total) {
  if constexpr (kLanes == 16) {
    if (begin == 0 && end == kKeyBlock && weigh_whole_block<I>(scores, scale, weights, maximum, total)) return;
  }
  const FloatTag d;
  const int64_t first = begin / kWeightStep * kWeightStep, last = (end + kWeightStep - 1) / kWeightStep * kWeightStep;
  FloatVec largest = hn::Set(d, kMinusInfinity);
  for (int64_t t = first; t < last; t += kLanes) largest = hn::Max(largest, visible_scores(scores, t, begin, end));
  const float most = hn::GetLane(hn::MaxOfLanes(d, largest));
  *maximum = most * scale;
  if (first > 0) std::memset(static_cast<void*>(weights), 0, static_cast<size_t>(first) * sizeof(BFloat16));
  if (last < kKeyBlock) {
    std::memset(static_cast<void*>(weights + last), 0, static_cast<size_t>(kKeyBlock - last) * sizeof(BFloat16));
  }
  const FloatVec factor = hn::Set(d, scale * 1.44269504f);
  // A block of minus infinities gives weights of 0, not NaN.
  const FloatVec subtract = hn::Set(d, most == kMinusInfinity ? 0.0f : most);
  FloatVec sum = hn::Zero(d);
  for (int64_t t = first; t < last; t += kWeightStep) {
    FloatVec pair[2];
    for (int i = 0; i < 2; ++i) {
      const FloatVec score = visible_scores(scores, t + i * kLanes, begin, end);
      const FloatVec weight = exp2_weight(hn::Mul(hn::Sub(score, subtract), factor));
      pair[i] = hn::IfThenZeroElse(hn::Eq(score, hn::Set(d, kMinusInfinity)), weight);
      sum = hn::Add(sum, pair[i]);
    }
    round_weights<I>(pair[0], pair[1], weights + t);
  }
  *total = hn::GetLane(hn::SumOfLanes(d, sum));
}

// Engine: multiplies by dot products of pairs. I: the instruction, native or stand-in.
template <class I>
struct DotEngine {
  static constexpr int kRows = 6;
  static constexpr int kRegisters = 24;       // accumulators, of 32 registers
  static constexpr int64_t kValueTokens = 2;  // of one operand of values
  static constexpr bool kKeyTails = false;
  using Instructions = I;

  explicit DotEngine(int64_t /*rows*/) {}

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
  static HWY_INLINE void value_slots(const BFloat16* weights, const BFloat16* const* values, int64_t slot, int64_t begin,
                                     int64_t end, float* sums, int64_t row_floats) {
    typename I::Floats sum[kCount][kColumns];
    for (int r = 0; r < kCount; ++r) {
      for (int c = 0; c < kColumns; ++c) sum[r][c] = I::zero();
    }
    for (int64_t pair = begin / 2; pair < (end + 1) / 2; ++pair) {
      const BFloat16* from = values[pair / 8] + slot * kPageSlot + pair % 8 * 32;
      typename I::Pairs value[kColumns];
      for (int c = 0; c < kColumns; ++c) value[c] = I::load_pairs(from + c * kPageSlot);
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
  static HWY_NOINLINE void value_rows(const BFloat16* weights, const BFloat16* const* values, int64_t slots, int64_t begin,
                                      int64_t end, float* sums, int64_t row_floats) {
    int64_t slot = 0;
    for (; slot + 4 <= slots; slot += 4) value_slots<kCount, 4>(weights, values, slot, begin, end, sums, row_floats);
    for (; slot < slots; ++slot) value_slots<kCount, 1>(weights, values, slot, begin, end, sums, row_floats);
  }

  void values(const BFloat16* weights, int rows, const HalfBlock& /*block*/, const BFloat16* const* from,
              int64_t /*ahead_bytes*/, int64_t slots, int64_t begin, int64_t end, float* sums, int64_t row_floats) const {
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

// Engine: up to 16 rows at a time on tiles. T: the tile instructions, native or stand-in. A tile of values is one page's: 16
// tokens, where a product could take 32, and so is read where it lies.
template <class T>
struct TileEngine {
  static constexpr int kRows = 16;
  static constexpr int64_t kValueTokens = kPageTokens;  // of one operand of values
  static constexpr bool kKeyTails = true;  // the last dimensions, if fewer than 32, need a tile filled up with zeros
  static constexpr int64_t kTileElements = 16 * 32;
  using Instructions = T;

  // Tiles 0 to 3 hold sums, 4 queries, 5 keys, 6 weights, 7 values.
  explicit TileEngine(int64_t rows) {
    const auto tile_rows = static_cast<uint8_t>(rows < kRows ? rows : kRows);
    standin::TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.rows[tile] = tile_rows;
      config.row_bytes[tile] = 64;
    }
    config.rows[5] = 16;
    config.row_bytes[6] = kPageTokens * 2;
    config.rows[7] = kPageTokens / 2;
    tiles.configure(config);
  }
  ~TileEngine() { tiles.release(); }
  TileEngine(const TileEngine&) = delete;
  TileEngine& operator=(const TileEngine&) = delete;

  static constexpr const char* kNoPages[kBlockPages] = {};

  // Into the second-level cache.
  static HWY_INLINE void read_ahead(const char* page, int64_t bytes) {
    if (page == nullptr) return;
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(page + i, 0, 2);
  }

  static int64_t padded(int64_t head_dim) { return (head_dim + 31) / 32 * 32; }
  static int64_t query_elements(int64_t head_dim) { return padded(head_dim) * kRows; }

  // [16][head_dim padded to 32], zeros past rows and dimensions
  static void pack_query(const BFloat16* const* from, int rows, int64_t head_dim, BFloat16* to) {
    const int64_t width = padded(head_dim);
    for (int r = 0; r < kRows; ++r, to += width) {
      const int64_t copied = r < rows ? head_dim : 0;
      if (copied > 0) std::memcpy(static_cast<void*>(to), from[r], static_cast<size_t>(copied) * sizeof(BFloat16));
      if (copied < width) {
        std::memset(static_cast<void*>(to + copied), 0, static_cast<size_t>(width - copied) * sizeof(BFloat16));
      }
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
        tiles.template load<5>(page[1], 64);
        tiles.template dot<1, 4, 5>();
      }
      if constexpr (kPages > 2) {
        tiles.template load<5>(page[2], 64);
        tiles.template dot<2, 4, 5>();
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
  HWY_INLINE void value_slots(const BFloat16* weights, const BFloat16* const* values, const char* const* ahead,
                              int64_t ahead_bytes, int64_t slot, int64_t first, int64_t last, float* sums, int64_t row_floats) {
    tiles.template zero<0>();
    if constexpr (kColumns > 1) tiles.template zero<1>();
    if constexpr (kColumns > 2) tiles.template zero<2>();
    if constexpr (kColumns > 3) tiles.template zero<3>();
    for (int64_t page = first; page < last; ++page) {
      read_ahead(ahead[page], ahead_bytes);
      const BFloat16* from = values[page] + slot * kPageSlot;
      tiles.template load<6>(weights + page * kPageTokens, kKeyBlock * 2);
      tiles.template load<7>(from, 64);
      tiles.template dot<0, 6, 7>();
      if constexpr (kColumns > 1) {
        tiles.template load<7>(from + kPageSlot, 64);
        tiles.template dot<1, 6, 7>();
      }
      if constexpr (kColumns > 2) {
        tiles.template load<7>(from + 2 * kPageSlot, 64);
        tiles.template dot<2, 6, 7>();
      }
      if constexpr (kColumns > 3) {
        tiles.template load<7>(from + 3 * kPageSlot, 64);
        tiles.template dot<3, 6, 7>();
      }
    }
    sums += slot * 16;
    tiles.template store<0>(sums, row_floats * 4);
    if constexpr (kColumns > 1) tiles.template store<1>(sums + 16, row_floats * 4);
    if constexpr (kColumns > 2) tiles.template store<2>(sums + 32, row_floats * 4);
    if constexpr (kColumns > 3) tiles.template store<3>(sums + 48, row_floats * 4);
  }

  // What the next block's scores need is read ahead page by page: its reading would else begin only after these rows' softmax.
  HWY_NOINLINE void values(const BFloat16* weights, int /*rows*/, const HalfBlock& block, const BFloat16* const* from,
                           int64_t ahead_bytes, int64_t slots, int64_t begin, int64_t end, float* sums, int64_t row_floats) {
    const int64_t first = begin / kPageTokens, last = (end + kPageTokens - 1) / kPageTokens;
    for (int64_t page = 0; page < kBlockPages; ++page) {
      if (page < first || page >= last) read_ahead(block.ahead[page], ahead_bytes);
    }
    int64_t slot = 0;
    for (; slot + 4 <= slots; slot += 4) {
      value_slots<4>(weights, from, slot == 0 ? block.ahead : kNoPages, ahead_bytes, slot, first, last, sums, row_floats);
    }
    switch (slots - slot) {
      case 1: return value_slots<1>(weights, from, kNoPages, 0, slot, first, last, sums, row_floats);
      case 2: return value_slots<2>(weights, from, kNoPages, 0, slot, first, last, sums, row_floats);
      case 3: return value_slots<3>(weights, from, kNoPages, 0, slot, first, last, sums, row_floats);
      default: return;
    }
  }

  T tiles;
};
