// Sampling parameters: ranges, contradictions, and defaults from generation_config.json.
#include "generate/params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"

namespace pagoda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The error of validating the defaults after `change`, or "".
std::string refusal(const std::function<void(SamplingParams&)>& change, int64_t vocab_size = 100) {
  SamplingParams params;
  change(params);
  try {
    validate(params, vocab_size);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
    return error.message();
  }
  return "";
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(SamplingParams, DefaultsAreGreedyAndValid) {
  const SamplingParams params;
  validate(params, 1);
  EXPECT_FALSE(params.do_sample());
  EXPECT_EQ(params.max_new_tokens, 256);
  EXPECT_FALSE(params.seed.has_value());
}

TEST(SamplingParams, NumbersHaveRanges) {
  struct Range {
    const char* name;
    double SamplingParams::* field;
    std::vector<double> good;
    std::vector<double> bad;
  };
  const std::vector<Range> ranges = {
      {"temperature", &SamplingParams::temperature, {0, 1e-9, 0.7, 100}, {-0.1}},
      {"top_p", &SamplingParams::top_p, {0, 0.5, 1}, {-0.1, 1.1}},
      {"min_p", &SamplingParams::min_p, {0, 1}, {-0.1, 1.1}},
      {"typical_p", &SamplingParams::typical_p, {0.1, 1}, {0, 1.1}},
      {"epsilon_cutoff", &SamplingParams::epsilon_cutoff, {0, 0.5}, {-1, 1}},
      {"eta_cutoff", &SamplingParams::eta_cutoff, {0, 0.5}, {-1, 1}},
      {"repetition_penalty", &SamplingParams::repetition_penalty, {0.1, 3}, {0, -1}},
      {"presence_penalty", &SamplingParams::presence_penalty, {-2, 2}, {-2.1, 2.1}},
      {"frequency_penalty", &SamplingParams::frequency_penalty, {-2, 2}, {-2.1, 2.1}},
      {"length_penalty", &SamplingParams::length_penalty, {-3, 0, 9}, {}},
  };
  for (const Range& range : ranges) {
    for (const double value : range.good) {
      EXPECT_EQ(refusal([&](SamplingParams& p) { p.*range.field = value; }), "") << range.name << " " << value;
    }
    std::vector<double> bad = range.bad;
    bad.insert(bad.end(), {kNan, kInf, -kInf});
    for (const double value : bad) {
      const std::string message = refusal([&](SamplingParams& p) { p.*range.field = value; });
      EXPECT_THAT(message, HasSubstr(std::string("[sampling] ") + range.name + " is out of range: got ")) << value;
      EXPECT_THAT(message, HasSubstr(", need "));
    }
  }
}

TEST(SamplingParams, CountsHaveRanges) {
  EXPECT_THAT(refusal([](SamplingParams& p) { p.max_new_tokens = 0; }), HasSubstr("max_new_tokens"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.min_new_tokens = -1; }), HasSubstr("min_new_tokens"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.top_k = -2; }), HasSubstr("top_k"));
  EXPECT_EQ(refusal([](SamplingParams& p) { p.top_k = -1; }), "");
  EXPECT_THAT(refusal([](SamplingParams& p) { p.no_repeat_ngram_size = -1; }), HasSubstr("no_repeat_ngram_size"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.num_beams = 0; }), HasSubstr("num_beams"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.num_return_sequences = 0; }), HasSubstr("num_return_sequences"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.num_beams = int64_t{1} << 40; }), HasSubstr("num_beams"));
  EXPECT_THAT(refusal([](SamplingParams&) {}, 0), HasSubstr("vocabulary is empty"));
}

TEST(SamplingParams, ContradictionsAreNamed) {
  EXPECT_THAT(refusal([](SamplingParams& p) { p.num_return_sequences = 2; }),
              HasSubstr("num_return_sequences needs sampling or beams: got 2"));
  EXPECT_EQ(refusal([](SamplingParams& p) { p.num_return_sequences = 2, p.temperature = 1; }), "");
  EXPECT_EQ(refusal([](SamplingParams& p) { p.num_return_sequences = 2, p.num_beams = 2; }), "");
  EXPECT_THAT(refusal([](SamplingParams& p) { p.num_return_sequences = 3, p.num_beams = 2; }),
              HasSubstr("num_return_sequences is above num_beams: got 3, need 2 at most"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.forced_bos_token_id = 4, p.suppress_tokens = {4}; }), HasSubstr("forced_bos"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.forced_eos_token_ids = {4, 5}, p.suppress_tokens = {5, 4}; }),
              HasSubstr("forced_eos"));
  EXPECT_EQ(refusal([](SamplingParams& p) { p.forced_eos_token_ids = {4, 5}, p.suppress_tokens = {5}; }), "");
}

