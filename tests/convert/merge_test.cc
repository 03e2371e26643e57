// A merged folder: what goes with the weights, and that it can be stopped.
#include "convert/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "convert/beside_weights.h"
#include "convert/quantize.h"
#include "formats/safetensors.h"
#include "models/adapter.h"
#include "ops/runtime.h"
#include "tests/folder.h"

namespace pagoda {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

const std::string kLlama = PAGODA_SOURCE_DIR "/tests/fixtures/llama";
constexpr const char* kModule = "model.layers.0.self_attn.o_proj";

void make_large(const std::string& path) {  // more than is read whole; holes take no space
  write_file_atomic(path, "{}");
  fs::resize_file(path, uintmax_t{600} << 20);
}

class Merging : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::copy(kLlama, base_.path(), fs::copy_options::recursive);
    for (const char* name : {"tokenizer.json", "LICENSE", "notes.md", "modeling.py", "README.md", "modules.json"})
      base_.write(name, "base");
    for (const char* folder : {"1_Pooling", "2_Dense", "additional_chat_templates", "onnx"})
      fs::create_directories(base_ / folder);
    for (const char* name : {"1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors",
                             "additional_chat_templates/tools.jinja", "onnx/config.json", "training_state.json", "log.zip"}) {
      base_.write(name, "base");
    }
    for (const char* name : {"model.onnx_data", "old.ckpt"}) make_large(base_ / name);
    AdapterConfig config;
    config.r = 2;
    config.lora_alpha = 4;
    config.target_modules = {"o_proj"};
    adapter_.write(kAdapterConfig, adapter_config_json(config, false));
    adapter_.write("tokenizer.json", "adapter");
    adapter_.write("README.md", "adapter");
    adapter_.write("trainer_state.json", "{}");
    const auto weights = SafetensorsFile::open(base_ / "model.safetensors");
    const TensorEntry* entry = weights->find(std::string(kModule) + ".weight");
    Tensor a = Tensor::empty(runtime_.device(), DType::kFloat32, {2, entry->shape[1]});
    Tensor b = Tensor::empty(runtime_.device(), DType::kFloat32, {entry->shape[0], 2});
    for (Tensor* tensor : {&a, &b}) std::fill_n(tensor->data<float>(), tensor->numel(), 0.5F);
    const std::string name = std::string(kAdapterPrefix) + kModule;
    write_safetensors(adapter_ / kAdapterWeights, {{name + ".lora_A.weight", a}, {name + ".lora_B.weight", b}});
  }
  MergeReport merge(const std::string& out, const TaskHooks& hooks = {}) {
    return merge_into_folder(runtime_.device(), *ModelFolder::open(base_.path()), adapter_.path(), out, hooks);
  }
  static std::string text(const std::string& path) { return read_file(path, 1 << 20); }

  const pagoda::testing::Folder base_{"merge_base"}, adapter_{"merge_adapter"}, out_{"merge_out"};
  Runtime runtime_{RuntimeOptions{2, {}, {}}};
};

TEST_F(Merging, TakesWhatBelongsBesideTheWeights) {
  const std::vector<std::string> files = files_beside_weights(base_.path());
  EXPECT_EQ(std::count(files.begin(), files.end(), "2_Dense/model.safetensors"), 1);
  for (const char* other : {"config.json", "model.safetensors", "onnx/config.json", "training_state.json", "log.zip",
                            "model.onnx_data", "old.ckpt"}) {
    EXPECT_EQ(std::count(files.begin(), files.end(), other), 0) << other;
  }
  EXPECT_THAT(merge(out_.path()).changed, ElementsAre(std::string(kModule) + ".weight"));
  for (const std::string& name : files) {
    EXPECT_TRUE(name == "README.md" || file_exists(out_ / name)) << name;
  }
  EXPECT_EQ(text(out_ / "tokenizer.json"), "adapter");
  EXPECT_EQ(text(out_ / "1_Pooling/config.json"), "base");
  for (const char* other : {"README.md", "trainer_state.json", "onnx", "model.onnx_data", "adapter_config.json"}) {
    EXPECT_FALSE(fs::exists(out_ / other)) << other;
  }
  EXPECT_EQ(ModelFolder::open(out_.path())->dtype(), DType::kFloat32);
}

