// Every task against HF's pipelines on the tiny encoders of tests/fixtures/encoders: texts of several scripts, pairs, lists,
// all parameters; inputs run together equal those run alone; and what is refused.
#include "pipelines/pipeline.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "pipelines/text_generation.h"
#include "tests/temporary.h"

namespace pagoda {
namespace {

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/";

LoadOptions one_thread() {
  LoadOptions options;
  options.runtime.threads = 1;
  return options;
}

std::shared_ptr<const SequenceModel> model_of(const std::string& family, Head head) {
  static std::map<std::pair<std::string, Head>, std::shared_ptr<const SequenceModel>> opened;
  std::shared_ptr<const SequenceModel>& model = opened[{family, head}];
  if (!model) model = SequenceModel::open(kFixtures + family, one_thread(), head);
  return model;
}

std::unique_ptr<Pipeline> pipeline_of(const std::string& family, const std::string& task) {
  return Pipeline::make(task, model_of(family, find_task(task).head));
}

// Numbers within 1e-4 of the largest scale that scores have, all else equal.
void expect_near(const Json& got, const Json& want, const std::string& at) {
  if (want.is_number() && !want.is_int()) {
    ASSERT_TRUE(got.is_number()) << at;
    EXPECT_NEAR(got.as_double(at), want.as_double(at), 1e-4 * std::max(1.0, std::fabs(want.as_double(at)))) << at;
  } else if (want.is_array()) {
    ASSERT_TRUE(got.is_array()) << at << ": " << got.dump() << "\nneed " << want.dump();
    ASSERT_EQ(got.size(), want.size()) << at << ": " << got.dump() << "\nneed " << want.dump();
    for (size_t i = 0; i < want.size(); ++i) {
      expect_near(got.as_array(at)[i], want.as_array(at)[i], at + "[" + std::to_string(i) + "]");
    }
  } else if (want.is_object()) {
    ASSERT_TRUE(got.is_object()) << at << ": " << got.dump();
    ASSERT_EQ(got.size(), want.size()) << at << ": " << got.dump();
    for (size_t i = 0; i < want.size(); ++i) {
      const JsonMember& member = want.as_object(at)[i];
      EXPECT_EQ(got.as_object(at)[i].key, member.key) << at;
      expect_near(got.as_object(at)[i].value, member.value, at + "." + member.key);
    }
  } else if (want.is_int() && got.is_number()) {
    EXPECT_NEAR(got.as_double(at), want.as_double(at), 1e-4) << at;
  } else {
    EXPECT_TRUE(got == want) << at << ": got " << got.dump() << ", need " << want.dump();
  }
}

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

void expect_refused(const Pipeline& pipeline, const Json& input, const std::string& parameters, const std::string& text) {
  try {
    pipeline.run(input, Json::parse(parameters, "test"));
    ADD_FAILURE() << "accepted: " << parameters;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
    EXPECT_NE(error.message().find(text), std::string::npos) << error.message();
  }
}

std::string long_text() {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "fox ";
  return text;
}

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

void set_fields(const std::string& path, const std::string& fields) {
  Json config = Json::parse(read_file(path, 1 << 20), path);
  const Json more = Json::parse(fields, "test");
  for (const JsonMember& member : more.as_object("test")) config.set(member.key, member.value);
  write_file_atomic(path, config.dump());
}

// encoders/bert with other fields in its config.json and tokenizer_config.json.
std::string bert_with(const std::string& fields, const std::string& tokenizer_fields = "{}") {
  const std::string folder = pagoda::testing::temporary_path("bert_with");
  make_directories(folder);
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}) {
    write_file_atomic(folder + "/" + name, read_file(kFixtures + "bert/" + name, 1 << 24));
  }
  set_fields(folder + "/config.json", fields);
  set_fields(folder + "/tokenizer_config.json", tokenizer_fields);
  return folder;
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

TEST(Sentences, PoolingAsSentenceTransformersHasIt) {
  const float rows[] = {1, 2, 3, -4, 5, 9};  // [3, 2]
  const auto pooled = [&](const char* mode, int64_t from = 0) {
    return pool_rows(rows, 3, 2, {parse_row_pooling(mode, "test")}, from);
  };
  EXPECT_EQ(pooled("cls"), (std::vector<double>{1, 2}));
  EXPECT_EQ(pooled("lasttoken"), (std::vector<double>{5, 9}));
  EXPECT_EQ(pooled("max"), (std::vector<double>{5, 9}));
  EXPECT_DOUBLE_EQ(pooled("mean")[0], 3);
  EXPECT_DOUBLE_EQ(pooled("mean_sqrt_len_tokens")[0], 9 / std::sqrt(3.0));
  EXPECT_DOUBLE_EQ(pooled("weightedmean")[1], (2 - 8 + 27) / 6.0);
  // Without a prompt of one row; positions stay.
  EXPECT_EQ(pooled("cls", 1), (std::vector<double>{3, -4}));
  EXPECT_EQ(pooled("max", 1), (std::vector<double>{5, 9}));
  EXPECT_DOUBLE_EQ(pooled("mean", 1)[0], 4);
  EXPECT_DOUBLE_EQ(pooled("weightedmean", 1)[1], (-8 + 27) / 5.0);
  const std::vector<double> unit = normalize_layer()->apply(pooled("mean"));
  EXPECT_NEAR(unit[0] * unit[0] + unit[1] * unit[1], 1, 1e-12);
  EXPECT_EQ(pool_rows(rows, 3, 2, {RowPooling::kCls, RowPooling::kLastToken}), (std::vector<double>{1, 2, 5, 9}));
}

// encoders/bert with what tests/fixtures/sentences/NAME has beside a model.
std::string sentence_folder(const std::string& name) {
  const std::string folder = pagoda::testing::temporary_path("sentences_" + name);
  std::filesystem::remove_all(folder);
  std::filesystem::copy(PAGODA_SOURCE_DIR "/tests/fixtures/sentences/" + name, folder,
                        std::filesystem::copy_options::recursive);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "model.safetensors", "config.json"}) {
    write_file_atomic(folder + "/" + file, read_file(kFixtures + "bert/" + file, 1 << 24));
  }
  return folder;
}

