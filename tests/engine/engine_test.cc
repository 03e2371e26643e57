// The engine: many requests at once, forks, errors that end a request and not the engine, pages all given back.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/random.h"
#include "engine/group.h"
#include "ops/math.h"

namespace pagoda {
namespace {

const std::string kFolder = PAGODA_SOURCE_DIR "/tests/fixtures/llama";

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() { load(1); }
  void load(int threads, DType dtype = DType::kFloat32) {
    RuntimeOptions options;
    options.threads = threads;
    model_.reset();
    runtime_ = std::make_unique<Runtime>(options);
    const auto folder = ModelFolder::open(kFolder);
    model_ = make_model(folder->config(), kFolder);
    model_->load(runtime_->device(), *folder);
    model_->prepare_for_inference(runtime_->device(), dtype);
  }
  void hold_in_any_company(int requests, DType dtype, std::optional<DType> cached = {});
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
    EXPECT_EQ(engine.pool().num_free(), engine.pool().num_blocks());
    return outcome;
  }
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Model> model_;
};

TEST_F(EngineTest, GreedyEqualsTransformersWhateverTheChunk) {
  const Json cases = Json::parse(read_file(kFolder + "/cases.json", 1 << 24), "cases");
  for (const int64_t chunk : {1, 3, 512}) {
    EngineOptions options;
    options.max_num_seqs = chunk;
    options.max_num_batched_tokens = chunk;
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

TEST_F(EngineTest, ASeedOfTheEngineIsForRequestsWithoutOne) {
  const auto answers = [this](std::optional<uint64_t> seed) {
    EngineOptions options;
    options.seed = seed;
    Engine engine(*runtime_, *model_, nullptr, options);
    for (int i = 0; i < 2; ++i) {
      Request one = request({5, 6, 7}, 24, 1.0);
      one.params.seed.reset();
      engine.add(std::move(one));
    }
    return drain(engine).ids;
  };
  const auto first = answers(1);
  EXPECT_EQ(first, answers(1));
  EXPECT_NE(first, answers(2));
  EXPECT_NE(first.begin()->second, std::next(first.begin())->second);  // each request draws its own
}

// A beam's log-probabilities are those that its tokens get as a prompt, to the bit.
TEST_F(EngineTest, BeamsHaveLogprobs) {
  const std::vector<int32_t> prompt{5, 6, 7};
  Engine engine(*runtime_, *model_, nullptr);
  Request beams = request(prompt, 9);
  beams.params.num_beams = 4;
  beams.params.num_return_sequences = 3;
  beams.params.eos_token_ids = {static_cast<int32_t>(model_->vocab_size() / 2)};
  beams.logprobs = 2;
  engine.add(std::move(beams));
  std::vector<Event> answers;
  while (engine.has_work()) {
    for (Event& event : engine.step()) answers.push_back(std::move(event));
  }
  ASSERT_EQ(answers.size(), 3u);
  for (const Event& answer : answers) {
    ASSERT_EQ(answer.logprobs.size(), answer.token_ids.size());
    Request again = request(prompt, 1);
    again.prompt_ids.insert(again.prompt_ids.end(), answer.token_ids.begin(), answer.token_ids.end());
    again.prompt_only = true;
    again.prompt_logprobs = 2;
    engine.add(std::move(again));
    std::vector<PositionLogprobs> expected;
    while (engine.has_work()) {
      for (const Event& event : engine.step()) expected = event.prompt_logprobs;
    }
    ASSERT_EQ(expected.size(), prompt.size() - 1 + answer.token_ids.size());
    for (size_t i = 0; i < answer.token_ids.size(); ++i) {
      const PositionLogprobs &got = answer.logprobs[i], &want = expected[prompt.size() - 1 + i];
      EXPECT_EQ(got.token, want.token);
      EXPECT_EQ(got.logprob, want.logprob);
      EXPECT_EQ(got.rank, want.rank);
      ASSERT_EQ(got.top.size(), 2u);
      EXPECT_EQ(got.top[1].id, want.top[1].id);
      EXPECT_EQ(got.top[1].logprob, want.top[1].logprob);
    }
  }
}

TEST_F(EngineTest, TheCacheMapShowsWhoHoldsWhat) {
  Engine engine(*runtime_, *model_, nullptr);
  std::vector<int32_t> prompt(40);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(5 + i);
  const uint64_t first = engine.add(request(prompt, 4));
  prompt[39] = 90;  // two whole pages are the same
  const uint64_t second = engine.add(request(prompt, 4));
  CacheMap map = engine.cache_map();
  ASSERT_EQ(map.requests.size(), 2u);
  EXPECT_EQ(map.requests[1].num_blocks, 0);
  EXPECT_EQ(map.stats.num_waiting, 2);
  EXPECT_EQ(std::count(map.owners.begin(), map.owners.end(), CacheMap::kFree), engine.pool().num_blocks());

  while (engine.has_work() && (map.requests[0].num_generated_tokens == 0 || map.requests[1].num_generated_tokens == 0)) {
    engine.step();
    map = engine.cache_map();
  }
  EXPECT_EQ(std::count(map.owners.begin(), map.owners.end(), first), 3);  // the least number owns what is shared
  EXPECT_EQ(std::count(map.owners.begin(), map.owners.end(), second), 1);
  EXPECT_EQ(std::count(map.references.begin(), map.references.end(), 2), 2);
  EXPECT_EQ(std::count(map.references.begin(), map.references.end(), 1), 2);
  EXPECT_EQ(map.stats.num_allocated_blocks, 4);
  EXPECT_EQ(map.stats.num_table_blocks, 6);
  EXPECT_EQ(map.requests[0].request, first);
  for (const CacheMap::Open& open : map.requests) {
    EXPECT_EQ(open.num_prompt_tokens, 40);
    EXPECT_GE(open.num_computed_tokens, 40);
    EXPECT_EQ(open.num_sequences, 1);
    EXPECT_EQ(open.num_blocks, 3);
  }

  drain(engine);
  map = engine.cache_map();
  EXPECT_TRUE(map.requests.empty());
  EXPECT_EQ(std::count(map.references.begin(), map.references.end(), 0), engine.pool().num_blocks());
  EXPECT_EQ(std::count(map.owners.begin(), map.owners.end(), CacheMap::kCached), engine.pool().num_published());
  EXPECT_EQ(std::count(map.owners.begin(), map.owners.end(), CacheMap::kFree),
            engine.pool().num_blocks() - engine.pool().num_published());
  EXPECT_GE(engine.pool().num_published(), 2);
}

TEST_F(EngineTest, AbortsFreePagesAndLeaveTheOthersAlone) {
  Engine engine(*runtime_, *model_, nullptr);
  const uint64_t first = engine.add(request({5, 6, 7}, 4)), second = engine.add(request({8}, 4)),
                 third = engine.add(request({9}, 4));
  engine.step();
  EXPECT_EQ(engine.pool().num_blocks() - engine.pool().num_free(), 3);
  engine.abort(first);
  engine.abort(third);
  engine.abort(12345);
  EXPECT_EQ(engine.pool().num_blocks() - engine.pool().num_free(), 1);
  EXPECT_EQ(drain(engine).done, std::vector<uint64_t>{second});
}

TEST_F(EngineTest, AFullCacheEndsItsRequestOnly) {
  EngineOptions options;
  options.kv_cache_bytes = 3 * kPageTokens * KvCache::bytes_per_token(model_->layer_states(), DType::kFloat32);
  Engine engine(*runtime_, *model_, nullptr, options);
  EXPECT_EQ(engine.max_model_len(), 3 * kPageTokens);
  Request wide = request(std::vector<int32_t>(30, 5), 15);
  wide.params.num_beams = 3;  // which go on together: two pages each, one of them shared: too many once they differ
  const uint64_t big = engine.add(std::move(wide)), small = engine.add(request({5}, 4));
  const Outcome outcome = drain(engine);
  ASSERT_EQ(outcome.errors.count(big), 1u);
  EXPECT_EQ(outcome.errors.at(big).kind(), ErrorKind::kOutOfMemory);
  EXPECT_EQ(outcome.errors.count(small), 0u);
  EXPECT_EQ((outcome.ids.at({small, 0}).size()), 4u);
  options.max_model_len = 100;
  EXPECT_THROW(Engine(*runtime_, *model_, nullptr, options), Error);
  options.kv_cache_bytes = 1;
  EXPECT_THROW(Engine(*runtime_, *model_, nullptr, options), Error);
}

// The same request gives the same bits alone and among others, whatever is preempted, cancelled, cut or found in the cache.
// Mixed requests (greedy, seeded, forks, beams, penalties) among others, with twins that are cancelled, in a large cache and in
// one so small that they push each other out, with and without shared prefixes: ids and log-probabilities to the bit as each
// alone.
void EngineTest::hold_in_any_company(int requests, DType dtype, std::optional<DType> cached) {
  load(2, dtype);
  struct Answers {
    std::map<std::pair<int, int>, std::vector<int32_t>> ids;
    std::map<std::pair<int, int>, std::vector<double>> logprobs;
    bool operator==(const Answers& other) const { return ids == other.ids && logprobs == other.logprobs; }
  };
  const RandomStream random(5, 0);
  const auto nth = [&](int i) {
    const auto draw = [&](uint64_t k, uint64_t below) { return random.bits(static_cast<uint64_t>(i) * 64 + k) % below; };
    std::vector<int32_t> prompt;
    for (uint64_t k = 0; k < draw(0, 3) * 17; ++k) prompt.push_back(static_cast<int32_t>(k % 90));  // often the same beginning
    for (uint64_t k = 0; k < 1 + draw(1, 20); ++k) prompt.push_back(static_cast<int32_t>(draw(2 + k, 99)));
    Request one = request(prompt, 1 + static_cast<int64_t>(draw(30, 24)), draw(31, 2) == 0 ? 0.0 : 1.0);
    one.params.seed = static_cast<uint64_t>(i);
    one.params.ignore_eos = true;
    const uint64_t kind = draw(32, 6);
    if (kind == 0) {
      one.params.temperature = 0;
      one.params.num_beams = one.params.num_return_sequences = 3;
    } else if (kind == 1) {
      one.params.temperature = 0.8;
      one.params.num_return_sequences = 3;
    } else if (kind == 2) {
      one.params.repetition_penalty = 1.3;
      one.params.top_p = 0.9;
    }
    if (kind != 0) one.logprobs = 2;
    return one;
  };
  const auto collect = [](Engine& engine, const std::map<uint64_t, int>& names, Answers& answers) {
    for (const Event& event : engine.step()) {
      EXPECT_FALSE(event.error) << event.error->message();
      const auto name = names.find(event.request);
      if (name == names.end()) continue;
      std::vector<int32_t>& ids = answers.ids[{name->second, event.index}];
      ids.insert(ids.end(), event.token_ids.begin(), event.token_ids.end());
      for (const PositionLogprobs& position : event.logprobs) {
        answers.logprobs[{name->second, event.index}].push_back(position.logprob);
        for (const TokenLogprob& top : position.top) answers.logprobs[{name->second, event.index}].push_back(top.logprob);
      }
    }
  };
  Answers alone;
  {
    EngineOptions options;
    options.enable_prefix_caching = false;
    options.kv_cache_dtype = cached;
    Engine engine(*runtime_, *model_, nullptr, options);
    EXPECT_EQ(engine.cache().dtype(), cached.value_or(dtype));
    for (int i = 0; i < requests; ++i) {
      const std::map<uint64_t, int> names = {{engine.add(nth(i)), i}};
      while (engine.has_work()) collect(engine, names, alone);
    }
  }
  for (const int64_t pages : {400, 14}) {
    for (const bool prefixes : {true, false}) {
      EngineOptions options;
      options.kv_cache_dtype = cached;
      options.kv_cache_bytes = pages * kPageTokens * KvCache::bytes_per_token(model_->layer_states(), cached.value_or(dtype));
      options.max_num_seqs = 24;
      options.max_num_batched_tokens = 40;
      options.enable_prefix_caching = prefixes;
      Engine engine(*runtime_, *model_, nullptr, options);
      Answers together;
      std::map<uint64_t, int> names;
      std::vector<uint64_t> doomed;
      int next = 0;
      for (int step = 0; next < requests || engine.has_work(); ++step) {
        if (next < requests) {
          names[engine.add(nth(next))] = next;
          if (next % 4 == 0) doomed.push_back(engine.add(nth(next)));  // a twin that will be cancelled
          ++next;
        }
        if (step % 7 == 3 && !doomed.empty()) {
          engine.abort(doomed.back());
          doomed.pop_back();
        }
        collect(engine, names, together);
      }
      EXPECT_TRUE(together == alone) << pages << " pages, prefixes " << prefixes;
      const EngineStats stats = engine.stats();
      EXPECT_EQ(stats.num_allocated_blocks, 0);
      if (pages < 100) {
        EXPECT_GT(stats.num_preemptions, 0);
      }
      if (prefixes) {
        EXPECT_GT(stats.num_cached_prompt_tokens, 0);
      }
    }
  }
}

TEST_F(EngineTest, SameRequestSameAnswerInAnyCompany) { hold_in_any_company(60, DType::kFloat32); }
TEST_F(EngineTest, SameRequestSameAnswerInAnyCompanyInHalfPrecision) { hold_in_any_company(60, DType::kBFloat16); }
TEST_F(EngineTest, SameRequestSameAnswerInAnyCompanyOverCodes) {
  hold_in_any_company(60, DType::kFloat32, DType::kInt8);
  hold_in_any_company(60, DType::kBFloat16, DType::kInt8);
}
TEST_F(EngineTest, SameRequestSameAnswerInAnyCompanySlow) {
  hold_in_any_company(1000, DType::kFloat32);
  hold_in_any_company(1000, DType::kBFloat16);
}

TEST_F(EngineTest, LogprobsAreOfTheModelsOwnDistribution) {
  Engine engine(*runtime_, *model_, nullptr);
  Request one = request({5, 6, 7, 8}, 3, 0.7);
  one.logprobs = 5;
  one.prompt_logprobs = 2;
  engine.add(std::move(one));
  std::vector<Event> events;
  while (engine.has_work()) {
    for (Event& event : engine.step()) events.push_back(std::move(event));
  }
  ASSERT_EQ(events.size(), 3u);
  ASSERT_EQ(events[0].prompt_logprobs.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(events[0].prompt_logprobs[i].token, static_cast<int32_t>(6 + i));
    EXPECT_EQ(events[0].prompt_logprobs[i].top.size(), 2u);
  }
  EXPECT_TRUE(events[1].prompt_logprobs.empty());
  for (const Event& event : events) {
    ASSERT_EQ(event.logprobs.size(), 1u);
    const PositionLogprobs& position = event.logprobs[0];
    EXPECT_EQ(position.token, event.token_ids[0]);
    ASSERT_EQ(position.top.size(), 5u);
    EXPECT_LE(position.logprob, position.top[0].logprob);
    EXPECT_LT(position.top[0].logprob, 0.0);
    if (position.rank <= 5) {
      EXPECT_EQ(position.top[static_cast<size_t>(position.rank - 1)].logprob, position.logprob);
    }
  }
  // A prompt's probabilities are those that its tokens get when the model is asked for them one by one.
  Request again = request({5, 6, 7, 8}, 1);
  again.prompt_logprobs = 0;
  again.prompt_only = true;
  engine.add(std::move(again));
  std::vector<Event> scored = engine.step();
  ASSERT_EQ(scored.size(), 1u);
  EXPECT_TRUE(scored[0].request_done);
  EXPECT_TRUE(scored[0].token_ids.empty());
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(scored[0].prompt_logprobs[i].logprob, events[0].prompt_logprobs[i].logprob);
}

// Tokens in steps of one more: 40, 41, 42 and then nothing but the end.
class Counting : public TokenConstraint {
 public:
  std::unique_ptr<TokenConstraint> clone() const override { return std::make_unique<Counting>(*this); }
  void mask(float* logits, int64_t vocab) override {
    for (int64_t i = 0; i < vocab; ++i) {
      if (i != next_) logits[i] = -std::numeric_limits<float>::infinity();
    }
  }
  void accept(int32_t token) override { next_ = token + 1; }
  bool complete() const override { return next_ == 43; }

 private:
  int64_t next_ = 40;
};

TEST_F(EngineTest, AConstraintDecidesAndEnds) {
  Engine engine(*runtime_, *model_, nullptr);
  Request one = request({5, 6}, 30, 1.0);
  one.params.num_return_sequences = 2;
  one.constraint = std::make_unique<Counting>();
  const uint64_t id = engine.add(std::move(one));
  Outcome outcome = drain(engine);
  for (const int fork : {0, 1}) {
    EXPECT_EQ((outcome.ids[{id, fork}]), (std::vector<int32_t>{40, 41, 42}));
    EXPECT_EQ((outcome.finish[{id, fork}]), FinishReason::kStop);
  }
  Request beams = request({5}, 3);
  beams.params.num_beams = 2;
  beams.constraint = std::make_unique<Counting>();
  EXPECT_THROW(engine.add(std::move(beams)), Error);
}

// Even or odd tokens in turn, at a price that is told and not paid.
class Costly : public TokenConstraint {
 public:
  explicit Costly(int64_t price) : price_(price) {}
  std::unique_ptr<TokenConstraint> clone() const override { return std::make_unique<Costly>(*this); }
  void mask(float* logits, int64_t vocab) override {
    for (int64_t i = odd_ ? 0 : 1; i < vocab; i += 2) logits[i] = -std::numeric_limits<float>::infinity();
  }
  void accept(int32_t) override {
    odd_ = !odd_;
    work_ += price_;
  }
  bool complete() const override { return false; }
  int64_t take_work() override { return std::exchange(work_, 0); }

 private:
  int64_t price_, work_ = 0;
  bool odd_ = false;
};

TEST_F(EngineTest, ConstraintsOfOneRequestHaveOneBoundAStep) {
  Engine engine(*runtime_, *model_, nullptr);
  const uint64_t plain = engine.add(request({1, 2, 3}, 6));
  Request within = request({5, 6}, 6, 1.0), beyond = request({5, 6}, 6, 1.0);
  within.params.num_return_sequences = beyond.params.num_return_sequences = 4;
  within.constraint = std::make_unique<Costly>(kMostConstraintWork / 4);
  beyond.constraint = std::make_unique<Costly>(kMostConstraintWork / 4 + 1);
  const uint64_t good = engine.add(std::move(within)), bad = engine.add(std::move(beyond));
  Outcome outcome = drain(engine);
  ASSERT_EQ(outcome.errors.size(), 1U);
  const Error& error = outcome.errors.at(bad);
  EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
  EXPECT_NE(std::string(error.what()).find("4 answers"), std::string::npos) << error.what();
  EXPECT_EQ((outcome.ids[{plain, 0}]).size(), 6U);
  for (const int fork : {0, 1, 2, 3}) EXPECT_EQ((outcome.ids[{good, fork}]).size(), 6U);
}

// Each of five requests takes most of a step: they have their tokens in turn, and a plain stream has one in every step. What
// comes out is what each gives alone, preempted ones (24 pages are too few) among them.
TEST_F(EngineTest, ConstraintsThatCostMuchTakeTurns) {
  const auto costly = [](int i) {
    Request one = request({5 + i, 6, 7, 8}, 40, 1.0);
    one.params.num_return_sequences = 2;
    one.params.seed = 100 + i;
    one.constraint = std::make_unique<Costly>(kMostConstraintWork * 2 / 5);
    return one;
  };
  std::map<std::pair<uint64_t, int>, std::vector<int32_t>> alone;
  for (int i = 0; i < 5; ++i) {
    Engine engine(*runtime_, *model_, nullptr);
    const uint64_t id = engine.add(costly(i));
    Outcome outcome = drain(engine);
    for (const int fork : {0, 1}) alone[{i, fork}] = outcome.ids[{id, fork}];
    EXPECT_EQ((alone[{i, 0}].size()), 40U);
  }
  for (const int64_t pages : {200, 24}) {
    EngineOptions options;
    options.kv_cache_bytes = pages * KvCache::bytes_per_token(model_->layer_states(), DType::kFloat32) * kPageTokens;
    Engine engine(*runtime_, *model_, nullptr, options);
    const uint64_t plain = engine.add(request({1, 2, 3}, 60));
    std::vector<uint64_t> ids;
    for (int i = 0; i < 5; ++i) ids.push_back(engine.add(costly(i)));
    std::map<std::pair<uint64_t, int>, std::vector<int32_t>> together;
    bool streaming = true;
    while (engine.has_work()) {
      std::map<uint64_t, int> tokens;
      for (const Event& event : engine.step()) {
        ASSERT_FALSE(event.error) << event.error->what();
        tokens[event.request] += static_cast<int>(event.token_ids.size());
        std::vector<int32_t>& all = together[{event.request, event.index}];
        all.insert(all.end(), event.token_ids.begin(), event.token_ids.end());
        if (event.request == plain && event.request_done) streaming = false;
      }
      if (streaming && pages == 200) {
        EXPECT_EQ(tokens[plain], 1);
      }
      tokens.erase(plain);
      EXPECT_LE(tokens.size(), 1U);
      for (const auto& [id, count] : tokens) EXPECT_LE(count, 2);
    }
    for (int i = 0; i < 5; ++i) {
      for (const int fork : {0, 1}) EXPECT_EQ((together[{ids[static_cast<size_t>(i)], fork}]), (alone[{i, fork}])) << pages;
    }
    EXPECT_EQ(engine.stats().num_preemptions > 0, pages == 24);
    EXPECT_EQ(engine.pool().num_free(), engine.pool().num_blocks());
  }
}

TEST_F(EngineTest, RatesOfThisMachine) {
  const StepRates rates = measure_step_rates(*runtime_, *model_, model_->compute_dtype());
  EXPECT_GT(rates.step, 0);
  EXPECT_GT(rates.prefill_row, 0);
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
  EXPECT_EQ(outcome.errors.at(id).kind(), ErrorKind::kInternal);  // nobody's fault who asked
  EXPECT_NE(outcome.errors.at(id).message().find("not finite"), std::string::npos) << outcome.errors.at(id).message();
  // Where the prompt's own rows are looked at, too, nobody else's request ends with it.
  Request scored = request({7, 5, 6}, 4);
  scored.prompt_logprobs = 1;
  const uint64_t innocent = engine.add(request({7, 8}, 4)), guilty = engine.add(std::move(scored));
  const Outcome both = drain(engine);
  ASSERT_EQ(both.errors.count(guilty), 1u);
  EXPECT_EQ(both.errors.at(guilty).kind(), ErrorKind::kInternal);
  EXPECT_EQ(both.errors.count(innocent), 0u);
  EXPECT_EQ((both.ids.at({innocent, 0}).size()), 4u);
}

// As vLLM, where each of n is a request of its own: slower, never refused.
TEST_F(EngineTest, SequencesWithoutRoomTogetherTakeTurns) {
  const auto answers = [&](int64_t pages, bool prefixes) {
    EngineOptions options;
    options.enable_prefix_caching = prefixes;
    options.kv_cache_bytes = pages * kPageTokens * KvCache::bytes_per_token(model_->layer_states(), model_->compute_dtype());
    options.max_model_len = 100;
    Engine engine(*runtime_, *model_, nullptr, options);
    for (const int64_t length : {70, 5}) {
      Request one = request({5, 6, 7, 8, 9}, length, 1.0);
      one.params.num_return_sequences = 6;
      one.params.ignore_eos = true;
      engine.add(std::move(one));
    }
    const Outcome outcome = drain(engine);
    EXPECT_TRUE(outcome.errors.empty()) << outcome.errors.begin()->second.message();
    return outcome.ids;
  };
  const auto roomy = answers(100, true);
  ASSERT_EQ(roomy.size(), 12u);
  // Six of 75 tokens need some 30 pages.
  for (const int64_t pages : {7, 12, 20}) {
    for (const bool prefixes : {true, false}) EXPECT_EQ(answers(pages, prefixes), roomy) << pages << prefixes;
  }
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
  EXPECT_EQ(engine.stats().num_prompt_tokens, 3);  // and not every beam's at every step
}

TEST_F(EngineTest, WhatTheModelOrTheMachineHasNotIsRefusedAtStart) {
  const auto message = [&](const EngineOptions& options, ErrorKind kind) {
    try {
      const Engine engine(*runtime_, *model_, nullptr, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      return error.message();
    }
    return std::string("nothing was refused");
  };
  EngineOptions options;
  options.max_model_len = model_->max_positions() + 1;
  EXPECT_FALSE(model_->positions_are_learned());
  EXPECT_EQ(message(options, ErrorKind::kInvalidInput),
            "[engine] --max-model-len: got 129, need 1 to 128 (the model's context)");
  options = {};
  options.kv_cache_bytes = int64_t{1} << 60;
  const std::string text = message(options, ErrorKind::kOutOfMemory);
  EXPECT_EQ(text.rfind("[engine] --kv-cache-memory: got 1152921504606846976 bytes, need at most ", 0), 0u) << text;
  options = {};
  options.memory_utilization = 1e-4;
  const Engine small(*runtime_, *model_, nullptr, options);
  EXPECT_LE(small.cache().num_pages() * small.cache().page_bytes(), detect_cpu().memory_bytes / 10000);
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
