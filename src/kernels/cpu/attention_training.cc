// Attention with dropout, and the gradients of attention, for all Highway targets. Products are float32, whatever q, k and v
// are; scores are computed again from lse, so memory is linear in length.
//
// Two passes, so that each sum has one owner and its order is a function of the shapes alone: queries' gradients by blocks of
// queries (keys in ascending blocks), then keys' and values' by blocks of keys (query heads, then queries, ascending).
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/attention_dropout.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/fallback.h"
#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_training.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kQueries = 64;  // of a block
constexpr int64_t kKeys = 64;
constexpr int kRowsAtOnce = kLanes == 4 ? 3 : 6;

inline int64_t whole_vectors(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// A matrix operand whose rows and columns may both be strided.
struct Left {
  const float* data;
  int64_t row, column;
};

template <int kRows, int kVectors>
HWY_INLINE void multiply_tile(Left a, int64_t depth, const float* HWY_RESTRICT b, int64_t b_row, bool add,
                              float* HWY_RESTRICT c, int64_t c_row) {
  const FloatTag d;
  FloatVec sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kVectors; ++i) sum[r][i] = add ? hn::LoadU(d, c + r * c_row + i * kLanes) : hn::Zero(d);
  }
  for (int64_t k = 0; k < depth; ++k) {
    FloatVec right[kVectors];
    for (int i = 0; i < kVectors; ++i) right[i] = hn::LoadU(d, b + k * b_row + i * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const FloatVec left = hn::Set(d, a.data[r * a.row + k * a.column]);
      for (int i = 0; i < kVectors; ++i) sum[r][i] = hn::MulAdd(left, right[i], sum[r][i]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < kVectors; ++i) hn::StoreU(sum[r][i], d, c + r * c_row + i * kLanes);
  }
}

template <int kRows>
HWY_NOINLINE void multiply_rows(Left a, int64_t depth, int64_t columns, const float* b, int64_t b_row, bool add, float* c,
                                int64_t c_row) {
  int64_t n = 0;
  for (; n + 2 * kLanes <= columns; n += 2 * kLanes) multiply_tile<kRows, 2>(a, depth, b + n, b_row, add, c + n, c_row);
  if (n < columns) multiply_tile<kRows, 1>(a, depth, b + n, b_row, add, c + n, c_row);
}

// c [rows, columns] (+)= a [rows, depth] b [depth, columns]; columns are whole vectors.
void multiply(int64_t rows, int64_t depth, int64_t columns, Left a, const float* b, int64_t b_row, bool add, float* c,
              int64_t c_row) {
  while (rows >= kRowsAtOnce) {
    multiply_rows<kRowsAtOnce>(a, depth, columns, b, b_row, add, c, c_row);
    rows -= kRowsAtOnce;
    a.data += kRowsAtOnce * a.row;
    c += kRowsAtOnce * c_row;
  }
  for (; rows > 0; --rows, a.data += a.row, c += c_row) multiply_rows<1>(a, depth, columns, b, b_row, add, c, c_row);
}

// Calls fn with a zero of the (float32 or bfloat16) element type.
template <class Fn>
HWY_INLINE void with_dtype(DType dtype, const Fn& fn) {
  if (dtype == DType::kFloat32) return fn(float());
  fn(BFloat16());
}

template <class T>
HWY_INLINE const T* head_row(const View& view, int64_t row, int64_t head) {
  return view.as<T>() + row * view.strides[0] + head * view.strides[1];
}

// Rows [first, first + count) of one head of a view, as [count][columns] with zeros past the row's end.
void copy_rows(const View& view, int64_t first, int64_t count, int64_t head, int64_t columns, float* to) {
  const int64_t width = view.dims[2], whole = width / kLanes * kLanes;
  with_dtype(view.dtype, [&](auto zero) HWY_ATTR {
    for (int64_t i = 0; i < count; ++i, to += columns) {
      const auto* from = head_row<decltype(zero)>(view, first + i, head);
      for (int64_t d = 0; d < whole; d += kLanes) store(load(from + d), to + d);
      if (whole < width) store(load_n(from + whole, width - whole), to + whole);
    }
  });
}

// The same turned: [width][kKeys], zeros past count.
void copy_turned(const View& view, int64_t first, int64_t count, int64_t head, float* to) {
  with_dtype(view.dtype, [&](auto zero) HWY_ATTR {
    const auto* from = head_row<decltype(zero)>(view, first, head);
    for (int64_t d = 0; d < view.dims[2]; ++d, to += kKeys) {
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i * view.strides[0] + d]);
      std::fill(to + count, to + kKeys, 0.0f);
    }
  });
}

