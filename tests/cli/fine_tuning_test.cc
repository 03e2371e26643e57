// pagoda train of tasks with labels, evaluate, adapters, merge, push: from rows to folders, what is printed, exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "tests/cli/child.h"

namespace pagoda::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

class FineTuning : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_);
    std::string rows = "text,label\n";
    for (int i = 0; i < 12; ++i) rows += i % 2 == 0 ? "Berlin is a city,place\n" : "the lazy dog,\"an animal\"\n";
    write_file_atomic(at("rows.csv"), rows);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string at(const std::string& name) const { return folder_ + "/" + name; }
  std::vector<std::string> train(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> all{"train",
                                 "text-classification",
                                 kFixtures + "encoders/bert_bin",
                                 "--tokenizer-name",
                                 kFixtures + "encoders/bert",
                                 "--train-file",
                                 at("rows.csv"),
                                 "--validation-file",
                                 at("rows.csv"),
                                 "--output-dir",
                                 at(out),
                                 "--max-steps",
                                 "30",
                                 "--learning-rate",
                                 "1e-2",
                                 "--max-seq-length",
                                 "16",
                                 "--threads",
                                 "1",
                                 "--logging-steps",
                                 "10"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  const std::string folder_ = ::testing::TempDir() + "pagoda_fine_tuning_" + std::to_string(::getpid());
};

TEST_F(FineTuning, ClassifierFromRows) {
  const Ended trained = run_pagoda(train("out", {"--json"}));
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_THAT(trained.err, HasSubstr("classifier.weight: new"));
  const Json config = Json::parse(read_file(at("out/config.json"), 1 << 20), "config");
  EXPECT_EQ(config.at("id2label", "config").dump(), R"({"0":"an animal","1":"place"})");
  EXPECT_THAT(read_file(at("out/report.html"), 1 << 22), HasSubstr("<polyline"));
  EXPECT_FALSE(fs::is_empty(at("out/runs")));
  const Ended evaluated =
      run_pagoda({"evaluate", "text-classification", at("out"), "--validation-file", at("rows.csv"), "--json", "--quiet"});
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_EQ(evaluated.json().get_double("eval_accuracy", 0, "metrics"), 1);
  const Ended told = run_pagoda({"run", "text-classification", at("out"), "--text", "the lazy dog", "--json", "--quiet"});
  EXPECT_THAT(told.out, HasSubstr("an animal"));
}

// An expression chooses what trains, and the lengths of its outputs train apart.
TEST_F(FineTuning, DoraTrainsAndIsMerged) {
  const Ended trained = run_pagoda(
      train("dora", {"--use-peft", "--use-dora", "--lora-target-modules", ".*\\.(query|value)", "--json", "--quiet"}));
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_EQ(trained.json().get_double("eval_accuracy", 0, "metrics"), 1) << trained.out;
  EXPECT_THAT(read_file(at("dora/adapter_config.json"), 1 << 20), HasSubstr("\"use_dora\": true"));
  ASSERT_EQ(
      run_pagoda({"merge", kFixtures + "encoders/bert_bin", "--adapter", at("dora"), "--out", at("merged"), "--quiet"}).code,
      0);
  const Ended merged =
      run_pagoda({"evaluate", "text-classification", at("merged"), "--validation-file", at("rows.csv"), "--json", "--quiet"});
  ASSERT_EQ(merged.code, 0) << merged.err;
  EXPECT_NEAR(merged.json().get_double("eval_loss", 0, "metrics"), trained.json().get_double("eval_loss", 1, "metrics"), 1e-4);
  const Ended again = run_pagoda(train("again", {"--adapter", at("dora"), "--lora-r", "3"}));
  EXPECT_EQ(again.code, 2);
  EXPECT_THAT(again.err, HasSubstr("--lora-r] has no effect on an adapter that goes on"));
}

TEST_F(FineTuning, AdapterIsSavedMergedAndRun) {
  ASSERT_EQ(run_pagoda(train("adapter", {"--use-peft", "--quiet"})).code, 0);
  EXPECT_TRUE(fs::exists(at("adapter/adapter_model.safetensors")));
  EXPECT_FALSE(fs::exists(at("adapter/model.safetensors")));
  const Ended merged =
      run_pagoda({"merge", kFixtures + "encoders/bert_bin", "--adapter", at("adapter"), "--out", at("merged"), "--quiet"});
  ASSERT_EQ(merged.code, 0) << merged.err;
  const std::vector<std::string> evaluate{
      "evaluate", "text-classification", "MODEL", "--validation-file", at("rows.csv"), "--json", "--quiet"};
  auto whole = evaluate, beside = evaluate;
  whole[2] = at("merged");
  beside[2] = kFixtures + "encoders/bert_bin";
  beside.insert(beside.end(), {"--adapter", at("adapter"), "--tokenizer-name", kFixtures + "encoders/bert"});
  const Ended first = run_pagoda(whole), second = run_pagoda(beside);
  ASSERT_EQ(first.code, 0) << first.err;
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_NEAR(first.json().get_double("eval_loss", 0, "m"), second.json().get_double("eval_loss", 1, "m"), 1e-5);
}

TEST_F(FineTuning, AdapterFolderIsAModel) {
  std::string rows;
  for (int i = 0; i < 8; ++i) rows += "{\"input_ids\": [1, 5, 9, 13, " + std::to_string(17 + i) + "]}\n";
  write_file_atomic(at("ids.jsonl"), rows);
  const Ended trained =
      run_pagoda({"train", "clm", kFixtures + "llama", "--train-file", at("ids.jsonl"), "--output-dir", at("lora"), "--lora-r",
                  "2", "--max-steps", "5", "--learning-rate", "0.1", "--threads", "1", "--quiet", "--save-steps", "5"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const std::vector<std::string> prompt{"--prompt-ids", "[1, 5, 9, 13]", "--max-new-tokens", "4",      "--temperature", "0",
                                        "--json",       "--quiet",       "--dtype",          "float32"};
  std::vector<std::string> adapted{"generate", at("lora")}, merged{"generate", at("merged")};
  adapted.insert(adapted.end(), prompt.begin(), prompt.end());
  merged.insert(merged.end(), prompt.begin(), prompt.end());
  fs::copy(kFixtures + "llama", at("base"), fs::copy_options::recursive);
  write_file_atomic(at("base/model.amx.float32.pagoda"), "of the base's weights");
  ASSERT_EQ(run_pagoda({"merge", at("base"), "--adapter", at("lora"), "--out", at("merged"), "--quiet"}).code, 0);
  EXPECT_FALSE(fs::exists(at("merged/model.amx.float32.pagoda")));
  // Of a checkpoint: nothing of the training that it goes on with.
  ASSERT_TRUE(fs::exists(at("lora/checkpoint-5/training_state.json")));
  ASSERT_EQ(run_pagoda({"merge", at("base"), "--adapter", at("lora/checkpoint-5"), "--out", at("of_checkpoint")}).code, 0);
  EXPECT_TRUE(fs::exists(at("of_checkpoint/model.safetensors")));
  EXPECT_FALSE(fs::exists(at("of_checkpoint/training_state.json")));
  EXPECT_FALSE(fs::exists(at("of_checkpoint/trainer_state.json")));
  const Ended first = run_pagoda(adapted), second = run_pagoda(merged);
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_EQ(first.out, second.out);
  // Other verbs name it for what it is.
  const Ended told = run_pagoda({"info", at("lora")});
  EXPECT_EQ(told.code, 0) << told.err;
  EXPECT_THAT(told.out, HasSubstr("LoRA of rank 2 on " + kFixtures + "llama"));
  const Ended quantised = run_pagoda({"quantize", at("lora"), "--to", "int8", "--out", at("int8")});
  EXPECT_EQ(quantised.code, 4);
  EXPECT_THAT(quantised.err, HasSubstr("pagoda merge"));
}

// Three labels on a base of five other names, numbers, several labels at once: names, how many there are and the function of
// the scores are the adapter's, in `run` as in `evaluate` and after `merge`.
TEST_F(FineTuning, AdaptersHaveTheirOwnLabels) {
  std::string three = "text,label\n", number = three, several;
  for (int i = 0; i < 12; ++i) {
    const std::string text = i % 3 == 0 ? "Berlin is a city" : i % 3 == 1 ? "the lazy dog" : "a quick fox";
    three += text + "," + (i % 3 == 0 ? "place" : i % 3 == 1 ? "animal" : "fox") + "\n";
    number += text + "," + std::to_string(i % 3) + ".25\n";
    several += R"({"text": ")" + text + R"(", "label": [)" + (i % 3 == 0 ? R"("place")" : R"("animal", "z")") + "]}\n";
  }
  write_file_atomic(at("three.csv"), three);
  write_file_atomic(at("number.csv"), number);
  write_file_atomic(at("several.jsonl"), several);
  const std::string base = kFixtures + "encoders/bert_bin";
  for (const std::string name : {"three.csv", "number.csv", "several.jsonl"}) {
    auto command = train("lora_" + name, {"--use-peft", "--quiet"});
    command[6] = command[8] = at(name);
    const Ended trained = run_pagoda(command);
    ASSERT_EQ(trained.code, 0) << name << trained.err;
    ASSERT_EQ(run_pagoda({"merge", base, "--adapter", at("lora_" + name), "--out", at("merged_" + name), "--quiet"}).code, 0);
    std::vector<Ended> told, measured;
    for (const char* kind : {"lora_", "merged_"}) {
      told.push_back(run_pagoda({"run", "text-classification", at(kind + name), "--text", "the lazy dog", "--json", "--top-k",
                                 "all", "--quiet", "--threads", "1"}));
      measured.push_back(run_pagoda({"evaluate", "text-classification", at(kind + name), "--validation-file", at(name),
                                     "--json", "--quiet", "--threads", "1"}));
    }
    EXPECT_EQ(told[0].code, 0) << name << told[0].err;
    EXPECT_EQ(told[0].out, told[1].out) << name;
    if (name != "number.csv") {
      EXPECT_THAT(told[0].out, HasSubstr("animal"));
    }
    ASSERT_EQ(measured[0].code, 0) << name << measured[0].err;
    EXPECT_NEAR(measured[0].json().get_double("eval_loss", 0, "m"), measured[1].json().get_double("eval_loss", 1, "m"), 1e-5);
  }
}

// The base has five labels, the adapter two: its classifier is whole in it, and the base's is not wanted.
TEST_F(FineTuning, AdapterOfAnotherHeadNeedsNothingOfTheBases) {
  auto command = train("two", {"--use-peft", "--quiet", "--ignore-mismatched-sizes"});
  command[2] = command[4] = kFixtures + "encoders/roberta";
  ASSERT_EQ(run_pagoda(command).code, 0);
  const Ended merged = run_pagoda({"merge", command[2], "--adapter", at("two"), "--out", at("merged"), "--quiet"});
  EXPECT_EQ(merged.code, 0) << merged.err;
  const Ended told = run_pagoda({"run", "text-classification", at("two"), "--text", "the lazy dog", "--json", "--quiet"});
  EXPECT_EQ(told.code, 0) << told.err;
  EXPECT_THAT(told.out, HasSubstr("an animal"));
}

// Never new weights without a word: MODEL that is an adapter goes on, and steps of no length leave it as it is.
TEST_F(FineTuning, TrainingOfAnAdapterGoesOn) {
  ASSERT_EQ(run_pagoda(train("first", {"--use-peft", "--quiet"})).code, 0);
  auto command = train("second", {"--learning-rate", "1e-30", "--weight-decay", "0"});
  command[2] = at("first");
  command.erase(command.begin() + 3, command.begin() + 5);  // --tokenizer-name: the adapter has it
  const auto rate = std::find(command.begin(), command.end(), "--learning-rate");
  command.erase(rate, rate + 2);
  const Ended second = run_pagoda(command);
  ASSERT_EQ(second.code, 0) << second.err;
  EXPECT_THAT(second.err, Not(HasSubstr("new")));
  for (const char* file : {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"}) {
    EXPECT_EQ(read_file(at("second/") + file, 1 << 26), read_file(at("first/") + file, 1 << 26)) << file;
  }
  command.emplace_back("--from-scratch");
  EXPECT_EQ(run_pagoda(command).code, 2);
  // Weights that are not read.
  fs::create_directories(at("tf"));
  write_file_atomic(at("tf/config.json"), read_file(kFixtures + "encoders/bert/config.json", 1 << 20));
  write_file_atomic(at("tf/tf_model.h5"), "x");
  command = train("third");
  command[2] = at("tf");
  const Ended refused = run_pagoda(command);
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("tf_model.h5"));
}

TEST_F(FineTuning, WhatIsWrongIsToldBeforeTraining) {
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{{"--bf16", "--dtype", "float32"},
                                                                                     {"--dropout", "-1"},
                                                                                     {"--attention-dropout", "-3"},
                                                                                     {"--dropout", "1"},
                                                                                     {"--seed", "-1"}}) {
    const Ended refused = run_pagoda(train("out", wrong));
    EXPECT_EQ(refused.code, 2) << wrong[0];
    EXPECT_THAT(refused.err, HasSubstr(wrong[0]));
  }
  write_file_atomic(at("bad.csv"), "text,label\nx,place\ny,\n");
  auto bad = train("out");
  bad[6] = at("bad.csv");
  EXPECT_EQ(run_pagoda(bad).code, 2);
  const Ended unknown = run_pagoda(train("out", {"--lora-target-modules", "nowhere", "--use-peft"}));
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("need some of"));
  const Ended alone = run_pagoda(train("out", {"--use-dora"}));
  EXPECT_EQ(alone.code, 2);
  EXPECT_THAT(alone.err, HasSubstr("--use-dora] has no effect without --use-peft"));
  const Ended push = run_pagoda({"push", at("none"), "ORG/NAME", "--token", "x", "--endpoint", "http://127.0.0.1:1"});
  EXPECT_EQ(push.code, 3);
  EXPECT_EQ(run_pagoda({"merge", kFixtures + "llama", "--adapter", folder_, "--out", at("merged")}).code, 3);
  EXPECT_EQ(run_pagoda({"evaluate", "text-classification", kFixtures + "encoders/bert_bin", "--tokenizer-name",
                        kFixtures + "encoders/bert", "--validation-file", at("rows.csv")})
                .code,
            2);  // no head
}

}  // namespace
}  // namespace pagoda::testing
