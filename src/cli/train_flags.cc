// Flags of pagoda train that all tasks share, from the command line and from a file.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "cli/flag_values.h"
#include "cli/train.h"
#include "train/schedule.h"

namespace pagoda::cli {

namespace {

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

}  // namespace

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

}  // namespace pagoda::cli