void write_rows(const View& view, int64_t first, int64_t count, int64_t head, int64_t columns, const float* from) {
  const int64_t width = view.dims[2], whole = width / kLanes * kLanes;
  with_dtype(view.dtype, [&](auto zero) HWY_ATTR {
    for (int64_t i = 0; i < count; ++i, from += columns) {
      auto* to = const_cast<decltype(zero)*>(head_row<decltype(zero)>(view, first + i, head));
      for (int64_t d = 0; d < whole; d += kLanes) store(load(from + d), to + d);
      if (whole < width) store_n(load(from + whole), to + whole, width - whole);
    }
  });
}

struct Call {
  const AttentionSpec& spec;
  View q, k, v, lse;
  int64_t group, key_columns, value_columns;  // dimensions in whole vectors
  View out, dout, dq, dk, dv;                 // of a backward pass (out: of either)
  const float* inner = nullptr;               // [T, heads]: dout . out
};

struct Scratch {
  float *keys, *turned_keys, *values, *turned_values;  // of a key block
  float *queries, *gradients;                          // of a query block: q and dout, [kQueries][columns]
  float *weights, *slopes;                             // [kQueries][kKeys]: p, ds
  float *sums, *value_sums;
};

// What each lane's weight is multiplied by under dropout, keys from `key` on.
HWY_INLINE FloatVec kept_weights(uint32_t seed, int64_t key, int32_t threshold, FloatVec factor) {
  const FloatTag d;
  const hn::RebindToUnsigned<FloatTag> du;
  const hn::RebindToSigned<FloatTag> di;
  auto x = hn::Add(hn::Mul(hn::Add(hn::Iota(du, 0), hn::Set(du, static_cast<uint32_t>(key))), hn::Set(du, kDropoutStep)),
                   hn::Set(du, seed));
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(du, 0x85EBCA6Bu));
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<13>(x)), hn::Set(du, 0xC2B2AE35u));
  x = hn::ShiftRight<8>(hn::Xor(x, hn::ShiftRight<16>(x)));
  return hn::IfThenZeroElse(hn::RebindMask(d, hn::Lt(hn::BitCast(di, x), hn::Set(di, threshold))), factor);
}

// p of `rows` queries (in s.queries) from position `first` of a head over `keys` keys from position `begin`, as dropout left
// them; in a backward pass ds too (dout in s.gradients).
void weigh(const Call& c, const Scratch& s, int64_t start, int64_t first, int64_t rows, int64_t head, int64_t begin,
           int64_t keys, int64_t length) {
  const FloatTag d;
  const int64_t t = start + first;
  const int64_t columns = whole_vectors(keys);
  const bool backward = c.inner != nullptr;
  multiply(rows, c.q.dims[2], columns, {s.queries, c.key_columns, 1}, s.turned_keys, kKeys, false, s.weights, kKeys);
  if (backward) {
    multiply(rows, c.v.dims[2], columns, {s.gradients, c.value_columns, 1}, s.turned_values, kKeys, false, s.slopes, kKeys);
  }
  const FloatVec scale = hn::Set(d, c.spec.scale), iota = hn::Iota(d, 0), one = hn::Set(d, 1.0f);
  const FloatVec grown = hn::Set(d, 1.0f / (1.0f - c.spec.dropout));
  const int32_t threshold = dropout_threshold(c.spec);
  for (int64_t r = 0; r < rows; ++r) {
    const VisibleKeys visible = visible_keys(c.spec, first + r, length);
    const float from = static_cast<float>(visible.begin - begin), to = static_cast<float>(visible.end - begin);
    const FloatVec lse = hn::Set(d, c.lse.as<float>()[(t + r) * c.lse.strides[0] + head]);
    const FloatVec inner = hn::Set(d, backward ? c.inner[(t + r) * c.q.dims[1] + head] : 0.0f);
    const uint32_t seed = c.spec.dropout > 0 ? dropout_seed(c.spec, t + r, head) : 0;
    for (int64_t j = 0; j < columns; j += kLanes) {
      float *weight = s.weights + r * kKeys + j, *slope = s.slopes + r * kKeys + j;
      FloatVec score = hn::Mul(hn::LoadU(d, weight), scale), chain = scale;
      if (c.spec.soft_cap > 0) {
        const FloatVec cap = hn::Set(d, c.spec.soft_cap), capped = tanh_of(d, hn::Div(score, cap));
        score = hn::Mul(cap, capped);
        chain = hn::Mul(chain, hn::NegMulAdd(capped, capped, one));
      }
      if (c.spec.bias == AttentionSpec::Bias::kAlibi) {
        const FloatVec distance = hn::Add(iota, hn::Set(d, static_cast<float>(begin + j - first - r)));
        score = hn::MulAdd(hn::Set(d, c.spec.alibi_slopes[head]), distance, score);
      }
      const FloatVec key = hn::Add(iota, hn::Set(d, static_cast<float>(j)));
      const auto seen = hn::And(hn::Ge(key, hn::Set(d, from)), hn::Lt(key, hn::Set(d, to)));
      const FloatVec p = hn::IfThenElseZero(seen, exp_of(d, hn::Sub(score, lse)));
      const FloatVec kept = c.spec.dropout > 0 ? kept_weights(seed, begin + j, threshold, grown) : one;
      hn::StoreU(hn::Mul(p, kept), d, weight);
      if (!backward) continue;
      const FloatVec ds = hn::Mul(hn::Mul(p, hn::MulSub(hn::LoadU(d, slope), kept, inner)), chain);
      hn::StoreU(hn::IfThenElseZero(seen, ds), d, slope);
    }
  }
}

