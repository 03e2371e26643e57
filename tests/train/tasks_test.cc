// Tasks with labels against transformers (tests/fixtures/tasks.py): losses, answers, tags; labels of data and model; resuming.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <thread>

#include "base/json.h"
#include "ops/tape.h"
#include "tests/folder.h"
#include "train/tasks/label_names.h"
#include "train/tasks/question_answering.h"
#include "train/tasks/text_classification.h"
#include "train/tasks/token_classification.h"

namespace pagoda::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

const Json& cases(const std::string& family, const char* task) {
  static const Json kAll = Json::parse(read_file(kFixtures + "tasks/tasks.json", 1 << 24), "tasks.json");
  return kAll.at(family, "tasks.json").at(task, family);
}

std::unique_ptr<TrainingModel> open(const std::string& family, Head head, Json overrides = {}) {
  TrainingModelOptions options;
  options.runtime.threads = 1;
  options.head = head;
  options.config_overrides = std::move(overrides);
  return TrainingModel::open(kFixtures + "encoders/" + family, options);
}

TrainingArguments arguments() {
  TrainingArguments arguments;
  arguments.per_device_eval_batch_size = 3;
  return arguments;
}

std::string lines(const Json& rows, const char* column = nullptr, const Json* values = nullptr) {
  std::string text;
  size_t i = 0;
  for (Json row : rows.as_array("rows")) {
    if (column != nullptr) row.set(column, values->as_array(column)[i++]);
    text += row.dump() + "\n";
  }
  return text;
}

// Under the names that the task said before.
std::map<std::string, double> evaluate(Task& task, TrainingModel& model) {
  std::map<std::string, double> out;
  std::vector<std::string> names;
  for (const auto& [name, value] : task.evaluate(model.model(), {}, nullptr)) {
    out[name] = value;
    names.push_back(name);
  }
  EXPECT_THAT(task.metric_names(), ::testing::UnorderedElementsAreArray(names));
  return out;
}

// Two ranks, each with a task and a model of its own, find together what one finds alone, to the bit.
void expect_equal_in_ranks(const std::map<std::string, double>& alone,
                           const std::function<std::map<std::string, double>(Communicator*)>& run) {
  auto ranks = make_local_communicators(2);
  std::map<std::string, double> first, second;
  std::thread other([&] { second = run(ranks[1].get()); });
  first = run(ranks[0].get());
  other.join();
  EXPECT_EQ(first, alone);
  EXPECT_TRUE(second.empty());
}

template <class Task, class Options>
std::function<std::map<std::string, double>(Communicator*)> in_ranks(const std::string& family, Head head,
                                                                     const Options& options) {
  return [=](Communicator* ranks) {
    const auto model = open(family, head);
    Options own = options;
    Task task(*model, arguments(), own, {});
    std::map<std::string, double> out;
    for (const auto& [name, value] : task.evaluate(model->model(), {}, ranks)) out[name] = value;
    return out;
  };
}

class Tasks : public ::testing::TestWithParam<std::string> {
 protected:
  testing::Folder folder_{"tasks"};
};

TEST_P(Tasks, TextClassification) {
  const Json& want = cases(GetParam(), "classification");
  TextClassificationOptions options;
  options.max_seq_length = want.at("max_length", "case").as_int("case");
  options.validation_files = {folder_.write("rows.jsonl", lines(want.at("rows", "case")))};
  const auto model = open(GetParam(), Head::kSequenceClassification);
  TextClassificationTask task(*model, arguments(), options, {});
  const auto got = evaluate(task, *model);
  EXPECT_NEAR(got.at("loss"), want.at("loss", "case").as_double("case"), 1e-5);
  EXPECT_NEAR(got.at("accuracy"), want.at("accuracy", "case").as_double("case"), 1e-12);
  expect_equal_in_ranks(got, in_ranks<TextClassificationTask>(GetParam(), Head::kSequenceClassification, options));
}

TEST_P(Tasks, RegressionAndSeveralLabels) {
  const Json& want = cases(GetParam(), "classification");
  TextClassificationOptions options;
  options.max_seq_length = want.at("max_length", "case").as_int("case");
  const std::vector<std::array<const char*, 3>> kinds{
      {{"regression", "numbers", "mse"}, {"multi_label_classification", "several", "bce"}}};
  for (const auto& [problem, column, loss] : kinds) {
    options.validation_files = {folder_.write("rows.jsonl", lines(want.at("rows", "case"), "label", want.find(column)))};
    const auto model = open(GetParam(), Head::kSequenceClassification, Json::object().set("problem_type", problem));
    TextClassificationTask task(*model, arguments(), options, {});
    EXPECT_NEAR(evaluate(task, *model).at("loss"), want.at(loss, "case").as_double("case"), 1e-5) << problem;
  }
}

