// Tasks whose tokenised examples lie in memory: the order of an epoch, ranks, resuming, the pass over the validation set.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "train/arguments.h"
#include "train/data/dataset.h"
#include "train/task.h"
#include "train/training_model.h"

namespace pagoda::train {

class MemoryTask : public Task {
 public:
  int64_t num_examples() const override { return size_ / arguments_.world; }
  MicroBatch next(int64_t examples) override;
  Json state() const override;
  void restore(const Json& state) override;
  int64_t examples_left() const override { return (size_ - position_) / arguments_.world; }
  bool has_validation() const override { return validation_size_ > 0; }
  double smoothing() const override { return arguments_.label_smoothing_factor; }
  int64_t num_validation_examples() const override { return validation_size_; }
  std::vector<std::string> metric_names() const override;
  Tensor loss(const Model& model, const MicroBatch& batch, int64_t count, Observer* observer) const override;
  // loss, and what score() gives. "loss" is left out where no validation example has labels.
  Metrics evaluate(const Model& model, const TaskHooks& hooks, Communicator* ranks) override;

 protected:
  MemoryTask(TrainingModel& model, const TrainingArguments& arguments) : model_(model), arguments_(arguments) {}
  // Once the examples are there. `contents`: of them, so that a resumed run sees whether they are the same.
  void set_sizes(int64_t training, int64_t validation, uint64_t contents);
  // Tokens of a text at most: `wanted`, or fewer where the model or its tokenizer is made for fewer.
  int64_t checked_length(int64_t wanted, const char* flag) const;

  enum class Split { kTrain, kValidation };
  // `numbers`: in the whole run, for dropout.
  virtual MicroBatch batch(Split split, const std::vector<int64_t>& examples, const std::vector<uint64_t>& numbers) const = 0;
  virtual Tensor loss_of(const Tensor& logits, const MicroBatch& batch, int64_t count) const = 0;
  // A pass over the validation set: begin, the logits of each batch, and the metrics.
  virtual void begin_scores() = 0;
  virtual void take_scores(const std::vector<int64_t>& examples, const MicroBatch& batch, const Tensor& logits) = 0;
  virtual Metrics end_scores() = 0;
  virtual std::vector<std::string> score_names() const = 0;  // of end_scores(), whatever the examples

  // Dropout's seed in training, none in validation.
  std::optional<uint64_t> dropout_seed(Split split) const;

  TrainingModel& model_;
  TrainingArguments arguments_;

 private:
  void order_epoch();
  int64_t size_ = 0, validation_size_ = 0;
  uint64_t contents_ = 0;
  int64_t epoch_ = 0, position_ = 0;  // of all ranks
  std::vector<int64_t> order_;
};

// FNV-1a over ids and their number, to tell data sets apart.
uint64_t hash_ids(const std::vector<int32_t>& ids, uint64_t hash = 0xCBF29CE484222325ull);

}  // namespace pagoda::train
