// Task metrics against what scikit-learn, seqeval, rouge_score, sacrebleu and the SQuAD scorers give (make_cases.py).
#include <gtest/gtest.h>

#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "metrics/bleu.h"
#include "metrics/classification.h"
#include "metrics/entities.h"
#include "metrics/rouge.h"
#include "metrics/squad.h"

namespace pagoda {
namespace {

constexpr double kClose = 1e-12;

const Json& cases(const char* name) {
  static const Json kAll = Json::parse(read_file(PAGODA_SOURCE_DIR "/tests/metrics/data/cases.json", 1 << 24), "cases.json");
  return kAll.at(name, "cases.json");
}

const Json::Array& list(const Json& json, const char* key) { return json.at(key, "case").as_array(key); }
std::string text(const Json& json) { return json.as_string("case"); }
double number(const Json& json, const char* key) { return json.at(key, "case").as_double(key); }

std::vector<std::string> texts(const Json& json) {
  std::vector<std::string> out;
  for (const Json& one : json.as_array("case")) out.push_back(text(one));
  return out;
}

std::vector<int64_t> ints(const Json& json) {
  std::vector<int64_t> out;
  for (const Json& one : json.as_array("case")) out.push_back(one.as_int("case"));
  return out;
}

std::vector<std::vector<uint8_t>> bits(const Json& json) {
  std::vector<std::vector<uint8_t>> out;
  for (const Json& row : json.as_array("case")) {
    out.emplace_back();
    for (const int64_t bit : ints(row)) out.back().push_back(static_cast<uint8_t>(bit));
  }
  return out;
}

void expect_scores(const PrecisionRecallF1& got, const Json& want, const std::string& what) {
  const auto& three = want.as_array("case");
  EXPECT_NEAR(got.precision, three[0].as_double("p"), kClose) << what;
  EXPECT_NEAR(got.recall, three[1].as_double("r"), kClose) << what;
  EXPECT_NEAR(got.f1, three[2].as_double("f"), kClose) << what;
}

constexpr std::pair<const char*, Average> kAverages[] = {
    {"binary", Average::kBinary}, {"micro", Average::kMicro}, {"macro", Average::kMacro}};

TEST(Classification, AsScikitLearn) {
  for (const Json& one : cases("classification").as_array("classification")) {
    const auto guess = ints(one.at("predictions", "case")), truth = ints(one.at("references", "case"));
    EXPECT_NEAR(accuracy(guess, truth), number(one, "accuracy"), kClose);
    for (const auto& [name, average] : kAverages) {
      const Json* want = one.find(name);
      if (want != nullptr) expect_scores(precision_recall_f1(guess, truth, average), *want, name);
    }
  }
}

TEST(Classification, SeveralLabelsASample) {
  for (const Json& one : cases("multilabel").as_array("multilabel")) {
    const auto guess = bits(one.at("predictions", "case")), truth = bits(one.at("references", "case"));
    EXPECT_NEAR(multilabel_accuracy(guess, truth), number(one, "accuracy"), kClose);
    for (const auto& [name, average] : kAverages) {
      if (average != Average::kBinary) expect_scores(multilabel_f1(guess, truth, average), one.at(name, "case"), name);
    }
  }
  EXPECT_THROW(multilabel_f1({{1, 0}}, {{1}}, Average::kMicro), Error);
}

TEST(Classification, BoundsAndErrors) {
  EXPECT_THROW(accuracy({}, {}), Error);
  EXPECT_THROW(accuracy({1}, {1, 2}), Error);
  EXPECT_EQ(precision_recall_f1({0, 0}, {0, 0}, Average::kBinary).f1, 0);
  EXPECT_DOUBLE_EQ(mean_squared_error({1, 2}, {1, 4}), 2);
}

TEST(Entities, AsSeqeval) {
  for (const Json& one : cases("entities").as_array("entities")) {
    TagSequences guess, truth;
    for (const Json& row : list(one, "predictions")) guess.push_back(texts(row));
    for (const Json& row : list(one, "references")) truth.push_back(texts(row));
    const EntityScores scores = score_entities(guess, truth);
    EXPECT_NEAR(scores.accuracy, number(one, "accuracy"), kClose);
    const Json& want = one.at("scores", "case");
    EXPECT_EQ(want.size(), scores.types.size() + 1);
    for (const auto& [type, got] : scores.types) {
      expect_scores(got, want.at(type, "case"), type);
      EXPECT_EQ(got.support, want.at(type, "case").as_array("case")[3].as_int("support"));
    }
    expect_scores(scores.overall, want.at("micro avg", "case"), "overall");
  }
}

TEST(Entities, Errors) {
  EXPECT_THROW(score_entities({{"O"}}, {{"O", "O"}}), Error);
  EXPECT_THROW(score_entities({}, {}), Error);
  EXPECT_THROW(find_entities({""}), Error);
}

TEST(Squad, Normalisation) {
  for (const Json& pair : list(cases("squad"), "texts")) {
    const auto both = texts(pair);
    EXPECT_EQ(normalize_answer(both[0]), both[1]) << both[0];
  }
}

std::vector<SquadSample> samples(const char* key) {
  std::vector<SquadSample> out;
  for (const Json& one : list(cases("squad"), key)) {
    out.push_back({text(one.at("prediction", "case")), texts(one.at("answers", "case")),
                   one.get_double("no_answer_probability", 0, "case")});
  }
  return out;
}

void expect_named(const NamedScores& got, const char* key) {
  const Json& want = cases("squad").at(key, "case");
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].first, want.as_object(key)[i].key);
    EXPECT_NEAR(got[i].second, want.as_object(key)[i].value.as_double(key), 1e-9) << got[i].first;
  }
}

