// What pagoda train tells a terminal.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>

#include "base/progress.h"
#include "cli/cli.h"
#include "train/callbacks.h"

namespace pagoda::cli {

// A line on the terminal while it goes on, and a line on stderr for each entry of the log.
class Console : public train::TrainerCallback {
 public:
  Console(const Program& program, TerminalProgress& line, bool progress)
      : program_(program), line_(line), progress_(progress) {}
  void on_train_begin(const Json& run) override;
  void on_step(const train::StepReport& step) override;
  void on_log(const Json& entry) override;
  void on_evaluate(const Json& entry) override;
  void on_save(const std::string& folder) override { tell("saved " + folder); }
  // FLOP/s that the machine gives, as it was measured, for MFU: the most of several calls counts, and what steps reach is a
  // lower bound of it too. 0: not known.
  void raise_limit(double flop_rate) { limit_ = std::max(limit_, flop_rate); }
  double rate() const { return rate_; }
  double mfu() const { return limit_ > 0 ? flops_ / limit_ : 0; }
  const Json& evaluation() const { return evaluation_; }  // the last

 private:
  std::string speed() const;
  void tell(const std::string& text);
  const Program& program_;
  TerminalProgress& line_;
  bool progress_;
  std::deque<train::StepReport> recent_;
  bool first_ = true;
  double rate_ = 0, flops_ = 0, limit_ = 0;
  int64_t max_steps_ = 0;
  std::string loss_;
  Json evaluation_;
};

}  // namespace pagoda::cli
