// Pushing to a hub of our own: what arrives, what is not sent twice, refusals, broken uploads, hostile answers.
#include "hub/push.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "hub/model_card.h"
#include "tests/hub/fake_hub.h"
#include "tests/temporary.h"

namespace pagoda::hub {
namespace {

namespace fs = std::filesystem;
using pagoda::testing::FakeHub;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Pushing : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT",
                             "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
      ::unsetenv(name);
    }
    folder_ =
        pagoda::testing::temporary_path("push_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    ::setenv("HF_HOME", (folder_ + "/home").c_str(), 1);
    weights_.assign(300'000, 'w');
    for (size_t i = 0; i < weights_.size(); ++i) weights_[i] = static_cast<char>(i * 7919 >> 3);
    write("config.json", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})");
    write("model.safetensors", weights_);
    write("sub/notes.txt", "Grüße");
    write("empty.safetensors", "");
    write("checkpoint-10/model.safetensors", "not this");
    write(".git/HEAD", "nor this");
    options_.endpoint = hub_.url();
    options_.token = hub_.write_token;
    options_.backoff_milliseconds = 1;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string model() const { return folder_ + "/model"; }
  void write(const std::string& name, const std::string& bytes) const {
    make_directories(parent_path(model() + "/" + name));
    write_file_atomic(model() + "/" + name, bytes);
  }
  const std::map<std::string, pagoda::testing::FakeFile>& files(const std::string& revision = "main") {
    auto& repo = hub_.repos.at("org/new");
    return repo.commits.at(repo.revisions.at(revision));
  }
  std::string error_of(ErrorKind kind) {
    try {
      push(model(), "org/new", options_);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << error.message();
      return error.message();
    }
    ADD_FAILURE() << "no error";
    return "";
  }

  FakeHub hub_;
  PushOptions options_;
  std::string folder_, weights_;
};

TEST_F(Pushing, MakesTheRepositoryAndCommitsTheFolder) {
  options_.commit_message = "first \"one\"";
  const PushResult result = push(model(), "org/new", options_);
  EXPECT_THAT(result.files, ElementsAre("config.json", "empty.safetensors", "model.safetensors", "sub/notes.txt"));
  EXPECT_EQ(result.uploaded_bytes, 300'000);
  EXPECT_EQ(result.commit, hub_.repos.at("org/new").revisions.at("main"));
  EXPECT_EQ(result.url, hub_.url() + "/commit/" + result.commit);
  EXPECT_EQ(hub_.last_message, "first \"one\"");
  EXPECT_EQ(files().at("model.safetensors").bytes, weights_);
  EXPECT_TRUE(files().at("model.safetensors").large);
  EXPECT_EQ(files().at("sub/notes.txt").bytes, "Grüße");
  EXPECT_EQ(files().at("empty.safetensors").bytes, "");
  EXPECT_EQ(files().count(".gitattributes"), 1u);  // what was there stays
  EXPECT_EQ(hub_.count("store PUT"), 1);
  EXPECT_EQ(hub_.count("auth"), hub_.count("hub "));  // the token goes to the hub alone, and there always
}

TEST_F(Pushing, SendsNothingTwice) {
  push(model(), "org/new", options_);
  const std::string before = hub_.repos.at("org/new").revisions.at("main");
  hub_.clear_log();
  PushResult again = push(model(), "org/new", options_);
  EXPECT_EQ(again.commit, before);
  EXPECT_EQ(again.unchanged, 4);
  EXPECT_THAT(again.files, IsEmpty());
  EXPECT_EQ(hub_.count("store PUT"), 0);
}

TEST_F(Pushing, InParts) {
  hub_.faults.part_size = 70'000;
  const PushResult result = push(model(), "org/new", options_);
  EXPECT_EQ(hub_.count("store PUT"), 5);
  EXPECT_EQ(hub_.count("/complete/"), 1);
  EXPECT_EQ(files().at("model.safetensors").bytes, weights_);
  EXPECT_EQ(result.uploaded_bytes, 300'000);
}

TEST_F(Pushing, GoesOnWhereItBrokeOff) {
  hub_.faults.lose_put = 2;  // passes within one push
  push(model(), "org/new", options_);
  EXPECT_EQ(files().at("model.safetensors").bytes, weights_);
  write("model.safetensors", weights_ + "more");
  hub_.faults.no_commit = 100;
  error_of(ErrorKind::kDevice);
  hub_.faults.no_commit = 0;
  hub_.clear_log();
  push(model(), "org/new", options_);
  EXPECT_EQ(hub_.count("store PUT"), 0);  // the upload had come through
  EXPECT_EQ(files().at("model.safetensors").bytes, weights_ + "more");
}

TEST_F(Pushing, PassesOverBusyAnswers) {
  hub_.faults.unavailable = 3;
  push(model(), "org/new", options_);
  EXPECT_EQ(files().at("model.safetensors").bytes, weights_);
}

// An answer of a proxy does not say whether the hub has made the commit; a second one would be a second pull request.
TEST_F(Pushing, TheCommitIsSentOnce) {
  options_.create_pr = true;
  int sent = 0;
  hub_.override_hub = [&](const pagoda::testing::Request& request, pagoda::testing::Connection& connection) {
    if (request.path.find("/commit/") == std::string::npos) return false;
    return ++sent == 1 && connection.answer(504, {}, "");
  };
  EXPECT_THAT(error_of(ErrorKind::kDevice), HasSubstr("HTTP 504"));
  EXPECT_EQ(sent, 1);
  // A hub that asks for a pause has not begun.
  sent = 0;
  hub_.override_hub = [&](const pagoda::testing::Request& request, pagoda::testing::Connection& connection) {
    if (request.path.find("/commit/") == std::string::npos || ++sent > 2) return false;
    return connection.answer(sent == 1 ? 429 : 503, {{"Retry-After", "0"}}, "");
  };
  EXPECT_EQ(push(model(), "org/new", options_).pull_request, hub_.url() + "/discussions/1");
  EXPECT_EQ(sent, 3);
}

TEST_F(Pushing, NamesThatLeaveSomethingOpen) {
  const auto refused = [&](const std::string& name) {
    try {
      push(model(), name, options_);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
      return error.message();
    }
    return std::string("no error");
  };
  EXPECT_THAT(refused("new"), HasSubstr("got 'new', need ORG/NAME"));
  options_.revision = "v3";
  EXPECT_THAT(refused("org/new@v2"), HasSubstr("got 'v2' in the name and 'v3' beside it"));
  EXPECT_THAT(hub_.log(), IsEmpty());
  push(model(), "org/new", options_);
  EXPECT_EQ(files("v3").at("model.safetensors").bytes, weights_);
}

TEST_F(Pushing, LinksAreFollowedOrAnError) {
  fs::rename(model() + "/model.safetensors", folder_ + "/elsewhere");
  fs::create_symlink(folder_ + "/elsewhere", model() + "/model.safetensors");
  fs::create_symlink("nowhere", model() + "/.git/broken");  // is not looked at
  write("model.amx.bfloat16.pagoda", "compiled");
  EXPECT_THAT(push(model(), "org/new", options_).files,
              ElementsAre("config.json", "empty.safetensors", "model.safetensors", "sub/notes.txt"));
  fs::rename(folder_ + "/elsewhere", folder_ + "/moved");
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("leads nowhere: got 'model.safetensors'"));
  options_.exclude = {"model.safetensors"};
  EXPECT_EQ(push(model(), "org/new", options_).unchanged, 3);
  // Nor is what is behind a link to a folder left out in silence.
  fs::create_directory_symlink(folder_, model() + "/more");
  fs::create_directory_symlink(folder_, model() + "/.cache");
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("a link to a folder, whose files are not taken: got 'more/'"));
  options_.exclude.emplace_back("more/");
  EXPECT_EQ(push(model(), "org/new", options_).unchanged, 3);
}

TEST_F(Pushing, BranchesAndPullRequests) {
  push(model(), "org/new@v2", options_);
  EXPECT_EQ(files("v2").at("model.safetensors").bytes, weights_);
  EXPECT_EQ(files().count("model.safetensors"), 0u);
  options_.create_pr = true;
  const PushResult result = push(model(), "org/new", options_);
  EXPECT_EQ(result.pull_request, hub_.url() + "/discussions/1");
  EXPECT_EQ(files("refs/pr/1").at("model.safetensors").bytes, weights_);
  EXPECT_EQ(files().count("model.safetensors"), 0u);
}

TEST_F(Pushing, PrivateAndFiltered) {
  options_.private_repo = true;
  options_.include = {"*.json", "ignored.txt"};
  write("ignored.txt", "x");
  EXPECT_THAT(push(model(), "org/new", options_).files, ElementsAre("config.json"));
  EXPECT_EQ(hub_.repos.at("org/new").token, hub_.write_token);
}

TEST_F(Pushing, ModelCardWhereThereIsNone) {
  options_.model_card = make_model_card(model(), "org/new");
  push(model(), "org/new", options_);
  const std::string card = files().at("README.md").bytes;
  EXPECT_THAT(card,
              HasSubstr("---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- pagoda\n- \"llama\"\n---"));
  options_.model_card = "another";
  push(model(), "org/new", options_);
  EXPECT_EQ(files().at("README.md").bytes, card);  // the hub's own is not replaced by a generated one
  write("README.md", "mine");
  push(model(), "org/new", options_);
  EXPECT_EQ(files().at("README.md").bytes, "mine");
}

TEST_F(Pushing, Refusals) {
  options_.token = "hf_other";
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("right to write"));
  options_.token = "";
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("no token"));
  options_.token = hub_.write_token;
  options_.include = {"*.xyz"};
  EXPECT_THAT(error_of(ErrorKind::kInvalidInput), HasSubstr("nothing to push"));
  EXPECT_THROW(push(folder_ + "/none", "org/new", options_), Error);
  EXPECT_THROW(push(model(), "a/b/c", options_), Error);
}

