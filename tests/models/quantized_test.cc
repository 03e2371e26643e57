// Quantised Hugging Face checkpoints of every kind: decoded weights, logits, and what is said of those that do not fit
// together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "formats/quantized.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "ops/runtime.h"
#include "ops/tape.h"
#include "tests/group_values.h"
#include "tests/models/logits_error.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/quantized/";

std::vector<std::string> cases() {
  return directory_exists(kFixtures) ? list_directory(kFixtures) : std::vector<std::string>{};
}

class Quantized : public ::testing::TestWithParam<std::string> {};

TEST_P(Quantized, WeightsEqualThePackagesFormula) {
  const auto folder = ModelFolder::open(kFixtures + GetParam());
  const auto reference = SafetensorsFile::open(kFixtures + GetParam() + "/reference.safetensors");
  EXPECT_EQ(folder->dtype(), DType::kBFloat16);
  int compared = 0;
  for (const TensorEntry& wanted : reference->tensors()) {
    if (wanted.name.find(".weight") == std::string::npos) continue;
    const TensorEntry* entry = folder->weights().find(wanted.name);
    ASSERT_NE(entry, nullptr) << wanted.name;
    ASSERT_TRUE(entry->encoded) << wanted.name;
    ASSERT_EQ(entry->shape, wanted.shape) << wanted.name;
    const std::vector<float> values = testing::floats(wanted);
    std::vector<float> all(values.size()), some(static_cast<size_t>(5 * wanted.shape[1]));
    entry->encoded->decode(0, wanted.shape[0], all.data());
    // float32 products of the same integers: equal but for the order of one multiplication.
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(all[i], values[i], 1e-6 * (1e-3 + std::fabs(values[i]))) << wanted.name << " " << i;
    entry->encoded->decode(3, 8, some.data());
    EXPECT_EQ(std::memcmp(some.data(), all.data() + 3 * wanted.shape[1], some.size() * 4), 0);
    ++compared;
  }
  EXPECT_EQ(compared, 2);
  // The parts no longer show by themselves.
  for (const std::string& name : folder->weights().names()) {
    EXPECT_TRUE(name.size() > 7 && name.substr(name.size() - 7) == ".weight") << name;
  }
}

// Integers in groups are the same values; only 8-bit floats, MXFP4 and columns in an order of their own have none.
TEST_P(Quantized, CodesAndScalesGiveTheDecodedValues) {
  const auto folder = ModelFolder::open(kFixtures + GetParam());
  const bool decoded = GetParam().find("fp8") != std::string::npos || GetParam().find("fp4") != std::string::npos ||
                       GetParam().find("float") != std::string::npos || GetParam().find("g_idx") != std::string::npos ||
                       GetParam().find("uneven") != std::string::npos || GetParam().find("act_order") != std::string::npos;
  for (const std::string& name : folder->weights().names()) {
    const TensorEntry* entry = folder->weights().find(name);
    if (!entry->encoded) continue;
    const GroupCoding coding = entry->encoded->groups();
    EXPECT_EQ(static_cast<bool>(coding), !decoded) << name;
    if (!coding) continue;
    const int64_t n = entry->shape[0], k = entry->shape[1];
    std::vector<float> values(static_cast<size_t>(n * k));
    entry->encoded->decode(0, n, values.data());
    GroupRows rows(coding, n - 3, k);
    entry->encoded->read_groups(3, rows);
    for (int64_t i = 0; i < n - 3; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        const float value = values[static_cast<size_t>((i + 3) * k + j)];
        ASSERT_NEAR(pagoda::testing::group_value(rows, i, j), value, 1e-6 * (1e-2 + std::fabs(value)))
            << name << " " << i << " " << j;
      }
    }
  }
}

