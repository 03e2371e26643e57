// Model folders: which files are taken, and what is said of those that are missing or damaged.
#include "formats/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

std::string message(const std::function<void()>& fn, ErrorKind kind) {
  try {
    fn();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.message();
    return error.message();
  }
  return "no error";
}

class ModelFolderTest : public ::testing::Test {
 protected:
  ModelFolderTest() : path_(pagoda::testing::temporary_path("model_folder")) {
    std::filesystem::remove_all(path_);
    std::filesystem::copy(kFixtures + "llama_sharded", path_);
  }
  std::string path_;
};

TEST_F(ModelFolderTest, ShardsHoldWhatOneFileHolds) {
  const auto folder = ModelFolder::open(path_);
  const auto expected = SafetensorsFile::open(path_ + "/expected.safetensors");
  int compared = 0;
  for (const std::string& name : folder->weights().names()) {
    const TensorEntry *got = folder->weights().find(name), *need = expected->find(name);
    ASSERT_NE(need, nullptr) << name;
    ASSERT_EQ(got->shape, need->shape);
    EXPECT_EQ(std::memcmp(got->data(), need->data(), static_cast<size_t>(need->bytes)), 0) << name;
    ++compared;
  }
  EXPECT_GT(compared, 5);
}

TEST_F(ModelFolderTest, AMissingShardIsNamed) {
  for (const std::string& name : list_directory(path_)) {
    if (name.rfind("model-", 0) == 0) {
      std::filesystem::remove(path_ + "/" + name);
      EXPECT_THAT(message([&] { ModelFolder::open(path_)->weights(); }, ErrorKind::kNotFound), ::testing::HasSubstr(name));
      return;
    }
  }
  FAIL() << "the fixture has no shard";
}

TEST_F(ModelFolderTest, AnIndexMayNotLeaveItsFolderNorLie) {
  const std::string index = path_ + "/model.safetensors.index.json";
  const std::string text = read_file(index, 1 << 20);
  write_file_atomic(index, R"({"weight_map": {"a": "../../etc/passwd"}})");
  EXPECT_THAT(message([&] { ModelFolder::open(path_)->weights(); }, ErrorKind::kInvalidInput),
              ::testing::HasSubstr("outside the folder"));
  Json json = Json::parse(text, "index");
  const std::string shard = json.at("weight_map", "index").as_object("index")[0].value.as_string("index");
  json.find("weight_map")->set("nowhere", shard);
  write_file_atomic(index, json.dump());
  EXPECT_THAT(message([&] { ModelFolder::open(path_)->weights(); }, ErrorKind::kInvalidInput), ::testing::HasSubstr("nowhere"));
}

TEST_F(ModelFolderTest, WhatIsMissingIsSaid) {
  EXPECT_THAT(message([] { ModelFolder::open("/no/such/folder"); }, ErrorKind::kNotFound),
              ::testing::HasSubstr("/no/such/folder"));
  std::filesystem::remove(path_ + "/model.safetensors.index.json");
  EXPECT_THAT(message([&] { ModelFolder::open(path_)->weights(); }, ErrorKind::kNotFound),
              ::testing::HasSubstr("model.safetensors"));
  write_file_atomic(path_ + "/config.json", "[]");
  EXPECT_THAT(message([&] { ModelFolder::open(path_); }, ErrorKind::kInvalidInput), ::testing::HasSubstr("need object"));
  std::filesystem::remove(path_ + "/config.json");
  EXPECT_THAT(message([&] { ModelFolder::open(path_); }, ErrorKind::kNotFound), ::testing::HasSubstr("config.json"));
}

}  // namespace
}  // namespace pagoda
