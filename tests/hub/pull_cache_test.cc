// What the cache is good for: offline use, snapshots of other programs, no links, locks, names of models.

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/hub/pull_fixture.h"

namespace pagoda::hub {
namespace {

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

}  // namespace
}  // namespace pagoda::hub