TEST_P(Quantized, LogitsEqualTransformersWithTheDecodedWeights) {
  const auto reference = SafetensorsFile::open(kFixtures + GetParam() + "/reference.safetensors");
  const TensorEntry *ids = reference->find("ids"), *logits = reference->find("logits");
  for (const auto& [dtype, bound] : {std::pair{DType::kFloat32, 1e-4}, {DType::kBFloat16, 0.05}}) {
    EXPECT_LT(testing::logits_error(kFixtures + GetParam(), *ids, *logits, dtype), bound) << dtype_name(dtype);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Quantized, ::testing::ValuesIn(cases()));

TEST(QuantizedFixtures, AreThere) { EXPECT_GE(cases().size(), 21u); }

// A checkpoint in memory.
class Memory : public WeightSource {
 public:
  Memory& add(const std::string& name, DType dtype, std::vector<int64_t> shape, uint8_t fill = 0) {
    TensorEntry entry;
    entry.name = name;
    entry.dtype = dtype;
    entry.bytes = dtype_size(dtype);
    for (const int64_t dim : shape) entry.bytes *= dim;
    entry.shape = std::move(shape);
    auto bytes = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(entry.bytes) + 1, fill);
    entry.set_data(bytes->data());
    entry.owner = bytes;
    entries_.insert_or_assign(name, entry);
    return *this;
  }
  Memory& add(const std::string& name, DType dtype, std::vector<int64_t> shape, const void* values) {
    add(name, dtype, std::move(shape));
    TensorEntry& entry = entries_.at(name);
    std::memcpy(const_cast<uint8_t*>(entry.data()), values, static_cast<size_t>(entry.bytes));
    return *this;
  }
  const TensorEntry* find(const std::string& name) const override {
    const auto it = entries_.find(name);
    return it == entries_.end() ? nullptr : &it->second;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) names.push_back(name);
    return names;
  }

 private:
  std::map<std::string, TensorEntry> entries_;
};

