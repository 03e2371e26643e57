// How to train: HF's TrainingArguments, as far as they mean something here.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"

namespace pagoda::train {

struct TrainingArguments {
  std::string output_dir;
  double num_train_epochs = 3;
  int64_t max_steps = -1;  // > 0: instead of epochs
  int64_t per_device_train_batch_size = 8, per_device_eval_batch_size = 8, gradient_accumulation_steps = 1;

  std::string optim = "adamw";  // adamw, adam, sgd, adafactor, lion
  std::string optim_args;       // HF's "key=value,...": of sgd momentum, nesterov
  double learning_rate = 5e-5, weight_decay = 0;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  double momentum = 0;  // sgd
  bool nesterov = false;
  double max_grad_norm = 1;  // 0: not clipped
  double ema_decay = 0;      // > 0: a moving average of the weights is kept, evaluated and saved as the final model

  std::string lr_scheduler_type = "linear";
  double warmup_steps = 0;   // below 1: a share of all steps, as in transformers 5
  double warmup_ratio = 0;   // of all steps, where warmup_steps is 0
  Json lr_scheduler_kwargs;  // object: num_cycles, lr_end, power, timescale, num_decay_steps, num_stable_steps, ...

  std::string logging_strategy = "steps", eval_strategy = "no", save_strategy = "steps";  // no, steps, epoch; save: best too
  // Below 1: a share of all steps. eval_steps 0: logging_steps.
  double logging_steps = 500, eval_steps = 0, save_steps = 500;
  bool logging_first_step = false;
  bool eval_on_start = false;
  double eval_delay = 0;         // steps or epochs, by eval_strategy, before the first evaluation
  bool eval_at_end = true;       // where there is a validation set and no eval_strategy
  bool save_only_model = false;  // checkpoints without what is needed to go on
  int64_t save_total_limit = 0;  // 0: all are kept
  bool load_best_model_at_end = false;
  std::string metric_for_best_model;    // empty: loss
  int greater_is_better = -1;           // -1: unless its name ends with "loss"
  int64_t early_stopping_patience = 0;  // 0: none
  double early_stopping_threshold = 0;

  bool bf16 = false, gradient_checkpointing = false;
  double label_smoothing_factor = 0;
  uint64_t seed = 42;
  int64_t data_seed = -1;                               // of the order of examples; -1: seed
  int64_t max_train_samples = 0, max_eval_samples = 0;  // 0: all
  int rank = 0, world = 1;

  uint64_t order_seed() const { return data_seed >= 0 ? static_cast<uint64_t>(data_seed) : seed; }
  Json to_json() const;
  // Throws kInvalidInput naming the flag: rates that are no numbers, sizes below one, strategies that do not fit.
  void check() const;

  // What a number of steps means in a run of max_steps: itself, or below 1 that share of all, rounded up.
  static int64_t steps_of(double steps, int64_t max_steps);
};

}  // namespace pagoda::train
