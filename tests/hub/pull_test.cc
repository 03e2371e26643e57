// Pulling from a hub in the test: layout, resume, faults, refusals, offline use.
#include "hub/pull.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "hub/cache.h"
#include "tests/hub/fake_hub.h"
#include "tests/temporary.h"

namespace pagoda::hub {
namespace {

namespace fs = std::filesystem;
using pagoda::testing::FakeHub;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kCommit(40, 'a');
const std::string kOldCommit(40, 'b');

std::string random_bytes(size_t size, unsigned seed) {
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

TEST_F(Pulling, LostConnectionsAreResumed) {
  hub_.faults.drop_after = 100'000;
  hub_.faults.drop = 2;
  options_.include = {"model.safetensors"};
  const PullResult result = pull("org/model", options_);
  EXPECT_EQ(result.downloaded_bytes, 300'000);  // no byte came twice
  EXPECT_EQ(bytes_of(result.folder + "/model.safetensors"), weights_);
  EXPECT_EQ(hub_.count("store GET"), 3);
  EXPECT_EQ(hub_.count(" range"), 4);  // two more asked for the rest, at the hub and at the store
}

TEST_F(Pulling, StalledConnectionsAreResumed) {
  hub_.faults.stall = 1;
  options_.include = {"model.safetensors"};
  EXPECT_EQ(pull("org/model", options_).downloaded_bytes, 300'000);
}

TEST_F(Pulling, GivesUpAndGoesOnNextTime) {
  hub_.faults.drop = 1000;
  hub_.faults.drop_after = 0;
  options_.attempts = 2;
  options_.include = {"model.safetensors"};
  write_partial(weights_.substr(0, 1000));
  EXPECT_THAT(error_of(ErrorKind::kDevice), HasSubstr("cannot reach"));
  EXPECT_FALSE(file_exists(repo("snapshots/" + kCommit + "/model.safetensors")));
  EXPECT_FALSE(file_exists(repo("refs/main")));
  EXPECT_THAT(names(repo("blobs")), ElementsAre(blob_of("model.safetensors") + ".incomplete"));
  hub_.faults.drop = 0;
  const PullResult result = pull("org/model", options_);
  EXPECT_EQ(result.downloaded_bytes, 299'000);
  EXPECT_EQ(bytes_of(result.folder + "/model.safetensors"), weights_);
  EXPECT_THAT(names(repo("blobs")), ElementsAre(blob_of("model.safetensors")));
}

TEST_F(Pulling, ForeignPartialBytesAreFoundAndReplaced) {
  options_.include = {"model.safetensors"};
  write_partial(random_bytes(5000, 77));
  EXPECT_EQ(bytes_of(pull("org/model", options_).folder + "/model.safetensors"), weights_);
  fs::remove_all(folder_);
  write_partial(random_bytes(400'000, 78));  // longer than the file
  EXPECT_EQ(bytes_of(pull("org/model", options_).folder + "/model.safetensors"), weights_);
  fs::remove_all(folder_);
  write_partial(weights_);  // complete: only to be checked and moved
  const PullResult result = pull("org/model", options_);
  EXPECT_EQ(result.downloaded_bytes, 0);
  EXPECT_EQ(bytes_of(result.folder + "/model.safetensors"), weights_);
}

TEST_F(Pulling, ServersWithoutRanges) {
  hub_.faults.ignore_range = true;
  hub_.faults.drop = 1;
  hub_.faults.drop_after = 70'000;
  options_.include = {"model.safetensors"};
  EXPECT_EQ(bytes_of(pull("org/model", options_).folder + "/model.safetensors"), weights_);
}

TEST_F(Pulling, WrongRangeIsRefused) {
  hub_.faults.wrong_range = true;
  hub_.faults.drop = 1;
  hub_.faults.drop_after = 70'000;
  options_.include = {"model.safetensors"};
  EXPECT_THAT(error_of(ErrorKind::kDevice), HasSubstr("wrong part of the file"));
}

TEST_F(Pulling, WrongChecksumsLeaveNothing) {
  for (const char* file : {"model.safetensors", "config.json"}) {
    hub_.faults.corrupt = 1;
    options_.include = {file};
    EXPECT_THAT(error_of(ErrorKind::kDevice), HasSubstr(std::string(file) + ": wrong checksum"));
    EXPECT_THAT(names(repo("blobs")), ElementsAre());
    EXPECT_THAT(names(repo("snapshots/" + kCommit)), ElementsAre());
  }
}

TEST_F(Pulling, MoreBytesThanListed) {
  hub_.faults.extra_bytes = true;
  options_.include = {"model.safetensors"};
  EXPECT_THAT(error_of(ErrorKind::kDevice), HasSubstr("wrong length: got 300004 bytes, need 300000"));
}

TEST_F(Pulling, BusyHubsAreAskedAgain) {
  hub_.faults.unavailable = 2;
  hub_.faults.too_many = 1;
  hub_.faults.expired = 2;
  EXPECT_EQ(pull("org/model", options_).files.size(), 3U);
}

TEST_F(Pulling, ListingWithoutChecksums) {
  hub_.faults.no_blobs = true;
  const PullResult result = pull("org/model", options_);
  EXPECT_EQ(bytes_of(result.folder + "/model.safetensors"), weights_);
  EXPECT_EQ(fs::read_symlink(result.folder + "/model.safetensors").string(), "../../blobs/" + blob_of("model.safetensors"));
  EXPECT_EQ(fs::read_symlink(result.folder + "/config.json").string(), "../../blobs/" + blob_of("config.json"));
  EXPECT_EQ(hub_.count("hub HEAD"), 3);
  EXPECT_EQ(hub_.count("store HEAD"), 0);
}

TEST_F(Pulling, TokenStaysWithTheHub) {
  hub_.repos["org/model"].token = "hf_secret";
  options_.token = "hf_secret";
  pull("org/model", options_);
  for (const auto& line : hub_.log()) {
    EXPECT_EQ(line.rfind("hub ", 0) == 0, line.find(" auth") != std::string::npos) << line;
  }
  EXPECT_GT(hub_.count("store GET"), 0);
}

TEST_F(Pulling, Refusals) {
  EXPECT_THAT(error_of(ErrorKind::kNotFound, "org/none"), HasSubstr("[org/none] no such model"));
  auto& repo = hub_.repos["org/model"];
  repo.token = "hf_secret";
  EXPECT_THAT(error_of(ErrorKind::kNotFound), HasSubstr("or a private one: got HTTP 401 with no token"));
  repo.gated = true;
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("gated model: got no token, need access: accept its terms at"));
  options_.token = "hf_wrong";
  const std::string text = error_of(ErrorKind::kInvalidInput);
  EXPECT_THAT(text, HasSubstr("the hub refuses the token"));
  EXPECT_EQ(text.find("hf_wrong"), std::string::npos);
}

TEST_F(Pulling, HostileListings) {
  const std::string sha = "\"sha\":\"" + kCommit + "\"";
  const std::string oid(40, '1');
  const auto file = [&](const std::string& name) {
    return "{" + sha + R"(,"siblings":[{"rfilename":")" + name + R"(","size":1,"blobId":")" + oid + "\"}]}";
  };
  options_.include = {"*"};
  for (const std::string& name :
       {std::string("../../x"), std::string("/etc/x"), std::string("a/../../x"), std::string("a\\\\..\\\\x"),
        std::string("a//x"), std::string("a\\u0000"), std::string("\\u001b[2J"), std::string(300, 'x')}) {
    hub_.listing_override = file(name);
    EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("unsafe file name")) << name;
  }
  for (const std::string& text :
       {std::string("<html>"), std::string("{}"), std::string("[]"), std::string(R"({"sha":"../x","siblings":[]})"),
        "{" + sha + R"(,"siblings":[{"rfilename":"a","size":-5}]})",
        "{" + sha + R"(,"siblings":[{"rfilename":"a","blobId":"../x"}]})",
        "{" + sha + R"(,"siblings":[{"rfilename":"a","size":1,"lfs":{"sha256":"/x","size":1}}]})",
        "{" + sha + R"(,"siblings":[{"rfilename":"a"},{"rfilename":"a"}]})",
        "{" + sha + R"(,"siblings":[{"rfilename":"a","size":9223372036854775807}]})"}) {
    hub_.listing_override = text;
    error_of(ErrorKind::kInvalidInput);
  }
  EXPECT_FALSE(fs::exists(folder_ + "/x"));
  hub_.listing_override = "{" + sha + R"(,"siblings":[]})";
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput, "org/model@" + kOldCommit), HasSubstr("another commit"));
}

TEST_F(Pulling, NoSpaceIsSaidBeforehand) {
  hub_.listing_override = R"({"sha":")" + kCommit +
                          R"(","siblings":[{"rfilename":"model.safetensors","size":1000000000000000,"blobId":")" +
                          std::string(40, '1') + "\"}]}";
  // Over the limit of one file, and then just under it on a disk that is smaller.
  error_of(ErrorKind::kInvalidInput);
  hub_.listing_override =
      R"({"sha":")" + kCommit + R"(","siblings":[{"rfilename":"model.safetensors","size":1099511627776,"blobId":")" +
      std::string(40, '1') + R"("},{"rfilename":"x.json","size":1099511627776,"blobId":")" + std::string(40, '2') + "\"}]}";
  const auto free = free_bytes("/tmp");
  if (!free || *free > (int64_t{2} << 40)) GTEST_SKIP() << "needs a disk with less than 2 TiB free";
  EXPECT_THAT(error_of(ErrorKind::kDevice), HasSubstr("not enough space"));
}

TEST_F(Pulling, FullDiskLeavesNothingBehind) {
  // A limit on the size of files stands for the disk: write() fails part of the way.
  options_.include = {"model.safetensors"};
  struct rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small{100'000, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string text = error_of(ErrorKind::kDevice);
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_THAT(text, HasSubstr("no space left on the disk"));
  EXPECT_THAT(names(repo("blobs")), ElementsAre());
  EXPECT_THAT(names(repo("snapshots/" + kCommit)), ElementsAre());
  EXPECT_FALSE(file_exists(repo("refs/main")));
}

TEST_F(Pulling, CancelKeepsWhatCame) {
  std::atomic<bool> cancel{false};
  options_.cancel = &cancel;
  options_.include = {"model.safetensors"};
  hub_.faults.stall = 1;
  options_.progress = [&](const PullProgress& progress) {
    if (progress.bytes > 0) cancel = true;
  };
  EXPECT_THAT(error_of(ErrorKind::kDevice), HasSubstr("interrupted"));
  EXPECT_THAT(names(repo("blobs")), ElementsAre(blob_of("model.safetensors") + ".incomplete"));
  const int64_t kept = file_size(repo("blobs/" + blob_of("model.safetensors") + ".incomplete"));
  EXPECT_GT(kept, 0);
  cancel = false;
  options_.progress = nullptr;
  EXPECT_EQ(pull("org/model", options_).downloaded_bytes, 300'000 - kept);
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

TEST_F(Pulling, Offline) {
  options_.offline = true;
  EXPECT_THAT(error_of(ErrorKind::kNotFound), HasSubstr("not in the cache and offline"));
  options_.offline = false;
  pull("org/model", options_);
  hub_.clear_log();
  ::setenv("HF_HUB_OFFLINE", "1", 1);
  options_.offline.reset();
  const PullResult result = pull("org/model", options_);
  EXPECT_EQ(result.folder, repo("snapshots/" + kCommit));
  EXPECT_EQ(result.files.size(), 3U);
  EXPECT_EQ(pull("org/model@" + kCommit, options_).folder, result.folder);
  EXPECT_EQ(hub_.log().size(), 0U);
  error_of(ErrorKind::kNotFound, "org/model@old");
  options_.include = {"README.md"};
  EXPECT_THAT(error_of(ErrorKind::kNotFound), HasSubstr("got no README.md"));
  options_.force = true;
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("force and offline"));
  ::unsetenv("HF_HUB_OFFLINE");
}

TEST_F(Pulling, UnreachableHubFallsBackOnTheCache) {
  pull("org/model", options_);
  options_.endpoint = "http://127.0.0.1:1";
  options_.attempts = 1;
  const PullResult result = pull("org/model", options_);
  EXPECT_EQ(result.folder, repo("snapshots/" + kCommit));
  EXPECT_THAT(result.stale_reason, HasSubstr("cannot reach http://127.0.0.1:1"));
  EXPECT_THAT(error_of(ErrorKind::kDevice, "org/model@old"), HasSubstr("cannot reach"));
}

TEST_F(Pulling, ListingOfAnotherClientShowsWhatIsMissing) {
  pull("org/model", options_);
  make_directories(repo("trees"));
  write_file_atomic(
      repo("trees/" + kCommit + ".json"),
      R"({"format_version": 1, "files": {"config.json": {"size": 1, "blob_id": "x"}, "vocab.txt": {"size": 1}}})");
  options_.offline = true;
  EXPECT_THAT(error_of(ErrorKind::kNotFound), HasSubstr("got no vocab.txt"));
  write_file_atomic(repo("trees/" + kCommit + ".json"), "{broken");
  EXPECT_EQ(pull("org/model", options_).files.size(), 3U);
}

// transformers leaves what a class of its asked for: no tokenizer, no modules of sentence-transformers.
TEST_F(Pulling, SnapshotsOfOtherProgramsAreCompletedOnce) {
  pull("org/model", options_);
  const auto as_left = [&] {
    fs::remove_all(repo(".pagoda"));
    fs::remove(repo("snapshots/" + kCommit + "/tokenizer.json"));
    hub_.clear_log();
  };
  const std::string folder = repo("snapshots/" + kCommit);
  as_left();
  hub_.repos["org/model"].revisions["main"] = kOldCommit;  // what is there is completed, not replaced
  EXPECT_FALSE(find_cached("org/model", options_).has_value());
  EXPECT_EQ(resolve_model("org/model", options_), folder);
  EXPECT_TRUE(file_exists(folder + "/tokenizer.json"));
  EXPECT_EQ(bytes_of(repo("refs/main")), kCommit);
  hub_.clear_log();
  EXPECT_EQ(resolve_model("org/model", options_), folder);
  EXPECT_EQ(hub_.log().size(), 0U);
  // Whoever cannot or may not ask runs on what is there.
  as_left();
  std::vector<std::string> warnings;
  options_.warn = [&](const std::string& text) { warnings.push_back(text); };
  options_.offline = true;
  EXPECT_EQ(resolve_model("org/model", options_), folder);
  options_.offline = false;
  EXPECT_EQ(hub_.log().size(), 0U);
  EXPECT_THAT(warnings, ElementsAre());
  hub_.repos["org/model"].token = "hf_secret";
  EXPECT_EQ(resolve_model("org/model", options_), folder);
  EXPECT_EQ(hub_.log().size(), 1U);
  options_.endpoint = "http://127.0.0.1:1";
  EXPECT_EQ(resolve_model("org/model", options_), folder);
  EXPECT_FALSE(file_exists(folder + "/tokenizer.json"));
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("or a private one"), HasSubstr("cannot reach http://127.0.0.1:1")));
}

// What ran before the hub was asked runs on, whatever of the asking fails.
TEST_F(Pulling, SnapshotsOfOtherProgramsRunOnWhereAFileDoesNotCome) {
  const std::string folder = repo("snapshots/" + kCommit);
  std::vector<std::string> warnings;
  options_.warn = [&](const std::string& text) { warnings.push_back(text); };
  const auto answers = [&](int status) {
    hub_.override_hub = [status](const pagoda::testing::Request& request, pagoda::testing::Connection& connection) {
      return request.path.find("/tokenizer.json") != std::string::npos && connection.answer(status, {}, "");
    };
  };
  const auto as_left = [&] {
    hub_.override_hub = nullptr;
    pull("org/model", options_);
    fs::remove_all(repo(".pagoda"));
    fs::remove(folder + "/tokenizer.json");
    fs::remove(repo("blobs/" + pagoda::testing::FakeFile{"{}"}.etag()));
    warnings.clear();
    hub_.clear_log();
  };
  for (const int status : {500, 404, 403}) {
    as_left();
    answers(status);
    for (const int start : {1, 2}) {  // the second knows the listing
      EXPECT_EQ(resolve_model("org/model", options_), folder) << status;
      EXPECT_EQ(warnings.size(), static_cast<size_t>(start)) << status;
    }
    EXPECT_LT(hub_.count("/tokenizer.json"), 2 * options_.attempts) << status;  // nobody waits for all of them
    hub_.override_hub = nullptr;
    EXPECT_EQ(resolve_model("org/model", options_), folder);
    EXPECT_TRUE(file_exists(folder + "/tokenizer.json"));
  }
  // A cache that cannot be written.
  as_left();
  fs::create_directories(folder_ + "/store");
  fs::rename(repo("blobs"), folder_ + "/store/blobs");
  write_file_atomic(repo("blobs"), "no folder");
  for (const std::string& name : list_directory(folder)) {
    const std::string blob = fs::read_symlink(folder + "/" + name).filename();
    fs::remove(folder + "/" + name);
    fs::create_symlink(folder_ + "/store/blobs/" + blob, folder + "/" + name);
  }
  EXPECT_EQ(resolve_model("org/model", options_), folder);
  EXPECT_EQ(warnings.size(), 1U);
}

// Weights that are there in another form are not fetched again.
TEST_F(Pulling, SnapshotsOfOtherProgramsKeepTheirWeights) {
  const std::string folder = repo("snapshots/" + kCommit);
  auto& files = hub_.repos["org/model"].commits[kCommit];
  files["pytorch_model-1.bin"] = {"one", true};
  files["pytorch_model-2.bin"] = {"two", true};
  files["pytorch_model.bin.index.json"] = {R"({"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}})"};
  for (const bool sharded : {false, true}) {
    fs::remove_all(cache(""));
    options_.include = sharded ? std::vector<std::string>{"config.json", "pytorch_model-?.bin", "*.index.json"}
                               : std::vector<std::string>{"config.json", "pytorch_model.bin"};
    pull("org/model", options_);
    options_.include.clear();
    fs::remove_all(repo(".pagoda"));
    EXPECT_EQ(resolve_model("org/model", options_), folder);
    EXPECT_TRUE(file_exists(folder + "/tokenizer.json"));
    EXPECT_FALSE(file_exists(folder + "/model.safetensors"));
    hub_.clear_log();
    EXPECT_EQ(resolve_model("org/model", options_), folder);
    EXPECT_EQ(hub_.log().size(), 0U);
    // Where a shard is missing they are not all there, and a pull that is asked for takes what is best.
    if (sharded) {
      fs::remove_all(repo(".pagoda"));
      fs::remove(folder + "/pytorch_model-2.bin");
      EXPECT_EQ(resolve_model("org/model", options_), folder);
      EXPECT_TRUE(file_exists(folder + "/model.safetensors"));
    } else {
      EXPECT_EQ(pull("org/model", options_).files.size(), 3U);
      EXPECT_TRUE(file_exists(folder + "/model.safetensors"));
    }
  }
}

TEST_F(Pulling, AnInterruptedPullOfACommitIsNotComplete) {
  hub_.override_hub = [](const pagoda::testing::Request& request, pagoda::testing::Connection& connection) {
    return request.path.find("/tokenizer.json") != std::string::npos && connection.answer(404, {}, "");
  };
  options_.parallel = 1;  // the largest file first
  error_of(ErrorKind::kNotFound, "org/model@" + kCommit);
  EXPECT_TRUE(file_exists(repo("snapshots/" + kCommit + "/model.safetensors")));
  EXPECT_TRUE(file_exists(repo("snapshots/" + kCommit + "/config.json")));
  EXPECT_FALSE(find_cached("org/model@" + kCommit, options_).has_value());
  hub_.override_hub = nullptr;
  EXPECT_TRUE(file_exists(resolve_model("org/model@" + kCommit, options_) + "/tokenizer.json"));
}

TEST_F(Pulling, DamagedReferencesAreMended) {
  pull("org/model", options_);
  write_file_atomic(repo("refs/main"), "no commit");
  options_.offline = true;
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("bad reference in the cache: got 'no commit'"));
  options_.offline = false;
  EXPECT_EQ(resolve_model("org/model", options_), repo("snapshots/" + kCommit));
  EXPECT_EQ(bytes_of(repo("refs/main")), kCommit);
}

