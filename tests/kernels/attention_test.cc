// Attention against the reference, and equal to the bit however its rows, pages and threads are arranged.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>

#include "kernels/cpu/attention_dropout.h"
#include "kernels/cpu/page_layout.h"
#include "tests/kernels/vector_tables.h"

namespace pagoda::test {
namespace {

struct Heads {
  int64_t queries, keys, dim, value_dim;
};

struct Case {
  Heads heads;
  std::vector<int64_t> lengths;
  AttentionSpec spec;
  DType dtype;
  std::string name;
};

// A call's inputs; slopes and sinks live here.
struct Inputs {
  Heads heads;
  std::vector<int64_t> lengths;
  std::vector<int32_t> starts;
  AttentionSpec spec;
  DType dtype;
  Matrix q, k, v;
  std::vector<float> slopes, sinks;

  explicit Inputs(const Case& c, uint64_t seed = 1)
      : heads(c.heads),
        lengths(c.lengths),
        spec(c.spec),
        dtype(c.dtype),
        q(dtype, {total(), heads.queries, heads.dim}),
        k(dtype, {total(), heads.keys, heads.dim}, 5),
        v(dtype, {total(), heads.keys, heads.value_dim}, 7) {
    starts.push_back(0);
    for (int64_t n : lengths) starts.push_back(starts.back() + static_cast<int32_t>(n));
    Numbers numbers(seed);
    q.fill(numbers, 2);
    k.fill(numbers, 2);
    v.fill(numbers);
    for (int64_t h = 0; h < heads.queries; ++h) {
      slopes.push_back(0.5f / static_cast<float>(h + 1));
      sinks.push_back(numbers.next(3));
    }
    if (spec.bias == AttentionSpec::Bias::kAlibi) spec.alibi_slopes = slopes.data();
    if (spec.sinks != nullptr) spec.sinks = sinks.data();
  }
  int64_t total() const { return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}); }
  RaggedRows rows() const { return {static_cast<int64_t>(lengths.size()), starts.data()}; }
  Matrix out() const { return Matrix(dtype, {total(), heads.queries, heads.value_dim}, 2); }
};

const float kAsked = 0;  // a sink pointer that Inputs replaces

std::vector<std::pair<std::string, AttentionSpec>> specs() {
  std::vector<std::pair<std::string, AttentionSpec>> list;
  const auto add = [&](const char* name, auto&& change) {
    AttentionSpec spec;
    spec.scale = 0.25f;
    change(spec);
    list.emplace_back(name, spec);
  };
  add("causal", [](AttentionSpec&) {});
  add("full", [](AttentionSpec& s) { s.mask = AttentionSpec::Mask::kFull; });
  add("window 1", [](AttentionSpec& s) { s.window = 1; });
  add("window 7", [](AttentionSpec& s) { s.window = 7; });
  add("window 150", [](AttentionSpec& s) { s.window = 150; });
  add("full window 40", [](AttentionSpec& s) {
    s.mask = AttentionSpec::Mask::kFull;
    s.window = 40;
  });
  add("soft cap", [](AttentionSpec& s) { s.soft_cap = 1.5f; });
  add("alibi", [](AttentionSpec& s) { s.bias = AttentionSpec::Bias::kAlibi; });
  add("sinks", [](AttentionSpec& s) { s.sinks = &kAsked; });
  add("all", [](AttentionSpec& s) {
    s.window = 33;
    s.soft_cap = 2;
    s.bias = AttentionSpec::Bias::kAlibi;
    s.sinks = &kAsked;
  });
  return list;
}

