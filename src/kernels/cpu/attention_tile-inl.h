// Attention of a few query rows of one key-value head over one key block that lies in pages. Included once a target.
//
// Scores: lanes are tokens, one chain of fused multiply-adds over head_dim. Values: lanes are dimensions, one chain over
// tokens. Neither chain knows how many rows are computed together, so one row alone gives the same bits as many.

#if defined(PAGODA_KERNELS_CPU_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_KERNELS_CPU_ATTENTION_TILE_INL_H_
#undef PAGODA_KERNELS_CPU_ATTENTION_TILE_INL_H_
#else
#define PAGODA_KERNELS_CPU_ATTENTION_TILE_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/cpu/page_layout.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int kBlockPages = static_cast<int>(kKeyBlock / kPageTokens);
constexpr int kPageVectors = static_cast<int>(kPageTokens / kLanes);
// Accumulators that fit beside operands: of 32 registers with AVX-512, of 16 elsewhere.
constexpr int kAccumulators = kLanes == 16 ? 24 : 12;
constexpr int kTileRows = kLanes == 4 ? 3 : 6;

// One head's keys and values of the pages of a key block; only pages in use are set.
template <class E>
struct BlockPages {
  const E* keys[kBlockPages];
  const E* values[kBlockPages];
  const E* next_keys[kBlockPages];  // of the item's next block; null: nothing to fetch ahead
};

// Few rows wait for memory, and pages are too short for the processor to foresee the next: while keys are read the same lines
// of the block's values are fetched, while values are read those of the next block's keys.
template <int kRows>
HWY_INLINE void fetch_ahead(const void* base, int64_t bytes) {
  if constexpr (kRows < kTileRows) {
    if (base != nullptr) hwy::Prefetch(static_cast<const char*>(base) + bytes);
  }
}

// The values of v_head_dim in vectors ("slots"). float32 rows have no padding: their last slot ends with the row and
// overlaps the one before. bfloat16 values are padded to whole slots.
struct Slots {
  int64_t dim, count;
  bool padded;
  Slots(int64_t value_dim, bool is_padded) : dim(value_dim), count((value_dim + kLanes - 1) / kLanes), padded(is_padded) {}
  int64_t column(int64_t slot) const {
    return padded ? slot * kLanes : std::max<int64_t>(0, std::min(slot * kLanes, dim - kLanes));
  }
  int64_t floats() const { return count * kLanes; }
};

// scores[r][16 first .. 16 (first + kPages)) = q_r . k; q is [head_dim][kRows].
template <int kRows, int kPages>
HWY_INLINE void score_pages(const float* HWY_RESTRICT q, const float* const* keys, const float* const* ahead, int64_t head_dim,
                            int first, float* HWY_RESTRICT scores) {
  constexpr int kVectors = kPages * kPageVectors;
  const FloatTag d;
  FloatVec sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kVectors; ++i) sum[r][i] = hn::Zero(d);
  }
  const float* page[kPages];
  for (int p = 0; p < kPages; ++p) page[p] = keys[first + p];
  // Of the two operands the fewer stay in registers, the others pass by.
  for (int64_t at = 0; at < head_dim; ++at) {
    for (int p = 0; p < kPages; ++p) fetch_ahead<kRows>(ahead[first + p], at * 64);
    const auto key_at = [&](int i) HWY_ATTR {
      return hn::LoadU(d, page[i / kPageVectors] + at * kPageTokens + i % kPageVectors * kLanes);
    };
    if constexpr (kRows < kVectors) {
      FloatVec query[kRows];
      for (int r = 0; r < kRows; ++r) query[r] = hn::Set(d, q[at * kRows + r]);
      for (int i = 0; i < kVectors; ++i) {
        const FloatVec key = key_at(i);
        for (int r = 0; r < kRows; ++r) sum[r][i] = hn::MulAdd(query[r], key, sum[r][i]);
      }
    } else {
      FloatVec key[kVectors];
      for (int i = 0; i < kVectors; ++i) key[i] = key_at(i);
      for (int r = 0; r < kRows; ++r) {
        const FloatVec query = hn::Set(d, q[at * kRows + r]);
        for (int i = 0; i < kVectors; ++i) sum[r][i] = hn::MulAdd(query, key[i], sum[r][i]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kVectors; ++i) hn::StoreU(sum[r][i], d, scores + r * kKeyBlock + first * kPageTokens + i * kLanes);
  }
}

using PairTag = hn::RebindToUnsigned<FloatTag>;  // a lane: two bfloat16, the even one low
HWY_INLINE FloatVec even_of(hn::Vec<PairTag> pair) { return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(pair)); }
HWY_INLINE FloatVec odd_of(hn::Vec<PairTag> pair) {
  return hn::BitCast(FloatTag(), hn::And(pair, hn::Set(PairTag(), 0xFFFF0000u)));
}
HWY_INLINE hn::Vec<PairTag> load_pairs(const BFloat16* from) {
  return hn::LoadU(PairTag(), reinterpret_cast<const uint32_t*>(from));
}