// Pooling modes as a list, Dense, LayerNorm, Dropout, Normalize anywhere, truncate_dim, prompts: sentence-transformers 6.2.0.
TEST(Sentences, FoldersGiveTheVectorsOfSentenceTransformers) {
  for (const std::string name : {"modes", "dense", "layers", "normalized_inside", "prompts"}) {
    const std::string folder = sentence_folder(name);
    const Json expected = Json::parse(read_file(folder + "/cases.json", 1 << 20), name);
    const auto pipeline = Pipeline::open("feature-extraction", folder, one_thread());
    for (const Json& each : expected.at("cases", name).as_array(name)) {
      Json parameters = each.at("parameters", name);
      parameters.set("pooling", "auto");
      const Json got = pipeline->run(expected.at("texts", name), parameters);
      expect_near(got, each.at("vectors", name), name + " " + parameters.dump());
    }
  }
}

TEST(Sentences, WhatIsNotKnownIsRefused) {
  const auto error = [](const std::string& name, const std::string& file, const std::string& text) -> std::string {
    const std::string folder = sentence_folder(name);
    write_file_atomic(folder + "/" + file, text);
    try {
      SequenceModel::open(folder, one_thread(), Head::kNone);
    } catch (const Error& caught) {
      return caught.message();
    }
    return "no error";
  };
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  EXPECT_TRUE(has(error("modes", "1_Pooling/config.json", R"({"pooling_mode": ["cls", "attention"]})"), "got 'attention'"));
  EXPECT_TRUE(has(error("modes", "1_Pooling/config.json", R"({"pooling_mode_new_tokens": true})"), "pooling_mode_new_tokens"));
  EXPECT_TRUE(has(error("modes", "1_Pooling/config.json", R"({"pooling_mode": []})"), "got 0 modes"));
  EXPECT_TRUE(has(error("dense", "2_Dense/config.json", R"({"in_features": 24, "out_features": 10,
      "activation_function": "my.Own"})"),
                  "got 'my.Own'"));
  EXPECT_TRUE(has(error("dense", "2_Dense/config.json", R"({"in_features": 24, "out_features": 11})"), "linear.weight"));
  EXPECT_TRUE(has(error("dense", "2_Dense/config.json", R"({"in_features": 24, "out_features": 10,
      "module_input_name": "token_embeddings"})"),
                  "token_embeddings"));
  EXPECT_TRUE(has(error("prompts", "config_sentence_transformers.json", R"({"default_prompt_name": "query"})"), "got 'query'"));
  // A quantised weight: it has no floats to read.
  std::string header = R"({"linear.weight":{"dtype":"F8_E4M3","shape":[10,24],"data_offsets":[0,240]},
      "linear.weight_scale":{"dtype":"F32","shape":[1],"data_offsets":[240,244]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string length{static_cast<char>(header.size() & 0xFF), static_cast<char>(header.size() >> 8), 0, 0, 0, 0, 0, 0};
  const std::string folder = sentence_folder("dense");
  write_file_atomic(folder + "/2_Dense/model.safetensors", length + header + std::string(244, '\0'));
  write_file_atomic(folder + "/2_Dense/config.json", R"({"in_features": 24, "out_features": 10, "bias": false,
      "quantization_config": {"quant_method": "fp8"}})");
  try {
    SequenceModel::open(folder, one_thread(), Head::kNone);
    FAIL();
  } catch (const Error& caught) {
    EXPECT_EQ(caught.kind(), ErrorKind::kUnsupported) << caught.message();
    EXPECT_TRUE(has(caught.message(), "linear.weight")) << caught.message();
  }
  EXPECT_EQ(error("dense", "1_Pooling/config.json", R"({"pooling_mode": "cls"})"), "no error");
  EXPECT_TRUE(has(error("dense", "1_Pooling/config.json", R"({"pooling_mode": ["cls", "max"]})"),
                  "got a vector of 48 values, need 24"));
  const auto prompts = Pipeline::open("feature-extraction", sentence_folder("prompts"), one_thread());
  EXPECT_THROW(prompts->run("Paris", Json::parse(R"({"pooling": "auto", "prompt_name": "other"})", "")), Error);
  EXPECT_THROW(prompts->run("Paris", Json::parse(R"({"prompt_name": "query"})", "")), Error);
}

