// What the verbs below `pagoda train` share: flags, opening the model, running the trainer.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "train/arguments.h"
#include "train/task.h"
#include "train/trainer.h"
#include "train/training_model.h"

namespace pagoda::cli {

// Flags of every task, under the names of HF's TrainingArguments and of its example scripts.
struct TrainFlags {
  MachineFlags machine;
  std::string model, tokenizer;
  std::vector<std::string> train_files, validation_files;
  train::TrainingArguments arguments;
  std::optional<std::string> resume;  // --resume-from-checkpoint; "": the newest in output_dir
  bool from_scratch = false;
};

// MODEL_OR_CONFIG, --train-file, --validation-file, --output-dir and all of TrainingArguments.
void add_train_flags(CLI::App* verb, TrainFlags& flags);

struct TrainSetup {
  std::optional<Head> head;  // empty: config.json's own
  Json config_overrides;
  // May replace the model (LoRA wraps it); null: as it was opened.
  std::function<std::unique_ptr<train::TrainingModel>(const train::TrainingModelOptions&)> open;
  std::function<std::unique_ptr<train::Task>(train::TrainingModel&, const train::TrainingArguments&)> make_task;
  std::vector<train::TrainerCallback*> callbacks;
};
// Opens, resumes if asked to, trains, tells how it went: the exit code.
int run_training(const Program& program, const TrainFlags& flags, const TrainSetup& setup);

// Each adds its verb below `pagoda train`.
void add_train_clm(Program& program, CLI::App* parent);
void add_train_mlm(Program& program, CLI::App* parent);
void add_train_sft(Program& program, CLI::App* parent);

}  // namespace pagoda::cli
