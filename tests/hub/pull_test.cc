// Pulling from a hub in the test: layout of the cache, revisions, which files, several at once, TLS, proxies, redirects.
#include "hub/pull.h"

#include "tests/hub/pull_fixture.h"

namespace pagoda::hub {
namespace {

TEST_F(Pulling, LaysTheCacheOut) {
  const PullResult result = pull("org/model", options_);
  EXPECT_EQ(result.folder, repo("snapshots/" + kCommit));
  EXPECT_EQ(result.commit, kCommit);
  EXPECT_THAT(result.files, ElementsAre("config.json", "model.safetensors", "tokenizer.json"));
  EXPECT_EQ(result.stale_reason, "");
  EXPECT_EQ(result.downloaded_bytes, 300'000 + 8 + 2);
  EXPECT_EQ(bytes_of(result.folder + "/model.safetensors"), weights_);
  EXPECT_EQ(fs::read_symlink(result.folder + "/model.safetensors").string(), "../../blobs/" + blob_of("model.safetensors"));
  EXPECT_EQ(fs::read_symlink(result.folder + "/config.json").string(), "../../blobs/" + blob_of("config.json"));
  EXPECT_EQ(bytes_of(repo("refs/main")), kCommit);
  EXPECT_EQ(names(repo("blobs")).size(), 3U);
  EXPECT_FALSE(fs::exists(repo(".no_exist")));
  EXPECT_TRUE(file_exists(cache(".locks/models--org--model/" + blob_of("config.json") + ".lock")));
  EXPECT_TRUE(file_exists(cache("CACHEDIR.TAG")));
}

TEST_F(Pulling, SecondPullAsksOnlyForTheListing) {
  pull("org/model", options_);
  hub_.clear_log();
  const PullResult result = pull("org/model", options_);
  EXPECT_EQ(result.downloaded_bytes, 0);
  EXPECT_EQ(hub_.log().size(), 1U);
}

TEST_F(Pulling, ForceDownloadsAgain) {
  pull("org/model", options_);
  options_.force = true;
  EXPECT_EQ(pull("org/model", options_).downloaded_bytes, 300'010);
  EXPECT_EQ(names(repo("blobs")).size(), 3U);
}

TEST_F(Pulling, Revisions) {
  EXPECT_EQ(pull("org/model@old", options_).commit, kOldCommit);
  EXPECT_EQ(bytes_of(repo("refs/old")), kOldCommit);
  EXPECT_EQ(pull("org/model@refs/pr/1", options_).commit, kOldCommit);
  EXPECT_EQ(bytes_of(repo("refs/refs/pr/1")), kOldCommit);
  EXPECT_EQ(pull("org/model@" + kOldCommit, options_).commit, kOldCommit);
  EXPECT_THAT(names(repo("refs")), ElementsAre("old", "refs"));
  options_.revision = "old";
  EXPECT_EQ(pull("org/model", options_).commit, kOldCommit);
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput, "org/model@main"), HasSubstr("two revisions"));
  options_.revision = "none";
  EXPECT_THAT(error_of(ErrorKind::kNotFound), HasSubstr("no such revision: got 'none'"));
}

TEST_F(Pulling, IncludeAndExclude) {
  options_.include = {"*.bin", "onnx/"};
  EXPECT_THAT(pull("org/model", options_).files, ElementsAre("onnx/model.onnx", "pytorch_model.bin"));
  EXPECT_EQ(fs::read_symlink(repo("snapshots/" + kCommit + "/onnx/model.onnx")).string(),
            "../../../blobs/" + blob_of("onnx/model.onnx"));
  options_.exclude = {"onnx/*"};
  EXPECT_THAT(pull("org/model", options_).files, ElementsAre("pytorch_model.bin"));
  options_.include.clear();
  options_.exclude = {"*.safetensors"};
  EXPECT_THAT(pull("org/model", options_).files, ElementsAre("config.json", "tokenizer.json"));
  options_.include = {"*.nothing"};
  EXPECT_THAT(error_of(ErrorKind::kNotFound), HasSubstr("no file matches: got include '*.nothing'"));
}

TEST_F(Pulling, MissingFilesAreNoted) {
  options_.include = {"config.json", "vocab.txt"};
  EXPECT_THAT(error_of(ErrorKind::kNotFound), HasSubstr("no such file: got 'vocab.txt'"));
  EXPECT_TRUE(file_exists(repo(".no_exist/" + kCommit + "/vocab.txt")));
  EXPECT_FALSE(file_exists(repo(".no_exist/" + kCommit + "/config.json")));
}

TEST_F(Pulling, WithoutWeights) {
  options_.weights = false;
  EXPECT_THAT(pull("org/model", options_).files, ElementsAre("config.json", "tokenizer.json"));
}

TEST_F(Pulling, ShardsOfAnIndex) {
  auto& files = hub_.repos["org/model"].commits[kCommit];
  files.erase("model.safetensors");
  files["consolidated.safetensors"] = {random_bytes(5000, 9), true};
  files["model-1.safetensors"] = {random_bytes(5000, 5), true};
  files["model-2.safetensors"] = {random_bytes(5000, 6), true};
  files["model.safetensors.index.json"] = {R"({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})"};
  EXPECT_THAT(pull("org/model", options_).files, ElementsAre("config.json", "model-1.safetensors", "model-2.safetensors",
                                                             "model.safetensors.index.json", "tokenizer.json"));
  options_.offline = true;
  EXPECT_EQ(pull("org/model", options_).files.size(), 5U);
  fs::remove(repo("snapshots/" + kCommit + "/model-2.safetensors"));
  EXPECT_THAT(error_of(ErrorKind::kNotFound), HasSubstr("incomplete in the cache and offline: got no model-2.safetensors"));
  options_.offline = false;
  files.erase("model-2.safetensors");
  EXPECT_THAT(error_of(ErrorKind::kNotFound), HasSubstr("a shard that the hub does not have: got 'model-2.safetensors'"));
}

TEST_F(Pulling, GgufNeedsAChoice) {
  hub_.repos["org/model"].commits[kCommit] = {{"q4.gguf", {"x"}}, {"q8.gguf", {"y"}}, {"README.md", {"z"}}};
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("got q4.gguf, q8.gguf, need --include"));
}

TEST_F(Pulling, Progress) {
  std::vector<PullProgress> seen;
  options_.progress = [&](const PullProgress& progress) { seen.push_back(progress); };
  pull("org/model", options_);
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back().bytes, 300'010);
  EXPECT_EQ(seen.back().total, 300'010);
  EXPECT_EQ(seen.back().files, 3);
  EXPECT_EQ(seen.back().total_files, 3);
}

TEST_F(Pulling, TwoPullsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int64_t> bytes{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] { bytes += pull("org/model", options_).downloaded_bytes; });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(bytes, 300'010);  // every byte once
  EXPECT_EQ(bytes_of(repo("snapshots/" + kCommit + "/model.safetensors")), weights_);
}

TEST_F(Pulling, Tls) {
  const pagoda::testing::TestCertificate certificate;
  FakeHub secure(&certificate);
  secure.repos = hub_.repos;
  options_.endpoint = secure.url();
  options_.attempts = 1;
  EXPECT_THAT(error_of(ErrorKind::kDevice), HasSubstr("certificate"));
  make_directories(folder_);
  write_file_atomic(folder_ + "/ca.pem", certificate.pem());
  ::setenv("CURL_CA_BUNDLE", (folder_ + "/ca.pem").c_str(), 1);
  ::setenv("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt", 1);
  EXPECT_EQ(bytes_of(pull("org/model", options_).folder + "/model.safetensors"), weights_);
  ::unsetenv("SSL_CERT_FILE");
  options_.force = true;
  EXPECT_EQ(pull("org/model", options_).downloaded_bytes, 300'010);
  // From https to http no one is led.
  secure.override_hub = [&](const pagoda::testing::Request&, pagoda::testing::Connection& connection) {
    return connection.answer(302, {{"Location", hub_.url() + "/x"}}, "");
  };
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("redirect from https to http"));
  ::unsetenv("CURL_CA_BUNDLE");
}

TEST_F(Pulling, ProxiesOfTheEnvironment) {
  ::setenv("http_proxy", hub_.url().c_str(), 1);
  options_.endpoint = "http://hub.invalid";
  options_.include = {"config.json"};
  EXPECT_EQ(pull("org/model", options_).files.size(), 1U);
  EXPECT_EQ(hub_.count("proxy GET http://hub.invalid/"), 2);
  ::unsetenv("http_proxy");
}

TEST_F(Pulling, RedirectsOfTheHubItself) {
  // A renamed model: the hub leads to the new name on its own host, the token goes along.
  hub_.repos["org/model"].token = "hf_secret";
  options_.token = "hf_secret";
  hub_.override_hub = [&](const pagoda::testing::Request& request, pagoda::testing::Connection& connection) {
    const size_t old = request.path.find("org/old-name");
    if (old == std::string::npos) return false;
    std::string path = request.path;
    path.replace(old, 12, "org/model");
    return connection.answer(307, {{"Location", path + (request.query.empty() ? "" : "?" + request.query)}}, "");
  };
  EXPECT_EQ(pull("org/old-name", options_).files.size(), 3U);
  hub_.override_hub = [&](const pagoda::testing::Request& request, pagoda::testing::Connection& connection) {
    return connection.answer(302, {{"Location", request.path}}, "");
  };
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("too many redirects"));
  hub_.override_hub = [&](const pagoda::testing::Request&, pagoda::testing::Connection& connection) {
    return connection.answer(302, {{"Location", "file:///etc/passwd"}}, "");
  };
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("need an http or https URL"));
}

}  // namespace
}  // namespace pagoda::hub