TEST_P(Tasks, TokenClassification) {
  const Json& want = cases(GetParam(), "tagging");
  TokenClassificationOptions options;
  options.max_seq_length = want.at("max_length", "case").as_int("case");
  options.validation_files = {folder_.write("rows.jsonl", lines(want.at("rows", "case")))};
  const auto model = open(GetParam(), Head::kTokenClassification);
  for (const bool all : {false, true}) {
    options.label_all_tokens = all;
    TokenClassificationTask task(*model, arguments(), options, {});
    const auto got = evaluate(task, *model);
    EXPECT_NEAR(got.at("loss"), want.at(all ? "loss_all" : "loss_first", "case").as_double("case"), 1e-5);
    EXPECT_EQ(got.count("f1"), 1u);
    expect_equal_in_ranks(got, in_ranks<TokenClassificationTask>(GetParam(), Head::kTokenClassification, options));
  }
  // Of the types that the labels have: which of them are found is not known before.
  options.return_entity_level_metrics = true;
  TokenClassificationTask by_type(*model, arguments(), options, {});
  const std::vector<std::string> names = by_type.metric_names();
  EXPECT_THAT(names, ::testing::IsSupersetOf({"loss", "PER_f1", "LOC_number", "overall_f1", "overall_accuracy"}));
  for (const auto& [name, value] : by_type.evaluate(model->model(), {}, nullptr)) EXPECT_THAT(names, ::testing::Contains(name));
}

