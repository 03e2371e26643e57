// Words to a tag each (HF's run_ner): the tag stands at a word's first token.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/labels.h"
#include "train/data/records.h"
#include "train/tasks/memory_task.h"

namespace pagoda::train {

struct TokenClassificationOptions {
  std::vector<std::string> train_files, validation_files;
  RecordOptions records;                  // rows with lists; in CSV and TSV a list is a text of words with spaces between
  std::string text_column, label_column;  // empty: "tokens" (or "words"), "ner_tags" (or "tags", "labels", "pos_tags")
  int64_t max_seq_length = 0;             // 0: the model's own
  bool label_all_tokens = false;          // later tokens of a word too; a B- tag then becomes its I- tag, where there is one
  bool return_entity_level_metrics = false;
};

// Fields for the config of a model that learns these files. Reads them once.
Json tagging_overrides(const Json& config, const TokenClassificationOptions& options);

class TokenClassificationTask : public MemoryTask {
 public:
  TokenClassificationTask(TrainingModel& model, const TrainingArguments& arguments, const TokenClassificationOptions& options,
                          const TaskHooks& hooks);

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
    std::vector<int64_t> labels;  // -1: none
  };
  std::vector<Sample> read(const std::vector<std::string>& files, const TokenClassificationOptions& options, int64_t most,
                           const TaskHooks& hooks, const char* stage);
  Sample sample_of(const std::vector<std::string>& words, const std::vector<int64_t>& tags, bool label_all_tokens) const;

  Labels labels_;
  std::vector<int64_t> inside_;  // the tag that goes on with one
  int64_t max_length_ = 0;
  bool types_ = false, prefix_space_ = false, entity_level_ = false;
  std::vector<int32_t> before_, after_;  // special tokens round a sequence
  std::vector<int32_t> before_types_, after_types_;
  int32_t word_type_ = 0;
  std::vector<Sample> train_, validation_;
  std::vector<std::vector<std::string>> predicted_, truth_;
};

}  // namespace pagoda::train
