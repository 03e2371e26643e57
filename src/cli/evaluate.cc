// pagoda evaluate: the metrics of a task over a validation set, without training.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/cli.h"
#include "cli/evaluate_answers.h"
#include "cli/flag_values.h"
#include "cli/task_flags.h"
#include "cli/train_data_flags.h"
#include "cli/verbs_training.h"
#include "formats/tokenizer_loader.h"
#include "models/adapter.h"
#include "pipelines/loaded_model.h"
#include "train/data/files.h"
#include "train/lm_data.h"
#include "train/lm_task.h"

namespace pagoda::cli {

namespace {

struct EvaluateFlags {
  Verb verb;
  MachineFlags machine;
  std::string model, tokenizer, adapter;
  std::vector<std::string> validation_files;
  train::TrainingArguments arguments;
  // Of language models.
  train::PrepareOptions data;
  int64_t block_size = 0;
  bool line_by_line = false;
  double mlm_probability = 0.15;
  // Of conversations.
  std::string chat_template;
  AnswerFlags answers;
};

// A folder for shards that is gone in the end.
class ScratchFolder {
 public:
  // A new one, of this process alone.
  ScratchFolder() : path_(join_path(std::filesystem::temp_directory_path().string(), "pagoda_evaluate_XXXXXX")) {
    if (::mkdtemp(path_.data()) == nullptr) fail_errno(path_, "cannot create a folder for shards", errno);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::unique_ptr<train::TrainingModel> open_model(const Program& program, const EvaluateFlags& flags, Head head) {
  train::TrainingModelOptions options;
  options.runtime = flags.machine.load_options().runtime;
  options.head = head;
  options.evaluated_only = true;
  if (!flags.tokenizer.empty()) options.tokenizer = find_model(program, flags.tokenizer);
  options.compute = flags.arguments.bf16 || flags.machine.dtype == "bfloat16" ? DType::kBFloat16 : DType::kFloat32;
  std::string path = find_model(program, flags.model);
  if (is_adapter(path)) {
    if (!flags.adapter.empty())
      invalid("--adapter", "{} is an adapter itself: need its base there, or no --adapter", flags.model);
    options.adapter = path;
    if (options.tokenizer.empty() && has_tokenizer(path)) options.tokenizer = path;
    path = find_model(program, adapter_base(path));
  } else if (!flags.adapter.empty()) {
    options.adapter = find_model(program, flags.adapter);
  }
  std::unique_ptr<train::TrainingModel> model = train::TrainingModel::open(path, options);
  if (model->from_scratch()) invalid(path, "no weights in it: need a trained model");
  if (!model->new_parameters().empty()) {
    invalid(path, "no weights for {} in it: need a model trained for this task", model->new_parameters().front());
  }
  return model;
}

Json measure(train::Task& task, train::TrainingModel& model, int64_t batch_size, const TaskHooks& hooks) {
  const double begin = steady_seconds();
  const train::Metrics metrics = task.evaluate(model.model(), hooks, nullptr);
  const double seconds = steady_seconds() - begin;
  Json json = Json::object();
  for (const auto& [name, value] : metrics) json.set(name == "perplexity" ? name : "eval_" + name, value);
  const int64_t samples = task.num_validation_examples(), steps = (samples + batch_size - 1) / batch_size;
  json.set("eval_runtime", seconds)
      .set("eval_samples", samples)
      .set("eval_samples_per_second", static_cast<double>(samples) / seconds)
      .set("eval_steps_per_second", static_cast<double>(steps) / seconds);
  return json;
}

void report(const Program& program, const Json& json) {
  if (program.json) return write_json(json);
  std::string text;
  for (const JsonMember& member : json.as_object("metrics")) {
    text += fmt::format("{:<28} {:.6g}\n", member.key, member.value.as_double("metrics"));
  }
  write_out(text);
}

// finish(): more metrics once the model is closed.
template <class Make>
int evaluate(const Program& program, const EvaluateFlags& flags, Head head, Make&& make,
             const std::function<Json(const TaskHooks& hooks)>& finish = {}) {
  if (flags.validation_files.empty()) invalid("--validation-file", "got none, need at least one");
  TerminalProgress stage(stderr);
  TaskHooks hooks;
  hooks.cancel = &interrupted();
  if (!program.quiet) {
    hooks.progress = [&](std::string_view what, int64_t done, int64_t total) { stage.update(what, done, total); };
  }
  try {
    Json metrics;
    {
      const auto model = open_model(program, flags, head);
      const std::unique_ptr<train::Task> task = make(*model, hooks);
      metrics = measure(*task, *model, flags.arguments.per_device_eval_batch_size, hooks);
    }
    const Json more = finish ? finish(hooks) : Json::object();
    stage.clear();
    for (const JsonMember& member : more.as_object("metrics")) metrics.set("eval_" + member.key, member.value);
    report(program, metrics);
    return 0;
  } catch (const Cancelled&) {
    stage.clear();
    note(program, "interrupted");
    return kInterruptedExit;
  }
}

int run_lm(const Program& program, const EvaluateFlags& flags, bool masked) {
  refuse_data_flags(flags.verb, flags.data.rows, flags.validation_files);
  const ScratchFolder scratch;
  return evaluate(program, flags, masked ? Head::kMaskedLm : Head::kCausalLm,
                  [&](train::TrainingModel& model, const TaskHooks& hooks) {
                    train::PrepareOptions data = flags.data;
                    data.output_dir = scratch.path();
                    data.split = "validation";
                    data.mode = train::block_mode(false, flags.line_by_line);
                    train::LmOptions options;
                    options.masked = masked;
                    options.mlm_probability = flags.mlm_probability;
                    options.files = train::LmData(model, flags.block_size).text(flags.validation_files, {}, data, hooks);
                    options.files.validation = options.files.train;
                    options.files.name = flags.validation_files.front();
                    return std::make_unique<train::LmTask>(model, flags.arguments, options, hooks);
                  });
}

int run_sft(const Program& program, const EvaluateFlags& flags) {
  refuse_data_flags(flags.verb, {}, flags.validation_files);
  const ScratchFolder scratch;
  if (flags.answers.predict_with_generate && !flags.adapter.empty()) {
    unsupported("--predict-with-generate",
                "an adapter beside its model does not answer here: pagoda merge makes a model of both");
  }
  std::vector<train::ConversationPrompt> prompts;
  const auto make = [&](train::TrainingModel& model, const TaskHooks& hooks) {
    train::LmOptions lm;
    lm.files.train = flags.validation_files;
    if (!train::are_shards(flags.validation_files, {})) {
      train::LmData data(model, flags.block_size);
      data.set_chat_template(flags.chat_template.empty() ? "" : read_text(flags.chat_template));
      const std::string folder = join_path(scratch.path(), "validation");
      data.conversations(flags.validation_files, folder, hooks);
      lm.files.train = {folder};
      lm.files.name = flags.validation_files.front();
      if (flags.answers.predict_with_generate) {
        prompts = data.prompts(flags.validation_files, flags.arguments.max_eval_samples, hooks);
      }
    } else if (flags.answers.predict_with_generate) {
      invalid("--predict-with-generate", "got shards, need conversations: shards do not say what was asked");
    } else if (!flags.chat_template.empty()) {
      invalid("--chat-template", "has no effect on shards, which are taken as they are");
    }
    lm.files.validation = lm.files.train;
    return std::make_unique<train::LmTask>(model, flags.arguments, lm, hooks);
  };
  const auto finish = [&](const TaskHooks& hooks) {
    if (prompts.empty()) return Json::object();
    LoadOptions options = flags.machine.load_options();
    if (!flags.tokenizer.empty()) options.tokenizer = find_model(program, flags.tokenizer);
    return score_answers(find_model(program, flags.model), options, prompts, flags.answers, hooks);
  };
  return evaluate(program, flags, Head::kCausalLm, make, finish);
}

// Looks for MODEL itself: CLI11 would call both of its names required.
void set_run(Program& program, Verb verb, const std::shared_ptr<EvaluateFlags>& flags, std::function<int()> run) {
  verb->callback([&program, flags, run = std::move(run)] {
    if (flags->model.empty()) invalid("flags", "MODEL (or --model-name-or-path) is required ({})", see_help(program.app));
    program.run = run;
  });
}

void add_common_flags(Verb verb, EvaluateFlags& flags) {
  flags.verb = verb;
  add_model(verb, flags.model, std::string(kModelHelp) + "; under one of its two names it is required",
            "MODEL,--model-name-or-path");
  verb->add_option("--validation-file,--validation-files", flags.validation_files, "Validation data, as pagoda train reads it");
  verb->add_option("--tokenizer-name", flags.tokenizer, "Folder, file or ORG/NAME of the tokenizer (default: the model's)");
  verb->add_option("--adapter", flags.adapter, "LoRA adapter in PEFT's format that goes with MODEL");
  verb->add_option("--per-device-eval-batch-size", flags.arguments.per_device_eval_batch_size, "Examples of one pass")
      ->check(positive())
      ->capture_default_str();
  verb->add_option("--max-eval-samples", flags.arguments.max_eval_samples,
                   "The first so many: examples of language models, else rows")
      ->check(positive());
  add_machine_flags(verb, flags.machine, false);
}

void add_lm(Program& program, Verb parent, bool masked) {
  const auto flags = std::make_shared<EvaluateFlags>();
  flags->data.rows.keep_linebreaks = !masked;
  const Verb verb =
      masked ? add_verb(program, parent, "mlm", "Loss of a masked LM where 15 % of the tokens are masked, always the same",
                        {"pagoda evaluate mlm MODEL --validation-file text.txt --max-seq-length 128"})
             : add_verb(program, parent, "clm", "Loss, accuracy and perplexity of a causal LM over blocks of text",
                        {"pagoda evaluate clm MODEL --validation-file text.txt --block-size 512 --json"});
  add_common_flags(verb, *flags);
  verb->add_option("--block-size,--max-seq-length", flags->block_size, "Tokens of an example (default: at most 1024)")
      ->check(positive());
  verb->add_option("--text-column", flags->data.rows.text_column, "Field of JSON lines, CSV and TFRecord")
      ->capture_default_str();
  verb->add_option("--sample-by", flags->data.rows.sample_by, "What of a text file is a row")
      ->check(one_of({"line", "paragraph", "document"}))
      ->capture_default_str();
  verb->add_flag("--keep-linebreaks,!--no-keep-linebreaks", flags->data.rows.keep_linebreaks,
                 "Lines keep their line ends, and blank lines are rows (clm: the default)");
  verb->add_flag("--line-by-line", flags->line_by_line, "A row an example, cut off at the block size");
  verb->add_option("--seed", flags->arguments.seed, "Of masks")->check(non_negative())->capture_default_str();
  if (masked)
    verb->add_option("--mlm-probability", flags->mlm_probability, "Share of tokens that are masked")->capture_default_str();
  set_run(program, verb, flags, [&program, flags, masked] { return run_lm(program, *flags, masked); });
}

void add_sft(Program& program, Verb parent) {
  const auto flags = std::make_shared<EvaluateFlags>();
  const Verb verb =
      add_verb(program, parent, "sft", "Loss of a chat model over the answers of conversations, and what it answers",
               {"pagoda evaluate sft MODEL --validation-file chats.jsonl --max-seq-length 512",
                "pagoda evaluate sft MODEL --validation-file chats.jsonl --predict-with-generate --json"});
  add_common_flags(verb, *flags);
  verb->add_option("--block-size,--max-seq-length", flags->block_size,
                   "Tokens of a conversation; longer ones lose their end (default: at most 1024)")
      ->check(positive());
  verb->add_option("--chat-template", flags->chat_template, "Jinja file, instead of the model's template");
  add_answer_flags(verb, flags->answers);
  set_run(program, verb, flags, [&program, flags] { return run_sft(program, *flags); });
}

void add_labelled(Program& program, Verb parent, const std::shared_ptr<LabelledTask>& task, const char* text,
                  const char* example) {
  const auto flags = std::make_shared<EvaluateFlags>();
  const Verb verb = add_verb(program, parent, task->name(), text, {example});
  add_common_flags(verb, *flags);
  task->add_flags(verb);
  set_run(program, verb, flags, [&program, flags, task] {
    return evaluate(program, *flags, task->head(), [&](train::TrainingModel& model, const TaskHooks& hooks) {
      return task->make(model, flags->arguments, {}, flags->validation_files, hooks);
    });
  });
}

}  // namespace

void add_evaluate(Program& program) {
  const Verb parent =
      program.app->add_subcommand("evaluate", "Measure a model on a task, by the names that HF's examples print");
  parent->require_subcommand(1);
  add_lm(program, parent, false);
  add_lm(program, parent, true);
  add_sft(program, parent);
  const auto tasks = labelled_tasks();
  add_labelled(program, parent, tasks[0], "Accuracy and F1 of a classifier of texts, or the error of a regression",
               "pagoda evaluate text-classification MODEL --validation-file dev.csv");
  add_labelled(program, parent, tasks[1], "seqeval's scores of a tagger",
               "pagoda evaluate token-classification MODEL --validation-file dev.jsonl --return-entity-level-metrics");
  add_labelled(program, parent, tasks[2], "SQuAD's exact match and F1",
               "pagoda evaluate question-answering MODEL --validation-file dev-v1.1.json --predictions-file answers.json");
}

}  // namespace pagoda::cli
