// Attention with dropout, and the gradients of attention: products in float32 for all Highway targets, of bfloat16 also on
// tiles. Scores are computed again from lse, so memory is linear in length.
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
#include "kernels/cpu/instructions_amx.h"
#include "kernels/cpu/turn-inl.h"
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

template <class T>
HWY_INLINE T* head_row(const View& view, int64_t row, int64_t head) {
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
      auto* to = head_row<decltype(zero)>(view, first + i, head);
      for (int64_t d = 0; d < whole; d += kLanes) store(load(from + d), to + d);
      if (whole < width) store_n(load(from + whole), to + whole, width - whole);
    }
  });
}

struct Call {
  const AttentionSpec& spec;
  View q, k, v, lse;
  int64_t group, key_columns, value_columns;  // head_dim and v_head_dim as the engine's sums have them, padded
  bool backward;
  View out, dout, dq, dk, dv;  // out: with dropout; the others of a backward pass
  const float* inner;          // [T, heads]: dout . out
};

// One thread's memory, besides the engine's operands.
struct Scratch {
  char *keys, *queries;          // operands: of one key block, or of all those of a sequence; of a query block
  float *weights, *slopes;       // [kQueries][kKeys]: p, ds
  float* sums;                   // [kQueries][columns]: out or dq
  float *key_sums, *value_sums;  // [key blocks][kKeys][columns]: dk, dv
};

// Multiplies in float32, whatever the elements are. Operands of a key block: keys turned [head_dim][kKeys], then, backward,
// keys [kKeys][key_columns] and values turned [v_head_dim][kKeys], else values [kKeys][value_columns]; of a query block: q and
// dout by rows.
struct FloatEngine {
  static int64_t columns(int64_t dim) { return whole_vectors(dim); }
  static int64_t key_bytes(const Call& c) {
    return 4 * kKeys * (c.k.dims[2] + (c.backward ? c.key_columns + c.v.dims[2] : c.value_columns));
  }
  static int64_t query_bytes(const Call& c) { return 4 * kQueries * (c.key_columns + c.value_columns); }

