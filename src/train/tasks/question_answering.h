// Questions whose answers are spans of a context (HF's run_qa): long contexts in overlapping windows, SQuAD's scores.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "metrics/squad.h"
#include "train/data/records.h"
#include "train/tasks/answer_spans.h"
#include "train/tasks/memory_task.h"

namespace pagoda::train {

struct QuestionAnsweringOptions {
  std::vector<std::string> train_files, validation_files;
  RecordOptions records;
  std::string question_column = "question", context_column = "context", answer_column = "answers";
  int64_t max_seq_length = 384, doc_stride = 128;  // tokens of a window; tokens that two windows share
  AnswerOptions answers;
  std::string predictions_file;  // the answers of the last evaluation as {"id": "text"}; empty: none
};

// An example of the data set may be several windows: each is a training example of its own, as in run_qa.
class QuestionAnsweringTask : public MemoryTask {
 public:
  QuestionAnsweringTask(TrainingModel& model, const TrainingArguments& arguments, const QuestionAnsweringOptions& options,
                        const TaskHooks& hooks);

 protected:
  MicroBatch batch(Split split, const std::vector<int64_t>& examples, const std::vector<uint64_t>& numbers) const override;
  Tensor loss_of(const Tensor& logits, const MicroBatch& batch, int64_t count) const override;
  void begin_scores() override;
  void take_scores(const std::vector<int64_t>& examples, const MicroBatch& batch, const Tensor& logits) override;
  Metrics end_scores() override;
  std::vector<std::string> score_names() const override;

 private:
  struct Window {
    std::vector<int32_t> ids, types;
    int64_t start = 0, end = 0;                        // tokens of the answer; [CLS] where it is not in the window
    size_t question = 0;                               // of questions_; of validation only
    std::vector<std::pair<int64_t, int64_t>> offsets;  // of validation only
  };
  struct Question {
    std::string id, context;
    std::vector<std::string> answers;
    size_t windows = 0;
  };
  struct Answer {
    std::string text;
    int64_t start = 0;  // code point of the context
  };
  std::vector<Window> read(const std::vector<std::string>& files, Split split, const TaskHooks& hooks);
  std::vector<Answer> answers_of(const Json& record, const std::string& where) const;
  void add_windows(const Json& record, const std::string& where, Split split, std::vector<Window>& windows);

  QuestionAnsweringOptions options_;
  int64_t max_length_ = 0;
  std::optional<int32_t> cls_;
  bool types_ = false;
  std::vector<Window> train_, validation_;
  std::vector<Question> questions_;         // of validation
  std::vector<AnswerWindow> open_windows_;  // of the question whose windows are coming
  std::vector<SquadSample> scored_;
  Json::Object predictions_;
};

}  // namespace pagoda::train