std::vector<Case> all_cases() {
  const std::vector<Heads> shapes = {{1, 1, 1, 1},   {2, 1, 5, 3},    {3, 3, 12, 12},   {9, 3, 64, 64}, {4, 2, 80, 80},
                                     {8, 1, 33, 17}, {2, 2, 256, 40}, {1, 1, 300, 128}, {14, 2, 16, 31}};
  const std::vector<std::vector<int64_t>> ragged = {{1}, {2, 1, 3}, {17, 0, 16, 15}, {130, 5}, {300}, {128, 129, 127}};
  std::vector<Case> list;
  size_t i = 0;
  for (const auto& [name, spec] : specs()) {
    for (const Heads& heads : shapes) {
      for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        // Every spec meets every shape and dtype; lengths take turns.
        for (size_t turn = 0; turn < 2; ++turn) {
          const std::vector<int64_t>& lengths = ragged[(i++ + turn * 3) % ragged.size()];
          list.push_back({heads, lengths, spec, dtype,
                          name + " " + dtype_name(dtype) + " heads " + std::to_string(heads.queries) + "/" +
                              std::to_string(heads.keys) + " dims " + std::to_string(heads.dim) + "/" +
                              std::to_string(heads.value_dim) + " lengths " + ::testing::PrintToString(lengths)});
        }
      }
    }
  }
  return list;
}

// The vector tables, and those that multiply bfloat16: native where this machine has the instructions, and over stand-ins.
struct AttentionTable {
  std::string name;
  KernelTable table;
  bool halves;  // rounds weights to bfloat16; float32 cases are those of the table below it

  // Stand-ins are slow: every fifth of the bfloat16 cases still meets every spec, shape and list of lengths.
  std::vector<Case> cases() const {
    std::vector<Case> all = all_cases(), chosen;
    Share share;
    size_t i = 0;
    for (Case& c : all) {
      if (halves && (c.dtype != DType::kBFloat16 || i++ % 5 != 0)) continue;
      if (share.wanted()) chosen.push_back(std::move(c));
    }
    return chosen;
  }
};

std::vector<AttentionTable> attention_tables() {
  const CpuInfo cpu = detect_cpu();
  std::vector<AttentionTable> tables;
  for (const NamedTable& named : all_vector_tables()) tables.push_back({named.name, named.table, false});
  const auto add = [&](const char* name, Isa needs, void (*fill)(KernelTable&)) {
    if (!isa_supported(needs, cpu)) return;
    tables.push_back({name, tables.back().table, true});
    fill(tables.back().table);
  };
  add("avx512_bf16 stand-in", Isa::kAvx2, fill_vector_avx512_bf16_standin);
  add("amx stand-in", Isa::kAvx2, fill_vector_amx_standin);
  add("avx512_bf16", Isa::kAvx512Bf16, fill_vector_avx512_bf16);
  add("amx", Isa::kAmx, fill_vector_amx);
  std::erase_if(tables, [](const AttentionTable& named) { return !table_wanted(named.name); });
  return tables;
}

Matrix run_dense(const KernelTable& table, Runner& runner, Inputs& in, Matrix* lse = nullptr) {
  Matrix out = in.out();
  table.attention(runner.exec(), in.spec, in.rows(), in.q.view(), in.k.view(), in.v.view(), out.view(),
                  lse != nullptr ? lse->view() : View());
  return out;
}

TEST(Attention, DenseAgreesWithReference) {
  Runner runner(2);
  for (const AttentionTable& named : attention_tables()) {
    for (const Case& c : named.cases()) {
      Inputs in(c);
      Matrix lse(DType::kFloat32, {in.total(), in.heads.queries}, 0), expected_lse = lse;
      const Matrix expected = run_dense(oracle(), runner, in, &expected_lse);
      const Matrix out = run_dense(named.table, runner, in, &lse);
      expect_near(out, expected, c.dtype == DType::kFloat32 ? 1e-5 : 8e-3, named.name + ": " + c.name);
      // Rounded weights count rounded: half a unit of bfloat16's last place of the total.
      expect_near(lse, expected_lse, named.halves ? 4e-3 : 2e-6 + 1e-6 * static_cast<double>(in.heads.dim),
                  named.name + " lse: " + c.name);
      if (HasFatalFailure()) return;
    }
  }
}

// A cache with two slabs, another layer's bytes round this one's, pages in scrambled order, and NaN wherever nothing was
// written.
struct Cache {
  KvPages pages;
  std::vector<uint8_t> bytes;
  std::vector<int32_t> tables;
  int64_t stride = 0;
  std::vector<int64_t> slots;  // of every token of every sequence, in order