// Queries [first, first + rows) of a sequence and one key-value head: out with dropout, or dq, of the group's heads.
void query_rows(const Call& c, const Scratch& s, int64_t start, int64_t length, int64_t kv_head, int64_t first, int64_t rows) {
  const bool backward = c.inner != nullptr;
  const int64_t columns = backward ? c.key_columns : c.value_columns;
  const int64_t begin = visible_keys(c.spec, first, length).begin / kKeys * kKeys;
  const int64_t end = visible_keys(c.spec, first + rows - 1, length).end;
  for (int64_t head = kv_head * c.group; head < (kv_head + 1) * c.group; ++head) {
    copy_rows(c.q, start + first, rows, head, c.key_columns, s.queries);
    if (backward) copy_rows(c.dout, start + first, rows, head, c.value_columns, s.gradients);
    std::fill(s.sums, s.sums + kQueries * columns, 0.0f);
    for (int64_t key = begin; key < end; key += kKeys) {
      const int64_t keys = std::min(kKeys, end - key);
      copy_turned(c.k, start + key, keys, kv_head, s.turned_keys);
      if (backward) {
        copy_turned(c.v, start + key, keys, kv_head, s.turned_values);
        copy_rows(c.k, start + key, keys, kv_head, c.key_columns, s.keys);
      } else {
        copy_rows(c.v, start + key, keys, kv_head, c.value_columns, s.values);
      }
      weigh(c, s, start, first, rows, head, key, keys, length);
      multiply(rows, keys, columns, {backward ? s.slopes : s.weights, kKeys, 1}, backward ? s.keys : s.values, columns, true,
               s.sums, columns);
    }
    write_rows(backward ? c.dq : c.out, start + first, rows, head, columns, s.sums);
  }
}

// Keys [key, key + keys) of a sequence and one key-value head: dk and dv.
void key_gradients(const Call& c, const Scratch& s, int64_t start, int64_t length, int64_t kv_head, int64_t key, int64_t keys) {
  std::fill(s.sums, s.sums + kKeys * c.key_columns, 0.0f);
  std::fill(s.value_sums, s.value_sums + kKeys * c.value_columns, 0.0f);
  copy_turned(c.k, start + key, keys, kv_head, s.turned_keys);
  copy_turned(c.v, start + key, keys, kv_head, s.turned_values);
  const int64_t from = c.spec.mask == AttentionSpec::Mask::kCausal ? key / kQueries * kQueries : 0;
  const int64_t to = c.spec.window > 0 ? std::min(length, key + keys - 1 + c.spec.window) : length;
  for (int64_t head = kv_head * c.group; head < (kv_head + 1) * c.group; ++head) {
    for (int64_t first = from; first < to; first += kQueries) {
      const int64_t rows = std::min(kQueries, to - first);
      copy_rows(c.q, start + first, rows, head, c.key_columns, s.queries);
      copy_rows(c.dout, start + first, rows, head, c.value_columns, s.gradients);
      weigh(c, s, start, first, rows, head, key, keys, length);
      multiply(keys, rows, c.value_columns, {s.weights, 1, kKeys}, s.gradients, c.value_columns, true, s.value_sums,
               c.value_columns);
      multiply(keys, rows, c.key_columns, {s.slopes, 1, kKeys}, s.queries, c.key_columns, true, s.sums, c.key_columns);
    }
  }
  write_rows(c.dk, start + key, keys, kv_head, c.key_columns, s.sums);
  write_rows(c.dv, start + key, keys, kv_head, c.value_columns, s.value_sums);
}

