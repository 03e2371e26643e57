// Greedy and beam search replayed on toy models (two tables) against transformers; beam sampling and misuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "base/error.h"
#include "base/random.h"
#include "generate/beam_search.h"
#include "generate/sampler.h"
#include "generate/stop.h"
#include "generate/top_k.h"
#include "tests/generate/cases.h"

namespace pagoda {
namespace {

// logits = first[last id] + second[id before it], as in make_cases.py.
struct Toy {
  int64_t vocab = 0;
  std::vector<std::vector<float>> first;
  std::vector<std::vector<float>> second;

  std::vector<float> logits(const std::vector<int32_t>& ids) const {
    const auto last = static_cast<size_t>(ids.back());
    const size_t before = ids.size() > 1 ? static_cast<size_t>(ids[ids.size() - 2]) : 0;
    std::vector<float> row(first[last]);
    for (size_t i = 0; i < row.size(); ++i) row[i] += second[before][i];
    return row;
  }
};

Toy read_toy(const Json& model) {
  Toy toy;
  toy.vocab = model.at("vocab", "toy").as_int("vocab");
  const auto table = [](const Json& rows, float unit) {
    std::vector<std::vector<float>> out;
    for (const Json& row : rows.as_array("table")) {
      out.push_back(floats_of(row));
      if (unit != 1) {
        for (float& value : out.back()) value /= unit;
      }
    }
    return out;
  };
  if (const Json* tenths = model.find("tenths")) {
    toy.first = table(tenths->as_array("tenths")[0], 10.0F);
    toy.second = table(tenths->as_array("tenths")[1], 10.0F);
  } else {
    toy.first = table(model.at("first", "toy"), 1.0F);
    toy.second = table(model.at("second", "toy"), 1.0F);
  }
  return toy;
}

std::vector<int32_t> greedy(const Toy& toy, const SamplingParams& params, const std::vector<int32_t>& prompt) {
  const LogitsProcessors processors(params);
  TokenHistory history(prompt);
  LogitsScratch scratch;
  for (;;) {
    std::vector<float> row = toy.logits(history.ids());
    processors.apply(row.data(), toy.vocab, history, scratch);
    const int32_t token = argmax(row.data(), toy.vocab);
    history.append(token);
    if (check_token(params, token, history.output_length()) != FinishReason::kNone) break;
  }
  return {history.ids().begin() + static_cast<std::ptrdiff_t>(prompt.size()), history.ids().end()};
}

std::vector<BeamHypothesis> beams(const Toy& toy, const SamplingParams& params, const std::vector<int32_t>& prompt) {
  BeamSearch search(params, toy.vocab, prompt);
  std::vector<std::vector<int32_t>> rows = {prompt};  // what a runner would hold, moved by the steps alone
  while (!search.done()) {
    EXPECT_EQ(search.rows(), static_cast<int64_t>(rows.size()));
    std::vector<float> logits;
    for (size_t b = 0; b < rows.size(); ++b) {
      EXPECT_EQ(rows[b], search.ids(static_cast<int64_t>(b)));
      const std::vector<float> row = toy.logits(rows[b]);
      logits.insert(logits.end(), row.begin(), row.end());
    }
    const BeamStep& step = search.advance(logits.data());
    std::vector<std::vector<int32_t>> next;
    for (size_t b = 0; b < step.parents.size(); ++b) {
      EXPECT_LT(static_cast<size_t>(step.parents[b]), rows.size());
      next.push_back(rows.at(static_cast<size_t>(step.parents[b])));
      next.back().push_back(step.tokens[b]);
    }
    rows = std::move(next);
  }
  return search.finish();
}

TEST(Search, EqualsTransformers) {
  int greedy_cases = 0;
  int beam_cases = 0;
  const Json data = read_cases("searches.json");
  for (const Json& model : data.as_array("models")) {
    const Toy toy = read_toy(model);
    for (const Json& c : model.at("cases", "toy").as_array("cases")) {
      const std::string what = "vocab " + std::to_string(toy.vocab) + " prompt " + c.at("prompt", "case").dump() + " " +
                               c.at("parameters", "case").dump();
      const SamplingParams params = params_of(c.at("parameters", "case"));
      const std::vector<int32_t> prompt = ids_of(c.at("prompt", "case"));
      const Json::Array& expected = c.at("outputs", "case").as_array("outputs");
      if (params.num_beams == 1) {
        EXPECT_EQ(greedy(toy, params, prompt), ids_of(expected[0])) << what;
        ++greedy_cases;
        continue;
      }
      const std::vector<BeamHypothesis> found = beams(toy, params, prompt);
      ASSERT_EQ(found.size(), expected.size()) << what;
      for (size_t i = 0; i < found.size(); ++i) {
        const double score = c.at("scores", "case").as_array("scores")[i].as_double("score");
        EXPECT_NEAR(found[i].score, score, 1e-5 * std::max(1.0, std::fabs(score))) << what << " hypothesis " << i;
        if (found[i].ids.empty()) {  // transformers gives filling here
          EXPECT_EQ(found[i].score, -1e9) << what;
          continue;
        }
        EXPECT_EQ(found[i].ids, ids_of(expected[i])) << what << " hypothesis " << i;
        const std::vector<int32_t> ends = params.end_token_ids();
        EXPECT_EQ(found[i].stopped, std::find(ends.begin(), ends.end(), found[i].ids.back()) != ends.end()) << what;
      }
      ++beam_cases;
    }
  }
  EXPECT_GT(greedy_cases, 50);
  EXPECT_GT(beam_cases, 150);
}

// Beams wide enough to hold every sequence find the best one.
TEST(BeamSearch, WideBeamsAreExhaustive) {
  const Json models = read_cases("searches.json");
  const Toy toy = read_toy(models.as_array("models")[0]);
  SamplingParams params;
  params.max_new_tokens = 3;
  params.num_beams = static_cast<int64_t>(toy.vocab * toy.vocab);
  params.num_return_sequences = 5;
  const std::vector<int32_t> prompt = {4, 1};
  std::vector<std::pair<double, std::vector<int32_t>>> all;
  const std::function<void(std::vector<int32_t>, double)> extend = [&](const std::vector<int32_t>& ids, double score) {
    if (ids.size() == prompt.size() + 3) {
      all.emplace_back(-score / 3, std::vector<int32_t>(ids.begin() + 2, ids.end()));
      return;
    }
    const std::vector<float> row = toy.logits(ids);
    const double total = log_sum_exp(row.data(), toy.vocab);
    for (int32_t token = 0; token < toy.vocab; ++token) {
      std::vector<int32_t> next = ids;
      next.push_back(token);
      extend(next, score + row[static_cast<size_t>(token)] - total);
    }
  };
  extend(prompt, 0.0);
  std::sort(all.begin(), all.end());
  const std::vector<BeamHypothesis> found = beams(toy, params, prompt);
  ASSERT_EQ(found.size(), 5U);
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].ids, all[i].second);
    EXPECT_NEAR(found[i].score, -all[i].first, 1e-5);
    EXPECT_FALSE(found[i].stopped);
  }
}

