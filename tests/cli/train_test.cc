// pagoda train: from text to a folder, flags from a file, resuming, Ctrl-C, exit codes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "tests/cli/child.h"
#include "tests/test_data.h"

namespace pagoda::testing {
namespace {

namespace fs = std::filesystem;

class Train : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_);
    std::string text;
    for (int i = 0; i < 300; ++i) text += "row " + std::to_string(i * 37 % 97) + " of the text, which goes on and on\n";
    write_file_atomic(folder_ + "/text.txt", text);
    write_file_atomic(folder_ + "/config.json",
                      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 320, "hidden_size": 16,
                      "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64,
                      "eos_token_id": 0})");
    ASSERT_EQ(run_pagoda({"tokenizer", "train", "--type", "bpe", "--files", folder_ + "/text.txt", "--out",
                          folder_ + "/tokenizer", "--vocab-size", "300", "--quiet"})
                  .code,
              0);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::vector<std::string> command(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> all{"train",
                                 "clm",
                                 folder_ + "/config.json",
                                 "--tokenizer-name",
                                 folder_ + "/tokenizer",
                                 "--train-file",
                                 folder_ + "/text.txt",
                                 "--output-dir",
                                 folder_ + "/" + out,
                                 "--threads",
                                 "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string weights(const std::string& out) const { return read_file(folder_ + "/" + out + "/model.safetensors", 1 << 26); }
  const std::string folder_ = ::testing::TempDir() + "pagoda_train_" + std::to_string(::getpid());
};

TEST_F(Train, FromTextToAModelThatGenerates) {
  const Ended trained =
      run_pagoda(command("out", {"--max-steps", "4", "--logging-steps", "2", "--validation-split-percentage", "10", "--json"}));
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_EQ(trained.json().at("global_step", "report"), Json(4));
  EXPECT_GT(trained.json().get_double("eval_loss", 0, "report"), 1);
  EXPECT_NE(trained.err.find("step 2/4"), std::string::npos) << trained.err;
  EXPECT_FALSE(fs::exists(folder_ + "/out/.data"));
  const Ended generated =
      run_pagoda({"generate", folder_ + "/out", "--prompt", "row", "--max-new-tokens", "3", "--temperature", "0"});
  EXPECT_EQ(generated.code, 0) << generated.err;
}

TEST_F(Train, FlagsFromAFileAndResuming) {
  write_file_atomic(
      folder_ + "/flags.json",
      R"({"max_steps": 6, "save_steps": 3, "learning_rate": 1e-3, "per-device-train-batch-size": 2, "logging_first_step": true})");
  const Ended whole = run_pagoda(command("whole", {"--config", folder_ + "/flags.json"}));
  ASSERT_EQ(whole.code, 0) << whole.err;
  ASSERT_EQ(
      run_pagoda(command("half", {"--config", folder_ + "/flags.json", "--save-steps", "2", "--resume-from-checkpoint"})).code,
      0);
  EXPECT_TRUE(fs::exists(folder_ + "/half/checkpoint-4"));  // the command line wins
  fs::remove_all(folder_ + "/half/checkpoint-6");
  const Ended refused = run_pagoda(command("half", {"--config", folder_ + "/flags.json"}));
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("--resume-from-checkpoint"), std::string::npos) << refused.err;
  const Ended resumed = run_pagoda(command("half", {"--config", folder_ + "/flags.json", "--resume-from-checkpoint"}));
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("going on after step 4"), std::string::npos) << resumed.err;
  EXPECT_EQ(weights("half"), weights("whole"));
  ASSERT_EQ(run_pagoda(command("other", {"--config", folder_ + "/flags.json", "--resume-from-checkpoint",
                                         folder_ + "/whole/checkpoint-3"}))
                .code,
            0);
  EXPECT_EQ(weights("other"), weights("whole"));
}

