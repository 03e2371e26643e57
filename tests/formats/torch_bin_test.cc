// pytorch_model.bin: hand-made archives, hostile pickles and zips, and fixtures that torch wrote.
#include "formats/torch_bin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "formats/model_folder.h"
#include "formats/safetensors.h"
#include "formats/torch_pickle.h"
#include "formats/torch_zip.h"

namespace pagoda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string le(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(i < 8 ? value >> (8 * i) : 0);
  return out;
}

struct Record {
  std::string name;
  std::string data;
  int method = 0;
  int flags = 0;
};

// A zip with stored records; zip64: sizes and offsets stand in the extra fields, the counts in the zip64 end record.
std::string zip_of(const std::vector<Record>& records, bool zip64 = false) {
  std::string out;
  std::string directory;
  for (const auto& record : records) {
    const uint64_t offset = out.size();
    const uint64_t size = record.data.size();
    const std::string method = le(static_cast<uint64_t>(record.flags), 2) + le(static_cast<uint64_t>(record.method), 2);
    out += "PK\3\4" + le(20, 2) + method + le(0, 12) + le(0, 4) + le(record.name.size(), 2) + le(3, 2) + record.name + "xyz" +
           record.data;
    const std::string extra =
        zip64 ? le(7, 2) + le(2, 2) + "??" + le(1, 2) + le(24, 2) + le(size, 8) + le(size, 8) + le(offset, 8) : "";
    directory += "PK\1\2" + le(20, 2) + le(20, 2) + method + le(0, 8) + le(zip64 ? 0xFFFFFFFF : size, 4) +
                 le(zip64 ? 0xFFFFFFFF : size, 4) + le(record.name.size(), 2) + le(extra.size(), 2) + le(0, 2) + le(0, 8) +
                 le(zip64 ? 0xFFFFFFFF : offset, 4) + record.name + extra;
  }
  const uint64_t at = out.size();
  out += directory;
  if (zip64) {
    const uint64_t end = out.size();
    out += "PK\6\6" + le(44, 8) + le(45, 2) + le(45, 2) + le(0, 8) + le(records.size(), 8) + le(records.size(), 8) +
           le(directory.size(), 8) + le(at, 8);
    out += "PK\6\7" + le(0, 4) + le(end, 8) + le(1, 4);
  }
  out += "PK\5\6" + le(0, 4) + le(zip64 ? 0xFFFF : records.size(), 2) + le(zip64 ? 0xFFFF : records.size(), 2) +
         le(zip64 ? 0xFFFFFFFF : directory.size(), 4) + le(zip64 ? 0xFFFFFFFF : at, 4) + le(0, 2);
  return out;
}

std::string text(const std::string& value) { return "X" + le(value.size(), 4) + value; }
std::string integer(int value) { return "J" + le(static_cast<uint32_t>(value), 4); }
std::string tuple(const std::vector<int>& values) {
  std::string out = "(";
  for (const int value : values) out += integer(value);
  return out + "t";
}
std::string storage(const std::string& type, const std::string& key, int count) {
  return "(" + text("storage") + "ctorch\n" + type + "\n" + text(key) + text("cpu") + integer(count) + "tQ";
}
std::string rebuilt(const std::string& stored, int offset, const std::vector<int>& shape, const std::vector<int>& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + stored + integer(offset) + tuple(shape) + tuple(strides) +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}
// A dictionary with one entry "a".
std::string dictionary(const std::string& value) { return "\x80\x02}" + text("a") + value + "s."; }

// An archive with the pickle and one storage of the 16 bytes 0 to 15.
std::string archive(const std::string& pickle, bool zip64 = false) {
  std::string bytes;
  for (char c = 0; c < 16; ++c) bytes += c;
  return zip_of({{"m/data.pkl", pickle}, {"m/byteorder", "little"}, {"m/data/0", bytes}, {"m/version", "3\n"}}, zip64);
}

