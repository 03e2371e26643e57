// What tests of pulling share: a hub in the test, its repository, and a cache of the test's own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "hub/pull.h"
#include "tests/hub/fake_hub.h"
#include "tests/temporary.h"

namespace pagoda::hub {

namespace fs = std::filesystem;
using pagoda::testing::FakeHub;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

inline const std::string kCommit(40, 'a');
inline const std::string kOldCommit(40, 'b');

inline std::string random_bytes(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

class Pulling : public ::testing::Test {
 protected:
  void SetUp() override {
    // The machine's own settings must not reach the tests.
    for (const char* name :
         {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT", "HF_HUB_CACHE",
          "HUGGINGFACE_HUB_CACHE", "HF_HUB_DISABLE_SYMLINKS", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
          "ALL_PROXY", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}) {
      ::unsetenv(name);
    }
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = pagoda::testing::temporary_path("pull_" + std::string(info->name()));
    fs::remove_all(folder_);
    ::setenv("HF_HOME", folder_.c_str(), 1);
    ::setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1", 1);
    auto& repo = hub_.repos["org/model"];
    repo.revisions = {{"main", kCommit}, {"old", kOldCommit}, {"refs/pr/1", kOldCommit}};
    weights_ = random_bytes(300'000, 1);
    repo.commits[kCommit] = {{"config.json", {"{\"a\": 1}"}},
                             {"tokenizer.json", {"{}"}},
                             {"model.safetensors", {weights_, true}},
                             {"pytorch_model.bin", {random_bytes(1000, 2), true}},
                             {"onnx/model.onnx", {random_bytes(1000, 3), true}},
                             {"README.md", {"read me"}}};
    repo.commits[kOldCommit] = {{"config.json", {"{\"a\": 0}"}}, {"model.safetensors", {random_bytes(1000, 4), true}}};
    options_.endpoint = hub_.url();
    options_.backoff_milliseconds = 1;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string cache(const std::string& rest) const { return folder_ + "/hub/" + rest; }
  std::string repo(const std::string& rest) const { return cache("models--org--model/" + rest); }
  std::vector<std::string> names(const std::string& folder) const {
    return directory_exists(folder) ? list_directory(folder) : std::vector<std::string>{};
  }
  std::string blob_of(const std::string& file) { return hub_.repos["org/model"].commits[kCommit][file].etag(); }
  void write_partial(const std::string& bytes) {
    make_directories(repo("blobs"));
    write_file_atomic(repo("blobs/" + blob_of("model.safetensors") + ".incomplete"), bytes);
  }
  std::string bytes_of(const std::string& path) const { return read_file(path, 1 << 30); }

  // The error's text; its kind must be as given.
  std::string error_of(ErrorKind kind, const std::string& name = "org/model") {
    try {
      pull(name, options_);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.message();
      return error.message();
    }
    ADD_FAILURE() << "no error";
    return "";
  }

  FakeHub hub_;
  PullOptions options_;
  std::string folder_;
  std::string weights_;
};

}  // namespace pagoda::hub