template <int kRows, int kPages>
HWY_INLINE void score_pages(const float* HWY_RESTRICT q, const BFloat16* const* keys, const BFloat16* const* ahead,
                            int64_t head_dim, int first, float* HWY_RESTRICT scores) {
  constexpr int kVectors = kPages * kPageVectors;
  const FloatTag d;
  FloatVec sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kVectors; ++i) sum[r][i] = hn::Zero(d);
  }
  const BFloat16* page[kPages];
  for (int p = 0; p < kPages; ++p) page[p] = keys[first + p];
  int64_t at = 0;
  for (; at + 2 <= head_dim; at += 2) {
    for (int p = 0; p < kPages; ++p) fetch_ahead<kRows>(ahead[first + p], at * 32);
    for (int i = 0; i < kVectors; ++i) {
      const auto pair = load_pairs(page[i / kPageVectors] + at * kPageTokens + i % kPageVectors * kLanes * 2);
      const FloatVec even = even_of(pair), odd = odd_of(pair);
      for (int r = 0; r < kRows; ++r) {
        sum[r][i] = hn::MulAdd(hn::Set(d, q[at * kRows + r]), even, sum[r][i]);
        sum[r][i] = hn::MulAdd(hn::Set(d, q[(at + 1) * kRows + r]), odd, sum[r][i]);
      }
    }
  }
  if (at < head_dim) {
    for (int i = 0; i < kVectors; ++i) {
      const FloatVec even = even_of(load_pairs(page[i / kPageVectors] + at * kPageTokens + i % kPageVectors * kLanes * 2));
      for (int r = 0; r < kRows; ++r) sum[r][i] = hn::MulAdd(hn::Set(d, q[at * kRows + r]), even, sum[r][i]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kVectors; ++i) hn::StoreU(sum[r][i], d, scores + r * kKeyBlock + first * kPageTokens + i * kLanes);
  }
}

template <class E, int kRows>
HWY_NOINLINE void score_block(const float* q, const E* const* keys, const E* const* ahead, int64_t head_dim, int first,
                              int last, float* scores) {
  constexpr int kPages = std::clamp(kAccumulators / (kRows * kPageVectors), 1, kBlockPages / kPageVectors);
  for (; first + kPages <= last; first += kPages) score_pages<kRows, kPages>(q, keys, ahead, head_dim, first, scores);
  for (; first < last; ++first) score_pages<kRows, 1>(q, keys, ahead, head_dim, first, scores);
}

