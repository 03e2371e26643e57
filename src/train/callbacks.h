// What the trainer tells those who watch: writers of TensorBoard files, reports, progress lines.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"

namespace pagoda::train {

// After every step: how fast it was. tokens, flops: of this rank; flops: those of forward and backward that are needed
// (flops.h). exchange: seconds of the step that went by waiting for gradients, norm and parameters of other ranks; 0: alone.
struct StepReport {
  int64_t step = 0, max_steps = 0;
  double seconds = 0, tokens = 0, flops = 0, exchange = 0;
};

// Each is called by the trainer's thread, on rank 0 alone; an exception ends the training.
class TrainerCallback {
 public:
  virtual ~TrainerCallback() = default;
  // Before the first step; `run`: {"arguments", "num_parameters", "max_steps", "global_step" (> 0: resumed), "log_history"
  // (of the run so far)}.
  virtual void on_train_begin(const Json& run) { static_cast<void>(run); }
  virtual void on_step(const StepReport& step) { static_cast<void>(step); }
  // An entry of HF's log_history: {"loss", "grad_norm", "learning_rate", "epoch", "step"}, and at the end {"train_loss",
  // "train_runtime", ...}.
  virtual void on_log(const Json& entry) { static_cast<void>(entry); }
  // {"eval_loss", ..., "epoch", "step"}
  virtual void on_evaluate(const Json& entry) { static_cast<void>(entry); }
  // A complete checkpoint lies in this folder.
  virtual void on_save(const std::string& folder) { static_cast<void>(folder); }
  // The final model lies in `output_dir`, measured or not: the evaluation at the end may have been interrupted or have failed.
  // Not called where the training before it was or did. `state`: trainer_state.json.
  virtual void on_train_end(const std::string& output_dir, const Json& state) {
    static_cast<void>(output_dir), static_cast<void>(state);
  }
};

}  // namespace pagoda::train
