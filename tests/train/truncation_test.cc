// What is too long is cut on the tokenizer's truncation_side, as in HF's scripts (ids and words of transformers 5.24).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/json.h"
#include "tests/folder.h"
#include "train/tasks/question_answering.h"
#include "train/tasks/text_classification.h"
#include "train/tasks/token_classification.h"

namespace pagoda::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kBert = PAGODA_SOURCE_DIR "/tests/fixtures/encoders/bert/";

class TruncationSide : public ::testing::Test {
 protected:
  // With a tokenizer whose config has this field too.
  std::unique_ptr<TrainingModel> open(Head head, const char* field, const char* side) {
    Json config = read_json(kBert + "tokenizer_config.json");
    folder_.write("tokenizer_config.json", config.set(field, side).dump());
    folder_.write("tokenizer.json", read_file(kBert + "tokenizer.json", 1 << 24));
    TrainingModelOptions options;
    options.runtime.threads = 1;
    options.head = head;
    options.tokenizer = folder_.path();
    return TrainingModel::open(kBert, options);
  }
  static std::vector<std::vector<int32_t>> sequences(const MicroBatch& batch) {
    const int32_t* ids = batch.inputs.ids.data<int32_t>();
    const std::vector<int32_t>& starts = *batch.layout->starts;
    std::vector<std::vector<int32_t>> all;
    for (size_t i = 0; i + 1 < starts.size(); ++i) all.emplace_back(ids + starts[i], ids + starts[i + 1]);
    std::sort(all.begin(), all.end());  // examples are shuffled
    return all;
  }
  testing::Folder folder_{"truncation_side"};
};

TEST_F(TruncationSide, OfTextsAndPairs) {
  const auto cut = [&](const char* side, const std::string& row, int64_t length) {
    const auto model = open(Head::kSequenceClassification, "truncation_side", side);
    TextClassificationOptions options;
    options.max_seq_length = length;
    options.train_files = {folder_.write("rows.jsonl", row)};
    TextClassificationTask task(*model, {}, options, {});
    return sequences(task.next(1)).at(0);
  };
  const std::string text = R"({"text": "the quick brown fox jumps over the lazy dog", "label": "O"})",
                    pair = R"({"sentence1": "a b c d", "sentence2": "b c d e f", "label": "O"})";
  EXPECT_THAT(cut("left", text, 8), ElementsAre(2, 169, 245, 202, 220, 181, 159, 3));
  EXPECT_THAT(cut("right", text, 8), ElementsAre(2, 220, 254, 239, 169, 245, 202, 3));
  EXPECT_THAT(cut("left", pair, 9), ElementsAre(2, 17, 18, 19, 3, 19, 20, 21, 3));
}

// A word that lost its begin has its tag where it goes on.
TEST_F(TruncationSide, OfWords) {
  const auto cut = [&](const char* side, int64_t length, bool all) {
    const auto model = open(Head::kTokenClassification, "truncation_side", side);
    TokenClassificationOptions options;
    options.max_seq_length = length;
    options.label_all_tokens = all;
    options.train_files = {folder_.write("rows.jsonl", R"({"tokens": ["the", "quickest", "fox", "dogs", "jump"], )"
                                                       R"("ner_tags": ["O", "B-PER", "I-PER", "B-LOC", "O"]})")};
    TokenClassificationTask task(*model, {}, options, {});
    const MicroBatch batch = task.next(1);
    const int64_t* labels = batch.labels.data<int64_t>();
    return std::pair(sequences(batch).at(0), std::vector<int64_t>(labels, labels + batch.num_labels));
  };
  using Ids = std::vector<int32_t>;
  using Tags = std::vector<int64_t>;
  EXPECT_EQ(cut("left", 6, false), std::pair(Ids({2, 169, 159, 74, 178, 3}), Tags({2, 3, 0})));
  EXPECT_EQ(cut("left", 8, false), std::pair(Ids({2, 102, 75, 169, 159, 74, 178, 3}), Tags({1, 2, 3, 0})));
  EXPECT_EQ(cut("left", 8, true), std::pair(Ids({2, 102, 75, 169, 159, 74, 178, 3}), Tags({1, 2, 2, 3, 3, 0})));
  EXPECT_EQ(cut("right", 6, false), std::pair(Ids({2, 220, 254, 102, 75, 3}), Tags({0, 1})));
}

TEST_F(TruncationSide, OfWindows) {
  QuestionAnsweringOptions options;
  options.max_seq_length = 7;
  options.doc_stride = 1;
  options.train_files = {folder_.write("rows.jsonl", R"({"question": "a b", "context": "the quick brown fox jumps", )"
                                                     R"("answers": {"text": ["fox"], "answer_start": [16]}})")};
  const auto windows = [&](const char* side) {
    const auto model = open(Head::kQuestionAnswering, "truncation_side", side);
    QuestionAnsweringTask task(*model, {}, options, {});
    return sequences(task.next(task.num_examples()));
  };
  EXPECT_THAT(windows("left"), ElementsAre(ElementsAre(2, 16, 17, 3, 169, 245, 3), ElementsAre(2, 16, 17, 3, 220, 254, 3),
                                           ElementsAre(2, 16, 17, 3, 239, 169, 3), ElementsAre(2, 16, 17, 3, 254, 239, 3)));
  const auto model = open(Head::kQuestionAnswering, "padding_side", "left");
  EXPECT_THAT(testing::message_of([&] { QuestionAnsweringTask(*model, {}, options, {}); }), HasSubstr("[padding_side]"));
}

}  // namespace
}  // namespace pagoda::train
