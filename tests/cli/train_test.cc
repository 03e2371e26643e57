// pagoda train: from text to a folder, flags from a file, resuming, Ctrl-C, exit codes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "tests/cli/child.h"

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

TEST_F(Train, CtrlCSavesAndEndsWith130) {
  Running running(command("out", {"--max-steps", "100000", "--save-steps", "100000"}));
  while (!fs::exists(folder_ + "/out/.data/dataset_info.json")) ::usleep(1000);
  ::usleep(300'000);
  ::kill(running.pid(), SIGINT);
  const Ended ended = running.end();
  EXPECT_EQ(ended.code, 130) << ended.err;
  EXPECT_NE(ended.err.find("interrupted"), std::string::npos) << ended.err;
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
