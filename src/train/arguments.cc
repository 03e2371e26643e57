// What arguments may be, and how they are written down.
#include "train/arguments.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace pagoda::train {

namespace {

void check_number(const char* flag, double value, double least, bool open, double most = INFINITY) {
  const bool fits = std::isfinite(value) && value <= most && (open ? value > least : value >= least);
  if (fits) return;
  if (std::isinf(most)) invalid(flag, "got {}, need a number {} {}", value, open ? "above" : "of at least", least);
  const double bound = std::round(most * 1e6) / 1e6;
  invalid(flag, "got {}, need a number {} {} and {} {}", value, open ? "above" : "of at least", least,
          bound > most ? "below" : "of at most", bound);
}

// A whole number of steps, or a share of them.
void check_steps(const char* flag, double value, bool may_be_zero) {
  if (may_be_zero && value == 0) return;
  const bool fits = value > 0 && value < 1e15 && (value < 1 || value == std::floor(value));
  if (!fits) invalid(flag, "got {}, need a whole number of at least 1, or a share of all steps between 0 and 1", value);
}

Json plain_number(double value) { return value == std::floor(value) ? Json(static_cast<int64_t>(value)) : Json(value); }

void check_size(const char* flag, int64_t value, int64_t least) {
  if (value < least) invalid(flag, "got {}, need at least {}", value, least);
}

void check_strategy(const char* flag, const std::string& value, bool best = false) {
  if (value == "no" || value == "steps" || value == "epoch" || (best && value == "best")) return;
  invalid(flag, "got '{}', need no, steps{}", value, best ? ", epoch or best" : " or epoch");
}

}  // namespace

void TrainingArguments::check() const {
  if (output_dir.empty()) invalid("--output-dir", "got none, need the folder for checkpoints and the model");
  if (max_steps != -1) check_size("--max-steps", max_steps, 1);
  check_number("--num-train-epochs", num_train_epochs, 0, true);
  check_size("--per-device-train-batch-size", per_device_train_batch_size, 1);
  check_size("--per-device-eval-batch-size", per_device_eval_batch_size, 1);
  check_size("--gradient-accumulation-steps", gradient_accumulation_steps, 1);
  check_number("--learning-rate", learning_rate, 0, false);
  check_number("--weight-decay", weight_decay, 0, false);
  check_number("--adam-beta1", adam_beta1, 0, false, 1 - 1e-9);
  check_number("--adam-beta2", adam_beta2, 0, false, 1 - 1e-9);
  check_number("--adam-epsilon", adam_epsilon, 0, false);
  check_number("--momentum", momentum, 0, false);
  check_number("--max-grad-norm", max_grad_norm, 0, false);
  check_number("--ema-decay", ema_decay, 0, false, 1 - 1e-12);
  check_steps("--warmup-steps", warmup_steps, true);
  check_number("--warmup-ratio", warmup_ratio, 0, false, 1);
  if (Optimizer::plain_name(optim) != "sgd") {
    if (momentum != 0) invalid("--momentum", "has no effect on {}: need --optim sgd", optim);
    if (nesterov) invalid("--nesterov", "has no effect on {}: need --optim sgd", optim);
  }
  Optimizer::make(*this, {});
  // What only a whole schedule sees is told now, not after the data were read.
  const int64_t steps = max_steps > 0 ? max_steps : int64_t{1} << 40;
  const int64_t warmup = warmup_steps < 1 ? 0 : steps_of(warmup_steps, steps);
  [[maybe_unused]] const Schedule schedule(lr_scheduler_type, learning_rate, warmup, steps, lr_scheduler_kwargs);
  check_strategy("--logging-strategy", logging_strategy);
  check_strategy("--eval-strategy", eval_strategy);
  check_strategy("--save-strategy", save_strategy, true);
  check_steps("--logging-steps", logging_steps, false);
  check_steps("--eval-steps", eval_steps, true);
  check_steps("--save-steps", save_steps, false);
  check_number("--eval-delay", eval_delay, 0, false);
  check_number("--label-smoothing-factor", label_smoothing_factor, 0, false, 1);
  check_size("--max-train-samples", max_train_samples, 0);
  check_size("--max-eval-samples", max_eval_samples, 0);
  if (data_seed < -1) invalid("--data-seed", "got {}, need 0 or more", data_seed);
  check_size("--save-total-limit", save_total_limit, 0);
  check_size("--early-stopping-patience", early_stopping_patience, 0);
  check_number("--early-stopping-threshold", early_stopping_threshold, 0, false);
  const char* needs_eval = load_best_model_at_end                        ? "--load-best-model-at-end"
                           : early_stopping_patience > 0                 ? "--early-stopping-patience"
                           : save_strategy == "best"                     ? "--save-strategy best"
                           : lr_scheduler_type == "reduce_lr_on_plateau" ? "--lr-scheduler-type reduce_lr_on_plateau"
                           : eval_delay > 0                              ? "--eval-delay"
                                                                         : nullptr;
  if (needs_eval != nullptr && eval_strategy == "no") {
    invalid("--eval-strategy", "got no beside {}, need steps or epoch", needs_eval);
  }
  if (load_best_model_at_end && save_strategy != "best" && (save_strategy != eval_strategy)) {
    invalid("--save-strategy", "got '{}' beside --load-best-model-at-end, need that of --eval-strategy ('{}')", save_strategy,
            eval_strategy);
  }
  const double evaluated = eval_steps > 0 ? eval_steps : logging_steps;
  const bool whole = save_steps >= 1 && evaluated >= 1;  // of shares the trainer knows
  if (load_best_model_at_end && save_strategy == "steps" && whole && std::fmod(save_steps, evaluated) != 0) {
    invalid("--save-steps", "got {} beside --load-best-model-at-end, need a multiple of --eval-steps {}", save_steps,
            evaluated);
  }
}

