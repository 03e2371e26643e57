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
    const auto job = std::make_shared<GenerationJob>(*app_->engine(), metrics_, std::move(request), std::move(prompts),
                                                     std::make_unique<NoMemory>(), told);
    job->start(generation_->engine().max_model_len());
    told->wait();
    app_->engine()->drain();
    return told;
  }
  Metrics metrics_{"words"};
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
    const auto job = std::make_shared<GenerationJob>(*app_->engine(), metrics_, std::move(request), std::move(prompts),
                                                     std::make_unique<NoMemory>(), told);
    EXPECT_THROW(job->start(generation_->engine().max_model_len()), std::bad_alloc);
  }
  app_->engine()->drain();
  EXPECT_FALSE(told->done);  // whoever told its client of the error is not answered beside
  EXPECT_EQ(told->body, "");
  EXPECT_EQ(generation_->engine().pool().num_free(), generation_->engine().pool().num_blocks());
}

}  // namespace
}  // namespace pagoda::server
