// The trainer's insides: the loop is trainer.cc, what is written and read run_state.cc, what ends a run that is lost
// diverged.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "ops/tape_hook.h"
#include "train/best_metric.h"
#include "train/flops.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include "train/weight_average.h"

namespace pagoda::train {

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

class Trainer::Impl {
 public:
  Impl(TrainingModel& model, Task& task, const TrainingArguments& arguments, const TrainerHooks& hooks);
  void resume(const std::string& folder);
  bool run();
  std::string to_go_on_from() const;
  bool wrote_model() const { return wrote_model_; }
  Json state() const;

 private:
  // All that depends on the number of steps.
  void plan(int64_t max_steps);

  // The epochs that were asked for are counted from where the data stand: with other ranks or batches, now or in an earlier
  // part of the run, its steps were of another size.
  void plan_rest();

  // The best checkpoint of the run that is gone on from. A folder that was moved, or is named otherwise from here, holds it
  // beside the checkpoint that is read; another may, where that run had gone on from there.
  void find_best(const std::string& resumed, const std::string& noted);

  // What the weights come to depends on, besides the data.
  Json noted_arguments() const;

  // What a run that goes on may have otherwise, and trains otherwise with than the one before.
  void warn_of_changes(const Json& before, const std::string& folder) const;

  // One that fails (a report on a full disk) is not told again: training goes on.
  void tell(const std::function<void(TrainerCallback&)>& what);

  // Of an evaluation or the end, where watchers ask the model for samples: without dropout, by the weights that are published.
  void tell_of_model(const std::function<void(TrainerCallback&)>& what);
  void notice(const std::string& text) const;

  // As in HF's loop, batches of the epoch that are done by all that it has: the last one may be smaller. Counted from the end,
  // since a run that goes on may have begun the epoch with others.
  double epoch() const;
  int64_t bytes_needed() const;
  int64_t bytes_removed() const;

  // Those that this process may use and its threads are not pinned to.
  std::vector<int> free_cores() const;
  bool is_main() const { return parallel_ == nullptr || parallel_->rank() == 0; }
  bool cancelled() const { return hooks_.cancel != nullptr && hooks_.cancel->load(std::memory_order_relaxed); }
  void begin_callbacks();

  // False: cancelled; what was done is saved.
  bool step();
  double run_batch(const MicroBatch& batch, int64_t count, const GradientHook* ready = nullptr);

  // Seconds that sharing the parameters took.
  double update(int64_t count);
  [[noreturn]] void stop_training(const std::string& what);
  [[noreturn]] void explain_loss(double value, const MicroBatch& batch, int64_t count);
  [[noreturn]] void explain_gradient();
  void check_parameters(const std::string& what);
  bool due(const std::string& strategy, int64_t every) const;
  void after_step();

  // What follows an evaluation, or the lack of one.
  void settle_step();

  // Throws kInvalidInput: evaluations have these metrics, and not the one that picks the best.
  [[noreturn]] void refuse_metric(const std::vector<std::string>& names) const;

  // An evaluation that fails costs nothing of what was trained: a checkpoint holds it, and after the last step the model too.
  bool evaluate_or_keep();
  void keep();
  void log();

  // What rank 0 found, on all ranks; empty: it was cancelled.
  std::optional<Metrics> job_metrics(std::optional<Metrics> metrics);

  // compare: by the metric that picks the best checkpoint. False: cancelled.
  bool evaluate(bool compare);

  // `place`: of the data, after the last step done.
  void save(const Json& place);
  void write_checkpoint(const Json& place, const std::vector<std::pair<std::string, Tensor>>& moments);

  // What going on needs beside the model.
  void write_place(const std::string& folder, const Json& place, const std::vector<std::pair<std::string, Tensor>>& moments);

  // The entry of the log that sums up.
  void log_end();

  // False: the evaluation at the end was cancelled; the model is there.
  bool finish();

  // The evaluation at the end, where there is one; false: it was cancelled.
  bool measure();
  void write_model();
  void write_state() const;

  // A best checkpoint that cannot be read costs no model either.
  void load_best();

  TrainingModel& model_;
  Task& task_;
  TrainingArguments arguments_;
  TrainerHooks hooks_;
  StepFlops flops_;
  std::vector<Parameter*> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Schedule> schedule_;
  std::unique_ptr<DataParallel> parallel_;  // null: alone
  std::unique_ptr<WeightAverage> average_;
  int64_t batches_per_epoch_ = 0, steps_per_epoch_ = 0, max_steps_ = 0;
  int64_t logging_steps_ = 0, eval_steps_ = 0, save_steps_ = 0;
  BestMetric best_;
  std::string best_checkpoint_;  // the newest one that was written at the best evaluation so far; empty: none

  int64_t global_step_ = 0, first_step_ = 0;
  int64_t saved_step_ = -1;  // of the last checkpoint
  std::string saved_path_;   // where that is
  bool wrote_model_ = false;
  int64_t epoch_ = 0, examples_ = 0;  // taken of this epoch
  int64_t tokens_ = 0;                // of all ranks
  double total_flos_ = 0;             // as transformers counts them: 6 a token and parameter that is no embedding
  double flos_parameters_ = 0;
  double loss_sum_ = 0, total_loss_ = 0;  // since the last entry of the log; before it
  int64_t logged_step_ = 0;
  double gradient_norm_ = 0, learning_rate_ = 0;
  bool improved_ = false;        // by the evaluation of this step
  bool evaluation_due_ = false;  // it was cancelled
  Json log_history_ = Json::array();
  std::string resumed_;
  double begun_ = 0;  // of steady_seconds()
};

}  // namespace pagoda::train