// A GGUF of BERT pools as it says, with its own tokenizer.
TEST(Sentences, AGgufOfBertIsTheFolderItWasMadeOf) {
  const auto file =
      Pipeline::open("feature-extraction", PAGODA_SOURCE_DIR "/tests/fixtures/gguf/encoders/bert_f32.gguf", one_thread());
  const auto folder = Pipeline::make("feature-extraction", model_of("bert", Head::kNone));
  EXPECT_EQ(file->model().sentence().pooling, std::vector<RowPooling>{RowPooling::kCls});
  for (const char* text : {"Paris is the capital", "", "Angela lives in Berlin, and XYZZY."}) {
    expect_near(file->run(text), folder->run(text), text);
    expect_near(file->run(text, Json::parse(R"({"pooling": "auto"})", "")),
                folder->run(text, Json::parse(R"({"pooling": "cls"})", "")), text);
  }
}

// What HF takes and what it does with it.
TEST(Parameters, OlderNamesAndThoseWithoutEffect) {
  const auto same = [](const std::string& task, const Json& input, const char* one, const Json& other_input,
                       const char* other) {
    const auto pipeline = pipeline_of("bert", task);
    const Json a = pipeline->run(input, Json::parse(one, "one")), b = pipeline->run(other_input, Json::parse(other, "other"));
    EXPECT_TRUE(a == b) << task << " " << one << ": got " << a.dump() << ", need " << b.dump();
  };
  const Json text = "Paris is the capital of Bern";
  for (const char* task : {"text-classification", "token-classification", "feature-extraction"}) {
    same(task, text, R"({"batch_size": 4, "num_workers": 0})", text, "{}");
  }
  same("feature-extraction", text, R"({"return_tensors": false})", text, "{}");
  same("feature-extraction", text, R"({"truncation": true, "tokenize_kwargs": {"max_length": 4}})", text,
       R"({"tokenize_kwargs": {"truncation": true, "max_length": 4}})");
  same("token-classification", text, R"({"grouped_entities": true})", text, R"({"aggregation_strategy": "simple"})");
  same("token-classification", text, R"({"grouped_entities": true, "ignore_subwords": true})", text,
       R"({"aggregation_strategy": "first"})");
  const Json zero = Json::parse(R"({"sequences": "Paris", "candidate_labels": ["a", "b"]})", "");
  same("zero-shot-classification", zero, R"({"multi_class": true})", zero, R"({"multi_label": true})");
  const Json asked = Json::parse(R"({"question": "where", "context": "Paris is in Bern"})", "");
  same("question-answering", asked, R"({"topk": 3})", asked, R"({"top_k": 3})");
  const Json columns = Json::parse(R"({"question": ["where", "who"], "context": ["Paris is in Bern", "Angela lives"]})", "");
  const Json rows = Json::parse(R"([{"question": "where", "context": "Paris is in Bern"},
                                    {"question": "who", "context": "Angela lives"}])",
                                "");
  same("question-answering", columns, "{}", rows, "{}");
  const Json one_context = Json::parse(R"({"question": ["where", "who"], "context": "Paris is in Bern"})", "");
  const Json both = Json::parse(R"([{"question": "where", "context": "Paris is in Bern"},
                                    {"question": "who", "context": "Paris is in Bern"}])",
                                "");
  same("question-answering", one_context, "{}", both, "{}");
  // transformers 4.57: all labels as the model has them, in a list for a text alone.
  const Json all = pipeline_of("bert", "text-classification")->run(text, Json::parse(R"({"return_all_scores": true})", ""));
  ASSERT_EQ(all.as_array("")[0].size(), 5u) << all.dump();
  EXPECT_EQ(all.as_array("")[0].as_array("")[3].at("label", "").as_string(""), "B-LOC");
  EXPECT_THROW(pipeline_of("bert", "feature-extraction")
                   ->run(text, Json::parse(R"({"truncation": true, "tokenize_kwargs": {"truncation": true}})", "")),
               Error);
}

