// Every family fixture against transformers: logits, hidden states, loss, gradients; dense, one by one, paged and chunked
// equal.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "engine/runner.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "ops/loss.h"
#include "ops/math.h"
#include "ops/runtime.h"
#include "ops/tape.h"

namespace pagoda {
namespace {

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

std::vector<std::string> families() {
  std::vector<std::string> names;
  if (!directory_exists(kFixtures)) return names;
  for (const std::string& name : list_directory(kFixtures)) {
    if (file_exists(kFixtures + name + "/reference.safetensors") && file_exists(kFixtures + name + "/config.json"))
      names.push_back(name);
  }
  return names;
}

struct Fixture {
  explicit Fixture(const std::string& name)
      : folder(ModelFolder::open(kFixtures + name)),
        reference(SafetensorsFile::open(kFixtures + name + "/reference.safetensors")),
        cases(Json::parse(read_file(kFixtures + name + "/cases.json", 1 << 26), name)) {
    for (const Json& line : cases.at("lines", name).as_array(name)) {
      std::vector<int32_t> ids;
      for (const Json& id : line.at("input_ids", name).as_array(name)) ids.push_back(static_cast<int32_t>(id.as_int(name)));
      lines.push_back(ids);
      std::vector<int64_t> row;
      if (line.contains("labels")) {
        for (const Json& id : line.at("labels", name).as_array(name)) row.push_back(id.as_int(name));
      }
      labels.push_back(row);
    }
  }
  std::unique_ptr<Model> load(Device& device, const std::string& name) const {
    std::unique_ptr<Model> model = make_model(folder->config(), name);
    model->load(device, *folder);
    return model;
  }
  std::shared_ptr<ModelFolder> folder;
  std::shared_ptr<SafetensorsFile> reference;
  Json cases;
  std::vector<std::vector<int32_t>> lines;
  std::vector<std::vector<int64_t>> labels;
};

RuntimeOptions one_thread(Isa isa) {
  RuntimeOptions options;
  options.threads = 1;
  options.isa = isa;
  return options;
}

Tensor ids_tensor(Device& device, const std::vector<int32_t>& ids) {
  Tensor tensor = Tensor::empty(device, DType::kInt32, {static_cast<int64_t>(ids.size())});
  std::copy(ids.begin(), ids.end(), tensor.data<int32_t>());
  return tensor;
}

// Largest |a - b| relative to the largest |b|.
double relative_error(const float* a, const TensorEntry& entry, int64_t count) {
  EXPECT_EQ(entry.bytes, count * 4) << entry.name;
  double worst = 0, scale = 1e-12;
  std::vector<float> b(static_cast<size_t>(count));
  std::memcpy(b.data(), entry.data(), static_cast<size_t>(entry.bytes));
  for (int64_t i = 0; i < count; ++i) {
    scale = std::max(scale, std::fabs(static_cast<double>(b[static_cast<size_t>(i)])));
    const double difference = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[static_cast<size_t>(i)]));
    worst = std::isnan(difference) ? 1e30 : std::max(worst, difference);
  }
  return worst / scale;
}

Outputs dense(Runtime& runtime, const Model& model, const std::vector<std::vector<int32_t>>& lines) {
  std::vector<int32_t> ids, lengths;
  for (const auto& line : lines) {
    ids.insert(ids.end(), line.begin(), line.end());
    lengths.push_back(static_cast<int32_t>(line.size()));
  }
  ForwardContext context;
  context.layout = Layout::whole(lengths, true);
  return model.forward({ids_tensor(runtime.device(), ids)}, context);
}

// All logits of one line computed in chunks over pages.
std::vector<float> paged(Runtime& runtime, const Model& model, KvCache& cache, const std::vector<int32_t>& line,
                         int64_t chunk) {
  Runner runner(runtime, model, cache);
  BlockManager blocks(cache.num_pages());
  BlockTable table;
  std::vector<float> logits;
  while (table.num_tokens < static_cast<int64_t>(line.size())) {
    const int64_t count = std::min<int64_t>(chunk, static_cast<int64_t>(line.size()) - table.num_tokens);
    SchedulerOutput step;
    EXPECT_TRUE(blocks.reserve(table, table.num_tokens + count, step.copies));
    step.items.push_back({&line, &table, table.num_tokens, count, true, true});
    const StepResult result = runner.run(step);
    advance(step);
    logits.insert(logits.end(), result.logits.data<float>(), result.logits.data<float>() + result.logits.numel());
  }
  blocks.release(table, true);
  return logits;
}

