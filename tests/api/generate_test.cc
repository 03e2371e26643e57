// LanguageModel: what it generates, for whom, and when it ends.
#include <gtest/gtest.h>
#include <pagoda/pagoda.h>

#include <algorithm>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <utility>

#include "tests/api/expect_error.h"
#include "tests/api/models.h"

namespace pagoda {
namespace {

using testing::expect_error;

const LanguageModel& stories() {
  static const LanguageModel kModel = LanguageModel::open(testing::kStories, {.threads = 1}, {.kv_cache_memory = 64 << 20});
  return kModel;
}

constexpr const char* kPrompt = "once upon a time";

TEST(Generate, GivesWhatTheEngineGives) {
  const testing::Generated expected = testing::engine_generates(testing::kStories, kPrompt, 40, 0.8, 7);
  const RequestOutput output = stories().generate(kPrompt, {.max_new_tokens = 40, .temperature = 0.8, .seed = 7});
  ASSERT_EQ(output.outputs.size(), 1U);
  EXPECT_EQ(output.prompt_token_ids, expected.prompt_ids);
  EXPECT_EQ(output.outputs[0].token_ids, expected.token_ids);
  EXPECT_EQ(output.text(), expected.text);
  EXPECT_EQ(finish_reason_name(output.outputs[0].finish_reason), expected.finish);
  EXPECT_EQ(output.usage.prompt_tokens, static_cast<int64_t>(expected.prompt_ids.size()));
  EXPECT_EQ(output.usage.completion_tokens, static_cast<int64_t>(expected.token_ids.size()));
  EXPECT_EQ(stories().tokenizer().decode(output.outputs[0].token_ids, true), output.text());
  // Ids are the same prompt.
  EXPECT_EQ(stories().generate(expected.prompt_ids, {.max_new_tokens = 40, .temperature = 0.8, .seed = 7}).text(),
            expected.text);
}

// Of an output that nobody keeps, the text is the caller's own.
static_assert(std::is_same_v<decltype(std::declval<RequestOutput>().text()), std::string>);
static_assert(std::is_same_v<decltype(std::declval<const RequestOutput&>().text()), const std::string&>);

TEST(Generate, BeginsWithTheModelsOwnDefaults) {
  // generation_config.json: temperature 0.7, top_p 0.9, 300 tokens.
  const RequestOutput output = stories().generate(kPrompt, {.seed = 3});
  EXPECT_EQ(output.text(),
            stories().generate(kPrompt, {.max_new_tokens = 300, .temperature = 0.7, .top_p = 0.9, .seed = 3}).text());
  EXPECT_NE(output.text(), stories().generate(kPrompt, {.max_new_tokens = 40, .temperature = 0}).text());
}

// As transformers has it: do_sample draws, not a temperature.
TEST(Generate, ATemperatureInTheFileDrawsWithDoSampleAlone) {
  const std::string greedy = stories().generate(kPrompt, {.max_new_tokens = 40, .temperature = 0}).text();
  const auto text = [](const char* config) {
    const std::string folder = testing::with_file(testing::kStories, "generation_config.json", config);
    const LanguageModel model = LanguageModel::open(folder, {.threads = 1}, {.kv_cache_memory = 64 << 20});
    return model.generate(kPrompt, {.max_new_tokens = 40, .seed = 3}).text();
  };
  EXPECT_EQ(text(R"({"temperature": 1.5})"), greedy);
  EXPECT_NE(text(R"({"temperature": 1.5, "do_sample": true})"), greedy);
}

TEST(Generate, StreamsTheWholePieceByPiece) {
  CompletionOutput joined;
  int chunks = 0;
  const SamplingParams params{.max_new_tokens = 30, .temperature = 0, .logprobs = 1};
  const RequestOutput output = stories().generate(kPrompt, params, [&](const CompletionChunk& chunk) {
    EXPECT_EQ(chunk.index, 0);
    EXPECT_TRUE(testing::is_utf8(chunk.text));
    joined.text += chunk.text;
    joined.token_ids.insert(joined.token_ids.end(), chunk.token_ids.begin(), chunk.token_ids.end());
    joined.logprobs.insert(joined.logprobs.end(), chunk.logprobs.begin(), chunk.logprobs.end());
    ++chunks;
    return true;
  });
  EXPECT_EQ(joined.text, output.text());
  EXPECT_EQ(joined.token_ids, output.outputs[0].token_ids);
  EXPECT_EQ(joined.logprobs.size(), output.outputs[0].logprobs.size());
  EXPECT_EQ(chunks, 30);
}

TEST(Generate, ManyThreadsGetWhatEachGetsAlone) {
  const auto params = [](uint64_t seed) {
    return SamplingParams{.max_new_tokens = 24, .temperature = 0.9, .seed = seed, .logprobs = 0};
  };
  std::vector<std::string> prompts;
  std::vector<RequestOutput> alone, together(8);
  for (uint64_t i = 0; i < 8; ++i) {
    prompts.push_back(std::string(kPrompt) + std::string(i, 'a'));
    alone.push_back(stories().generate(prompts[i], params(i)));
  }
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] { together[i] = stories().generate(prompts[i], params(i)); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(together[i].text(), alone[i].text());
    ASSERT_EQ(together[i].outputs[0].logprobs.size(), alone[i].outputs[0].logprobs.size());
    for (size_t t = 0; t < alone[i].outputs[0].logprobs.size(); ++t) {
      EXPECT_EQ(together[i].outputs[0].logprobs[t].logprob, alone[i].outputs[0].logprobs[t].logprob);
    }
  }
}

TEST(Generate, BatchKeepsTheOrderAndTheBits) {
  const SamplingParams params{.max_new_tokens = 16, .temperature = 0.9, .seed = 5};
  const std::vector<Prompt> prompts = {"a dog", std::vector<int32_t>{300, 301, 302}, "the moon", "a dog"};
  const std::vector<RequestOutput> outputs = stories().generate_batch(prompts, params);
  ASSERT_EQ(outputs.size(), prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(outputs[i].text(), stories().generate(prompts[i], params).text()) << i;
  }
  EXPECT_TRUE(stories().generate_batch({}, params).empty());
}

TEST(Generate, CallbackThatReturnsFalseEndsIt) {
  int chunks = 0;
  const RequestOutput output = stories().generate(kPrompt, {.max_new_tokens = 400, .temperature = 0, .ignore_eos = true},
                                                  [&](const CompletionChunk&) { return ++chunks < 5; });
  EXPECT_EQ(chunks, 5);
  EXPECT_EQ(output.outputs[0].finish_reason, FinishReason::kAbort);
  EXPECT_EQ(output.outputs[0].token_ids.size(), 5U);
  EXPECT_EQ(output.text(), stories().generate(kPrompt, {.max_new_tokens = 5, .temperature = 0}).text());
}

TEST(Generate, WhatACallbackThrowsComesOut) {
  EXPECT_THROW(stories().generate(kPrompt, {.max_new_tokens = 400},
                                  [](const CompletionChunk&) -> bool { throw std::domain_error("mine"); }),
               std::domain_error);
  EXPECT_EQ(stories().generate(kPrompt, {.max_new_tokens = 3, .temperature = 0}).outputs[0].token_ids.size(), 3U);
}

TEST(Generate, EndsWhereItIsTold) {
  const SamplingParams plain{.max_new_tokens = 40, .temperature = 0};
  const RequestOutput whole = stories().generate(kPrompt, plain);
  SamplingParams params = plain;
  params.stop = {"zebra", "little girl"};
  const RequestOutput stopped = stories().generate(kPrompt, params);
  EXPECT_EQ(stopped.text(), whole.text().substr(0, whole.text().find("little girl")));
  EXPECT_EQ(stopped.outputs[0].finish_reason, FinishReason::kStop);
  EXPECT_EQ(std::get<std::string>(stopped.outputs[0].stop_reason), "little girl");
  params.include_stop_str_in_output = true;
  EXPECT_EQ(stories().generate(kPrompt, params).text(), stopped.text() + "little girl");

  params = plain;
  params.stop_token_ids = {whole.outputs[0].token_ids[3]};
  const RequestOutput by_id = stories().generate(kPrompt, params);
  EXPECT_EQ(std::get<int32_t>(by_id.outputs[0].stop_reason), whole.outputs[0].token_ids[3]);
  EXPECT_LE(by_id.outputs[0].token_ids.size(), 4U);
  params.min_new_tokens = 10;
  EXPECT_GE(stories().generate(kPrompt, params).outputs[0].token_ids.size(), 10U);

  // The model ends its story long before this.
  const RequestOutput ended = stories().generate("the end.", {.max_new_tokens = 200, .temperature = 0});
  EXPECT_EQ(ended.outputs[0].finish_reason, FinishReason::kStop);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(ended.outputs[0].stop_reason));
  const RequestOutput forced = stories().generate("the end.", {.max_new_tokens = 200, .temperature = 0, .ignore_eos = true});
  EXPECT_EQ(forced.outputs[0].token_ids.size(), 200U);
  EXPECT_EQ(forced.outputs[0].finish_reason, FinishReason::kLength);
}