std::string error_of(const Memory& files, const char* config, ErrorKind kind) {
  try {
    open_quantized(std::make_shared<Memory>(files), Json::parse(config, "config.json"), "config.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.message();
    return error.message();
  }
  return "no error";
}

TEST(QuantizedErrors, NameTheTensor) {
  constexpr const char* kGptq = R"({"quant_method":"gptq","bits":4,"group_size":32})";
  Memory gptq;
  gptq.add("a.qweight", DType::kInt32, {8, 16})
      .add("a.qzeros", DType::kInt32, {2, 2})
      .add("a.scales", DType::kFloat16, {2, 16});
  EXPECT_EQ(error_of(gptq, kGptq, ErrorKind::kInternal), "no error");
  Memory wide = gptq, index = gptq;
  EXPECT_THAT(error_of(Memory().add("a.qweight", DType::kInt32, {8, 16}), kGptq, ErrorKind::kInvalidInput),
              HasSubstr("need 'a.scales'"));
  wide.add("a.qzeros", DType::kInt32, {2, 3});
  EXPECT_THAT(error_of(wide, kGptq, ErrorKind::kInvalidInput), HasSubstr("a.qzeros: got shape [2, 3], need [2, 2]"));
  index.add("a.g_idx", DType::kInt32, {64}, 1);
  EXPECT_THAT(error_of(index, kGptq, ErrorKind::kInvalidInput), HasSubstr("a.g_idx: got group 16843009, need 0 to 1"));
  EXPECT_THAT(error_of(gptq, R"({"quant_method":"gptq","bits":5})", ErrorKind::kUnsupported),
              HasSubstr("got 5, need 2, 3, 4 or 8"));
  EXPECT_THAT(error_of(gptq, R"({"quant_method":"bitsandbytes"})", ErrorKind::kUnsupported),
              HasSubstr("got 'bitsandbytes', need awq"));
  EXPECT_THAT(error_of(gptq, R"({"quant_method":"awq","version":"gemv"})", ErrorKind::kUnsupported),
              HasSubstr("got 'gemv', need gemm"));
}

// One row of 64 codes (5 i + 3) % 2^bits, words as compressed-tensors 0.20's pack_to_int32 makes them; the pattern of 3 bits
// repeats every 3 words, of 5 every 5, the others are written out.
TEST(QuantizedPacked, BitsThatDoNotDivideAWordAreDense) {
  const std::map<int, std::vector<uint32_t>> packed{
      {3, {0x43c67543, 0x7543c675, 0xc67543c6, 0x43c67543, 0x7543c675, 0xc67543c6}},
      {5,
       {0x79793503, 0xfd560b30, 0x77137249, 0x1bb45871, 0xf668f514, 0x79793503, 0xfd560b30, 0x77137249, 0x1bb45871,
        0xf668f514}},
      {6,
       {0x1748d203, 0x5c2b9a17, 0x38913feb, 0x2789d613, 0x503bdb1b, 0x79950f28, 0x37cada23, 0x540b181f, 0xba991f69, 0x070bde33,
        0x581b5913, 0xfb9d2faa}},
      {7,
       {0x72434403, 0x2b4c84e1, 0x23f74d58, 0x6c539d26, 0xc7667c57, 0x41407bed, 0x3c64a0f1, 0x764b5423, 0x4b8d05e3, 0x25fb5568,
        0x7c73dda7, 0x4460705f, 0x49501b2c, 0x7ce5a2f5}}};
  for (const auto& [bits, words] : packed) {
    const int64_t shape[2] = {1, 64};
    const float scale = 0.5f;
    Memory files;
    files.add("a.weight_packed", DType::kInt32, {1, static_cast<int64_t>(words.size())}, words.data());
    files.add("a.weight_shape", DType::kInt64, {2}, shape);
    files.add("a.weight_scale", DType::kFloat32, {1, 1}, &scale);
    const auto config = [](int num_bits) {
      return fmt::format(R"({{"quant_method":"compressed-tensors","config_groups":{{"g":{{"weights":{{"num_bits":{}}}}}}}}})",
                         num_bits);
    };
    const auto source = open_quantized(std::make_shared<Memory>(files), Json::parse(config(bits), "c"), "c");
    std::vector<float> values(64);
    source->find("a.weight")->encoded->decode(0, 1, values.data());
    for (int i = 0; i < 64; ++i)
      EXPECT_EQ(values[static_cast<size_t>(i)], static_cast<float>((5 * i + 3) % (1 << bits) - (1 << (bits - 1))) * 0.5f)
          << bits << " " << i;
    // 32 / bits elements a word with padding: 7 bits have as many words as dense 8.
    const int64_t padded = (64 * 100 + 32 / bits - 1) / (32 / bits);
    const int64_t wide[2] = {1, 64 * 100};
    Memory old;
    old.add("a.weight_packed", DType::kInt32, {1, padded}).add("a.weight_scale", DType::kFloat32, {1, 1});
    old.add("a.weight_shape", DType::kInt64, {2}, wide);
    EXPECT_THAT(error_of(old, config(bits).c_str(), ErrorKind::kInvalidInput),
                HasSubstr(fmt::format("words of [1, 6400] in {} bits, dense", bits)));
    EXPECT_THAT(error_of(files, config(9).c_str(), ErrorKind::kUnsupported), HasSubstr("num_bits: got 9, need 1 to 8"));
  }
}

TEST(QuantizedErrors, ZerosAndSizesAreBounded) {
  Memory scaled;
  scaled.add("a.weight", DType::kInt8, {4, 6}).add("a.weight_scale", DType::kFloat32, {4, 1});
  for (const DType dtype : {DType::kInt64, DType::kFloat64, DType::kBool}) {
    scaled.add("a.weight_zero_point", dtype, {4, 1});
    EXPECT_THAT(error_of(scaled, R"({"quant_method":"compressed-tensors"})", ErrorKind::kUnsupported),
                HasSubstr(fmt::format("a.weight_zero_point: got {}, need int8", dtype_name(dtype))));
  }
  scaled.add("a.weight_zero_point", DType::kInt8, {4, 1});
  EXPECT_EQ(error_of(scaled, R"({"quant_method":"compressed-tensors"})", ErrorKind::kInternal), "no error");
  Memory block;
  block.add("a.weight", DType::kFloat8E4M3, {4, 6}).add("a.weight_scale_inv", DType::kFloat32, {2, 2});
  EXPECT_THAT(
      error_of(block, R"({"quant_method":"fp8","weight_block_size":[2,9223372036854775807]})", ErrorKind::kInvalidInput),
      HasSubstr("block size: got 2 x 9223372036854775807, need 1 to"));
  Memory gptq;
  gptq.add("a.qweight", DType::kInt32, {8, 16})
      .add("a.qzeros", DType::kInt32, {2, 2})
      .add("a.scales", DType::kFloat16, {2, 16});
  EXPECT_THAT(error_of(gptq, R"({"quant_method":"gptq","bits":4,"group_size":9223372036854775807})", ErrorKind::kInvalidInput),
              HasSubstr("group_size: got 9223372036854775807, need at most"));
}

TEST(QuantizedErrors, PackedAndScaledShapesMustAgree) {
  constexpr const char* kConfig = R"({"quant_method":"compressed-tensors"})";
  Memory packed;
  packed.add("a.weight_packed", DType::kInt32, {4, 4}).add("a.weight_scale", DType::kFloat32, {4, 1});
  EXPECT_THAT(error_of(packed, kConfig, ErrorKind::kInvalidInput), HasSubstr("need 'a.weight_shape'"));
  packed.add("a.weight_shape", DType::kInt64, {2});
  EXPECT_THAT(error_of(packed, kConfig, ErrorKind::kInvalidInput), HasSubstr("a.weight_packed: got shape [4, 4]"));
  Memory scaled;
  scaled.add("a.weight", DType::kInt8, {4, 6}).add("a.weight_scale", DType::kFloat32, {3, 1});
  EXPECT_THAT(error_of(scaled, kConfig, ErrorKind::kInvalidInput), HasSubstr("a.weight_scale: got shape [3, 1], need a scale"));
  Memory wrong;
  wrong.add("a.weight", DType::kFloat32, {4, 6}).add("a.weight_scale", DType::kFloat32, {4, 1});
  EXPECT_THAT(error_of(wrong, kConfig, ErrorKind::kUnsupported),
              HasSubstr("a.weight: got float32 [4, 6], need a matrix of int8"));
  Memory experts;
  experts.add("e_blocks", DType::kUInt8, {2, 4, 1, 16}).add("e_scales", DType::kUInt8, {2, 4, 1});
  EXPECT_THAT(error_of(experts, R"({"quant_method":"mxfp4"})", ErrorKind::kUnsupported),
              HasSubstr("e_blocks: got shape [2, 4, 1, 16]"));
  Memory block;
  block.add("a.weight", DType::kFloat8E4M3, {4, 6}).add("a.weight_scale_inv", DType::kFloat32, {2, 2});
  EXPECT_EQ(error_of(block, R"({"quant_method":"fp8","weight_block_size":[2,4]})", ErrorKind::kInternal), "no error");
  EXPECT_THAT(error_of(block, R"({"quant_method":"fp8","weight_block_size":[2,0]})", ErrorKind::kInvalidInput),
              HasSubstr("2 x 0"));
}

// Groups are as long as the configuration says; where it does not, only ones that divide the columns are taken.
TEST(QuantizedErrors, GroupsThatDoNotDivideNeedASize) {
  const int64_t shape[2] = {4, 64};
  Memory packed;
  packed.add("a.weight_packed", DType::kInt32, {4, 8}).add("a.weight_shape", DType::kInt64, {2}, shape);
  packed.add("a.weight_scale", DType::kFloat32, {4, 3});
  EXPECT_THAT(error_of(packed, R"({"quant_method":"compressed-tensors"})", ErrorKind::kInvalidInput),
              HasSubstr("a.weight_scale: got shape [4, 3], need groups of [4, 64] of one size"));
  const auto of_sizes = [&](int a, int b) {
    const std::string config = fmt::format(
        R"({{"quant_method":"compressed-tensors","config_groups":{{"g":{{"weights":{{"num_bits":4,"group_size":{}}}}},
            "h":{{"weights":{{"num_bits":4,"group_size":{}}}}}}}}})",
        a, b);
    return error_of(packed, config.c_str(), ErrorKind::kInvalidInput);
  };
  EXPECT_EQ(of_sizes(24, 64), "no error");
  EXPECT_THAT(of_sizes(24, 28), HasSubstr("of one size"));  // either has three groups
}