TEST_F(Train, EvaluateEqualsTheTrainersEvaluation) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "row of the text\n\nYes.\nrow " + std::to_string(i) + "\n\n";  // repeated and blank rows
  write_file_atomic(folder_ + "/dev.txt", text);
  const Ended trained =
      run_pagoda(command("out", {"--max_steps", "1", "--validation_file", folder_ + "/dev.txt", "--block_size", "32",
                                 "--save_strategy", "no", "--logging_first_step", "True", "--json"}));
  ASSERT_EQ(trained.code, 0) << trained.err;
  const auto evaluate = [&](std::vector<std::string> more) {
    std::vector<std::string> all{"evaluate",     "clm", folder_ + "/out", "--validation-file", folder_ + "/dev.txt",
                                 "--block-size", "32",  "--json"};
    all.insert(all.end(), more.begin(), more.end());
    const Ended ended = run_pagoda(all);
    EXPECT_EQ(ended.code, 0) << ended.err;
    return ended.json();
  };
  const Json all = evaluate({});
  EXPECT_DOUBLE_EQ(all.get_double("eval_loss", 0, "report"), trained.json().get_double("eval_loss", 1, "report"));
  EXPECT_GT(all.get_double("eval_samples_per_second", 0, "report"), 0);
  EXPECT_LT(evaluate({"--no-keep-linebreaks"}).get_int("eval_samples", 0, "report"), all.get_int("eval_samples", 0, "report"));
  EXPECT_EQ(evaluate({"--max-eval-samples", "2"}).get_int("eval_samples", 0, "report"), 2);
}

// transformers' run_clm on the same file: 25 blocks of 64, eval_loss 4.0151.
TEST_F(Train, EvaluatesAsRunClm) {
  const char* data = test::test_data();
  const std::string model = std::string(data == nullptr ? "" : data) + "/checkpoints/llama2c/hf";
  if (!fs::exists(model)) GTEST_SKIP() << "needs PAGODA_TEST_DATA";
  std::string text;
  for (int i = 0; i < 40; ++i) {
    text += "Once upon a time there was a girl.\n\nYes.\nShe had " + std::to_string(i) + " apples and a dog.\n\n";
  }
  write_file_atomic(folder_ + "/dev.txt", text);
  const Ended ended =
      run_pagoda({"evaluate", "clm", model, "--validation-file", folder_ + "/dev.txt", "--block-size", "64", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.json().get_int("eval_samples", 0, "report"), 25);
  EXPECT_NEAR(ended.json().get_double("eval_loss", 0, "report"), 4.0151, 1e-4);
}

TEST_F(Train, EvaluatesAnswers) {
  write_file_atomic(
      folder_ + "/chat.jinja",
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}");
  std::string rows;
  for (int i = 0; i < 5; ++i) {
    rows += R"({"messages": [{"role": "user", "content": "row )" + std::to_string(i) +
            R"("}, {"role": "assistant", "content": "of the text"}]})" + "\n";
  }
  write_file_atomic(folder_ + "/chats.jsonl", rows);
  std::vector<std::string> all =
      command("chat", {"--chat-template", folder_ + "/chat.jinja", "--validation-file", folder_ + "/chats.jsonl",
                       "--num-train-epochs", "40", "--learning-rate", "1e-2", "--save-strategy", "no", "--json"});
  all[1] = "sft";
  all[6] = folder_ + "/chats.jsonl";
  const Ended trained = run_pagoda(all);
  ASSERT_EQ(trained.code, 0) << trained.err;
  std::vector<std::string> evaluate{"evaluate", "sft", folder_ + "/chat", "--validation-file", folder_ + "/chats.jsonl",
                                    "--json"};
  const Ended plain = run_pagoda(evaluate);
  ASSERT_EQ(plain.code, 0) << plain.err;
  EXPECT_DOUBLE_EQ(plain.json().get_double("eval_loss", 0, "report"), trained.json().get_double("eval_loss", 1, "report"));
  EXPECT_FALSE(plain.json().contains("eval_rouge1"));
  for (const char* more :
       {"--predict_with_generate", "--generation_max_length", "12", "--generation_num_beams", "2", "--predictions-file"})
    evaluate.emplace_back(more);
  evaluate.push_back(folder_ + "/answers.jsonl");
  const Ended answered = run_pagoda(evaluate);
  ASSERT_EQ(answered.code, 0) << answered.err;
  const std::string text = read_file(folder_ + "/answers.jsonl", 1 << 20);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5);
  EXPECT_NE(text.find(R"("reference":"of the text")"), std::string::npos) << text;
  for (const char* name : {"eval_rouge1", "eval_rouge2", "eval_rougeL", "eval_rougeLsum", "eval_bleu"}) {
    EXPECT_GE(answered.json().get_double(name, -1, "report"), 0) << name;
    EXPECT_LE(answered.json().get_double(name, 101, "report"), 100) << name;
  }
  EXPECT_GT(answered.json().get_double("eval_rouge1", 0, "report"), 10) << text;  // it has learnt something
  // The answers are of the named tokenizer too, and as long as the flags say: generation_config.json has another length.
  fs::create_directories(folder_ + "/bare");
  for (const char* name : {"config.json", "model.safetensors"}) fs::copy(folder_ + "/chat/" + name, folder_ + "/bare/" + name);
  const std::string generation = folder_ + "/chat/generation_config.json";
  Json other = Json::parse(read_file(generation, 1 << 20), generation);
  write_file_atomic(folder_ + "/bare/generation_config.json", other.set("max_length", 8).set("num_return_sequences", 2).dump());
  evaluate[2] = folder_ + "/bare";
  evaluate.back() = folder_ + "/answers2.jsonl";
  evaluate.insert(evaluate.end(), {"--tokenizer-name", folder_ + "/chat"});
  const Ended named = run_pagoda(evaluate);
  ASSERT_EQ(named.code, 0) << named.err;
  EXPECT_EQ(read_file(folder_ + "/answers2.jsonl", 1 << 20), text);
  EXPECT_EQ(named.json().at("eval_gen_len", "report"), answered.json().at("eval_gen_len", "report"));
  EXPECT_NE(run_pagoda({"evaluate", "sft", folder_ + "/chat", "--validation-file", folder_ + "/chats.jsonl",
                        "--generation-num-beams", "2"})
                .code,
            0);
}

