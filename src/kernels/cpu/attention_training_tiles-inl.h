// The products of training's attention on AMX tiles. Included by attention_training.cc inside the namespace of a target and,
// for the native instructions, inside their target region, so it has no includes, namespaces or lambdas of its own.
//
// Operands are bfloat16, zeros past rows and dimensions, so that every tile is whole. p and ds are rounded to bfloat16 for the
// products in which they take part. Sums of a block are float32 and stay in memory between blocks.

using Bits = uint16_t;  // of a bfloat16

class TileGradients {
 public:
  static int64_t columns(int64_t dim) { return (dim + 15) / 16 * 16; }
  static int64_t depth(int64_t dim) { return (dim + 31) / 32 * 32; }
  // Elements of the operands, in their order. Keys: keys by pairs of dimensions [4 panels][depth / 2][16][2]; backward then
  // keys by pairs of keys [columns / 16][32][16][2] and values by pairs of dimensions; else values by pairs of keys.
  static int64_t key_bytes(const Call& c) {
    const int64_t by_keys = c.backward ? c.key_columns : c.value_columns;
    return 2 * kKeys * (depth(c.k.dims[2]) + by_keys + (c.backward ? depth(c.v.dims[2]) : 0));
  }
  // q by rows [64][depth]; backward then dout by rows, q and dout by pairs of queries, and room for p^T, ds and ds^T; else for
  // p.
  static int64_t query_bytes(const Call& c) {
    if (!c.backward) return 2 * kQueries * (depth(c.q.dims[2]) + kKeys);
    return 2 * kQueries * (depth(c.q.dims[2]) + depth(c.v.dims[2]) + c.key_columns + c.value_columns + 3 * kKeys);
  }

