// pagoda train: flags that all tasks share, and the run itself.
#include "cli/train.h"
#include "cli/flag_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "formats/tokenizer_loader.h"
#include "models/adapter.h"
#include "ops/machine.h"
#include "pipelines/loaded_model.h"
#include "train/checkpoint.h"
#include "train/data/fingerprint.h"
#include "train/default_configs.h"
#include "train/schedule.h"

namespace pagoda::cli {

namespace {

// A line on the terminal while it goes on, and a line on stderr for each entry of the log.
class Console : public train::TrainerCallback {
 public:
  Console(const Program& program, TerminalProgress& line, bool progress)
      : program_(program), line_(line), progress_(progress) {}
  void on_train_begin(const Json& run) override {
    const int64_t step = run.get_int("global_step", 0, "run"), steps = run.get_int("max_steps", 0, "run");
    tell(fmt::format("training {} parameters for {} steps{}", run.get_int("num_parameters", 0, "run"), steps,
                     step > 0 ? fmt::format(", going on after step {}", step) : ""));
  }
  void on_step(const train::StepReport& step) override {
    // Over the last steps; the first of all is slow (memory is touched, weights are packed) and goes as soon as there are
    // others.
    if (recent_.size() == 8 || (recent_.size() == 1 && first_)) {
      recent_.pop_front();
      first_ = false;
    }
    recent_.push_back(step);
    double seconds = 0, tokens = 0, flops = 0;
    for (const train::StepReport& each : recent_) {
      seconds += each.seconds;
      tokens += each.tokens;
      flops += each.flops;
    }
    rate_ = tokens / seconds;
    flops_ = flops / seconds;
    if (program_.quiet || !progress_) return;
    const std::string loss = loss_.empty() ? "" : " loss " + loss_;
    line_.update(fmt::format("train{}, {}", loss, speed()), step.step, step.max_steps);
    max_steps_ = step.max_steps;
  }
  void on_log(const Json& entry) override {
    const Json* loss = entry.find("loss");
    if (loss == nullptr) return;
    loss_ = fmt::format("{:.4f}", loss->as_double("loss"));
    tell(fmt::format("step {}/{} (epoch {:.2f}): loss {}, learning rate {:.3g}, gradient norm {:.3g}, {}",
                     entry.get_int("step", 0, "log"), max_steps_, entry.get_double("epoch", 0, "log"), loss_,
                     entry.get_double("learning_rate", 0, "log"), entry.get_double("grad_norm", 0, "log"), speed()));
  }
  void on_evaluate(const Json& entry) override {
    std::string text = fmt::format("step {}:", entry.get_int("step", 0, "log"));
    for (const JsonMember& member : entry.as_object("log")) {
      if (member.key.rfind("eval_", 0) != 0 || member.key == "eval_runtime" || member.key.ends_with("_per_second")) continue;
      text += fmt::format(" {} {:.4f}", member.key, member.value.as_double("log"));
    }
    tell(text);
    evaluation_ = entry;
  }
  void on_save(const std::string& folder) override { tell("saved " + folder); }
  // FLOP/s that the machine gives at most, for MFU; 0: not known.
  void set_limit(double flop_rate) { limit_ = flop_rate; }
  double rate() const { return rate_; }
  double mfu() const { return limit_ > 0 ? flops_ / limit_ : 0; }
  const Json& evaluation() const { return evaluation_; }  // the last

