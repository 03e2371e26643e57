// GGUF as a model: blocks against gguf-py bit for bit, metadata as configurations, and what is said of files that are wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "base/error.h"
#include "formats/gguf_blocks.h"
#include "formats/gguf_model.h"
#include "formats/tokenizer_config.h"
#include "formats/tokenizer_loader.h"
#include "tests/formats/gguf_bytes.h"
#include "tests/group_values.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/gguf/";

std::string message(const std::function<void()>& fn, ErrorKind kind) {
  try {
    fn();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.message();
    return error.message();
  }
  return "no error";
}

TEST(GgufBlocks, EveryTypeEqualsGgufPyBitForBit) {
  const auto file = SafetensorsFile::open(kFixtures + "blocks.safetensors");
  int types = 0;
  for (uint32_t number = 0; number < 64; ++number) {
    const GgufType* type = find_gguf_type(number);
    if (type == nullptr) continue;
    ++types;
    ASSERT_EQ(gguf_type_name(number), type->name);
    const TensorEntry *blocks = file->find(std::string(type->name) + ".blocks"),
                      *values = file->find(std::string(type->name) + ".values");
    ASSERT_TRUE(blocks != nullptr && values != nullptr) << type->name;
    const int64_t count = blocks->bytes / type->bytes;
    ASSERT_EQ(values->bytes, count * type->block * 4) << type->name;
    std::vector<float> out(static_cast<size_t>(count * type->block));
    type->decode(blocks->data(), count, out.data());
    EXPECT_EQ(std::memcmp(out.data(), values->data(), static_cast<size_t>(values->bytes)), 0) << type->name;
  }
  EXPECT_EQ(types, 13);
  EXPECT_EQ(gguf_type_name(23), "IQ4_XS");
  EXPECT_EQ(gguf_type_name(77), "type 77");
}

TEST(GgufBlocks, CodesAndScalesGiveTheDecodedValues) {
  const auto file = SafetensorsFile::open(kFixtures + "blocks.safetensors");
  int types = 0;
  for (uint32_t number = 0; number < 64; ++number) {
    const GgufType* type = find_gguf_type(number);
    if (type == nullptr || !type->groups) continue;
    ++types;
    const TensorEntry* blocks = file->find(std::string(type->name) + ".blocks");
    const int64_t count = blocks->bytes / type->bytes;
    GroupRows rows(type->groups, 1, count * type->block);
    type->read_groups(
        blocks->data(), count,
        {rows.codes.data(), rows.scales.data(), rows.minima.data(), rows.small_scales.data(), rows.small_minima.data()});
    std::vector<float> values(static_cast<size_t>(rows.k));
    type->decode(blocks->data(), count, values.data());
    for (int64_t k = 0; k < rows.k; ++k) {
      ASSERT_EQ(pagoda::testing::group_value(rows, 0, k), values[static_cast<size_t>(k)]) << type->name << " " << k;
    }
  }
  EXPECT_EQ(types, 10);
}

TEST(GgufModel, MetadataAreAConfiguration) {
  const auto folder = ModelFolder::open(kFixtures + "llama_q8_0.gguf");
  const Json& config = folder->config();
  EXPECT_EQ(config.at("architectures", "").as_array("")[0].as_string(""), "LlamaForCausalLM");
  EXPECT_EQ(config.at("hidden_size", "").as_int(""), 32);
  EXPECT_EQ(config.at("num_key_value_heads", "").as_int(""), 2);
  EXPECT_EQ(config.at("vocab_size", "").as_int(""), 99);
  EXPECT_FALSE(config.at("tie_word_embeddings", "").as_bool(""));
  EXPECT_EQ(config.at("eos_token_id", "").dump(), "[2,5]");
  EXPECT_EQ(folder->dtype(), DType::kBFloat16);
  EXPECT_EQ(folder->path(), kFixtures + "llama_q8_0.gguf");
  EXPECT_EQ(ModelFolder::open(kFixtures + "mistral_window_bf16.gguf")->config().at("sliding_window", "").as_int(""), 8);
  EXPECT_EQ(ModelFolder::open(kFixtures + "qwen2_f32.gguf")->dtype(), DType::kFloat32);
}