bool has_gradients(const Fixture& fixture) {
  for (const TensorEntry& entry : fixture.reference->tensors()) {
    if (entry.name.rfind("grad.", 0) == 0) return true;
  }
  return false;
}

class Family : public ::testing::TestWithParam<std::tuple<std::string, Isa>> {};

TEST_P(Family, LogitsEqualTransformersAndAllPathsEachOther) {
  const auto& [name, isa] = GetParam();
  const Fixture fixture(name);
  Runtime runtime(one_thread(isa));
  const std::unique_ptr<Model> model = fixture.load(runtime.device(), name);
  model->prepare_for_inference(runtime.device(), DType::kFloat32);
  const NoGrad no_grad;
  const Outputs all = dense(runtime, *model, fixture.lines);
  const int64_t vocab = model->vocab_size();
  KvCache cache(model->layer_states(), DType::kFloat32, 64);
  int64_t row = 0;
  for (size_t i = 0; i < fixture.lines.size(); ++i) {
    const int64_t length = static_cast<int64_t>(fixture.lines[i].size());
    const float* logits = all.logits.data<float>() + row * vocab;
    const TensorEntry* expected = fixture.reference->find("logits." + std::to_string(i));
    ASSERT_NE(expected, nullptr);
    EXPECT_LT(relative_error(logits, *expected, length * vocab), 1e-4) << name << " line " << i;
    if (const TensorEntry* hidden = fixture.reference->find("hidden." + std::to_string(i))) {
      EXPECT_LT(relative_error(all.hidden.data<float>() + row * model->hidden_size(), *hidden, length * model->hidden_size()),
                1e-4);
    }
    const Outputs alone = dense(runtime, *model, {fixture.lines[i]});
    EXPECT_EQ(std::memcmp(logits, alone.logits.data<float>(), static_cast<size_t>(length * vocab) * 4), 0)
        << name << " alone " << i;
    for (const int64_t chunk : {int64_t{1}, int64_t{7}, int64_t{16}, length}) {
      const std::vector<float> chunked = paged(runtime, *model, cache, fixture.lines[i], chunk);
      ASSERT_EQ(static_cast<int64_t>(chunked.size()), length * vocab);
      EXPECT_EQ(std::memcmp(logits, chunked.data(), chunked.size() * 4), 0) << name << " line " << i << " chunk " << chunk;
    }
    row += length;
  }
}

