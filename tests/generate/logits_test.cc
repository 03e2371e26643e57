// Logits processors and cuts against transformers' own results, and their properties on large vocabularies.
#include "generate/logits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "generate/sampler.h"
#include "tests/generate/cases.h"

namespace pagoda {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

TEST(LogitsProcessors, EqualTransformers) {
  const Json data = read_cases("processors.json");
  int number = 0;
  for (const Json& c : data.at("cases", "data").as_array("cases")) {
    const std::vector<float> row =
        floats_of(data.at("rows", "data").as_array("rows")[static_cast<size_t>(c.at("row", "case").as_int("row"))]);
    const Json::Array& expected = c.at("scores", "case").as_array("scores");
    const SamplingParams params = params_of(c.at("parameters", "case"));
    const std::string what = "case " + std::to_string(number++) + " row " + c.at("row", "case").dump() + " " +
                             c.at("parameters", "case").dump() + " " + c.at("prompt", "case").dump() +
                             c.at("output", "case").dump();
    validate(params, static_cast<int64_t>(row.size()));
    std::vector<int32_t> ids = ids_of(c.at("prompt", "case"));
    const auto prompt_length = static_cast<int64_t>(ids.size());
    const std::vector<int32_t> output = ids_of(c.at("output", "case"));
    ids.insert(ids.end(), output.begin(), output.end());
    std::vector<float> logits = row;
    LogitsProcessors(params).apply(logits.data(), static_cast<int64_t>(logits.size()), ids, prompt_length);
    ASSERT_EQ(logits.size(), expected.size());
    std::vector<double> scores;
    for (const Json& score : expected) scores.push_back(score.is_null() ? kBanned : score.as_double("score"));
    // Which of equal logits a sorting cut removes is torch's choice, and differs by machine: then only how many counts.
    const bool has_ties = c.at("row", "case").as_int("row") >= 3;
    if (has_ties && (params.top_p < 1 || params.typical_p < 1)) {
      std::sort(scores.begin(), scores.end());
      std::sort(logits.begin(), logits.end());
    }
    for (size_t i = 0; i < logits.size(); ++i) {
      if (std::isinf(scores[i]) || std::isinf(logits[i])) {
        EXPECT_EQ(logits[i], scores[i]) << what << " token " << i;
      } else {
        EXPECT_NEAR(logits[i], scores[i], 1e-6 * std::max(1.0, std::fabs(scores[i]))) << what << " token " << i;
      }
    }
  }
  EXPECT_GT(number, 200);
}

TEST(LogitsProcessors, DistributionsOfTheFixtures) {
  const std::string path = std::string(PAGODA_SOURCE_DIR) + "/tests/fixtures/sampling/sampling.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs tests/fixtures/sampling";
  int number = 0;
  const Json data = read_json(path);
  for (const Json& c : data.as_array("cases")) {
    Json parameters = c.at("parameters", "case");
    parameters.set("do_sample", true);
    const SamplingParams params = params_of(parameters);
    std::vector<float> logits = floats_of(c.at("logits", "case"));
    std::vector<int32_t> ids = ids_of(c.at("prompt_ids", "case"));
    const auto prompt_length = static_cast<int64_t>(ids.size());
    for (const int32_t id : ids_of(c.at("output_ids", "case"))) ids.push_back(id);
    const auto vocab = static_cast<int64_t>(logits.size());
    LogitsProcessors(params).apply(logits.data(), vocab, ids, prompt_length);
    const double total = log_sum_exp(logits.data(), vocab);
    const Json::Array& expected = c.at("probabilities", "case").as_array("probabilities");
    for (size_t i = 0; i < logits.size(); ++i) {
      EXPECT_NEAR(std::exp(logits[i] - total), expected[i].as_double("p"), 2e-6)
          << c.at("parameters", "case").dump() << " token " << i;
      EXPECT_EQ(logits[i] == kBanned, expected[i].as_double("p") == 0) << c.at("parameters", "case").dump() << " token " << i;
    }
    ++number;
  }
  EXPECT_GT(number, 50);
}

// vLLM: logits -= frequency * count, then -= presence, over the output alone; repetition first, over both.
TEST(LogitsProcessors, PresenceAndFrequencyCountTheOutputAlone) {
  SamplingParams params;
  params.presence_penalty = 0.5;
  params.frequency_penalty = 0.25;
  params.repetition_penalty = 2.0;
  params.logit_bias = {{4, 8.0}, {5, kBanned}};
  std::vector<float> logits = {4, 4, -4, 4, 0, 9};
  LogitsProcessors(params).apply(logits.data(), 6, {0, 0, 1, 1, 2, 1}, 3);
  // 0: prompt alone; 1: both, twice in the output; 2: output once, negative; 4: bias before penalties.
  EXPECT_THAT(logits, ::testing::ElementsAre(2.0F, 2.0F - 0.5F - 0.5F, -8.0F - 0.25F - 0.5F, 4.0F, 8.0F, kBanned));
}

TEST(LogitsProcessors, EndsWaitForTheMinimum) {
  SamplingParams params;
  params.min_new_tokens = 2;
  params.eos_token_ids = {1};
  params.stop_token_ids = {2};
  const auto at = [&](std::vector<int32_t> ids) {
    std::vector<float> logits = {0, 1, 2, 3};
    LogitsProcessors(params).apply(logits.data(), 4, ids, 1);
    return logits;
  };
  EXPECT_THAT(at({0}), ::testing::ElementsAre(0, kBanned, kBanned, 3));
  EXPECT_THAT(at({0, 3}), ::testing::ElementsAre(0, kBanned, kBanned, 3));
  EXPECT_THAT(at({0, 3, 3}), ::testing::ElementsAre(0, 1, 2, 3));
  params.ignore_eos = true;
  EXPECT_THAT(at({0}), ::testing::ElementsAre(0, 1, kBanned, 3));
}

TEST(LogitsProcessors, NothingAskedChangesNothing) {
  SamplingParams params;
  params.top_p = 0.1;  // greedy: cuts do not count
  params.min_new_tokens = 3;
  params.bad_words_ids = {{2}};
  params.eos_token_ids = {2};
  params.ignore_eos = false;
  params.min_new_tokens = 0;
  EXPECT_TRUE(LogitsProcessors(params).empty());
  params.ignore_eos = true;  // then the end may be a bad word
  EXPECT_FALSE(LogitsProcessors(params).empty());
}

TEST(LogitsProcessors, IdsBeyondTheVocabularyAreHarmless) {
  SamplingParams params;
  params.repetition_penalty = 1.5;
  params.presence_penalty = 1.0;
  params.no_repeat_ngram_size = 1;
  params.suppress_tokens = {-1, 99};
  params.eos_token_ids = {99};
  params.min_new_tokens = 5;
  std::vector<float> logits = {3, 3};
  LogitsProcessors(params).apply(logits.data(), 2, {50, 1, 60}, 1);
  EXPECT_THAT(logits, ::testing::ElementsAre(3, kBanned));
}

TEST(TokenHistory, CopiesGoTheirOwnWays) {
  TokenHistory one({5, 3, 5});
  TokenHistory two = one;
  one.append(3);
  one.append(7);
  one.append(7);
  two.append(9);
  EXPECT_EQ(one.output_length(), 3);
  ASSERT_EQ(one.output_counts().size(), 2U);
  EXPECT_TRUE(one.output_counts()[0].in_prompt);
  EXPECT_EQ(one.output_counts()[1].count, 2);
  EXPECT_FALSE(one.output_counts()[1].in_prompt);
  EXPECT_THAT(two.ids(), ::testing::ElementsAre(5, 3, 5, 9));
  EXPECT_THAT(two.prompt_tokens(), ::testing::ElementsAre(3, 5));
}

// --- large vocabularies: the same cuts by sorting everything -----------------------------------------------------------
std::vector<float> large_row(int64_t vocab, uint64_t seed, double scale, double grain) {
  std::vector<float> row(static_cast<size_t>(vocab));
  const RandomStream random(seed, 0);
  for (size_t i = 0; i < row.size(); ++i) {
    const double value = scale * random.normal(i);
    row[i] = static_cast<float>(grain > 0 ? std::round(value / grain) * grain : value);
  }
  return row;
}

std::vector<double> probabilities(const std::vector<float>& row) {
  const double total = log_sum_exp(row.data(), static_cast<int64_t>(row.size()));
  std::vector<double> p(row.size());
  for (size_t i = 0; i < row.size(); ++i) p[i] = std::exp(row[i] - total);
  return p;
}

std::set<size_t> survivors(std::vector<float> row, SamplingParams params) {
  params.temperature = 1.0;
  LogitsScratch scratch;
  Warpers(params).apply(row.data(), static_cast<int64_t>(row.size()), scratch);
  std::set<size_t> left;
  for (size_t i = 0; i < row.size(); ++i) {
    if (row[i] != kBanned) left.insert(i);
  }
  return left;
}

TEST(Warpers, LargeVocabulariesAsBySorting) {
  for (const auto& [vocab, scale, grain] :
       {std::tuple<int64_t, double, double>{50257, 2.0, 0}, {128256, 4.0, 0}, {256000, 1.0, 0}, {32000, 3.0, 0.125}}) {
    const std::vector<float> row = large_row(vocab, 7, scale, grain);
    const std::vector<double> p = probabilities(row);
    std::vector<size_t> order(row.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return row[a] != row[b] ? row[a] < row[b] : a < b; });
    for (const int64_t k : {1, 50, 3000}) {
      SamplingParams params;
      params.top_k = k;
      const float bar = row[order[order.size() - static_cast<size_t>(k)]];
      const std::set<size_t> left = survivors(row, params);
      EXPECT_EQ(left.size(), static_cast<size_t>(std::count_if(row.begin(), row.end(), [&](float x) { return x >= bar; })));
      for (const size_t i : left) EXPECT_GE(row[i], bar);
    }
    for (const double top_p : {0.1, 0.9, 0.999}) {
      SamplingParams params;
      params.top_p = top_p;
      const std::set<size_t> left = survivors(row, params);
      // Mass kept and mass without the least of the kept, as the definition has it (float32 probabilities: 1e-6).
      double kept = 0;
      for (const size_t i : left) kept += p[i];
      const auto least = std::find_if(order.begin(), order.end(), [&](size_t i) { return left.count(i) > 0; });
      EXPECT_GE(kept, top_p - 1e-6);
      EXPECT_LT(kept - p[*least], top_p + 1e-6);
      for (auto i = least; i != order.end(); ++i) EXPECT_TRUE(left.count(*i)) << "a hole in the order";
      EXPECT_EQ(left.size(), static_cast<size_t>(order.end() - least));
    }
    SamplingParams params;
    params.typical_p = 0.5;
    const std::set<size_t> left = survivors(row, params);
    double entropy = 0;
    for (const double x : p) entropy -= x > 0 ? x * std::log(x) : 0;
    double kept = 0;
    double farthest = 0;
    for (const size_t i : left) {
      kept += p[i];
      farthest = std::max(farthest, std::fabs(-std::log(p[i]) - entropy));
    }
    EXPECT_GE(kept, 0.5 - 1e-5);
    for (size_t i = 0; i < row.size(); ++i) {
      if (!left.count(i)) {
        EXPECT_GT(std::fabs(-std::log(p[i]) - entropy), farthest - 1e-4);
      }
    }
  }
}