TEST_P(Tasks, QuestionAnswering) {
  const Json& want = cases(GetParam(), "answering");
  QuestionAnsweringOptions options;
  options.max_seq_length = want.at("max_length", "case").as_int("case");
  options.doc_stride = want.at("doc_stride", "case").as_int("case");
  options.predictions_file = folder_ / "predictions.json";
  const auto model = open(GetParam(), Head::kQuestionAnswering);
  for (const bool second : {false, true}) {
    options.answers.version_2_with_negative = second;
    options.answers.null_score_diff_threshold = second ? 1 : 0;
    Json rows = Json::array();
    for (const Json& row : want.at("rows", "case").as_array("rows")) {
      if (second || row.at("answers", "row").at("text", "row").size() > 0) rows.push_back(row);
    }
    options.validation_files = {folder_.write("rows.jsonl", lines(rows))};
    QuestionAnsweringTask task(*model, arguments(), options, {});
    const auto got = evaluate(task, *model);
    if (second) {
      EXPECT_NEAR(got.at("loss"), want.at("loss", "case").as_double("case"), 1e-5);
    }
    EXPECT_EQ(got.count(second ? "HasAns_f1" : "exact_match"), 1u);
    expect_equal_in_ranks(got, in_ranks<QuestionAnsweringTask>(GetParam(), Head::kQuestionAnswering, options));
    const Json answers = Json::parse(read_file(options.predictions_file, 1 << 20), "predictions");
    for (const Json& row : rows.as_array("rows")) {
      const std::string id = row.at("id", "row").as_string("id");
      EXPECT_EQ(answers.at(id, "predictions").as_string(id),
                want.at(second ? "answers_2" : "answers", "case").at(id, "case").as_string(id))
          << id;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Tasks, ::testing::Values("bert", "roberta"),
                         [](const auto& family) { return family.param; });

TEST(SquadFile, IsReadAsItIs) {
  const testing::Folder folder("squad_file");
  QuestionAnsweringOptions options;
  options.max_seq_length = 40;
  options.doc_stride = 8;
  options.answers.version_2_with_negative = true;
  options.train_files = {folder.write("squad.json", cases("bert", "squad").dump())};
  const auto model = open("bert", Head::kQuestionAnswering);
  QuestionAnsweringTask task(*model, arguments(), options, {});
  EXPECT_EQ(task.num_examples(), cases("bert", "answering").at("windows", "case").as_int("case"));
}

TEST(Labels, OfData) {
  LabelCollector words, numbers, fractions, lists;
  for (const char* name : {"b", "a", "c", "a"}) words.add(Json(name), "row");
  EXPECT_THAT(words.names(), ElementsAre("a", "b", "c"));
  for (const char* name : {"10", "9", "0"}) numbers.add(Json(name), "row");
  EXPECT_THAT(numbers.names(), ElementsAre("0", "9", "10"));
  EXPECT_FALSE(numbers.fractions());
  for (const double number : {1.0, 0.5}) fractions.add(Json(number), "row");
  EXPECT_TRUE(fractions.fractions());
  lists.add(Json::parse(R"(["x", "y"])", "row"), "row");
  lists.add(Json::array(), "row");
  EXPECT_TRUE(lists.lists());
  EXPECT_THAT(lists.names(), ElementsAre("x", "y"));
  EXPECT_THROW(words.add(Json(nullptr), "row"), Error);
}

// "1.5", "2.5", "old": the first are names all the same, in whatever order they come.
TEST(Labels, NumbersBesideNamesAreNames) {
  std::vector<std::string> values{"1.5", "2.5", "old"};
  do {
    LabelCollector labels;
    for (const std::string& value : values) labels.add(Json(value), "row");
    EXPECT_FALSE(labels.fractions());
    EXPECT_THAT(labels.names(), ElementsAre("1.5", "2.5", "old"));
  } while (std::next_permutation(values.begin(), values.end()));
  LabelCollector regression;
  for (int i = 0; i < 100'100; ++i) regression.add(Json(i + 0.5), "row");  // more values than there may be labels
  EXPECT_TRUE(regression.fractions());
  EXPECT_THROW(regression.add(Json("old"), "row"), Error);
}

TEST(Labels, OfModels) {
  const Json named = Json::parse(R"({"id2label": {"0": "NEG", "1": "POS"}})", "config");
  const Json plain = Json::parse(R"({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "num_labels": 2})", "config");
  EXPECT_TRUE(keeps_labels(named, {"NEG", "POS"}, "config"));
  EXPECT_TRUE(keeps_labels(named, {"0", "1"}, "config"));
  EXPECT_FALSE(keeps_labels(named, {"NEG", "NEUTRAL"}, "config"));
  EXPECT_FALSE(keeps_labels(named, {"0", "2"}, "config"));
  EXPECT_FALSE(keeps_labels(plain, {"0", "1"}, "config"));
  const Json overrides = label_overrides(plain, {"a", "b", "c"}, "single_label_classification");
  EXPECT_EQ(overrides.dump(), R"({"id2label":{"0":"a","1":"b","2":"c"},"label2id":{"a":0,"b":1,"c":2},)"
                              R"("problem_type":"single_label_classification","num_labels":3})");
  const Labels labels = read_labels(named, "config");
  EXPECT_EQ(label_id(labels, "POS", "row"), 1);
  EXPECT_EQ(label_id(labels, "0", "row"), 0);
  EXPECT_THROW(label_id(labels, "2", "row"), Error);
  EXPECT_THROW(label_id(labels, "other", "row"), Error);
}

class LabelledRows : public ::testing::Test {
 protected:
  TextClassificationOptions csv(const std::string& text) {
    TextClassificationOptions options;
    options.train_files = {folder_.write("rows.csv", text)};
    return options;
  }
  std::string error(const std::string& text) {
    try {
      const auto model = open("bert", Head::kSequenceClassification);
      TextClassificationTask(*model, arguments(), csv(text), {});
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
      return error.message();
    }
    return "";
  }
  testing::Folder folder_{"rows"};
};

TEST_F(LabelledRows, ConfigsOfTheData) {
  const Json config = Json::object();
  EXPECT_EQ(classification_overrides(config, csv("text,label\nx,1\ny,0\n")).at("id2label", "o").dump(), R"({"0":"0","1":"1"})");
  EXPECT_EQ(classification_overrides(config, csv("text,label\nx,1.5\ny,0\n")).at("problem_type", "o").dump(),
            R"("regression")");
  EXPECT_THROW(classification_overrides(config, csv("text,label\nx,1\ny,1\n")), Error);
}

// run_ner: the first column and the second, where none has a name that it knows.
TEST_F(LabelledRows, TagsAreInTheSecondColumn) {
  TokenClassificationOptions options;
  options.train_files = {folder_.write("rows.jsonl", R"({"sentence": ["a", "b"], "ner": ["O", "B-X"]}
)")};
  EXPECT_EQ(tagging_overrides(Json::object(), options).at("id2label", "o").dump(), R"({"0":"B-X","1":"O"})");
  options.train_files = {folder_.write("rows.jsonl", "{\"sentence\": [\"a\"]}\n")};
  EXPECT_THAT(testing::message_of([&] { tagging_overrides(Json::object(), options); }), HasSubstr("--label-column-name"));
}

TEST_F(LabelledRows, SmoothingIsOfClasses) {
  TrainingArguments smooth = arguments();
  smooth.label_smoothing_factor = 0.1;
  const auto model = open("bert", Head::kSequenceClassification, Json::object().set("problem_type", "regression"));
  EXPECT_THAT(testing::message_of([&] { TextClassificationTask(*model, smooth, csv("text,label\nx,1.5\n"), {}); }),
              HasSubstr("--label-smoothing-factor"));
}

TEST_F(LabelledRows, TheFirstRowsAlone) {
  TrainingArguments few = arguments();
  few.max_train_samples = 2;
  const std::string text = "text,label\nx,O\ny,O\nz,O\n";
  const auto model = open("bert", Head::kSequenceClassification);
  EXPECT_EQ(TextClassificationTask(*model, few, csv(text), {}).num_examples(), 2);
  EXPECT_EQ(TextClassificationTask(*model, arguments(), csv(text), {}).num_examples(), 3);
}

TEST_F(LabelledRows, BadOnesAreNamed) {
  EXPECT_THAT(error("text,label\nx,O\ny,nobody\n"), HasSubstr("rows.csv:3"));
  EXPECT_THAT(error("text,kind\nx,O\n"), HasSubstr("--label-column-name"));
  EXPECT_THAT(error("label\nO\n"), HasSubstr("--text-column-names"));
}

TEST_F(LabelledRows, OrderOfEpochsRanksAndResuming) {
  std::string text = "text,label\n";
  for (int i = 0; i < 7; ++i) text += std::string(static_cast<size_t>(i + 1), 'a') + " the,O\n";
  const auto model = open("bert", Head::kSequenceClassification);
  const auto lengths = [](const MicroBatch& batch) {
    return std::multiset<int32_t>(batch.layout->lengths.begin(), batch.layout->lengths.end());
  };
  TextClassificationTask whole(*model, arguments(), csv(text), {});
  const MicroBatch first = whole.next(4);
  const Json place = whole.state();
  const MicroBatch second = whole.next(3), third = whole.next(4);
  EXPECT_NE(lengths(first), lengths(third));  // another order in the next epoch
  TextClassificationTask resumed(*model, arguments(), csv(text), {});
  resumed.restore(place);
  EXPECT_EQ(lengths(resumed.next(3)), lengths(second));
  EXPECT_EQ(lengths(resumed.next(4)), lengths(third));
  // Two ranks together have what one has.
  std::multiset<int32_t> both;
  for (int rank = 0; rank < 2; ++rank) {
    TrainingArguments of_rank = arguments();
    of_rank.rank = rank;
    of_rank.world = 2;
    TextClassificationTask task(*model, of_rank, csv(text), {});
    EXPECT_EQ(task.num_examples(), 3);
    both.merge(lengths(task.next(2)));
  }
  EXPECT_EQ(both, lengths(first));
  TextClassificationTask other(*model, arguments(), csv(text + "b,O\n"), {});
  EXPECT_THROW(other.restore(place), Error);
}

// Other labels, or the same tokens cut into other rows, are other data.
TEST_F(LabelledRows, ResumingSeesOtherLabelsAndOtherRows) {
  const auto refuses = [&](TrainingModel& model, const std::string& before, const std::string& after) {
    const auto options = [&](const std::string& rows) {
      TextClassificationOptions made;
      made.train_files = {folder_.write("rows.jsonl", rows)};
      return made;
    };
    TextClassificationTask first(model, arguments(), options(before), {}), second(model, arguments(), options(after), {});
    return testing::message_of([&] { second.restore(first.state()); }).find("other examples") != std::string::npos;
  };
  const auto row = [](const char* text, const char* label) {
    return std::string(R"({"text": ")") + text + R"(", "label": )" + label + "}\n";
  };
  const auto one = open("bert", Head::kSequenceClassification);
  const std::string before = row("a", "0") + row("b", "1");
  EXPECT_FALSE(refuses(*one, before, before));
  EXPECT_TRUE(refuses(*one, before, row("a", "1") + row("b", "0")));
  const auto numbers = open("bert", Head::kSequenceClassification, Json::object().set("problem_type", "regression"));
  EXPECT_TRUE(refuses(*numbers, row("a", "[1.5, 0, 0, 0, 0]"), row("a", "[1.25, 0, 0, 0, 0]")));
  EXPECT_NE(hash_ids({3}, hash_ids({1, 2})), hash_ids({2, 3}, hash_ids({1})));
  const auto tagged = open("bert", Head::kTokenClassification);
  const auto tags = [&](const char* name, const std::string& of) {
    TokenClassificationOptions options;
    options.train_files = {folder_.write(name, R"({"tokens": ["a", "b"], "ner_tags": )" + of + "}\n")};
    return options;
  };
  TokenClassificationTask first(*tagged, arguments(), tags("before.jsonl", R"(["O", "B-PER"])"), {});
  TokenClassificationTask same(*tagged, arguments(), tags("same.jsonl", R"(["O", "B-PER"])"), {});
  TokenClassificationTask swapped(*tagged, arguments(), tags("swapped.jsonl", R"(["B-PER", "O"])"), {});
  same.restore(first.state());
  // Checkpoints of earlier versions had another sum under another name: of them the number of examples is compared.
  const Json now = first.state();
  Json old = Json::object();
  for (const char* key : {"epoch", "position", "examples", "seed"}) old.set(key, now.at(key, "state"));
  old.set("contents", "0123456789abcdef");
  same.restore(old);
  EXPECT_THROW(same.restore(old.set("examples", now.get_int("examples", 0, "state") + 1)), Error);
  EXPECT_THROW(swapped.restore(first.state()), Error);
}

}  // namespace
}  // namespace pagoda::train