  Cache(const Inputs& in, uint64_t seed, DType dtype) {
    pages.num_key_value_heads = in.heads.keys;
    pages.head_dim = in.heads.dim;
    pages.v_head_dim = in.heads.value_dim;
    pages.dtype = dtype;
    const int64_t own = page_bytes(in.heads.keys, in.heads.dim, in.heads.value_dim, dtype);
    pages.layer_offset = 64;
    pages.page_bytes = own + 128;
    int64_t needed = 1;
    for (int64_t n : in.lengths) {
      const int64_t count = (n + kPageTokens - 1) / kPageTokens;
      needed += count;
      stride = std::max(stride, count + 1);
    }
    pages.pages_per_slab = (needed + 1) / 2;
    pages.slab_bytes = pages.pages_per_slab * pages.page_bytes + 192;
    bytes.assign(static_cast<size_t>(2 * pages.slab_bytes + 64), 0xFF);  // every element a NaN
    pages.base = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) / 64 * 64);
    std::vector<int32_t> order(static_cast<size_t>(needed));
    std::iota(order.begin(), order.end(), 0);
    Numbers numbers(seed);
    for (size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[static_cast<size_t>(numbers.below(static_cast<int64_t>(i)))]);
    tables.assign(in.lengths.size() * static_cast<size_t>(stride), -1);
    size_t next = 0;
    for (size_t s = 0; s < in.lengths.size(); ++s) {
      for (int64_t t = 0; t < in.lengths[s]; ++t) {
        int32_t& page = tables[s * static_cast<size_t>(stride) + static_cast<size_t>(t / kPageTokens)];
        if (t % kPageTokens == 0) page = order[next++];
        slots.push_back(page * kPageTokens + t % kPageTokens);
      }
    }
  }
};

View slot_view(std::vector<int64_t>& slots, int64_t begin, int64_t end) {
  View v;
  v.data = slots.data() + begin;
  v.dtype = DType::kInt64;
  v.rank = 1;
  v.dims[0] = end - begin;
  v.strides[0] = 1;
  return v;
}

// Feeds each sequence in chunks of at most `chunk`, all sequences side by side or one after the other. Pages that a window
// has left behind are freed: their table entries become -1 and their bytes NaN.
Matrix run_paged(const KernelTable& table, Runner& runner, Inputs& in, int64_t chunk, bool together, uint64_t seed,
                 DType cached) {
  Cache cache(in, seed, cached);
  Matrix out = in.out();
  const int64_t count = static_cast<int64_t>(in.lengths.size());
  const int64_t longest = *std::max_element(in.lengths.begin(), in.lengths.end());
  const auto step = [&](int64_t first_sequence, int64_t last_sequence, int64_t begin) {
    // Gathers the chunk's rows.
    std::vector<int64_t> rows;
    std::vector<int32_t> starts = {0}, contexts;
    for (int64_t s = first_sequence; s < last_sequence; ++s) {
      const int64_t end = std::min(in.lengths[static_cast<size_t>(s)], begin + chunk);
      for (int64_t t = begin; t < end; ++t) rows.push_back(in.starts[static_cast<size_t>(s)] + t);
      starts.push_back(static_cast<int32_t>(rows.size()));
      contexts.push_back(static_cast<int32_t>(std::max(end, std::min(begin, in.lengths[static_cast<size_t>(s)]))));
    }
    const int64_t n = static_cast<int64_t>(rows.size());
    if (n == 0) return;
    Matrix q(in.dtype, {n, in.heads.queries, in.heads.dim}), k(in.dtype, {n, in.heads.keys, in.heads.dim}),
        v(in.dtype, {n, in.heads.keys, in.heads.value_dim}), o(in.dtype, {n, in.heads.queries, in.heads.value_dim});
    std::vector<int64_t> slots;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t from = rows[static_cast<size_t>(i)];
      for (int64_t j = 0; j < q.width(); ++j) q.set(i, j, in.q.at(from, j));
      for (int64_t j = 0; j < k.width(); ++j) k.set(i, j, in.k.at(from, j));
      for (int64_t j = 0; j < v.width(); ++j) v.set(i, j, in.v.at(from, j));
      slots.push_back(cache.slots[static_cast<size_t>(from)]);
    }
    table.cache_write(runner.exec(), cache.pages, k.view(), v.view(), slot_view(slots, 0, n));
    if (in.spec.window > 0) {
      for (int64_t s = first_sequence; s < last_sequence; ++s) {
        for (int64_t page = 0; (page + 1) * kPageTokens <= begin - in.spec.window + 1; ++page) {
          int32_t& entry = cache.tables[static_cast<size_t>(s * cache.stride + page)];
          if (entry < 0) continue;
          std::memset(cache.pages.page(entry), 0xFF,
                      static_cast<size_t>(page_bytes(in.heads.keys, in.heads.dim, in.heads.value_dim, cached)));
          entry = -1;
        }
      }
    }
    PagedRows paged;
    paged.queries = {last_sequence - first_sequence, starts.data()};
    paged.context_lengths = contexts.data();
    paged.block_tables = cache.tables.data() + first_sequence * cache.stride;
    paged.table_stride = cache.stride;
    table.attention_paged(runner.exec(), in.spec, paged, cache.pages, q.view(), o.view());
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < o.width(); ++j) out.set(rows[static_cast<size_t>(i)], j, o.at(i, j));
    }
  };
  for (int64_t begin = 0; begin < longest; begin += chunk) {
    if (together) {
      step(0, count, begin);
    } else {
      for (int64_t s = 0; s < count; ++s) {
        if (begin < in.lengths[static_cast<size_t>(s)]) step(s, s + 1, begin);
      }
    }
  }
  return out;
}