 private:
  std::string speed() const {
    if (limit_ == 0) return fmt::format("{:.0f} tokens/s", rate_);
    return fmt::format("{:.0f} tokens/s, MFU {:.1f} %", rate_, 100 * mfu());
  }
  void tell(const std::string& text) {
    line_.clear();
    note(program_, text);
  }
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

std::vector<std::string> values_of(const Json& value, const std::string& where) {
  if (value.is_array()) {
    std::vector<std::string> all;
    for (const Json& item : value.as_array(where)) all.push_back(values_of(item, where).front());
    if (all.empty()) invalid(where, "got an empty list, need a value");
    return all;
  }
  if (value.is_string()) return {value.as_string(where)};
  if (value.is_object()) return {value.dump()};
  if (value.is_bool()) return {value.as_bool(where) ? "true" : "false"};
  if (value.is_int()) return {std::to_string(value.as_int(where))};
  return {python_float_repr(value.as_double(where))};
}

void add_optimizer_flags(Verb verb, TrainFlags& flags) {
  train::TrainingArguments& a = flags.arguments;
  const char* group = "Optimiser";
  verb->add_option("--optim", a.optim, "adamw (adamw_torch), adam, sgd, adafactor, lion")->group(group)->capture_default_str();
  verb->add_option("--learning-rate", a.learning_rate, "Highest learning rate")->group(group)->capture_default_str();
  verb->add_option("--weight-decay", a.weight_decay, "Of all parameters but norms and biases")
      ->group(group)
      ->capture_default_str();
  verb->add_option("--adam-beta1", a.adam_beta1, "Of adamw, adam and lion")->group(group)->capture_default_str();
  verb->add_option("--adam-beta2", a.adam_beta2, "Of adamw, adam and lion")->group(group)->capture_default_str();
  verb->add_option("--adam-epsilon", a.adam_epsilon, "Of adamw and adam")->group(group)->capture_default_str();
  verb->add_option("--momentum", a.momentum, "Of sgd")->group(group)->capture_default_str();
  verb->add_flag("--nesterov", a.nesterov, "Nesterov's momentum (sgd)")->group(group);
  verb->add_option("--optim-args", a.optim_args, "Of sgd, as HF has it: momentum=0.9,nesterov=true")->group(group);
  verb->add_option("--max-grad-norm", a.max_grad_norm, "Gradients are clipped to this norm; 0: not")
      ->group(group)
      ->capture_default_str();
  verb->add_option("--ema-decay", a.ema_decay, "Keep a moving average of the weights; it is evaluated, and is the final model")
      ->group(group);
  verb->add_option("--lr-scheduler-type", a.lr_scheduler_type, "Schedule of the learning rate")
      ->group(group)
      ->check(one_of(train::Schedule::types()))
      ->capture_default_str();
  verb->add_option("--lr-scheduler-kwargs", flags.lr_scheduler_kwargs, "Options of the schedule, a JSON object")->group(group);
  verb->add_option("--warmup-steps", a.warmup_steps,
                   "Steps in which the learning rate rises from 0; below 1: a share of all steps")
      ->group(group);
  verb->add_option("--label-smoothing-factor", a.label_smoothing_factor,
                   "Share of each label that all classes have alike (loss of labels by cross-entropy)")
      ->group(group)
      ->capture_default_str();
  verb->add_option("--warmup-ratio", a.warmup_ratio, "The same as a share of all steps")->group(group);
}

void add_loop_flags(Verb verb, TrainFlags& flags) {
  train::TrainingArguments& a = flags.arguments;
  const char* group = "Loop";
  verb->add_option("--num-train-epochs", a.num_train_epochs, "Epochs")->group(group)->capture_default_str();
  verb->add_option("--max-steps", a.max_steps, "Updates, instead of epochs")->group(group);
  verb->add_option("--per-device-train-batch-size", a.per_device_train_batch_size, "Examples of one pass")
      ->group(group)
      ->capture_default_str();
  verb->add_option("--per-device-eval-batch-size", a.per_device_eval_batch_size, "Examples of one pass of an evaluation")
      ->group(group)
      ->capture_default_str();
  verb->add_option("--gradient-accumulation-steps", a.gradient_accumulation_steps, "Passes of one update")
      ->group(group)
      ->capture_default_str();
  verb->add_option("--seed", a.seed, "Of order, masks, dropout, new weights")
      ->check(non_negative())
      ->group(group)
      ->capture_default_str();
  verb->add_option("--data-seed", a.data_seed, "Of the order of examples (default: --seed)")
      ->check(non_negative())
      ->group(group);
  verb->add_option("--max-train-samples", a.max_train_samples,
                   "Train on the first so many: examples of language models, else rows")
      ->check(positive())
      ->group(group);
  verb->add_option("--max-eval-samples", a.max_eval_samples, "Evaluate on the first so many")->check(positive())->group(group);
  verb->add_flag("--bf16", a.bf16, "Compute in bfloat16; weights, gradients and optimiser stay float32")->group(group);
  verb->add_flag("--gradient-checkpointing", a.gradient_checkpointing,
                 "Less memory, a third more time: blocks are computed twice")
      ->group(group);
  verb->add_option("--dropout", flags.dropout, "Instead of the config's dropouts (of attention weights excepted)")
      ->group(group);
  verb->add_option("--attention-dropout", flags.attention_dropout, "Of attention weights, instead of the config's")
      ->group(group);
}

// Of jobs started by mpirun.
void add_rank_flags(Verb verb, TrainFlags& flags) {
  const char* group = "Several ranks (mpirun -n N pagoda train ...)";
  verb->add_flag_function(
          "--bf16-reduction",
          [&flags](int64_t given) { flags.data_parallel.wire = given > 0 ? train::Wire::kBFloat16 : train::Wire::kFloat32; },
          "Gradients travel as bfloat16; sums stay float32")
      ->group(group);
  verb->add_option_function<int64_t>(
          "--bucket-cap-mb", [&flags](const int64_t& value) { flags.data_parallel.bucket_bytes = value << 20; },
          "Gradients that travel together, in MiB (default, as torch's DDP: 25)")
      ->check(in_range(1, 4096))
      ->group(group);
  verb->add_flag_function(
          "--no-overlap", [&flags](int64_t given) { flags.data_parallel.overlap = given <= 0; },
          "Gradients travel after the backward pass, not during it")
      ->group(group);
}

void add_reporting_flags(Verb verb, TrainFlags& flags) {
  train::TrainingArguments& a = flags.arguments;
  const char* group = "Log, evaluation, checkpoints";
  const Check strategy = one_of({"no", "steps", "epoch"});
  verb->add_option("--logging-strategy", a.logging_strategy, "When to log")
      ->group(group)
      ->check(strategy)
      ->capture_default_str();
  verb->add_option("--logging-steps", a.logging_steps, "Every so many steps; below 1: a share of all steps")
      ->group(group)
      ->capture_default_str();
  verb->add_flag("--logging-first-step", a.logging_first_step, "The first step too")->group(group);
  verb->add_option("--eval-strategy,--evaluation-strategy", a.eval_strategy,
                   "When to evaluate (default: steps with --eval-steps, else at the end where there are validation files)")
      ->group(group)
      ->check(strategy);
  verb->add_option("--eval-steps", a.eval_steps,
                   "Every so many steps, and at the end; below 1: a share of all (default: --logging-steps)")
      ->group(group);
  verb->add_flag("--eval-on-start", a.eval_on_start, "Before the first step too")->group(group);
  verb->add_option("--eval-delay", a.eval_delay, "Steps or epochs (by the strategy) before the first evaluation")->group(group);
  verb->add_option("--save-strategy", a.save_strategy, "When to write a checkpoint; best: after each evaluation that is")
      ->group(group)
      ->check(one_of({"no", "steps", "epoch", "best"}))
      ->capture_default_str();
  verb->add_option("--save-steps", a.save_steps, "Every so many steps, and at the end; below 1: a share of all")
      ->group(group)
      ->capture_default_str();
  verb->add_flag("--save-only-model", a.save_only_model, "Checkpoints hold the model alone: no run goes on from them")
      ->group(group);
  verb->add_option("--save-total-limit", a.save_total_limit, "Checkpoints kept (default: all)")->group(group);
  verb->add_flag("--load-best-model-at-end", a.load_best_model_at_end, "The best checkpoint becomes the final model")
      ->group(group);
  verb->add_option("--metric-for-best-model", a.metric_for_best_model, "By this metric of the evaluation (default: loss)")
      ->group(group);
  verb->add_option("--greater-is-better", flags.greater_is_better, "Of that metric (default: unless its name ends with loss)")
      ->group(group)
      ->check(one_of({"true", "false"}, Case::kIgnored));
  verb->add_option("--early-stopping-patience", a.early_stopping_patience,
                   "Stop after so many evaluations without a better one")
      ->group(group);
  verb->add_option("--early-stopping-threshold", a.early_stopping_threshold, "What counts as better")->group(group);
  verb->add_option("--resume-from-checkpoint", flags.resume,
                   "Go on from this checkpoint; without DIR from the newest whole one in the output folder, or from the "
                   "beginning where there is none")
      ->type_name("[DIR]")
      ->expected(0, 1)
      ->group(group);
  verb->add_flag("--overwrite-output-dir", flags.overwrite_output_dir,
                 "Begin anew though the folder holds checkpoints: they go")
      ->group(group);
}

// What HF's scripts are called with and is so anyway here.
void add_script_flags(Verb verb, TrainFlags& flags) {
  const char* group = "As HF's scripts take them";
  verb->add_flag("--do-train", flags.do_train, "It does")->group(group);
  verb->add_flag("--do-eval", flags.do_eval,
                 "Needs validation data, which are evaluated at the end anyway; false: they are not")
      ->group(group);
  verb->add_option("--run-name", flags.run_name, "Title of the report (default: the output folder's name)")->group(group);
  verb->add_flag("--disable-tqdm", flags.disable_tqdm, "No progress line")->group(group);
  const std::string on_cpu = "Without effect: all is on the CPU";
  for (const char* name : {"--use-cpu", "--dataloader-pin-memory"}) verb->add_flag(name, on_cpu)->group(group);
  for (const char* name : {"--preprocessing-num-workers", "--dataloader-num-workers"}) {
    verb->add_option(name, "Without effect: threads are shared, and what is read does not depend on them")
        ->type_name("INT")
        ->check(non_negative())
        ->group(group);
  }
}

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

std::string share_text(Communicator& ranks, std::string text) {
  auto size = static_cast<int64_t>(text.size());
  ranks.broadcast(&size, sizeof(size), 0);
  text.resize(static_cast<size_t>(size));
  ranks.broadcast(text.data(), size, 0);
  return text;
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

void apply_config_file(TrainFlags& flags) {
  if (flags.config.empty()) return;
  const Json config = read_json(flags.config);
  flags.config.clear();
  for (const JsonMember& member : config.as_object("--config")) {
    std::string name = member.key == "model_name_or_path" ? "MODEL_OR_CONFIG" : "--" + member.key;
    if (name[0] == '-') std::replace(name.begin(), name.end(), '_', '-');
    const Flag option = flags.verb->get_option_no_throw(name);
    if (!option) invalid("--config", "unknown flag: got '{}', need one that --help names", member.key);
    if (option->count() > 0 || member.value.is_null()) continue;
    std::vector<std::string> values = values_of(member.value, "--config: " + member.key);
    for (std::string& value : values) value = guarded(option, std::move(value));
    if (const std::string wrong = option->set(values); !wrong.empty()) invalid("--config", "{}: {}", member.key, wrong);
  }
}

void add_train_flags(Verb verb, TrainFlags& flags) {
  flags.verb = verb;
  verb->add_option("MODEL_OR_CONFIG,--model-name-or-path", flags.model,
                   "Folder, ORG/NAME or ORG/NAME@REVISION with weights (fine-tuning) or with an adapter (which goes on, on its "
                   "base), or a config.json, or a folder without weights (from scratch)");
  verb->add_option("--config", flags.config, "JSON file of flags, under these names (- or _); the command line wins");
  verb->add_option("--train-file,--train-files", flags.train_files,
                   "Training data: files of rows, shards, or folders of shards");
  verb->add_option("--validation-file,--validation-files", flags.validation_files, "Validation data, likewise");
  verb->add_option("--output-dir", flags.arguments.output_dir, "Folder of checkpoints, and of the model in the end");
  verb->add_option("--tokenizer-name", flags.tokenizer, "Folder, file or ORG/NAME of the tokenizer (default: the model's)");
  verb->add_option("--config-name", flags.config_name,
                   "config.json, folder or ORG/NAME instead of the model's config; without MODEL_OR_CONFIG: from scratch");
  verb->add_flag("--from-scratch", flags.from_scratch, "New weights though the folder has some");
  verb->add_flag("--ignore-mismatched-sizes", flags.ignore_mismatched_sizes,
                 "New weights where the folder has them in another shape: a head of other labels");
  add_loop_flags(verb, flags);
  add_optimizer_flags(verb, flags);
  add_reporting_flags(verb, flags);
  add_lora_flags(verb, flags.lora);
  add_watch_flags(verb, flags.watch);
  add_rank_flags(verb, flags);
  add_script_flags(verb, flags);
  add_machine_flags(verb, flags.machine, false);
}

int run_training(const Program& asked, TrainFlags& flags, const TrainSetup& setup) {
  apply_config_file(flags);
  settle(flags);
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
  if (flags.arguments.rank == 0) lock.emplace(flags.arguments.output_dir);
  std::string checkpoint = flags.arguments.rank == 0 ? find_checkpoint(program, flags) : "";
  const bool removes_old = flags.overwrite_output_dir && checkpoint.empty();
  if (removes_old && flags.arguments.rank == 0) check_not_removed(flags);
  if (ranks) checkpoint = share_text(*ranks, checkpoint);
  make_directories(flags.arguments.output_dir);
  try {
    const std::unique_ptr<train::TrainingModel> model = open_model(program, flags, setup);
    const std::string data_dir = join_path(flags.arguments.output_dir, ".data");
    const std::unique_ptr<train::Task> task = with_lora(
        *model, setup.make_task(TaskSetup{*model, flags.arguments, hooks, data_dir, !checkpoint.empty(), ranks.get()}));
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
    if (!program.quiet || program.json) {
      console.set_limit(measure_flop_rate(model->runtime(), flags.arguments.bf16 ? DType::kBFloat16 : DType::kFloat32));
    }
    const bool ended = trainer.run();
    line.clear();
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
  } catch (const Cancelled&) {
    stage.clear();
    note(program, "interrupted before the first step");
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
