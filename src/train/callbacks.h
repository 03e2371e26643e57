// What the trainer tells those who watch: writers of TensorBoard files, reports, progress lines.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"

namespace pagoda::train {

// Each is called by the trainer's thread, on rank 0 alone; an exception ends the training.
class TrainerCallback {
 public:
  virtual ~TrainerCallback() = default;
  // Before the first step; `run`: {"arguments", "num_parameters", "max_steps", "global_step" (> 0: resumed), "log_history"
  // (of the run so far)}.
  virtual void on_train_begin(const Json& run) { static_cast<void>(run); }
  // After every step.
  virtual void on_step(int64_t step, int64_t max_steps, double tokens_per_second) {
    static_cast<void>(step), static_cast<void>(max_steps), static_cast<void>(tokens_per_second);
  }
  // An entry of HF's log_history: {"loss", "grad_norm", "learning_rate", "epoch", "step"}, and at the end {"train_loss",
  // "train_runtime", ...}.
  virtual void on_log(const Json& entry) { static_cast<void>(entry); }
  // {"eval_loss", ..., "epoch", "step"}
  virtual void on_evaluate(const Json& entry) { static_cast<void>(entry); }
  // A complete checkpoint lies in this folder.
  virtual void on_save(const std::string& folder) { static_cast<void>(folder); }
  // The final model lies in `output_dir`; not called where training was interrupted or failed. `state`: trainer_state.json.
  virtual void on_train_end(const std::string& output_dir, const Json& state) {
    static_cast<void>(output_dir), static_cast<void>(state);
  }
};

}  // namespace pagoda::train
