// Every task against HF's pipelines on the tiny encoders of tests/fixtures/encoders: texts of several scripts, pairs, lists,
// all parameters; inputs run together equal those run alone; and what is refused.
#include "pipelines/pipeline.h"

#include "pipelines/text_generation.h"
#include "tests/pipelines/pipeline_fixture.h"

namespace pagoda {
namespace {

std::vector<Json> cases_of(const std::string& family) {
  std::vector<Json> cases;
  for (const char* name : {"cases.json", "question_answering.json"}) {
    const std::string path = kFixtures + family + "/" + name;
    const Json json = Json::parse(read_file(path, 1 << 26), path);
    for (const Json& each : json.at("pipelines", path).as_array(path)) cases.push_back(each);
  }
  return cases;
}

class Tasks : public ::testing::TestWithParam<std::string> {};

TEST_P(Tasks, ResultsEqualTransformers) {
  const std::string& family = GetParam();
  std::map<std::string, int> seen;
  for (const Json& each : cases_of(family)) {
    const std::string task = each.at("task", family).as_string(family);
    ++seen[task];
    const auto pipeline = pipeline_of(family, task);
    const Json& input = each.at("input", family);
    const Json& parameters = each.at("parameters", family);
    const std::string at = family + " " + task + " " + input.dump().substr(0, 200) + " " + parameters.dump() + " ";
    ASSERT_NO_THROW(expect_near(pipeline->run(input, parameters), each.at("result", family), at)) << at;
  }
  EXPECT_GE(seen["text-classification"], 9);
  EXPECT_GE(seen["token-classification"], 17);
  EXPECT_GE(seen["question-answering"], 9);
  EXPECT_GE(seen["fill-mask"], 5);
  EXPECT_GE(seen["feature-extraction"], 2);
  EXPECT_GE(seen["zero-shot-classification"], 4);
}

TEST_P(Tasks, InputsTogetherEqualThoseAlone) {
  const std::string& family = GetParam();
  for (const TaskInfo& task : pipeline_tasks()) {
    if (std::string(task.name) == "sentence-similarity") continue;
    const auto pipeline = pipeline_of(family, task.name);
    std::vector<PreparedInput> prepared;
    std::vector<std::string> alone;
    for (const Json& each : cases_of(family)) {
      if (each.at("task", family).as_string(family) != task.name) continue;
      prepared.push_back(pipeline->prepare(each.at("input", family), each.at("parameters", family)));
      alone.push_back(pipeline->run(each.at("input", family), each.at("parameters", family)).dump());
    }
    const std::vector<Json> together = run_together(pipeline->model(), prepared);
    ASSERT_EQ(together.size(), alone.size());
    for (size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(together[i].dump(), alone[i]) << family << " " << task.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Tasks, ::testing::Values("bert", "roberta", "distilbert", "albert"));

TEST(TaskErrors, WhatIsRefusedAndHow) {
  const auto classify = pipeline_of("bert", "text-classification");
  expect_refused(*classify, "a", R"({"topk": 1})", "unknown for text-classification: got 'topk'");
  expect_refused(*classify, "a", R"({"top_k": 0})", "top_k");
  expect_refused(*classify, "a", R"({"top_k": "x"})", "top_k");
  expect_refused(*classify, "a", R"({"function_to_apply": "tanh"})", "softmax");
  expect_refused(*classify, 3, "null", "need a string");
  expect_refused(*classify, Json::parse(R"({"text_pair": "x"})", ""), "null", "'text'");
  expect_refused(*classify, Json::parse(R"([["a", "b"]])", ""), "null", "need a string");
  expect_refused(*classify, long_text(), "null", "need at most 72");
  expect_refused(*classify, "a\xff", "null", "UTF-8");
  const auto tokens = pipeline_of("bert", "ner");
  EXPECT_EQ(tokens->task(), "token-classification");
  expect_refused(*tokens, "a", R"({"stride": 4})", "aggregation_strategy");
  expect_refused(*tokens, "a", R"({"aggregation_strategy": "middle"})", "simple");
  const auto answers = pipeline_of("bert", "question-answering");
  expect_refused(*answers, Json::parse(R"({"question": "x"})", ""), "null", "'context'");
  expect_refused(*answers, Json::parse(R"({"question": "", "context": "y"})", ""), "null", "empty");
  expect_refused(*answers, Json::parse(R"({"question": "x", "context": ")" + long_text() + "\"}", ""),
                 R"({"max_seq_len": 20, "doc_stride": 19})", "stride");
  expect_refused(*answers, Json::parse(R"({"question": ")" + long_text() + R"(", "context": "y"})", ""), "null", "no room");
  const auto fill = pipeline_of("bert", "fill-mask");
  expect_refused(*fill, "no mask here", "null", "[MASK]");
  expect_refused(*fill, "[MASK]", R"({"targets": []})", "targets");
  expect_refused(*fill, "[MASK]", R"({"top_k": 100000})", "top_k");
  const auto labels = pipeline_of("bert", "zero-shot-classification");
  expect_refused(*labels, "a", "null", "candidate_labels");
  expect_refused(*labels, "a", R"({"candidate_labels": ["x"], "hypothesis_template": "no place"})", "hypothesis_template");
  expect_refused(*labels, "a", R"({"candidate_labels": ["x"], "hypothesis_template": "{x}"})", "hypothesis_template");
  const auto features = pipeline_of("bert", "feature-extraction");
  expect_refused(*features, "a", R"({"pooling": "best"})", "pooling");
  expect_refused(*features, "a", R"({"normalize": true})", "pooling");
}

// Refused before anything is made of them.
TEST(TaskErrors, WhatWouldCostTooMuch) {
  const auto fill = pipeline_of("bert", "fill-mask");
  const std::string vocab = std::to_string(fill->model().model().vocab_size());
  std::string masks;
  for (int i = 0; i < 20; ++i) masks += "[MASK] ";
  const int64_t each = fill->model().model().vocab_size() * 20 * 22;
  ASSERT_LE(each, int64_t{1} << 22);
  Json many = Json::array();
  for (int64_t i = 0; i <= (int64_t{1} << 22) / each; ++i) many.push_back(masks);
  expect_refused(*fill, many, R"({"top_k": )" + vocab + "}", "tokens of filled texts, need at most 4194304");
  const auto labels = pipeline_of("bert", "zero-shot-classification");
  Json names = Json::array();
  for (int i = 0; i < 1025; ++i) names.push_back("x");
  expect_refused(*labels, "a", R"({"candidate_labels": )" + names.dump() + "}", "need at most 1024");
  expect_refused(*labels, "a", R"({"candidate_labels": ["x"], "hypothesis_template": "{})" + std::string(70000, 'y') + "\"}",
                 "hypothesis_template");
  const auto answers = pipeline_of("bert", "question-answering");
  const Json asked = Json::parse(R"({"question": "x", "context": "y"})", "");
  expect_refused(*answers, asked, R"({"top_k": 1001})", "top_k");
  expect_refused(*answers, asked, R"({"max_answer_len": 1001})", "max_answer_len");
  std::string words;
  for (int i = 0; i < 40000; ++i) words += "a ";
  // [CLS] x [SEP] and [SEP] leave room for 36 of 40 tokens.
  const Json long_one = Json::object().set("question", "x").set("context", words);
  expect_refused(*answers, long_one, R"({"max_seq_len": 40, "doc_stride": 35})", "need at most 1048576 tokens");
}

TEST(Pairs, EncodedOnceAsEachAlone) {
  for (const char* family : {"albert", "bert", "distilbert", "roberta"}) {
    const auto model = SequenceModel::open(kFixtures + family, one_thread(), Head::kNone);
    for (const std::string first : {"", "The quick fox, [MASK] über", " lead"}) {
      const PairEncoder pairs(*model, first);
      for (const std::string second : {"", "b", " a second text ", "日本 x"}) {
        const EncodedText got = pairs.with(second), want = model->encode(first, &second);
        EXPECT_EQ(got.encoding.ids, want.encoding.ids) << family << first << "|" << second;
        EXPECT_EQ(got.encoding.type_ids, want.encoding.type_ids) << family << first << "|" << second;
        EXPECT_EQ(got.encoding.special_tokens_mask, want.encoding.special_tokens_mask) << family;
        if (first.empty() || second.empty()) continue;  // which stands nowhere
        EXPECT_EQ(got.first_begin, want.first_begin) << family;
        EXPECT_EQ(got.first_end, want.first_end) << family;
        EXPECT_EQ(got.second_begin, want.second_begin) << family;
        EXPECT_EQ(got.second_end, want.second_end) << family;
      }
    }
  }
}

TEST(TaskErrors, TasksAndModelsThatDoNotFit) {
  EXPECT_THROW(find_task("summarization"), Error);
  EXPECT_THROW(Pipeline::make("fill-mask", model_of("bert", Head::kNone)), Error);
  try {
    Pipeline::open("fill-mask", PAGODA_SOURCE_DIR "/tests/fixtures/llama", one_thread());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported) << error.message();
  }
  try {
    TextGeneration::open(kFixtures + "bert", one_thread());
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("encoder"), std::string::npos) << error.message();
  }
}

