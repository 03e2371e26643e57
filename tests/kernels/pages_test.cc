// Pages of the cache outside attention: their wire form and their copies.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "kernels/cpu/page_layout.h"
#include "kernels/table.h"

namespace pagoda {
namespace {

struct Pages {
  Pages(int64_t heads, int64_t head_dim, int64_t v_head_dim, DType dtype) {
    pages.num_key_value_heads = heads;
    pages.head_dim = head_dim;
    pages.v_head_dim = v_head_dim;
    pages.dtype = dtype;
    pages.page_bytes = page_bytes(heads, head_dim, v_head_dim, dtype);
    pages.slab_bytes = pages.page_bytes;
    bytes.assign(static_cast<size_t>(3 * pages.page_bytes + 64), 0xFF);  // every element a NaN
    pages.base = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(bytes.data()) + 63) / 64 * 64);
  }
  KvPages pages;
  std::vector<uint8_t> bytes;
};

TEST(Pages, TheWireFormComesBackAndPaddingIsZero) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kInt8}) {
    for (const int64_t dim : {5, 16}) {
      Pages p(3, dim, dim + 2, dtype);
      const size_t size = static_cast<size_t>(dtype_size(dtype)), scales = dtype == DType::kInt8 ? kPageTokens * 3 * 4 : 0;
      std::vector<uint8_t> keys(static_cast<size_t>(kPageTokens * 3 * dim) * size + scales),
          values(static_cast<size_t>(kPageTokens * 3 * (dim + 2)) * size + scales);
      std::iota(keys.begin(), keys.end(), uint8_t{1});
      std::iota(values.begin(), values.end(), uint8_t{7});
      import_page(p.pages, 1, keys.data(), values.data());
      copy_page(p.pages, 1, 2);
      std::vector<uint8_t> keys_back(keys.size()), values_back(values.size());
      export_page(p.pages, 2, keys_back.data(), values_back.data());
      EXPECT_EQ(keys_back, keys);
      EXPECT_EQ(values_back, values);
      EXPECT_EQ(p.pages.page(0)[0], 0xFF);  // its neighbour is untouched
      if (dtype == DType::kBFloat16 && dim % 2 != 0) {
        const PageLayout layout(dim, dim + 2, dtype);
        const auto* elements = reinterpret_cast<const BFloat16*>(p.pages.page(2));
        for (int64_t token = 0; token < kPageTokens; ++token) EXPECT_EQ(elements[layout.key(2, token, dim)].bits, 0) << token;
      }
    }
  }
}

TEST(Pages, WhatIsWrittenIsWhatIsExported) {
  KernelTable table;
  fill_reference(table);
  ThreadPool pool(1);
  Arena arena;
  const Exec exec{&pool, &arena, nullptr};
  Pages p(2, 3, 4, DType::kFloat32);
  std::vector<float> k(2 * 3), v(2 * 4);
  std::iota(k.begin(), k.end(), 1.0f);
  std::iota(v.begin(), v.end(), 100.0f);
  int64_t slot = 2 * kPageTokens + 5;
  const View key{k.data(), DType::kFloat32, 3, {1, 2, 3}, {6, 3, 1}}, value{v.data(), DType::kFloat32, 3, {1, 2, 4}, {8, 4, 1}};
  const View slots{&slot, DType::kInt64, 1, {1}, {1}};
  table.cache_write(exec, p.pages, key, value, slots);
  std::vector<float> keys(kPageTokens * 6), values(kPageTokens * 8);
  export_page(p.pages, 2, keys.data(), values.data());
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(keys[5 * 6 + i], k[i]);
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(values[5 * 8 + i], v[i]);
  EXPECT_TRUE(std::isnan(keys[4 * 6]));
}

}  // namespace
}  // namespace pagoda
