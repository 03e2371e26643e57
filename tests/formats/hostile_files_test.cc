// Files made to take all time or memory, or to crash: each is read in time linear in its size, or refused.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "formats/base64.h"
#include "formats/gguf.h"
#include "formats/quantized_scheme.h"
#include "formats/sentencepiece.h"
#include "formats/tokenizer_config.h"
#include "formats/tokenizer_json.h"
#include "formats/tokenizer_loader.h"
#include "tests/formats/gguf_bytes.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

// Sizes at which the square takes over a minute.
constexpr int kMany = 200'000;

std::string folder_of(const std::vector<std::pair<std::string, std::string>>& files) {
  const std::string folder = pagoda::testing::temporary_path(::testing::UnitTest::GetInstance()->current_test_info()->name());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  for (const auto& [name, text] : files) write_file_atomic(folder + "/" + name, text);
  return folder;
}

std::string times(const std::string& text, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += text;
  return out;
}

std::string refusal(const std::function<void()>& function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput) << error.message();
    return error.message();
  }
  return "no error";
}

TEST(HostileFiles, GgufOfManyKeys) {
  GgufBytes file;
  for (int i = 0; i < kMany; ++i) file.number("key." + std::to_string(i), static_cast<uint32_t>(i));
  const std::string bytes = file.bytes();
  EXPECT_EQ(GgufFile::parse(bytes, "test")->integer("key.777", 0), 777);
  EXPECT_EQ(GgufFile::parse(bytes, "test")->find("key"), nullptr);
  const std::string twice = GgufBytes().number("a", 1).number("b", 2).number("a", 3).bytes();
  EXPECT_NE(refusal([&] { GgufFile::parse(twice, "test"); }).find("'a' is there twice"), std::string::npos);
}

TEST(HostileFiles, TokenizerConfigOfManyNames) {
  std::string config = R"({"b_token": "x", "b_token": "y")", extra = R"("extra_special_tokens": {"k": "x")", list = "\"x\"",
              added = R"("x": 0)";
  for (int i = 0; i < kMany; ++i) {
    const std::string name = std::to_string(i);
    config += ", \"t" + name + "_token\": \"x\"";
    extra += ", \"k" + name + "\": \"y\"";
    list += ", \"z" + name + "\"";
    added += ", \"w" + name + "\": " + std::to_string(i + 1);
  }
  const TokenizerConfig read =
      load_tokenizer_config(folder_of({{"tokenizer_config.json", config + ", " + extra + "}}"},
                                       {"special_tokens_map.json", "{\"extra_special_tokens\": [" + list + ", " + list + "]}"},
                                       {"added_tokens.json", "{" + added + "}"}}));
  EXPECT_EQ(read.named.size(), static_cast<size_t>(2 * kMany + 2));
  EXPECT_EQ(read.named[0].first, "b_token");
  EXPECT_EQ(read.named[0].second->content, "y") << "what is said last counts";
  EXPECT_EQ(read.extra_tokens.size(), static_cast<size_t>(kMany + 1)) << "each once";
  EXPECT_TRUE(read.added_tokens[0].second.special) << "x is a named token";
}

// A length that no integer holds is no bound, as 1e30 is none.
TEST(HostileFiles, ModelMaxLengthOutsideOfIntegers) {
  for (const char* length : {"1e30", "-1e300", "-Infinity", "Infinity", "NaN", "-1"}) {
    const std::string folder = folder_of({{"tokenizer_config.json", std::string("{\"model_max_length\": ") + length + "}"}});
    EXPECT_EQ(load_tokenizer_config(folder).model_max_length, 0) << length;
  }
  EXPECT_EQ(load_tokenizer_config(folder_of({{"tokenizer_config.json", R"({"model_max_length": 512})"}})).model_max_length,
            512);
}

constexpr const char* kModel = R"("model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"})";