TEST_F(Pulling, WithoutLinks) {
  ::setenv("HF_HUB_DISABLE_SYMLINKS", "1", 1);
  const PullResult result = pull("org/model", options_);
  EXPECT_FALSE(fs::is_symlink(result.folder + "/model.safetensors"));
  EXPECT_EQ(bytes_of(result.folder + "/model.safetensors"), weights_);
  EXPECT_EQ(pull("org/model", options_).downloaded_bytes, 0);
}

TEST_F(Pulling, WithoutLinksNothingIsTakenFromOtherSnapshots) {
  hub_.repos["org/model"].commits[kOldCommit]["config.json"] = {"{\"a\": 1}"};  // as at kCommit
  pull("org/model", options_);
  ::setenv("HF_HUB_DISABLE_SYMLINKS", "1", 1);
  const std::string config = "snapshots/" + kCommit + "/config.json";
  for (const bool force : {false, true}) {
    options_.force = force;
    const PullResult old = pull("org/model@old", options_);
    EXPECT_FALSE(fs::is_symlink(old.folder + "/config.json"));
    EXPECT_EQ(bytes_of(old.folder + "/config.json"), "{\"a\": 1}");
    ASSERT_TRUE(file_exists(repo(config))) << force;  // its link's blob is there
    EXPECT_EQ(bytes_of(repo(config)), "{\"a\": 1}");
  }
  EXPECT_THAT(names(repo("snapshots/" + kOldCommit)), ElementsAre("config.json", "model.safetensors"));
}