TEST(TextClassification, ProblemTypesChooseTheFunction) {
  const Json all = Json::parse(R"({"top_k": 100})", "test");
  const auto scores = [&](const std::string& fields) {
    std::map<std::string, double> by_label;
    const Json result = Pipeline::open("text-classification", bert_with(fields), one_thread())->run("Paris", all);
    for (const Json& each : result.as_array("")) {
      by_label[each.at("label", "").as_string("")] = each.at("score", "").as_double("");
    }
    return by_label;
  };
  const auto raw = scores(R"({"problem_type": "regression"})");
  const auto each = scores(R"({"problem_type": "multi_label_classification"})"), together = scores("{}");
  double sum = 0;
  for (const auto& [label, value] : raw) sum += std::exp(value);
  ASSERT_GT(raw.size(), 2U);
  for (const auto& [label, value] : raw) {
    EXPECT_NEAR(each.at(label), 1 / (1 + std::exp(-value)), 1e-6) << label;
    EXPECT_NEAR(together.at(label), std::exp(value) / sum, 1e-6) << label;
  }
  SequenceOutput one;
  one.rows = one.columns = 1;
  one.values = {2};
  const auto single = [&](const char* config) { return class_scores(read_labels(Json::parse(config, "c"), "c"), one)[0]; };
  EXPECT_FLOAT_EQ(single(R"({"num_labels": 1})"), 1 / (1 + std::exp(-2.0f)));
  EXPECT_FLOAT_EQ(single(R"({"num_labels": 1, "problem_type": "regression"})"), 2);
}