  TileGradients() {
    standin::TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.rows[tile] = 16;
      config.row_bytes[tile] = 64;
    }
    tiles_.configure(config);
  }
  ~TileGradients() { tiles_.release(); }
  TileGradients(const TileGradients&) = delete;
  TileGradients& operator=(const TileGradients&) = delete;

  HWY_NOINLINE void take_keys(const Call& c, int64_t row, int64_t count, int64_t kv_head, char* to) const {
    HWY_ALIGN Bits rows[kKeys * kMaxDepth];
    Bits* at = reinterpret_cast<Bits*>(to);
    const int64_t key_depth = depth(c.k.dims[2]), value_depth = depth(c.v.dims[2]);
    copy_bits(c.k, row, count, kv_head, key_depth, rows);
    by_dimensions(rows, key_depth, at);
    at += kKeys * key_depth;
    if (c.backward) {
      by_rows(rows, key_depth, c.key_columns, at);
      at += kKeys * c.key_columns;
    }
    copy_bits(c.v, row, count, kv_head, value_depth, rows);
    if (c.backward) {
      by_dimensions(rows, value_depth, at);
    } else {
      by_rows(rows, value_depth, c.value_columns, at);
    }
  }

  HWY_NOINLINE void take_queries(const Call& c, int64_t row, int64_t count, int64_t head, char* to) const {
    Bits* at = reinterpret_cast<Bits*>(to);
    const int64_t key_depth = depth(c.q.dims[2]), value_depth = depth(c.v.dims[2]);
    copy_bits(c.q, row, count, head, key_depth, at);
    if (!c.backward) return;
    Bits* dout = at + kQueries * key_depth;
    copy_bits(c.dout, row, count, head, value_depth, dout);
    by_rows(at, key_depth, c.key_columns, dout + kQueries * value_depth);
    by_rows(dout, value_depth, c.value_columns, dout + kQueries * (value_depth + c.key_columns));
  }

  HWY_NOINLINE void scores(const Call& c, const char* queries, const char* keys, int64_t /*rows*/, int64_t /*count*/,
                           const Scratch& s) const {
    const int64_t key_depth = depth(c.q.dims[2]), value_depth = depth(c.v.dims[2]);
    const auto *q = reinterpret_cast<const Bits*>(queries), *k = reinterpret_cast<const Bits*>(keys);
    product(q, key_depth, k, 16 * key_depth, key_depth / 32, kKeys / 16, false, s.weights, kKeys);
    if (!c.backward) return;
    product(q + kQueries * key_depth, value_depth, k + kKeys * (key_depth + c.key_columns), 16 * value_depth, value_depth / 32,
            kKeys / 16, false, s.slopes, kKeys);
  }

  HWY_NOINLINE void settle(const Call& c, const Scratch& s) const {
    Bits* own = room(c, s);
    if (!c.backward) return round_block(s.weights, own);
    HWY_ALIGN Bits rounded[kQueries * kKeys];
    round_block(s.weights, rounded);
    turn_block(rounded, own);
    round_block(s.slopes, own + kQueries * kKeys);
    turn_block(own + kQueries * kKeys, own + 2 * kQueries * kKeys);
  }

  HWY_NOINLINE void add_to_queries(const Call& c, const char* keys, int64_t /*rows*/, int64_t /*count*/,
                                   const Scratch& s) const {
    const Bits* right = reinterpret_cast<const Bits*>(keys) + kKeys * depth(c.k.dims[2]);
    const Bits* left = room(c, s) + (c.backward ? kQueries * kKeys : 0);
    const int64_t columns_of = c.backward ? c.key_columns : c.value_columns;
    product(left, kKeys, right, 16 * kKeys, kKeys / 32, columns_of / 16, true, s.sums, columns_of);
  }

  HWY_NOINLINE void add_to_keys(const Call& c, const char* queries, int64_t /*rows*/, int64_t /*count*/, const Scratch& s,
                                float* dk, float* dv) const {
    const Bits* q = reinterpret_cast<const Bits*>(queries) + kQueries * (depth(c.q.dims[2]) + depth(c.v.dims[2]));
    const Bits* own = room(c, s);
    product(own, kQueries, q + kQueries * c.key_columns, 16 * kQueries, kQueries / 32, c.value_columns / 16, true, dv,
            c.value_columns);
    product(own + 2 * kQueries * kKeys, kQueries, q, 16 * kQueries, kQueries / 32, c.key_columns / 16, true, dk, c.key_columns);
  }

  static constexpr int64_t kMaxDepth = 512;  // longer heads go to the float engine

 private:
  // Where p (p^T, ds and ds^T) of the block at hand lie.
  static Bits* room(const Call& c, const Scratch& s) {
    Bits* at = reinterpret_cast<Bits*>(s.queries);
    if (!c.backward) return at + kQueries * depth(c.q.dims[2]);
    return at + kQueries * (depth(c.q.dims[2]) + depth(c.v.dims[2]) + c.key_columns + c.value_columns);
  }

  // Rows of one head as [64][depth], zeros past rows and dimensions.
  static void copy_bits(const View& view, int64_t first, int64_t count, int64_t head, int64_t depth_of, Bits* to) {
    const auto width = static_cast<size_t>(view.dims[2]);
    for (int64_t i = 0; i < count; ++i, to += depth_of) {
      std::memcpy(to, head_row<BFloat16>(view, first + i, head), width * 2);
      std::memset(to + width, 0, (static_cast<size_t>(depth_of) - width) * 2);
    }
    std::memset(to, 0, static_cast<size_t>((kKeys - count) * depth_of) * 2);
  }
  // [64][depth] to [4][depth / 2][16][2]
  static void by_dimensions(const Bits* rows, int64_t depth_of, Bits* to) {
    const auto* from = reinterpret_cast<const uint32_t*>(rows);
    auto* units = reinterpret_cast<uint32_t*>(to);
    const int64_t half = depth_of / 2;
    for (int64_t panel = 0; panel < kKeys / 16; ++panel, from += 16 * half, units += 16 * half) {
      for (int64_t unit = 0; unit < half; unit += 4) {
        for (int64_t r = 0; r < 16; r += 4) turn_four(from + r * half + unit, half, units + unit * 16 + r, 16);
      }
    }
  }
  // [64][depth] to [columns / 16][32][16][2]
  static void by_rows(const Bits* rows, int64_t depth_of, int64_t columns_of, Bits* to) {
    for (int64_t column = 0; column < columns_of; column += 16) {
      for (int64_t r = 0; r < kKeys; r += 2, to += 32) {
        pair_rows(rows + r * depth_of + column, rows + (r + 1) * depth_of + column, to);
      }
    }
  }
  static void round_block(const float* from, Bits* to) {
    for (int64_t i = 0; i < kQueries * kKeys; i += kLanes) store(load(from + i), reinterpret_cast<BFloat16*>(to) + i);
  }
  static void turn_block(const Bits* from, Bits* to) {
    for (int64_t r = 0; r < kQueries; r += 8) {
      for (int64_t j = 0; j < kKeys; j += 8) turn_eight(from + r * kKeys + j, kKeys, to + j * kQueries + r, kQueries);
    }
  }

  // c [64][n tiles * 16] (+)= a [64][steps * 32] b, whose panels of 16 columns are b_panel elements apart.
  void product(const Bits* a, int64_t a_row, const Bits* b, int64_t b_panel, int64_t steps, int64_t n, bool add, float* c,
               int64_t c_row) const {
    for (int64_t panel = 0; panel < n; panel += 2) {
      const bool two = panel + 1 < n;
      for (int64_t row = 0; row < 64; row += 32) {
        float *top = c + row * c_row + panel * 16, *bottom = top + 16 * c_row;
        if (add) {
          tiles_.template load<0>(top, c_row * 4);
          tiles_.template load<2>(bottom, c_row * 4);
          if (two) tiles_.template load<1>(top + 16, c_row * 4);
          if (two) tiles_.template load<3>(bottom + 16, c_row * 4);
        } else {
          tiles_.template zero<0>();
          tiles_.template zero<1>();
          tiles_.template zero<2>();
          tiles_.template zero<3>();
        }
        for (int64_t step = 0; step < steps; ++step) {
          const Bits *x = a + row * a_row + step * 32, *w = b + panel * b_panel + step * 512;
          tiles_.template load<4>(x, a_row * 2);
          tiles_.template load<6>(w, 64);
          tiles_.template dot<0, 4, 6>();
          if (two) tiles_.template load<7>(w + b_panel, 64);
          if (two) tiles_.template dot<1, 4, 7>();
          tiles_.template load<5>(x + 16 * a_row, a_row * 2);
          tiles_.template dot<2, 5, 6>();
          if (two) tiles_.template dot<3, 5, 7>();
        }
        tiles_.template store<0>(top, c_row * 4);
        tiles_.template store<2>(bottom, c_row * 4);
        if (two) tiles_.template store<1>(top + 16, c_row * 4);
        if (two) tiles_.template store<3>(bottom + 16, c_row * 4);
      }
    }
  }

  mutable NativeTiles tiles_;
};

inline bool fits_tiles(const View& q, const View& k, const View& v) {
  return q.dtype == DType::kBFloat16 && k.dims[2] <= TileGradients::kMaxDepth && v.dims[2] <= TileGradients::kMaxDepth;
}

void tile_dropout(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                  View lse) {
  if (!fits_tiles(q, k, v)) return attention_dropout(exec, spec, rows, q, k, v, out, lse);
  dropout_by<TileGradients>(exec, spec, rows, q, k, v, out, lse);
}

void tile_gradients(const Exec& exec, const AttentionSpec& spec, const RaggedRows& rows, View q, View k, View v, View out,
                    View lse, View dout, View dq, View dk, View dv) {
  if (!fits_tiles(q, k, v)) return attention_backward(exec, spec, rows, q, k, v, out, lse, dout, dq, dk, dv);
  gradients_by<TileGradients>(exec, spec, rows, q, k, v, out, lse, dout, dq, dk, dv);
}
