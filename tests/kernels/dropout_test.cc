// Dropout: every instruction set drops what the reference drops, to the bit; how much, and that the draws never change.
#include <gtest/gtest.h>

#include <vector>

#include "tests/kernels/vector_tables.h"

namespace pagoda::test {
namespace {

const std::vector<uint64_t> kNumbers = {0, 1, 5, (uint64_t{7} << 24) + 3, ~uint64_t{0}, 1000, 2, 3, 4, 77, 78};

DropoutSpec spec_of(float p, uint32_t site) { return {p, 99, kNumbers.data(), site}; }

TEST(Dropout, IsTheReferencesToTheBit) {
  Runner one(1), three(3);
  const auto rows = static_cast<int64_t>(kNumbers.size());
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const int64_t width : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 255, 257, 768, 1000}) {
      for (const float p : {0.1f, 0.5f, 0.999f}) {
        const DropoutSpec spec = spec_of(p, static_cast<uint32_t>(width));
        Numbers numbers(3);
        Matrix x(dtype, {rows, width}, 3), expected(dtype, {rows, width}, 2);
        x.fill(numbers, 2);
        oracle().dropout(one.exec(), spec, x.view(), expected.view());
        for (const NamedTable& tested : vector_tables()) {
          Matrix y(dtype, {rows, width}, 2), threaded(dtype, {rows, width}, 2);
          tested.table.dropout(one.exec(), spec, x.view(), y.view());
          tested.table.dropout(three.exec(), spec, x.view(), threaded.view());
          ASSERT_EQ(y.bytes(), expected.bytes()) << tested.name << " " << dtype_name(dtype) << " width " << width << " p " << p;
          ASSERT_EQ(threaded.bytes(), expected.bytes()) << tested.name << " width " << width;
          tested.table.dropout(one.exec(), spec, threaded.view(),
                               threaded.view());  // in place, and twice: what is dropped stays so
          for (int64_t t = 0; t < rows; ++t) {
            for (int64_t j = 0; j < width; ++j) ASSERT_EQ(threaded.at(t, j) == 0, expected.at(t, j) == 0);
          }
        }
      }
    }
  }
}

TEST(Dropout, DropsTheShareItSays) {
  Runner one(1);
  Matrix x(DType::kFloat32, {11, 20000}, 0), y(DType::kFloat32, {11, 20000}, 0);
  for (int64_t i = 0; i < 11 * 20000; ++i) x.view().as<float>()[i] = 1;
  for (const float p : {0.1f, 0.25f, 0.9f}) {
    oracle().dropout(one.exec(), spec_of(p, 4), x.view(), y.view());
    int64_t dropped = 0;
    for (int64_t i = 0; i < 11 * 20000; ++i) {
      const float value = y.view().as<float>()[i];
      if (value == 0) {
        ++dropped;
      } else {
        ASSERT_FLOAT_EQ(value, 1 / (1 - p));
      }
    }
    EXPECT_NEAR(static_cast<double>(dropped) / (11 * 20000), static_cast<double>(p), 0.004);
  }
}

// A run that goes on with a later build must drop the same elements.
TEST(Dropout, DrawsNeverChange) {
  Runner one(1);
  Matrix x(DType::kFloat32, {2, 32}, 0), y(DType::kFloat32, {2, 32}, 0);
  for (int64_t i = 0; i < 64; ++i) x.view().as<float>()[i] = 1;
  oracle().dropout(one.exec(), spec_of(0.5f, 1), x.view(), y.view());
  uint64_t kept = 0;
  for (int64_t i = 0; i < 64; ++i) kept |= uint64_t{y.view().as<float>()[i] != 0 ? 1u : 0u} << i;
  EXPECT_EQ(kept, 0x7D2819C310151B3Dull);
}

}  // namespace
}  // namespace pagoda::test
