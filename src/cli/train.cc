// pagoda train: the run itself.
#include "cli/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/train_console.h"
#include "formats/tokenizer_loader.h"
#include "models/adapter.h"
#include "ops/machine.h"
#include "pipelines/loaded_model.h"
#include "train/checkpoint.h"
#include "train/data/fingerprint.h"
#include "train/default_configs.h"

namespace pagoda::cli {

namespace {

// Flags whose meaning hangs on which others were given.
void settle(TrainFlags& flags) {
  train::TrainingArguments& a = flags.arguments;
  const auto given = [&](const char* name) { return flags.verb->get_option(name)->count() > 0; };
  if (flags.model.empty() && flags.config_name.empty() && flags.model_type.empty()) {
    invalid("MODEL_OR_CONFIG", "got none, need a model folder or a config.json");
  }
  const Flag split = flags.verb->get_option_no_throw("--validation-split-percentage");
  if (flags.do_eval && flags.validation_files.empty() && (!split || split->count() == 0)) {
    invalid("--do-eval", "needs validation data: --validation-file");
  }
  if (!flags.do_train) invalid("--do-train", "got false: pagoda evaluate measures a model without training it");
  if (flags.train_files.empty()) invalid("--train-file", "got none, need at least one");
  for (const auto* files : {&flags.train_files, &flags.validation_files}) {
    for (const std::string& file : *files) {
      if (!std::filesystem::exists(file)) not_found(file, "no such file or folder");
      if (!file_exists(file) && !directory_exists(file)) {
        invalid(file,
                "a pipe, which can be read once: training reads its rows again, need a file (pagoda data prepare takes pipes)");
      }
    }
  }
  if (!flags.lr_scheduler_kwargs.empty())
    a.lr_scheduler_kwargs = Json::parse(flags.lr_scheduler_kwargs, "--lr-scheduler-kwargs");
  if (!flags.greater_is_better.empty()) a.greater_is_better = flags.greater_is_better == "true" ? 1 : 0;
  a.eval_at_end = flags.do_eval || !given("--do-eval");
  if (given("--eval-steps") && !given("--eval-strategy")) a.eval_strategy = "steps";
  if (a.bf16 && flags.machine.dtype == "float32")
    invalid("--bf16", "computes in bfloat16, beside --dtype float32: need one of them");
  if (flags.machine.dtype == "bfloat16") a.bf16 = true;
  for (const auto& [name, p] : {std::pair{"--dropout", flags.dropout}, {"--attention-dropout", flags.attention_dropout}}) {
    if (given(name) && !(p >= 0 && p < 1)) invalid(name, "got {}, need 0 to below 1", p);
  }
  flags.watch.check();
  a.check();
}

// All files and folders that a run reads, and those that what it writes goes on needing: an adapter's base.
std::vector<std::string> read_by(const TrainFlags& flags) {
  std::vector<std::string> read = {flags.model, flags.tokenizer, flags.config_name, flags.lora.adapter};
  for (const std::string& adapter : {flags.model, flags.lora.adapter}) {
    if (!adapter.empty() && is_adapter(adapter)) read.push_back(adapter_base(adapter));
  }
  for (const auto* files : {&flags.train_files, &flags.validation_files}) read.insert(read.end(), files->begin(), files->end());
  std::vector<std::string> all;
  for (const std::string& path : read) {
    std::error_code failed;
    if (path.empty() || !std::filesystem::exists(path, failed)) continue;
    all.push_back(path);
    if (!directory_exists(path)) continue;  // the files of a folder may be links
    for (const std::string& name : list_directory(path)) {
      if (!directory_exists(join_path(path, name))) all.push_back(join_path(path, name));
    }
  }
  return all;
}

// --overwrite-output-dir must not take away what the run reads.
void check_not_removed(const TrainFlags& flags) {
  const std::vector<std::string> read = read_by(flags);
  for (const auto& [step, checkpoint] : train::list_checkpoints(flags.arguments.output_dir)) {
    const std::string folder = std::filesystem::weakly_canonical(checkpoint).string() + "/";
    for (const std::string& path : read) {
      std::error_code failed;
      const std::string whole = std::filesystem::weakly_canonical(path, failed).string() + "/";
      if (whole.compare(0, folder.size(), folder) != 0) continue;
      invalid("--overwrite-output-dir", "would remove {}, from which {} is read: need another --output-dir", checkpoint, path);
    }
  }
}

// The newest checkpoint to go on from; empty: none.
std::string newest_checkpoint(const Program& program, const std::string& output) {
  std::vector<std::string> incomplete;
  const std::string newest = train::Trainer::last_checkpoint(output, &incomplete);
  for (const std::string& each : incomplete) note(program, "warning: not gone on from " + each);
  if (newest.empty()) {
    note(program,
         fmt::format("no {}checkpoint in {}: training from the beginning", incomplete.empty() ? "" : "whole ", output));
  }
  return newest;
}

// The checkpoint to go on from; empty: none. A folder with checkpoints is not trained into by mistake.
std::string find_checkpoint(const Program& program, const TrainFlags& flags) {
  const std::string& output = flags.arguments.output_dir;
  if (flags.verb->get_option("--resume-from-checkpoint")->count() > 0) {
    std::string given = flags.resume.empty() ? "" : flags.resume.front();
    if (given.empty() || given == "true" || given == "True") return newest_checkpoint(program, output);
    if (!directory_exists(given)) not_found(given, "no such checkpoint folder");
    return given;
  }
  const auto old = train::list_checkpoints(output);
  if (!old.empty() && !flags.overwrite_output_dir) {
    invalid(output,
            "holds checkpoints of an earlier run ({}): need --resume-from-checkpoint to go on, or --overwrite-output-dir",
            file_name(old.back().second));
  }
  return {};
}

void set_dropouts(const TrainFlags& flags, Model& model) {
  Dropouts dropouts = model.dropouts();
  if (flags.dropout >= 0) {
    dropouts.embedding = dropouts.attention_output = dropouts.mlp_output = static_cast<float>(flags.dropout);
    if (dropouts.class_dense > 0) dropouts.class_dense = static_cast<float>(flags.dropout);
    if (dropouts.classifier > 0) dropouts.classifier = static_cast<float>(flags.dropout);
  }
  if (flags.attention_dropout >= 0) dropouts.attention_probs = static_cast<float>(flags.attention_dropout);
  model.set_dropouts(dropouts);
}

// MODEL is the folder of an adapter: its training goes on, on its base, whose path this gives.
std::string go_on_from(const Program& program, const TrainFlags& flags, const std::string& adapter, LoraFlags& lora,
                       train::TrainingModelOptions& options) {
  if (!lora.adapter.empty()) invalid("--adapter", "{} is an adapter itself: need its base there, or no --adapter", flags.model);
  if (flags.from_scratch || !flags.config_name.empty()) {
    invalid(flags.model,
            "the folder of an adapter, which goes on from its base: --from-scratch and --config-name need a model");
  }
  lora.adapter = adapter;
  if (options.tokenizer.empty() && has_tokenizer(adapter)) options.tokenizer = adapter;
  const std::string base = adapter_base(adapter);
  note(program, fmt::format("{}: an adapter of {}, whose training goes on", flags.model, base));
  return find_model(program, base);
}

std::unique_ptr<train::TrainingModel> open_model(const Program& program, const TrainFlags& flags, const TrainSetup& setup) {
  train::TrainingModelOptions options;
  options.runtime = flags.machine.load_options().runtime;
  options.head = setup.head;
  options.config_overrides = setup.config_overrides;
  if (!flags.tokenizer.empty()) options.tokenizer = find_model(program, flags.tokenizer);
  options.seed = flags.arguments.seed;
  options.from_scratch = flags.from_scratch;
  options.ignore_mismatched_sizes = flags.ignore_mismatched_sizes;
  options.compute = flags.arguments.bf16 ? DType::kBFloat16 : DType::kFloat32;
  std::string path = flags.model.empty() ? "" : find_model(program, flags.model);
  LoraFlags lora = flags.lora;
  if (!path.empty() && is_adapter(path)) path = go_on_from(program, flags, path, lora, options);
  lora.check();
  options.config = named_config(program, flags);
  if (setup.config_of_data) {
    const Json more = setup.config_of_data(path, lora.adapter.empty() ? "" : find_model(program, lora.adapter));
    for (const JsonMember& member : more.as_object("config")) options.config_overrides.set(member.key, member.value);
  }
  std::unique_ptr<train::TrainingModel> model =
      lora.wanted() ? open_lora(program, path, options, lora) : train::TrainingModel::open(path, options);
  set_dropouts(flags, model->model());
  for (const auto& lines : {model->notices(), model->model().notices()}) {
    for (const std::string& line : lines) note(program, "warning: " + line);
  }
  if (model->from_scratch()) {
    const std::string of = !path.empty() ? path : !flags.config_name.empty() ? flags.config_name : flags.model_type;
    note(program, fmt::format("{}: new weights", of));
  }
  for (const std::string& name : model->new_parameters())
    note(program, fmt::format("{}: new, the folder has none, or of another shape", name));
  return model;
}

void report(const Program& program, const TrainFlags& flags, const train::Trainer& trainer, const Console& console) {
  const Json state = trainer.state();
  const std::string& output = flags.arguments.output_dir;
  note(program, fmt::format("trained: {}", output));
  if (!program.json) return;
  Json result = Json::object();
  result.set("output_dir", output)
      .set("global_step", state.at("global_step", "state"))
      .set("epoch", state.at("epoch", "state"))
      .set("tokens_per_second", console.rate())
      .set("mfu", console.mfu())
      .set("best_metric", state.at("best_metric", "state"));
  const Json::Array& history = state.at("log_history", "state").as_array("state");
  for (const Json& entry : history) {
    for (const JsonMember& member : entry.as_object("state")) {
      if (member.key.rfind("train_", 0) == 0) result.set(member.key, member.value);
    }
  }
  if (console.evaluation().is_object()) {
    for (const JsonMember& member : console.evaluation().as_object("state")) {
      if (member.key.rfind("eval_", 0) == 0) result.set(member.key, member.value);
    }
  }
  write_json(result);
}

void tell_interrupted(const Program& program, const TrainFlags& flags, const train::Trainer& trainer) {
  std::string what = "its checkpoint holds the model alone, no run goes on from it";
  if (!trainer.to_go_on_from().empty()) {
    what = "--resume-from-checkpoint goes on there";
  } else if (trainer.wrote_model()) {
    what = fmt::format("the model is in {}, and is not measured yet: pagoda evaluate does it", flags.arguments.output_dir);
  }
  note(program, fmt::format("interrupted after step {}: {}", trainer.state().get_int("global_step", 0, "state"), what));
}

// Cancelled passes through here, and so out of the communicator, which then does not wait for ranks that wait for this one.
int run_job(const Program& asked, TrainFlags& flags, const TrainSetup& setup) {
  const std::unique_ptr<Communicator> ranks = started_by_mpi() ? make_mpi_communicator() : nullptr;
  Program program = asked;
  if (ranks) {
    flags.arguments.rank = ranks->rank();
    flags.arguments.world = ranks->size();
    if (ranks->rank() > 0) {  // rank 0 speaks
      program.quiet = true;
      program.json = false;
    }
  }
  TerminalProgress line(stderr, false, "steps"), stage(stderr);
  Console console(program, line, !flags.disable_tqdm);
  TaskHooks hooks;
  hooks.cancel = &interrupted();
  if (!program.quiet && !flags.disable_tqdm) {
    hooks.progress = [&](std::string_view what, int64_t done, int64_t total) { stage.update(what, done, total); };
  }
  std::optional<train::OutputLock> lock;
  if (flags.arguments.rank == 0) {
    lock.emplace(flags.arguments.output_dir);
    train::put_back(flags.arguments.output_dir);
  }
  std::string checkpoint = flags.arguments.rank == 0 ? find_checkpoint(program, flags) : "";
  const bool removes_old = flags.overwrite_output_dir && checkpoint.empty();
  if (removes_old && flags.arguments.rank == 0) check_not_removed(flags);
  if (ranks) checkpoint = ranks->share(checkpoint);
  make_directories(flags.arguments.output_dir);
  const std::unique_ptr<train::TrainingModel> model = open_model(program, flags, setup);
  const std::string data_dir = join_path(flags.arguments.output_dir, ".data");
  const std::unique_ptr<train::Task> task =
      with_lora(*model, setup.make_task(TaskSetup{*model, flags.arguments, hooks, data_dir, !checkpoint.empty(), ranks.get()}));
  stage.clear();
  if (!flags.validation_files.empty() && !task->has_validation()) invalid("--validation-file", "no example in it: need some");
  train::TrainerHooks trainer_hooks;
  trainer_hooks.cancel = &interrupted();
  trainer_hooks.remove_old_checkpoints = removes_old && flags.arguments.rank == 0;
  trainer_hooks.ranks = ranks.get();
  trainer_hooks.data_parallel = flags.data_parallel;
  trainer_hooks.callbacks = setup.callbacks;
  trainer_hooks.callbacks.insert(trainer_hooks.callbacks.begin(), &console);
  const auto watchers = flags.arguments.rank > 0
                            ? std::vector<std::unique_ptr<train::TrainerCallback>>()
                            : open_watchers(flags.watch, flags.arguments.output_dir, flags.run_name, *model);
  for (const auto& watcher : watchers) trainer_hooks.callbacks.push_back(watcher.get());
  trainer_hooks.notice = [&](const std::string& text) { note(program, text); };
  train::Trainer trainer(*model, *task, flags.arguments, trainer_hooks);
  if (!checkpoint.empty()) trainer.resume(checkpoint);
  const auto measure_machine = [&] {
    if (program.quiet && !program.json) return;
    console.raise_limit(
        measure_training_flop_rate(model->runtime(), flags.arguments.bf16 ? DType::kBFloat16 : DType::kFloat32));
  };
  measure_machine();
  const bool ended = trainer.run();
  line.clear();
  if (ended && program.json) measure_machine();  // other load may have gone since: the report's MFU is of the best
  if (!ended) tell_interrupted(program, flags, trainer);
  if (flags.arguments.rank == 0 && (ended || trainer.to_go_on_from().empty())) {
    std::error_code ignored;
    std::filesystem::remove_all(data_dir, ignored);
    std::filesystem::remove(data_dir + ".json", ignored);
  }
  if (!ended) return kInterruptedExit;
  if (flags.arguments.rank > 0) return 0;
  report(program, flags, trainer, console);
  return 0;
}

}  // namespace

Json named_config(const Program& program, const TrainFlags& flags) {
  if (!flags.model_type.empty()) {
    if (!flags.model.empty() || !flags.config_name.empty()) {
      invalid("--model-type", "has no effect beside MODEL_OR_CONFIG and --config-name, which say what the model is");
    }
    return train::default_config(flags.model_type);
  }
  if (flags.config_name.empty()) return {};
  std::string path = find_model(program, flags.config_name);
  if (directory_exists(path)) path = join_path(path, "config.json");
  return read_json(path);
}

std::string data_fingerprint(const train::TrainingModel& model, const std::string& more) {
  train::Fingerprint all;
  for (const std::string& file : model.tokenizer_files()) all.add(file_name(file)).add_file(file);
  return all.add(more).text();
}

int run_training(const Program& program, TrainFlags& flags, const TrainSetup& setup) {
  apply_config_file(flags);
  settle(flags);
  try {
    return run_job(program, flags, setup);
  } catch (const Cancelled&) {
    if (flags.arguments.rank == 0) note(program, "interrupted before the first step");
    return kInterruptedExit;
  }
}

void add_train(Program& program) {
  const Verb parent = program.app->add_subcommand("train", "Train a model, or go on training one");
  parent->require_subcommand(1);
  add_train_clm(program, parent);
  add_train_mlm(program, parent);
  add_train_sft(program, parent);
  add_train_text_classification(program, parent);
  add_train_token_classification(program, parent);
  add_train_question_answering(program, parent);
}

}  // namespace pagoda::cli
