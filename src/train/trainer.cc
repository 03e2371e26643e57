// One step after the other: the file to read for what training does.
#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "ops/optim.h"
#include "ops/tape_hook.h"
#include "train/best_metric.h"
#include "train/checkpoint.h"
#include "train/flops.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/weight_average.h"

namespace pagoda::train {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFormat = 1;
constexpr double kMostSteps = 1e15;

double seconds_since(Clock::time_point begun) { return std::chrono::duration<double>(Clock::now() - begun).count(); }

std::string pretty(const Json& json) { return json.pretty() + "\n"; }

Json read_json(const std::string& path) {
  const Limits limits;
  return Json::parse(read_file(path, limits.max_json_bytes), path, limits);
}

// 0.1, not the float nearest to it in sixteen digits.
double as_written(float value) { return std::stod(fmt::format("{}", value)); }

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The first module whose result is not finite.
class FiniteCheck : public Observer {
 public:
  void observe(std::string_view path, const Tensor& tensor) override {
    const bool floats = tensor.dtype() == DType::kFloat32 || tensor.dtype() == DType::kBFloat16;
    if (first_.empty() && floats && tensor.is_contiguous() && !ops::all_finite(tensor)) first_ = path;
  }
  const std::string& first() const { return first_; }

 private:
  std::string first_;
};

}  // namespace

class Trainer::Impl {
 public:
  Impl(TrainingModel& model, Task& task, const TrainingArguments& arguments, const TrainerHooks& hooks)
      : model_(model), task_(task), arguments_(arguments), hooks_(hooks), flops_(model.model()), best_(arguments) {
    arguments_.check();
    if (task_.num_examples() <= 0) invalid("training data", "no examples: need at least one");
    if (arguments_.eval_strategy != "no" && !task_.has_validation()) {
      invalid("--eval-strategy", "got {}, need validation data for it (--validation-file)", arguments_.eval_strategy);
    }
    parameters_ = model_.trained_parameters();
    if (parameters_.empty()) invalid("model", "no parameter requires gradients");
    optimizer_ = Optimizer::make(arguments_, parameters_);
    if (hooks_.ranks != nullptr) {
      DataParallelOptions options = hooks_.data_parallel;
      if (options.cores.empty()) options.cores = free_cores();
      parallel_ = std::make_unique<DataParallel>(*hooks_.ranks, parameters_, options);
      optimizer_->set_owned(parallel_->owned());
      if (!is_main()) hooks_.callbacks.clear();
    }
    batches_per_epoch_ = divide_up(task_.num_examples(), arguments_.per_device_train_batch_size);
    steps_per_epoch_ = divide_up(batches_per_epoch_, arguments_.gradient_accumulation_steps);
    const double steps = std::ceil(arguments_.num_train_epochs * static_cast<double>(steps_per_epoch_));
    if (arguments_.max_steps <= 0 && steps > kMostSteps) {
      invalid("--num-train-epochs", "got {}: {} steps, need at most {}", arguments_.num_train_epochs, steps, kMostSteps);
    }
    plan(arguments_.max_steps > 0 ? arguments_.max_steps : static_cast<int64_t>(steps));
    for (const Parameter* parameter : model_.model().parameters()) {
      if (!is_embedding(*parameter)) flos_parameters_ += static_cast<double>(parameter->value.numel());
    }
    model_.model().set_gradient_checkpointing(arguments_.gradient_checkpointing);
    average_ = std::make_unique<WeightAverage>(parameters_, arguments_.ema_decay);
    if (is_main()) check_writable(arguments_.output_dir, bytes_needed() - bytes_removed());
  }