std::string error_of(const std::string& bytes, const Limits& limits = {}) {
  try {
    parse_torch_bin(bytes, "file", limits);
  } catch (const Error& error) {
    EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.message();
    EXPECT_THAT(error.message(), HasSubstr("[file] "));
    return error.message();
  }
  return "no error";
}
std::string pickle_error(const std::string& pickle) { return error_of(archive(pickle)); }

TEST(TorchBin, ReadsATensor) {
  for (const bool zip64 : {false, true}) {
    const std::string bytes = archive(dictionary(rebuilt(storage("FloatStorage", "0", 4), 1, {3, 1}, {1, 1})), zip64);
    const auto tensors = parse_torch_bin(bytes, "file");
    ASSERT_EQ(tensors.size(), 1U);
    EXPECT_EQ(tensors[0].name, "a");
    EXPECT_EQ(tensors[0].dtype, DType::kFloat32);
    EXPECT_THAT(tensors[0].shape, ElementsAre(3, 1));
    EXPECT_TRUE(tensors[0].contiguous);
    EXPECT_EQ(tensors[0].storage, "0");
    EXPECT_EQ(tensors[0].storage_offset, 1);
    EXPECT_EQ(tensors[0].bytes, 12);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(tensors[0].data), 4), "\x04\x05\x06\x07");
  }
}

TEST(TorchBin, PacksViews) {
  const std::string bytes = archive(dictionary(rebuilt(storage("ByteStorage", "0", 16), 1, {3, 2}, {1, 4})));
  const auto tensors = parse_torch_bin(bytes, "file");
  ASSERT_EQ(tensors.size(), 1U);
  EXPECT_FALSE(tensors[0].contiguous);
  std::string out(6, '\0');
  copy_torch_tensor(tensors[0], reinterpret_cast<uint8_t*>(out.data()));
  EXPECT_EQ(out, "\x01\x05\x02\x06\x03\x07");
}

TEST(TorchBin, LaterValuesOfAKeyWin) {
  const std::string first = rebuilt(storage("ByteStorage", "0", 16), 0, {1}, {1});
  const std::string second = rebuilt(storage("ByteStorage", "0", 16), 5, {1}, {1});
  const std::string bytes = archive("\x80\x02}(" + text("a") + first + text("b") + first + text("a") + second + "u.");
  const auto tensors = parse_torch_bin(bytes, "file");
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].data[0], 5);
}

TEST(TorchBin, RefusesGlobalsByName) {
  EXPECT_THAT(
      pickle_error(dictionary("cos\nsystem\n" + text("echo") + "\x85R")),
      HasSubstr("refused global: got 'os.system', need one of collections.OrderedDict, torch._utils._rebuild_tensor_v2"));
  EXPECT_THAT(pickle_error(dictionary(text("builtins") + text("eval") + "\x93" + text("1") + "\x85R")),
              HasSubstr("got 'builtins.eval'"));
  EXPECT_THAT(pickle_error(dictionary("ctorch\nload\n")), HasSubstr("got 'torch.load'"));
  EXPECT_THAT(pickle_error("(ios\nsystem\n."), HasSubstr("refused pickle opcode"));
  EXPECT_THAT(pickle_error("Phello\n."), HasSubstr("refused pickle opcode"));
  EXPECT_THAT(pickle_error(dictionary("c\x1b[2J\nx\xff\n")), HasSubstr("got '?[2J.x\xef\xbf\xbd'"));
}