// A file of n bytes names n²/16 tokens.
TEST(HostileFiles, TemplatesThatMultiply) {
  const auto file = [&](size_t references, size_t tokens) {
    const std::string one = R"({"SpecialToken": {"id": "s", "type_id": 0}}, )";
    return std::string("{") + kModel + R"(, "post_processor": {"type": "TemplateProcessing", "single": [)" +
           times(one, references) + R"({"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
           "special_tokens": {"s": {"id": "s", "ids": [0)" +
           times(", 0", tokens - 1) + "], \"tokens\": [\"a\"" + times(", \"a\"", tokens - 1) + "]}}}}";
  };
  Limits limits;
  limits.max_items = 1 << 16;
  EXPECT_NE(refusal([&] { read_tokenizer_json(file(1000, 1000), "test", limits); }).find("too many special tokens"),
            std::string::npos);
  EXPECT_EQ(read_tokenizer_json(file(10, 10), "test", limits)->encode_ids("b", true).size(), 101u);
  // Names are looked up by the thousand too.
  std::string named = R"("x": {"id": "x", "ids": [1], "tokens": ["b"]})";
  for (int i = 0; i < kMany; ++i) named += fmt::format(R"(, "{0}": {{"id": "{0}", "ids": [0], "tokens": ["a"]}})", i);
  const std::string many = std::string("{") + kModel + R"(, "post_processor": {"type": "TemplateProcessing", "single": [)" +
                           times(R"({"SpecialToken": {"id": "x", "type_id": 0}}, )", kMany) +
                           R"({"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {)" + named + "}}}";
  EXPECT_EQ(read_tokenizer_json(many, "test")->encode_ids("b", true).size(), static_cast<size_t>(kMany + 1));
}

// A charsmap that makes a megabyte of every 'a', or of spaces; and one whose units go round in a ring.
std::string charsmap(const std::string& replacement) {
  std::string blob(4 + 1024, '\0');
  const auto put = [&](size_t unit, uint32_t value) {
    for (size_t i = 0; i < 4; ++i) blob[4 + 4 * unit + i] = static_cast<char>(value >> (8 * i) & 0xFF);
  };
  blob[1] = 4;
  put('a', uint32_t{'a'} | 1U << 8 | 0x80U << 10);
  put(0xE1, 0x80000000U);
  return blob + replacement + '\0';
}

std::string ring() {
  std::string blob(4 + 1024, '\0');
  blob[1] = 4;
  blob.replace(4 + 4 * 'a', 3, "a\x84\x01");  // 'a' leads back to where 'a' is looked for
  return blob;
}

std::string sentencepiece_model(const std::string& map) {
  const auto field = [](int number, const std::string& text) {
    std::string out(1, static_cast<char>(number << 3 | 2));
    size_t size = text.size();
    for (; size >= 128; size >>= 7) out += static_cast<char>((size & 127) | 128);
    return out + static_cast<char>(size) + text;
  };
  const auto piece = [&](const std::string& text, char type) {
    return field(1, field(1, text) + std::string("\x15\0\0\0\0\x18", 6) + type);
  };
  return piece("<unk>", 2) + piece("x", 1) + piece("a", 1) + piece("\xE2\x96\x81", 1) + field(2, "\x18\x01") +
         field(3, field(2, map));
}

TEST(HostileFiles, CharacterMapsThatMultiply) {
  const std::string text(2000, 'a');
  for (const char* letter : {"x", " "}) {
    const std::string map = charsmap(times(letter, 1'000'000));
    const auto json =
        read_tokenizer_json(std::string("{") + kModel + R"(, "normalizer": {"type": "Precompiled", "precompiled_charsmap": ")" +
                                encode_base64(map) + "\"}}",
                            "test");
    EXPECT_NE(refusal([&] { json->encode_ids(text, false); }).find("too long"), std::string::npos);
    const auto model = make_sentencepiece_tokenizer(parse_sentencepiece(sentencepiece_model(map), "test"), {}, "test");
    EXPECT_NE(refusal([&] { model->encode_ids(text, false); }).find("too long"), std::string::npos);
  }
  const auto model = make_sentencepiece_tokenizer(parse_sentencepiece(sentencepiece_model(charsmap("xx")), "test"), {}, "test");
  EXPECT_EQ(model->encode_ids("aa", false), (std::vector<int32_t>{3, 1, 1, 1, 1}));
}