  void resume(const std::string& folder) {
    const std::string path = join_path(folder, kTrainingState);
    if (const std::string lacks = incomplete_checkpoint(folder); !lacks.empty()) {
      invalid(folder, "cannot go on from it: {}{}", lacks,
              file_exists(path) ? "" : " (with --save-only-model checkpoints hold the model alone)");
    }
    const Json saved = read_json(path);
    const int64_t format = saved.at("format", path).as_int(path);
    if (format != kFormat) unsupported(path, "got format {}, need {}", format, kFormat);
    const Json& given = saved.at("arguments", path);
    if (const std::string optim = given.get_string("optim", "", path);
        Optimizer::plain_name(optim) != Optimizer::plain_name(arguments_.optim)) {
      invalid(path, "the run had another --optim: got {}, need {}", arguments_.optim, optim);
    }
    if (const int64_t seed = given.at("seed", path).as_int(path); seed != static_cast<int64_t>(arguments_.seed)) {
      invalid(path, "the run had another --seed: got {}, need {}", arguments_.seed, seed);
    }
    warn_of_changes(given, folder);
    model_.load(folder);
    optimizer_->load_state(join_path(folder, kOptimizer));
    if (parallel_) optimizer_->set_owned(parallel_->owned());
    average_->load(folder);
    task_.restore(saved.at("data", path));
    const Json state = read_json(join_path(folder, kTrainerState));
    global_step_ = state.at("global_step", path).as_int(path);
    log_history_ = state.at("log_history", path);
    if (const Json* best = state.find("best_metric"); best != nullptr && !best->is_null()) {
      best_.restore_best(best->as_double(path), state.get_int("best_global_step", 0, path));
      const Json* where = state.find("best_model_checkpoint");
      if (where != nullptr && where->is_string()) find_best(folder, where->as_string(path));
    }
    epoch_ = saved.at("epoch", path).as_int(path);
    examples_ = task_.num_examples() - task_.examples_left();  // of this many ranks
    loss_sum_ = saved.at("loss_sum", path).as_double(path);
    total_loss_ = saved.at("total_loss", path).as_double(path);
    logged_step_ = saved.at("logged_step", path).as_int(path);
    gradient_norm_ = saved.get_double("grad_norm", 0, path);
    learning_rate_ = saved.get_double("learning_rate", 0, path);
    best_.restore_patience(saved.at("not_improved", path).as_int(path));
    evaluation_due_ = saved.at("evaluation_due", path).as_bool(path);
    tokens_ = state.get_int("num_input_tokens_seen", 0, path);
    total_flos_ = state.get_double("total_flos", 0, path);
    if (global_step_ < 0 || epoch_ < 0) invalid(path, "got step {}, epoch {}: need a place in the data", global_step_, epoch_);
    plan_rest();
    if (const Json* place = saved.find("lr_scheduler")) schedule_->restore(*place);
    saved_step_ = global_step_;
    saved_path_ = resumed_ = folder;
  }

  bool run() {
    if (is_main()) {
      if (hooks_.remove_old_checkpoints) remove_checkpoints(arguments_.output_dir);
      check_names_are_free(arguments_.output_dir, global_step_, max_steps_);
      remove_leftovers(arguments_.output_dir);
    }
    if (parallel_) parallel_->share_parameters();  // new weights are the same anyway; files may differ
    begun_ = Clock::now();
    first_step_ = global_step_;
    begin_callbacks();
    if (arguments_.eval_on_start && first_step_ == 0) evaluate(false);
    if (evaluation_due_ && evaluate_or_keep()) settle_step();
    while (global_step_ < max_steps_ && !best_.stops()) {
      if (!step()) return false;
    }
    // The last evaluation was interrupted: whoever goes on begins with it.
    if (evaluation_due_) {
      if (saved_step_ != global_step_) save(task_.state());
      return false;
    }
    return finish();
  }

  std::string to_go_on_from() const {
    return saved_step_ == global_step_ && !arguments_.save_only_model ? saved_path_ : std::string();
  }
  bool wrote_model() const { return wrote_model_; }

  Json state() const {
    Json json = Json::object();
    const auto or_null = [&](const Json& value) { return best_.known() ? value : Json(); };
    json.set("best_global_step", or_null(best_.step()))
        .set("best_metric", or_null(best_.value()))
        .set("best_model_checkpoint", best_checkpoint_.empty() ? Json() : Json(best_checkpoint_))
        .set("epoch", epoch())
        .set("eval_steps", eval_steps_)
        .set("global_step", global_step_)
        .set("is_hyper_param_search", false)
        .set("is_local_process_zero", true)
        .set("is_world_process_zero", true)
        .set("log_history", log_history_)
        .set("logging_steps", logging_steps_)
        .set("max_steps", max_steps_)
        .set("num_input_tokens_seen", tokens_)
        .set("num_train_epochs", divide_up(max_steps_, steps_per_epoch_))
        .set("save_steps", save_steps_)
        .set("stateful_callbacks", Json::object())
        .set("total_flos", total_flos_)
        .set("train_batch_size", arguments_.per_device_train_batch_size)
        .set("trial_name", Json())
        .set("trial_params", Json());
    return json;
  }

