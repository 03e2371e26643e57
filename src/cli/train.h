// What the verbs below `pagoda train` share: flags, opening the model, running the trainer.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "cli/train_extras.h"
#include "train/arguments.h"
#include "train/task.h"
#include "train/trainer.h"
#include "train/training_model.h"

namespace pagoda::cli {

// Flags of every task, under the names of HF's TrainingArguments and of its example scripts.
struct TrainFlags {
  MachineFlags machine;
  std::string model, tokenizer, config, config_name, model_type, config_overrides;
  std::vector<std::string> train_files, validation_files;
  train::TrainingArguments arguments;
  std::vector<std::string> resume;  // --resume-from-checkpoint [DIR]
  std::string lr_scheduler_kwargs, greater_is_better, run_name;
  bool do_train = true, do_eval = false, disable_tqdm = false;
  double dropout = -1, attention_dropout = -1;  // below 0: as config.json has it
  bool from_scratch = false, ignore_mismatched_sizes = false, overwrite_output_dir = false;
  Verb verb;
  LoraFlags lora;
  WatchFlags watch;
  train::DataParallelOptions data_parallel;
};

// MODEL_OR_CONFIG, --train-file, --validation-file, --output-dir, --config and all of TrainingArguments.
void add_train_flags(Verb verb, TrainFlags& flags);

// What a task makes its data with. Stages show as progress lines; Ctrl-C throws Cancelled.
struct TaskSetup {
  train::TrainingModel& model;
  const train::TrainingArguments& arguments;
  const TaskHooks& hooks;
  std::string data_dir;  // for shards that are made here; gone once the model is trained
  bool resumes = false;
  Communicator* ranks = nullptr;  // null: alone
};
// make(), first on rank 0 and then on the others, which find there what rank 0 made in data_dir.
template <class Make>
auto in_turns(const TaskSetup& setup, const Make& make) {
  if (setup.ranks == nullptr) return make();
  if (setup.ranks->rank() > 0) setup.ranks->barrier();
  auto made = make();
  if (setup.ranks->rank() == 0) setup.ranks->barrier();
  return made;
}
// Of the tokenizer's files, and of what else the data are made with.
std::string data_fingerprint(const train::TrainingModel& model, const std::string& more = "");

struct TrainSetup {
  std::optional<Head> head;  // empty: config.json's own
  Json config_overrides;
  // Fields of the config for the model at `path`, besides config_overrides (labels of the data); null: none. adapter: whose
  // training goes on, "": none.
  std::function<Json(const std::string& path, const std::string& adapter)> config_of_data;
  std::function<std::unique_ptr<train::Task>(const TaskSetup&)> make_task;
  std::vector<train::TrainerCallback*> callbacks;
};
// Opens, resumes if asked to, trains, tells how it went: the exit code.
int run_training(const Program& program, TrainFlags& flags, const TrainSetup& setup);
// The config of --config-name or --model-type; null: neither was given.
Json named_config(const Program& program, const TrainFlags& flags);
// Values of --config where the command line has none. run_training() has done it; a verb that looks at its own flags before
// calls it first.
void apply_config_file(TrainFlags& flags);

// Each adds its verb below `pagoda train`.
void add_train_clm(Program& program, Verb parent);
void add_train_mlm(Program& program, Verb parent);
void add_train_sft(Program& program, Verb parent);
void add_train_text_classification(Program& program, Verb parent);
void add_train_token_classification(Program& program, Verb parent);
void add_train_question_answering(Program& program, Verb parent);

}  // namespace pagoda::cli