// inner[t, head] = dout . out.
template <class T>
void inner_products(const Exec& exec, const View& dout, const View& out, float* inner) {
  const int64_t heads = out.dims[1], width = out.dims[2];
  exec.pool->parallel_for(out.dims[0] * heads, std::max<int64_t>(1, 32768 / width), [&](int64_t begin, int64_t end, int) HWY_ATTR {
    const FloatTag d;
    for (int64_t i = begin; i < end; ++i) {
      const T *a = head_row<T>(dout, i / heads, i % heads), *b = head_row<T>(out, i / heads, i % heads);
      FloatVec sum = hn::Zero(d);
      int64_t j = 0;
      for (; j + kLanes <= width; j += kLanes) sum = hn::MulAdd(load(a + j), load(b + j), sum);
      if (j < width) sum = hn::MulAdd(load_n(a + j, width - j), load_n(b + j, width - j), sum);
      inner[i] = hn::GetLane(hn::SumOfLanes(d, sum));
    }
  });
}

// Calls fn(scratch, start, length, kv_head, first, count) for blocks of positions [first, first + count) of all sequences.
template <class Fn>
void each_block(const Exec& exec, const Call& c, const RaggedRows& rows, const Fn& fn) {
  const ArenaScope scope(*exec.scratch);
  const int64_t threads = exec.pool->num_threads(), kv_heads = c.k.dims[1];
  Scratch* scratch = exec.scratch->allocate_array<Scratch>(threads);
  for (int64_t i = 0; i < threads; ++i) {
    const auto floats = [&](int64_t n) { return exec.scratch->allocate_array<float>(n); };
    const int64_t columns = std::max(c.key_columns, c.value_columns);
    scratch[i] = {floats(kKeys * c.key_columns),      floats(kKeys * c.k.dims[2]),
                  floats(kKeys * c.value_columns),    floats(kKeys * c.v.dims[2]),
                  floats(kQueries * c.key_columns),   floats(kQueries * c.value_columns),
                  floats(kQueries * kKeys),           floats(kQueries * kKeys),
                  floats(kQueries * columns),         floats(kKeys * c.value_columns)};
  }
  // Numbered through; blocks[s] is the first of sequence s.
  static_assert(kQueries == kKeys);
  int64_t* blocks = exec.scratch->allocate_array<int64_t>(rows.count + 1);
  blocks[0] = 0;
  for (int64_t s = 0; s < rows.count; ++s) {
    blocks[s + 1] = blocks[s] + (rows.starts[s + 1] - rows.starts[s] + kKeys - 1) / kKeys;
  }
  exec.pool->parallel_for(blocks[rows.count] * kv_heads, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t block = i / kv_heads;
      const int64_t s = std::upper_bound(blocks, blocks + rows.count + 1, block) - blocks - 1;
      const int64_t start = rows.starts[s], length = rows.starts[s + 1] - start, first = (block - blocks[s]) * kKeys;
      fn(scratch[thread], start, length, i % kv_heads, first, std::min(kKeys, length - first));
    }
  });
}

Call make_call(const AttentionSpec& spec, View q, View k, View v, View lse) {
  return {spec, q, k, v, lse, q.dims[1] / k.dims[1], whole_vectors(k.dims[2]), whole_vectors(v.dims[2]), {}, {}, {}, {}, {}};
}

void attention_dropout(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                       View lse) {
  if (!is_vector_dtype(q.dtype)) return reference_table().attention_dropout(exec, spec, rows, q, k, v, out, lse);
  Call c = make_call(spec, q, k, v, lse);
  c.out = out;
  each_block(exec, c, rows, [&](const Scratch& s, int64_t start, int64_t length, int64_t kv_head, int64_t first, int64_t n) {
    query_rows(c, s, start, length, kv_head, first, n);
  });
}

void attention_backward(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                        View lse, View dout, View dq, View dk, View dv) {
  if (!is_vector_dtype(q.dtype)) {
    return reference_table().attention_backward(exec, spec, rows, q, k, v, out, lse, dout, dq, dk, dv);
  }
  const ArenaScope scope(*exec.scratch);
  float* inner = exec.scratch->allocate_array<float>(q.dims[0] * q.dims[1]);
  with_dtype(q.dtype, [&](auto zero) { inner_products<decltype(zero)>(exec, dout, out, inner); });
  Call c = make_call(spec, q, k, v, lse);
  c.dout = dout;
  c.dq = dq;
  c.dk = dk;
  c.dv = dv;
  c.inner = inner;
  each_block(exec, c, rows, [&](const Scratch& s, int64_t start, int64_t length, int64_t kv_head, int64_t first, int64_t n) {
    query_rows(c, s, start, length, kv_head, first, n);
  });
  each_block(exec, c, rows, [&](const Scratch& s, int64_t start, int64_t length, int64_t kv_head, int64_t first, int64_t n) {
    key_gradients(c, s, start, length, kv_head, first, n);
  });
}

}  // namespace

void fill_attention_gradients_entries(KernelTable& table) { 
  table.attention_dropout = {attention_dropout, kTargetIsa};
  table.attention_backward = {attention_backward, kTargetIsa};
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_attention_gradients)
}  // namespace pagoda
#endif