  void take_keys(const Call& c, int64_t row, int64_t count, int64_t kv_head, char* to) const {
    float* at = reinterpret_cast<float*>(to);
    copy_turned(c.k, row, count, kv_head, at);
    at += kKeys * c.k.dims[2];
    if (!c.backward) return copy_rows(c.v, row, count, kv_head, c.value_columns, at);
    copy_rows(c.k, row, count, kv_head, c.key_columns, at);
    copy_turned(c.v, row, count, kv_head, at + kKeys * c.key_columns);
  }
  void take_queries(const Call& c, int64_t row, int64_t count, int64_t head, char* to) const {
    float* at = reinterpret_cast<float*>(to);
    copy_rows(c.q, row, count, head, c.key_columns, at);
    if (c.backward) copy_rows(c.dout, row, count, head, c.value_columns, at + kQueries * c.key_columns);
  }
  void scores(const Call& c, const char* queries, const char* keys, int64_t rows, int64_t count, const Scratch& s) const {
    const auto *q = reinterpret_cast<const float*>(queries), *k = reinterpret_cast<const float*>(keys);
    multiply(rows, c.q.dims[2], whole_vectors(count), {q, c.key_columns, 1}, k, kKeys, false, s.weights, kKeys);
    if (!c.backward) return;
    multiply(rows, c.v.dims[2], whole_vectors(count), {q + kQueries * c.key_columns, c.value_columns, 1},
             k + kKeys * (c.k.dims[2] + c.key_columns), kKeys, false, s.slopes, kKeys);
  }
  void settle(const Call&, const Scratch&) const {}
  // sums += p v, or ds k
  void add_to_queries(const Call& c, const char* keys, int64_t rows, int64_t count, const Scratch& s) const {
    const float* right = reinterpret_cast<const float*>(keys) + kKeys * c.k.dims[2];
    const int64_t columns = c.backward ? c.key_columns : c.value_columns;
    multiply(rows, count, columns, {c.backward ? s.slopes : s.weights, kKeys, 1}, right, columns, true, s.sums, columns);
  }
  // dv += p^T dout, dk += ds^T q
  void add_to_keys(const Call& c, const char* queries, int64_t rows, int64_t count, const Scratch& s, float* dk,
                   float* dv) const {
    const auto* q = reinterpret_cast<const float*>(queries);
    multiply(count, rows, c.value_columns, {s.weights, 1, kKeys}, q + kQueries * c.key_columns, c.value_columns, true, dv,
             c.value_columns);
    multiply(count, rows, c.key_columns, {s.slopes, 1, kKeys}, q, c.key_columns, true, dk, c.key_columns);
  }
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

// Scores in s.weights (and dout . v in s.slopes) of `rows` queries from position `first` of a head and `keys` keys from
// position `begin` become p as dropout left it, and ds.
void weigh(const Call& c, const Scratch& s, int64_t start, int64_t first, int64_t rows, int64_t head, int64_t begin,
           int64_t keys, int64_t length) {
  const FloatTag d;
  const int64_t t = start + first;
  const int64_t columns = whole_vectors(keys);
  const FloatVec scale = hn::Set(d, c.spec.scale), iota = hn::Iota(d, 0), one = hn::Set(d, 1.0f);
  const FloatVec grown = hn::Set(d, 1.0f / (1.0f - c.spec.dropout));
  const int32_t threshold = dropout_threshold(c.spec);
  for (int64_t r = 0; r < rows; ++r) {
    const VisibleKeys visible = visible_keys(c.spec, first + r, length);
    const float from = static_cast<float>(visible.begin - begin), to = static_cast<float>(visible.end - begin);
    const FloatVec lse = hn::Set(d, c.lse.as<float>()[(t + r) * c.lse.strides[0] + head]);
    const FloatVec inner = hn::Set(d, c.backward ? c.inner[(t + r) * c.q.dims[1] + head] : 0.0f);
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
      if (!c.backward) continue;
      const FloatVec ds = hn::Mul(hn::Mul(p, hn::MulSub(hn::LoadU(d, slope), kept, inner)), chain);
      hn::StoreU(hn::IfThenElseZero(seen, ds), d, slope);
    }
  }
}

// One key-value head of one sequence. Every sum has one order, which is a function of the shapes alone: dq and out over key
// blocks, dk and dv over query heads, then query blocks, all ascending; so whatever computes a part of it, the bits are the
// same.
template <class Engine>
struct SequenceRun {
  const Engine& engine;
  const Call& c;
  const Scratch& s;
  int64_t start, length, kv_head;

  int64_t key_count(int64_t block) const { return std::min(kKeys, length - block * kKeys); }
  void take_keys(int64_t block, char* to) const { engine.take_keys(c, start + block * kKeys, key_count(block), kv_head, to); }
  // p (and ds) of a query block, whose operands are taken, and a key block.
  void weights(int64_t head, int64_t first, int64_t rows, int64_t block, const char* keys) const {
    engine.scores(c, s.queries, keys, rows, key_count(block), s);
    weigh(c, s, start, first, rows, head, block * kKeys, key_count(block), length);
    engine.settle(c, s);
  }
  // Key blocks that some of the queries [first, first + rows) see.
  int64_t first_block(int64_t first) const { return visible_keys(c.spec, first, length).begin / kKeys; }
  int64_t last_block(int64_t first, int64_t rows) const {
    return (visible_keys(c.spec, first + rows - 1, length).end + kKeys - 1) / kKeys;
  }