TEST(BeamSearch, StopsOfTheCallerEndHypotheses) {
  const Json models = read_cases("searches.json");
  const Toy toy = read_toy(models.as_array("models")[0]);
  // An end id, and the same token as a stop that only the caller sees, give the same hypotheses.
  bool any = false;
  for (int32_t end = 0; end < 2 * toy.vocab; ++end) {
    const int32_t end_id = end / 2;
    SamplingParams params;
    params.max_new_tokens = 8;
    params.num_beams = 3;
    params.num_return_sequences = 3;
    params.early_stopping = end % 2 == 0 ? EarlyStopping::kFalse : EarlyStopping::kTrue;
    SamplingParams with_end = params;
    with_end.eos_token_ids = {end_id};
    const std::vector<BeamHypothesis> expected = beams(toy, with_end, {1});
    BeamSearch search(params, toy.vocab, {1});
    while (!search.done()) {
      std::vector<float> logits;
      for (int64_t b = 0; b < search.rows(); ++b) {
        const std::vector<float> row = toy.logits(search.ids(b));
        logits.insert(logits.end(), row.begin(), row.end());
      }
      search.propose(logits.data());
      search.commit([&](const BeamCandidate& candidate) { return candidate.token == end_id; });
    }
    const std::vector<BeamHypothesis> found = search.finish();
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].ids, expected[i].ids);
      EXPECT_EQ(found[i].stopped, expected[i].stopped);
      any = any || found[i].stopped;
    }
  }
  EXPECT_TRUE(any) << "the cases show nothing";
}