// Words are read one by one and give the entities of the text that they make.
TEST(Parameters, SplitIntoWords) {
  const auto pipeline = pipeline_of("bert", "token-classification");
  const Json words = Json::parse(R"(["Paris", "is", "in", "Bern"])", "");
  const auto run = [&](const Json& input, const char* parameters) { return pipeline->run(input, Json::parse(parameters, "")); };
  const Json whole = run("Paris is in Bern", "{}"), split = run(words, R"({"is_split_into_words": true})");
  ASSERT_EQ(split.size(), 1u);  // HF answers a list, also to one text
  expect_near(split.as_array("")[0], whole, "split");
  expect_near(run(words, R"({"is_split_into_words": true, "delimiter": "  "})").as_array("")[0],
              run("Paris  is  in  Bern", "{}"), "delimiter");
  Json two = Json::array();
  two.push_back(words);
  two.push_back(words);
  EXPECT_EQ(run(two, R"({"is_split_into_words": true})").size(), 2u);
  EXPECT_THROW(run("Paris", R"({"is_split_into_words": true})"), Error);
}

TEST(Sentences, AnOlderFolderHasItsTransformerInside) {
  const std::string folder = pagoda::testing::temporary_path("older_sentences"), inner = folder + "/0_Transformer";
  make_directories(inner);
  make_directories(folder + "/1_Pooling");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "model.safetensors", "config.json"}) {
    write_file_atomic(inner + "/" + name, read_file(kFixtures + "distilbert/" + name, 1 << 24));
  }
  const auto write_modules = [&](const std::string& last) {
    write_file_atomic(folder + "/modules.json",
                      R"([{"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"},
                          {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
                          {"type": "sentence_transformers.models.)" +
                          last + R"(", "path": "2_Last"}])");
  };
  write_modules("Normalize");
  write_file_atomic(folder + "/1_Pooling/config.json",
                    R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})");
  const auto pipeline = Pipeline::open("feature-extraction", folder, one_thread());
  EXPECT_EQ(pipeline->model().sentence().pooling, std::vector<RowPooling>{RowPooling::kCls});
  EXPECT_TRUE(pipeline->model().sentence().normalize);
  const Json cls = pipeline->run("Paris", Json::parse(R"({"pooling": "auto", "normalize": false})", ""));
  const Json rows = pipeline->run("Paris");
  expect_near(cls, rows.as_array("")[0].as_array("")[0], "cls");
  const auto similarity = Pipeline::make("sentence-similarity", SequenceModel::open(folder, one_thread(), Head::kNone));
  const Json scores = similarity->run(Json::parse(R"({"source_sentence": "Paris", "sentences": ["Paris", "Bern is"]})", ""));
  EXPECT_NEAR(scores.as_array("")[0].as_double(""), 1, 1e-6);
  EXPECT_LT(scores.as_array("")[1].as_double(""), 0.999);
  write_modules("CNN");
  EXPECT_THROW(SequenceModel::open(folder, one_thread(), Head::kNone), Error);
}