 private:
  // All that depends on the number of steps.
  void plan(int64_t max_steps) {
    max_steps_ = max_steps;
    logging_steps_ = TrainingArguments::steps_of(arguments_.logging_steps, max_steps_);
    save_steps_ = TrainingArguments::steps_of(arguments_.save_steps, max_steps_);
    eval_steps_ = arguments_.eval_steps > 0 ? TrainingArguments::steps_of(arguments_.eval_steps, max_steps_) : logging_steps_;
    if (arguments_.load_best_model_at_end && arguments_.save_strategy == "steps" && save_steps_ % eval_steps_ != 0) {
      invalid("--save-steps", "got {} ({} steps) beside --load-best-model-at-end, need a multiple of --eval-steps ({} steps)",
              arguments_.save_steps, save_steps_, eval_steps_);
    }
    const double warm = arguments_.warmup_steps > 0 ? arguments_.warmup_steps : arguments_.warmup_ratio;
    const int64_t warmup =
        warm == 1 && arguments_.warmup_steps == 0 ? max_steps_ : TrainingArguments::steps_of(warm, max_steps_);
    schedule_ = std::make_unique<Schedule>(arguments_.lr_scheduler_type, arguments_.learning_rate, warmup, max_steps_,
                                           arguments_.lr_scheduler_kwargs);
  }

  // The epochs that were asked for are counted from where the data stand: with other ranks or batches, now or in an earlier
  // part of the run, its steps were of another size.
  void plan_rest() {
    if (arguments_.max_steps > 0) return;
    const int64_t batches_left = divide_up(task_.num_examples() - examples_, arguments_.per_device_train_batch_size);
    const int64_t left = divide_up(batches_left, arguments_.gradient_accumulation_steps);  // steps of this epoch
    const int64_t after = max_steps_ - (epoch_ + 1) * steps_per_epoch_;                    // below 0: the run ends in this one
    const int64_t steps = global_step_ + std::max<int64_t>(0, left + after);
    if (steps == max_steps_) return;
    plan(steps);
    notice(fmt::format("steps before were of other batches or ranks: {} epochs end after step {}", arguments_.num_train_epochs,
                       max_steps_));
  }

  // The best checkpoint of the run that is gone on from. A folder that was moved, or is named otherwise from here, holds it
  // beside the checkpoint that is read; another may, where that run had gone on from there.
  void find_best(const std::string& resumed, const std::string& noted) {
    const std::string beside = checkpoint_path(join_path(resumed, ".."), best_.step());
    std::vector<std::string> places;
    if (best_.step() == global_step_) places.push_back(resumed);
    places.push_back(std::filesystem::path(beside).lexically_normal().string());
    places.push_back(noted);
    places.push_back(checkpoint_path(arguments_.output_dir, best_.step()));
    for (const std::string& place : places) {
      if (!file_exists(join_path(place, kTrainerState))) continue;
      best_checkpoint_ = place;
      return;
    }
    if (arguments_.load_best_model_at_end) notice(fmt::format("the best checkpoint so far is gone: {}", noted));
  }

  // What the weights come to depends on, besides the data.
  Json noted_arguments() const {
    const Dropouts dropouts = model_.model().dropouts();
    Json of_model = Json::object(), all = arguments_.to_json();
    of_model.set("embedding", as_written(dropouts.embedding))
        .set("attention_output", as_written(dropouts.attention_output))
        .set("mlp_output", as_written(dropouts.mlp_output))
        .set("attention_probs", as_written(dropouts.attention_probs))
        .set("class_dense", as_written(dropouts.class_dense))
        .set("classifier", as_written(dropouts.classifier));
    all.set("dropouts", of_model);
    all.set("bf16_reduction", hooks_.ranks != nullptr && hooks_.data_parallel.wire == Wire::kBFloat16);
    for (const Json& more : {task_.options(), model_.options()}) {
      for (const JsonMember& member : more.as_object("options")) all.set(member.key, member.value);
    }
    return all;
  }

  // What a run that goes on may have otherwise, and trains otherwise with than the one before.
  void warn_of_changes(const Json& before, const std::string& folder) const {
    const Json now = noted_arguments();
    std::string changes;
    for (const JsonMember& mine : now.as_object("arguments")) {
      const Json* old = before.find(mine.key);
      if (mine.key == "output_dir" || mine.key == "optim" || old == nullptr || *old == mine.value) continue;
      changes += fmt::format("{}{}: {} (before: {})", changes.empty() ? "" : ", ", mine.key, mine.value.dump(), old->dump());
    }
    if (!changes.empty()) notice(fmt::format("other arguments than when {} was written: {}", folder, changes));
  }