// sums[r][slot ..] (+)= sum of weights[r][t] * value[t] over tokens [begin, end) of the block, in this order.
template <int kRows, int kColumns>
HWY_INLINE void add_values(const float* HWY_RESTRICT weights, const float* const* values, const float* const* ahead,
                           const Slots& slots, int64_t slot, int64_t begin, int64_t end, bool fresh, float* HWY_RESTRICT sums) {
  const FloatTag d;
  const int64_t row = slots.floats();
  int64_t column[kColumns];
  for (int c = 0; c < kColumns; ++c) column[c] = slots.column(slot + c);
  FloatVec sum[kRows][kColumns];
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) sum[r][c] = fresh ? hn::Zero(d) : hn::LoadU(d, sums + r * row + (slot + c) * kLanes);
  }
  while (begin < end) {
    const int64_t page_end = std::min(end, (begin / kPageTokens + 1) * kPageTokens);
    const float* from = values[begin / kPageTokens] + begin % kPageTokens * slots.dim;
    const float* next = ahead == nullptr ? nullptr : ahead[begin / kPageTokens];
    for (; begin < page_end; ++begin, from += slots.dim) {
      for (int c = 0; c < kColumns; c += kPageVectors) {
        fetch_ahead<kRows>(next, (begin % kPageTokens * slots.dim + column[c]) * 4);
      }
      if constexpr (kRows < kColumns) {
        FloatVec weight[kRows];
        for (int r = 0; r < kRows; ++r) weight[r] = hn::Set(d, weights[r * kKeyBlock + begin]);
        for (int c = 0; c < kColumns; ++c) {
          const FloatVec value = hn::LoadU(d, from + column[c]);
          for (int r = 0; r < kRows; ++r) sum[r][c] = hn::MulAdd(weight[r], value, sum[r][c]);
        }
      } else {
        FloatVec value[kColumns];
        for (int c = 0; c < kColumns; ++c) value[c] = hn::LoadU(d, from + column[c]);
        for (int r = 0; r < kRows; ++r) {
          const FloatVec weight = hn::Set(d, weights[r * kKeyBlock + begin]);
          for (int c = 0; c < kColumns; ++c) sum[r][c] = hn::MulAdd(weight, value[c], sum[r][c]);
        }
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) hn::StoreU(sum[r][c], d, sums + r * row + (slot + c) * kLanes);
  }
}

template <int kRows, int kColumns>
HWY_INLINE void add_values(const float* HWY_RESTRICT weights, const BFloat16* const* values, const BFloat16* const* ahead,
                           const Slots& slots, int64_t slot, int64_t begin, int64_t end, bool fresh, float* HWY_RESTRICT sums) {
  const FloatTag d;
  const int64_t row = slots.floats();
  int64_t column[kColumns];
  for (int c = 0; c < kColumns; ++c) {
    const int64_t at = slots.column(slot + c);
    column[c] = at / 16 * (kPageTokens * 16) + at % 16 * 2;
  }
  FloatVec sum[kRows][kColumns];
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) sum[r][c] = fresh ? hn::Zero(d) : hn::LoadU(d, sums + r * row + (slot + c) * kLanes);
  }
  while (begin < end) {
    const int64_t page_end = std::min(end, (begin / kPageTokens + 1) * kPageTokens);
    const BFloat16* page = values[begin / kPageTokens];
    const BFloat16* next = ahead == nullptr ? nullptr : ahead[begin / kPageTokens];
    while (begin < page_end) {
      const BFloat16* from = page + begin % kPageTokens / 2 * 32;
      const bool has_even = begin % 2 == 0, has_odd = (begin | 1) < page_end;
      const int64_t even_token = begin & ~int64_t{1};
      for (int c = 0; c < kColumns; c += kPageVectors) {
        fetch_ahead<kRows>(next, (begin % kPageTokens / 2 * 32 + column[c]) * 2);
      }
      if (has_even && has_odd) {
        for (int c = 0; c < kColumns; ++c) {
          const auto pair = load_pairs(from + column[c]);
          const FloatVec even = even_of(pair), odd = odd_of(pair);
          for (int r = 0; r < kRows; ++r) {
            sum[r][c] = hn::MulAdd(hn::Set(d, weights[r * kKeyBlock + even_token]), even, sum[r][c]);
            sum[r][c] = hn::MulAdd(hn::Set(d, weights[r * kKeyBlock + even_token + 1]), odd, sum[r][c]);
          }
        }
      } else {
        for (int c = 0; c < kColumns; ++c) {
          const auto pair = load_pairs(from + column[c]);
          const FloatVec value = has_even ? even_of(pair) : odd_of(pair);
          for (int r = 0; r < kRows; ++r) {
            sum[r][c] = hn::MulAdd(hn::Set(d, weights[r * kKeyBlock + begin]), value, sum[r][c]);
          }
        }
      }
      begin = even_token + 2;
    }
    begin = page_end;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) hn::StoreU(sum[r][c], d, sums + r * row + (slot + c) * kLanes);
  }
}

// A value row shorter than a vector: the same chain, its loads cut.
template <int kRows>
HWY_INLINE void add_short_values(const float* weights, const float* const* values, const Slots& slots, int64_t begin,
                                 int64_t end, bool fresh, float* sums) {
  const FloatTag d;
  FloatVec sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = fresh ? hn::Zero(d) : hn::LoadU(d, sums + r * kLanes);
  for (; begin < end; ++begin) {
    const FloatVec value = load_n(values[begin / kPageTokens] + begin % kPageTokens * slots.dim, slots.dim);
    for (int r = 0; r < kRows; ++r) sum[r] = hn::MulAdd(hn::Set(d, weights[r * kKeyBlock + begin]), value, sum[r]);
  }
  for (int r = 0; r < kRows; ++r) hn::StoreU(sum[r], d, sums + r * kLanes);
}