TEST(Generate, ShowsSpecialTokensWhereAsked) {
  // What ends the answer is a token of it, and of its text where that is asked for.
  SamplingParams params{.max_new_tokens = 200, .temperature = 0, .skip_special_tokens = false};
  const std::string without = stories().generate("the end.", params).text();
  params.include_stop_str_in_output = true;
  const std::string with = stories().generate("the end.", params).text();
  EXPECT_EQ(with.find("<|"), without.size());
  EXPECT_EQ(with.substr(0, without.size()), without);
  EXPECT_EQ(stories().generate("the end.", {.max_new_tokens = 200, .temperature = 0}).text().find("<|"), std::string::npos);
}

TEST(Generate, GivesLogprobs) {
  const RequestOutput output = stories().generate(kPrompt, {.max_new_tokens = 4, .temperature = 0, .logprobs = 3});
  const CompletionOutput& answer = output.outputs[0];
  ASSERT_EQ(answer.logprobs.size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answer.logprobs[i].token_id, answer.token_ids[i]);
    EXPECT_EQ(answer.logprobs[i].rank, 1);  // greedy
    ASSERT_EQ(answer.logprobs[i].top.size(), 3U);
    EXPECT_EQ(answer.logprobs[i].top[0].token_id, answer.token_ids[i]);
    EXPECT_EQ(answer.logprobs[i].top[0].logprob, answer.logprobs[i].logprob);
    EXPECT_LT(answer.logprobs[i].logprob, 0);
  }
  EXPECT_TRUE(output.prompt_logprobs.empty());
  const RequestOutput scored = stories().generate(kPrompt, {.max_new_tokens = 1, .prompt_logprobs = 0});
  ASSERT_EQ(scored.prompt_logprobs.size(), scored.prompt_token_ids.size() - 1);
  EXPECT_EQ(scored.prompt_logprobs[0].token_id, scored.prompt_token_ids[1]);
}

