// LoRA and reports of pagoda train.
#include "cli/train_extras.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/flag_checks.h"
#include "ops/tape.h"
#include "train/watch/html_report.h"
#include "train/watch/tensorboard.h"

namespace pagoda::cli {

namespace {

constexpr int64_t kSampleTokens = 48;

std::vector<std::string> split_list(const std::vector<std::string>& values) {
  std::vector<std::string> items;
  for (const std::string& value : values) {
    for (const std::string_view part : split_at(value, ',')) {
      if (!part.empty()) items.emplace_back(part);
    }
  }
  return items;
}

// Most likely tokens, the whole text computed anew for each: a few short ones, for the report alone.
std::string go_on(train::TrainingModel& model, const std::string& prompt) {
  const NoGrad no_grad;
  std::vector<int32_t> ids = model.tokenizer()->encode_ids(prompt, true);
  if (ids.empty()) return "";
  const size_t first = ids.size();
  const auto most = static_cast<size_t>(std::min(model.model().max_positions(), static_cast<int64_t>(first) + kSampleTokens));
  const auto end = model.tokenizer()->token_to_id(model.tokenizer_config().eos_token);
  while (ids.size() < most) {
    Tensor tensor = Tensor::empty(model.device(), DType::kInt32, {static_cast<int64_t>(ids.size())});
    std::copy(ids.begin(), ids.end(), tensor.data<int32_t>());
    ForwardContext context;
    context.layout = Layout::whole({static_cast<int32_t>(ids.size())}, false);
    const Tensor logits = model.model().forward({tensor}, context).logits;
    const float* row = logits.data<float>();
    const auto best = static_cast<int32_t>(std::max_element(row, row + logits.dim(1)) - row);
    if (end && best == *end) break;
    ids.push_back(best);
  }
  return model.tokenizer()->decode({ids.begin() + static_cast<int64_t>(first), ids.end()}, true);
}

// An expression may have commas of its own.
std::vector<std::string> target_modules(const std::vector<std::string>& given) {
  std::vector<std::string> names = split_list(given);
  return given.size() == 1 && std::any_of(names.begin(), names.end(), is_module_expression) ? given : names;
}

}  // namespace

bool LoraFlags::wanted() const { return use_peft || !adapter.empty() || (verb && verb->get_option("--lora-r")->count() > 0); }

void LoraFlags::check() const {
  if (!verb || (wanted() && adapter.empty())) return;
  refuse_given(verb,
               {"--lora-r", "--lora-alpha", "--lora-dropout", "--lora-target-modules", "--lora-modules-to-save", "--lora-bias",
                "--use-rslora", "--use-dora"},
               adapter.empty() ? "has no effect without --use-peft"
                               : "has no effect on an adapter that goes on, whose adapter_config.json says it");
}

void add_lora_flags(Verb verb, LoraFlags& flags) {
  flags.verb = verb;
  const char* group = "LoRA";
  verb->add_flag("--use-peft", flags.use_peft, "Train low-rank adapters beside frozen weights; saved in PEFT's format")
      ->group(group);
  verb->add_option("--lora-r", flags.r, "Rank; giving it implies --use-peft")->group(group)->capture_default_str();
  verb->add_option("--lora-alpha", flags.alpha, "What adapters add is scaled by alpha / r")
      ->group(group)
      ->capture_default_str();
  verb->add_option("--lora-dropout", flags.dropout, "Of the adapters' inputs")->group(group)->capture_default_str();
  verb->add_option(
          "--lora-target-modules", flags.target_modules,
          "Modules by the end of their names, such as q_proj,v_proj, or all-linear, or one expression for whole names, such as "
          "'.*layers\\.[01]\\..*_proj' (default: peft's for the family)")
      ->group(group);
  verb->add_option("--lora-modules-to-save", flags.modules_to_save, "Modules trained whole (new heads are so anyway)")
      ->group(group);
  verb->add_option("--lora-bias", flags.bias, "Biases that train too")
      ->group(group)
      ->check(one_of({"none", "all", "lora_only"}))
      ->capture_default_str();
  verb->add_flag("--use-rslora", flags.use_rslora, "Scale by alpha / sqrt(r)")->group(group);
  verb->add_flag("--use-dora", flags.use_dora, "Train the lengths of the outputs' weights apart from their directions (DoRA)")
      ->group(group);
  verb->add_option("--adapter", flags.adapter, "Go on from this adapter (its folder says rank and modules)")->group(group);
}

std::unique_ptr<train::TrainingModel> open_lora(const Program& program, const std::string& path,
                                                const train::TrainingModelOptions& options, const LoraFlags& flags) {
  train::LoraOptions lora;
  lora.config.r = flags.r;
  lora.config.lora_alpha = flags.alpha;
  lora.config.lora_dropout = flags.dropout;
  lora.config.bias = flags.bias;
  lora.config.use_rslora = flags.use_rslora;
  lora.config.use_dora = flags.use_dora;
  lora.config.target_modules = target_modules(flags.target_modules);
  lora.config.modules_to_save = split_list(flags.modules_to_save);
  lora.config.base_model_name_or_path = path;
  if (!flags.adapter.empty()) lora.adapter = find_model(program, flags.adapter);
  return train::LoraModel::open(path, options, lora);
}

std::unique_ptr<train::Task> with_lora(train::TrainingModel& model, std::unique_ptr<train::Task> task) {
  auto* lora = dynamic_cast<train::LoraModel*>(&model);
  if (lora == nullptr) return task;
  return std::make_unique<train::LoraTask>(std::move(task), lora->draws());
}

void add_watch_flags(Verb verb, WatchFlags& flags) {
  const char* group = "Log, evaluation, checkpoints";
  verb->add_option("--report-to", flags.report_to,
                   "tensorboard (event files in --logging-dir), html (report.html), all or none")
      ->group(group)
      ->check(one_of({"tensorboard", "html", "all", "none"}))
      ->capture_default_str();
  verb->add_option("--logging-dir", flags.logging_dir, "Of TensorBoard's files (default: runs/TIME_HOST in the output folder)")
      ->group(group);
  verb->add_option("--sample-prompt", flags.sample_prompts,
                   "What the model makes of this is shown in the report (causal models; may be given several times)")
      ->group(group)
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
}

bool WatchFlags::reports_to(const std::string& name) const {
  return std::any_of(report_to.begin(), report_to.end(),
                     [&](const std::string& value) { return value == name || value == "all"; });
}

void WatchFlags::check() const {
  if (!sample_prompts.empty() && !reports_to("html")) {
    invalid("--sample-prompt", "has no effect without a report: need html among --report-to");
  }
  if (!logging_dir.empty() && !reports_to("tensorboard")) {
    invalid("--logging-dir", "has no effect without TensorBoard's files: need tensorboard among --report-to");
  }
}

std::vector<std::unique_ptr<train::TrainerCallback>> open_watchers(const WatchFlags& flags, const std::string& output_dir,
                                                                   const std::string& title, train::TrainingModel& model) {
  std::vector<std::unique_ptr<train::TrainerCallback>> watchers;
  if (!flags.sample_prompts.empty() && model.model().head_kind() != Head::kCausalLm) {
    invalid("--sample-prompt", "got {}, need a causal model", model.model().architecture());
  }
  if (flags.reports_to("html")) {
    std::function<std::vector<train::ReportSample>()> samples;
    if (!flags.sample_prompts.empty()) {
      samples = [prompts = flags.sample_prompts, &model] {
        std::vector<train::ReportSample> made;
        for (const std::string& prompt : prompts) made.push_back({prompt, go_on(model, prompt)});
        return made;
      };
    }
    std::string folder = output_dir;
    while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
    watchers.push_back(std::make_unique<train::HtmlReportCallback>(join_path(output_dir, "report.html"),
                                                                   title.empty() ? file_name(folder) : title, samples));
  }
  if (flags.reports_to("tensorboard")) {
    const std::string folder = flags.logging_dir.empty() ? train::default_logging_dir(output_dir) : flags.logging_dir;
    watchers.push_back(std::make_unique<train::TensorBoardCallback>(folder));
  }
  return watchers;
}

}  // namespace pagoda::cli