TEST(Squad, Scores) {
  expect_named(squad_scores(samples("v1")), "v1_scores");
  expect_named(squad_v2_scores(samples("v2")), "v2_scores");
  expect_named(squad_v2_scores(samples("v2"), 0.5), "v2_scores_half");
  EXPECT_THROW(squad_scores({}), Error);
  EXPECT_THROW(squad_scores({{"x", {}, 0}}), Error);
}

TEST(Rouge, Stems) {
  for (const Json& pair : list(cases("rouge"), "stems")) {
    const auto both = texts(pair);
    EXPECT_EQ(porter_stem(both[0]), both[1]) << both[0];
  }
}

TEST(Rouge, AsRougeScore) {
  for (const Json& one : list(cases("rouge"), "cases")) {
    for (const char* how : {"plain", "stemmed"}) {
      const RougeScores got =
          rouge_scores(text(one.at("prediction", "case")), text(one.at("reference", "case")), std::string(how) == "stemmed");
      const Json& want = one.at(how, "case");
      const std::string what = text(one.at("prediction", "case")) + " | " + text(one.at("reference", "case"));
      expect_scores(got.rouge1, want.at("rouge1", "case"), what);
      expect_scores(got.rouge2, want.at("rouge2", "case"), what);
      expect_scores(got.rouge_l, want.at("rougeL", "case"), what);
      expect_scores(got.rouge_lsum, want.at("rougeLsum", "case"), what);
    }
  }
}

TEST(Rouge, MeansOverACorpus) {
  const RougeScores one = rouge_scores("the cat sat", "the cat sat down");
  EXPECT_DOUBLE_EQ(one.rouge1.f1, 2 * 1 * 0.75 / 1.75);
  EXPECT_DOUBLE_EQ(mean_of({one, rouge_scores("x", "y")}).rouge1.f1, one.rouge1.f1 / 2);
}

TEST(Bleu, Tokenizer13a) {
  for (const Json& pair : list(cases("bleu"), "lines")) {
    const auto both = texts(pair);
    EXPECT_EQ(tokenize_13a(both[0]), both[1]) << both[0];
  }
}

TEST(Bleu, AsSacrebleu) {
  for (const Json& one : list(cases("bleu"), "corpora")) {
    std::vector<std::vector<std::string>> references;
    for (const Json& row : list(one, "references")) references.push_back(texts(row));
    const BleuScore got = corpus_bleu(texts(one.at("predictions", "case")), references);
    EXPECT_NEAR(got.score, number(one, "score"), 1e-9);
    EXPECT_NEAR(got.brevity_penalty, number(one, "bp"), kClose);
    EXPECT_EQ(got.system_length, one.at("sys_len", "case").as_int("case"));
    EXPECT_EQ(got.reference_length, one.at("ref_len", "case").as_int("case"));
    for (size_t n = 0; n < 4; ++n) {
      EXPECT_EQ(got.counts[n], list(one, "counts")[n].as_int("count"));
      EXPECT_EQ(got.totals[n], list(one, "totals")[n].as_int("total"));
      EXPECT_NEAR(got.precisions[n], list(one, "precisions")[n].as_double("precision"), 1e-9);
    }
  }
  EXPECT_THROW(corpus_bleu({"a"}, {}), Error);
  EXPECT_THROW(corpus_bleu({"a"}, {{}}), Error);
}

}  // namespace
}  // namespace pagoda
