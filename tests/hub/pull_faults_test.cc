// Pulls that go wrong: connections that break, hubs that lie or refuse, disks that are full, callers that cancel.

#include <sys/resource.h>

#include <csignal>

#include "hub/cache.h"
#include "tests/hub/pull_fixture.h"

namespace pagoda::hub {
namespace {

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

}  // namespace
}  // namespace pagoda::hub
