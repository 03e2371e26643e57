// Special tokens of configs after the tokenizer's. Expected values are of transformers 5.24,
// trainer_utils.align_special_tokens.
#include "train/align_tokens.h"

#include <gtest/gtest.h>

#include "formats/tokenizer_loader.h"
#include "tests/folder.h"
#include "train/training_model.h"

namespace pagoda::train {
namespace {

struct Case {
  const char *config, *generation;            // before; generation "": the model has none
  const char *want_config, *want_generation;  // after
};

TEST(AlignSpecialTokens, AsTheTrainerOfTransformersDoes) {
  const testing::Folder folder("align");
  folder.write("tokenizer.json",
               R"({"model": {"type": "WordLevel", "vocab": {"a": 0, "<end>": 1, "<pad>": 2}, "unk_token": "a"},
    "added_tokens": [{"id": 1, "content": "<end>", "special": true}, {"id": 2, "content": "<pad>", "special": true}]})");
  folder.write("tokenizer_config.json", R"({"eos_token": "<end>", "pad_token": "<pad>", "bos_token": null})");
  const auto tokenizer = load_tokenizer(folder.path());
  const TokenizerConfig names = load_tokenizer_config(folder.path());
  const Case cases[] = {
      {R"({"eos_token_id": 50256, "bos_token_id": 7})", R"({"eos_token_id": 50256})",
       R"({"eos_token_id": 1, "bos_token_id": 7, "pad_token_id": 2})", R"({"eos_token_id": [1, 50256], "pad_token_id": 2})"},
      {R"({"eos_token_id": [41, 47], "pad_token_id": 2})", R"({"eos_token_id": [41, 47], "pad_token_id": 2})",
       R"({"eos_token_id": [1, 41, 47], "pad_token_id": 2})", R"({"eos_token_id": [1, 41, 47], "pad_token_id": 2})"},
      {R"({"eos_token_id": 1, "pad_token_id": 2})", R"({"eos_token_id": [3, 1], "pad_token_id": 2})",
       R"({"eos_token_id": 1, "pad_token_id": 2})", R"({"eos_token_id": [3, 1], "pad_token_id": 2})"},
      {R"({"eos_token_id": 9, "pad_token_id": 2})", R"({"eos_token_id": 1, "pad_token_id": 2})",
       R"({"eos_token_id": 1, "pad_token_id": 2})", R"({"eos_token_id": [1], "pad_token_id": 2})"},
      {R"({"pad_token_id": 0})", "", R"({"pad_token_id": 2, "eos_token_id": 1})", ""},
      {R"({})", R"({})", R"({"eos_token_id": 1, "pad_token_id": 2})", R"({"eos_token_id": [1], "pad_token_id": 2})"},
  };
  for (const Case& each : cases) {
    Json config = Json::parse(each.config, "config"), generation;
    const bool generates = each.generation[0] != 0;
    if (generates) generation = Json::parse(each.generation, "generation");
    const std::string told = align_special_tokens(*tokenizer, names, "", config, generates ? &generation : nullptr);
    EXPECT_EQ(config, Json::parse(each.want_config, "want")) << each.config << ": " << config.dump();
    if (generates) {
      EXPECT_EQ(generation, Json::parse(each.want_generation, "want")) << each.config << ": " << generation.dump();
    }
    EXPECT_EQ(told.empty(), config == Json::parse(each.config, "config")) << told;
  }
  // A class's own tokens count where the folder names none.
  folder.write("vocab.json", R"({"a": 0, "<|endoftext|>": 1})");
  folder.write("merges.txt", "#version: 0.2\n");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer"})");
  ::unlink((folder / "tokenizer.json").c_str());
  Json config = Json::parse(R"({"eos_token_id": 5, "bos_token_id": 5})", "config");
  align_special_tokens(*load_tokenizer(folder.path()), load_tokenizer_config(folder.path()), "", config, nullptr);
  EXPECT_EQ(config.dump(), R"({"eos_token_id":1,"bos_token_id":1})");
  // Where config.json is silent the family's default stands, which for LLaMA's beginning is 1.
  config = Json::parse(R"({"model_type": "llama"})", "config");
  align_special_tokens(*load_tokenizer(folder.path()), load_tokenizer_config(folder.path()), "", config, nullptr);
  EXPECT_EQ(config.dump(), R"({"model_type":"llama","eos_token_id":1})");
}

// The folder that training writes: a model that is opened to train has the tokenizer's, one that is evaluated its own.
TEST(AlignSpecialTokens, WhatIsTrainedHasThem) {
  const testing::Folder folder("align_model");
  folder.write("config.json",
               R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 8, "hidden_size": 8,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "eos_token_id": 5})");
  folder.write("tokenizer.json", R"({"model": {"type": "WordLevel", "vocab": {"a": 0, "<end>": 1}, "unk_token": "a"},
    "added_tokens": [{"id": 1, "content": "<end>", "special": true}]})");
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"})");
  TrainingModelOptions options;
  options.runtime.threads = 1;
  const auto model = TrainingModel::open(folder.path(), options);
  EXPECT_EQ(model->config().get_int("eos_token_id", -1, "config"), 1);
  ASSERT_EQ(model->notices().size(), 1u);
  EXPECT_NE(model->notices()[0].find("eos_token_id 1"), std::string::npos);
  const std::string out = folder / "out";
  make_directories(out);
  model->save(out);
  const Json generation = Json::parse(read_file(out + "/generation_config.json", 1 << 16), "generation");
  EXPECT_EQ(generation.at("eos_token_id", "generation").dump(), "[1,5]");
}

}  // namespace
}  // namespace pagoda::train
