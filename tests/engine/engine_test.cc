// The engine: one request after the other, forks, errors that end a request and not the engine, pages all given back.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>

#include "base/file.h"
#include "ops/math.h"

namespace pagoda {
namespace {

const std::string kFolder = PAGODA_SOURCE_DIR "/tests/fixtures/llama";

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() { load(1); }
  void load(int threads) {
    RuntimeOptions options;
    options.threads = threads;
    model_.reset();
    runtime_ = std::make_unique<Runtime>(options);
    const auto folder = ModelFolder::open(kFolder);
    model_ = make_model(folder->config(), kFolder);
    model_->load(runtime_->device(), *folder);
    model_->prepare_for_inference(runtime_->device(), DType::kFloat32);
  }
  static Request request(std::vector<int32_t> prompt, int64_t max_new_tokens, double temperature = 0) {
    Request request;
    request.prompt_ids = std::move(prompt);
    request.params.max_new_tokens = max_new_tokens;
    request.params.temperature = temperature;
    request.params.seed = 11;
    return request;
  }
  // All that comes out, by request and sequence; an error ends up in `errors`.
  struct Outcome {
    std::map<std::pair<uint64_t, int>, std::vector<int32_t>> ids;
    std::map<std::pair<uint64_t, int>, FinishReason> finish;
    std::map<uint64_t, Error> errors;
    std::vector<uint64_t> done;
  };
  static Outcome drain(Engine& engine) {
    Outcome outcome;
    while (engine.has_work()) {
      for (const Event& event : engine.step()) {
        std::vector<int32_t>& ids = outcome.ids[{event.request, event.index}];
        ids.insert(ids.end(), event.token_ids.begin(), event.token_ids.end());
        outcome.finish[{event.request, event.index}] = event.finish;
        if (event.error) outcome.errors.emplace(event.request, *event.error);
        if (event.request_done) outcome.done.push_back(event.request);
      }
    }
    EXPECT_EQ(engine.cache().pool().num_free(), engine.cache().pool().num_blocks());
    return outcome;
  }
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Model> model_;
};

TEST_F(EngineTest, GreedyEqualsTransformersWhateverTheChunk) {
  const Json cases = Json::parse(read_file(kFolder + "/cases.json", 1 << 24), "cases");
  for (const int64_t chunk : {1, 3, 512}) {
    EngineOptions options;
    options.max_prefill_tokens = chunk;
    Engine engine(*runtime_, *model_, nullptr, options);
    for (const Json& row : cases.at("greedy", "cases").as_array("cases")) {
      std::vector<int32_t> prompt, expected;
      for (const Json& id : row.at("prompt_ids", "cases").as_array("cases"))
        prompt.push_back(static_cast<int32_t>(id.as_int("id")));
      for (const Json& id : row.at("token_ids", "cases").as_array("cases"))
        expected.push_back(static_cast<int32_t>(id.as_int("id")));
      Request one = request(prompt, row.at("max_new_tokens", "cases").as_int("n"));
      if (!row.get_bool("ignore_eos", false, "cases")) {
        const Json generation = Json::parse(read_file(kFolder + "/generation_config.json", 1 << 20), "generation");
        one.params.eos_token_ids = from_generation_config(generation, "generation").eos_token_ids;
      }
      const uint64_t id = engine.add(std::move(one));
      EXPECT_EQ((drain(engine).ids[{id, 0}]), expected) << "chunk " << chunk;
    }
  }
}

TEST_F(EngineTest, AnAnswerDoesNotDependOnItsNeighboursOrThreads) {
  std::vector<std::vector<int32_t>> answers;
  for (const int threads : {1, 3}) {
    load(threads);
    for (const int64_t n : {1, 5}) {
      Engine engine(*runtime_, *model_, nullptr);
      Request many = request({5, 6, 7}, 20, 1.0);
      many.params.num_return_sequences = n;
      const uint64_t id = engine.add(std::move(many));
      Outcome outcome = drain(engine);
      answers.push_back(outcome.ids[{id, 0}]);
      if (n == 5) {
        EXPECT_NE((outcome.ids[{id, 0}]), (outcome.ids[{id, 1}]));  // forks draw their own
      }
    }
  }
  for (const auto& answer : answers) EXPECT_EQ(answer, answers[0]);
}

TEST_F(EngineTest, RequestsAreServedInOrderAndAbortsFreeTheirPages) {
  Engine engine(*runtime_, *model_, nullptr);
  const uint64_t first = engine.add(request({5, 6, 7}, 4)), second = engine.add(request({8}, 4)),
                 third = engine.add(request({9}, 4));
  engine.step();
  EXPECT_LT(engine.cache().pool().num_free(), engine.cache().pool().num_blocks());
  engine.abort(first);
  EXPECT_EQ(engine.cache().pool().num_free(), engine.cache().pool().num_blocks());
  engine.abort(third);
  EXPECT_EQ(drain(engine).done, std::vector<uint64_t>{second});
}

TEST_F(EngineTest, AFullCacheEndsItsRequestOnly) {
  EngineOptions options;
  options.kv_cache_bytes = 2 * kPageTokens * KvCache::bytes_per_token(model_->layer_states(), DType::kFloat32);
  Engine engine(*runtime_, *model_, nullptr, options);
  const uint64_t big = engine.add(request(std::vector<int32_t>(30, 5), 20)), small = engine.add(request({5}, 4));
  const Outcome outcome = drain(engine);
  ASSERT_EQ(outcome.errors.count(big), 1u);
  EXPECT_EQ(outcome.errors.at(big).kind(), ErrorKind::kOutOfMemory);
  EXPECT_EQ(outcome.errors.count(small), 0u);
  EXPECT_EQ((outcome.ids.at({small, 0}).size()), 4u);
  options.kv_cache_bytes = 1;
  EXPECT_THROW(Engine(*runtime_, *model_, nullptr, options), Error);
}

TEST_F(EngineTest, NanWeightsAreAnErrorNotAToken) {
  const auto folder = ModelFolder::open(kFolder);
  const std::unique_ptr<Model> broken = make_model(folder->config(), kFolder);
  broken->load(runtime_->device(), *folder);
  Parameter* embeddings = broken->parameters()[0];
  Tensor copy = Tensor::like(embeddings->value);
  std::copy_n(embeddings->value.data<float>(), copy.numel(), copy.data<float>());
  std::fill_n(copy.data<float>() + 5 * copy.dim(1), copy.dim(1), std::numeric_limits<float>::quiet_NaN());
  embeddings->value = copy;
  broken->prepare_for_inference(runtime_->device(), DType::kFloat32);
  Engine engine(*runtime_, *broken, nullptr);
  const uint64_t id = engine.add(request({5}, 4));
  const Outcome outcome = drain(engine);
  ASSERT_EQ(outcome.errors.count(id), 1u);
  EXPECT_NE(outcome.errors.at(id).message().find("not finite"), std::string::npos) << outcome.errors.at(id).message();
}

TEST_F(EngineTest, BeamsGiveTheirPagesBack) {
  Engine engine(*runtime_, *model_, nullptr);
  Request beams = request({5, 6, 7}, 40);
  beams.params.num_beams = 4;
  beams.params.num_return_sequences = 2;
  const uint64_t id = engine.add(std::move(beams));
  const Outcome outcome = drain(engine);
  EXPECT_EQ(outcome.ids.size(), 2u);
  EXPECT_EQ(outcome.done, std::vector<uint64_t>{id});
}

TEST_F(EngineTest, LengthsAreBounded) {
  EngineOptions options;
  options.max_model_len = 8;
  Engine engine(*runtime_, *model_, nullptr, options);
  EXPECT_THROW(engine.add(request(std::vector<int32_t>(9, 5), 1)), Error);
  EXPECT_THROW(engine.add(request({}, 1)), Error);
  EXPECT_THROW(engine.add(request({static_cast<int32_t>(model_->vocab_size())}, 1)), Error);
  EXPECT_THROW(engine.add(request({-1}, 1)), Error);
  Request stops = request({5}, 1);
  stops.params.stop_strings = {"x"};
  EXPECT_THROW(engine.add(std::move(stops)), Error);  // no tokenizer
  const uint64_t id = engine.add(request({5, 6, 7}, 100));
  const Outcome outcome = drain(engine);
  EXPECT_EQ((outcome.ids.at({id, 0}).size()), 5u);
  EXPECT_EQ((outcome.finish.at({id, 0})), FinishReason::kLength);
}

}  // namespace
}  // namespace pagoda