TEST(GgufModel, TokenizerAndTemplateComeFromTheFile) {
  const std::string path = kFixtures + "llama_q8_0.gguf";
  EXPECT_TRUE(has_tokenizer(path));
  EXPECT_FALSE(has_tokenizer(kFixtures + "gpt2_f32.gguf"));
  const std::vector<int32_t> ids = load_tokenizer(path)->encode("ab", true).ids;
  EXPECT_EQ(ids, (std::vector<int32_t>{1, 3, 'a' - 33 + 4, 'b' - 33 + 4}));
  const TokenizerConfig config = load_tokenizer_config(path);
  EXPECT_EQ(config.bos_token, "<s>");
  EXPECT_EQ(config.eos_token, "</s>");
  EXPECT_THAT(config.chat_template, HasSubstr("message.role"));
}

TEST(GgufModel, BlocksStayInTheFileUntilTheyAreDecoded) {
  const auto folder = ModelFolder::open(kFixtures + "llama_q8_0.gguf");
  const WeightSource& weights = folder->weights();
  EXPECT_EQ(weights.names().size(), 21u);
  const TensorEntry* entry = weights.find("model.layers.1.self_attn.q_proj.weight");
  ASSERT_NE(entry, nullptr);
  ASSERT_TRUE(entry->encoded);
  EXPECT_EQ(entry->encoded->coding(), "Q8_0");
  EXPECT_EQ(entry->shape, (std::vector<int64_t>{32, 32}));
  EXPECT_EQ(entry->bytes, 32 * 34);
  // Any range of rows is the same rows of the whole.
  std::vector<float> all(32 * 32), some(3 * 32);
  entry->encoded->decode(0, 32, all.data());
  entry->encoded->decode(7, 10, some.data());
  EXPECT_EQ(std::memcmp(some.data(), all.data() + 7 * 32, sizeof(float) * some.size()), 0);
  EXPECT_EQ(weights.find("model.layers.2.self_attn.q_proj.weight"), nullptr);
}