TEST_F(Pushing, CancelledBeforeAnythingIsVisible) {
  std::atomic<bool> cancel{true};
  options_.cancel = &cancel;
  EXPECT_THAT(error_of(ErrorKind::kDevice), HasSubstr("interrupted"));
  EXPECT_THAT(hub_.repos, IsEmpty());
}

TEST(PushAnswers, HostileOnes) {
  const std::string oid(64, 'a');
  EXPECT_THROW(parse_upload_modes(R"({"files": [{"path": "x", "uploadMode": "other"}]})", "hub"), Error);
  EXPECT_THROW(parse_upload_modes(R"({"files": 3})", "hub"), Error);
  EXPECT_THROW(parse_lfs_batch(R"({"objects": [{"oid": "../x"}]})", "hub"), Error);
  const auto batch = [&](const std::string& upload) {
    return parse_lfs_batch(R"({"objects": [{"oid": ")" + oid + R"(", "actions": {"upload": )" + upload + "}}]}", "hub");
  };
  EXPECT_THROW(batch(R"({"href": "file:///etc/passwd"})"), Error);
  EXPECT_THROW(batch(R"({"href": "http://x", "header": {"chunk_size": "-1"}})"), Error);
  EXPECT_THROW(batch(R"({"href": "http://x", "header": {"chunk_size": "5", "1": "ftp://x"}})"), Error);
  const auto parts = batch(R"({"href": "http://x", "header": {"chunk_size": 5, "10": "http://j", "2": "http://b", "x": "y"}})");
  EXPECT_THAT(parts[0].parts, ElementsAre("http://b", "http://j"));
  EXPECT_EQ(parts[0].part_size, 5);
}

TEST(ModelCard, SaysWhatTheFilesSay) {
  const std::string folder = pagoda::testing::temporary_path("card");
  make_directories(folder);
  write_file_atomic(folder + "/config.json", R"({"architectures": ["BertForMaskedLM"], "model_type": "bert"})");
  write_file_atomic(
      folder + "/trainer_state.json",
      R"({"global_step": 20, "epoch": 1.5, "log_history": [{"loss": 3.25, "step": 10}, {"eval_loss": 3.5, "epoch": 1.5, "step": 20}]})");
  const std::string header = R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  write_file_atomic(folder + "/model.safetensors", bytes + header + std::string(24, '\0'));
  const std::string card = make_model_card(folder, "org/x");
  EXPECT_THAT(card, HasSubstr("pipeline_tag: fill-mask"));
  EXPECT_THAT(card, HasSubstr("`BertForMaskedLM` of 6 parameters (F32)"));
  EXPECT_THAT(make_model_card(folder, "org/x", CardWeights{12, "int4"}), HasSubstr("of 12 parameters (int4)"));
  EXPECT_THAT(make_model_card(folder, "org/x", CardWeights{}), HasSubstr("`BertForMaskedLM`.\n"));
  EXPECT_THAT(card, HasSubstr("20 steps (1.5 epochs)"));
  EXPECT_THAT(card, HasSubstr("| 20 | 1.5 | 3.25 | 3.5 |"));
  EXPECT_THAT(make_model_card(folder + "/nothing", "org/x"), Not(HasSubstr("Training")));
}

}  // namespace
}  // namespace pagoda::hub