TEST(SamplingParams, IdsLieInTheVocabulary) {
  EXPECT_THAT(refusal([](SamplingParams& p) { p.bad_words_ids = {{1}, {2, 100}}; }), HasSubstr("bad_words_ids holds an id"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.bad_words_ids = {{}}; }), HasSubstr("bad_words_ids holds an empty list"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.logit_bias = {{-1, 2.0}}; }), HasSubstr("got -1, need 0 to 99"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.logit_bias = {{1, kNan}}; }), HasSubstr("logit_bias"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.logit_bias = {{1, kInf}}; }), HasSubstr("logit_bias"));
  EXPECT_EQ(refusal([](SamplingParams& p) { p.logit_bias = {{1, -kInf}}; }), "");
  EXPECT_THAT(refusal([](SamplingParams& p) { p.sequence_bias = {{{3, 100}, 1.0}}; }), HasSubstr("sequence_bias"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.stop_token_ids = {100}; }), HasSubstr("stop_token_ids"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.forced_bos_token_id = 100; }), HasSubstr("forced_bos_token_id"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.forced_eos_token_ids = {100}; }), HasSubstr("forced_eos_token_id"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.stop_strings = {"a", ""}; }), HasSubstr("stop_strings"));
  EXPECT_THAT(refusal([](SamplingParams& p) { p.stop_strings = {"a\xff"}; }), HasSubstr("not UTF-8: got a bad byte at 1"));
  EXPECT_EQ(refusal([](SamplingParams& p) { p.eos_token_ids = {100}, p.suppress_tokens = {-1, 100}; }), "");
}

TEST(SamplingParams, EndTokens) {
  SamplingParams params;
  params.eos_token_ids = {2, 5, 2};
  params.stop_token_ids = {7, 5};
  EXPECT_THAT(params.end_token_ids(), ElementsAre(2, 5, 7));
  params.ignore_eos = true;
  EXPECT_THAT(params.end_token_ids(), ElementsAre(7, 5));
}

SamplingParams from(const char* text) { return from_generation_config(Json::parse(text, "test"), "generation_config.json"); }

// As transformers 5.24 (GenerationMixin._prepare_generated_length): the prompt counts, and the counts of new tokens win.
TEST(GenerationConfig, LengthsWithThePrompt) {
  SamplingParams params = from(R"({"max_length": 20, "min_length": 12})");
  settle_lengths(params, 8);
  EXPECT_EQ(params.max_new_tokens, 12);
  EXPECT_EQ(params.min_new_tokens, 4);
  params = from(R"({"max_length": 20, "max_new_tokens": 5, "min_length": 12, "min_new_tokens": 2})");
  settle_lengths(params, 8);
  EXPECT_EQ(params.max_new_tokens, 5);
  EXPECT_EQ(params.min_new_tokens, 2);
  params = from(R"({"max_length": 8, "min_length": 3})");
  EXPECT_THROW(settle_lengths(params, 8), Error);
  params = from(R"({"min_length": 3})");
  settle_lengths(params, 8);
  EXPECT_EQ(params.min_new_tokens, 0);
  EXPECT_EQ(params.max_new_tokens, SamplingParams().max_new_tokens);
  EXPECT_THAT(refusal([](SamplingParams& p) { p.max_length = -1; }), HasSubstr("max_length"));
}

TEST(GenerationConfig, KeysWithoutEffectAreNamed) {
  const auto keys = [](const char* text) { return keys_without_effect(Json::parse(text, "test")); };
  EXPECT_THAT(keys(R"({"guidance_scale": 1.5, "exponential_decay_length_penalty": [5, 1.1], "top_k": 5})"),
              ElementsAre("exponential_decay_length_penalty", "guidance_scale"));
  EXPECT_THAT(
      keys(R"({"guidance_scale": 1, "exponential_decay_length_penalty": null, "num_beam_groups": 1, "diversity_penalty": 0})"),
      IsEmpty());
}