  // One that fails (a report on a full disk) is not told again: training goes on.
  void tell(const std::function<void(TrainerCallback&)>& what) {
    for (TrainerCallback*& each : hooks_.callbacks) {
      if (each == nullptr) continue;
      try {
        what(*each);
      } catch (const Error& error) {
        notice(fmt::format("a report stops here: {}", error.what()));
        each = nullptr;
      }
    }
  }

  void notice(const std::string& text) const {
    if (hooks_.notice) hooks_.notice("warning: " + text);
  }

  double epoch() const {
    return static_cast<double>(epoch_) + static_cast<double>(examples_) / static_cast<double>(task_.num_examples());
  }

  // Weights and at most two moments of each, and the model once more at the end.
  int64_t bytes_needed() const {
    int64_t all = 0, trained = 0;
    for (const Parameter* parameter : model_.model().parameters()) all += parameter->value.bytes();
    for (const Parameter* parameter : parameters_) trained += parameter->value.bytes();
    const bool moments = Optimizer::plain_name(arguments_.optim).starts_with("adam");
    return (arguments_.save_strategy == "no" ? all : 2 * all + (moments ? 2 : 1) * trained) + (int64_t{1} << 20);
  }

  int64_t bytes_removed() const {
    if (!hooks_.remove_old_checkpoints) return 0;
    int64_t bytes = 0;
    for (const auto& [step, path] : list_checkpoints(arguments_.output_dir)) bytes += bytes_of_checkpoint(path);
    return bytes;
  }

  // Those that this process may use and its threads are not pinned to.
  std::vector<int> free_cores() const {
    const std::vector<int>& taken = model_.runtime().placement().cores;
    std::vector<int> free;
    for (const int core : model_.runtime().cpu().affinity) {
      if (std::find(taken.begin(), taken.end(), core) == taken.end()) free.push_back(core);
    }
    return taken.empty() ? std::vector<int>() : free;
  }

  bool is_main() const { return parallel_ == nullptr || parallel_->rank() == 0; }
  bool cancelled() const { return hooks_.cancel != nullptr && hooks_.cancel->load(std::memory_order_relaxed); }
  void begin_callbacks() {
    if (hooks_.callbacks.empty()) return;
    int64_t count = 0;
    for (const Parameter* parameter : parameters_) count += parameter->value.numel();
    Json run = Json::object();
    run.set("arguments", arguments_.to_json())
        .set("num_parameters", count)
        .set("max_steps", max_steps_)
        .set("global_step", global_step_)
        .set("resumed_from", resumed_.empty() ? Json() : Json(resumed_))
        .set("log_history", log_history_);
    tell([&](TrainerCallback& each) { each.on_train_begin(run); });
  }

  // False: cancelled; what was done is saved.
  bool step() {
    const auto begun = Clock::now();
    const Json place = task_.state();
    const int64_t epoch_before = epoch_, examples_before = examples_;
    if (examples_ == task_.num_examples()) {
      ++epoch_;
      examples_ = 0;
    }
    std::vector<MicroBatch> batches;
    int64_t count = 0, tokens = 0;
    double flops = 0;
    for (int64_t i = 0; i < arguments_.gradient_accumulation_steps && examples_ < task_.num_examples(); ++i) {
      const int64_t wanted = std::min(arguments_.per_device_train_batch_size, task_.num_examples() - examples_);
      batches.push_back(task_.next(wanted));
      examples_ += wanted;
      count += batches.back().num_labels;
      if (const auto& layout = batches.back().layout) {
        tokens += layout->num_tokens();
        flops += flops_.of(*layout);
      }
    }
    int64_t all_tokens = tokens;
    bool stops = cancelled();
    if (parallel_) {
      const std::vector<int64_t> sums = parallel_->ranks().all_reduce(std::vector<int64_t>{count, tokens, stops ? 1 : 0});
      count = sums[0];
      all_tokens = sums[1];
      stops = sums[2] > 0;  // ranks stop together, between steps
    }
    const GradientHook ready = [&](const Tensor& leaf) { parallel_->ready(leaf); };
    std::optional<ThreadPool::Step> hot(model_.runtime().pool());  // the update has hundreds of short regions
    double loss = 0;
    for (const MicroBatch& batch : batches) {
      if (parallel_ == nullptr) stops = cancelled();
      if (stops) {
        optimizer_->zero_gradients();
        epoch_ = epoch_before;
        examples_ = examples_before;
        if (saved_step_ != global_step_) save(place);
        return false;
      }
      const bool last = &batch == &batches.back();
      if (parallel_ && last) parallel_->begin_backward();
      if (batch.num_labels > 0) loss += run_batch(batch, count, parallel_ && last ? &ready : nullptr);
    }
    double exchange = 0;
    if (parallel_) {
      const auto computed = Clock::now();
      parallel_->finish_backward();
      loss = parallel_->ranks().all_reduce(loss);
      exchange = seconds_since(computed);
    }
    exchange += update(count);
    hot.reset();
    ++global_step_;
    tokens_ += all_tokens;
    total_flos_ += 6.0 * static_cast<double>(all_tokens) * flos_parameters_;
    loss_sum_ += loss;
    const StepReport report{global_step_, max_steps_, seconds_since(begun), static_cast<double>(tokens), flops, exchange};
    tell([&](TrainerCallback& each) { each.on_step(report); });
    after_step();
    return true;
  }

