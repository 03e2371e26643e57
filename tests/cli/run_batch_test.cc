// pagoda run-batch: files in and out, exit codes, a bad line among good ones.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "tests/cli/child.h"
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
  fs::remove_all(folder);
}

}  // namespace
}  // namespace pagoda::testing