TEST_P(Family, LossAndGradientsEqualPyTorch) {
  const auto& [name, isa] = GetParam();
  const Fixture fixture(name);
  if (fixture.reference->find("loss") == nullptr) GTEST_SKIP() << "fixture has no loss";
  Runtime runtime(one_thread(isa));
  const std::unique_ptr<Model> model = fixture.load(runtime.device(), name);
  model->prepare_for_training(runtime.device(), DType::kFloat32);
  // Labels shift inside: row t predicts label t + 1 of its line.
  std::vector<int64_t> labels;
  for (const std::vector<int64_t>& line : fixture.labels) {
    for (size_t t = 0; t < line.size(); ++t) labels.push_back(t + 1 < line.size() ? line[t + 1] : -100);
  }
  int64_t count = 0;
  for (const int64_t label : labels) count += label >= 0 ? 1 : 0;
  Tensor label_tensor = Tensor::empty(runtime.device(), DType::kInt64, {static_cast<int64_t>(labels.size())});
  std::copy(labels.begin(), labels.end(), label_tensor.data<int64_t>());
  const Outputs outputs = dense(runtime, *model, fixture.lines);
  const Tensor loss = ops::cross_entropy(outputs.logits, label_tensor, count);
  EXPECT_LT(relative_error(loss.data<float>(), *fixture.reference->find("loss"), 1), 1e-5);
  backward(loss);
  int checked = 0;
  for (const Parameter* parameter : model->parameters()) {
    const TensorEntry* expected = fixture.reference->find("grad." + parameter->name);
    if (expected == nullptr) continue;
    ++checked;
    ASSERT_TRUE(parameter->value.grad()) << parameter->name;
    EXPECT_LT(relative_error(parameter->value.grad().data<float>(), *expected, parameter->value.numel()), 1e-4)
        << parameter->name;
    const TensorEntry* after = fixture.reference->find("step." + parameter->name);
    if (after == nullptr) continue;
    const Tensor m = Tensor::zeros(runtime.device(), DType::kFloat32, parameter->value.dims());
    const Tensor v = Tensor::zeros(runtime.device(), DType::kFloat32, parameter->value.dims());
    runtime.kernels().adam(runtime.device().exec, AdamStep{1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 1}, parameter->value.view(),
                           parameter->value.grad().view(), m.view(), v.view(), PackedView{}, PackedView{});
    // Adam divides a gradient by its own size: where the gradient is rounding noise (the bias of keys has none by softmax's
    // symmetry) the step's sign is noise too, so such elements take the expected value.
    const float *grad = parameter->value.grad().data<float>(), *wanted = reinterpret_cast<const float*>(after->data());
    float largest = 0;
    for (int64_t i = 0; i < parameter->value.numel(); ++i) largest = std::max(largest, std::fabs(grad[i]));
    for (int64_t i = 0; i < parameter->value.numel(); ++i) {
      if (std::fabs(grad[i]) < 1e-5f * largest) std::memcpy(parameter->value.data<float>() + i, wanted + i, sizeof(float));
    }
    EXPECT_LT(relative_error(parameter->value.data<float>(), *after, parameter->value.numel()), 1e-4) << parameter->name;
  }
  EXPECT_EQ(checked > 0, has_gradients(fixture)) << "no parameter has the name of a gradient";
}

// bfloat16 has 8 bits: every rounding is 2^-9 of a value, and a layer rounds its rows about ten times. transformers in bfloat16
// is itself this far from its float64 self; Pagoda may be twice as far from it as that.
TEST(FamilyBf16, AsCloseAsTransformersInBfloat16) {
  const Fixture fixture("llama_bf16");
  for (const Isa isa : supported_isas(detect_cpu())) {
    RuntimeOptions options;
    options.threads = 1;
    options.isa = isa;
    Runtime runtime(options);
    const std::unique_ptr<Model> model = make_model(fixture.folder->config(), "llama_bf16");
    model->load(runtime.device(), *fixture.folder);
    model->prepare_for_inference(runtime.device(), DType::kBFloat16);
    const NoGrad no_grad;
    KvCache cache(model->layer_states(), DType::kBFloat16, 64);
    for (size_t i = 0; i < fixture.lines.size(); ++i) {
      const Outputs alone = dense(runtime, *model, {fixture.lines[i]});
      const int64_t count = alone.logits.numel();
      const TensorEntry* exact = fixture.reference->find("logits." + std::to_string(i));
      const TensorEntry* rounded = fixture.reference->find("bf16.logits." + std::to_string(i));
      ASSERT_TRUE(exact != nullptr && rounded != nullptr);
      std::vector<float> theirs(static_cast<size_t>(count));
      std::memcpy(theirs.data(), rounded->data(), static_cast<size_t>(rounded->bytes));
      const double bound = std::max(2 * relative_error(theirs.data(), *exact, count), 0.01);
      EXPECT_LT(relative_error(alone.logits.data<float>(), *exact, count), bound) << isa_name(isa) << " line " << i;
      for (const int64_t chunk : {1, 7, 16}) {
        const std::vector<float> chunked = paged(runtime, *model, cache, fixture.lines[i], chunk);
        EXPECT_EQ(std::memcmp(alone.logits.data<float>(), chunked.data(), chunked.size() * 4), 0)
            << isa_name(isa) << " chunk " << chunk;
      }
    }
  }
}