  double run_batch(const MicroBatch& batch, int64_t count, const GradientHook* ready = nullptr) {
    const Tensor loss = task_.loss(model_.model(), batch, count);
    const double value = static_cast<double>(loss.data<float>()[0]);
    if (!std::isfinite(value)) explain_loss(value, batch, count);
    if (ready != nullptr) {
      backward(loss, *ready);
    } else {
      backward(loss);
    }
    return value;
  }

  // Seconds that sharing the parameters took.
  double update(int64_t count) {
    learning_rate_ = arguments_.learning_rate * schedule_->factor(global_step_);
    if (count == 0) return 0;  // a masked LM may draw no mask at all in a tiny batch
    gradient_norm_ = optimizer_->gradient_norm();
    if (parallel_) gradient_norm_ = parallel_->norm(gradient_norm_);
    if (!std::isfinite(gradient_norm_)) explain_gradient();
    const double limit = arguments_.max_grad_norm;
    const double scale = limit > 0 ? std::min(1.0, limit / (gradient_norm_ + 1e-6)) : 1.0;
    optimizer_->step(learning_rate_, static_cast<float>(scale));
    const auto updated = Clock::now();
    if (parallel_) parallel_->share_parameters();
    const double shared = parallel_ ? seconds_since(updated) : 0;
    average_->update();
    return shared;
  }

  [[noreturn]] void stop_training(const std::string& what) {
    const auto kept = list_checkpoints(arguments_.output_dir);
    invalid(fmt::format("step {}", global_step_ + 1),
            "{}; the learning rate was {}: need a lower one, a longer warm-up or clipping. {}", what,
            arguments_.learning_rate * schedule_->factor(global_step_),
            kept.empty() ? "No checkpoint was written before" : "The last good state is " + kept.back().second);
  }

  [[noreturn]] void explain_loss(double value, const MicroBatch& batch, int64_t count) {
    check_parameters(fmt::format("the loss is {}", std::fabs(value)));
    const NoGrad no_grad;
    FiniteCheck finite;
    task_.loss(model_.model(), batch, count, &finite);
    stop_training(fmt::format("the loss is {}; the first layer that is not finite is {}", std::fabs(value),
                              finite.first().empty() ? "the head" : finite.first()));
  }

  [[noreturn]] void explain_gradient() {
    size_t first = 0;
    for (; first < parameters_.size(); ++first) {
      const Tensor gradient = parameters_[first]->value.grad();
      if (gradient && !ops::all_finite(gradient)) break;
    }
    if (parallel_) first = parallel_->first_of_all(first);  // a rank has the gradients of its own parameters alone
    if (first < parameters_.size()) {
      stop_training(fmt::format("the gradient is not finite; the first parameter with one is {}", parameters_[first]->name));
    }
    stop_training("the norm of the gradients is not finite");
  }

  void check_parameters(const std::string& what) {
    for (const Parameter* parameter : parameters_) {
      if (!ops::all_finite(parameter->value))
        stop_training(fmt::format("{}; the weights of {} are not finite", what, parameter->name));
    }
  }

