// Joined parameters of different codings: one weight, one result.
#include "ops/packed_weight.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/linear.h"
#include "ops/math.h"
#include "ops/runtime.h"
#include "tests/group_values.h"

namespace pagoda {
namespace {

// Rows of a coding, made of a seed. `groups` false: only decode() is there.
class Coded : public EncodedTensor {
 public:
  Coded(const GroupCoding& coding, int64_t rows, int64_t k, uint32_t seed, bool groups = true, bool int8_activations = false)
      : rows_(coding, rows, k), groups_(groups), int8_activations_(int8_activations) {
    const auto next = [&seed] { return (seed = seed * 1664525 + 1013904223) >> 16; };
    for (int8_t& code : rows_.codes) {
      code = static_cast<int8_t>(coding.bits == 8 ? static_cast<int>(next() % 256) - 128
                                                  : static_cast<int>(next() % 16) - coding.offset);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const auto width = static_cast<int64_t>(rows_.scales.size()) / rows;
      for (int64_t g = 0; g < width; ++g) {
        // One scale a row serves every coding, kInt8Rows too.
        rows_.scales[static_cast<size_t>(r * width + g)] = 0.0078125f * static_cast<float>(1 + r % 5);
      }
    }
    for (float& minimum : rows_.minima) minimum = 0.25f * static_cast<float>(next() % 8);
    for (int8_t& scale : rows_.small_scales) scale = static_cast<int8_t>(next() % 8);
    for (uint8_t& minimum : rows_.small_minima) minimum = static_cast<uint8_t>(next() % 8);
  }
  std::string coding() const override { return "test"; }
  GroupCoding groups() const override { return groups_ ? rows_.coding : GroupCoding{}; }
  bool int8_activations() const override { return int8_activations_; }
  float at(int64_t n, int64_t k) const { return testing::group_value(rows_, n, k); }
  void decode(int64_t begin, int64_t end, float* out) const override {
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t k = 0; k < rows_.k; ++k) *out++ = at(n, k);
    }
  }
  void read_groups(int64_t begin, GroupRows& rows) const override {
    const auto copy = [&](const auto& from, auto& to) {
      const auto width = static_cast<std::ptrdiff_t>(from.size()) / rows_.rows;
      std::copy_n(from.begin() + begin * width, to.size(), to.begin());
    };
    copy(rows_.codes, rows.codes);
    copy(rows_.scales, rows.scales);
    copy(rows_.minima, rows.minima);
    copy(rows_.small_scales, rows.small_scales);
    copy(rows_.small_minima, rows.small_minima);
  }

 private:
  GroupRows rows_;
  bool groups_, int8_activations_;
};

constexpr GroupCoding kQ4K{4, 32, GroupScale::kSuperMin, 0}, kQ6K{8, 16, GroupScale::kSuper, 0},
    kInt8{8, 128, GroupScale::kFloat, 0};

struct Joined {
  Runtime runtime{[] {
    RuntimeOptions options;
    options.threads = 2;
    return options;
  }()};
  std::vector<std::pair<std::string, std::shared_ptr<const Coded>>> parts;
  std::vector<PackedWeight::Source> sources() const {
    std::vector<PackedWeight::Source> all;
    for (const auto& [name, coded] : parts) {
      all.push_back({name, {}, coded, {rows(name), 256}});
    }
    return all;
  }
  static int64_t rows(const std::string& name) { return name == "q" ? 70 : 23; }
};

TEST(PackedWeight, PartsOfDifferentCodingsAreOneProduct) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    Joined joined;
    joined.parts = {{"q", std::make_shared<Coded>(kQ4K, 70, 256, 1)},
                    {"k", std::make_shared<Coded>(kQ4K, 23, 256, 2)},
                    {"v", std::make_shared<Coded>(kQ6K, 23, 256, 3)},
                    {"w", std::make_shared<Coded>(kQ6K, 23, 256, 4, false)},
                    {"z", std::make_shared<Coded>(kInt8, 23, 256, 5, true, true)}};
    Device& device = joined.runtime.device();
    const auto packed = PackedWeight::pack(device, dtype, joined.sources());
    // q with k, v, what has no groups, and int8.
    ASSERT_EQ(packed->views().size(), 4u);
    EXPECT_EQ(packed->views()[0].n, 93);
    EXPECT_EQ(packed->views()[3].format, dtype == DType::kBFloat16 ? WeightFormat::kInt8Rows : WeightFormat::kGroups);
    EXPECT_EQ(packed->n(), 162);
    EXPECT_EQ(format_name(packed->view()), "int4 in groups of 32");
    Tensor x = Tensor::empty(device, DType::kFloat32, {3, 256}), bias = Tensor::empty(device, DType::kFloat32, {162});
    for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = 0.125f * static_cast<float>((i * 37) % 17 - 8);
    for (int64_t i = 0; i < 162; ++i) bias.data<float>()[i] = static_cast<float>(i % 7);
    Tensor in = Tensor::empty(device, dtype, {3, 256});
    device.kernels->cast(device.exec, x.view(), in.view());
    const Tensor y = ops::linear(in, *packed, {bias, Activation::kNone, {}, DType::kFloat32});
    int64_t begin = 0;
    for (const auto& [name, coded] : joined.parts) {
      const int64_t rows = Joined::rows(name);
      const Tensor back = packed->unpack(name);
      for (int64_t n = 0; n < rows; ++n) {
        for (int64_t m = 0; m < 3; ++m) {
          double sum = static_cast<double>(bias.data<float>()[begin + n]), magnitude = 1;
          for (int64_t k = 0; k < 256; ++k) {
            sum += static_cast<double>(x.data<float>()[m * 256 + k]) * static_cast<double>(coded->at(n, k));
            magnitude += std::fabs(static_cast<double>(x.data<float>()[m * 256 + k] * coded->at(n, k)));
          }
          // Decoded weights and activations in int8 are rounded.
          const double bound = dtype == DType::kBFloat16 && (name == "w" || name == "z") ? 4e-3 : 1e-5;
          ASSERT_NEAR(static_cast<double>(y.data<float>()[m * 162 + begin + n]), sum, bound * magnitude) << name << " " << n;
        }
        if (back.dtype() != DType::kFloat32) continue;
        for (int64_t k = 0; k < 256; ++k) ASSERT_EQ(back.data<float>()[n * 256 + k], coded->at(n, k)) << name;
      }
      begin += rows;
    }
  }
}

TEST(PackedWeight, RowsThatAreNoWholeGroupsAreDecoded) {
  Runtime runtime;
  const auto coded = std::make_shared<Coded>(GroupCoding{4, 16, GroupScale::kHalf, 8}, 20, 48, 7);
  const auto whole = PackedWeight::pack(runtime.device(), DType::kFloat32, {{"a", {}, coded, {20, 48}}});
  EXPECT_EQ(whole->view().format, WeightFormat::kGroups);
  const auto some = std::make_shared<Coded>(kQ4K, 20, 256, 7);
  const auto none = PackedWeight::pack(runtime.device(), DType::kFloat32,
                                       {{"a", {}, std::make_shared<Coded>(kQ4K, 20, 256, 7, false), {20, 256}}});
  EXPECT_EQ(none->view().format, WeightFormat::kFloat32Panels);
  EXPECT_EQ(format_name(none->view()), "float32");
  const Tensor back = none->unpack("a");
  for (int64_t n = 0; n < 20; ++n) {
    for (int64_t k = 0; k < 256; ++k) ASSERT_EQ(back.data<float>()[n * 256 + k], some->at(n, k));
  }
}

}  // namespace
}  // namespace pagoda
