// Element types: names both ways, 16-bit floats over all their values.
#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace pagoda {
namespace {

TEST(DType, NamesOfTorchAndSafetensors) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32, DType::kBFloat16, DType::kFloat16, DType::kInt64, DType::kInt32,
                            DType::kInt16, DType::kInt8, DType::kUInt8, DType::kBool, DType::kFloat8E4M3, DType::kFloat8E5M2}) {
    EXPECT_EQ(parse_dtype(dtype_name(dtype), "test"), dtype);
    EXPECT_EQ(parse_dtype(safetensors_dtype_name(dtype), "test"), dtype);
    EXPECT_EQ(parse_dtype(std::string("torch.") + dtype_name(dtype), "test"), dtype);
  }
  EXPECT_THROW(parse_dtype("float31", "test"), Error);
}

TEST(DType, EveryFloat16SurvivesTheWayThroughFloat32) {
  for (uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const float value = float16_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float16_to_float(float_to_float16(value)))) << bits;
    } else {
      ASSERT_EQ(float_to_float16(value), bits);
    }
  }
}

TEST(DType, Float16RoundsToNearestEven) {
  EXPECT_EQ(float16_to_float(float_to_float16(1.0f + 0x1p-11f)), 1.0f);                // a tie goes to the even side
  EXPECT_EQ(float16_to_float(float_to_float16(1.0f + 3 * 0x1p-11f)), 1.0f + 0x1p-9f);  // the other tie goes up
  EXPECT_EQ(float16_to_float(float_to_float16(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(float16_to_float(float_to_float16(65520.0f))));
  EXPECT_EQ(float16_to_float(float_to_float16(0x1p-24f)), 0x1p-24f);  // the least subnormal
  EXPECT_EQ(float16_to_float(float_to_float16(0x1p-26f)), 0.0f);
}

TEST(DType, BFloat16RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(static_cast<float>(BFloat16(1.0f + 0x1p-8f)), 1.0f);
  EXPECT_EQ(static_cast<float>(BFloat16(1.0f + 3 * 0x1p-8f)), 1.0f + 0x1p-6f);
  EXPECT_TRUE(std::isinf(static_cast<float>(BFloat16(3.4e38f))));
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(bits_to_float(0x7F800001)))));  // a NaN whose upper half alone is infinity
}

}  // namespace
}  // namespace pagoda
