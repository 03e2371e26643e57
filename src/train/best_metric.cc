// Compares evaluations.
#include "train/best_metric.h"

#include <cmath>

namespace pagoda::train {

BestMetric::BestMetric(const TrainingArguments& arguments)
    : name_(arguments.metric_for_best_model.empty() ? "loss" : arguments.metric_for_best_model),
      patience_(arguments.early_stopping_patience),
      threshold_(arguments.early_stopping_threshold) {
  if (name_.rfind("eval_", 0) == 0) name_ = name_.substr(5);
  const bool is_loss = name_.size() >= 4 && name_.compare(name_.size() - 4, 4, "loss") == 0;
  greater_ = arguments.greater_is_better >= 0 ? arguments.greater_is_better == 1 : !is_loss;
}

bool BestMetric::known() const { return std::isfinite(value_); }

bool BestMetric::observe(double value, int64_t step) {
  const bool better = !known() || (greater_ ? value > value_ : value < value_);
  const bool enough = !known() || (better && std::fabs(value - value_) > threshold_);
  not_improved_ = enough ? 0 : not_improved_ + 1;
  if (better) restore_best(value, step);
  return better;
}

void BestMetric::restore_best(double value, int64_t step) {
  value_ = value;
  step_ = step;
}

}  // namespace pagoda::train
