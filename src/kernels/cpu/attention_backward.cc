// Gradients of attention in float32 for all Highway targets: scores are computed again from lse, so memory is linear in length.
//
// Two passes, so that each sum has one owner and its order is a function of the shapes alone: queries' gradients by blocks of
// queries (keys in ascending blocks), then keys' and values' by blocks of keys (query heads, then queries, ascending).
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/fallback.h"
#include "kernels/cpu/fill_vector.h"
#include "kernels/cpu/hwy_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cc"
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

// Rows [first, first + count) of one head of a view, as [count][columns] with zeros past the row's end.
void copy_rows(const View& view, int64_t first, int64_t count, int64_t head, int64_t columns, float* to) {
  const int64_t width = view.dims[2];
  for (int64_t i = 0; i < count; ++i, to += columns) {
    const float* from = view.as<float>() + (first + i) * view.strides[0] + head * view.strides[1];
    std::copy(from, from + width, to);
    std::fill(to + width, to + columns, 0.0f);
  }
}

// The same turned: [width][kKeys], zeros past count.
void copy_turned(const View& view, int64_t first, int64_t count, int64_t head, float* to) {
  const float* from = view.as<float>() + first * view.strides[0] + head * view.strides[1];
  for (int64_t d = 0; d < view.dims[2]; ++d, to += kKeys) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i * view.strides[0] + d];
    std::fill(to + count, to + kKeys, 0.0f);
  }
}

void write_rows(const View& view, int64_t first, int64_t count, int64_t head, int64_t columns, const float* from) {
  for (int64_t i = 0; i < count; ++i, from += columns) {
    std::copy(from, from + view.dims[2], view.as<float>() + (first + i) * view.strides[0] + head * view.strides[1]);
  }
}

struct Gradient {
  const AttentionSpec& spec;
  View q, k, v, out, lse, dout, dq, dk, dv;
  int64_t group, key_columns, value_columns;  // dimensions in whole vectors
  const float* inner;                         // [T, heads]: dout . out
};

struct Scratch {
  float *keys, *turned_keys, *turned_values;  // of a key block
  float *queries, *gradients;                 // of a query block: q and dout
  float *weights, *slopes;                    // [kQueries][kKeys]: p, ds
  float *sums, *value_sums;
};

// p and ds of `rows` queries from position `first` of a head over `keys` keys from position `begin`.
void weigh(const Gradient& g, const Scratch& s, int64_t start, int64_t first, int64_t rows, int64_t head, int64_t begin,
           int64_t keys, int64_t length) {
  const FloatTag d;
  const int64_t t = start + first;
  const Left q = {g.q.as<float>() + t * g.q.strides[0] + head * g.q.strides[1], g.q.strides[0], 1};
  const Left dout = {g.dout.as<float>() + t * g.dout.strides[0] + head * g.dout.strides[1], g.dout.strides[0], 1};
  const int64_t columns = whole_vectors(keys);
  multiply(rows, g.q.dims[2], columns, q, s.turned_keys, kKeys, false, s.weights, kKeys);
  multiply(rows, g.v.dims[2], columns, dout, s.turned_values, kKeys, false, s.slopes, kKeys);
  const FloatVec scale = hn::Set(d, g.spec.scale), iota = hn::Iota(d, 0), one = hn::Set(d, 1.0f);
  for (int64_t r = 0; r < rows; ++r) {
    const VisibleKeys visible = visible_keys(g.spec, first + r, length);
    const float from = static_cast<float>(visible.begin - begin), to = static_cast<float>(visible.end - begin);
    const FloatVec lse = hn::Set(d, g.lse.as<float>()[(t + r) * g.lse.strides[0] + head]);
    const FloatVec inner = hn::Set(d, g.inner[(t + r) * g.q.dims[1] + head]);
    for (int64_t j = 0; j < columns; j += kLanes) {
      float *weight = s.weights + r * kKeys + j, *slope = s.slopes + r * kKeys + j;
      FloatVec score = hn::Mul(hn::LoadU(d, weight), scale), chain = scale;
      if (g.spec.soft_cap > 0) {
        const FloatVec cap = hn::Set(d, g.spec.soft_cap), capped = tanh_of(d, hn::Div(score, cap));
        score = hn::Mul(cap, capped);
        chain = hn::Mul(chain, hn::NegMulAdd(capped, capped, one));
      }
      if (g.spec.bias == AttentionSpec::Bias::kAlibi) {
        const FloatVec distance = hn::Add(iota, hn::Set(d, static_cast<float>(begin + j - first - r)));
        score = hn::MulAdd(hn::Set(d, g.spec.alibi_slopes[head]), distance, score);
      }
      const FloatVec key = hn::Add(iota, hn::Set(d, static_cast<float>(j)));
      const auto seen = hn::And(hn::Ge(key, hn::Set(d, from)), hn::Lt(key, hn::Set(d, to)));
      const FloatVec p = hn::IfThenElseZero(seen, exp_of(d, hn::Sub(score, lse)));
      const FloatVec ds = hn::Mul(hn::Mul(p, hn::Sub(hn::LoadU(d, slope), inner)), chain);
      hn::StoreU(p, d, weight);
      hn::StoreU(hn::IfThenElseZero(seen, ds), d, slope);
    }
  }
}