// What transformers 5.24 loads: labels are read by tasks that have them, and those that do not fit them are told.
TEST(Labels, AreReadOnlyWhereTheHeadHasThem) {
  const std::string whole = pipeline_of("bert", "fill-mask")->run("the [MASK]", {}).dump();
  for (const char* fields :
       {R"({"id2label": {"0": "A", "1": "B"}, "label2id": {"A": 0, "B": 1, "C": 2}})",
        R"({"id2label": {"0": "A", "2": "B"}, "problem_type": "other"})", R"({"id2label": [1], "num_labels": -1})"}) {
    EXPECT_EQ(Pipeline::open("fill-mask", bert_with(fields), one_thread())->run("the [MASK]", {}).dump(), whole) << fields;
  }
  const auto refusal = [](const std::string& task, const char* fields) -> std::string {
    try {
      Pipeline::open(task, bert_with(fields), one_thread());
    } catch (const Error& error) {
      return error.message();
    }
    return "";
  };
  EXPECT_NE(refusal("text-classification", R"({"id2label": {"0": "A", "2": "B"}})").find("got id '2'"), std::string::npos);
  const int64_t outputs = model_of("bert", Head::kSequenceClassification)->model().num_logits();
  const std::string beyond = R"({"label2id": {"A": 0, "entailment": )" + std::to_string(outputs) + "}}";
  EXPECT_EQ(refusal("text-classification", beyond.c_str()), "");
  EXPECT_NE(refusal("zero-shot-classification", beyond.c_str()).find("'entailment' has no output"), std::string::npos);
  // Names of another number than num_labels are not used, which is told.
  LoadOptions options = one_thread();
  std::string told;
  options.notice = [&](const std::string& text) { told += text; };
  const std::string fewer = R"({"id2label": {"0": "A"}, "num_labels": )" + std::to_string(outputs) + "}";
  const Json result = Pipeline::open("text-classification", bert_with(fewer), options)->run("a", {});
  EXPECT_EQ(result.as_array("")[0].at("label", "").as_string("").substr(0, 6), "LABEL_");
  EXPECT_NE(told.find("which are not used"), std::string::npos) << told;
}