  // Queries [first, first + rows): out with dropout, or dq, of the group's heads.
  void query_block(int64_t first, int64_t rows) const {
    const int64_t columns = c.backward ? c.key_columns : c.value_columns;
    for (int64_t head = kv_head * c.group; head < (kv_head + 1) * c.group; ++head) {
      engine.take_queries(c, start + first, rows, head, s.queries);
      std::fill(s.sums, s.sums + kQueries * columns, 0.0f);
      for (int64_t block = first_block(first); block < last_block(first, rows); ++block) {
        take_keys(block, s.keys);
        weights(head, first, rows, block, s.keys);
        engine.add_to_queries(c, s.keys, rows, key_count(block), s);
      }
      write_rows(c.backward ? c.dq : c.out, start + first, rows, head, columns, s.sums);
    }
  }

  // dk and dv of a key block.
  void key_block(int64_t block) const {
    std::fill(s.key_sums, s.key_sums + kKeys * c.key_columns, 0.0f);
    std::fill(s.value_sums, s.value_sums + kKeys * c.value_columns, 0.0f);
    take_keys(block, s.keys);
    const int64_t key = block * kKeys, keys = key_count(block);
    const int64_t from = c.spec.mask == AttentionSpec::Mask::kCausal ? key / kQueries * kQueries : 0;
    const int64_t to = c.spec.window > 0 ? std::min(length, key + keys - 1 + c.spec.window) : length;
    for (int64_t head = kv_head * c.group; head < (kv_head + 1) * c.group; ++head) {
      for (int64_t first = from; first < to; first += kQueries) {
        const int64_t rows = std::min(kQueries, length - first);
        engine.take_queries(c, start + first, rows, head, s.queries);
        weights(head, first, rows, block, s.keys);
        engine.add_to_keys(c, s.queries, rows, keys, s, s.key_sums, s.value_sums);
      }
    }
    write_keys(block, s.key_sums, s.value_sums);
  }
  void write_keys(int64_t block, const float* dk, const float* dv) const {
    write_rows(c.dk, start + block * kKeys, key_count(block), kv_head, c.key_columns, dk);
    write_rows(c.dv, start + block * kKeys, key_count(block), kv_head, c.value_columns, dv);
  }

  // All gradients of the sequence's head, each weight computed once: the operands and sums of all key blocks are at hand.
  void all() const {
    const int64_t blocks = (length + kKeys - 1) / kKeys, key_bytes = Engine::key_bytes(c);
    const int64_t key_floats = kKeys * c.key_columns, value_floats = kKeys * c.value_columns;
    for (int64_t block = 0; block < blocks; ++block) take_keys(block, s.keys + block * key_bytes);
    std::fill(s.key_sums, s.key_sums + blocks * key_floats, 0.0f);
    std::fill(s.value_sums, s.value_sums + blocks * value_floats, 0.0f);
    for (int64_t head = kv_head * c.group; head < (kv_head + 1) * c.group; ++head) {
      for (int64_t first = 0; first < length; first += kQueries) {
        const int64_t rows = std::min(kQueries, length - first);
        engine.take_queries(c, start + first, rows, head, s.queries);
        std::fill(s.sums, s.sums + kQueries * c.key_columns, 0.0f);
        for (int64_t block = first_block(first); block < last_block(first, rows); ++block) {
          const char* keys = s.keys + block * key_bytes;
          weights(head, first, rows, block, keys);
          engine.add_to_queries(c, keys, rows, key_count(block), s);
          engine.add_to_keys(c, s.queries, rows, key_count(block), s, s.key_sums + block * key_floats,
                             s.value_sums + block * value_floats);
        }
        write_rows(c.dq, start + first, rows, head, c.key_columns, s.sums);
      }
    }
    for (int64_t block = 0; block < blocks; ++block) {
      write_keys(block, s.key_sums + block * key_floats, s.value_sums + block * value_floats);
    }
  }
};