template <class E, int kRows>
HWY_NOINLINE void add_block_values(const float* weights, const E* const* values, const E* const* ahead, const Slots& slots,
                                   int64_t begin, int64_t end, bool fresh, float* sums) {
  if constexpr (sizeof(E) == 4) {
    if (slots.dim < kLanes) return add_short_values<kRows>(weights, values, slots, begin, end, fresh, sums);
  }
  constexpr int kFit = kAccumulators / kRows;
  constexpr int kColumns = kFit >= 8 ? 8 : kFit >= 4 ? 4 : 2;
  int64_t slot = 0;
  for (; slot + kColumns <= slots.count; slot += kColumns) {
    add_values<kRows, kColumns>(weights, values, ahead, slots, slot, begin, end, fresh, sums);
  }
  if constexpr (kColumns >= 8) {
    if (slot + 4 <= slots.count) {
      add_values<kRows, 4>(weights, values, ahead, slots, slot, begin, end, fresh, sums);
      slot += 4;
    }
  }
  if constexpr (kColumns >= 4) {
    if (slot + 2 <= slots.count) {
      add_values<kRows, 2>(weights, values, ahead, slots, slot, begin, end, fresh, sums);
      slot += 2;
    }
  }
  if (slot < slots.count) add_values<kRows, 1>(weights, values, ahead, slots, slot, begin, end, fresh, sums);
}

// Calls fn(std::integral_constant<int, rows>) for 1 <= rows <= kTileRows.
template <class Fn>
HWY_INLINE void with_rows(int rows, Fn&& fn) {
  switch (rows) {
    case 1: return fn(std::integral_constant<int, 1>());
    case 2: return fn(std::integral_constant<int, 2>());
    case 3: return fn(std::integral_constant<int, 3>());
    default: break;
  }
  if constexpr (kTileRows > 3) {
    switch (rows) {
      case 4: return fn(std::integral_constant<int, 4>());
      case 5: return fn(std::integral_constant<int, 5>());
      case 6: return fn(std::integral_constant<int, 6>());
      default: break;
    }
  }
}

// A tile's row: what it sees of the block, and where it stands.
struct TileRow {
  int64_t begin, end;  // visible tokens of the block; none if begin >= end
  int64_t position;    // of the query in its sequence
  float slope;         // ALiBi
};

// e^x for x <= 0: 0 below -87, NaN stays NaN, 0 gives 1. The power of two comes out of the rounding addition's low bits, which
// saves the conversion to integers; a NaN there meets a NaN in the product.
HWY_INLINE FloatVec exp_weight(FloatVec x) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> di;
  const FloatVec low = hn::Set(d, -87.0f), magic = hn::Set(d, 12582912.0f + 127.0f);
  const FloatVec within = hn::Max(low, x);  // keeps a NaN in its second argument
  const FloatVec shifted = hn::MulAdd(within, hn::Set(d, 1.44269504f), magic);
  const FloatVec n = hn::Sub(shifted, magic);
  FloatVec r = hn::NegMulAdd(n, hn::Set(d, 0.693145752f), within);  // few bits: n times it is exact
  r = hn::NegMulAdd(n, hn::Set(d, 1.42860677e-6f), r);
  FloatVec p = hn::MulAdd(hn::Set(d, 1.39505998e-3f), r, hn::Set(d, 8.36895406e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.16662060e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.66665182e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(hn::Mul(p, r), r, r);
  const FloatVec power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, low), hn::MulAdd(p, power, power));
}

