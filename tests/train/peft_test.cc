// Adapters as peft writes them, against what peft computes: merged, and gone on with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "formats/model_folder.h"
#include "formats/safetensors.h"
#include "models/adapter.h"
#include "ops/loss.h"
#include "ops/tape.h"
#include "tests/folder.h"
#include "tests/gradients.h"
#include "train/lora_model.h"

namespace pagoda::train {
namespace {

using ::testing::HasSubstr;

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

Tensor logits_of(const Model& model, Device& device) {
  Tensor ids = Tensor::empty(device, DType::kInt32, {5});
  for (int32_t i = 0; i < 5; ++i) ids.data<int32_t>()[i] = 3 * i + 1;
  ForwardContext context;
  context.layout = Layout::whole({5}, true);
  return model.forward({ids}, context).logits;
}

double distance(const float* a, const float* b, int64_t size) {
  double most = 0;
  for (int64_t i = 0; i < size; ++i) most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

class PeftAdapter : public ::testing::TestWithParam<const char*> {
 protected:
  std::string adapter() const { return kFixtures + "adapters/" + GetParam(); }
  std::string base() const { return kFixtures + adapter_base(adapter()); }
  std::unique_ptr<LoraModel> go_on(const std::string& folder) const {
    TrainingModelOptions options;
    options.runtime.threads = 2;
    LoraOptions lora;
    lora.adapter = folder;
    return LoraModel::open(base(), options, lora);
  }
  void expect_near(const Tensor& got, const std::string& name, double tolerance) const {
    const auto file = SafetensorsFile::open(adapter() + "/reference.safetensors");
    const TensorEntry* entry = file->find(name);
    ASSERT_NE(entry, nullptr) << name;
    ASSERT_EQ(entry->bytes, got.bytes()) << name;
    std::vector<float> want(static_cast<size_t>(got.numel()));
    std::memcpy(want.data(), entry->data(), static_cast<size_t>(entry->bytes));
    EXPECT_LT(distance(got.data<float>(), want.data(), got.numel()), tolerance) << name;
  }
};

class Merged : public PeftAdapter {};

TEST_P(Merged, ComputesWhatPeftDoes) {
  Runtime runtime{RuntimeOptions{2, {}, {}}};
  const auto folder = ModelFolder::open(base());
  const auto model = make_model(adapted_config(folder->config(), adapter()), "config.json");
  EXPECT_FALSE(load_adapted(runtime.device(), *model, *folder, adapter()).empty());
  model->prepare_for_inference(runtime.device(), DType::kFloat32);
  expect_near(logits_of(*model, runtime.device()), "logits", 2e-4);
}

INSTANTIATE_TEST_SUITE_P(Peft, Merged, ::testing::Values("patterns", "chosen", "dora", "dora_conv1d", "lora_bias", "embedding"),
                         [](const auto& each) { return std::string(each.param); });

class GoneOn : public PeftAdapter {
 protected:
  const testing::Folder folder_{"gone_on"};
};

TEST_P(GoneOn, HasPeftsGradients) {
  const auto lora = go_on(adapter());
  const Tensor logits = logits_of(lora->model(), lora->device());
  expect_near(logits, "logits", 2e-4);
  backward(ops::cross_entropy(logits, Tensor::zeros(lora->device(), DType::kInt64, {5}), 5));
  size_t biases = 0;
  for (const Parameter* parameter : lora->trained_parameters()) {
    ASSERT_TRUE(parameter->value.grad()) << parameter->name;
    std::string key = "grad." + (kAdapterPrefix + parameter->name);
    const bool bias = parameter->name.ends_with("c_attn.bias") || parameter->name.ends_with("c_fc.bias");
    if (bias) key.insert(key.rfind('.'), kBaseLayer);
    biases += bias ? 1 : 0;
    expect_near(parameter->value.grad(), key, 1e-4);
  }
  EXPECT_EQ(biases, read_adapter_config(adapter()).bias == "all" ? 4u : 0u);
}

TEST_P(GoneOn, IsSavedAsItCame) {
  const AdapterConfig came = read_adapter_config(adapter());
  go_on(adapter())->save(folder_.path());
  const AdapterConfig saved = read_adapter_config(folder_.path());
  EXPECT_EQ(saved.rank_pattern, came.rank_pattern);
  EXPECT_EQ(saved.alpha_pattern, came.alpha_pattern);
  EXPECT_EQ(saved.use_dora, came.use_dora);
  EXPECT_EQ(saved.bias, came.bias);
  // Names, not an expression in a list.
  for (const std::string& target : saved.target_modules) EXPECT_FALSE(is_module_expression(target)) << target;
  const auto before = SafetensorsFile::open(adapter() + "/" + kAdapterWeights),
             after = SafetensorsFile::open(folder_ / kAdapterWeights);
  EXPECT_EQ(after->tensors().size(), before->tensors().size());
  for (const TensorEntry& entry : before->tensors()) {
    const TensorEntry* same = after->find(entry.name);
    ASSERT_NE(same, nullptr) << entry.name;
    ASSERT_EQ(same->shape, entry.shape) << entry.name;
    EXPECT_EQ(std::memcmp(same->data(), entry.data(), static_cast<size_t>(entry.bytes)), 0) << entry.name;
  }
  const auto again = go_on(folder_.path());
  expect_near(logits_of(again->model(), again->device()), "logits", 2e-4);
}

INSTANTIATE_TEST_SUITE_P(Peft, GoneOn, ::testing::Values("patterns", "dora", "dora_conv1d"),
                         [](const auto& each) { return std::string(each.param); });

TEST(PeftAdapters, PatternsCountByTheFirstThatFits) {
  const AdapterConfig config = read_adapter_config(kFixtures + "adapters/patterns");
  EXPECT_EQ(config.rank("model.layers.0.self_attn.q_proj"), 2);
  EXPECT_EQ(config.rank("model.layers.1.self_attn.q_proj"), 3);
  EXPECT_EQ(config.rank("model.layers.1.self_attn.v_proj"), 4);
  EXPECT_EQ(config.rank("model.layers.0.self_attn.v_proj"), 1);
  EXPECT_EQ(config.rank("model.layers.0.self_attn.xv_proj"), 3);
  EXPECT_DOUBLE_EQ(config.scale("model.layers.0.mlp.down_proj"), 7.0 / 3);
  EXPECT_DOUBLE_EQ(config.scale("model.layers.1.self_attn.v_proj"), 2.5 / 4);
}

TEST(PeftAdapters, WhatDoesNotTrainIsNamed) {
  const auto error = [](const std::string& base, const std::string& adapter) {
    return testing::message_of([&] {
      LoraOptions lora;
      lora.adapter = kFixtures + "adapters/" + adapter;
      LoraModel::open(kFixtures + base, {}, lora);
    });
  };
  EXPECT_THAT(error("gpt2", "lora_bias"), HasSubstr("lora_bias does not train"));
  EXPECT_THAT(error("smollm2", "embedding"), HasSubstr("LoRA of an embedding does not train"));
}

TEST(PeftAdapters, BrokenOnesAreNamed) {
  const testing::Folder folder("peft_broken");
  const auto source = SafetensorsFile::open(kFixtures + "adapters/dora/" + kAdapterWeights);
  const auto config = [&](const std::string& fields) {
    folder.write(kAdapterConfig, R"({"peft_type": "LORA", )" + fields + "}");
  };
  Runtime runtime{RuntimeOptions{1, {}, {}}};
  const auto base = ModelFolder::open(kFixtures + "llama");
  const auto merge = [&](const std::string& without) {
    std::vector<std::pair<std::string, Tensor>> tensors;
    for (const TensorEntry& entry : source->tensors()) {
      if (!without.empty() && entry.name.ends_with(without)) continue;
      tensors.emplace_back(entry.name, Tensor::borrow(runtime.device(), entry.dtype, entry.shape, entry.data(), entry.owner));
    }
    write_safetensors(folder / kAdapterWeights, tensors);
    const auto model = make_model(base->config(), "config.json");
    return testing::message_of([&] { load_adapted(runtime.device(), *model, *base, folder.path()); });
  };
  const std::string ranks = R"("r": 2, "rank_pattern": {"down_proj": 3})";
  config(ranks + R"(, "use_dora": true)");
  EXPECT_EQ(merge(""), "no error");
  EXPECT_THAT(merge("lm_head.lora_magnitude_vector"), HasSubstr("lm_head.lora_magnitude_vector: got none"));
  config(ranks);
  EXPECT_THAT(merge(""), HasSubstr(".lora_magnitude_vector: got one"));
  config(R"("r": 2, "use_dora": true)");
  EXPECT_THAT(merge(""), HasSubstr("mlp.down_proj: got a rank of 3, need 2"));
  const auto refused = [&](const std::string& fields) {
    config(fields);
    return testing::message_of([&] { read_adapter_config(folder.path()); });
  };
  EXPECT_THAT(refused(R"("rank_pattern": {"q_proj": 0})"), HasSubstr("rank_pattern: got 0 for 'q_proj'"));
  EXPECT_THAT(refused(R"("rank_pattern": {"q_proj": 2.5})"), HasSubstr("rank_pattern"));
  EXPECT_THAT(refused(R"("rank_pattern": {"(q_proj": 2})"), HasSubstr("rank_pattern"));
  EXPECT_THAT(refused(R"("alpha_pattern": {"q_proj": "two"})"), HasSubstr("alpha_pattern"));
  EXPECT_THAT(refused(R"("use_dora": true, "lora_bias": true)"), HasSubstr("lora_bias"));
}

TEST(Dora, BeginsAsTheModel) {
  TrainingModelOptions options;
  options.runtime.threads = 1;
  LoraOptions lora;
  lora.config.use_dora = true;
  for (const char* name : {"llama", "gpt2"}) {
    const auto plain = TrainingModel::open(kFixtures + name, options);
    const auto dora = LoraModel::open(kFixtures + name, options, lora);
    const Tensor want = logits_of(plain->model(), plain->device()), got = logits_of(dora->model(), dora->device());
    EXPECT_LT(distance(got.data<float>(), want.data<float>(), want.numel()), 1e-5) << name;
  }
}

// What is dropped is dropped of the addition and of the change in length, not of the base's own product.
TEST(Dora, GradientsInDouble) {
  RuntimeOptions options;
  options.threads = 1;
  options.isa = Isa::kReference;
  Runtime runtime(options);
  const auto leaf = [&](std::vector<int64_t> dims, uint64_t stream) {
    Tensor tensor = Tensor::empty(runtime.device(), DType::kFloat64, dims);
    const RandomStream random(9, stream);
    for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data<double>()[i] = random.normal(static_cast<uint64_t>(i));
    tensor.set_requires_grad(true);
    return tensor;
  };
  const Tensor x = leaf({3, 4}, 1), bias = leaf({5}, 6);
  Parameter weight{"w", {5, 4}, Init::kNormal, leaf({5, 4}, 5)};
  weight.value.set_requires_grad(false);
  LowRank part;
  part.a = {"a", {2, 4}, Init::kNormal, leaf({2, 4}, 2)};
  part.b = {"b", {5, 2}, Init::kZeros, leaf({5, 2}, 3)};
  part.magnitude = {"m", {5}, Init::kNormal, leaf({5}, 4)};
  part.scale = 1.5F;
  const LowRank::Base base = [&](const Tensor& of, bool with_bias) {
    return ops::linear(of, weight.value, with_bias ? bias : Tensor(), false);
  };
  auto draws = std::make_shared<LowRankDraws>();
  part.draws = draws;
  part.dropout = {0.25F, 99};
  const Tensor labels = Tensor::zeros(runtime.device(), DType::kInt64, {3});
  const auto loss = [&] { return ops::cross_entropy(part.forward_dora(x, weight, false, bias, base), labels, 3); };
  for (const bool drops : {false, true}) {
    draws->rows = nullptr;
    if (drops) {
      auto rows = std::make_shared<ops::DropoutRows>();
      rows->numbers = {7, 8, 9};
      draws->rows = rows;
    }
    const std::vector<Tensor> leaves{x, part.a.value, part.b.value, part.magnitude.value, bias};
    for (Tensor each : leaves) each.set_grad({});
    // The lengths stay those of the versions that they were computed at: constants, as in the backward pass.
    testing::expect_gradients(leaves, loss);
  }
}

TEST(LoraTargets, OneExpressionFitsWholeNames) {
  const testing::Folder folder("lora_expression");
  TrainingModelOptions options;
  options.runtime.threads = 1;
  LoraOptions lora;
  const auto adapted = [&](const std::string& expression) {
    lora.config.target_modules = {expression};
    const auto model = LoraModel::open(kFixtures + "llama", options, lora);
    model->save(folder.path());
    return read_adapter_config(folder.path()).target_modules;
  };
  EXPECT_THAT(adapted(R"(.*\.1\..*\.(q|v)_proj)"), ::testing::UnorderedElementsAre("1.self_attn.q_proj", "1.self_attn.v_proj"));
  EXPECT_THAT(adapted(".*up_proj|lm_head"), ::testing::UnorderedElementsAre("up_proj", "lm_head"));
  EXPECT_THAT(testing::message_of([&] { adapted("(q|v)_proj"); }), HasSubstr("got '(q|v)_proj', need some of"));
  EXPECT_THAT(testing::message_of([&] { adapted("(q|v_proj"); }), HasSubstr("--lora-target-modules"));
}

}  // namespace
}  // namespace pagoda::train