TEST(Generate, GivesSeveralAnswersAndBeams) {
  const RequestOutput several =
      stories().generate(kPrompt, {.max_new_tokens = 12, .temperature = 1, .seed = 1, .num_return_sequences = 3});
  ASSERT_EQ(several.outputs.size(), 3U);
  EXPECT_NE(several.outputs[0].text, several.outputs[1].text);
  EXPECT_EQ(several.usage.completion_tokens, 36);
  const RequestOutput beams = stories().generate(
      kPrompt, {.max_new_tokens = 12, .temperature = 0, .num_return_sequences = 2, .num_beams = 3, .length_penalty = 1});
  ASSERT_EQ(beams.outputs.size(), 2U);
  EXPECT_NE(beams.outputs[0].token_ids, beams.outputs[1].token_ids);
  EXPECT_FALSE(beams.outputs[0].text.empty());
}

TEST(Generate, HoldsAnswersToAForm) {
  const auto answer = [](const StructuredOutputs& form) {
    return stories().generate(kPrompt, {.max_new_tokens = 200, .temperature = 0, .structured_outputs = form}).text();
  };
  const std::string choice = answer({.choice = {"yes", "no"}});
  EXPECT_TRUE(choice == "yes" || choice == "no") << choice;
  const std::string digits = answer({.regex = "[0-9]{4}"});
  EXPECT_EQ(digits.size(), 4U);
  EXPECT_TRUE(std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) << digits;
  EXPECT_EQ(answer({.grammar = "root ::= \"ab\" \"c\""}), "abc");
  EXPECT_TRUE(testing::is_json_object(answer({.json = R"({"const": {"a": 1}})"})));
  EXPECT_EQ(answer({.json_object = true}).front(), '{');
}

TEST(Generate, ReadsUnicode) {
  const std::string prompt = "caf\xc3\xa9 \xe2\x98\x83 \xf0\x9f\x98\x80 \xe4\xb8\xad";
  EXPECT_EQ(stories().tokenizer().decode(stories().tokenizer().encode(prompt)), prompt);
  std::string streamed;
  const SamplingParams params{.max_new_tokens = 60, .temperature = 2, .seed = 11, .ignore_eos = true};
  const RequestOutput output = stories().generate(prompt, params, [&](const CompletionChunk& chunk) {
    EXPECT_TRUE(testing::is_utf8(chunk.text));
    streamed += chunk.text;
    return true;
  });
  EXPECT_EQ(streamed, output.text());
  expect_error(ErrorKind::kInvalidInput, "UTF-8", [] { stories().generate("caf\xe9"); });
}