// The visible scores of a row in whole vectors: scaled, capped and biased, minus infinity where masked. Returns each lane's
// maximum.
HWY_INLINE FloatVec shape_scores(const AttentionSpec& spec, const TileRow& row, int64_t block_start,
                                 float* HWY_RESTRICT scores) {
  const FloatTag d;
  const FloatVec scale = hn::Set(d, spec.scale), low = hn::Set(d, kMinusInfinity), iota = hn::Iota(d, 0);
  const int64_t first = row.begin / kLanes * kLanes, last = (row.end + kLanes - 1) / kLanes * kLanes;
  FloatVec largest = low;
  if (spec.soft_cap > 0 || spec.bias == AttentionSpec::Bias::kAlibi) {
    for (int64_t t = first; t < last; t += kLanes) {
      FloatVec score = hn::Mul(hn::LoadU(d, scores + t), scale);
      if (spec.soft_cap > 0) {
        const FloatVec cap = hn::Set(d, spec.soft_cap);
        score = hn::Mul(cap, tanh_of(d, hn::Div(score, cap)));
      }
      if (spec.bias == AttentionSpec::Bias::kAlibi) {
        const FloatVec distance = hn::Add(iota, hn::Set(d, static_cast<float>(block_start + t - row.position)));
        score = hn::Add(score, hn::Mul(hn::Set(d, row.slope), distance));
      }
      hn::StoreU(score, d, scores + t);
    }
  } else {
    for (int64_t t = first; t < last; t += kLanes) hn::StoreU(hn::Mul(hn::LoadU(d, scores + t), scale), d, scores + t);
  }
  const auto mask = [&](int64_t t) HWY_ATTR {
    const FloatVec token = hn::Add(iota, hn::Set(d, static_cast<float>(t)));
    const auto inside = hn::And(hn::Ge(token, hn::Set(d, static_cast<float>(row.begin))),
                                hn::Lt(token, hn::Set(d, static_cast<float>(row.end))));
    hn::StoreU(hn::IfThenElse(inside, hn::LoadU(d, scores + t), low), d, scores + t);
  };
  if (first < row.begin) mask(first);
  if (last > row.end) mask(last - kLanes);
  for (int64_t t = first; t < last; t += kLanes) largest = hn::Max(largest, hn::LoadU(d, scores + t));
  return largest;
}

// Scores become weights exp(score - maximum), those of masked tokens 0. Returns each lane's sum.
HWY_INLINE FloatVec weigh_scores(const TileRow& row, float maximum, float* HWY_RESTRICT scores) {
  const FloatTag d;
  const int64_t first = row.begin / kLanes * kLanes, last = (row.end + kLanes - 1) / kLanes * kLanes;
  // A block of minus infinities gives weights of 0, not NaN.
  const FloatVec subtract = hn::Set(d, maximum == kMinusInfinity ? 0.0f : maximum);
  FloatVec total = hn::Zero(d);
  for (int64_t t = first; t < last; t += kLanes) {
    const FloatVec weight = exp_weight(hn::Sub(hn::LoadU(d, scores + t), subtract));
    hn::StoreU(weight, d, scores + t);
    total = hn::Add(total, weight);
  }
  return total;
}

// One tile over one block: sums [rows][slots.floats()], maxima and totals [rows]; a row that sees nothing here gets
// maximum minus infinity, total 0 and no sums.
template <class E>
HWY_INLINE void attend_tile(const AttentionSpec& spec, const TileRow* rows, int count, int64_t block_start, const float* q,
                            int64_t head_dim, const BlockPages<E>& pages, const Slots& slots, float* scores, float* sums,
                            float* maxima, float* totals) {
  int64_t begin = kKeyBlock, end = 0, common_begin = 0, common_end = kKeyBlock;
  for (int r = 0; r < count; ++r) {
    common_begin = std::max(common_begin, rows[r].begin);
    common_end = std::min(common_end, rows[r].end);
    if (rows[r].begin >= rows[r].end) continue;
    begin = std::min(begin, rows[r].begin);
    end = std::max(end, rows[r].end);
  }
  for (int r = 0; r < count; ++r) {
    maxima[r] = kMinusInfinity;
    totals[r] = 0;
  }
  if (begin >= end) return;
  const int first_page = static_cast<int>(begin / kPageTokens),
            last_page = static_cast<int>((end + kPageTokens - 1) / kPageTokens);
  with_rows(count, [&](auto n) HWY_ATTR {
    score_block<E, decltype(n)::value>(q, pages.keys, pages.values, head_dim, first_page, last_page, scores);
  });
  // All rows' maxima first, then all rows' exponentials: the rows' chains overlap.
  for (int r = 0; r < count; ++r) {
    if (rows[r].begin >= rows[r].end) continue;
    maxima[r] = hn::GetLane(hn::MaxOfLanes(FloatTag(), shape_scores(spec, rows[r], block_start, scores + r * kKeyBlock)));
  }
  for (int r = 0; r < count; ++r) {
    if (rows[r].begin >= rows[r].end) continue;
    totals[r] = hn::GetLane(hn::SumOfLanes(FloatTag(), weigh_scores(rows[r], maxima[r], scores + r * kKeyBlock)));
  }
  // Tokens that all rows see go through the tile; what some rows see before and after, row by row. A masked token's value
  // takes no part, not even times 0: it may be NaN.
  const bool shared = common_begin < common_end;
  for (int r = 0; r < count; ++r) {
    if (rows[r].begin >= rows[r].end) continue;
    const int64_t until = shared ? common_begin : rows[r].end;
    if (rows[r].begin < until || (shared && common_begin > begin)) {
      add_block_values<E, 1>(scores + r * kKeyBlock, pages.values, nullptr, slots, rows[r].begin, until, true,
                             sums + r * slots.floats());
    }
  }
  if (!shared) return;
  with_rows(count, [&](auto n) HWY_ATTR {
    add_block_values<E, decltype(n)::value>(scores, pages.values, pages.next_keys, slots, common_begin, common_end,
                                            common_begin <= begin, sums);
  });
  for (int r = 0; r < count; ++r) {
    if (common_end < rows[r].end) {
      add_block_values<E, 1>(scores + r * kKeyBlock, pages.values, nullptr, slots, common_end, rows[r].end, false,
                             sums + r * slots.floats());
    }
  }
}