// As transformers 5 cuts: [CLS] 2, [SEP] 3; nothing where the special tokens alone are too many.
TEST(Truncation, ToTheSpecialTokensAndBelow) {
  const auto model = model_of("bert", Head::kSequenceClassification);
  const std::string second = "b c d e";
  const auto cut = [&](int64_t most, bool pair) {
    EncodedText text = model->encode("a b c d", pair ? &second : nullptr);
    truncate_text(text, most, Truncation::Strategy::kLongestFirst);
    return text.encoding.ids;
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(cut(1, false), (Ids{2, 16, 17, 18, 19, 3}));
  EXPECT_EQ(cut(2, false), (Ids{2, 3}));
  EXPECT_EQ(cut(3, false), (Ids{2, 16, 3}));
  for (const int64_t most : {1, 2}) EXPECT_EQ(cut(most, true), (Ids{2, 16, 17, 18, 19, 3, 17, 18, 19, 20, 3}));
  EXPECT_EQ(cut(3, true), (Ids{2, 3, 3}));
  EXPECT_EQ(cut(4, true), (Ids{2, 3, 17, 3}));
  EXPECT_EQ(cut(5, true), (Ids{2, 16, 3, 17, 3}));
}

constexpr const char* kLongText = "The quick fox jumps over the lazy dog in Paris and Berlin while the others look on";

double best_score(const Pipeline& pipeline, const Json& input, const std::string& parameters) {
  const Json result = pipeline.run(input, Json::parse(parameters, "test"));
  return result.as_array("")[0].at("score", "").as_double("");
}

// transformers 5.24's numbers for kLongText.
TEST(Truncation, MaxLengthAloneCutsToo) {
  const auto pipeline = pipeline_of("bert", "text-classification");
  EXPECT_NEAR(best_score(*pipeline, kLongText, R"({"top_k": 1})"), 0.5932013, 1e-5);
  EXPECT_NEAR(best_score(*pipeline, kLongText, R"({"top_k": 1, "max_length": 6})"), 0.4675086, 1e-5);
  EXPECT_NEAR(best_score(*pipeline, kLongText, R"({"top_k": 1, "max_length": 6, "padding": false})"), 0.4675086, 1e-5);
  for (const char* uncut : {R"("truncation": false)", R"("truncation": "do_not_truncate")", R"("padding": true)"}) {
    const std::string parameters = R"({"top_k": 1, "max_length": 6, )" + std::string(uncut) + "}";
    EXPECT_NEAR(best_score(*pipeline, kLongText, parameters), 0.5932013, 1e-5) << uncut;
  }
}

TEST(Truncation, OnTheSideThatTheTokenizerSays) {
  const std::string folder = bert_with("{}", R"({"truncation_side": "left"})");
  const auto left = Pipeline::open("text-classification", folder, one_thread());
  const char* cut = R"({"top_k": 1, "truncation": true, "max_length": 8})";
  EXPECT_NEAR(best_score(*left, kLongText, cut), 0.3614289, 1e-5);
  EXPECT_NEAR(best_score(*pipeline_of("bert", "text-classification"), kLongText, cut), 0.5199185, 1e-5);
  const std::string second = "b c d e";
  const auto ids = [&](const std::string* pair) {
    EncodedText text = left->model().encode("a b c d", pair);
    truncate_text(text, 6, Truncation::Strategy::kLongestFirst);
    return text.encoding.ids;
  };
  EXPECT_EQ(ids(&second), (std::vector<int32_t>{2, 19, 3, 19, 20, 3}));
  // A pair whose first text was encoded once is cut alike.
  EncodedText pair = PairEncoder(left->model(), "a b c d").with(second);
  truncate_text(pair, 6, Truncation::Strategy::kLongestFirst);
  EXPECT_EQ(pair.encoding.ids, ids(&second));
  EXPECT_THROW(Pipeline::open("fill-mask", bert_with("{}", R"({"truncation_side": "middle"})"), one_thread()), Error);
  const std::string padded = bert_with("{}", R"({"padding_side": "left"})");
  EXPECT_NO_THROW(Pipeline::open("text-classification", padded, one_thread()));
  EXPECT_THROW(Pipeline::open("question-answering", padded, one_thread()), Error);
}

// Parts are counted from the end (transformers 5.24: aggregation_strategy simple, stride 3, model_max_length 12).
TEST(Truncation, WindowsBeginAtTheSideThatIsKept) {
  const std::string folder = bert_with("{}", R"({"truncation_side": "left", "model_max_length": 12})");
  const Json result = Pipeline::open("token-classification", folder, one_thread())
                          ->run(kLongText, Json::parse(R"({"aggregation_strategy": "simple", "stride": 3})", ""));
  const std::vector<std::pair<int64_t, int64_t>> places = {{0, 9},   {10, 24}, {34, 37}, {38, 40}, {41, 46}, {47, 57},
                                                           {60, 61}, {61, 63}, {64, 74}, {75, 78}, {80, 82}};
  const double scores[] = {0.44414, 0.54231, 0.58283, 0.47413, 0.54873, 0.38352, 0.34942, 0.58082, 0.47749, 0.37413, 0.37598};
  ASSERT_EQ(result.size(), places.size()) << result.dump();
  for (size_t i = 0; i < places.size(); ++i) {
    const Json& entity = result.as_array("")[i];
    EXPECT_EQ(entity.at("start", "").as_int(""), places[i].first) << i;
    EXPECT_EQ(entity.at("end", "").as_int(""), places[i].second) << i;
    EXPECT_NEAR(entity.at("score", "").as_double(""), scores[i], 2e-5) << i;
  }
}

TEST(Truncation, OfTextsThatBecomeOneVector) {
  const auto pipeline = pipeline_of("bert", "feature-extraction");
  const auto vector = [&](const std::string& text, const std::string& more) {
    return pipeline->run(text, Json::parse(R"({"pooling": "mean")" + more + "}", "test"));
  };
  const Json begin = vector("the quick", "");
  expect_near(vector("the quick fox jumps", R"(, "truncation": true, "max_length": 4)"), begin, "both");
  expect_near(vector("the quick fox jumps", R"(, "max_length": 4)"), begin, "max_length");
  expect_near(vector("the quick fox jumps", R"(, "tokenize_kwargs": {"max_length": 4})"), begin, "tokenize_kwargs");
  EXPECT_FALSE(vector("the quick fox jumps", "") == begin);
  EXPECT_NO_THROW(vector(long_text(), ""));  // as sentence-transformers
  expect_refused(*pipeline, long_text(), R"({"pooling": "mean", "truncation": false})", "need at most 72");
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

TEST(Requests, ParametersAreReadOnceAndBefore) {
  const auto fill = pipeline_of("bert", "fill-mask");
  expect_refused(*fill, Json::array(), R"({"targets": ["a"], "other": 1})", "unknown for fill-mask: got 'other'");
  Json targets = Json::array();
  for (int64_t i = 0; i <= fill->model().model().vocab_size(); ++i) targets.push_back("a");
  expect_refused(*fill, Json::array(), R"({"targets": )" + targets.dump() + "}", "need at most the ");
  const Json twice = fill->run("[MASK]", Json::parse(R"({"targets": ["fox", "dog", "fox"]})", ""));
  EXPECT_EQ(twice.size(), 2U) << twice.dump();
}

TEST(Requests, StopWhereTheirCallerSaysSo) {
  struct Stopped {};
  const auto pipeline = pipeline_of("bert", "text-classification");
  const Json list = Json::parse(R"(["a", "b", "c", "d"])", "");
  int calls = 0;
  PrepareOptions options;
  options.check = [&] {
    if (++calls == 3) throw Stopped();
  };
  EXPECT_THROW(pipeline->prepare(list, {}, options), Stopped);
  calls = -1;  // four inputs are read, and the first pass does not begin
  options.check = [&] {
    if (++calls == 4) throw Stopped();
  };
  EXPECT_THROW(pipeline->run(list, {}, options), Stopped);
  options.check = {};
  EXPECT_EQ(pipeline->run(list, {}, options).size(), 4U);
}

TEST(Requests, ListsAreCountedWhereverTheyStand) {
  PrepareOptions options;
  options.max_inputs = 2;
  const auto refused = [&](const char* task, const char* input) {
    try {
      pipeline_of("bert", task)->prepare(Json::parse(input, ""), {}, options);
    } catch (const Error& error) {
      return error.message().find("too many: got 3, need at most 2") != std::string::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused("text-classification", R"(["a", "b", "c"])"));
  EXPECT_FALSE(refused("text-classification", R"(["a", "b"])"));
  EXPECT_TRUE(refused("question-answering", R"({"question": ["a", "b", "c"], "context": "d"})"));
  EXPECT_TRUE(refused("zero-shot-classification", R"({"sequences": ["a", "b", "c"], "candidate_labels": ["d"]})"));
}

TEST(Requests, ContextsThatAnswersNeedAreCounted) {
  Json questions = Json::array();
  for (int i = 0; i < 40; ++i) questions.push_back("a");
  const Json input = Json::object().set("question", questions).set("context", std::string(1 << 20, 'x'));  // one [UNK] each
  expect_refused(*pipeline_of("bert", "question-answering"), input, "null", "bytes of texts kept");
}

TEST(Requests, OffsetsAreThereForTasksThatReadThem) {
  const auto model = model_of("bert", Head::kSequenceClassification);
  const Encoding plain = model->encode("a fox").encoding, full = model->encode_with_offsets("a fox").encoding;
  EXPECT_EQ(plain.ids, full.ids);
  EXPECT_EQ(plain.special_tokens_mask, full.special_tokens_mask);
  EXPECT_TRUE(plain.offsets.empty() && plain.tokens.empty() && plain.word_ids.empty());
  EXPECT_EQ(full.offsets.size(), full.ids.size());
  EXPECT_EQ(full.tokens.size(), full.ids.size());
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

TEST(Sentences, OutputsOfTheModelThatAreNotReadAreRefused) {
  const std::string folder = sentence_folder("dense");
  const auto error = [&](const char* config) -> std::string {
    write_file_atomic(folder + "/sentence_bert_config.json", config);
    try {
      read_sentence_config(folder);
    } catch (const Error& caught) {
      EXPECT_EQ(caught.kind(), ErrorKind::kUnsupported) << caught.message();
      return caught.message();
    }
    return "";
  };
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  EXPECT_TRUE(has(error(R"({"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}},
                            "module_output_name": "token_embeddings"})"),
                  "method_output_name: got 'pooler_output', need last_hidden_state"));
  EXPECT_TRUE(has(error(R"({"module_output_name": "sentence_embedding"})"), "module_output_name"));
  EXPECT_TRUE(has(error(R"({"transformer_task": "fill-mask"})"), "transformer_task"));
  EXPECT_TRUE(has(error(R"({"modality_config": {"image": {}}})"), "no text"));
  EXPECT_TRUE(has(error(R"({"modality_config": {"text": {"method": "get_text_features"}}})"), "method: got"));
  EXPECT_TRUE(has(error(R"({"processing_kwargs": {"text": {"padding": "max_length"}}})"), "processing_kwargs"));
  EXPECT_EQ(error(R"({"processing_kwargs": {}, "max_seq_length": 20})"), "");
  // A CrossEncoder's.
  EXPECT_EQ(error(R"({"transformer_task": "sequence-classification", "module_output_name": "scores",
                      "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}}})"),
            "");
}

}  // namespace
}  // namespace pagoda
