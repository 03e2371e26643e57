// Language modelling: the next token (clm, sft), or those behind masks (mlm).
#pragma once

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "train/arguments.h"
#include "train/data/dataset.h"
#include "train/data/files.h"
#include "train/task.h"
#include "train/training_model.h"

namespace pagoda::train {

struct LmOptions {
  SplitFiles files;  // shards
  bool masked = false;
  double mlm_probability = 0.15;
  std::string dump_batches;  // JSON lines of the batches that are used; empty: none
  bool append_dump = false;  // a resumed run goes on in its file
};

// Examples with labels are taken as they are (clm: HF's labels, which shift by one inside). Others: clm learns every token; mlm
// masks anew each time an example comes, 80 % of the chosen by the mask token, 10 % by a random one (Devlin et al. 2019). What
// is masked depends on seed, example and epoch alone; in evaluation on the example alone.
class LmTask : public Task {
 public:
  // Reads all examples once: kInvalidInput for ids and labels outside the vocabulary, sequences longer than the model's
  // positions, splits without a labelled position.
  LmTask(TrainingModel& model, const TrainingArguments& arguments, const LmOptions& options, const TaskHooks& hooks);
  ~LmTask() override;
  int64_t num_examples() const override { return reader_->rows_of_rank(); }
  MicroBatch next(int64_t examples) override;
  Json state() const override { return reader_->state().set("contents", contents_); }
  void restore(const Json& state) override;
  int64_t examples_left() const override { return (reader_->num_rows() - reader_->position()) / arguments_.world; }
  Json options() const override;
  bool has_validation() const override { return !options_.files.validation.empty(); }
  double smoothing() const override { return arguments_.label_smoothing_factor; }
  int64_t num_validation_examples() const override { return validation_rows_; }
  std::vector<std::string> metric_names() const override { return {"loss", "accuracy", "perplexity"}; }
  Metrics evaluate(const Model& model, const TaskHooks& hooks, Communicator* ranks) override;

  int64_t num_tokens() const { return tokens_; }  // of the training split

 private:
  // What the model sees of an example, and its labels in HF's meaning.
  struct Labelled {
    std::vector<int32_t> ids, types, labels;
    std::vector<size_t> starts;  // of its sequences
  };
  void choose_mask_tokens();
  // Returns its rows. masks: the seed of a split whose masks are the same in every pass, and must not all be empty.
  int64_t check_split(const std::vector<std::string>& files, int64_t most, const char* name, const TaskHooks& hooks,
                      std::optional<uint64_t> masks = {});
  Labelled label(const Example& example, uint64_t number, uint64_t seed) const;
  void mask(Labelled& labelled, uint64_t number, uint64_t seed) const;
  void add(const Example& example, uint64_t number, uint64_t seed, BatchRows& rows);
  void dump(const char* split);

  TrainingModel& model_;
  TrainingArguments arguments_;
  LmOptions options_;
  std::unique_ptr<DatasetReader> reader_;
  int32_t mask_token_ = -1, random_tokens_ = 0;
  std::vector<bool> special_;  // ids that are never masked
  int64_t tokens_ = 0, validation_rows_ = 0;
  std::string contents_;                               // a fingerprint of the training split
  std::vector<std::pair<uint64_t, Labelled>> dumped_;  // of the batch being made
  std::FILE* dump_ = nullptr;
  bool dumped_validation_ = false;
};

}  // namespace pagoda::train