TEST(TorchBin, ChecksBounds) {
  const std::string floats = storage("FloatStorage", "0", 4);
  const auto bad = [&](int offset, const std::vector<int>& shape, const std::vector<int>& strides) {
    return pickle_error(dictionary(rebuilt(floats, offset, shape, strides)));
  };
  EXPECT_EQ(bad(0, {2, 2}, {2, 1}), "no error");
  EXPECT_EQ(bad(4, {0}, {1}), "no error");
  EXPECT_EQ(bad(3, {}, {}), "no error");
  EXPECT_EQ(bad(0, {0, 2147483647, 2147483647, 2147483647}, {1, 1, 1, 1}), "no error");
  EXPECT_THAT(bad(5, {0}, {1}), HasSubstr("outside its storage"));
  EXPECT_THAT(bad(4, {}, {}), HasSubstr("outside its storage"));
  EXPECT_THAT(bad(1, {2, 2}, {2, 1}), HasSubstr("outside its storage '0': got elements 1 to 4, need 0 to 3"));
  EXPECT_THAT(bad(-1, {2}, {1}), HasSubstr("outside its storage"));
  EXPECT_THAT(bad(0, {2, 2}, {1000, 1}), HasSubstr("outside its storage"));
  EXPECT_THAT(bad(3, {4}, {-1}), HasSubstr("strides: got -1"));
  EXPECT_THAT(bad(0, {-2}, {1}), HasSubstr("shape: got -2"));
  EXPECT_THAT(bad(0, {2, 2}, {1}), HasSubstr("2 sizes and 1 strides"));
  EXPECT_THAT(bad(0, {2147483647, 2147483647, 2147483647}, {0, 0, 0}), HasSubstr("size overflow"));
  EXPECT_THAT(bad(0, {2147483647}, {0}), HasSubstr("repeats its storage"));
  EXPECT_THAT(pickle_error(dictionary(rebuilt(storage("FloatStorage", "0", 5), 0, {1}, {1}))),
              HasSubstr("got 5 elements of float32 in 16 bytes"));
  EXPECT_THAT(pickle_error(dictionary(rebuilt(storage("FloatStorage", "0", -1), 0, {1}, {1}))), HasSubstr("got -1 elements"));
  EXPECT_THAT(pickle_error(dictionary(rebuilt(storage("FloatStorage", "0", 1), 0, {2}, {1}))),
              HasSubstr("outside its storage"));
  EXPECT_THAT(pickle_error(dictionary(rebuilt(storage("FloatStorage", "../x", 1), 0, {1}, {1}))),
              HasSubstr("storage '../x' is not in the archive"));
  EXPECT_THAT(pickle_error(dictionary(rebuilt(storage("QInt8Storage", "0", 1), 0, {1}, {1}))),
              HasSubstr("got 'torch.QInt8Storage'"));
  EXPECT_THAT(pickle_error(dictionary(rebuilt(storage("Size", "0", 1), 0, {1}, {1}))), HasSubstr("storage type: got Size"));
}