TEST_F(Train, FromAFamilysDefaultConfig) {
  const std::vector<std::string> rest{"--tokenizer-name", folder_ + "/tokenizer",
                                      "--train-file",     folder_ + "/text.txt",
                                      "--output-dir",     folder_ + "/gpt2",
                                      "--max-steps",      "1",
                                      "--save-strategy",  "no",
                                      "--quiet"};
  std::vector<std::string> all{
      "train",
      "clm",
      "--model_type",
      "gpt2",
      "--config_overrides",
      "vocab_size=300,n_embd=16,n_layer=1,n_head=2,n_positions=32,resid_pdrop=0,activation_function=relu"};
  all.insert(all.end(), rest.begin(), rest.end());
  const Ended ended = run_pagoda(all);
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Json config = Json::parse(read_file(folder_ + "/gpt2/config.json", 1 << 20), "config.json");
  EXPECT_EQ(config.get_int("n_embd", 0, "config"), 16);
  EXPECT_EQ(config.get_string("activation_function", "", "config"), "relu");
  all[5] = "n_embed=16";
  EXPECT_NE(run_pagoda(all).err.find("the config has no field 'n_embed'"), std::string::npos);
  all[5] = "n_embd=big";
  EXPECT_NE(run_pagoda(all).err.find("n_embd: got 'big'"), std::string::npos);
  all[2] = "--model_name_or_path";
  all[3] = folder_ + "/gpt2";
  all[5] = "n_embd=8";
  EXPECT_NE(run_pagoda(all).err.find("has weights, which are of its own config"), std::string::npos);
  all[2] = "--config_name";
  all[3] = folder_ + "/config.json";
  all[5] = "hidden_size=8";
  const Ended named = run_pagoda(all);
  EXPECT_EQ(named.code, 0) << named.err;
}

TEST_F(Train, EmptyListsOfAConfigAreRefused) {
  const std::string file = folder_ + "/empty.json";
  for (const char* text : {R"({"seed": []})", R"({"report_to": [[]]})", R"({"train_files": []})"}) {
    write_file_atomic(file, text);
    const Ended ended = run_pagoda({"train", "clm", folder_, "--config", file});
    EXPECT_EQ(ended.code, 2) << text;
    EXPECT_NE(ended.err.find("got an empty list, need a value"), std::string::npos) << ended.err;
  }
}