// MistralConfig().num_key_value_heads is 8, Qwen2Config()'s 32; None means as many as query heads.
TEST(FamilyConfig, KeyValueHeadsByFamily) {
  const auto rows = [](const char* family, const char* more) {
    const std::string text =
        fmt::format(R"({{"architectures": ["{}ForCausalLM"], "model_type": "{}", "vocab_size": 8, "hidden_size": 128,
        "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 64, "max_position_embeddings": 8{}}})",
                    family[0] == 'm'   ? "Mistral"
                    : family[0] == 'q' ? "Qwen2"
                                       : "Llama",
                    family, more);
    const std::unique_ptr<Model> model = make_model(Json::parse(text, "config.json"), "config.json");
    for (const Parameter* parameter : model->parameters()) {
      if (parameter->name.find("k_proj.weight") != std::string::npos) return parameter->shape[0] / 2;
    }
    return int64_t{0};
  };
  EXPECT_EQ(rows("mistral", ""), 8);
  EXPECT_EQ(rows("qwen2", ""), 32);
  EXPECT_EQ(rows("llama", ""), 64);
  EXPECT_EQ(rows("mistral", ", \"num_key_value_heads\": null"), 64);
}

// What transformers' config classes have where config.json says nothing.
TEST(FamilyConfig, ContextByFamily) {
  const auto context = [](const char* family, const char* more) {
    const std::string text = fmt::format(R"({{"model_type": "{}", "vocab_size": 8, "hidden_size": 64, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 32{}}})",
                                         family, more);
    return make_model(Json::parse(text, "config.json"), "config.json")->max_positions();
  };
  EXPECT_EQ(context("llama", ""), 2048);
  EXPECT_EQ(context("mistral", ""), 131072);
  EXPECT_EQ(context("qwen2", ""), 32768);
  EXPECT_EQ(context("qwen2", ", \"max_position_embeddings\": 512"), 512);
}

TEST(FamilyConfig, Transformers4SpellingMeansTheSame) {
  int twins = 0;
  for (const std::string& name : list_directory(kFixtures)) {
    if (name.size() < 4 || name.substr(name.size() - 3) != "_v4") continue;
    ++twins;
    const Fixture fixture(name.substr(0, name.size() - 3));
    RuntimeOptions options;
    options.threads = 1;
    Runtime runtime(options);
    const Json config = Json::parse(read_file(kFixtures + name + "/config.json", 1 << 20), name);
    const std::unique_ptr<Model> old_style = make_model(config, name), new_style = make_model(fixture.folder->config(), name);
    std::vector<Outputs> results;
    const NoGrad no_grad;
    for (Model* model : {old_style.get(), new_style.get()}) {
      model->load(runtime.device(), *fixture.folder);
      model->prepare_for_inference(runtime.device(), DType::kFloat32);
      results.push_back(dense(runtime, *model, fixture.lines));
    }
    EXPECT_EQ(old_style->max_positions(), new_style->max_positions());
    EXPECT_EQ(std::memcmp(results[0].logits.data<float>(), results[1].logits.data<float>(),
                          static_cast<size_t>(results[0].logits.bytes())),
              0)
        << name;
  }
  EXPECT_GT(twins, 0);
}

INSTANTIATE_TEST_SUITE_P(All, Family,
                         ::testing::Combine(::testing::ValuesIn(families()), ::testing::ValuesIn(supported_isas(detect_cpu()))),
                         [](const auto& param) { return std::get<0>(param.param) + "_" + isa_name(std::get<1>(param.param)); });

TEST(FamilyFixtures, AreThere) { EXPECT_GE(families().size(), 19u) << "in " << kFixtures; }

TEST(Registry, UnknownArchitectureNamesTheNearest) {
  try {
    make_model(Json::parse(R"({"architectures":["LlamaForCausalLN"],"model_type":"llamb"})", "config.json"), "config.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_NE(error.message().find("the nearest is LlamaForCausalLM"), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace pagoda