  bool due(const std::string& strategy, int64_t every) const {
    if (strategy == "steps") return global_step_ % every == 0;
    // As in HF's loop, an epoch that the run does not finish ends too.
    return strategy == "epoch" && (examples_ == task_.num_examples() || global_step_ >= max_steps_);
  }

  void after_step() {
    if (due(arguments_.logging_strategy, logging_steps_) || (arguments_.logging_first_step && global_step_ == 1)) log();
    improved_ = false;
    // As HF's callback: the last step too where there are evaluations every so many.
    const bool last = global_step_ >= max_steps_;
    const bool waits =
        (arguments_.eval_strategy == "epoch" ? epoch() : static_cast<double>(global_step_)) < arguments_.eval_delay;
    const bool evaluates = due(arguments_.eval_strategy, eval_steps_) || (last && arguments_.eval_strategy == "steps");
    if (!waits && evaluates) evaluate_or_keep();
    settle_step();
  }

  // What follows an evaluation, or the lack of one.
  void settle_step() {
    // An epoch that the run does not finish ends where it stops.
    if (best_.stops() && arguments_.logging_strategy == "epoch" && logged_step_ < global_step_) log();
    const bool ends = global_step_ >= max_steps_ || best_.stops();
    const bool at_the_end = ends && (arguments_.save_strategy == "steps" || arguments_.save_strategy == "epoch");
    const bool best = arguments_.save_strategy == "best" && improved_;
    if (due(arguments_.save_strategy, save_steps_) || at_the_end || best) save(task_.state());
  }

  // An evaluation that fails costs nothing of what was trained: a checkpoint holds it, and after the last step the model too.
  bool evaluate_or_keep() {
    try {
      return evaluate(true);
    } catch (const Error&) {
      evaluation_due_ = true;
      keep();
      throw;
    }
  }

  void keep() {
    try {
      // Ranks write a checkpoint together, and the others need not have met this error.
      if (!parallel_ && saved_step_ != global_step_) save(task_.state());
      if (is_main() && global_step_ >= max_steps_) write_model();
    } catch (const Error& error) {
      notice(fmt::format("what was trained up to step {} could not be written: {}", global_step_, error.what()));
    }
  }

  void log() {
    const double steps = static_cast<double>(global_step_ - logged_step_);
    Json entry = Json::object();
    entry.set("epoch", epoch())
        .set("grad_norm", gradient_norm_)
        .set("learning_rate", learning_rate_)
        .set("loss", loss_sum_ / steps)
        .set("step", global_step_);
    total_loss_ += loss_sum_;
    loss_sum_ = 0;
    logged_step_ = global_step_;
    log_history_.push_back(entry);
    tell([&](TrainerCallback& each) { each.on_log(entry); });
  }

  // What rank 0 found, on all ranks; empty: it was cancelled.
  std::optional<Metrics> job_metrics(std::optional<Metrics> metrics) {
    if (!parallel_) return metrics;
    Json json = metrics ? Json::object() : Json();
    for (const auto& [name, value] : metrics.value_or(Metrics())) json.set(name, value);
    json = Json::parse(parallel_->share(json.dump()), "metrics");
    if (json.is_null()) return {};
    Metrics all;
    for (const JsonMember& member : json.as_object("metrics")) all.emplace_back(member.key, member.value.as_double("metrics"));
    return all;
  }