// Queries [first, first + rows) of a sequence and one key-value head: dq of the group's heads.
void query_gradients(const Gradient& g, const Scratch& s, int64_t start, int64_t length, int64_t kv_head, int64_t first,
                     int64_t rows) {
  const int64_t sum_size = kQueries * g.key_columns;
  std::fill(s.sums, s.sums + g.group * sum_size, 0.0f);
  const int64_t begin = visible_keys(g.spec, first, length).begin / kKeys * kKeys;
  const int64_t end = visible_keys(g.spec, first + rows - 1, length).end;
  for (int64_t key = begin; key < end; key += kKeys) {
    const int64_t keys = std::min(kKeys, end - key);
    copy_rows(g.k, start + key, keys, kv_head, g.key_columns, s.keys);
    copy_turned(g.k, start + key, keys, kv_head, s.turned_keys);
    copy_turned(g.v, start + key, keys, kv_head, s.turned_values);
    for (int64_t i = 0; i < g.group; ++i) {
      weigh(g, s, start, first, rows, kv_head * g.group + i, key, keys, length);
      multiply(rows, keys, g.key_columns, {s.slopes, kKeys, 1}, s.keys, g.key_columns, true, s.sums + i * sum_size,
               g.key_columns);
    }
  }
  for (int64_t i = 0; i < g.group; ++i) {
    write_rows(g.dq, start + first, rows, kv_head * g.group + i, g.key_columns, s.sums + i * sum_size);
  }
}

// Keys [key, key + keys) of a sequence and one key-value head: dk and dv.
void key_gradients(const Gradient& g, const Scratch& s, int64_t start, int64_t length, int64_t kv_head, int64_t key,
                   int64_t keys) {
  std::fill(s.sums, s.sums + kKeys * g.key_columns, 0.0f);
  std::fill(s.value_sums, s.value_sums + kKeys * g.value_columns, 0.0f);
  copy_turned(g.k, start + key, keys, kv_head, s.turned_keys);
  copy_turned(g.v, start + key, keys, kv_head, s.turned_values);
  const int64_t from = g.spec.mask == AttentionSpec::Mask::kCausal ? key / kQueries * kQueries : 0;
  const int64_t to = g.spec.window > 0 ? std::min(length, key + keys - 1 + g.spec.window) : length;
  for (int64_t head = kv_head * g.group; head < (kv_head + 1) * g.group; ++head) {
    for (int64_t first = from; first < to; first += kQueries) {
      const int64_t rows = std::min(kQueries, to - first);
      weigh(g, s, start, first, rows, head, key, keys, length);
      copy_rows(g.q, start + first, rows, head, g.key_columns, s.queries);
      copy_rows(g.dout, start + first, rows, head, g.value_columns, s.gradients);
      multiply(keys, rows, g.value_columns, {s.weights, 1, kKeys}, s.gradients, g.value_columns, true, s.value_sums,
               g.value_columns);
      multiply(keys, rows, g.key_columns, {s.slopes, 1, kKeys}, s.queries, g.key_columns, true, s.sums, g.key_columns);
    }
  }
  write_rows(g.dk, start + key, keys, kv_head, g.key_columns, s.sums);
  write_rows(g.dv, start + key, keys, kv_head, g.value_columns, s.value_sums);
}

