// Options of models and engines: each does what it says, wrong ones are told by kind.
#include <gtest/gtest.h>
#include <pagoda/pagoda.h>
#include <sched.h>

#include <memory>

#include "tests/api/expect_error.h"
#include "tests/api/models.h"

namespace pagoda {
namespace {

using testing::expect_error;

constexpr int64_t kMemory = 64 << 20;

std::string greedy(const LanguageModel& model, int64_t tokens = 12) {
  return model.generate("once upon a time", {.max_new_tokens = tokens, .temperature = 0}).text();
}
std::string story(const ModelOptions& options, EngineOptions engine = {}) {
  if (engine.kv_cache_memory == 0) engine.kv_cache_memory = kMemory;
  return greedy(LanguageModel::open(testing::kStories, options, engine));
}

TEST(Options, ThreadsAndInstructionSetsAreTheCallers) {
  const std::string text = story({.threads = 1});
  EXPECT_EQ(story({.threads = 2}), text);  // the same bits
  EXPECT_EQ(story({.threads = 1, .cores = "0"}), text);
  EXPECT_EQ(story({.threads = 1, .cores = "auto"}), text);
  EXPECT_FALSE(story({.threads = 1, .isa = "portable"}).empty());
  EXPECT_FALSE(story({.dtype = "float32", .threads = 1}).empty());
  EXPECT_EQ(story({.threads = 1, .compiled = "none"}), text);
}

// A library that pins the thread it is called from pins all that its program starts from there.
TEST(Options, CallersThreadsKeepTheirCores) {
  cpu_set_t before, after;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  for (const char* cores : {"0", "auto"}) {
    const ModelOptions options{.threads = 1, .cores = cores};
    const LanguageModel model = LanguageModel::open(testing::kLlama, options, {.kv_cache_memory = kMemory});
    EXPECT_EQ(model.generate(std::vector<int32_t>{1}, {.max_new_tokens = 2}).outputs[0].token_ids.size(), 2U);
    const EmbeddingModel embeddings = EmbeddingModel::open(testing::kBert, options);
    EXPECT_EQ(embeddings.encode({"Paris"}).size(), 1U);
    const Pipeline pipeline = Pipeline::open("fill-mask", testing::kMaskedLm, options);
    EXPECT_FALSE(pipeline.run("\"a [MASK]\"").empty());
    ASSERT_EQ(::sched_getaffinity(0, sizeof after, &after), 0);
    EXPECT_TRUE(CPU_EQUAL(&before, &after)) << cores;
  }
}

TEST(Options, WrongOnesAreToldBeforeAModelIsLoaded) {
  const auto refused = [](const ModelOptions& options, const EngineOptions& engine, const std::string& part) {
    expect_error(ErrorKind::kInvalidInput, part, [&] { LanguageModel::open(testing::kStories, options, engine); });
  };
  refused({.dtype = "float7"}, {}, "dtype");
  refused({.threads = -1}, {}, "threads");
  refused({.threads = 1 << 30}, {}, "threads");
  refused({.cores = "x"}, {}, "cores");
  refused({.isa = "sse9"}, {}, "isa");
  refused({}, {.max_model_len = -1}, "max_model_len");
  refused({}, {.kv_cache_memory = -1}, "kv_cache_memory");
  refused({}, {.kv_cache_dtype = "int3"}, "kv_cache_dtype");
  refused({}, {.max_num_seqs = 0}, "max_num_seqs");
  refused({}, {.max_num_seqs = 8, .max_num_batched_tokens = 4}, "max_num_batched_tokens");
  refused({}, {.tool_call_parser = "none"}, "tool");
  refused({}, {.reasoning_parser = "none"}, "reasoning");
}

TEST(Options, ErrorsSayWhatKindTheyAre) {
  expect_error(ErrorKind::kNotFound, "/nowhere", [] { LanguageModel::open("/nowhere/at/all"); });
  expect_error(ErrorKind::kUnsupported, "encoder", [] { LanguageModel::open(testing::kBert); });
  expect_error(ErrorKind::kUnsupported, "generates text", [] { EmbeddingModel::open(testing::kStories); });
  expect_error(ErrorKind::kOutOfMemory, "",
               [] { LanguageModel::open(testing::kStories, {.threads = 1}, {.kv_cache_memory = int64_t{1} << 50}); });
  expect_error(ErrorKind::kInvalidInput, "config.json",
               [] { LanguageModel::open(testing::with_file(testing::kLlama, "config.json", "{"), {.threads = 1}); });
  expect_error(ErrorKind::kNotFound, "", [] { Tokenizer::open("/nowhere/at/all"); });
  const char* const names[] = {"invalid_input", "not_found", "unsupported", "out_of_memory", "device", "internal"};
  for (int kind = 0; kind < 6; ++kind) EXPECT_STREQ(error_kind_name(static_cast<ErrorKind>(kind)), names[kind]);
}

TEST(Options, EngineKeepsToItsBounds) {
  const LanguageModel model = LanguageModel::open(testing::kStories, {.threads = 1},
                                                  {.max_model_len = 40,
                                                   .kv_cache_memory = kMemory,
                                                   .kv_cache_dtype = "int8",
                                                   .max_num_seqs = 1,
                                                   .max_num_batched_tokens = 16,
                                                   .enable_prefix_caching = false});
  EXPECT_EQ(model.max_model_len(), 40);
  const RequestOutput output = model.generate("a dog", {.max_new_tokens = 100, .temperature = 0, .ignore_eos = true});
  EXPECT_EQ(output.usage.prompt_tokens + output.usage.completion_tokens, 40);
  EXPECT_EQ(output.outputs[0].finish_reason, FinishReason::kLength);
  // One after the other, where one alone may run.
  EXPECT_EQ(model.generate_batch({"a dog", "a cat"}, {.max_new_tokens = 4}).size(), 2U);
  expect_error(ErrorKind::kInvalidInput, "max_num_seqs", [&] { model.generate("a dog", {.num_beams = 2}); });
}

TEST(Options, PrefixesAreCachedUnlessRefused) {
  const std::string prompt = "once upon a time there was a little girl who had a red ball and a dog that she loved very much";
  for (const bool caching : {true, false}) {
    const LanguageModel model =
        LanguageModel::open(testing::kStories, {.threads = 1}, {.kv_cache_memory = kMemory, .enable_prefix_caching = caching});
    EXPECT_EQ(model.generate(prompt, {.max_new_tokens = 2}).usage.cached_tokens, 0);
    EXPECT_EQ(model.generate(prompt, {.max_new_tokens = 2}).usage.cached_tokens > 0, caching);
  }
}

TEST(Options, AnotherTokenizerStandsIn) {
  const LanguageModel model =
      LanguageModel::open(testing::kLlama, {.threads = 1, .tokenizer = testing::word_model()}, {.kv_cache_memory = kMemory});
  EXPECT_EQ(model.tokenizer().encode("w7 w8"), (std::vector<int32_t>{1, 7, 8}));
  EXPECT_FALSE(model.generate("w7", {.max_new_tokens = 3, .ignore_eos = true}).text().empty());
}

TEST(Options, NoticesAreTold) {
  std::string told;
  const std::string folder =
      testing::with_file(testing::kLlama, "generation_config.json", R"({"eos_token_id": 2, "penalty_alpha": 0.6, "top_k": 4})");
  LanguageModel::open(folder, {.threads = 1, .notice = [&](const std::string& text) { told += text + "\n"; }},
                      {.kv_cache_memory = kMemory});
  EXPECT_NE(told.find("penalty_alpha"), std::string::npos) << told;
}

TEST(Tokenizer, IsTheModelsOwn) {
  const Tokenizer tokenizer = Tokenizer::open(testing::word_model());
  EXPECT_EQ(tokenizer.encode("w7 w98"), (std::vector<int32_t>{1, 7, 98}));
  EXPECT_EQ(tokenizer.encode("w7 w98", false), (std::vector<int32_t>{7, 98}));
  EXPECT_EQ(tokenizer.decode({1, 7, 98}), "<s> w7 w98");
  EXPECT_EQ(tokenizer.decode({1, 7, 98}, true), "w7 w98");
  EXPECT_EQ(tokenizer.vocab_size(), 99);
  EXPECT_EQ(tokenizer.token_to_id("w7"), 7);
  EXPECT_EQ(tokenizer.token_to_id("w700"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(7), "w7");
  EXPECT_EQ(tokenizer.id_to_token(700), "");
  auto original = std::make_unique<Tokenizer>(tokenizer);
  const Tokenizer copy = *original;
  original.reset();
  EXPECT_EQ(copy.encode("w7"), tokenizer.encode("w7"));
  expect_error(ErrorKind::kInvalidInput, "UTF-8", [&] { tokenizer.encode("\xff"); });
}

TEST(Version, IsNamed) { EXPECT_EQ(std::string(version()).find('.'), 1U); }

}  // namespace
}  // namespace pagoda