// Whatever of another model would speak for this one goes; what is only beside it stays.
TEST_F(Merging, NothingOfTheModelBeforeSpeaksForThisOne) {
  merge(out_.path());
  for (const char* name : {"tokenizer.json", "chat_template.jinja", "spiece.model", "model-00001-of-00002.safetensors",
                           "model.safetensors.index.json", "model.avx2.float32.pagoda", "adapter_config.json",
                           "generation_config.json", "notes.txt", "results.json", "other.safetensors"}) {
    out_.write(name, "old");
  }
  fs::create_directories(out_ / "shared");
  out_.write("shared/config.json", "old");
  fs::remove_all(out_ / "1_Pooling");
  for (const char* link : {"1_Pooling", "4_Dense"}) fs::create_directory_symlink("shared", out_ / link);
  fs::create_directories(out_ / "3_Normalize");
  out_.write("3_Normalize/config.json", "old");
  fs::remove(base_ / "tokenizer.json");
  fs::remove(adapter_ / "tokenizer.json");
  merge(out_.path());
  for (const std::string& name : list_directory(out_.path())) {
    const bool beside = name == "notes.txt" || name == "results.json" || name == "other.safetensors";
    const bool module = name == "shared" || name == "1_Pooling" || name == "2_Dense" || name == "additional_chat_templates";
    if (module || name == "model.safetensors") continue;
    EXPECT_EQ(text(out_ / name) == "old", beside) << name;
  }
  for (const char* gone : {"tokenizer.json", "chat_template.jinja", "spiece.model", "model.safetensors.index.json",
                           "adapter_config.json", "3_Normalize", "4_Dense"}) {
    EXPECT_FALSE(fs::exists(out_ / gone)) << gone;
  }
  EXPECT_EQ(text(out_ / "shared/config.json"), "old");
  EXPECT_EQ(text(out_ / "1_Pooling/config.json"), "base");
  EXPECT_EQ(ModelFolder::open(out_.path())->dtype(), DType::kFloat32);
}

TEST_F(Merging, WhatIsReadIsNotReplaced) {
  for (const std::string& folder : {base_.path(), adapter_.path(), base_.path() + "/."}) {
    EXPECT_THROW(merge(folder), Error) << folder;
    EXPECT_THROW(quantize(runtime_.device(), *ModelFolder::open(base_.path()), nullptr, base_.path(), {}), Error);
  }
  EXPECT_TRUE(file_exists(base_ / "config.json"));
  EXPECT_TRUE(file_exists(adapter_ / kAdapterWeights));
}

// A snapshot is merged as it was pulled: the hub's list and this one differ in nothing that a model is loaded with.
TEST_F(Merging, TakesWhatAPullTakes) {
  for (const char* name : {"bpe.codes", "source.spm", "preprocessor_config.json", "all_results.json", "optimizer_args.json"})
    base_.write(name, "base");
  fs::create_directories(base_ / "4bit");
  base_.write("4bit/model.safetensors", "base");
  const std::vector<std::string> files = files_beside_weights(base_.path());
  const auto has = [&](const std::string& name) { return std::count(files.begin(), files.end(), name) > 0; };
  for (const char* name : {"bpe.codes", "source.spm", "preprocessor_config.json"}) EXPECT_TRUE(has(name)) << name;
  for (const char* name : {"all_results.json", "optimizer_args.json", "4bit/model.safetensors"})
    EXPECT_FALSE(has(name)) << name;
}

TEST_F(Merging, CancelLeavesNoModel) {
  const std::atomic<bool> cancel{true};
  TaskHooks hooks;
  hooks.cancel = &cancel;
  EXPECT_THROW(merge(out_.path(), hooks), Cancelled);
  EXPECT_FALSE(file_exists(out_ / "config.json"));
  merge(out_.path());  // the one that is to be replaced is none under the new one's words
  // Amid the weights.
  std::atomic<bool> later{false};
  hooks.cancel = &later;
  hooks.progress = [&](std::string_view, int64_t done, int64_t) { later = done == 3; };
  EXPECT_THROW(merge(out_.path(), hooks), Cancelled);
  for (const std::string& name : list_directory(out_.path())) {
    EXPECT_EQ(name.find("model.safetensors"), std::string::npos) << name;
  }
  EXPECT_FALSE(file_exists(out_ / "config.json"));
}

TEST_F(Merging, QuantizingTakesTheSame) {
  const auto folder = ModelFolder::open(base_.path());
  // What cannot be copied is known before the weights are written.
  fs::create_directories(out_ / "tokenizer.json");
  EXPECT_THROW(quantize(runtime_.device(), *folder, nullptr, out_.path(), {}), Error);
  EXPECT_FALSE(file_exists(out_ / "model.safetensors"));
  fs::remove_all(out_ / "tokenizer.json");
  quantize(runtime_.device(), *folder, nullptr, out_.path(), {});
  for (const std::string& name : files_beside_weights(base_.path())) EXPECT_TRUE(file_exists(out_ / name)) << name;
  EXPECT_FALSE(file_exists(out_ / "model.onnx_data"));
}

}  // namespace
}  // namespace pagoda
