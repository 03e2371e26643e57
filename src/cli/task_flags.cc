// Text classification, token classification, question answering.
#include "cli/task_flags.h"

#include "train/tasks/label_names.h"
#include "train/tasks/question_answering.h"
#include "train/tasks/text_classification.h"
#include "train/tasks/token_classification.h"

namespace pagoda::cli {

namespace {

using Files = std::vector<std::string>;

void add_format(Verb verb, train::RecordOptions& records) {
  verb->add_option("--data-format", records.format, "Of the rows")
      ->check(one_of({"auto", "jsonl", "csv", "tsv", "tfrecord"}))
      ->capture_default_str();
}

class TextClassification final : public LabelledTask {
 public:
  const char* name() const override { return "text-classification"; }
  Head head() const override { return Head::kSequenceClassification; }
  void add_flags(Verb verb) override {
    verb->add_option(
            "--text-column-names", options_.text_columns,
            "Column of the text, or two of a pair (default: sentence1 and sentence2, sentence, text, else the first ones)")
        ->delimiter(',');
    verb->add_option("--label-column-name", options_.label_column, "Column of the label: a name, a number, or a list of labels")
        ->capture_default_str();
    verb->add_option("--max-seq-length", options_.max_seq_length, "Tokens of a row; longer ones are cut")
        ->capture_default_str();
    verb->add_flag("--do-regression", options_.do_regression,
                   "Labels are numbers to come near to (numbers with fractions are anyway)");
    add_format(verb, options_.records);
  }
  Json config_of_data(const Json& config, const Files& train_files) override {
    options_.train_files = train_files;
    return train::classification_overrides(config, options_);
  }
  std::unique_ptr<train::Task> make(train::TrainingModel& model, const train::TrainingArguments& arguments,
                                    const Files& train_files, const Files& validation_files, const TaskHooks& hooks) override {
    options_.train_files = train_files;
    options_.validation_files = validation_files;
    return std::make_unique<train::TextClassificationTask>(model, arguments, options_, hooks);
  }

 private:
  train::TextClassificationOptions options_;
};

class TokenClassification final : public LabelledTask {
 public:
  const char* name() const override { return "token-classification"; }
  Head head() const override { return Head::kTokenClassification; }
  void add_flags(Verb verb) override {
    verb->add_option("--text-column-name", options_.text_column, "Column of the words (default: tokens, words)");
    verb->add_option("--label-column-name", options_.label_column,
                     "Column of the tags (default: ner_tags, tags, labels, pos_tags)");
    verb->add_option("--max-seq-length", options_.max_seq_length,
                     "Tokens of a row; longer ones are cut (default: the model's most)");
    verb->add_flag("--label-all-tokens", options_.label_all_tokens, "Later tokens of a word learn its tag too");
    verb->add_flag("--return-entity-level-metrics", options_.return_entity_level_metrics, "Scores of each type of entity");
    add_format(verb, options_.records);
  }
  Json config_of_data(const Json& config, const Files& train_files) override {
    options_.train_files = train_files;
    return train::tagging_overrides(config, options_);
  }
  std::unique_ptr<train::Task> make(train::TrainingModel& model, const train::TrainingArguments& arguments,
                                    const Files& train_files, const Files& validation_files, const TaskHooks& hooks) override {
    options_.train_files = train_files;
    options_.validation_files = validation_files;
    return std::make_unique<train::TokenClassificationTask>(model, arguments, options_, hooks);
  }

 private:
  train::TokenClassificationOptions options_;
};

class QuestionAnswering final : public LabelledTask {
 public:
  const char* name() const override { return "question-answering"; }
  Head head() const override { return Head::kQuestionAnswering; }
  void add_flags(Verb verb) override {
    verb->add_option("--max-seq-length", options_.max_seq_length, "Tokens of a window: question and part of the context")
        ->capture_default_str();
    verb->add_option("--doc-stride", options_.doc_stride, "Tokens that two windows share")->capture_default_str();
    verb->add_option("--n-best-size", options_.answers.n_best_size, "Candidates looked at")
        ->check(in_range(1, 1000))
        ->capture_default_str();
    verb->add_option("--max-answer-length", options_.answers.max_answer_length, "Tokens of an answer")
        ->check(positive())
        ->capture_default_str();
    verb->add_flag("--version-2-with-negative", options_.answers.version_2_with_negative,
                   "Some questions have no answer (SQuAD 2.0)");
    verb->add_option("--null-score-diff-threshold", options_.answers.null_score_diff_threshold,
                     "No answer is given where it is better by more than this")
        ->capture_default_str();
    verb->add_option("--question-column", options_.question_column, "Column of the question")->capture_default_str();
    verb->add_option("--context-column", options_.context_column, "Column of the text that holds the answer")
        ->capture_default_str();
    verb->add_option("--answer-column", options_.answer_column,
                     "Column of the answers: {\"text\": [...], \"answer_start\": [...]}")
        ->capture_default_str();
    verb->add_option("--predictions-file", options_.predictions_file,
                     "Write the answers of the last evaluation, as SQuAD's scorer reads them");
    add_format(verb, options_.records);
  }
  Json config_of_data(const Json& config, const Files&) override {
    // transformers takes the two columns of the head for labels.
    if (read_labels(config, "config.json").names.size() == 2) return Json::object();
    return train::label_overrides(config, {"LABEL_0", "LABEL_1"}, "");
  }
  std::unique_ptr<train::Task> make(train::TrainingModel& model, const train::TrainingArguments& arguments,
                                    const Files& train_files, const Files& validation_files, const TaskHooks& hooks) override {
    options_.train_files = train_files;
    options_.validation_files = validation_files;
    return std::make_unique<train::QuestionAnsweringTask>(model, arguments, options_, hooks);
  }

 private:
  train::QuestionAnsweringOptions options_;
};

}  // namespace

std::vector<std::shared_ptr<LabelledTask>> labelled_tasks() {
  return {std::make_shared<TextClassification>(), std::make_shared<TokenClassification>(),
          std::make_shared<QuestionAnswering>()};
}

}  // namespace pagoda::cli