// A request may name thousands of end ids: what a step asks of its caller must not grow with them.
TEST(BeamSearch, AsksOnlyOfWhatIsKept) {
  SamplingParams params;
  params.max_new_tokens = 5;
  params.num_beams = 4;
  for (int32_t id = 100; id < 1100; ++id) params.stop_token_ids.push_back(id);
  constexpr int64_t kVocab = 2000;
  BeamSearch search(params, kVocab, {1});
  std::vector<float> logits(static_cast<size_t>(4 * kVocab));
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>((i * 7919) % 10007) * 1e-3F;
  while (!search.done()) {
    ASSERT_EQ(search.propose(logits.data()).size(), 4004U);
    int asked = 0, noted = 0;
    search.commit(
        [&](const BeamCandidate&) {
          ++asked;
          return false;
        },
        [&](const BeamCandidate& candidate) {
          ++noted;
          auto note = std::make_shared<PositionLogprobs>();
          note->token = candidate.token;
          return note;
        });
    EXPECT_LE(asked, 16);
    EXPECT_LE(noted, 8);
  }
  for (const BeamHypothesis& hypothesis : search.finish()) {
    ASSERT_EQ(hypothesis.notes.size(), hypothesis.ids.size());
    for (size_t i = 0; i < hypothesis.ids.size(); ++i) EXPECT_EQ(hypothesis.notes[i]->token, hypothesis.ids[i]);
  }
}

TEST(BeamSearch, UnfinishedGivesRunningBeams) {
  const Json models = read_cases("searches.json");
  const Toy toy = read_toy(models.as_array("models")[0]);
  SamplingParams params;
  params.num_beams = 2;
  params.num_return_sequences = 2;
  BeamSearch search(params, toy.vocab, {1});
  EXPECT_EQ(search.finish().size(), 2U);
  search.advance(toy.logits({1}).data());
  const std::vector<BeamHypothesis> found = search.finish();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].ids.size(), 1U);
  EXPECT_GE(found[0].score, found[1].score);
}

TEST(BeamSearch, RefusesWhatCannotBe) {
  SamplingParams params;
  params.num_beams = 2;
  params.eos_token_ids = {0, 1, 2};
  EXPECT_THROW(BeamSearch(params, 3, {1}), Error);
  EXPECT_NO_THROW(BeamSearch(params, 4, {1}));
  params.num_return_sequences = 3;
  EXPECT_THROW(BeamSearch(params, 10, {1}), Error);
  params.num_return_sequences = 1;
  BeamSearch search(params, 5, {1});
  EXPECT_THROW(search.commit(), Error);
  std::vector<float> bad = {1, 2, std::numeric_limits<float>::quiet_NaN(), 4, 5};
  EXPECT_THROW(search.advance(bad.data()), Error);
}

// Bans that leave fewer tokens than beams: rows stay within what the model was given.
TEST(BeamSearch, FewerTokensThanBeams) {
  SamplingParams params;
  params.num_beams = 4;
  params.num_return_sequences = 4;
  params.max_new_tokens = 2;
  params.begin_suppress_tokens = {0, 1, 2, 3, 4};
  BeamSearch search(params, 6, {1});
  const std::vector<float> row = {0, 1, 2, 3, 4, 5};
  for (const int32_t parent : search.advance(row.data()).parents) EXPECT_EQ(parent, 0);
  std::vector<float> rows;
  for (int b = 0; b < 4; ++b) rows.insert(rows.end(), row.begin(), row.end());
  search.advance(rows.data());
  ASSERT_TRUE(search.done());
  const std::vector<BeamHypothesis> found = search.finish();
  ASSERT_EQ(found.size(), 4U);
  for (size_t i = 0; i < 4; ++i) EXPECT_THAT(found[i].ids, ::testing::ElementsAre(5, 5 - static_cast<int32_t>(i)));
}

