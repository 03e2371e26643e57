// What training says, as event files of TensorBoard under the tags of HF's TensorBoardCallback.
#pragma once

#include <memory>
#include <string>

#include "formats/tfevents.h"
#include "train/callbacks.h"

namespace pagoda::train {

class TensorBoardCallback : public TrainerCallback {
 public:
  // Files go to `logging_dir`. Tags: "train/loss", "eval/loss", ...
  explicit TensorBoardCallback(std::string logging_dir) : folder_(std::move(logging_dir)) {}
  void on_train_begin(const Json& run) override;
  void on_log(const Json& entry) override { write(entry); }
  void on_evaluate(const Json& entry) override { write(entry); }

 private:
  void write(const Json& entry);
  std::string folder_;
  std::unique_ptr<TfEventsWriter> writer_;
};

// output_dir/runs/<time>_<host>, as HF names it.
std::string default_logging_dir(const std::string& output_dir);

}  // namespace pagoda::train
