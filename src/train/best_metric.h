// The metric that picks the best checkpoint and ends a run early, as transformers' Trainer and EarlyStoppingCallback judge it.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "train/arguments.h"

namespace pagoda::train {

class BestMetric {
 public:
  // Reads metric_for_best_model ("loss" where it is empty, with or without "eval_"), greater_is_better (by default: anything
  // but a loss), early_stopping_patience and early_stopping_threshold.
  explicit BestMetric(const TrainingArguments& arguments);
  const std::string& name() const { return name_; }
  // Takes an evaluation's value after so many steps; true: the best so far.
  bool observe(double value, int64_t step);
  bool known() const;  // something was observed
  double value() const { return value_; }
  int64_t step() const { return step_; }
  int64_t not_improved() const { return not_improved_; }  // evaluations since one was better by the threshold
  bool stops() const { return patience_ > 0 && not_improved_ >= patience_; }
  void restore_best(double value, int64_t step);
  void restore_patience(int64_t not_improved) { not_improved_ = not_improved; }

 private:
  std::string name_;
  bool greater_;
  int64_t patience_;
  double threshold_;
  double value_ = std::numeric_limits<double>::quiet_NaN();
  int64_t step_ = 0, not_improved_ = 0;
};

}  // namespace pagoda::train