// First step: candidates are drawn without replacement from softmax(row / temperature).
TEST(BeamSampling, DrawsWithoutReplacement) {
  SamplingParams params;
  params.num_beams = 2;
  params.num_return_sequences = 2;
  params.temperature = 0.5;
  const std::vector<float> row = {0.0F, 0.3F, 0.6F, -0.4F, 0.1F, 0.2F};
  const auto vocab = static_cast<int64_t>(row.size());
  // HF cuts and scales log-probabilities; the accumulated score of the first beam is the scaled one.
  std::vector<double> p(row.size());
  double total = 0;
  for (size_t i = 0; i < row.size(); ++i) total += p[i] = std::exp(2.0 * row[i]);
  for (double& x : p) x /= total;
  // Chance that the pair {a, b} is among the first two drawn, summed over the later two draws: check single inclusion in a
  // draw of 4 out of 6 by recursion.
  std::vector<double> included(row.size(), 0.0);
  const std::function<void(std::vector<bool>, double, int)> walk = [&](std::vector<bool> taken, double chance, int left) {
    if (left == 0) {
      for (size_t i = 0; i < p.size(); ++i) included[i] += taken[i] ? chance : 0.0;
      return;
    }
    double rest = 0;
    for (size_t i = 0; i < p.size(); ++i) rest += taken[i] ? 0.0 : p[i];
    for (size_t i = 0; i < p.size(); ++i) {
      if (taken[i]) continue;
      std::vector<bool> next = taken;
      next[i] = true;
      walk(next, chance * p[i] / rest, left - 1);
    }
  };
  walk(std::vector<bool>(p.size(), false), 1.0, 4);
  std::vector<double> counts(row.size(), 0.0);
  constexpr int kRuns = 20000;
  for (int run = 0; run < kRuns; ++run) {
    params.seed = static_cast<uint64_t>(run);
    BeamSearch search(params, vocab, {0});
    const std::vector<BeamCandidate> candidates = search.propose(row.data());
    ASSERT_EQ(candidates.size(), 4U);
    for (size_t i = 0; i < candidates.size(); ++i) {
      ++counts[static_cast<size_t>(candidates[i].token)];
      EXPECT_EQ(candidates[i].parent, 0);
      if (i > 0) {
        EXPECT_GE(candidates[i - 1].score, candidates[i].score);
      }
    }
  }
  for (size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(counts[i] / kRuns, included[i], 0.02) << i;  // 5 sigma is 0.018
}

TEST(BeamSampling, RepeatsWithTheSeed) {
  const Json models = read_cases("searches.json");
  const Toy toy = read_toy(models.as_array("models")[1]);
  SamplingParams params;
  params.num_beams = 3;
  params.num_return_sequences = 3;
  params.max_new_tokens = 10;
  params.temperature = 1.3;
  params.top_k = 2;  // fewer likely tokens than candidates at the first step: it fills up
  params.eos_token_ids = {3};
  params.seed = 5;
  const std::vector<BeamHypothesis> one = beams(toy, params, {1, 2});
  const std::vector<BeamHypothesis> two = beams(toy, params, {1, 2});
  ASSERT_EQ(one.size(), two.size());
  for (size_t i = 0; i < one.size(); ++i) EXPECT_EQ(one[i].ids, two[i].ids);
  params.top_k = 0;  // with two tokens a beam all candidates were taken: nothing was left to chance
  bool differs = false;
  for (uint64_t seed = 6; seed < 12; ++seed) {
    params.seed = seed;
    const std::vector<int32_t> best = beams(toy, params, {1, 2})[0].ids;
    params.seed = seed + 1;
    differs = differs || beams(toy, params, {1, 2})[0].ids != best;
  }
  EXPECT_TRUE(differs);
}

TEST(TorchTopK, HeapEqualsPartialSort) {
  const RandomStream random(1, 0);
  uint64_t counter = 0;
  for (int round = 0; round < 300; ++round) {
    const auto n = static_cast<int64_t>(1 + random.bits(counter++) % 3000);
    const auto k = static_cast<int64_t>(1 + random.bits(counter++) % static_cast<uint64_t>(std::min<int64_t>(n, 40)));
    const uint64_t distinct = 1 + random.bits(counter++) % 50;
    std::vector<float> scores(static_cast<size_t>(n));
    std::vector<std::pair<float, int64_t>> pairs;
    for (int64_t i = 0; i < n; ++i) {
      scores[static_cast<size_t>(i)] = static_cast<float>(random.bits(counter++) % distinct);
      pairs.emplace_back(scores[static_cast<size_t>(i)], i);
    }
    const auto better = [](const auto& a, const auto& b) { return a.first > b.first; };
    const auto last = pairs.begin() + static_cast<std::ptrdiff_t>(k);
    if (k * 64 <= n) {
      std::partial_sort(pairs.begin(), last, pairs.end(), better);
    } else {
      std::nth_element(pairs.begin(), last - 1, pairs.end(), better);
      std::sort(pairs.begin(), last - 1, better);
    }
    const std::vector<Scored> found = torch_top_k(scores.data(), n, k);
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i].index, pairs[i].second) << "n " << n << " k " << k;
      ASSERT_EQ(found[i].score, pairs[i].first);
    }
  }
}

}  // namespace
}  // namespace pagoda