// inner[t, head] = dout . out.
template <class T>
void inner_products(const Exec& exec, const View& dout, const View& out, float* inner) {
  const int64_t heads = out.dims[1], width = out.dims[2];
  exec.pool->parallel_for(out.dims[0] * heads, std::max<int64_t>(1, 32768 / width),
                          [&](int64_t begin, int64_t end, int) HWY_ATTR {
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

Scratch* make_scratch(const Exec& exec, const Call& c, int64_t key_bytes, int64_t query_bytes, int64_t key_blocks) {
  const int64_t threads = exec.pool->num_threads();
  Scratch* scratch = exec.scratch->allocate_array<Scratch>(threads);
  for (int64_t i = 0; i < threads; ++i) {
    const auto floats = [&](int64_t n) { return exec.scratch->allocate_array<float>(n); };
    scratch[i] = {exec.scratch->allocate_array<char>(key_blocks * key_bytes),
                  exec.scratch->allocate_array<char>(query_bytes),
                  floats(kQueries * kKeys),
                  floats(kQueries * kKeys),
                  floats(kQueries * std::max(c.key_columns, c.value_columns)),
                  c.backward ? floats(key_blocks * kKeys * c.key_columns) : nullptr,
                  c.backward ? floats(key_blocks * kKeys * c.value_columns) : nullptr};
    std::fill(scratch[i].weights, scratch[i].weights + kQueries * kKeys, 0.0f);
    std::fill(scratch[i].slopes, scratch[i].slopes + kQueries * kKeys, 0.0f);
  }
  return scratch;
}

// Calls fn(run, block) for every block of positions of every sequence and key-value head.
template <class Engine, class Fn>
void each_block(const Exec& exec, const Call& c, const RaggedRows& rows, const Fn& fn) {
  const ArenaScope scope(*exec.scratch);
  const int64_t kv_heads = c.k.dims[1];
  Scratch* scratch = make_scratch(exec, c, Engine::key_bytes(c), Engine::query_bytes(c), 1);
  // Numbered through; blocks[s] is the first of sequence s.
  static_assert(kQueries == kKeys);
  int64_t* blocks = exec.scratch->allocate_array<int64_t>(rows.count + 1);
  blocks[0] = 0;
  for (int64_t s = 0; s < rows.count; ++s) {
    blocks[s + 1] = blocks[s] + (rows.starts[s + 1] - rows.starts[s] + kKeys - 1) / kKeys;
  }
  exec.pool->parallel_for(blocks[rows.count] * kv_heads, 1, [&](int64_t begin, int64_t end, int thread) {
    const Engine engine;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t block = i / kv_heads;
      const int64_t s = std::upper_bound(blocks, blocks + rows.count + 1, block) - blocks - 1;
      const SequenceRun<Engine> run = {engine,      c, scratch[thread], rows.starts[s], rows.starts[s + 1] - rows.starts[s],
                                       i % kv_heads};
      fn(run, block - blocks[s]);
    }
  });
}

template <class Engine>
Call make_call(const AttentionSpec& spec, View q, View k, View v, View lse, bool backward) {
  return {spec, q,  k,  v,  lse,    q.dims[1] / k.dims[1], Engine::columns(k.dims[2]), Engine::columns(v.dims[2]), backward, {},
          {},   {}, {}, {}, nullptr};
}

template <class Engine>
void dropout_by(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                View lse) {
  Call c = make_call<Engine>(spec, q, k, v, lse, false);
  c.out = out;
  each_block<Engine>(exec, c, rows, [&](const SequenceRun<Engine>& run, int64_t block) {
    run.query_block(block * kQueries, run.key_count(block));
  });
}

constexpr int64_t kLongestAtOnce = 4096;  // positions whose operands and sums a thread holds

template <class Engine>
void gradients_by(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                  View lse, View dout, View dq, View dk, View dv) {
  const ArenaScope scope(*exec.scratch);
  float* inner = exec.scratch->allocate_array<float>(q.dims[0] * q.dims[1]);
  with_dtype(q.dtype, [&](auto zero) { inner_products<decltype(zero)>(exec, dout, out, inner); });
  Call c = make_call<Engine>(spec, q, k, v, lse, true);
  c.dout = dout;
  c.dq = dq;
  c.dk = dk;
  c.dv = dv;
  c.inner = inner;
  int64_t longest = 0;
  for (int64_t s = 0; s < rows.count; ++s) longest = std::max<int64_t>(longest, rows.starts[s + 1] - rows.starts[s]);
  const int64_t items = rows.count * k.dims[1];
  if (items >= 2 * exec.pool->num_threads() && longest <= kLongestAtOnce) {
    Scratch* scratch = make_scratch(exec, c, Engine::key_bytes(c), Engine::query_bytes(c), (longest + kKeys - 1) / kKeys);
    exec.pool->parallel_for(items, 1, [&](int64_t begin, int64_t end, int thread) {
      const Engine engine;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t s = i / k.dims[1];
        SequenceRun<Engine>{engine, c, scratch[thread], rows.starts[s], rows.starts[s + 1] - rows.starts[s], i % k.dims[1]}
            .all();
      }
    });
    return;
  }
  // Two passes, in which every weight is computed twice, so that each sum has one owner.
  each_block<Engine>(exec, c, rows, [&](const SequenceRun<Engine>& run, int64_t block) {
    run.query_block(block * kQueries, run.key_count(block));
  });
  each_block<Engine>(exec, c, rows, [&](const SequenceRun<Engine>& run, int64_t block) { run.key_block(block); });
}

void attention_dropout(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                       View lse) {
  if (!is_vector_dtype(q.dtype)) return reference_table().attention_dropout(exec, spec, rows, q, k, v, out, lse);
  dropout_by<FloatEngine>(exec, spec, rows, q, k, v, out, lse);
}

void attention_backward(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                        View lse, View dout, View dq, View dk, View dv) {
  if (!is_vector_dtype(q.dtype)) {
    return reference_table().attention_backward(exec, spec, rows, q, k, v, out, lse, dout, dq, dk, dv);
  }
  gradients_by<FloatEngine>(exec, spec, rows, q, k, v, out, lse, dout, dq, dk, dv);
}

}  // namespace