TEST(Attention, PagedChunkedAndOneByOneAreDenseToTheBit) {
  Runner one(1), two(2), four(4);
  for (const AttentionTable& named : attention_tables()) {
    size_t i = 0;
    for (const Case& c : named.cases()) {
      // A context's keys are those of the whole sequence in dense full attention, but not of its chunks.
      const bool causal = c.spec.mask == AttentionSpec::Mask::kCausal;
      Inputs in(c);
      const Matrix dense = run_dense(named.table, one, in);
      const std::string what = named.name + ": " + c.name;
      ASSERT_EQ(run_dense(named.table, four, in).bytes(), dense.bytes()) << what;
      ASSERT_EQ(run_paged(named.table, two, in, 1 << 20, true, i, c.dtype).bytes(), dense.bytes()) << what << ", at once";
      ASSERT_EQ(run_paged(named.table, one, in, 1 << 20, false, i, c.dtype).bytes(), dense.bytes())
          << what << ", sequence by sequence";
      if (!causal) continue;
      constexpr int64_t kChunks[] = {1, 5, 16, 33, 128, 200};
      const int64_t chunk = kChunks[i++ % 6];
      ASSERT_EQ(run_paged(named.table, two, in, chunk, true, i, c.dtype).bytes(), dense.bytes())
          << what << ", chunks of " << chunk;
    }
  }
}

// Over int8 pages: the reference over the same codes within what rounding them to bfloat16 costs, and the same bits however the
// rows are cut.
TEST(Attention, CodesAgreeWithReferenceAndDoNotDependOnChunks) {
  Runner one(1), two(2), four(4);
  for (const AttentionTable& named : attention_tables()) {
    size_t i = 0;
    const std::vector<Case> cases = named.cases();
    for (size_t at = 0; at < cases.size(); at += named.halves ? 1 : 5) {
      const Case& c = cases[at];
      const bool causal = c.spec.mask == AttentionSpec::Mask::kCausal;
      Inputs in(c);
      const std::string what = named.name + ": " + c.name;
      const Matrix whole = run_paged(named.table, two, in, 1 << 20, true, i, DType::kInt8);
      const Matrix expected = run_paged(oracle(), two, in, 1 << 20, true, i, DType::kInt8);
      expect_near(whole, expected, c.dtype == DType::kFloat32 ? 2e-5 : named.halves ? 1.6e-2 : 8e-3, what);
      if (HasFatalFailure()) return;
      ASSERT_EQ(run_paged(named.table, four, in, 1 << 20, false, i, DType::kInt8).bytes(), whole.bytes())
          << what << ", in turn";
      if (!causal) continue;
      constexpr int64_t kChunks[] = {1, 5, 16, 33, 128, 200};
      const int64_t chunk = kChunks[i++ % 6];
      ASSERT_EQ(run_paged(named.table, one, in, chunk, true, i, DType::kInt8).bytes(), whole.bytes())
          << what << ", chunks of " << chunk;
    }
  }
}