  // compare: by the metric that picks the best checkpoint. False: cancelled.
  bool evaluate(bool compare) {
    const auto begun = Clock::now();
    TaskHooks hooks;
    hooks.cancel = hooks_.cancel;
    std::optional<Metrics> found;
    {
      const NoGrad no_grad;
      const WeightAverage::InPlace averaged(*average_);
      try {
        found = task_.evaluate(model_.model(), hooks, parallel_ ? &parallel_->ranks() : nullptr);
      } catch (const Cancelled&) {
      }
    }
    found = job_metrics(std::move(found));
    evaluation_due_ = !found && compare;  // cancelled: the next step sees it and saves; whoever resumes evaluates first
    if (!found) return false;
    const Metrics metrics = std::move(*found);
    Json entry = Json::object();
    entry.set("epoch", epoch());
    const double* watched = nullptr;
    for (const auto& [name, value] : metrics) {
      entry.set("eval_" + name, value);
      if (name == best_.name()) watched = &value;
    }
    const double seconds = seconds_since(begun);
    entry.set("eval_runtime", seconds);
    if (const int64_t samples = task_.num_validation_examples(); samples > 0) {
      const int64_t size = arguments_.per_device_eval_batch_size;
      entry.set("eval_samples_per_second", static_cast<double>(samples) / seconds)
          .set("eval_steps_per_second", static_cast<double>(divide_up(samples, size * arguments_.world)) / seconds);
    }
    entry.set("step", global_step_);
    log_history_.push_back(entry);
    tell([&](TrainerCallback& each) { each.on_evaluate(entry); });
    if (!compare) return true;
    if (watched == nullptr) {
      const bool needed = arguments_.load_best_model_at_end || arguments_.early_stopping_patience > 0 ||
                          arguments_.save_strategy == "best" || arguments_.lr_scheduler_type == "reduce_lr_on_plateau";
      if (!needed) return true;
      std::string names;
      for (const auto& [name, value] : metrics) names += (names.empty() ? "" : ", ") + name;
      invalid("--metric-for-best-model", "got {}, need one of {}", best_.name(), names);
    }
    schedule_->observe(*watched);
    improved_ = best_.observe(*watched, global_step_);
    if (improved_ && saved_step_ == global_step_) best_checkpoint_ = saved_path_;  // made up by a run that goes on
    return true;
  }

  // `place`: of the data, after the last step done.
  void save(const Json& place) {
    check_parameters("the update before broke the weights");
    std::vector<std::pair<std::string, Tensor>> moments;
    if (!arguments_.save_only_model) {
      moments = optimizer_->state();
      if (parallel_) moments = parallel_->gather(std::move(moments));
    }
    saved_step_ = global_step_;
    saved_path_ = checkpoint_path(arguments_.output_dir, global_step_);
    if (best_.known() && best_.step() == global_step_) best_checkpoint_ = saved_path_;
    if (is_main()) write_checkpoint(place, moments);
    if (parallel_) parallel_->ranks().barrier();
  }

  void write_checkpoint(const Json& place, const std::vector<std::pair<std::string, Tensor>>& moments) {
    const std::string path = checkpoint_path(arguments_.output_dir, global_step_);
    FolderWriter writer(path);
    const std::string& folder = writer.temporary();
    model_.save(folder);
    if (!arguments_.save_only_model) write_place(folder, place, moments);
    average_->save(folder);
    write_file_atomic(join_path(folder, kTrainerState), pretty(state()));
    writer.commit();
    prune_checkpoints(arguments_.output_dir, arguments_.save_total_limit,
                      {path, arguments_.load_best_model_at_end ? best_checkpoint_ : ""});
    tell([&](TrainerCallback& each) { each.on_save(path); });
  }

  // What going on needs beside the model.
  void write_place(const std::string& folder, const Json& place, const std::vector<std::pair<std::string, Tensor>>& moments) {
    write_safetensors(join_path(folder, kOptimizer), moments);
    Json own = Json::object();
    own.set("format", kFormat)
        .set("arguments", noted_arguments())
        .set("data", place)
        .set("epoch", epoch_)
        .set("loss_sum", loss_sum_)
        .set("total_loss", total_loss_)
        .set("logged_step", logged_step_)
        .set("grad_norm", gradient_norm_)
        .set("learning_rate", learning_rate_)
        .set("not_improved", best_.not_improved())
        .set("evaluation_due", evaluation_due_)
        .set("lr_scheduler", schedule_->state());
    write_file_atomic(join_path(folder, kTrainingState), pretty(own));
  }

  // The entry of the log that sums up.
  void log_end() {
    total_loss_ += loss_sum_;
    loss_sum_ = 0;
    const double seconds = seconds_since(begun_);
    const double steps = static_cast<double>(global_step_ - first_step_);
    const double examples = steps * static_cast<double>(arguments_.per_device_train_batch_size) *
                            static_cast<double>(arguments_.gradient_accumulation_steps) * arguments_.world;
    Json entry = Json::object();
    entry.set("epoch", epoch())
        .set("step", global_step_)
        .set("total_flos", total_flos_)
        .set("train_loss", total_loss_ / static_cast<double>(std::max<int64_t>(1, global_step_)))
        .set("train_runtime", seconds)
        .set("train_samples_per_second", examples / seconds)
        .set("train_steps_per_second", steps / seconds);
    log_history_.push_back(entry);
    tell([&](TrainerCallback& each) { each.on_log(entry); });
  }

