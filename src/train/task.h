// What a training task is to the trainer: micro-batches, their loss, their evaluation, and the place in its data.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/task_hooks.h"
#include "comm/communicator.h"
#include "models/model.h"

namespace pagoda::train {

// Sequences of one pass over the model, one behind the other: ragged rows, no padding.
struct MicroBatch {
  Inputs inputs;
  std::shared_ptr<const Layout> layout;  // wanted_rows: those that have a label
  // What Task::loss compares with: int64 [wanted rows], or [sequences] of a sequence classifier, unless the task says
  // otherwise.
  Tensor labels;
  int64_t num_labels = 0;    // how many terms the mean of the loss has here
  int64_t num_examples = 0;  // of the data set: an example may be several sequences
};

// Rows as they are collected; make_micro_batch() turns them into tensors.
struct BatchRows {
  std::vector<int32_t> input_ids, token_type_ids, positions;  // a row each; token_type_ids: all or none
  std::vector<int32_t> starts{0};                             // of sequences, the end last
  std::vector<uint64_t> numbers;                              // of rows, for dropout
  std::vector<int32_t> wanted_rows;                           // ascending
  std::vector<int64_t> labels;
  int64_t num_labels = 0, num_examples = 0;

  // Appends a sequence of `ids`, positions from 0, and returns its first row. `example`: its number in the whole run (epochs
  // counted); sequences of one example follow each other.
  int32_t add_sequence(const std::vector<int32_t>& ids, const std::vector<int32_t>& type_ids, uint64_t example);
  // The row's logits are wanted, and this is their label (>= 0).
  void want(int32_t row, int64_t label);
};
// dropout_seed: empty in evaluation, where nothing is dropped.
// A batch without rows has no layout.
MicroBatch make_micro_batch(Device& device, const BatchRows& rows, std::optional<uint64_t> dropout_seed);

// In the order in which they are written: {"loss", 2.5}, {"accuracy", 0.9}. The trainer puts "eval_" before each.
using Metrics = std::vector<std::pair<std::string, double>>;

// One thread at a time. A rank has a task of its own, which deals it every world-th example.
class Task {
 public:
  virtual ~Task() = default;

  // Examples of one epoch of this rank; 0: no training data.
  virtual int64_t num_examples() const = 0;
  // The next `examples` of them. The trainer asks for no more than the epoch has left; after it the next one begins.
  virtual MicroBatch next(int64_t examples) = 0;
  // Where the next example lies, and what must be equal to go on there. restore() throws kInvalidInput where it is not.
  virtual Json state() const = 0;
  virtual void restore(const Json& state) = 0;
  // What else its losses depend on ({"mlm_probability": 0.15}): a run that goes on tells where it is another than before.
  virtual Json options() const { return Json::object(); }
  // What next() has yet to give this rank in this epoch: after a checkpoint of another number of ranks, which need not have
  // stood where all of these have taken as many, what is left in whole rounds.
  virtual int64_t examples_left() const = 0;

  // The sum of the batch's losses divided by `count`, the labels of all micro-batches of all ranks of the step together: their
  // sum is the mean over the whole batch. A scalar [1], on the tape. By default cross-entropy of the model's logits. `observer`
  // (or null) goes into the forward pass: the trainer looks for the first layer that is not finite. Not called for a batch
  // without labels.
  virtual Tensor loss(const Model& model, const MicroBatch& batch, int64_t count, Observer* observer = nullptr) const;

  // Batches have passed, and the model is asked for something else (samples of a report): nothing of a batch may stay behind.
  virtual void end_batches() {}

  virtual bool has_validation() const = 0;
  virtual int64_t num_validation_examples() const = 0;  // of all ranks
  // What evaluate() gives of some validation set that the model can have: a run looks there for its --metric-for-best-model
  // before the first step.
  virtual std::vector<std::string> metric_names() const = 0;
  // Of the labels of cross-entropy, in training and evaluation (HF's LabelSmoother).
  virtual double smoothing() const { return 0; }
  // Over the whole validation set, without gradients. "loss" is among them: --load-best-model-at-end looks at it by default.
  // ranks: that do it together, batch by batch (null: alone); rank 0 gets the metrics, the same as alone to the bit, the others
  // none. Where one is cancelled all throw Cancelled.
  virtual Metrics evaluate(const Model& model, const TaskHooks& hooks, Communicator* ranks) = 0;
};

// What a rank found of one batch of an evaluation.
struct BatchScores {
  double loss = 0;  // the mean over its labels
  int64_t labels = 0, correct = 0;
  Tensor logits;  // float32 [rows, columns], where take() looks at them
};
// Batches [0, count), dealt out to the ranks (null: all to this one). score() is called for those of this rank, take() on rank
// 0 for all, both in their order.
void evaluate_batches(Device& device, Communicator* ranks, int64_t count, const TaskHooks& hooks,
                      const std::function<BatchScores(int64_t batch)>& score,
                      const std::function<void(int64_t batch, const BatchScores& scores)>& take);

}  // namespace pagoda::train