// What a run reads it does not remove, and an error costs no checkpoint.
TEST_F(Train, OverwritingKeepsWhatIsNeeded) {
  ASSERT_EQ(run_pagoda(command("out", {"--max-steps", "2", "--save-steps", "1"})).code, 0);
  std::vector<std::string> again = command("out", {"--max-steps", "1", "--overwrite-output-dir"});
  again[2] = folder_ + "/out/checkpoint-2";
  const Ended own = run_pagoda(again);
  EXPECT_EQ(own.code, 2);
  EXPECT_NE(own.err.find("would remove"), std::string::npos) << own.err;
  // Nor where no whole checkpoint is found to go on from, nor an adapter's base, nor what is read through links.
  fs::remove(folder_ + "/out/checkpoint-1/optimizer.safetensors");
  fs::remove(folder_ + "/out/checkpoint-2/optimizer.safetensors");
  again.emplace_back("--resume-from-checkpoint");
  EXPECT_NE(run_pagoda(again).err.find("would remove"), std::string::npos);
  again.pop_back();
  fs::create_directories(folder_ + "/adapter");
  write_file_atomic(folder_ + "/adapter/adapter_config.json",
                    R"({"peft_type": "LORA", "base_model_name_or_path": ")" + folder_ + R"(/out/checkpoint-2", "r": 2})");
  again[2] = folder_ + "/adapter";
  EXPECT_NE(run_pagoda(again).err.find("would remove"), std::string::npos);
  fs::create_directories(folder_ + "/links");
  for (const char* name : {"config.json", "model.safetensors"})
    fs::create_symlink(folder_ + "/out/checkpoint-2/" + name, folder_ + "/links/" + name);
  again[2] = folder_ + "/links";
  EXPECT_NE(run_pagoda(again).err.find("would remove"), std::string::npos);
  EXPECT_TRUE(fs::exists(folder_ + "/out/checkpoint-2/model.safetensors"));
  again[2] = folder_ + "/no/such/model";
  EXPECT_NE(run_pagoda(again).code, 0);
  EXPECT_TRUE(fs::exists(folder_ + "/out/checkpoint-1/model.safetensors"));
  again[2] = folder_ + "/config.json";
  const Ended anew = run_pagoda(again);
  EXPECT_EQ(anew.code, 0) << anew.err;
  EXPECT_FALSE(fs::exists(folder_ + "/out/checkpoint-2"));
}

// Links in the output folder lead to what others share.
TEST_F(Train, WhatOthersShareIsNotWrittenOver) {
  fs::create_directories(folder_ + "/out");
  write_file_atomic(folder_ + "/shared", "of others");
  fs::create_symlink(folder_ + "/shared", folder_ + "/out/config.json");
  fs::create_symlink("/no/such/folder/tokenizer.json", folder_ + "/out/tokenizer.json");
  const Ended ended = run_pagoda(command("out", {"--max-steps", "1", "--save-strategy", "no"}));
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(read_file(folder_ + "/shared", 100), "of others");
  for (const char* name : {"config.json", "tokenizer.json", "trainer_state.json"}) {
    EXPECT_TRUE(file_exists(folder_ + "/out/" + name)) << name;
    EXPECT_FALSE(fs::is_symlink(folder_ + "/out/" + name)) << name;
  }
}