TEST(Attention, CodesAreWithinHalfAScale) {
  Runner runner(2);
  const float inf = std::numeric_limits<float>::infinity();
  for (const AttentionTable& named : attention_tables()) {
    for (const DType source : {DType::kFloat32, DType::kBFloat16}) {
      for (const int64_t dim : {1, 5, 18, 64, 100}) {
        Inputs in({{3, 3, dim, 18}, {20, 3}, AttentionSpec(), DType::kFloat32, ""});
        Matrix k(source, {23, 3, dim}), v(source, {23, 3, 18});
        Numbers numbers(3);
        k.fill(numbers, 30);
        v.fill(numbers);
        for (int64_t j = 0; j < k.width(); ++j) k.set(7, j, 0);
        v.set(9, 2, inf);  // its head's value is NaN, the other two heads' are not
        Cache cache(in, 9, DType::kInt8), expected(in, 9, DType::kInt8);
        named.table.cache_write(runner.exec(), cache.pages, k.view(), v.view(), slot_view(cache.slots, 0, 23));
        oracle().cache_write(runner.exec(), expected.pages, k.view(), v.view(), slot_view(cache.slots, 0, 23));
        for (int64_t t = 0; t < 23; ++t) {
          const int64_t page = cache.slots[static_cast<size_t>(t)] / kPageTokens,
                        row = cache.slots[static_cast<size_t>(t)] % kPageTokens;
          std::vector<int8_t> keys(static_cast<size_t>(16 * 3 * (dim + 4))), values(16 * 3 * 22), keys2 = keys,
                                                                                                  values2 = values;
          export_page(cache.pages, page, keys.data(), values.data());
          export_page(expected.pages, page, keys2.data(), values2.data());
          for (int64_t head = 0; head < 3; ++head) {
            const auto check = [&](const std::vector<int8_t>& codes, const std::vector<int8_t>& codes2, int64_t n,
                                   const Matrix& x) {
              const int64_t at = row * 3 + head;
              float scale, scale2;
              std::memcpy(&scale, codes.data() + 16 * 3 * n + at * 4, 4);
              std::memcpy(&scale2, codes2.data() + 16 * 3 * n + at * 4, 4);
              ASSERT_EQ(std::memcmp(&scale, &scale2, 4), 0) << named.name;
              for (int64_t d = 0; d < n; ++d) {
                const float code = codes[static_cast<size_t>(at * n + d)], value = x.at(t, head * n + d);
                ASSERT_EQ(code, codes2[static_cast<size_t>(at * n + d)]) << named.name << " token " << t << " dim " << d;
                if (&x == &v && t == 9 && head == 0) {
                  ASSERT_TRUE(std::isnan(code * scale));
                } else {
                  ASSERT_LE(std::abs(code * scale - value), scale * 0.5001f) << named.name << " token " << t << " dim " << d;
                }
              }
            };
            check(keys, keys2, dim, k);
            check(values, values2, 18, v);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST(Attention, LongContextsAreSplitOverThreadsToTheSameBits) {
  Runner one(1), two(2), seven(7);
  Share share;
  for (const AttentionTable& named : attention_tables()) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      if (!share.wanted()) continue;
      AttentionSpec spec;
      spec.scale = 0.125f;
      Inputs in({{3, 1, 64, 64}, {2100, 700}, spec, dtype, ""});
      Cache cache(in, 5, dtype);
      named.table.cache_write(two.exec(), cache.pages, in.k.view(), in.v.view(), slot_view(cache.slots, 0, in.total()));
      // The last position of each sequence as a decode step sees it.
      const std::vector<int32_t> starts = {0, 1, 2}, contexts = {2100, 700};
      Matrix q(dtype, {2, 3, 64});
      for (int64_t j = 0; j < q.width(); ++j) {
        q.set(0, j, in.q.at(2099, j));
        q.set(1, j, in.q.at(2799, j));
      }
      PagedRows paged;
      paged.queries = {2, starts.data()};
      paged.context_lengths = contexts.data();
      paged.block_tables = cache.tables.data();
      paged.table_stride = cache.stride;
      const auto run = [&](Runner& runner) {
        Matrix out(dtype, {2, 3, 64});
        named.table.attention_paged(runner.exec(), in.spec, paged, cache.pages, q.view(), out.view());
        return out;
      };
      const uint64_t forks = seven.pool.regions();
      const Matrix alone = run(one);
      ASSERT_EQ(run(two).bytes(), alone.bytes());
      ASSERT_EQ(run(seven).bytes(), alone.bytes());
      EXPECT_EQ(seven.pool.regions(), forks + 1) << "one region, split over key blocks";
      const Matrix dense = run_dense(named.table, two, in);
      for (int64_t j = 0; j < q.width(); ++j) {
        ASSERT_EQ(alone.at(0, j), dense.at(2099, j));
        ASSERT_EQ(alone.at(1, j), dense.at(2799, j));
      }
    }
  }
}

TEST(Attention, NanStaysWhereItIs) {
  Runner runner(2);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<AttentionTable> tables = attention_tables();
  tables.push_back({"reference", oracle(), false});
  for (const AttentionTable& named : tables) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      Inputs in({{3, 1, 12, 20}, {40, 150, 9}, AttentionSpec(), dtype, ""});
      const Matrix clean = run_dense(named.table, runner, in);
      // Position 77 of the second sequence: seen from there on, in that sequence alone.
      for (int64_t j = 0; j < in.k.width(); ++j) in.k.set(40 + 77, j, nan);
      for (int64_t j = 0; j < in.v.width(); ++j) in.v.set(40 + 77, j, nan);
      const Matrix dirty = run_dense(named.table, runner, in);
      for (int64_t t = 0; t < in.total(); ++t) {
        const bool sees = t >= 40 + 77 && t < 190;
        for (int64_t j = 0; j < dirty.width(); ++j) {
          if (sees) {
            ASSERT_TRUE(std::isnan(dirty.at(t, j))) << named.name << " row " << t;
          } else {
            ASSERT_EQ(dirty.at(t, j), clean.at(t, j)) << named.name << " row " << t;
          }
        }
      }
      const Matrix codes = run_paged(named.table, runner, in, 64, true, 3, DType::kInt8);
      for (int64_t t = 0; t < in.total(); ++t) {
        for (int64_t j = 0; j < codes.width(); ++j) {
          ASSERT_EQ(std::isnan(codes.at(t, j)), t >= 40 + 77 && t < 190) << named.name << " row " << t << " over codes";
        }
      }
    }
  }
}

TEST(Attention, CacheWriteStoresWhatExportReads) {
  Runner runner(2);
  for (const AttentionTable& named : attention_tables()) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      for (DType source : {DType::kFloat32, DType::kBFloat16}) {
        Inputs in({{3, 3, 5, 18}, {20, 3}, AttentionSpec(), dtype, ""});
        Matrix k(source, {23, 3, 5}), v(source, {23, 3, 18});
        Numbers numbers(3);
        k.fill(numbers);
        v.fill(numbers);
        Cache cache(in, 9, dtype), expected(in, 9, dtype);
        cache.slots[4] = -1;
        named.table.cache_write(runner.exec(), cache.pages, k.view(), v.view(), slot_view(cache.slots, 0, 23));
        oracle().cache_write(runner.exec(), expected.pages, k.view(), v.view(), slot_view(cache.slots, 0, 23));
        const size_t size = static_cast<size_t>(dtype_size(dtype));
        for (int32_t page : cache.tables) {
          if (page < 0) continue;
          std::vector<uint8_t> keys(16 * 3 * 5 * size), values(16 * 3 * 18 * size), keys2 = keys, values2 = values;
          export_page(cache.pages, page, keys.data(), values.data());
          export_page(expected.pages, page, keys2.data(), values2.data());
          ASSERT_EQ(keys, keys2) << named.name;
          ASSERT_EQ(values, values2) << named.name;
        }
      }
    }
  }
}

