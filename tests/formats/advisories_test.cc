// What files did to peers: a test for each class of their published advisories, named after one of them.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "formats/gguf.h"
#include "formats/model_folder.h"
#include "formats/safetensors.h"
#include "formats/tokenizer_gguf.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

std::string le(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(i < 8 ? value >> (8 * i) : 0);
  return out;
}
std::string str(std::string_view text) { return le(text.size(), 8) + std::string(text); }
std::string gguf(uint64_t tensors, uint64_t values, const std::string& body) {
  return "GGUF" + le(3, 4) + le(tensors, 8) + le(values, 8) + body;
}
std::string strings(std::string_view key, const std::vector<std::string>& values) {
  std::string body = str(key) + le(9, 4) + le(8, 4) + le(values.size(), 8);
  for (const std::string& value : values) body += str(value);
  return body;
}
void refused(const std::string& bytes) { EXPECT_THROW(GgufFile::parse(bytes, "test"), Error); }

// Counts and lengths that the file cannot hold.
TEST(Advisory, CVE_2024_23605_gguf_n_kv) {
  for (const uint64_t count : {uint64_t{1} << 31, uint64_t{1} << 60, ~uint64_t{0}}) {
    refused(gguf(0, count, ""));
    refused(gguf(count, 0, ""));
    refused(gguf(0, 1, le(count, 8) + "key"));                                      // a key's length
    refused(gguf(0, 1, str("k") + le(8, 4) + le(count, 8) + "x"));                  // a string's
    refused(gguf(0, 1, str("k") + le(9, 4) + le(4, 4) + le(count, 8) + le(0, 4)));  // numbers of an array
    refused(gguf(0, 1, str("k") + le(9, 4) + le(8, 4) + le(count, 8) + str("x")));  // strings of one
  }
}

// CVE-2025-53630, CVE-2026-27940, CVE-2026-33298 and a wrapping GGML_PAD: one sum of sizes, four rounds.
TEST(Advisory, CVE_2024_21802_gguf_dimensions) {
  const auto tensor = [](const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    std::string body = str("w") + le(dims.size(), 4);
    for (const uint64_t dim : dims) body += le(dim, 8);
    return gguf(1, 0, body + le(type, 4) + le(offset, 8) + std::string(64, 'x'));
  };
  const uint64_t half = uint64_t{1} << 63, wide = uint64_t{1} << 32;
  for (const uint32_t type : {0U, 1U, 2U, 12U, 30U}) {
    for (const std::vector<uint64_t>& dims : std::vector<std::vector<uint64_t>>{{half},
                                                                                {wide, wide},
                                                                                {wide, wide, wide, wide},
                                                                                {~uint64_t{0}},
                                                                                {uint64_t{1} << 62, 4},
                                                                                {1, 1, 1, 1, 1, 1, 1, 1, 1}}) {
      refused(tensor(dims, type, 0));
    }
  }
  std::string many = str("w") + le(0xFFFFFFFF, 4);
  refused(gguf(1, 0, many));
}

TEST(Advisory, GGUF_alignment_is_bounded) {
  for (const uint32_t alignment : {0U, 3U, 0x80000000U, 0xFFFFFFFFU}) {
    const std::string bytes = gguf(0, 1, str("general.alignment") + le(4, 4) + le(alignment, 4));
    try {
      EXPECT_LE(GgufFile::parse(bytes, "test")->data_offset(), uint64_t{1} << 33) << alignment;
    } catch (const Error&) {  // refused
    }
  }
}

// tokenizer.ggml.scores as INT8: the count fits, the bytes do not.
TEST(Advisory, GGUF_element_types_are_looked_at) {
  const std::string head = str("tokenizer.ggml.model") + le(8, 4) + str("llama");
  const std::string tokens = strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a"});
  const std::string bytes =
      gguf(0, 3, head + tokens + str("tokenizer.ggml.scores") + le(9, 4) + le(1, 4) + le(4, 8) + "\1\1\1\1");
  EXPECT_THROW(read_gguf_tokenizer(*GgufFile::parse(bytes, "test")), Error);
  refused(gguf(0, 1, str("k") + le(9, 4) + le(99, 4) + le(1, 8) + "x"));
  refused(gguf(0, 1, str("k") + le(9, 4) + le(9, 4) + le(1, 8) + "x"));  // arrays of arrays
  refused(gguf(0, 1, str("") + le(200, 4)));
}

// CVE-2025-49847: a token longer than any buffer; PLaMo-2: <0x-1> as a byte.
TEST(Advisory, CVE_2025_49847_tokens) {
  const std::string head = str("tokenizer.ggml.model") + le(8, 4) + str("llama");
  for (const std::string& token :
       {std::string("<0x-1>"), std::string("<0xFFF>"), std::string("<0x"), std::string(100000, 'a')}) {
    const std::string tokens = strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", token});
    std::string scores = str("tokenizer.ggml.scores") + le(9, 4) + le(6, 4) + le(4, 8) + le(0, 16);
    std::string types = str("tokenizer.ggml.token_type") + le(9, 4) + le(5, 4) + le(4, 8);
    for (const int type : {2, 3, 3, 6}) types += le(static_cast<uint64_t>(type), 4);
    try {
      const auto tokenizer = read_gguf_tokenizer(*GgufFile::parse(gguf(0, 4, head + tokens + scores + types), "test"));
      tokenizer->decode({3, 3, 3}, false);
      tokenizer->encode_ids("aaa", false);
    } catch (const Error&) {  // refused
    }
  }
}

// CVE-2026-7482: shapes that say more than the file holds.
TEST(Advisory, CVE_2026_7482_lying_shapes) {
  const auto file = [](const std::string& header, size_t data) {
    return le(header.size(), 8) + header + std::string(data, 'x');
  };
  for (const char* header : {R"({"a":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}})",
                             R"({"a":{"dtype":"F32","shape":[1000],"data_offsets":[0,8]}})",
                             R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})",
                             R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,-4]}})"}) {
    EXPECT_THROW(SafetensorsFile::parse(file(header, 8), "test", nullptr), Error) << header;
  }
}

// A checkpoint's code does not run: pickles name what they want called, and are refused by that name.
TEST(Advisory, CVE_2025_24357_pickles_call_nothing) {
  const std::string folder = pagoda::testing::temporary_path("advisory_pickle");
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const std::string proof = folder + "/ran";
  write_file_atomic(folder + "/config.json", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})");
  // torch_bin_test.cc has the same inside archives, where each name is refused by name.
  write_file_atomic(folder + "/pytorch_model.bin", "cposix\nsystem\n(S'touch " + proof + "'\ntR.");
  EXPECT_THROW(
      {
        const auto model = ModelFolder::open(folder);
        model->weights().names();
      },
      Error);
  EXPECT_FALSE(file_exists(proof));
  std::filesystem::remove_all(folder);
}

// CVE-2025-66448, CVE-2026-22807: auto_map names Python of the checkpoint's. There is no Python here, and nothing looks.
TEST(Advisory, CVE_2025_66448_auto_map_is_not_followed) {
  const std::string folder = pagoda::testing::temporary_path("advisory_auto_map");
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  write_file_atomic(folder + "/config.json",
                    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
                        "auto_map": {"AutoConfig": "evil/repo--config.Evil", "AutoModelForCausalLM": "modeling.Evil"}})");
  EXPECT_EQ(ModelFolder::open(folder)->config().get_string("model_type", "", "config"), "llama");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace pagoda
