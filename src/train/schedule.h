// Learning rate schedules, as transformers.optimization.get_scheduler has them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace pagoda::train {

class Schedule {
 public:
  // type: HF's --lr-scheduler-type. warmup_steps and max_steps in updates; `learning_rate`: the base, which polynomial needs.
  // options: HF's lr_scheduler_kwargs as an object, or null. kInvalidInput: unknown type, options the type does not have.
  Schedule(const std::string& type, double learning_rate, int64_t warmup_steps, int64_t max_steps, const Json& options = {});
  // The factor on the base rate in the update after `step` updates (0 for the first).
  double factor(int64_t step) const;
  static const std::vector<std::string>& types();

  // reduce_lr_on_plateau alone looks at evaluations (torch.optim.lr_scheduler.ReduceLROnPlateau); state: null of the others.
  void observe(double metric);
  Json state() const;
  void restore(const Json& state);

 private:
  double after_warmup(double step) const;
  void read_plateau(const Json& options);
  std::string type_;
  double base_ = 0, warmup_ = 0, total_ = 0;
  double num_cycles_ = 0.5, lr_end_ = 1e-7, power_ = 1, timescale_ = 0, min_rate_ = 0;
  double stable_steps_ = 0, decay_steps_ = 0;
  std::string warmup_type_ = "linear", decay_type_ = "cosine";
  double warmup_rate_ = -1;  // cosine_warmup_with_min_lr: what the first step begins with; below 0: 1 / warm-up

  struct Plateau {
    bool greater = false, relative = true;
    double factor = 0.1, threshold = 1e-4, min_lr = 0, eps = 1e-8;
    int64_t patience = 10, cooldown = 0;
    double rate = 0, best = 0;  // best: NaN before the first evaluation
    int64_t bad = 0, cooling = 0;
  } plateau_;
};

}  // namespace pagoda::train
