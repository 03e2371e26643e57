// pagoda run and logits on encoders: flags, lines, what people see, shapes of files.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <sstream>

#include "base/file.h"
#include "formats/safetensors.h"
#include "tests/cli/child.h"
#include "tests/temporary.h"

namespace pagoda::testing {
namespace {

const std::string kBert = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/bert";
const std::string kLlama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";

std::vector<std::string> with(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--threads", "1"});
  return arguments;
}

std::string temporary(const std::string& name, const std::string& text) {
  const std::string path = pagoda::testing::temporary_path("run_task_" + name);
  write_file_atomic(path, text);
  return path;
}

TEST(RunTask, FlagsAreTheParameters) {
  const Ended one =
      run_pagoda(with({"run", "text-classification", kBert, "--text", "Is this film good?", "--json", "--top-k", "2"}));
  ASSERT_EQ(one.code, 0) << one.err;
  EXPECT_EQ(one.json().size(), 2u);
  const Ended all = run_pagoda(with({"run", "sentiment-analysis", kBert, "--text", "Is this film good?", "--json", "--top-k",
                                     "all", "--function-to-apply", "none"}));
  ASSERT_EQ(all.code, 0) << all.err;
  EXPECT_EQ(all.json().size(), 5u);
  const Ended answer = run_pagoda(with({"run", "question-answering", kBert, "--question", "Where?", "--context",
                                        "Angela lives in Berlin", "--json", "--max-answer-len", "2", "--no-align-to-words"}));
  ASSERT_EQ(answer.code, 0) << answer.err;
  EXPECT_TRUE(answer.json().contains("answer"));
  const Ended labels = run_pagoda(with({"run", "zero-shot-classification", kBert, "--text", "Goal!", "--candidate-labels", "a",
                                        "--candidate-labels", "b", "--multi-label", "--json"}));
  ASSERT_EQ(labels.code, 0) << labels.err;
  EXPECT_EQ(labels.json().at("labels", "").size(), 2u);
  const Ended vector =
      run_pagoda(with({"run", "feature-extraction", kBert, "--text", "a", "--pooling", "cls", "--normalize", "--json"}));
  ASSERT_EQ(vector.code, 0) << vector.err;
  EXPECT_EQ(vector.json().size(), 24u);
  const Ended pair = run_pagoda(with(
      {"run", "text-classification", kBert, "--text", "a", "--text-pair", "b", "--parameters", R"({"top_k": 1})", "--json"}));
  ASSERT_EQ(pair.code, 0) << pair.err;
  EXPECT_EQ(pair.json().size(), 1u);
}

TEST(RunTask, AllIsForLabels) {
  for (const char* task : {"fill-mask", "question-answering"}) {
    const Ended ended = run_pagoda(with({"run", task, kBert, "--text", "[MASK]", "--top-k", "all"}));
    EXPECT_EQ(ended.code, 2) << ended.out;
    EXPECT_NE(ended.err.find("[--top-k] got all, need a number"), std::string::npos) << ended.err;
  }
}

TEST(RunTask, ForPeopleALineAResult) {
  const Ended shown = run_pagoda(with({"run", "text-classification", kBert, "--text", "Bern", "--top-k", "all"}));
  ASSERT_EQ(shown.code, 0) << shown.err;
  EXPECT_EQ(std::count(shown.out.begin(), shown.out.end(), '\n'), 5);
  EXPECT_NE(shown.out.find("entailment  0."), std::string::npos) << shown.out;
  const Ended masks = run_pagoda(with({"run", "fill-mask", kBert, "--text", "[MASK] is [MASK]", "--top-k", "1"}));
  ASSERT_EQ(masks.code, 0) << masks.err;
  EXPECT_NE(masks.out.find("[MASK]"), std::string::npos) << masks.out;
}

TEST(RunTask, ALineInItsResultOut) {
  const std::string path =
      temporary("lines.jsonl", "\"Bern\"\n{\"text\": \"a\", \"text_pair\": \"b\"}\n[\"x\", \"y\", \"z\"]\n");
  const Ended lines = run_pagoda(with({"run", "text-classification", kBert, "--jsonl", path}));
  ASSERT_EQ(lines.code, 0) << lines.err;
  std::vector<Json> results;
  for (size_t at = 0; at < lines.out.size();) {
    const size_t end = lines.out.find('\n', at);
    results.push_back(Json::parse(lines.out.substr(at, end - at), "line"));
    at = end + 1;
  }
  ASSERT_EQ(results.size(), 3u);
  EXPECT_TRUE(results[0].is_array());  // as HF's pipeline of one string
  EXPECT_TRUE(results[1].is_object());
  EXPECT_EQ(results[2].size(), 3u);
  const Ended alone = run_pagoda(with({"run", "text-classification", kBert, "--text", "Bern", "--json"}));
  EXPECT_EQ(results[0].dump(), alone.json().dump());
}

TEST(RunTask, ABadLineHasItsErrorAndTheOthersGoOn) {
  const std::string path = temporary("bad.jsonl", "\"Bern\"\n7\n\n{\n\"Paris\"\n");
  const Ended lines = run_pagoda(with({"run", "text-classification", kBert, "--jsonl", path}));
  EXPECT_EQ(lines.code, 0) << lines.err;
  std::vector<Json> results;
  std::istringstream out(lines.out);
  for (std::string line; std::getline(out, line);) results.push_back(Json::parse(line, "line"));
  EXPECT_NE(lines.err.find("2 of 4 lines failed, one with: ["), std::string::npos) << lines.err;
  ASSERT_EQ(results.size(), 4u) << lines.out;  // the blank one is none
  for (const size_t bad : {1, 2}) EXPECT_TRUE(results[bad].contains("error")) << lines.out;
  EXPECT_NE(results[2].get_string("error", "", "line").find(":4"), std::string::npos) << lines.out;
  for (const size_t good : {0, 3}) EXPECT_TRUE(results[good].is_array()) << lines.out;
}

// Bad lines are answered as they come, and not gathered to the end.
TEST(RunTask, ManyBadLinesAreAnsweredBeforeTheEnd) {
  const std::string path = temporary("pipe.jsonl", "");
  ::unlink(path.c_str());
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  Running lines(with({"run", "text-classification", kBert, "--jsonl", path}));
  const int writer = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(writer, 0);
  std::string bad;
  for (int i = 0; i < 1500; ++i) bad += "{\n";
  ASSERT_EQ(::write(writer, bad.data(), bad.size()), static_cast<ssize_t>(bad.size()));
  EXPECT_NE(lines.read_until("\n").find("error"), std::string::npos);  // though more may come
  ::close(writer);
  const Ended ended = lines.end();
  EXPECT_EQ(ended.code, 2);
  EXPECT_NE(ended.err.find("1500 of 1500 lines failed"), std::string::npos) << ended.err;
}

// As if the one text of a run had failed, with what was wrong behind the answers that are none.
TEST(RunTask, WhereEveryLineFailsTheRunHas) {
  const auto run = [](const char* name, const std::string& text) {
    return run_pagoda(with({"run", "text-classification", kBert, "--jsonl", temporary(name, text)}));
  };
  const Ended bad = run("all_bad.jsonl", "7\n{\n");
  EXPECT_EQ(bad.code, 2);
  EXPECT_EQ(std::count(bad.out.begin(), bad.out.end(), '\n'), 2) << bad.out;
  EXPECT_EQ(bad.err.rfind("error: [", 0), 0u) << bad.err;
  EXPECT_NE(bad.err.find("2 of 2 lines failed, one with: "), std::string::npos) << bad.err;
  const Ended good = run("all_good.jsonl", "\"Bern\"\n"), none = run("no_line.jsonl", "\n");
  for (const Ended& ended : {good, none}) {
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_EQ(ended.err.find("failed"), std::string::npos) << ended.err;
  }
}

// CLI11 takes the brackets off the values of flags that take several.
TEST(RunTask, BracketsAreOfTheValue) {
  const Ended flags =
      run_pagoda(with({"run", "fill-mask", kBert, "--text", "[MASK]", "--targets", "[CLS]", "[SEP]", "--json"}));
  const Ended parameters = run_pagoda(
      with({"run", "fill-mask", kBert, "--text", "[MASK]", "--parameters", R"({"targets": ["[CLS]", "[SEP]"]})", "--json"}));
  ASSERT_EQ(flags.code, 0) << flags.err;
  EXPECT_EQ(flags.out, parameters.out);
  EXPECT_NE(flags.out.find("[CLS]"), std::string::npos) << flags.out;
  const Ended wrong = run_pagoda({"run", "[a,b]"});
  EXPECT_EQ(wrong.err.find('\x1f'), std::string::npos) << wrong.err;
}

TEST(RunTask, ErrorsSayWhatIsWrong) {
  const Ended task = run_pagoda(with({"run", "summarization", kBert, "--text", "a"}));
  EXPECT_EQ(task.code, 2);  // a wrong argument
  EXPECT_NE(task.err.find("text-classification"), std::string::npos) << task.err;
  const Ended flag = run_pagoda(with({"run", "fill-mask", kBert, "--text", "[MASK]", "--stride", "2"}));
  EXPECT_EQ(flag.code, 2);
  EXPECT_NE(flag.err.find("stride"), std::string::npos) << flag.err;
  const Ended decoder = run_pagoda(with({"run", "fill-mask", kLlama, "--text", "[MASK]"}));
  EXPECT_EQ(decoder.code, 4) << decoder.err;
  EXPECT_EQ(run_pagoda(with({"generate", kBert, "--prompt", "a"})).code, 4);
}

TEST(RunTask, FillMaskCutsTextsThatAreTooLong) {
  const std::vector<std::string> command = {"run",     "fill-mask", kBert,   "--text", "[MASK] b c d e f g",
                                            "--top-k", "1",         "--json"};
  std::vector<std::string> cut = command;
  cut.insert(cut.end(), {"--truncation", "true", "--max-length", "4"});
  const Ended whole = run_pagoda(with(command)), shorter = run_pagoda(with(cut));
  ASSERT_EQ(shorter.code, 0) << shorter.err;
  const auto sequence = [](const Ended& ended) { return ended.json().as_array("")[0].at("sequence", "").as_string(""); };
  EXPECT_NE(sequence(whole).find("b c d e f g"), std::string::npos) << sequence(whole);
  EXPECT_EQ(sequence(shorter).find("b c"), std::string::npos) << sequence(shorter);
}

TEST(RunTask, InputsThatWouldNotBeLookedAtAreRefused) {
  const std::string path = temporary("one.jsonl", "\"Bern\"\n");
  for (const char* flag : {"--text", "--text-pair", "--question", "--context", "--input"}) {
    const Ended ended = run_pagoda(with({"run", "text-classification", kBert, "--jsonl", path, flag, "\"a\""}));
    EXPECT_EQ(ended.code, 2) << flag;
    EXPECT_NE(ended.err.find(flag), std::string::npos) << ended.err;
  }
  EXPECT_EQ(run_pagoda(with({"run", "question-answering", kBert, "--question", "a", "--context", "b", "--text", "c"})).code, 2);
}

std::string folder_of(const std::string& architecture) {
  const std::string folder = pagoda::testing::temporary_path("run_task_" + architecture);
  make_directories(folder);
  write_file_atomic(folder + "/model.safetensors", read_file(kBert + "/model.safetensors", 1 << 24));
  Json config = Json::parse(read_file(kBert + "/config.json", 1 << 20), "config.json");
  Json list = Json::array();
  list.push_back(architecture);
  config.set("architectures", std::move(list));
  write_file_atomic(folder + "/config.json", config.dump());
  return folder;
}

TEST(Logits, OfEveryHead) {
  const std::string ids =
      temporary("ids.jsonl", "{\"input_ids\": [2, 84, 76, 3], \"token_type_ids\": [0, 0, 1, 1]}\n[2, 97, 3]\n");
  const std::string out = pagoda::testing::temporary_path("run_task_logits.safetensors");
  const std::vector<std::pair<std::string, std::vector<int64_t>>> shapes = {{"BertForSequenceClassification", {5}},
                                                                            {"BertForTokenClassification", {4, 5}},
                                                                            {"BertForMaskedLM", {4, 256}},
                                                                            {"BertForQuestionAnswering", {4, 2}}};
  for (const auto& [architecture, shape] : shapes) {
    const Ended ended = run_pagoda(with({"logits", folder_of(architecture), "--ids", ids, "--out", out, "--hidden"}));
    ASSERT_EQ(ended.code, 0) << ended.err;
    const auto file = SafetensorsFile::open(out);
    ASSERT_NE(file->find("logits.0"), nullptr);
    EXPECT_EQ(file->find("logits.0")->shape, shape) << architecture;
    EXPECT_EQ(file->find("hidden.1")->shape, (std::vector<int64_t>{3, 24}));
  }
  const Ended base = run_pagoda(with({"logits", folder_of("BertModel"), "--ids", ids, "--out", out}));
  ASSERT_EQ(base.code, 0) << base.err;
  const auto file = SafetensorsFile::open(out);
  EXPECT_EQ(file->find("logits.0"), nullptr);
  EXPECT_NE(file->find("hidden.0"), nullptr);
  const std::string bad = temporary("bad_ids.jsonl", "{\"input_ids\": [2, 3], \"token_type_ids\": [0]}\n");
  EXPECT_EQ(run_pagoda(with({"logits", folder_of("BertModel"), "--ids", bad, "--out", out})).code, 2);
}

}  // namespace
}  // namespace pagoda::testing