  // False: the evaluation at the end was cancelled; the model is there.
  bool finish() {
    log_end();
    if (arguments_.load_best_model_at_end && best_.known()) load_best();
    if (is_main()) write_model();  // before the evaluation, whose errors cost no model
    if (parallel_) parallel_->ranks().barrier();
    const auto ended = [&] { tell([&](TrainerCallback& each) { each.on_train_end(arguments_.output_dir, state()); }); };
    bool measured = true;
    try {
      measured = measure();
    } catch (...) {
      ended();
      throw;
    }
    ended();
    return measured;
  }

  // The evaluation at the end, where there is one; false: it was cancelled.
  bool measure() {
    if (!task_.has_validation() || arguments_.eval_strategy != "no" || !arguments_.eval_at_end) return true;
    if (!evaluate(false)) return false;
    if (is_main()) write_state();
    return true;
  }

  void write_model() {
    const WeightAverage::InPlace averaged(*average_);
    model_.save(arguments_.output_dir);
    write_state();
    wrote_model_ = true;
  }

  void write_state() const { write_file_atomic(join_path(arguments_.output_dir, kTrainerState), pretty(state())); }

  // A best checkpoint that cannot be read costs no model either.
  void load_best() {
    if (best_checkpoint_.empty() || !directory_exists(best_checkpoint_)) {
      notice(fmt::format("no checkpoint holds the best weights, those of step {}: the last ones stay", best_.step()));
      return;
    }
    try {
      average_->check(best_checkpoint_);
      model_.load(best_checkpoint_);
      average_->load(best_checkpoint_);
    } catch (const Error& error) {
      notice(fmt::format("the best weights, those of step {}, cannot be read, and the last ones stay: {}", best_.step(),
                         error.what()));
    }
  }

  TrainingModel& model_;
  Task& task_;
  TrainingArguments arguments_;
  TrainerHooks hooks_;
  StepFlops flops_;
  std::vector<Parameter*> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Schedule> schedule_;
  std::unique_ptr<DataParallel> parallel_;  // null: alone
  std::unique_ptr<WeightAverage> average_;
  int64_t batches_per_epoch_ = 0, steps_per_epoch_ = 0, max_steps_ = 0;
  int64_t logging_steps_ = 0, eval_steps_ = 0, save_steps_ = 0;
  BestMetric best_;
  std::string best_checkpoint_;  // the newest one that was written at the best evaluation so far; empty: none

  int64_t global_step_ = 0, first_step_ = 0;
  int64_t saved_step_ = -1;  // of the last checkpoint
  std::string saved_path_;   // where that is
  bool wrote_model_ = false;
  int64_t epoch_ = 0, examples_ = 0;  // taken of this epoch
  int64_t tokens_ = 0;                // of all ranks
  double total_flos_ = 0;             // as transformers counts them: 6 a token and parameter that is no embedding
  double flos_parameters_ = 0;
  double loss_sum_ = 0, total_loss_ = 0;  // since the last entry of the log; before it
  int64_t logged_step_ = 0;
  double gradient_norm_ = 0, learning_rate_ = 0;
  bool improved_ = false;        // by the evaluation of this step
  bool evaluation_due_ = false;  // it was cancelled
  Json log_history_ = Json::array();
  std::string resumed_;
  Clock::time_point begun_;
};

Trainer::Trainer(TrainingModel& model, Task& task, const TrainingArguments& arguments, const TrainerHooks& hooks)
    : impl_(std::make_unique<Impl>(model, task, arguments, hooks)) {}
Trainer::~Trainer() = default;
void Trainer::resume(const std::string& checkpoint) { impl_->resume(checkpoint); }
bool Trainer::run() { return impl_->run(); }
std::string Trainer::to_go_on_from() const { return impl_->to_go_on_from(); }
bool Trainer::wrote_model() const { return impl_->wrote_model(); }
Json Trainer::state() const { return impl_->state(); }

std::string Trainer::last_checkpoint(const std::string& output_dir, std::vector<std::string>* incomplete) {
  const auto all = list_checkpoints(output_dir);
  for (auto each = all.rbegin(); each != all.rend(); ++each) {
    const std::string lacks = incomplete_checkpoint(each->second);
    if (lacks.empty()) return each->second;
    if (incomplete != nullptr) incomplete->push_back(fmt::format("{}: {}", each->second, lacks));
  }
  return {};
}

}  // namespace pagoda::train
