// pagoda run-batch: files in and out, exit codes, a bad line among good ones.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "tests/cli/child.h"
#include "tests/temporary.h"
#include "tests/word_model.h"

namespace pagoda::testing {
namespace {

namespace fs = std::filesystem;

TEST(RunBatch, AnswersAFile) {
  const std::string folder = ::testing::TempDir() + "pagoda_run_batch_" + std::to_string(::getpid());
  make_word_model(folder + "/model");
  const std::string in = folder + "/in.jsonl", out = folder + "/out.jsonl";
  write_file_atomic(
      in,
      R"({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": "w7", "max_tokens": 2}}
not json
{"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": {"model": "other", "prompt": "w7"}}
)");
  const std::vector<std::string> command{"run-batch",
                                         "-i",
                                         in,
                                         "-o",
                                         out,
                                         "--model",
                                         folder + "/model",
                                         "--served-model-name",
                                         "m",
                                         "--threads",
                                         "1",
                                         "--kv-cache-memory",
                                         "16MiB",
                                         "--json"};
  const Ended ended = run_pagoda(command);
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.json().at("requests", "report"), Json(3));
  EXPECT_EQ(ended.json().at("failed", "report"), Json(2));
  EXPECT_NE(ended.err.find("2 failed"), std::string::npos) << ended.err;
  const std::string text = read_file(out, 1 << 20);
  std::vector<Json> lines;
  for (size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    lines.push_back(Json::parse(text.substr(at, end - at), "out"));
  }
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].at("response", "l").at("status_code", "r"), Json(200));
  EXPECT_TRUE(lines[1].at("response", "l").is_null());
  EXPECT_EQ(lines[2].at("response", "l").at("status_code", "r"), Json(404));
  EXPECT_FALSE(fs::exists(out + ".part"));
  EXPECT_EQ(run_pagoda({"run-batch", "-i", folder + "/none.jsonl", "-o", out, "--model", folder + "/model"}).code, 3);
  EXPECT_EQ(run_pagoda({"run-batch", "-i", in, "--model", folder + "/model"}).code, 2);
  const Ended piped = run_pagoda({"run-batch", "-i", "/dev/stdin", "-o", out, "--model", folder + "/model"}, "{}");
  EXPECT_EQ(piped.code, 2);
  EXPECT_NE(piped.err.find("need a file"), std::string::npos) << piped.err;
  fs::remove_all(folder);
}

TEST(RunBatch, WhereEveryRequestFailsTheRunHas) {
  const std::string folder = temporary_path("run_batch_failed");
  make_word_model(folder + "/model");
  const std::string in = folder + "/in.jsonl", out = folder + "/out.jsonl";
  write_file_atomic(in, "not json\n{}\n");
  const Ended ended = run_pagoda({"run-batch", "-i", in, "-o", out, "--model", folder + "/model", "--threads", "1",
                                  "--kv-cache-memory", "16MiB", "--quiet", "--json"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_EQ(ended.err, "error: [" + in + "] no request was answered: 2 of 2 failed, see " + out + "\n");
  EXPECT_EQ(ended.json().at("failed", "report"), Json(2));
  EXPECT_TRUE(fs::exists(out));
}

// As pagoda serve names it.
TEST(RunBatch, ARevisionIsNoPartOfTheName) {
  const std::string folder = ::testing::TempDir() + "pagoda_run_batch_revision_" + std::to_string(::getpid());
  const std::string commit(40, 'a'), cached = folder + "/hub/models--org--model";
  make_word_model(cached + "/snapshots/" + commit);
  fs::create_directories(cached + "/refs");
  write_file_atomic(cached + "/refs/main", commit);
  const std::string in = folder + "/in.jsonl", out = folder + "/out.jsonl";
  write_file_atomic(
      in,
      R"({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"model": "org/model", "prompt": "w7", "max_tokens": 1}}
)");
  const Ended ended = run_pagoda({"run-batch", "-i", in, "-o", out, "--model", "org/model@main", "--threads", "1",
                                  "--kv-cache-memory", "16MiB", "--quiet"},
                                 "", {{"HF_HUB_CACHE", folder + "/hub"}, {"HF_HUB_OFFLINE", "1"}});
  ASSERT_EQ(ended.code, 0) << ended.err;
  const Json line = Json::parse(read_file(out, 1 << 20), "out");
  EXPECT_EQ(line.at("response", "l").at("status_code", "r"), Json(200)) << line.dump();
  EXPECT_EQ(line.at("response", "l").at("body", "r").get_string("model", "", "b"), "org/model");
  fs::remove_all(folder);
}

}  // namespace
}  // namespace pagoda::testing