int64_t TrainingArguments::steps_of(double steps, int64_t max_steps) {
  return static_cast<int64_t>(steps < 1 ? std::ceil(static_cast<double>(max_steps) * steps) : steps);
}

Json TrainingArguments::to_json() const {
  Json json = Json::object();
  json.set("output_dir", output_dir)
      .set("num_train_epochs", num_train_epochs)
      .set("max_steps", max_steps)
      .set("per_device_train_batch_size", per_device_train_batch_size)
      .set("per_device_eval_batch_size", per_device_eval_batch_size)
      .set("gradient_accumulation_steps", gradient_accumulation_steps)
      .set("optim", optim)
      .set("optim_args", optim_args)
      .set("learning_rate", learning_rate)
      .set("weight_decay", weight_decay)
      .set("adam_beta1", adam_beta1)
      .set("adam_beta2", adam_beta2)
      .set("adam_epsilon", adam_epsilon)
      .set("momentum", momentum)
      .set("nesterov", nesterov)
      .set("max_grad_norm", max_grad_norm)
      .set("ema_decay", ema_decay)
      .set("lr_scheduler_type", lr_scheduler_type)
      .set("warmup_steps", plain_number(warmup_steps))
      .set("warmup_ratio", warmup_ratio)
      .set("lr_scheduler_kwargs", lr_scheduler_kwargs)
      .set("logging_strategy", logging_strategy)
      .set("logging_steps", plain_number(logging_steps))
      .set("logging_first_step", logging_first_step)
      .set("eval_strategy", eval_strategy)
      .set("eval_steps", plain_number(eval_steps))
      .set("eval_on_start", eval_on_start)
      .set("eval_delay", plain_number(eval_delay))
      .set("save_strategy", save_strategy)
      .set("save_steps", plain_number(save_steps))
      .set("save_only_model", save_only_model)
      .set("save_total_limit", save_total_limit)
      .set("load_best_model_at_end", load_best_model_at_end)
      .set("metric_for_best_model", metric_for_best_model)
      .set("greater_is_better", greater_is_better >= 0 ? Json(greater_is_better == 1) : Json())
      .set("early_stopping_patience", early_stopping_patience)
      .set("early_stopping_threshold", early_stopping_threshold)
      .set("bf16", bf16)
      .set("gradient_checkpointing", gradient_checkpointing)
      .set("label_smoothing_factor", label_smoothing_factor)
      .set("max_train_samples", max_train_samples)
      .set("max_eval_samples", max_eval_samples)
      .set("seed", static_cast<int64_t>(seed))
      .set("data_seed", data_seed >= 0 ? Json(data_seed) : Json())
      .set("world_size", world);
  return json;
}

}  // namespace pagoda::train
