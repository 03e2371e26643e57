// The training loop: accumulate, clip, update, log, evaluate, save, resume.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "train/arguments.h"
#include "train/callbacks.h"
#include "train/data_parallel.h"
#include "train/task.h"
#include "train/training_model.h"

namespace pagoda::train {

struct TrainerHooks {
  std::vector<TrainerCallback*> callbacks;
  const std::atomic<bool>* cancel = nullptr;  // set: the step ends, a checkpoint is written, run() gives false
  // Of a job of several; null: alone. TrainingArguments has this rank's number. Rank 0 alone logs, evaluates, saves; all read
  // checkpoints, so that the output folder must be one that all see.
  Communicator* ranks = nullptr;
  DataParallelOptions data_parallel = {};
  std::function<void(const std::string& text)> notice = {};  // told what a resumed run has otherwise than the one before
  bool remove_old_checkpoints = false;                       // those in the output folder go when run() begins, and not before
};

class Trainer {
 public:
  // Everything that can be wrong is told here, before the first step: arguments, an output folder that cannot be written.
  Trainer(TrainingModel& model, Task& task, const TrainingArguments& arguments, const TrainerHooks& hooks = {});
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // Goes on from a checkpoint folder; kInvalidInput where model, optimiser or data are others than when it was written, or a
  // file is missing or cut short.
  void resume(const std::string& checkpoint);
  // The newest complete checkpoint of a folder; empty: none. `incomplete` gets a line for each newer one, saying what it lacks.
  static std::string last_checkpoint(const std::string& output_dir, std::vector<std::string>* incomplete = nullptr);

  // Trains to the end and writes the final model into output_dir; false: cancelled, a checkpoint holds all that was done (or
  // the model does, where the evaluation at the end was cancelled).
  bool run();
  // After run(): the checkpoint of the last step that was done, from which resume() goes on (empty: there is none), and whether
  // the model is in output_dir.
  std::string to_go_on_from() const;
  bool wrote_model() const;
  // {"global_step", "epoch", "max_steps", "log_history", "best_metric", ...} as trainer_state.json has it.
  Json state() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda::train