GgufBytes llama() {
  GgufBytes file;
  file.text("general.architecture", "llama").number("llama.context_length", 64).number("llama.embedding_length", 32);
  file.number("llama.feed_forward_length", 32).number("llama.block_count", 1).number("llama.attention.head_count", 4);
  file.real("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  return file;
}

std::shared_ptr<const GgufFile> parse(const std::string& bytes) { return GgufFile::parse(bytes, "test.gguf"); }

std::string weights_error(GgufBytes& file, ErrorKind kind) {
  const std::string bytes = file.bytes();
  return message([&] { open_gguf_weights(parse(bytes)); }, kind);
}

TEST(GgufModel, WrongTensorsAreNamedWithTheirTypes) {
  GgufBytes cut = llama(), beyond = llama(), odd = llama(), unknown = llama(), rank = llama(), place = llama(), twice = llama(),
            heads = llama(), huge = llama();
  cut.tensor("token_embd.weight", {32, 8}, 2, 8 * 18 - 64);
  EXPECT_THAT(weights_error(cut, ErrorKind::kInvalidInput),
              HasSubstr("file cut off: tensor 'token_embd.weight' (Q4_0) needs 144"));
  beyond.tensor("token_embd.weight", {32, 8}, 2, 144, int64_t{1} << 62);
  EXPECT_THAT(weights_error(beyond, ErrorKind::kInvalidInput), HasSubstr("file cut off"));
  odd.tensor("token_embd.weight", {48, 8}, 12, 4096);
  EXPECT_THAT(weights_error(odd, ErrorKind::kInvalidInput),
              HasSubstr("tensor 'token_embd.weight' (Q4_K): got rows of 48, need a multiple of 256"));
  unknown.tensor("token_embd.weight", {256, 8}, 23, 4096);
  EXPECT_THAT(weights_error(unknown, ErrorKind::kUnsupported),
              HasSubstr("tensor 'token_embd.weight': got type IQ4_XS, need F32"));
  rank.tensor("token_embd.weight", {32, 8, 2}, 0, 2048);
  EXPECT_THAT(weights_error(rank, ErrorKind::kInvalidInput), HasSubstr("got 3 dimensions, need 1 or 2"));
  place.tensor("blk.0.attn_sinks.weight", {32}, 0, 128);
  EXPECT_THAT(weights_error(place, ErrorKind::kUnsupported),
              HasSubstr("tensor 'blk.0.attn_sinks.weight' (F32): no place in a llama model"));
  twice.tensor("token_embd.weight", {32, 8}, 0, 1024).tensor("token_embd.weight", {32, 8}, 0, 1024);
  EXPECT_THAT(weights_error(twice, ErrorKind::kInvalidInput), HasSubstr("there twice"));
  heads.tensor("blk.0.attn_q.weight", {32, 20}, 0, 2560);
  EXPECT_THAT(weights_error(heads, ErrorKind::kInvalidInput),
              HasSubstr("got 20 rows, need an even number for each of 4 heads"));
  huge.tensor("token_embd.weight", {1ull << 40, 1ull << 22}, 0, 64);
  EXPECT_THAT(weights_error(huge, ErrorKind::kInvalidInput), HasSubstr("size overflow"));
}

TEST(GgufModel, WrongMetadataAreNamed) {
  const auto config_error = [](GgufBytes& file, ErrorKind kind) {
    const std::string bytes = file.bytes();
    return message([&] { gguf_config(*parse(bytes)); }, kind);
  };
  GgufBytes nothing, other, no_embedding = llama(), rope = llama(), experts = llama(), split = llama();
  EXPECT_THAT(config_error(nothing, ErrorKind::kNotFound), HasSubstr("general.architecture is missing"));
  other.text("general.architecture", "rwkv").tensor("token_embd.weight", {32, 8}, 0, 1024);
  EXPECT_THAT(config_error(other, ErrorKind::kUnsupported),
              HasSubstr("got 'rwkv', need bert, gpt2, llama, qwen2 or starcoder"));
  EXPECT_THAT(config_error(no_embedding, ErrorKind::kInvalidInput), HasSubstr("need 'token_embd.weight'"));
  rope.text("llama.rope.scaling.type", "longrope").tensor("token_embd.weight", {32, 8}, 0, 1024);
  EXPECT_THAT(config_error(rope, ErrorKind::kUnsupported), HasSubstr("got 'longrope', need none, linear or yarn"));
  experts.number("llama.expert_count", 8).tensor("token_embd.weight", {32, 8}, 0, 1024);
  EXPECT_THAT(config_error(experts, ErrorKind::kUnsupported), HasSubstr("mixtures of experts"));
  split.number("split.count", 3);
  EXPECT_THAT(config_error(split, ErrorKind::kUnsupported), HasSubstr("in 3 files"));
  GgufBytes missing;
  missing.text("general.architecture", "llama").tensor("token_embd.weight", {32, 8}, 0, 1024);
  EXPECT_THAT(config_error(missing, ErrorKind::kInvalidInput), HasSubstr("need 'llama.embedding_length'"));
}

TEST(GgufModel, NamedTemplatesAreAList) {
  GgufBytes file;
  file.texts("tokenizer.ggml.tokens", {"a"}).text("tokenizer.chat_template", "one");
  file.texts("tokenizer.chat_templates", {"default", "tool_use"}).text("tokenizer.chat_template.tool_use", "two");
  const std::string bytes = file.bytes();
  EXPECT_EQ(gguf_tokenizer_config(*parse(bytes)).at("chat_template", "").dump(),
            R"([{"name":"default","template":"one"},{"name":"tool_use","template":"two"}])");
}

TEST(GgufModel, AFileThatIsNoModelIsRefused) {
  EXPECT_THAT(message([] { ModelFolder::open(kFixtures + "blocks.safetensors"); }, ErrorKind::kInvalidInput),
              HasSubstr("need a model folder or a .gguf file"));
}

}  // namespace
}  // namespace pagoda