TEST(TorchBin, RefusesBrokenPickles) {
  for (const std::string& pickle : {std::string(),
                                    std::string("}"),
                                    std::string("."),
                                    std::string("a."),
                                    std::string("Nt."),
                                    std::string("h\x05."),
                                    std::string("\xff."),
                                    std::string("X\xff\xff\xff\x7f"
                                                "abc."),
                                    std::string("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                                                "abc."),
                                    std::string("\x80\x09}."),
                                    std::string("N."),
                                    std::string("}Ns."),
                                    std::string("}(Nu."),
                                    std::string("(Nd."),
                                    std::string("N)R."),
                                    std::string("NNb."),
                                    std::string("N)Q."),
                                    std::string("]h") + '\0' + ".",
                                    std::string("\x8a\x09"
                                                "123456789."),
                                    std::string("]]a."),
                                    std::string("(1)."),
                                    std::string("ccollections\nOrderedDict\n."),
                                    std::string("ccollections\nOrderedDict\nNR."),
                                    std::string("ccollections"),
                                    std::string("ctorch\nSize\nN\x85R."),
                                    std::string("ctorch\nFloatStorage\n)R."),
                                    std::string("(0."),
                                    std::string("(2.")}) {
    EXPECT_NE(pickle_error(pickle), "no error") << ::testing::PrintToString(pickle);
  }
  EXPECT_THAT(pickle_error(dictionary(text("x"))), HasSubstr("'a' is no tensor: got a string"));
  EXPECT_THAT(pickle_error("}K\1" + rebuilt(storage("ByteStorage", "0", 1), 0, {1}, {1}) + "s."),
              HasSubstr("bad name of a tensor: got an int"));
  EXPECT_THAT(pickle_error("}" + text("\xff") + rebuilt(storage("ByteStorage", "0", 1), 0, {1}, {1}) + "s."),
              HasSubstr("need UTF-8"));
  EXPECT_THAT(pickle_error(std::string(100'000, '(') + std::string(100'000, 't') + "."), HasSubstr("too deep"));
  EXPECT_THAT(pickle_error("]q" + std::string(1, '\0') + "h" + std::string(1, '\0') + "a."),
              HasSubstr("got a list"));  // holds itself
  Limits few;
  few.max_steps = 10;
  EXPECT_THAT(error_of(archive(dictionary("N") + "NNNNNNNNN"), few), HasSubstr("'a' is no tensor"));
  EXPECT_THAT(error_of(archive(std::string(20, 'N') + "."), few), HasSubstr("pickle too long"));
  few = {};
  few.max_items = 10;
  EXPECT_THAT(error_of(archive(std::string(20, 'N') + "."), few), HasSubstr("pickle too large"));
}

// Short pickles that would build much, or look at the same thing often.
TEST(TorchBin, SmallPicklesStayCheap) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string memo0(1, '\0');
  std::string pairs = "](";
  for (int i = 0; i < 100'000; ++i) pairs += "NN\x86";
  pairs += "eq" + memo0 + "0";
  for (int i = 0; i < 10'000; ++i) pairs += "ccollections\nOrderedDict\nh" + memo0 + "\x85R0";
  EXPECT_THAT(pickle_error(pairs + "}."), HasSubstr("too large"));
  std::string inner = "}(";
  for (int i = 0; i < 500'000; ++i) inner += "NN";
  inner += "uq" + memo0 + "0}(";
  for (int i = 0; i < 500'000; ++i) inner += "Nh" + memo0;
  EXPECT_NE(pickle_error(inner + "u."), "no error");
  std::string keys = text(std::string(1'000'000, 'k')) + "q" + memo0 + "0}(";
  for (int i = 0; i < 10'000; ++i) keys += "h" + memo0 + "N";
  EXPECT_NE(pickle_error(keys + "u."), "no error");
  std::string self = "}q" + memo0 + "(";
  for (int i = 0; i < 500'000; ++i) self += "Nh" + memo0;
  EXPECT_NE(pickle_error(self + "u."), "no error");
  // Generous: sanitizers and busy machines are slow, the faults looked for would take hours.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

TEST(TorchBin, TrainingCheckpoints) {
  const std::string tensor = rebuilt(storage("ByteStorage", "0", 16), 0, {1}, {1});
  const std::string state = "}" + text("w") + tensor + "s";
  const std::string bytes = archive("}(" + text("epoch") + "K\3" + text("model") + state + text("x") + "}u.");
  EXPECT_EQ(parse_torch_bin(bytes, "file").at(0).name, "w");
  EXPECT_THAT(pickle_error("}(" + text("a") + state + text("b") + state + "u."), HasSubstr("several inside one"));
  EXPECT_THAT(pickle_error("}(" + text("a") + state + text("b") + tensor + "u."), HasSubstr("'a' is no tensor"));
}

TEST(TorchBin, RefusesBrokenZips) {
  const std::string good = archive(dictionary(rebuilt(storage("ByteStorage", "0", 16), 0, {16}, {1})));
  ASSERT_EQ(error_of(good), "no error");
  // A cut file is never read as a whole one.
  for (size_t size = 0; size < good.size(); ++size) EXPECT_NE(error_of(good.substr(0, size)), "no error") << size;
  EXPECT_THAT(error_of("hello"), HasSubstr("no zip archive"));
  EXPECT_THAT(error_of(std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15)),
              HasSubstr("before version 1.6"));
  const std::string pickle = dictionary("N");
  EXPECT_THAT(error_of(zip_of({{"m/data.pkl", pickle, 8}})), HasSubstr("compressed record 'm/data.pkl': got method 8"));
  EXPECT_THAT(error_of(zip_of({{"m/data.pkl", pickle, 0, 1}})), HasSubstr("encrypted"));
  EXPECT_THAT(error_of(zip_of({{"m/data/0", "x"}})), HasSubstr("got 0 records named FOLDER/data.pkl"));
  EXPECT_THAT(error_of(zip_of({{"m/data.pkl", pickle}, {"n/data.pkl", pickle}})), HasSubstr("got 2 records"));
  EXPECT_THAT(error_of(zip_of({{"m/data.pkl", pickle}, {"m/data.pkl", pickle}})), HasSubstr("two records of one name"));
  EXPECT_THAT(error_of(zip_of({{"m/data.pkl", pickle}, {"m/byteorder", "big"}})), HasSubstr("byte order: got 'big'"));
  // Any single byte of the directory set to 0xFF: an error or the same tensors, never anything else.
  const size_t directory = good.find("PK\1\2");
  for (size_t i = directory; i < good.size(); ++i) {
    std::string changed = good;
    changed[i] = '\xff';
    error_of(changed);
  }
}

std::string fixture(const std::string& name) { return std::string(PAGODA_SOURCE_DIR) + "/tests/fixtures/torch_bin/" + name; }

// Every tensor of `expected` (but those under "reference.") equal to the byte.
void expect_equal(const WeightSource& source, const SafetensorsFile& expected) {
  size_t compared = 0;
  for (const TensorEntry& want : expected.tensors()) {
    if (want.name.rfind("reference.", 0) == 0) continue;
    const TensorEntry* got = source.find(want.name);
    ASSERT_NE(got, nullptr) << want.name;
    EXPECT_EQ(got->dtype, want.dtype) << want.name;
    EXPECT_EQ(got->shape, want.shape) << want.name;
    ASSERT_EQ(got->bytes, want.bytes) << want.name;
    EXPECT_EQ(std::memcmp(got->data(), want.data(), static_cast<size_t>(want.bytes)), 0) << want.name;
    ++compared;
  }
  EXPECT_EQ(source.names().size(), compared);
}

TEST(TorchBinFixtures, OddTensors) {
  ASSERT_TRUE(file_exists(fixture("odd.bin")));
  const auto expected = SafetensorsFile::open(fixture("odd.safetensors"));
  for (const char* name : {"odd.bin", "odd_protocol4.bin", "nested.bin"}) {
    SCOPED_TRACE(name);
    expect_equal(*open_torch_bin({fixture(name)}), *expected);
  }
}

TEST(TorchBinFixtures, ModelsInOneFileAndInShards) {
  ASSERT_TRUE(directory_exists(fixture("single")));
  const auto expected = SafetensorsFile::open(fixture("expected.safetensors"));
  for (const char* name : {"single", "sharded"}) {
    SCOPED_TRACE(name);
    const auto folder = ModelFolder::open(fixture(name));
    expect_equal(folder->weights(), *expected);
  }
}

TEST(TorchBinFixtures, HostileFilesAreRefused) {
  ASSERT_TRUE(directory_exists(fixture("hostile")));
  const std::map<std::string, std::string> texts = {
      {"os_system.bin", "refused global: got 'posix.system'"},
      {"eval.bin", "eval'"},
      {"getattr.bin", "getattr'"},
      {"unknown_global.bin", "refused global: got 'collections.Counter'"},
      {"torch_load.bin", "refused global: got 'torch.serialization.load'"},
      {"quantised.bin", "refused global: got 'torch._utils._rebuild_qtensor'"},
      {"missing_storage.bin", "storage '7' is not in the archive"},
      {"deflated.bin", "compressed record"},
      {"big_endian.bin", "byte order: got 'big'"},
      {"legacy.bin", "before version 1.6"},
      {"empty.bin", "no zip archive"},
  };
  size_t files = 0;
  for (const std::string& name : list_directory(fixture("hostile"))) {
    if (name == "hostile.json") continue;
    ++files;
    const std::string message = error_of(read_file(fixture("hostile/" + name), 1 << 24));
    EXPECT_NE(message, "no error") << name;
    const auto found = texts.find(name);
    if (found != texts.end()) {
      EXPECT_THAT(message, HasSubstr(found->second)) << name;
    }
  }
  EXPECT_GT(files, 30U);
}

}  // namespace
}  // namespace pagoda
