// A training as one HTML page that needs nothing else: curves as SVG, settings, metrics, samples.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "train/callbacks.h"

namespace pagoda::train {

struct ReportSample {
  std::string prompt, text;
};

class HtmlReportCallback : public TrainerCallback {
 public:
  // Writes `path` anew at every evaluation and checkpoint, and at the end. `samples`: what the model makes of some prompts as
  // it stands; may be empty. It is asked at the end of every evaluation and of training.
  HtmlReportCallback(std::string path, std::string title, std::function<std::vector<ReportSample>()> samples = {});
  void on_train_begin(const Json& run) override;
  void on_log(const Json& entry) override { entries_.push_back(entry); }
  void on_evaluate(const Json& entry) override;
  void on_save(const std::string& folder) override;
  void on_train_end(const std::string& output_dir, const Json& state) override;

 private:
  void take_samples(int64_t step);
  void write() const;
  struct Sampled {
    int64_t step = 0;
    std::vector<ReportSample> samples;
  };
  std::string path_, title_;
  std::function<std::vector<ReportSample>()> make_samples_;
  Json run_;
  std::vector<Json> entries_;
  std::vector<Sampled> sampled_;
  bool ended_ = false;
};

// The page of a log_history, for those who have only trainer_state.json.
std::string html_report(const std::string& title, const Json& run, const std::vector<Json>& entries, bool ended,
                        const std::vector<std::pair<int64_t, std::vector<ReportSample>>>& samples);

}  // namespace pagoda::train