// Every second case drops weights; rows bear numbers of their own.
struct Dropout {
  Dropout(Inputs& in, const Case& c) : numbers(static_cast<size_t>(in.total())) {
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = 7 * i + 1;
    if (c.name.size() % 2 == 0) return;
    in.spec.dropout = 0.25f;
    in.spec.dropout_key = c.name.size();
    in.spec.dropout_rows = numbers.data();
  }
  std::vector<uint64_t> numbers;
};

TEST(Attention, BackwardAgreesWithReferenceOnAnyThreads) {
  Runner one(1), three(3), many(16);  // of many threads none gets a whole sequence
  for (const AttentionTable& named : attention_tables()) {
    for (const Case& c : named.cases()) {
      Inputs in(c);
      Dropout dropout(in, c);
      Matrix lse(DType::kFloat32, {in.total(), in.heads.queries}, 0);
      Matrix out = run_dense(oracle(), one, in, &lse);
      Matrix dout = in.out();
      Numbers numbers(6);
      dout.fill(numbers);
      struct Gradients {
        Matrix dq, dk, dv;
      };
      const auto run = [&](const KernelTable& table, Runner& runner) {
        Gradients g{in.q, in.k, in.v};
        table.attention_backward(runner.exec(), in.spec, in.rows(), in.q.view(), in.k.view(), in.v.view(), out.view(),
                                 lse.view(), dout.view(), g.dq.view(), g.dk.view(), g.dv.view());
        return g;
      };
      const Gradients expected = run(oracle(), one), got = run(named.table, one), threaded = run(named.table, three),
                      parted = run(named.table, named.halves ? three : many);
      double bound = 2e-5 + 2e-7 * static_cast<double>(in.heads.dim);
      if (c.dtype == DType::kBFloat16) bound += named.halves ? 1.0 / 64 : 1.0 / 128;  // p and ds, and results, are rounded
      expect_near(got.dq, expected.dq, bound, named.name + " dq: " + c.name);
      expect_near(got.dk, expected.dk, bound, named.name + " dk: " + c.name);
      expect_near(got.dv, expected.dv, bound, named.name + " dv: " + c.name);
      ASSERT_EQ(got.dq.bytes(), threaded.dq.bytes()) << c.name;
      ASSERT_EQ(got.dk.bytes(), threaded.dk.bytes()) << c.name;
      ASSERT_EQ(got.dv.bytes(), threaded.dv.bytes()) << c.name;
      ASSERT_EQ(got.dq.bytes(), parted.dq.bytes()) << c.name;
      ASSERT_EQ(got.dk.bytes(), parted.dk.bytes()) << c.name;
      ASSERT_EQ(got.dv.bytes(), parted.dv.bytes()) << c.name;
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Attention, DropoutAgreesWithReferenceAndDropsItsShare) {
  Runner one(1), three(3), many(16);  // of many threads none gets a whole sequence
  for (const AttentionTable& named : attention_tables()) {
    for (const Case& c : named.cases()) {
      if (c.spec.sinks != nullptr) continue;
      Inputs in(c);
      Dropout dropout(in, c);
      if (in.spec.dropout == 0) continue;
      Matrix lse(DType::kFloat32, {in.total(), in.heads.queries}, 0);
      const Matrix plain = run_dense(oracle(), one, in, &lse);
      const auto run = [&](const KernelTable& table, Runner& runner) {
        Matrix out = in.out();
        table.attention_dropout(runner.exec(), in.spec, in.rows(), in.q.view(), in.k.view(), in.v.view(), out.view(),
                                lse.view());
        return out;
      };
      const Matrix expected = run(oracle(), one), got = run(named.table, one);
      expect_near(got, expected, c.dtype == DType::kBFloat16 ? 1.0 / 128 : 3e-5, named.name + ": " + c.name);
      ASSERT_EQ(got.bytes(), run(named.table, three).bytes()) << c.name;
      ASSERT_NE(got.bytes(), plain.bytes()) << c.name;
      if (HasFatalFailure()) return;
    }
  }
  AttentionSpec spec;
  spec.dropout = 0.1f;
  spec.dropout_key = 3;
  int64_t kept = 0;
  constexpr int64_t kRows = 1000, kKeys = 1000;
  for (uint64_t row = 0; row < kRows; ++row) {
    spec.dropout_rows = &row;
    const uint32_t seed = dropout_seed(spec, 0, 2);
    for (int64_t key = 0; key < kKeys; ++key) kept += dropout_keeps(seed, key, dropout_threshold(spec)) ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(kept) / (kRows * kKeys), 0.9, 0.0015);  // five standard deviations
}

}  // namespace
}  // namespace pagoda::test
