// Texts or pairs of texts to one label, to several at once, or to a number (HF's run_glue and run_classification).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/labels.h"
#include "train/data/records.h"
#include "train/tasks/memory_task.h"

namespace pagoda::train {

struct TextClassificationOptions {
  std::vector<std::string> train_files, validation_files;
  RecordOptions records;
  // One or two; empty: sentence1 and sentence2, else sentence or text, else the first (two) that are not the label, as
  // run_glue.
  std::vector<std::string> text_columns;
  std::string label_column = "label";
  int64_t max_seq_length = 128;
  bool do_regression = false;
};

// Fields for the config of a model that learns these files: labels and problem_type. Reads them once.
Json classification_overrides(const Json& config, const TextClassificationOptions& options);

class TextClassificationTask : public MemoryTask {
 public:
  // train_files may be empty (evaluation alone). Rows without a label are kInvalidInput.
  TextClassificationTask(TrainingModel& model, const TrainingArguments& arguments, const TextClassificationOptions& options,
                         const TaskHooks& hooks);
  const std::string& problem_type() const { return problem_type_; }

 protected:
  MicroBatch batch(Split split, const std::vector<int64_t>& examples, const std::vector<uint64_t>& numbers) const override;
  Tensor loss_of(const Tensor& logits, const MicroBatch& batch, int64_t count) const override;
  void begin_scores() override;
  void take_scores(const std::vector<int64_t>& examples, const MicroBatch& batch, const Tensor& logits) override;
  Metrics end_scores() override;
  std::vector<std::string> score_names() const override;

 private:
  struct Sample {
    std::vector<int32_t> ids, types;
    int64_t label = -1;
    std::vector<float> targets;  // of a regression, or of each label
  };
  std::vector<Sample> read(const std::vector<std::string>& files, const TextClassificationOptions& options, int64_t most,
                           const TaskHooks& hooks, const char* stage);
  Sample sample_of(const Json& record, const std::string& where, const std::vector<std::string>& columns,
                   const TextClassificationOptions& options) const;
  void set_label(Sample& sample, const Json& value, const std::string& where) const;

  Labels labels_;
  std::string problem_type_;
  int64_t max_length_ = 0;
  bool types_ = false;
  std::vector<Sample> train_, validation_;
  std::vector<int64_t> predicted_, truth_;
  std::vector<std::vector<uint8_t>> predicted_sets_, true_sets_;
  std::vector<double> predicted_values_, true_values_;
};

}  // namespace pagoda::train
