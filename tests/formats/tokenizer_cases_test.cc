// Tiny tokenizers of every component against what Hugging Face's library gave (tests/fixtures/tokenizers/make.py).
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/tokenizer_json.h"

namespace pagoda {
namespace {

const char* const kFolder = PAGODA_SOURCE_DIR "/tests/fixtures/tokenizers/";

Json byte_vocab() {
  Json vocab = Json::object();
  vocab.set("<unk>", 0);
  for (int b = 0; b < 256; ++b) vocab.set(fmt::format("<0x{:02X}>", b), b + 1);
  return vocab;
}

std::vector<int32_t> ints(const Json& list) {
  std::vector<int32_t> out;
  for (const Json& item : list.as_array("list")) out.push_back(static_cast<int32_t>(item.as_int("list")));
  return out;
}

void check_row(const std::shared_ptr<const Tokenizer>& tokenizer, const Json& row) {
  const std::string& text = row.at("text", "row").as_string("text");
  const Json* const pair = row.find("pair");
  const auto encode = [&](bool offsets) {
    EncodeOptions options;
    options.offsets = offsets;
    return pair != nullptr ? tokenizer->encode_pair(text, pair->as_string("pair"), options) : tokenizer->encode(text, options);
  };
  if (row.contains("error")) {
    EXPECT_THROW(encode(true), Error) << row.dump();
    return;
  }
  const Encoding got = encode(true);
  EXPECT_EQ(got.ids, ints(row.at("ids", "row"))) << row.dump();
  std::string offsets = "[";
  for (const auto& [begin, end] : got.offsets) offsets += fmt::format("{}[{},{}]", offsets.size() > 1 ? "," : "", begin, end);
  EXPECT_EQ(offsets + "]", row.at("offsets", "row").dump()) << row.dump();
  if (const Json* types = row.find("type_ids")) {
    EXPECT_EQ(got.type_ids, ints(*types)) << row.dump();
  }
  EXPECT_EQ(encode(false).ids, got.ids) << "with and without offsets: " << row.dump();
  EXPECT_EQ(got.tokens.size(), got.ids.size());
  EXPECT_EQ(got.attention_mask.size(), got.ids.size());
  if (const Json* decoded = row.find("decoded")) {
    EXPECT_EQ(tokenizer->decode(got.ids, true), decoded->as_string("decoded")) << row.dump();
    const Json* const all = row.find("decoded_all");
    EXPECT_EQ(tokenizer->decode(got.ids, false), (all != nullptr ? *all : *decoded).as_string("decoded")) << row.dump();
  }
}

void check_file(const char* name, size_t least) {
  const std::string text = read_file(std::string(kFolder) + name, int64_t{1} << 24);
  size_t count = 0;
  for (size_t pos = 0; pos < text.size(); ++count) {
    const size_t end = text.find('\n', pos);
    const Json line = Json::parse(text.substr(pos, end - pos), name);
    pos = end + 1;
    Json config = line.at("tokenizer", name);
    Json* const vocab = config.find("model")->find("vocab");
    if (vocab->is_string()) *vocab = byte_vocab();
    SCOPED_TRACE(line.at("name", name).as_string(name) + " " + config.dump().substr(0, 400));
    for (const bool fast : {true, false}) {
      SCOPED_TRACE(fast ? "fast paths" : "general path");
      TokenizerJsonOptions options;
      options.fast_paths = fast;
      const std::shared_ptr<const Tokenizer> tokenizer = read_tokenizer_json(config.dump(), name, {}, options);
      for (const Json& row : line.at("rows", name).as_array(name)) check_row(tokenizer, row);
    }
  }
  EXPECT_GE(count, least);
}

TEST(TokenizerCases, NormalisersAndPreTokenizers) { check_file("cutting.jsonl", 50); }
TEST(TokenizerCases, ModelsDecodersPostProcessorsAddedTokens) { check_file("coding.jsonl", 30); }

}  // namespace
}  // namespace pagoda