TEST_F(Train, CtrlCSavesAndEndsWith130) {
  Running running(command("out", {"--max-steps", "100000", "--save-steps", "100000"}));
  while (!fs::exists(folder_ + "/out/.data/dataset_info.json")) ::usleep(1000);
  ::usleep(300'000);
  ::kill(running.pid(), SIGINT);
  const Ended ended = running.end();
  EXPECT_EQ(ended.code, 130) << ended.err;
  EXPECT_NE(ended.err.find("interrupted"), std::string::npos) << ended.err;
}

// Rank 0 alone is interrupted while the others wait for its shards: the job ends, it does not wait for them to end with it.
TEST_F(Train, AnInterruptedRankEndsTheJob) {
  const std::string program = PAGODA_PROGRAM;
  if (!fs::exists("/usr/bin/mpirun") || !fs::exists(fs::path(program).parent_path() / "libpagoda_mpi.so")) {
    GTEST_SKIP() << "needs mpirun, and a build with MPI";
  }
  const std::string row = read_file(folder_ + "/text.txt", 1 << 20);
  std::string text;
  while (text.size() < (24u << 20)) text += row;
  write_file_atomic(folder_ + "/text.txt", text);
  std::vector<std::string> all{"mpirun",
                               "--allow-run-as-root",
                               "--oversubscribe",
                               "--bind-to",
                               "none",
                               "-n",
                               "2",
                               "sh",
                               "-c",
                               "echo $$ > \"$0.$OMPI_COMM_WORLD_RANK\"; exec \"$@\"",
                               folder_ + "/rank",
                               program};
  for (const std::string& argument : command("out", {"--max-steps", "1", "--quiet"})) all.push_back(argument);
  std::vector<char*> argv;
  for (std::string& argument : all) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t job = ::fork();
  if (job == 0) {
    ::execv("/usr/bin/mpirun", argv.data());
    ::_exit(127);
  }
  const auto waits = [](int seconds, const auto& done) {
    for (int i = 0; i < 100 * seconds && !done(); ++i) ::usleep(10'000);
    return done();
  };
  ASSERT_TRUE(waits(120, [&] { return fs::exists(folder_ + "/out/.data/train.new"); }));
  ::kill(std::stoi(read_file(folder_ + "/rank.0", 20)), SIGINT);
  int status = 0;
  bool ended = false;
  const auto has_ended = [&] { return ended = ended || ::waitpid(job, &status, WNOHANG) == job; };
  EXPECT_TRUE(waits(60, has_ended)) << "the job still waits";
  if (!ended) {
    ::kill(job, SIGTERM);
    exit_of(job);
  } else {
    EXPECT_NE(status, 0);
  }
  EXPECT_FALSE(fs::exists(folder_ + "/out/.data/train"));  // it was interrupted before its end
}

// What the model makes of a prompt is drawn without the adapter's dropout, of other rows than the last batch had.
TEST_F(Train, AnAdaptersReportHasSamples) {
  ASSERT_EQ(run_pagoda(command("base", {"--max-steps", "1", "--save-strategy", "no"})).code, 0);
  std::vector<std::string> all =
      command("adapter", {"--max-steps", "2", "--save-strategy", "no", "--use-peft", "--sample-prompt", "row"});
  all[2] = folder_ + "/base";
  const Ended ended = run_pagoda(all);
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.err.find("a report stops here"), std::string::npos) << ended.err;
  EXPECT_NE(read_file(folder_ + "/adapter/report.html", 1 << 20).find("Finished"), std::string::npos);
}

TEST_F(Train, FlagsWithoutEffectAreRefused) {
  ASSERT_EQ(run_pagoda({"data", "prepare", "--files", folder_ + "/text.txt", "--tokenizer", folder_ + "/tokenizer",
                        "--block-size", "16", "--output-dir", folder_ + "/shards", "--quiet"})
                .code,
            0);
  const auto refused = [&](std::vector<std::string> more, const std::string& flag, const std::string& file = "text.txt") {
    std::vector<std::string> all = command("out", std::move(more));
    all[6] = folder_ + "/" + file;
    const Ended ended = run_pagoda(all);
    EXPECT_EQ(ended.code, 2) << flag;
    EXPECT_NE(ended.err.find("[" + flag + "]"), std::string::npos) << ended.err;
  };
  const std::string shards = "shards/train";
  refused({"--block-size", "16"}, "--block-size", shards);
  refused({"--line-by-line"}, "--line-by-line", shards);
  refused({"--packing"}, "--packing", shards);
  refused({"--append-eos-token"}, "--append-eos-token", shards);
  refused({"--text-column", "body"}, "--text-column", shards);
  refused({"--sample-by", "paragraph"}, "--sample-by", shards);
  refused({"--text-column", "body"}, "--text-column");
  refused({"--sample-by", "paragraph", "--keep-linebreaks"}, "--keep-linebreaks");
  refused({"--momentum", "0.9"}, "--momentum");
  refused({"--nesterov"}, "--nesterov");
  refused({"--report-to", "none", "--sample-prompt", "row"}, "--sample-prompt");
  refused({"--report-to", "html", "--logging-dir", folder_ + "/logs"}, "--logging-dir");
  refused({"--validation-split-percentage", "50", "--validation-file", folder_ + "/shards/train"},
          "--validation-split-percentage");
  // As on the command line, so in a file of flags.
  refused({"--packing", "--line-by-line"}, "flags");
  write_file_atomic(folder_ + "/flags.json", R"({"packing": true, "line_by_line": true})");
  refused({"--config", folder_ + "/flags.json"}, "--line-by-line");
  write_file_atomic(folder_ + "/rows.jsonl", "{\"text\": \"row 1 of the text\"}\n");
  refused({"--sample-by", "paragraph"}, "--sample-by", "rows.jsonl");
  write_file_atomic(folder_ + "/ids.jsonl", "{\"input_ids\": [1, 2, 3, 4]}\n");
  for (const char* flag : {"--line-by-line", "--packing", "--append-eos-token"}) refused({flag}, flag, "ids.jsonl");
  refused({"--block-size", "16"}, "--block-size", "ids.jsonl");
  refused({"--text-column", "body"}, "--text-column", "ids.jsonl");
  refused({"--block-size", "16", "--validation-file", folder_ + "/shards/train"}, "--block-size", "ids.jsonl");
  // Some of the files are read by them.
  std::vector<std::string> both = command(
      "out", {"--block-size", "16", "--max-steps", "1", "--save-strategy", "no", "--validation-file", folder_ + "/text.txt"});
  both[6] = folder_ + "/" + shards;
  const Ended taken = run_pagoda(both);
  ASSERT_EQ(taken.code, 0) << taken.err;
  const auto evaluate = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all{"evaluate", "clm", folder_ + "/out", "--validation-file"};
    all.insert(all.end(), more.begin(), more.end());
    return run_pagoda(all).err;
  };
  EXPECT_NE(evaluate({folder_ + "/rows.jsonl", "--sample-by", "line"}).find("[--sample-by]"), std::string::npos);
  EXPECT_NE(evaluate({folder_ + "/shards/train", "--block-size", "8"}).find("[--block-size]"), std::string::npos);
  EXPECT_NE(evaluate({folder_ + "/shards/train", "--line-by-line"}).find("[--line-by-line]"), std::string::npos);
  EXPECT_NE(evaluate({folder_ + "/ids.jsonl", "--block-size", "8"}).find("[--block-size] has no effect on rows of token ids"),
            std::string::npos);
}