// CrossEncoder's own activation goes first, else a sigmoid, whatever the problem_type (sentence-transformers 6.2.0).
TEST(TextClassification, PairScoresHaveTheActivationOfTheConfiguration) {
  const auto score = [](const char* config) {
    SequenceOutput output;
    output.rows = output.columns = 1;
    output.values = {2};
    return pair_score(read_labels(Json::parse(config, "config"), "config"), output);
  };
  const float sigmoid = 1 / (1 + std::exp(-2.0f));
  EXPECT_FLOAT_EQ(score(R"({"num_labels": 1})"), sigmoid);
  EXPECT_FLOAT_EQ(score(R"({"num_labels": 1, "problem_type": "regression"})"), sigmoid);
  EXPECT_FLOAT_EQ(score(R"({"num_labels": 1, "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}})"),
                  2);
  EXPECT_FLOAT_EQ(score(R"({"num_labels": 1, "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"})"), 2);
  EXPECT_FLOAT_EQ(score(R"({"num_labels": 1, "problem_type": "regression",
      "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}})"),
                  sigmoid);
  EXPECT_THROW(score(R"({"num_labels": 1, "sentence_transformers": {"activation_fn": "my.Own"}})"), Error);
  // It can be asked for before anything is computed.
  Labels labels = read_labels(Json::parse(R"({"num_labels": 1})", "config"), "config");
  EXPECT_NO_THROW(check_score_activation(labels));
  set_score_activation(labels, "my.Own");
  EXPECT_THROW(check_score_activation(labels), Error);
  set_score_activation(labels, "torch.nn.modules.activation.ReLU");
  EXPECT_EQ(labels.score_activation, ScoreActivation::kRelu);
}

TEST(TextClassification, AnEmptySecondTextIsNone) {
  const auto pipeline = pipeline_of("bert", "text-classification");
  const double alone = best_score(*pipeline, "a", R"({"top_k": 1})");
  EXPECT_NEAR(alone, 0.5945634, 1e-5);
  for (const char* pair : {R"({"text": "a", "text_pair": ""})", R"({"text": "a", "text_pair": null})"}) {
    EXPECT_EQ(best_score(*pipeline, Json::parse(pair, ""), R"({"top_k": 1})"), alone) << pair;
  }
  EXPECT_NE(best_score(*pipeline, Json::parse(R"({"text": "a", "text_pair": "b"})", ""), R"({"top_k": 1})"), alone);
}

TEST(Pairs, ALongFirstTextIsKeptToWhatMayStay) {
  const auto model = model_of("bert", Head::kSequenceClassification);
  const PairEncoder whole(*model, long_text()), cut(*model, long_text(), 72);
  EncodedText a = whole.with("dog"), b = cut.with("dog");
  EXPECT_EQ(a.encoding.size(), 104U);
  EXPECT_EQ(b.encoding.size(), 76U);
  for (EncodedText* text : {&a, &b}) truncate_text(*text, 30, Truncation::Strategy::kOnlyFirst);
  EXPECT_EQ(a.encoding.ids, b.encoding.ids);
}

// transformers 4.57: one object where there is one span, and an error where there is none.
TEST(QuestionAnswering, HasNoAnswerOfNothing) {
  const auto pipeline = pipeline_of("bert", "question-answering");
  const Json one =
      pipeline->run(Json::parse(R"({"question": "what", "context": "is"})", ""), Json::parse(R"({"top_k": 3})", ""));
  ASSERT_TRUE(one.is_object()) << one.dump();
  EXPECT_EQ(one.at("answer", "").as_string(""), "is");
  expect_refused(*pipeline, Json::parse(R"({"question": "what", "context": "   "})", ""), "null", "'context' has no token");
}

TEST(ZeroShot, SequencesMayBeAList) {
  const auto pipeline = pipeline_of("bert", "zero-shot-classification");
  const Json list = Json::parse(R"(["Paris", "the fox"])", ""), labels = Json::parse(R"({"candidate_labels": ["a", "b"]})", "");
  const Json object = Json::parse(R"({"sequences": ["Paris", "the fox"], "candidate_labels": "a, b"})", "");
  expect_near(pipeline->run(object), pipeline->run(list, labels), "sequences");
}

}  // namespace
}  // namespace pagoda