TEST_F(Pulling, WithoutLinksTwoFilesMayBeEqual) {
  ::setenv("HF_HUB_DISABLE_SYMLINKS", "1", 1);
  auto& files = hub_.repos["org/model"].commits[kCommit];
  for (int i = 0; i < 12; ++i) files["same" + std::to_string(i) + ".json"] = {"{}"};
  options_.parallel = 8;
  const PullResult result = pull("org/model", options_);
  EXPECT_EQ(result.files.size(), 15U);
  for (const auto& file : result.files) EXPECT_TRUE(file_exists(result.folder + "/" + file)) << file;
}

TEST_F(Pulling, WaitsForAnotherProgramsLock) {
  options_.include = {"config.json"};
  const std::string path = cache(".locks/models--org--model/" + blob_of("config.json") + ".lock");
  make_directories(parent_path(path));
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  std::atomic<bool> released{false};
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    released = true;
    ::close(fd);
  });
  pull("org/model", options_);
  EXPECT_TRUE(released);
  other.join();
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

TEST_F(Pulling, ResolveModel) {
  const std::string folder = folder_ + "/local";
  make_directories(folder);
  EXPECT_EQ(resolve_model(folder, options_), folder);
  EXPECT_EQ(hub_.log().size(), 0U);
  EXPECT_EQ(resolve_model("org/model", options_), repo("snapshots/" + kCommit));
  hub_.clear_log();
  EXPECT_EQ(resolve_model("org/model", options_), repo("snapshots/" + kCommit));
  EXPECT_EQ(hub_.log().size(), 0U);  // out of the cache
  for (const char* bad : {"missing.gguf", "folder/missing.gguf", "", "/no/such", "./none", "a/b/c", "x y"}) {
    EXPECT_THROW(resolve_model(bad, options_), Error) << bad;
  }
}

TEST_F(Pulling, TokenizerInTheCacheIsNotAModel) {
  options_.weights = false;
  resolve_model("org/model", options_);
  options_.weights = true;
  EXPECT_FALSE(find_cached("org/model", options_).has_value());
  EXPECT_TRUE(file_exists(resolve_model("org/model", options_) + "/model.safetensors"));
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
