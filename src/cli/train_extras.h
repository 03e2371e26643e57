// What may be added to any training: low-rank adapters, and those who watch.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "train/callbacks.h"
#include "train/lora_model.h"

namespace pagoda::cli {

// Names and defaults of TRL's ModelConfig, whose fields are those of peft's LoraConfig.
struct LoraFlags {
  bool use_peft = false;
  int64_t r = 16;
  double alpha = 32, dropout = 0.05;
  std::string bias = "none", adapter;
  bool use_rslora = false, use_dora = false;
  std::vector<std::string> target_modules, modules_to_save;
  Verb verb;
  bool wanted() const;
  void check() const;  // refuses what would have no effect, once it is known whether an adapter goes on
};
void add_lora_flags(Verb verb, LoraFlags& flags);
std::unique_ptr<train::TrainingModel> open_lora(const Program& program, const std::string& path,
                                                const train::TrainingModelOptions& options, const LoraFlags& flags);
// The task with its model's low-rank dropout, where it has some.
std::unique_ptr<train::Task> with_lora(train::TrainingModel& model, std::unique_ptr<train::Task> task);

struct WatchFlags {
  std::vector<std::string> report_to{"all"};
  std::string logging_dir;
  std::vector<std::string> sample_prompts;
  bool reports_to(const std::string& name) const;
  void check() const;  // refuses what would have no effect
};
void add_watch_flags(Verb verb, WatchFlags& flags);
std::vector<std::unique_ptr<train::TrainerCallback>> open_watchers(const WatchFlags& flags, const std::string& output_dir,
                                                                   const std::string& title, train::TrainingModel& model);

}  // namespace pagoda::cli