TEST(Warpers, KthLargestWithTiesAndBans) {
  std::vector<float> room;
  const std::vector<float> row = {kBanned, 3, 1, 3, kBanned, 2};
  const std::vector<float> expected = {3, 3, 2, 1, kBanned, kBanned};
  for (int64_t k = 1; k <= 6; ++k) EXPECT_EQ(kth_largest(row.data(), 6, k, room), expected[static_cast<size_t>(k - 1)]) << k;
  std::vector<float> many = large_row(20000, 3, 1.0, 0.01);
  std::vector<float> sorted = many;
  std::sort(sorted.rbegin(), sorted.rend());
  for (const int64_t k : {1, 2, 600, 5000, 19999, 20000}) {
    EXPECT_EQ(kth_largest(many.data(), 20000, k, room), sorted[static_cast<size_t>(k - 1)]) << k;
  }
}

TEST(Warpers, RefusesNanAndInfinity) {
  SamplingParams params;
  params.temperature = 1.0;
  params.top_p = 0.9;
  LogitsScratch scratch;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> row = {1, 2, bad, 4};
    EXPECT_THROW(Warpers(params).apply(row.data(), 4, scratch), Error);
  }
  std::vector<float> all_banned(4, kBanned);
  Warpers(params).apply(all_banned.data(), 4, scratch);  // the draw says so
  EXPECT_THROW(sample_at(all_banned.data(), 4, 0.5, scratch), Error);
}

}  // namespace
}  // namespace pagoda
