// TFRecord and tf.Example against bytes that TensorFlow wrote, and what is broken.
#include "formats/tfrecord.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/file.h"

namespace pagoda {
namespace {

std::string message_of(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

TEST(Crc32c, HasTheValuesOfTheStandard) {
  // RFC 3720, B.4.
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  std::string rising;
  for (char c = 0; c < 32; ++c) rising += c;
  EXPECT_EQ(crc32c(rising), 0x46DD794Eu);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  for (size_t cut = 0; cut <= rising.size(); ++cut) {
    EXPECT_EQ(crc32c(std::string_view(rising).substr(cut), crc32c(std::string_view(rising).substr(0, cut))), 0x46DD794Eu);
  }
}

// What tf.io.TFRecordWriter (2.21) wrote of an Example with input_ids 1, 300, -1, label 0.5 and text "a", b"\xff".
constexpr std::string_view kTensorFlow =
    "4700000000000000bac3fb9b0a450a1e0a09696e7075745f69647312111a0f0a0d01ac02ffffffffffffffffff010a110a05"
    "6c6162656c120812060a040000003f0a100a047465787412080a060a01610a01ff5807eb3b";

TfExample an_example() {
  return {{{"input_ids", Int64List{1, 300, -1}}, {"label", FloatList{0.5f}}, {"text", BytesList{"a", "\xFF"}}}};
}

TEST(TfRecord, IsWrittenAsTensorFlowWritesIt) {
  std::string out;
  append_tfrecord(out, write_tf_example(an_example()));
  EXPECT_EQ(out, from_hex(kTensorFlow));
}

TEST(TfRecord, IsReadAsTensorFlowWritesIt) {
  const std::string file = from_hex(kTensorFlow);
  int64_t offset = 0;
  const TfExample example = parse_tf_example(read_tfrecord(file, offset, 0, "file"), "file");
  EXPECT_EQ(offset, static_cast<int64_t>(file.size()));
  EXPECT_EQ(*example.int64s("input_ids", "file"), (Int64List{1, 300, -1}));
  EXPECT_EQ(std::get<FloatList>(example.find("label")->values), FloatList{0.5f});
  EXPECT_EQ(*example.bytes("text", "file"), (BytesList{"a", "\xFF"}));
  EXPECT_EQ(example.int64s("none", "file"), nullptr);
  EXPECT_NE(message_of([&] { example.int64s("text", "file"); }).find("need int64_list"), std::string::npos);
}

TEST(TfRecord, TakesListsThatAreNotPacked) {
  // feature { key "n" value { int64_list { value: 5 value: 6 } } }, each value a field of its own.
  const std::string list = "\x08\x05\x08\x06";
  const std::string feature = std::string("\x1a\x04") + list;
  const std::string entry = std::string("\x0a\x01n\x12\x06") + feature;
  const std::string features = std::string("\x0a\x0b") + entry;
  const TfExample example = parse_tf_example(std::string("\x0a\x0d") + features, "bytes");
  EXPECT_EQ(*example.int64s("n", "bytes"), (Int64List{5, 6}));
}

TEST(TfRecord, EveryBrokenByteIsSeen) {
  std::string file;
  for (const char* text : {"one", "two", "three"}) append_tfrecord(file, text);
  const auto read_all = [](const std::string& bytes) {
    int64_t offset = 0, number = 0;
    while (offset < static_cast<int64_t>(bytes.size())) read_tfrecord(bytes, offset, number++, "shard");
    return number;
  };
  EXPECT_EQ(read_all(file), 3);
  for (size_t i = 0; i < file.size(); ++i) {
    std::string broken = file;
    broken[i] = static_cast<char>(broken[i] ^ 0x10);
    EXPECT_THROW(read_all(broken), Error) << i;
  }
  for (size_t size = 1; size < file.size(); ++size) {
    if (size == 19 || size == 38) continue;  // whole records
    EXPECT_THROW(read_all(file.substr(0, size)), Error) << size;
    EXPECT_THROW(index_tfrecords(file.substr(0, size), "shard"), Error) << size;
  }
  std::string broken = file;
  broken[19 + 12] = 'X';
  EXPECT_EQ(message_of([&] { read_all(broken); }).substr(0, 56), "[shard] corrupt record 1 at offset 19: checksum of its d");
}

TEST(TfRecord, FilesAreReadFrontToBack) {
  const std::string path = ::testing::TempDir() + "pagoda_tfrecord_" + std::to_string(::getpid());
  std::string file;
  for (int i = 0; i < 5000; ++i) append_tfrecord(file, std::string(static_cast<size_t>(i) % 700, 'x') + std::to_string(i));
  write_file_atomic(path, file);
  TfRecordReader reader(path);
  std::string data;
  const std::vector<int64_t> offsets = index_tfrecords(file, path);
  ASSERT_EQ(offsets.size(), 5001u);
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(reader.next(data));
    EXPECT_EQ(reader.record_offset(), offsets[static_cast<size_t>(i)]);
    EXPECT_EQ(reader.number(), i);
    EXPECT_EQ(data.substr(static_cast<size_t>(i) % 700), std::to_string(i));
  }
  EXPECT_FALSE(reader.next(data));
  write_file_atomic(path, file.substr(0, file.size() - 1));
  TfRecordReader cut(path);
  for (int i = 0; i < 4999; ++i) ASSERT_TRUE(cut.next(data));
  EXPECT_NE(message_of([&] { cut.next(data); }).find("record 4999"), std::string::npos);
  std::filesystem::remove(path);
}

TEST(TfRecord, LimitsHold) {
  Limits limits;
  limits.max_string_bytes = 10;
  limits.max_items = 2;
  std::string file;
  append_tfrecord(file, "eleven bytes");
  int64_t offset = 0;
  EXPECT_THROW(read_tfrecord(file, offset, 0, "shard", limits), Error);
  EXPECT_THROW(index_tfrecords(file, "shard", limits), Error);
  EXPECT_THROW(parse_tf_example(write_tf_example({{{"n", Int64List{1, 2, 3}}}}), "record", limits), Error);
}

}  // namespace
}  // namespace pagoda