TEST_F(Train, WrongFlagsAreToldAtOnce) {
  const auto error = [&](std::vector<std::string> more) {
    const Ended ended = run_pagoda(command("out", more));
    EXPECT_NE(ended.code, 0);
    return std::to_string(ended.code) + " " + ended.err;
  };
  EXPECT_NE(error({"--learning-rate", "nan"}).find("2 error: [--learning-rate]"), std::string::npos);
  EXPECT_NE(error({"--block-size", "65"}).find("need at most 64"), std::string::npos);
  EXPECT_NE(error({"--optim", "adamx"}).find("adafactor"), std::string::npos);
  EXPECT_NE(error({"--adam_beta1", "1.5"}).find("[--adam-beta1] got 1.5, need a number of at least 0 and below 1"),
            std::string::npos);
  EXPECT_NE(error({"--do_train", "false"}).find("pagoda evaluate"), std::string::npos);
  EXPECT_NE(error({"--save-steps", "1.5"}).find("whole number"), std::string::npos);
  EXPECT_NE(error({"--resume-from-checkpoint", folder_ + "/none"}).find("3 error: ["), std::string::npos);
  EXPECT_NE(error({"--validation-file", folder_ + "/none.txt"}).find("3 error: ["), std::string::npos);
  write_file_atomic(folder_ + "/flags.json", R"({"learning_rat": 1e-3})");
  EXPECT_NE(error({"--config", folder_ + "/flags.json"}).find("got 'learning_rat'"), std::string::npos);
  const Ended missing = run_pagoda({"train", "clm", folder_ + "/config.json", "--output-dir", folder_ + "/out"});
  EXPECT_EQ(missing.code, 2);
  EXPECT_NE(missing.err.find("--train-file"), std::string::npos) << missing.err;
  const Ended parquet = run_pagoda({"train", "clm", folder_ + "/config.json", "--tokenizer-name", folder_ + "/tokenizer",
                                    "--train-file", folder_ + "/tokenizer/tokenizer.json", "--output-dir", folder_ + "/out"});
  EXPECT_EQ(parquet.code, 2) << parquet.err;
}

}  // namespace
}  // namespace pagoda::testing