TEST(HostileFiles, CharacterMapsThatGoInRings) {
  const auto model = make_sentencepiece_tokenizer(parse_sentencepiece(sentencepiece_model(ring()), "test"), {}, "test");
  EXPECT_EQ(model->encode_ids(std::string(400'000, 'a'), false).size(), 400'001u);
}

// Words of any length, and pieces that end at their last byte alone.
TEST(HostileFiles, WordPiecesOfLongWords) {
  const std::string json = R"({"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
      "max_input_chars_per_word": 1000000000, "vocab": {"[UNK]": 0, "a": 1, "##a": 2, "b)";
  const auto tokenizer = read_tokenizer_json(json + std::string(7900, 'b') + "\": 3}}}", "test");
  const std::vector<int32_t> ids = tokenizer->encode_ids(std::string(60'000, 'a'), false);
  ASSERT_EQ(ids.size(), 60'000u);
  EXPECT_EQ(ids[0], 1);
  EXPECT_EQ(ids[1], 2);
  EXPECT_NE(refusal([&] { read_tokenizer_json(json + std::string(8000, 'b') + "\": 3}}}", "test"); }).find("too long"),
            std::string::npos);
  const std::string unigram = R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["?", 0.0], [")";
  EXPECT_NE(refusal([&] { read_tokenizer_json(unigram + std::string(8001, 'b') + "\", -1.0]]}}", "test"); }).find("too long"),
            std::string::npos);
}

TEST(HostileFiles, AddedTokensOfAnyLength) {
  const std::string many(100'000, 'a');
  const std::string text = std::string("{") + kModel + R"(, "added_tokens": [
      {"id": 2, "content": ")" +
                           many + R"(b", "normalized": false}, {"id": 3, "content": "a", "normalized": false}]})";
  EXPECT_EQ(read_tokenizer_json(text, "test")->encode_ids(many, false).size(), many.size());
}

TEST(HostileFiles, UnknownIdsOutsideOfTheVocabulary) {
  for (const char* id : {"-1", "-4294967000", "2", "4294967296"}) {
    const std::string text =
        std::string(R"({"model": {"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0]], "unk_id": )") + id + "}}";
    EXPECT_NE(refusal([&] { read_tokenizer_json(text, "test"); }).find("unk_id"), std::string::npos) << id;
  }
}

// Special tokens that are called as sequences are in a template, or that the class needs and the folder denies.
TEST(HostileFiles, SpecialTokensOfFolders) {
  const std::string words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nA\nB\nhello\n";
  const auto bert = [&](const std::string& config) {
    return folder_of({{"vocab.txt", words}, {"tokenizer_config.json", config}});
  };
  const auto odd = load_tokenizer(bert(R"({"tokenizer_class": "BertTokenizer", "cls_token": "A", "sep_token": "B"})"));
  EXPECT_EQ(odd->encode_ids("hello", true), (std::vector<int32_t>{5, 7, 6}));
  EXPECT_EQ(odd->encode_pair("hello", "hello", true).ids, (std::vector<int32_t>{5, 7, 6, 7, 6}));
  for (const char* name : {"cls_token", "sep_token"}) {
    const std::string roberta = folder_of(
        {{"vocab.json", R"({"<s>": 0, "</s>": 1, "a": 2})"},
         {"merges.txt", "#version: 0.2\n"},
         {"tokenizer_config.json", std::string(R"({"tokenizer_class": "RobertaTokenizer", ")") + name + "\": null}"}});
    EXPECT_NE(refusal([&] { load_tokenizer(roberta); }).find(name), std::string::npos);
  }
}

// Every weight is held against every scheme of the configuration: as many weights as schemes were the square of the file.
TEST(HostileFiles, QuantizationGroupsThatAreMany) {
  const auto config = [](int count, bool same) {
    std::string groups;
    for (int i = 0; i < count; ++i) {
      groups += fmt::format(R"({}"g{}": {{"weights": {{"group_size": {}}}}})", i == 0 ? "" : ", ", i, same ? 32 : i + 1);
    }
    return Json::parse(R"({"config_groups": {)" + groups + "}}", "test");
  };
  EXPECT_NE(refusal([&] { QuantizationSchemes(config(1000, false), "test"); }).find("config_groups"), std::string::npos);
  const QuantizationSchemes schemes(config(20'000, true), "test");
  for (int i = 0; i < 20'000; ++i) EXPECT_EQ(schemes.columns_of_group(128, 4), 32);
  const QuantizationSchemes some(config(100, false), "test");
  EXPECT_EQ(some.columns_of_group(100, 2), 0) << "50 to 99 columns a group would all give two";
}

}  // namespace
}  // namespace pagoda