TEST(Generate, RefusesWhatCannotBe) {
  const auto refused = [](const SamplingParams& params, const std::string& part) {
    expect_error(ErrorKind::kInvalidInput, part, [&] { stories().generate(kPrompt, params); });
  };
  refused({.max_new_tokens = 0}, "max_new_tokens");
  refused({.temperature = -1}, "temperature");
  refused({.top_p = 2}, "top_p");
  refused({.stop = {""}}, "stop");
  refused({.logprobs = -1}, "logprobs");
  refused({.prompt_logprobs = -1}, "prompt_logprobs");
  refused({.num_return_sequences = 1000}, "max_num_seqs");
  refused({.num_return_sequences = int64_t{1} << 60}, "num_return_sequences");
  refused({.structured_outputs = StructuredOutputs{}}, "structured_outputs");
  refused({.structured_outputs = StructuredOutputs{.json_object = true, .regex = "a"}}, "structured_outputs");
  refused({.structured_outputs = StructuredOutputs{.regex = "("}}, "");
  refused({.structured_outputs = StructuredOutputs{.json = "{"}}, "");
  expect_error(ErrorKind::kInvalidInput, "vocabulary", [] { stories().generate(std::vector<int32_t>{1 << 20}); });
  expect_error(ErrorKind::kInvalidInput, "empty", [] { stories().generate(std::vector<int32_t>{}); });
  expect_error(ErrorKind::kInvalidInput, "too long", [] { stories().generate(std::vector<int32_t>(10000, 5)); });
  // One that is refused leaves the others of its batch undone, and the model well.
  expect_error(ErrorKind::kInvalidInput, "too long",
               [] { stories().generate_batch({kPrompt, std::vector<int32_t>(10000, 5)}); });
  EXPECT_FALSE(stories().generate(kPrompt, {.max_new_tokens = 3}).text().empty());
}

TEST(Generate, GoesWithoutATokenizer) {
  const LanguageModel model = LanguageModel::open(testing::kLlama, {.threads = 1}, {.kv_cache_memory = 16 << 20});
  const RequestOutput output = model.generate(std::vector<int32_t>{1, 5, 9}, {.max_new_tokens = 4, .temperature = 0});
  EXPECT_EQ(output.outputs[0].token_ids.size(), 4U);
  EXPECT_EQ(output.text(), "");
  expect_error(ErrorKind::kNotFound, "tokenizer", [&] { model.tokenizer(); });
  expect_error(ErrorKind::kNotFound, "tokenizer", [&] { model.generate("text"); });
  expect_error(ErrorKind::kNotFound, "template", [&] { model.chat({{.role = "user", .content = "w7"}}); });
}

TEST(Embed, PoolsTheLastHiddenStates) {
  const std::vector<float> last = stories().embed(kPrompt);
  ASSERT_EQ(last.size(), 256U);
  double length = 0;
  for (const float value : last) length += static_cast<double>(value) * static_cast<double>(value);
  EXPECT_NEAR(length, 1, 1e-5);
  EXPECT_NE(stories().embed(kPrompt, {.pooling_type = PoolingType::kMean}), last);
  EXPECT_NE(stories().embed(kPrompt, {.pooling_type = PoolingType::kCls}), last);
  EXPECT_EQ(stories().embed(kPrompt, {.dimensions = 16}).size(), 16U);
  const std::vector<float> plain = stories().embed(kPrompt, {.normalize = false});
  EXPECT_NE(plain, last);
  EXPECT_EQ(plain.size(), last.size());
  expect_error(ErrorKind::kInvalidInput, "dimensions", [] { stories().embed(kPrompt, {.dimensions = 1000}); });
}

TEST(LanguageModel, Moves) {
  LanguageModel model = LanguageModel::open(testing::kLlama, {.threads = 1}, {.kv_cache_memory = 16 << 20});
  LanguageModel other = std::move(model);
  model = std::move(other);
  EXPECT_EQ(model.generate(std::vector<int32_t>{1}, {.max_new_tokens = 2}).outputs[0].token_ids.size(), 2U);
  EXPECT_GT(model.vocab_size(), 0);
}

}  // namespace
}  // namespace pagoda
