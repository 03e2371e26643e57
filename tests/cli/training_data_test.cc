// pagoda tokenizer train and pagoda data prepare: files in and out, reports, exit codes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "tests/cli/child.h"

namespace pagoda::testing {
namespace {

namespace fs = std::filesystem;

class TrainingData : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_);
    std::string text;
    for (int i = 0; i < 400; ++i) text += "row " + std::to_string(i * 37 % 97) + " of the text, which goes on and on\n";
    write_file_atomic(folder_ + "/text.txt", text);
  }
  void TearDown() override { fs::remove_all(folder_); }
  Ended train(const std::string& type, std::vector<std::string> more = {}) {
    std::vector<std::string> command{"tokenizer",         "train", "--type", type, "--files", folder_ + "/text.txt", "--out",
                                     folder_ + "/" + type};
    command.insert(command.end(), more.begin(), more.end());
    return run_pagoda(command);
  }
  const std::string folder_ = ::testing::TempDir() + "pagoda_training_data_" + std::to_string(::getpid());
};

TEST_F(TrainingData, FromTextToShards) {
  const Ended trained = train("bpe", {"--vocab-size", "300", "--json", "--threads", "2"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_EQ(trained.json().at("vocab_size", "report"), Json(300));
  EXPECT_EQ(trained.json().at("rows", "report"), Json(400));
  const Ended prepared =
      run_pagoda({"data", "prepare", "--files", folder_ + "/text.txt", "--tokenizer", folder_ + "/bpe", "--block-size", "16",
                  "--append-eos-token", "--validation-every", "10", "--output-dir", folder_ + "/shards", "--json"});
  ASSERT_EQ(prepared.code, 0) << prepared.err;
  const Json splits = prepared.json().at("splits", "report");
  EXPECT_GT(splits.at("train", "splits").get_int("num_examples", 0, "train"), 100);
  EXPECT_GT(splits.at("train", "splits").get_int("num_duplicates", 0, "train"), 0);  // rows come again after 97
  EXPECT_TRUE(file_exists(folder_ + "/shards/dataset_info.json"));
  EXPECT_TRUE(file_exists(folder_ + "/shards/validation/" +
                          splits.at("validation", "splits").at("shards", "v").as_array("v")[0].as_string("v")));
}

TEST_F(TrainingData, SpecialTokensInBrackets) {
  const Ended trained = train(
      "wordpiece", {"--vocab-size", "60", "--special-tokens", "[PAD],[UNK],[CLS]", "--special-tokens", "[SEP]", "--quiet"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const Ended ids = run_pagoda({"tokenize", folder_ + "/wordpiece", "--jsonl"}, "\"\xE2\x98\x83\"\n");
  EXPECT_EQ(ids.out, "[2,1,3]\n");
}

TEST_F(TrainingData, ATokenizerIsReplacedOnlyWhenAsked) {
  ASSERT_EQ(train("bpe", {"--vocab-size", "300", "--quiet"}).code, 0);
  const Ended again = train("bpe", {"--vocab-size", "310", "--quiet"});
  EXPECT_EQ(again.code, 2);
  EXPECT_NE(again.err.find("--overwrite"), std::string::npos) << again.err;
  EXPECT_EQ(train("bpe", {"--vocab-size", "310", "--quiet", "--overwrite"}).code, 0);
}

TEST_F(TrainingData, FlagsWithoutEffectAreRefused) {
  const auto refused = [](const Ended& ended, const char* flag) {
    EXPECT_EQ(ended.code, 2) << flag;
    EXPECT_NE(ended.err.find(std::string("[") + flag + "]"), std::string::npos) << ended.err;
  };
  refused(train("bpe", {"--shrinking-factor", "0.5"}), "--shrinking-factor");
  refused(train("wordpiece", {"--seed-size", "100"}), "--seed-size");
  refused(train("wordpiece", {"--end-of-word-suffix", "</w>"}), "--end-of-word-suffix");
  refused(train("unigram", {"--min-frequency", "3"}), "--min-frequency");
  refused(train("unigram", {"--add-prefix-space"}), "--add-prefix-space");
  refused(train("bpe", {"--prepend-scheme", "first"}), "--prepend-scheme");
  refused(train("bpe", {"--text-column", "body"}), "--text-column");
  refused(train("bpe", {"--format", "jsonl", "--trim-linebreaks"}), "--trim-linebreaks");
  ASSERT_EQ(train("bpe", {"--vocab-size", "300", "--quiet"}).code, 0);
  const auto prepare = [&](std::vector<std::string> more) {
    std::vector<std::string> command{"data", "prepare", "--files", folder_ + "/text.txt", "--output-dir", folder_ + "/shards"};
    command.insert(command.end(), more.begin(), more.end());
    return run_pagoda(command);
  };
  const std::string tokenizer = folder_ + "/bpe";
  refused(prepare({"--tokenizer", tokenizer, "--packing", "--group-size", "10"}), "--group-size");
  refused(prepare({"--tokenizer", tokenizer, "--line-by-line", "--group-size", "10"}), "--group-size");
  refused(prepare({"--tokenizer", tokenizer, "--format", "jsonl", "--sample-by", "line"}), "--sample-by");
  refused(prepare({"--tokenizer", tokenizer, "--sample-by", "document", "--keep-linebreaks"}), "--keep-linebreaks");
  refused(prepare({"--tokenizer", tokenizer, "--text-column", "body"}), "--text-column");
  refused(prepare({"--append-eos-token"}), "--append-eos-token");
  refused(prepare({"--no-special-tokens"}), "--no-special-tokens");
  write_file_atomic(folder_ + "/ids.jsonl", "{\"input_ids\": [1, 2, 3]}\n");
  const auto prepare_ids = [&](const std::vector<std::string>& more) {
    std::vector<std::string> command{"data", "prepare", "--files", folder_ + "/ids.jsonl", "--output-dir", folder_ + "/ids"};
    command.insert(command.end(), more.begin(), more.end());
    return run_pagoda(command);
  };
  refused(prepare_ids({"--tokenizer", tokenizer, "--block-size", "16"}), "--block-size");
  refused(prepare_ids({"--block-size", "16"}), "--block-size");
  for (const char* flag : {"--packing", "--line-by-line", "--append-eos-token", "--no-special-tokens"})
    refused(prepare_ids({"--tokenizer", tokenizer, flag}), flag);
  const Ended unused = prepare_ids({"--tokenizer", tokenizer});
  EXPECT_EQ(unused.code, 0) << unused.err;
  EXPECT_NE(unused.err.find("--tokenizer: not used"), std::string::npos) << unused.err;
  EXPECT_EQ(prepare_ids({"--overwrite"}).code, 0);
  const Ended none = prepare({"--tokenizer", tokenizer, "--shard-size", "0"});
  EXPECT_NE(none.err.find("[--shard-size] got 0, need more than 0"), std::string::npos) << none.err;
}

TEST_F(TrainingData, TheEndTokenOfAGgufFile) {
  const std::string gguf = PAGODA_SOURCE_DIR "/tests/fixtures/gguf/llama_q8_0.gguf";
  const Ended prepared = run_pagoda({"data", "prepare", "--files", folder_ + "/text.txt", "--tokenizer", gguf, "--block-size",
                                     "16", "--append-eos-token", "--output-dir", folder_ + "/shards"});
  EXPECT_EQ(prepared.code, 0) << prepared.err;
}

TEST_F(TrainingData, AFileInAFoldersPlace) {
  const std::string file = folder_ + "/text.txt";
  const auto refused = [&](const std::vector<std::string>& command) {
    const Ended ended = run_pagoda(command);
    EXPECT_EQ(ended.code, 2) << command[0];
    EXPECT_NE(ended.err.find("need a folder"), std::string::npos) << ended.err;
  };
  const std::string llama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";
  refused({"tokenizer", "train", "--type", "bpe", "--files", file, "--out", file});
  refused({"quantize", llama, "--to", "int8", "--out", file});
  refused({"init", llama, "--out", file});
  // A model in several files is one too.
  std::filesystem::copy(PAGODA_SOURCE_DIR "/tests/fixtures/llama_sharded", file + "_sharded",
                        std::filesystem::copy_options::recursive);
  const Ended over = run_pagoda({"init", llama, "--out", file + "_sharded"});
  EXPECT_EQ(over.code, 2);
  EXPECT_NE(over.err.find("holds a model already"), std::string::npos) << over.err;
  std::filesystem::remove_all(file + "_sharded");
  refused({"data", "prepare", "--files", file, "--tokenizer", llama, "--output-dir", file});
  const Ended below = run_pagoda({"init", llama, "--out", file + "/folder"});
  EXPECT_EQ(below.code, 2) << below.err;
}

TEST_F(TrainingData, Errors) {
  EXPECT_EQ(train("bpe", {"--vocab-size", "10"}).code, 2);
  EXPECT_FALSE(fs::exists(folder_ + "/bpe"));
  EXPECT_EQ(train("other").code, 2);
  EXPECT_EQ(run_pagoda({"tokenizer", "train", "--type", "bpe", "--files", folder_ + "/none", "--out", folder_ + "/x"}).code, 3);
  EXPECT_EQ(run_pagoda({"data", "prepare", "--files", folder_ + "/text.txt", "--output-dir", folder_ + "/shards"}).code, 2);
  EXPECT_EQ(run_pagoda({"data"}).code, 2);
}

}  // namespace
}  // namespace pagoda::testing
