// GGUF files of every family against transformers with the decoded weights, and a folder that holds one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "ops/runtime.h"
#include "ops/tape.h"
#include "tests/models/logits_error.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/gguf/";

std::vector<std::string> models() {
  std::vector<std::string> names;
  for (const std::string& name : list_directory(kFixtures)) {
    if (name.size() > 5 && name.substr(name.size() - 5) == ".gguf") names.push_back(name.substr(0, name.size() - 5));
  }
  return names;
}

double error_of(const std::string& path, const std::string& name, DType dtype) {
  const auto reference = SafetensorsFile::open(kFixtures + "reference.safetensors");
  return testing::logits_error(path, *reference->find(name + ".ids"), *reference->find(name + ".logits"), dtype);
}

class Gguf : public ::testing::TestWithParam<std::string> {};

TEST_P(Gguf, LogitsEqualTransformersWithTheDecodedWeights) {
  EXPECT_LT(error_of(kFixtures + GetParam() + ".gguf", GetParam(), DType::kFloat32), 1e-4);
  EXPECT_LT(error_of(kFixtures + GetParam() + ".gguf", GetParam(), DType::kBFloat16), 0.05);
}

INSTANTIATE_TEST_SUITE_P(All, Gguf, ::testing::ValuesIn(models()));

TEST(GgufFiles, AreThere) { EXPECT_GE(models().size(), 12u); }

TEST(GgufFiles, AFolderWithOneIsThatModel) {
  const std::string path = pagoda::testing::temporary_path("gguf_folder");
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  std::filesystem::copy(kFixtures + "llama3_q4_0.gguf", path);
  EXPECT_LT(error_of(path, "llama3_q4_0", DType::kFloat32), 1e-4);
}

TEST(GgufFiles, TrainingFormHoldsTheDecodedValues) {
  const auto folder = ModelFolder::open(kFixtures + "llama3_q4_0.gguf");
  RuntimeOptions options;
  options.threads = 1;
  Runtime runtime(options);
  const std::unique_ptr<Model> model = make_model(folder->config(), folder->config_path());
  model->load(runtime.device(), *folder);
  model->prepare_for_training(runtime.device(), DType::kFloat32);
  for (const Parameter* parameter : model->parameters()) {
    const TensorEntry* entry = folder->weights().find(parameter->name);
    ASSERT_NE(entry, nullptr) << parameter->name;
    if (!entry->encoded) continue;
    std::vector<float> values(static_cast<size_t>(parameter->value.numel()));
    entry->encoded->decode(0, entry->shape[0], values.data());
    EXPECT_EQ(std::memcmp(values.data(), parameter->value.data<float>(), values.size() * 4), 0) << parameter->name;
  }
}

}  // namespace
}  // namespace pagoda