// Scales of an 8-bit KV cache stand beside the weights.
TEST(QuantizedFp8, ScalesOfTheCacheDoNotShow) {
  Memory files;
  files.add("a.k_proj.weight", DType::kFloat8E4M3, {4, 6}).add("a.k_proj.weight_scale", DType::kFloat32, {});
  files.add("a.k_proj.input_scale", DType::kFloat32, {}).add("a.k_scale", DType::kFloat32, {});
  const auto source = open_quantized(std::make_shared<Memory>(files), Json::parse(R"({"quant_method":"fp8"})", "c"), "c");
  EXPECT_EQ(source->names(), std::vector<std::string>{"a.k_proj.weight"});
}

std::string scheme(const std::string& format, const std::string& weights) {
  return R"({"quant_method":"compressed-tensors","format":")" + format + R"(","config_groups":{"g":{"weights":)" + weights +
         "}}}";
}

TEST(QuantizedErrors, AConfigurationThatContradictsTheFile) {
  const int64_t shape[2] = {4, 64};
  Memory packed;
  packed.add("a.weight_packed", DType::kInt32, {4, 8}, uint8_t{0x88}).add("a.weight_shape", DType::kInt64, {2}, shape);
  packed.add("a.weight_scale", DType::kFloat32, {4, 2});
  const auto error = [&](const Memory& files, const std::string& format, const std::string& weights) {
    return error_of(files, scheme(format, weights).c_str(), ErrorKind::kInvalidInput);
  };
  const std::string good = R"({"num_bits":4,"type":"int","strategy":"group","group_size":32,"symmetric":true})";
  EXPECT_EQ(error(packed, "pack-quantized", good), "no error");
  EXPECT_EQ(error(packed, "a-format-to-come", good), "no error");
  EXPECT_THAT(error(packed, "int-quantized", good),
              HasSubstr("a.weight is not what the configuration says: format int-quantized"));
  EXPECT_THAT(error(packed, "pack-quantized", R"({"num_bits":4,"strategy":"group","group_size":16})"),
              HasSubstr("group_size 16, which is [4, 4] scales for [4, 64], but it has [4, 2]"));
  EXPECT_THAT(error(packed, "pack-quantized", R"({"num_bits":4,"group_size":64})"), HasSubstr("group_size 64"));
  EXPECT_THAT(error(packed, "pack-quantized", R"({"num_bits":4,"strategy":"channel"})"), HasSubstr("channel, which is [4, 1]"));
  EXPECT_THAT(error(packed, "pack-quantized", R"({"num_bits":4,"type":"float"})"), HasSubstr("type float"));
  EXPECT_THAT(error(packed, "pack-quantized", R"({"num_bits":4,"group_size":9223372036854775807})"), HasSubstr("at most"));
  // Zero points: of symmetric weights all are the middle of the codes.
  packed.add("a.weight_zero_point", DType::kInt32, {1, 2}, uint8_t{0x88});
  EXPECT_EQ(error(packed, "pack-quantized", good), "no error");
  packed.add("a.weight_zero_point", DType::kInt32, {1, 2}, uint8_t{0x87});
  EXPECT_THAT(error(packed, "pack-quantized", good), HasSubstr("symmetric, but it has zero points"));
  EXPECT_EQ(error(packed, "pack-quantized", R"({"num_bits":4,"group_size":32,"symmetric":false})"), "no error");

  Memory scaled;
  scaled.add("a.weight", DType::kInt8, {4, 6}).add("a.weight_scale", DType::kFloat32, {4, 1});
  EXPECT_EQ(error(scaled, "int-quantized", R"({"num_bits":8,"strategy":"channel","symmetric":true})"), "no error");
  EXPECT_EQ(error(scaled, "naive-quantized", R"({"num_bits":8,"strategy":"channel"})"), "no error");
  EXPECT_THAT(error(scaled, "float-quantized", R"({"num_bits":8})"), HasSubstr("but it is int8"));
  EXPECT_THAT(error(scaled, "int-quantized", R"({"num_bits":8,"strategy":"tensor"})"), HasSubstr("tensor, which is [1, 1]"));
  scaled.add("a.weight_zero_point", DType::kInt8, {4, 1}, uint8_t{1});
  EXPECT_THAT(error(scaled, "int-quantized", R"({"num_bits":8,"symmetric":true})"), HasSubstr("zero points"));

  Memory gptq;
  gptq.add("a.qweight", DType::kInt32, {8, 16}).add("a.qzeros", DType::kInt32, {2, 2}, uint8_t{0x77});
  gptq.add("a.scales", DType::kFloat16, {2, 16});
  const auto of_gptq = [&](const char* more) {
    return error_of(gptq, (std::string(R"({"quant_method":"gptq","bits":4,)") + more + "}").c_str(), ErrorKind::kInvalidInput);
  };
  EXPECT_EQ(of_gptq(R"("group_size":32,"sym":true)"), "no error");
  EXPECT_THAT(of_gptq(R"("group_size":32,"sym":true,"checkpoint_format":"gptq_v2")"), HasSubstr("0x77777777, need 0x88888888"));
  EXPECT_THAT(of_gptq(R"("group_size":16)"), HasSubstr("[4, 16] by group_size 16"));
  gptq.add("a.g_idx", DType::kInt32, {64});
  EXPECT_THAT(of_gptq(R"("group_size":16,"desc_act":true)"), HasSubstr("[4, 16] by group_size 16"));
  Memory block;
  block.add("a.weight", DType::kFloat8E4M3, {4, 6}).add("a.weight_scale_inv", DType::kFloat32, {4, 2});
  EXPECT_THAT(error_of(block, R"({"quant_method":"fp8","weight_block_size":[2,3]})", ErrorKind::kInvalidInput),
              HasSubstr("[2, 2] by weight_block_size"));
}

}  // namespace
}  // namespace pagoda
