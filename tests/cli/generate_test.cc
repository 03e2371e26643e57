// The program on a fixture: generate and logits equal to transformers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "formats/safetensors.h"
#include "tests/cli/child.h"
#include "tests/temporary.h"
#include "tests/word_model.h"

namespace pagoda::testing {
namespace {

const std::string kLlama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";

// Nothing else on the screen would say that the program waits for what is typed.
TEST(Generate, AtATerminalItSaysThatItReadsThePrompt) {
  const std::string folder = temporary_path("generate_terminal");
  make_word_model(folder);
  OnTerminal terminal({"generate", folder, "--threads", "1", "--max-new-tokens", "2"});
  ASSERT_TRUE(terminal.wait_for("reading the prompt from stdin (Ctrl-D ends it)")) << terminal.seen();
  terminal.type("w7\n\x04");
  EXPECT_EQ(terminal.end(), 0) << terminal.seen();
  const Ended piped = run_pagoda({"generate", folder, "--threads", "1", "--max-new-tokens", "2"}, "w7\n");
  EXPECT_EQ(piped.code, 0);
  EXPECT_EQ(piped.err.find("stdin"), std::string::npos) << piped.err;
  EXPECT_NE(terminal.seen().find(piped.out), std::string::npos) << terminal.seen();
}

Json cases() { return Json::parse(read_file(kLlama + "/cases.json", 1 << 26), "cases.json"); }

// A case's parameters as flags; what is no parameter is left to the caller.
std::vector<std::string> flags_of(const Json& each) {
  std::vector<std::string> flags{"generate", kLlama, "--json", "--threads", "1"};
  for (const JsonMember& member : each.as_object("case")) {
    if (member.key == "token_ids" || member.key == "scores") continue;
    std::string name = member.key;
    std::replace(name.begin(), name.end(), '_', '-');
    if (member.value.is_bool() && member.key == "ignore_eos") {
      if (member.value.as_bool("case")) flags.push_back("--ignore-eos");
      continue;
    }
    flags.push_back("--" + name);
    flags.push_back(member.value.is_string() ? member.value.as_string("case") : member.value.dump());
  }
  return flags;
}

void expect_outputs(const char* group) {
  const Json all = cases();
  for (const Json& each : all.at(group, group).as_array(group)) {
    const Ended ended = run_pagoda(flags_of(each));
    ASSERT_EQ(ended.code, 0) << ended.err;
    const Json result = ended.json();
    EXPECT_EQ(result.at("prompt_token_ids", group), each.at("prompt_ids", group));
    const Json& expected = each.at("token_ids", group);
    const bool lists = std::string(group) == "beam";
    const Json::Array& outputs = result.at("outputs", group).as_array(group);
    ASSERT_EQ(outputs.size(), lists ? expected.size() : 1u);
    for (size_t i = 0; i < outputs.size(); ++i) {
      EXPECT_EQ(outputs[i].at("token_ids", group), lists ? expected.as_array(group)[i] : expected) << each.dump();
      EXPECT_EQ(outputs[i].at("index", group), Json(static_cast<int64_t>(i)));
      EXPECT_TRUE(outputs[i].at("text", group).is_null());
      const std::string reason = outputs[i].at("finish_reason", group).as_string(group);
      const Json::Array& ids = outputs[i].at("token_ids", group).as_array(group);
      const bool ended_itself = ids.back() == Json(55) && !each.get_bool("ignore_eos", false, group);
      EXPECT_EQ(reason, ended_itself ? "stop" : "length") << each.dump();
    }
  }
}

TEST(Generate, GreedyEqualsTransformers) { expect_outputs("greedy"); }
TEST(Generate, BeamsEqualTransformers) { expect_outputs("beam"); }
TEST(Generate, ProcessorsEqualTransformers) { expect_outputs("processors"); }

TEST(Generate, SeedsRepeat) {
  const std::vector<std::string> flags{
      "generate",         kLlama, "--prompt-ids", "[21]",   "--temperature", "1", "--num-return-sequences", "3",
      "--max-new-tokens", "12",   "--ignore-eos", "--json", "--seed"};
  auto with = [&](const char* seed) {
    std::vector<std::string> all = flags;
    all.push_back(seed);
    return run_pagoda(all).out;
  };
  const std::string first = with("7");
  EXPECT_EQ(first, with("7"));
  EXPECT_NE(first, with("8"));
}

TEST(Generate, WithoutTokenizerIdsAreTheAnswer) {
  const Ended ended = run_pagoda({"generate", kLlama, "--prompt-ids", "[21]"});
  EXPECT_EQ(ended.code, 0);
  EXPECT_EQ(ended.out, "[56,13,93,25,55]\n");
  const Ended two = run_pagoda({"generate", kLlama, "--prompt-ids", "[21]", "--num-beams", "2", "--num-return-sequences", "2"});
  EXPECT_EQ(two.code, 0) << two.err;
  EXPECT_EQ(two.out.find("---"), std::string::npos) << two.out;
  EXPECT_EQ(std::count(two.out.begin(), two.out.end(), '\n'), 2) << two.out;
  EXPECT_EQ(ended.err, "");
}

int shell(const std::string& command) { return std::system(("bash -c '" + command + "'").c_str()); }

TEST(Generate, FullDiskIsTold) {
  EXPECT_EQ(shell(std::string(PAGODA_PROGRAM) + " generate " + kLlama +
                  " --prompt-ids [21] 2>&1 >/dev/full | grep -q \"^error: .stdout. cannot write\""),
            0);
}

TEST(Init, FullDiskIsTold) {
  const std::string folder = ::testing::TempDir() + "pagoda_full_" + std::to_string(::getpid());
  EXPECT_EQ(shell("trap \"\" XFSZ; ulimit -f 8; " + std::string(PAGODA_PROGRAM) + " init " + kLlama + " --out " + folder +
                  " 2>&1 | grep -q \"model.safetensors. cannot write\"; code=$?; rm -r " + folder + "; exit $code"),
            0);
}

TEST(Generate, FlagsThatCannotBeMeantAreRefused) {
  EXPECT_EQ(run_pagoda({"generate", kLlama, "--prompt-ids", "[21]", "--seed", "-1"}).code, 2);
  EXPECT_EQ(run_pagoda({"generate", kLlama, "--prompt-ids", "[21]", "--temperature", "0", "--do-sample"}).code, 2);
}

TEST(Generate, ClosedPipeEndsQuietly) {
  EXPECT_EQ(shell("set -o pipefail; test -z \"$( { " + std::string(PAGODA_PROGRAM) + " man | head -c 1 >/dev/null; } 2>&1 )\""),
            0);
}

TEST(Logits, EqualReference) {
  const std::string folder = std::filesystem::temp_directory_path() / ("pagoda_cli_logits." + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const Json all = cases();
  std::string lines;
  for (const Json& line : all.at("lines", "cases").as_array("cases")) lines += line.at("input_ids", "cases").dump() + "\n";
  const std::string out = folder + "/logits.safetensors";
  const Ended ended = run_pagoda({"logits", kLlama, "--ids", "-", "--out", out, "--hidden", "--json", "--threads", "1"}, lines);
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto got = SafetensorsFile::open(out), reference = SafetensorsFile::open(kLlama + "/reference.safetensors");
  const size_t count = all.at("lines", "cases").size();
  EXPECT_EQ(got->tensors().size(), 2 * count);
  for (size_t i = 0; i < count; ++i) {
    for (const std::string kind : {"logits.", "hidden."}) {
      const TensorEntry* a = got->find(kind + std::to_string(i));
      const TensorEntry* b = reference->find(kind + std::to_string(i));
      ASSERT_NE(a, nullptr);
      if (b == nullptr) continue;
      ASSERT_EQ(a->bytes, b->bytes);
      double worst = 0, largest = 0;
      for (int64_t at = 0; at < a->bytes; at += 4) {
        float x, y;
        std::memcpy(&x, a->data() + at, 4);
        std::memcpy(&y, b->data() + at, 4);
        ASSERT_TRUE(std::isfinite(x));
        worst = std::max(worst, std::fabs(double{x} - double{y}));
        largest = std::max(largest, std::fabs(double{y}));
      }
      EXPECT_LT(worst / largest, 1e-4) << kind << i;
    }
  }
  std::filesystem::remove_all(folder);
}

TEST(Generate, MoreAnswersThanAServerRunsAtOnce) {
  const std::string folder = PAGODA_SOURCE_DIR "/tests/fixtures/llama";
  const Ended ended = run_pagoda({"generate", folder, "--prompt-ids", "[5, 6]", "--max-new-tokens", "2", "--temperature", "1",
                                  "--seed", "1", "--num-return-sequences", "600", "--json"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.json().at("outputs", "generate").size(), 600u);
}

}  // namespace
}  // namespace pagoda::testing
