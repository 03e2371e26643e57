// safetensors: written and read back; every way a file can lie is refused.
#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "tensor/device.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

std::string file_of(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>((header.size() >> (8 * i)) & 0xFF);
  return bytes + header + data;
}

std::string refusal(const std::string& bytes) {
  try {
    SafetensorsFile::parse(bytes, "x.safetensors", nullptr);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind() == ErrorKind::kInvalidInput || error.kind() == ErrorKind::kUnsupported, true);
    return error.message();
  }
}

const std::string kGood =
    R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[],"data_offsets":[8,9]}})";

TEST(Safetensors, ReadsWhatIsThere) {
  const std::string bytes = file_of(kGood, std::string(9, 'x'));
  const auto file = SafetensorsFile::parse(bytes, "x", nullptr);
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->find("a")->bytes, 8);
  EXPECT_EQ(file->find("b")->shape.size(), 0u);
  EXPECT_EQ(file->find("c"), nullptr);
}

TEST(Safetensors, RefusesEveryLie) {
  using ::testing::HasSubstr;
  EXPECT_THAT(refusal(""), HasSubstr("at least 8"));
  EXPECT_THAT(refusal("\xff\xff\xff\xff\xff\xff\xff\x7f{}"), HasSubstr("header says"));
  EXPECT_THAT(refusal(file_of("[]", "")), HasSubstr("header is a list"));
  EXPECT_THAT(refusal(file_of("{", "")), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal(file_of(kGood, std::string(8, 'x'))), HasSubstr("b] data outside the file"));
  EXPECT_THAT(refusal(file_of(kGood, std::string(10, 'x'))), HasSubstr("data left over"));
  const auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return refusal(file_of("{\"a\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}",
                           std::string(8, 'x')));
  };
  EXPECT_EQ(one("\"F32\"", "[2]", "[0,8]"), "");
  EXPECT_THAT(one("\"F33\"", "[2]", "[0,8]"), HasSubstr("unknown dtype"));
  EXPECT_THAT(one("\"F32\"", "[3]", "[0,8]"), HasSubstr("got 8 bytes, need 12"));
  EXPECT_THAT(one("\"F32\"", "[-2]", "[0,8]"), HasSubstr("negative dimension"));
  EXPECT_THAT(one("\"F32\"", "[4294967296,4294967296]", "[0,8]"), HasSubstr("overflow"));
  EXPECT_THAT(one("\"F32\"", "[1.5]", "[0,8]"), HasSubstr("need an integer"));
  EXPECT_THAT(one("\"F32\"", "[1,1,1,1,1,2]", "[0,8]"), HasSubstr("too many dimensions"));
  EXPECT_THAT(one("\"F32\"", "[2]", "[8,0]"), HasSubstr("outside the file"));
  EXPECT_THAT(one("\"F32\"", "[2]", "[-8,0]"), HasSubstr("outside the file"));
  EXPECT_THAT(one("\"F32\"", "[2]", "[0]"), HasSubstr("got 1 numbers"));
  EXPECT_THAT(one("\"F32\"", "[1]", "[4,8]"), HasSubstr("leaves a gap"));
  EXPECT_THAT(
      refusal(file_of(
          R"({"a":{"dtype":"I8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[4],"data_offsets":[4,8]}})",
          std::string(8, 'x'))),
      HasSubstr("overlaps"));
  EXPECT_THAT(
      refusal(file_of(
          R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"I8","shape":[4],"data_offsets":[4,8]}})",
          std::string(8, 'x'))),
      HasSubstr("given twice"));
  EXPECT_THAT(refusal(file_of(R"({"a":{"dtype":"F32"}})", "")), HasSubstr("need 'shape'"));
  EXPECT_THAT(refusal(file_of(std::string(100'000, '['), "")), HasSubstr("nested too deeply"));
}

TEST(Safetensors, WrittenFilesReadBackAndAreWholeOrAbsent) {
  CachingAllocator allocator;
  Device device;
  device.allocator = &allocator;
  const std::string folder = pagoda::testing::temporary_path("safetensors");
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string path = folder + "/x.safetensors";
  Tensor a = Tensor::zeros(device, DType::kFloat32, {2, 3}), b = Tensor::zeros(device, DType::kBFloat16, {0});
  a.data<float>()[5] = 7;
  write_safetensors(path, {{"b \"quoted\" 中", b}, {"a", a}}, {{"format", "pt"}});
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file->metadata().at("format"), "pt");
  EXPECT_EQ(file->find("b \"quoted\" 中")->bytes, 0);
  float last;
  std::memcpy(&last, file->find("a")->data() + 20, 4);
  EXPECT_EQ(last, 7);
  {
    SafetensorsWriter unfinished(path, {{"c", DType::kFloat32, {2, 3}}});
    unfinished.append(a);
  }
  EXPECT_NE(SafetensorsFile::open(path)->find("a"), nullptr);  // the old file stands
  EXPECT_EQ(list_directory(folder), std::vector<std::string>{"x.safetensors"});
  EXPECT_THROW(write_safetensors(folder + "/none/x", {}), Error);
  EXPECT_THROW(SafetensorsFile::open(folder), Error);
}

// An encoded tensor has elements and no bytes of its dtype: whoever asks for them is told so.
TEST(TensorEntry, EncodedOnesHaveNoData) {
  class Ones final : public EncodedTensor {
   public:
    std::string coding() const override { return "ones"; }
    void decode(int64_t, int64_t, float* out) const override { *out = 1; }
  };
  TensorEntry entry;
  EXPECT_FALSE(entry.has_data());
  EXPECT_THROW(entry.data(), Error);
  entry.name = "w";
  entry.shape = {1};
  entry.bytes = 1;
  entry.encoded = std::make_shared<Ones>();
  try {
    entry.data();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.message(), ::testing::HasSubstr("got ones"));
  }
  const uint8_t byte = 0;
  entry.set_data(&byte);
  EXPECT_EQ(entry.data(), &byte);
  TensorEntry empty;  // as torch writes a tensor without elements
  empty.name = "none";
  empty.shape = {0};
  EXPECT_NE(empty.data(), nullptr);
}

}  // namespace
}  // namespace pagoda