void fill_attention_gradients_entries(KernelTable& table) {
  table.attention_dropout = {attention_dropout, kTargetIsa};
  table.attention_backward = {attention_backward, kTargetIsa};
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

// The engine on tiles: native beside AVX-512 vectors, its stand-in beside AVX2's.
#if defined(__x86_64__) && HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR_AVX3 ",avx512bf16,amx-tile,amx-bf16")
namespace pagoda {
namespace N_AVX3 {
namespace {
using NativeTiles = native::Tiles;
#include "kernels/cpu/attention_training_tiles-inl.h"
}  // namespace
void fill_attention_gradients_tiles(KernelTable& table) {
  table.attention_dropout = {tile_dropout, Isa::kAmx};
  table.attention_backward = {tile_gradients, Isa::kAmx};
}
}  // namespace N_AVX3
}  // namespace pagoda
HWY_POP_ATTRIBUTES
#elif defined(__x86_64__) && HWY_TARGET == HWY_AVX2
HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace N_AVX2 {
namespace {
using NativeTiles = standin::Tiles;
#include "kernels/cpu/attention_training_tiles-inl.h"
}  // namespace
void fill_attention_gradients_tiles(KernelTable& table) {
  table.attention_dropout = {tile_dropout, Isa::kAmx};
  table.attention_backward = {tile_gradients, Isa::kAmx};
}
}  // namespace N_AVX2
}  // namespace pagoda
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace pagoda {
PAGODA_FILLERS_BY_TARGET(fill_attention_gradients)

#if defined(__x86_64__)
void fill_attention_gradients_amx(KernelTable& table) { N_AVX3::fill_attention_gradients_tiles(table); }
void fill_attention_gradients_amx_standin(KernelTable& table) { N_AVX2::fill_attention_gradients_tiles(table); }
#endif
}  // namespace pagoda
#endif