// Rows that are merged together: one vector of maxima.
constexpr int kMergeRows = static_cast<int>(kLanes);

// What is merged, a lane a row: maxima and totals so far, and of one more block.
struct MergeLanes {
  FloatVec old_maximum, old_total, maximum, total;
};

// Merges a block of `count` <= kMergeRows rows, of which `lanes` tells, into the running softmax of these rows: its maxima,
// totals and sums.
HWY_INLINE void merge_lanes(int count, const MergeLanes& lanes, float* running_maxima, float* running_totals,
                            float* HWY_RESTRICT running_sums, const float* maxima, const float* totals,
                            const float* HWY_RESTRICT sums, int64_t floats) {
  const FloatTag d;
  const FloatVec low = hn::Set(d, kMinusInfinity);
  const FloatVec merged = hn::IfThenElse(hn::Gt(lanes.old_maximum, lanes.maximum), lanes.old_maximum, lanes.maximum);
  // From nothing, exp(-inf - -inf) would be NaN.
  const FloatVec keep = hn::IfThenZeroElse(hn::Eq(lanes.old_maximum, low), exp_weight(hn::Sub(lanes.old_maximum, merged)));
  const FloatVec take = hn::IfThenZeroElse(hn::Eq(lanes.maximum, low), exp_weight(hn::Sub(lanes.maximum, merged)));
  HWY_ALIGN float keeps[kLanes], takes[kLanes], new_maxima[kLanes], new_totals[kLanes];
  hn::Store(keep, d, keeps);
  hn::Store(take, d, takes);
  hn::Store(merged, d, new_maxima);
  hn::Store(hn::MulAdd(lanes.old_total, keep, hn::Mul(lanes.total, take)), d, new_totals);
  for (int r = 0; r < count; ++r) {
    if (maxima[r] == kMinusInfinity && totals[r] == 0) continue;  // the row sees nothing of the block
    running_maxima[r] = new_maxima[r];
    running_totals[r] = new_totals[r];
    const FloatVec old_scale = hn::Set(d, keeps[r]), new_scale = hn::Set(d, takes[r]);
    float* HWY_RESTRICT to = running_sums + r * floats;
    const float* HWY_RESTRICT from = sums + r * floats;
    for (int64_t i = 0; i < floats; i += kLanes) {
      hn::StoreU(hn::MulAdd(hn::LoadU(d, to + i), old_scale, hn::Mul(hn::LoadU(d, from + i), new_scale)), d, to + i);
    }
  }
}

// From arrays of `count` elements.
HWY_INLINE void merge_tile(int count, float* running_maxima, float* running_totals, float* HWY_RESTRICT running_sums,
                           const float* maxima, const float* totals, const float* HWY_RESTRICT sums, int64_t floats) {
  const MergeLanes lanes = {load_n(running_maxima, count), load_n(running_totals, count), load_n(maxima, count),
                            load_n(totals, count)};
  merge_lanes(count, lanes, running_maxima, running_totals, running_sums, maxima, totals, sums, floats);
}

