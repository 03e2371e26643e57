// A job whose answer cannot be written: its client is told, and the engine goes on.
#include "server/generation_job.h"

#include <new>

#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

// No memory for anything but the first chunk.
class NoMemory : public AnswerFormat {
 public:
  std::string whole(const GenerationJob&, const std::vector<std::vector<size_t>>&) override { throw std::bad_alloc(); }
  void begin(const GenerationJob&, size_t, size_t, std::vector<Json>& chunks) override { chunks.emplace_back("begun"); }
  void delta(const GenerationJob& job, size_t prompt, size_t index, const Event&, std::vector<Json>& chunks) override {
    const Answer& answer = job.prompts()[prompt].answers[index];
    if (answer.token_ids.size() > 1) throw std::bad_alloc();
    chunks.emplace_back("token");
  }
  Json usage_chunk(const GenerationJob&) override { return {}; }
};

class GenerationJobTest : public AppTest {
 protected:
  std::shared_ptr<Told> run(bool stream) {
    GenerationRequest request;
    request.params.max_new_tokens = 5;
    request.params.ignore_eos = true;
    request.stream = stream;
    std::vector<PromptState> prompts(2);
    prompts[0].ids = {1, 7};
    prompts[1].ids = {1, 8, 9};
    const auto told = std::make_shared<Told>();
    const auto job = std::make_shared<GenerationJob>(*engine_, metrics_, memory_, std::move(request), std::move(prompts),
                                                     std::make_unique<NoMemory>(), told);
    job->start(generation_->engine().max_model_len());
    told->wait();
    engine_->drain();
    return told;
  }
  Metrics metrics_{"words"};
  MemoryLedger memory_ = MemoryLedger::unbounded();
};

TEST_F(GenerationJobTest, AnAnswerThatCannotBeWrittenIsAnError) {
  const auto whole = run(false);
  EXPECT_EQ(whole->status, http_status(ErrorKind::kOutOfMemory));
  EXPECT_TRUE(whole->json().contains("error"));
  const auto stream = run(true);
  EXPECT_EQ(stream->status, 200);
  const std::vector<Json> chunks = stream->chunks();
  ASSERT_GE(chunks.size(), 3u);
  EXPECT_EQ(chunks[1], Json("token"));
  EXPECT_TRUE(chunks.back().contains("error"));
  EXPECT_EQ(choice(complete(R"("prompt": "w7", "max_tokens": 2, "ignore_eos": true)")).at("finish_reason", "c"),
            Json("length"));
  EXPECT_EQ(generation_->engine().pool().num_free(), generation_->engine().pool().num_blocks());
}

// Remembers nothing: what counts is what the job keeps.
class Silent : public NoMemory {
 public:
  std::string whole(const GenerationJob& job, const std::vector<std::vector<size_t>>&) override {
    return std::to_string(job.prompts()[0].answers[0].logprobs.size());
  }
  void delta(const GenerationJob& job, size_t, size_t, const Event&, std::vector<Json>&) override {
    kept = std::max(kept, job.prompts()[0].answers[0].logprobs.size());
  }
  size_t kept = 0;
};

// Where nothing bounds an answer ahead, it is bounded as it comes; a stream's log-probabilities go with their chunks.
TEST_F(GenerationJobTest, LogprobsAreBoundedByWhatComes) {
  const auto ask = [&](bool given, bool stream, int64_t most, size_t* kept = nullptr) {
    GenerationRequest request;
    request.params.max_new_tokens = 5;
    request.params.ignore_eos = true;
    request.max_tokens_given = given;
    request.stream = stream;
    request.logprobs = 2;
    request.most_logprobs = most;
    std::vector<PromptState> prompts(1);
    prompts[0].ids = {1, 7};
    auto format = std::make_unique<Silent>();
    Silent* seen = format.get();
    const auto told = std::make_shared<Told>();
    const auto job = std::make_shared<GenerationJob>(*engine_, metrics_, memory_, std::move(request), std::move(prompts),
                                                     std::move(format), told);
    job->start(generation_->engine().max_model_len());
    told->wait();
    engine_->drain();
    if (kept != nullptr) *kept = seen->kept;
    return told;
  };
  EXPECT_EQ(ask(false, false, 15)->body, "5");  // a token's own, and two more
  const auto beyond = ask(false, false, 14);
  EXPECT_EQ(beyond->status, 400);
  EXPECT_NE(beyond->body.find("[logprobs] the answer has become too large: got 15"), std::string::npos) << beyond->body;
  EXPECT_THROW(ask(true, false, 14), Error);
  size_t kept = 99;
  EXPECT_EQ(ask(true, true, 14, &kept)->status, 200);
  EXPECT_EQ(kept, 0u);
  EXPECT_EQ(generation_->engine().pool().num_free(), generation_->engine().pool().num_blocks());
}

// What ends of itself is not refused for what it could become, which is three for each of a hundred tokens.
TEST_F(GenerationJobTest, AnswersWithoutMaxTokensAreNotRefusedAhead) {
  GenerationRequest request;
  request.params.max_new_tokens = 100;
  request.params.eos_token_ids = {};
  request.params.stop_token_ids.clear();
  for (int32_t id = 0; id < 99; ++id) request.params.stop_token_ids.push_back(id);
  request.logprobs = 2;
  request.most_logprobs = 10;
  std::vector<PromptState> prompts(1);
  prompts[0].ids = {1, 7};
  const auto told = std::make_shared<Told>();
  const auto job = std::make_shared<GenerationJob>(*engine_, metrics_, memory_, std::move(request), std::move(prompts),
                                                   std::make_unique<Silent>(), told);
  job->start(generation_->engine().max_model_len());
  told->wait();
  EXPECT_EQ(told->status, 200) << told->body;
  engine_->drain();
}

// No memory for its head: all is submitted by then.
class NoHead : public Told {
 public:
  void begin(int, std::string_view, const Headers&) override { throw std::bad_alloc(); }
};

TEST_F(GenerationJobTest, AJobThatCannotBeginLeavesNothingBehind) {
  GenerationRequest request;
  request.params.max_new_tokens = 100;
  request.params.ignore_eos = true;
  request.stream = true;
  std::vector<PromptState> prompts(3);
  for (PromptState& prompt : prompts) prompt.ids = {1, 7};
  const auto told = std::make_shared<NoHead>();
  {
    const auto job = std::make_shared<GenerationJob>(*engine_, metrics_, memory_, std::move(request), std::move(prompts),
                                                     std::make_unique<NoMemory>(), told);
    EXPECT_THROW(job->start(generation_->engine().max_model_len()), std::bad_alloc);
  }
  engine_->drain();
  EXPECT_FALSE(told->done);  // whoever told its client of the error is not answered beside
  EXPECT_EQ(told->body, "");
  EXPECT_EQ(generation_->engine().pool().num_free(), generation_->engine().pool().num_blocks());
}

}  // namespace
}  // namespace pagoda::server
