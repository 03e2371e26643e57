// Pooled hidden states: equal to transformers' and the same bits whatever the chunks, the company and the cache.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/file.h"
#include "engine/engine.h"
#include "formats/safetensors.h"

namespace pagoda {
namespace {

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

std::vector<std::vector<int32_t>> fixture_lines(const std::string& folder) {
  std::vector<std::vector<int32_t>> lines;
  const Json cases = Json::parse(read_file(folder + "/cases.json", 1 << 24), "cases");
  for (const Json& line : cases.at("lines", "cases").as_array("lines")) {
    lines.emplace_back();
    for (const Json& id : line.at("input_ids", "line").as_array("ids"))
      lines.back().push_back(static_cast<int32_t>(id.as_int("id")));
  }
  return lines;
}

struct Loaded {
  Loaded(const std::string& folder_name, int threads) {
    RuntimeOptions options;
    options.threads = threads;
    runtime = std::make_unique<Runtime>(options);
    const auto folder = ModelFolder::open(folder_name);
    model = make_model(folder->config(), folder_name);
    model->load(runtime->device(), *folder);
    model->prepare_for_inference(runtime->device(), DType::kFloat32);
  }
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<Model> model;
};

Request pooling(std::vector<int32_t> ids, PoolingType type, bool normalize = true) {
  Request request;
  request.prompt_ids = std::move(ids);
  request.pooling = PoolingParams{type, 0, normalize};
  return request;
}

// All vectors, by request number. Other events are passed over.
std::map<uint64_t, std::vector<float>> drain(Engine& engine) {
  std::map<uint64_t, std::vector<float>> vectors;
  while (engine.has_work()) {
    for (const Event& event : engine.step()) {
      EXPECT_FALSE(event.error) << event.error->message();
      if (event.request_done && !event.pooled.empty()) vectors[event.request] = event.pooled;
    }
  }
  EXPECT_EQ(engine.pool().num_free(), engine.pool().num_blocks());
  return vectors;
}

class Pooling : public ::testing::TestWithParam<std::string> {};

TEST_P(Pooling, EqualsTransformers) {
  const std::string folder = kFixtures + GetParam();
  const Loaded loaded(folder, 1);
  const auto reference = SafetensorsFile::open(folder + "/reference.safetensors");
  const std::vector<std::vector<int32_t>> lines = fixture_lines(folder);
  const int64_t size = loaded.model->hidden_size();
  Engine engine(*loaded.runtime, *loaded.model, nullptr);
  for (size_t i = 0; i < lines.size(); ++i) {
    const TensorEntry* entry = reference->find("hidden." + std::to_string(i));
    ASSERT_NE(entry, nullptr);
    const auto rows = static_cast<int64_t>(lines[i].size());
    std::vector<float> hidden(static_cast<size_t>(rows * size));
    ASSERT_EQ(entry->bytes, rows * size * 4);
    std::memcpy(hidden.data(), entry->data(), static_cast<size_t>(entry->bytes));
    for (const PoolingType type : {PoolingType::kLast, PoolingType::kMean, PoolingType::kCls}) {
      for (const bool normalize : {true, false}) {
        std::vector<double> expected(static_cast<size_t>(size));
        double squares = 0;
        for (int64_t k = 0; k < size; ++k) {
          double sum = 0;
          for (int64_t row = 0; row < rows; ++row) {
            if (type == PoolingType::kMean || row == (type == PoolingType::kLast ? rows - 1 : 0)) {
              sum += hidden[static_cast<size_t>(row * size + k)];
            }
          }
          expected[static_cast<size_t>(k)] = type == PoolingType::kMean ? sum / static_cast<double>(rows) : sum;
          squares += expected[static_cast<size_t>(k)] * expected[static_cast<size_t>(k)];
        }
        const uint64_t id = engine.add(pooling(lines[i], type, normalize));
        const std::vector<float> vector = drain(engine)[id];
        ASSERT_EQ(static_cast<int64_t>(vector.size()), size);
        const double scale = normalize ? 1 / std::sqrt(squares) : 1.0;
        double worst = 0, largest = 0;
        for (int64_t k = 0; k < size; ++k) {
          const double want = expected[static_cast<size_t>(k)] * scale;
          worst = std::max(worst, std::fabs(vector[static_cast<size_t>(k)] - want));
          largest = std::max(largest, std::fabs(want));
        }
        EXPECT_LT(worst / largest, 1e-4) << GetParam() << " line " << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Pooling,
                         ::testing::Values("llama", "gpt2", "qwen2", "mistral", "smollm2", "gpt_bigcode_mqa"));

TEST(PoolingInCompany, SameBits) {
  const Loaded loaded(kFixtures + "llama", 2);
  std::vector<std::vector<int32_t>> prompts;
  for (int32_t i = 0; i < 20; ++i) {
    std::vector<int32_t> prompt;
    for (int32_t k = 0; k < 1 + (i * 7) % 60; ++k)
      prompt.push_back(k < 33 ? k % 90 : (k * i) % 99);  // often the same beginning
    prompts.push_back(prompt);
  }
  const PoolingType types[] = {PoolingType::kLast, PoolingType::kMean, PoolingType::kCls};
  std::vector<std::vector<float>> alone;
  for (size_t i = 0; i < prompts.size(); ++i) {
    EngineOptions plain;
    plain.enable_prefix_caching = false;
    Engine engine(*loaded.runtime, *loaded.model, nullptr, plain);
    const uint64_t id = engine.add(pooling(prompts[i], types[i % 3]));
    alone.push_back(drain(engine)[id]);
  }
  int64_t preemptions = 0;
  for (const int64_t pages : {400, 5}) {
    for (const int64_t budget : {5, 40, 2048}) {
      EngineOptions some;
      some.kv_cache_bytes =
          pages * kPageTokens * KvCache::bytes_per_token(loaded.model->layer_states(), loaded.model->compute_dtype());
      some.max_num_seqs = 5;
      some.max_num_batched_tokens = budget;
      Engine engine(*loaded.runtime, *loaded.model, nullptr, some);
      std::map<uint64_t, size_t> numbers;
      for (size_t i = 0; i < prompts.size(); ++i) {
        numbers[engine.add(pooling(prompts[i], types[i % 3]))] = i;
        Request talk;
        talk.prompt_ids = {static_cast<int32_t>(i), 5, 6};
        talk.params.max_new_tokens = 9;
        talk.params.ignore_eos = true;
        engine.add(std::move(talk));
      }
      const auto vectors = drain(engine);
      ASSERT_EQ(vectors.size(), prompts.size());
      for (const auto& [id, i] : numbers) EXPECT_EQ(vectors.at(id), alone[i]) << "pages " << pages << " budget " << budget;
      preemptions += engine.stats().num_preemptions;
    }
  }
  EXPECT_GT(preemptions, 0);
}

TEST(PoolerTest, CutsBeforeItScalesAndRefusesWhatIsNotFinite) {
  RuntimeOptions options;
  options.threads = 1;
  Runtime runtime(options);
  Tensor hidden = Tensor::empty(runtime.device(), DType::kFloat32, {1, 3});
  float* values = hidden.data<float>();
  values[0] = 3, values[1] = 4, values[2] = 12;
  Pooler pooler({PoolingType::kLast, 2, true}, 1);
  EXPECT_FALSE(pooler.done());
  pooler.take(hidden, 0, 0, 1);
  EXPECT_TRUE(pooler.done());
  EXPECT_EQ(pooler.finish(), (std::vector<float>{0.6F, 0.8F}));
  values[1] = std::numeric_limits<float>::quiet_NaN();
  Pooler broken({PoolingType::kMean, 0, false}, 1);
  broken.take(hidden, 0, 0, 1);
  EXPECT_THROW(broken.finish(), Error);
}

}  // namespace
}  // namespace pagoda