// A block of bfloat16 pages as float32, for items whose tiles use it often enough: exact, so results stay the same.
// keys [pages][head_dim][16], values [pages][16][v_head_dim].
HWY_INLINE void widen_page(const BFloat16* keys, const BFloat16* values, int64_t head_dim, int64_t value_dim,
                           float* HWY_RESTRICT wide_keys, float* HWY_RESTRICT wide_values) {
  const FloatTag d;
  for (int64_t at = 0; at < head_dim; at += 2) {
    for (int64_t i = 0; i < kPageTokens; i += kLanes) {
      const auto pair = load_pairs(keys + at * kPageTokens + 2 * i);
      hn::StoreU(even_of(pair), d, wide_keys + at * kPageTokens + i);
      if (at + 1 < head_dim) hn::StoreU(odd_of(pair), d, wide_keys + (at + 1) * kPageTokens + i);
    }
  }
  for (int64_t at = 0; at < value_dim; at += kLanes) {
    const int64_t n = std::min(kLanes, value_dim - at);
    for (int64_t token = 0; token < kPageTokens; token += 2) {
      const auto pair = load_pairs(values + at / 16 * (kPageTokens * 16) + token * 16 + at % 16 * 2);
      if (n == kLanes) {
        hn::StoreU(even_of(pair), d, wide_values + token * value_dim + at);
        hn::StoreU(odd_of(pair), d, wide_values + (token + 1) * value_dim + at);
      } else {
        store_n(even_of(pair), wide_values + token * value_dim + at, n);
        store_n(odd_of(pair), wide_values + (token + 1) * value_dim + at, n);
      }
    }
  }
}

// The same of int8 pages, whose codes are multiplied by their tokens' scales [keys, then values][16].
HWY_INLINE void widen_page(const int8_t* keys, const int8_t* values, const float* scales, int64_t head_dim, int64_t value_dim,
                           float* HWY_RESTRICT wide_keys, float* HWY_RESTRICT wide_values) {
  const FloatTag d;
  const hn::Rebind<int16_t, FloatTag> d16;
  const hn::Rebind<int32_t, FloatTag> d32;
  const auto even = [&](auto pair) HWY_ATTR { return hn::ConvertTo(d, hn::ShiftRight<24>(hn::ShiftLeft<24>(pair))); };
  const auto odd = [&](auto pair) HWY_ATTR { return hn::ConvertTo(d, hn::ShiftRight<8>(pair)); };
  const auto pairs = [&](const int8_t* from)
                         HWY_ATTR { return hn::PromoteTo(d32, hn::LoadU(d16, reinterpret_cast<const int16_t*>(from))); };
  for (int64_t at = 0; at < head_dim; at += 2) {
    for (int64_t i = 0; i < kPageTokens; i += kLanes) {
      const auto pair = pairs(keys + at * kPageTokens + 2 * i);
      const FloatVec scale = hn::LoadU(d, scales + i);
      hn::StoreU(hn::Mul(even(pair), scale), d, wide_keys + at * kPageTokens + i);
      if (at + 1 < head_dim) hn::StoreU(hn::Mul(odd(pair), scale), d, wide_keys + (at + 1) * kPageTokens + i);
    }
  }
  scales += kPageTokens;
  for (int64_t at = 0; at < value_dim; at += kLanes) {
    const int64_t n = std::min(kLanes, value_dim - at);
    for (int64_t token = 0; token < kPageTokens; token += 2) {
      const auto pair = pairs(values + at / 16 * (kPageTokens * 16) + token * 16 + at % 16 * 2);
      const FloatVec first = hn::Mul(even(pair), hn::Set(d, scales[token]));
      const FloatVec second = hn::Mul(odd(pair), hn::Set(d, scales[token + 1]));
      if (n == kLanes) {
        hn::StoreU(first, d, wide_values + token * value_dim + at);
        hn::StoreU(second, d, wide_values + (token + 1) * value_dim + at);
      } else {
        store_n(first, wide_values + token * value_dim + at, n);
        store_n(second, wide_values + (token + 1) * value_dim + at, n);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // PAGODA_KERNELS_CPU_ATTENTION_TILE_INL_H_