void attention_backward(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                        View lse, View dout, View dq, View dk, View dv) {
  if (q.dtype != DType::kFloat32) {
    return reference_table().attention_backward(exec, spec, rows, q, k, v, out, lse, dout, dq, dk, dv);
  }
  const ArenaScope scope(*exec.scratch);
  const int64_t total = q.dims[0], heads = q.dims[1], kv_heads = k.dims[1];
  float* inner = exec.scratch->allocate_array<float>(total * heads);
  const Gradient g = {
      spec, q, k, v, out, lse, dout, dq, dk, dv, heads / kv_heads, whole_vectors(k.dims[2]), whole_vectors(v.dims[2]), inner};
  const int64_t threads = exec.pool->num_threads();
  Scratch* scratch = exec.scratch->allocate_array<Scratch>(threads);
  for (int64_t i = 0; i < threads; ++i) {
    const auto floats = [&](int64_t n) { return exec.scratch->allocate_array<float>(n); };
    scratch[i] = {floats(kKeys * g.key_columns),      floats(kKeys * k.dims[2]),
                  floats(kKeys * v.dims[2]),          floats(kQueries * g.key_columns),
                  floats(kQueries * g.value_columns), floats(kQueries * kKeys),
                  floats(kQueries * kKeys),           floats(std::max(g.group * kQueries, kKeys) * g.key_columns),
                  floats(kKeys * g.value_columns)};
  }
  exec.pool->parallel_for(total * heads, std::max<int64_t>(1, 32768 / v.dims[2]),
                          [&](int64_t begin, int64_t end, int) HWY_ATTR {
                            for (int64_t i = begin; i < end; ++i) {
                              const int64_t t = i / heads, head = i % heads;
                              const float* a = dout.as<float>() + t * dout.strides[0] + head * dout.strides[1];
                              const float* b = out.as<float>() + t * out.strides[0] + head * out.strides[1];
                              const FloatTag d;
                              FloatVec sum = hn::Zero(d);
                              int64_t j = 0;
                              for (; j + kLanes <= v.dims[2]; j += kLanes) sum = hn::MulAdd(load(a + j), load(b + j), sum);
                              if (j < v.dims[2])
                                sum = hn::MulAdd(load_n(a + j, v.dims[2] - j), load_n(b + j, v.dims[2] - j), sum);
                              inner[i] = hn::GetLane(hn::SumOfLanes(d, sum));
                            }
                          });
  // Blocks of all sequences, numbered through; blocks[s] is the first of sequence s.
  static_assert(kQueries == kKeys);
  int64_t* blocks = exec.scratch->allocate_array<int64_t>(rows.count + 1);
  blocks[0] = 0;
  for (int64_t s = 0; s < rows.count; ++s)
    blocks[s + 1] = blocks[s] + (rows.starts[s + 1] - rows.starts[s] + kKeys - 1) / kKeys;
  const auto each_block = [&](auto&& fn) HWY_ATTR {
    exec.pool->parallel_for(blocks[rows.count] * kv_heads, 1, [&](int64_t begin, int64_t end, int thread) HWY_ATTR {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t block = i / kv_heads;
        const int64_t s = std::upper_bound(blocks, blocks + rows.count + 1, block) - blocks - 1;
        const int64_t start = rows.starts[s], length = rows.starts[s + 1] - start, first = (block - blocks[s]) * kKeys;
        fn(scratch[thread], start, length, i % kv_heads, first, std::min(kKeys, length - first));
      }
    });
  };
  each_block([&](const Scratch& s, int64_t start, int64_t length, int64_t kv_head, int64_t first, int64_t n)
                 HWY_ATTR { query_gradients(g, s, start, length, kv_head, first, n); });
  each_block([&](const Scratch& s, int64_t start, int64_t length, int64_t kv_head, int64_t first, int64_t n)
                 HWY_ATTR { key_gradients(g, s, start, length, kv_head, first, n); });
}

}  // namespace

void fill_attention_gradients_entries(KernelTable& table) { table.attention_backward = {attention_backward, kTargetIsa}; }

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_attention_gradients)
}  // namespace pagoda
#endif