TEST(GenerationConfig, SamplingOrGreedy) {
  EXPECT_EQ(from("{}").temperature, 0.0);
  EXPECT_EQ(from(R"({"do_sample": false, "temperature": 0.6})").temperature, 0.0);
  EXPECT_EQ(from(R"({"do_sample": true, "temperature": 0.6})").temperature, 0.6);
  EXPECT_EQ(from(R"({"do_sample": true})").temperature, 1.0);
  EXPECT_EQ(from(R"({"do_sample": true})").top_k, 0);
  EXPECT_EQ(from(R"({"do_sample": null, "temperature": null})").temperature, 0.0);
  EXPECT_EQ(from(R"({"temperature": 0.6})").temperature, 0.6);
}

TEST(GenerationConfig, ReadsHfNames) {
  const SamplingParams params = from(R"({
    "_from_model_config": true, "transformers_version": "5.24.0", "use_cache": true, "watermarking_config": {"a": [1]},
    "bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": null, "do_sample": true, "temperature": 0.7, "top_k": 40,
    "top_p": 0.9, "min_p": 0.05, "typical_p": 0.8, "repetition_penalty": 1.1, "max_new_tokens": 64, "min_new_tokens": 2,
    "no_repeat_ngram_size": 3, "num_beams": 4, "length_penalty": 2, "early_stopping": "never", "num_return_sequences": 2,
    "bad_words_ids": [[5], [6, 7]], "sequence_bias": [[[8, 9], -1.5]], "suppress_tokens": [10], "begin_suppress_tokens": [11],
    "forced_bos_token_id": 12, "forced_eos_token_id": 13, "stop_strings": "END", "epsilon_cutoff": 0.1, "eta_cutoff": 0.2})");
  EXPECT_EQ(params.bos_token_id, 1);
  EXPECT_THAT(params.eos_token_ids, ElementsAre(2, 3));
  EXPECT_EQ(params.temperature, 0.7);
  EXPECT_EQ(params.top_k, 40);
  EXPECT_EQ(params.top_p, 0.9);
  EXPECT_EQ(params.min_p, 0.05);
  EXPECT_EQ(params.typical_p, 0.8);
  EXPECT_EQ(params.epsilon_cutoff, 0.1);
  EXPECT_EQ(params.eta_cutoff, 0.2);
  EXPECT_EQ(params.repetition_penalty, 1.1);
  EXPECT_EQ(params.max_new_tokens, 64);
  EXPECT_EQ(params.min_new_tokens, 2);
  EXPECT_EQ(params.no_repeat_ngram_size, 3);
  EXPECT_EQ(params.num_beams, 4);
  EXPECT_EQ(params.length_penalty, 2.0);
  EXPECT_EQ(params.early_stopping, EarlyStopping::kNever);
  EXPECT_EQ(params.num_return_sequences, 2);
  EXPECT_THAT(params.bad_words_ids, ElementsAre(ElementsAre(5), ElementsAre(6, 7)));
  ASSERT_EQ(params.sequence_bias.size(), 1U);
  EXPECT_THAT(params.sequence_bias[0].ids, ElementsAre(8, 9));
  EXPECT_EQ(params.sequence_bias[0].bias, -1.5);
  EXPECT_THAT(params.suppress_tokens, ElementsAre(10));
  EXPECT_THAT(params.begin_suppress_tokens, ElementsAre(11));
  EXPECT_EQ(params.forced_bos_token_id, 12);
  EXPECT_THAT(params.forced_eos_token_ids, ElementsAre(13));
  EXPECT_THAT(params.stop_strings, ElementsAre("END"));
  validate(params, 100);
}

TEST(GenerationConfig, OneEndOrNone) {
  EXPECT_THAT(from(R"({"eos_token_id": 7})").eos_token_ids, ElementsAre(7));
  EXPECT_THAT(from(R"({"eos_token_id": null})").eos_token_ids, IsEmpty());
  EXPECT_EQ(from(R"({"early_stopping": true})").early_stopping, EarlyStopping::kTrue);
  EXPECT_THAT(from(R"({"stop_strings": ["a", "b"]})").stop_strings, ElementsAre("a", "b"));
}

TEST(GenerationConfig, WrongTypesNameTheField) {
  for (const char* text : {R"({"temperature": "hot", "do_sample": true})", R"({"eos_token_id": "2"})",
                           R"({"eos_token_id": 1e12})", R"({"top_k": 1.5})", R"({"bad_words_ids": [5]})",
                           R"({"sequence_bias": [[[1]]]})", R"({"early_stopping": "maybe"})", R"({"do_sample": 1})", R"([])"}) {
    EXPECT_THROW(from(text), Error) << text;
  }
  try {
    from(R"({"max_new_tokens": "many"})");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("generation_config.json: max_new_tokens"));
  }
}

}  // namespace
}  // namespace pagoda
