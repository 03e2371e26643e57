// One step after the other: the file to read for what training does.
#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/checkpoint.h"
#include "train/trainer_impl.h"

namespace pagoda::train {

namespace {

constexpr double kMostSteps = 1e15;

}  // namespace

Trainer::Impl::Impl(TrainingModel& model, Task& task, const TrainingArguments& arguments, const TrainerHooks& hooks)
    : model_(model), task_(task), arguments_(arguments), hooks_(hooks), flops_(model.model()), best_(arguments) {
  arguments_.check();
  if (task_.num_examples() <= 0) invalid("training data", "no examples: need at least one");
  if (arguments_.eval_strategy != "no" && !task_.has_validation()) {
    invalid("--eval-strategy", "got {}, need validation data for it (--validation-file)", arguments_.eval_strategy);
  }
  if (task_.has_validation()) {  // told now, not at the first evaluation
    const std::vector<std::string> names = task_.metric_names();
    if (std::find(names.begin(), names.end(), best_.name()) == names.end()) refuse_metric(names);
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

bool Trainer::Impl::run() {
  if (is_main()) {
    if (hooks_.remove_old_checkpoints) remove_checkpoints(arguments_.output_dir);
    check_names_are_free(arguments_.output_dir, global_step_, max_steps_);
    remove_leftovers(arguments_.output_dir);
  }
  if (parallel_) parallel_->share_parameters();  // new weights are the same anyway; files may differ
  begun_ = steady_seconds();
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

void Trainer::Impl::plan(int64_t max_steps) {
  max_steps_ = max_steps;
  logging_steps_ = TrainingArguments::steps_of(arguments_.logging_steps, max_steps_);
  save_steps_ = TrainingArguments::steps_of(arguments_.save_steps, max_steps_);
  eval_steps_ = arguments_.eval_steps > 0 ? TrainingArguments::steps_of(arguments_.eval_steps, max_steps_) : logging_steps_;
  if (arguments_.load_best_model_at_end && arguments_.save_strategy == "steps" && save_steps_ % eval_steps_ != 0) {
    invalid("--save-steps", "got {} ({} steps) beside --load-best-model-at-end, need a multiple of --eval-steps ({} steps)",
            arguments_.save_steps, save_steps_, eval_steps_);
  }
  const double warm = arguments_.warmup_steps > 0 ? arguments_.warmup_steps : arguments_.warmup_ratio;
  const int64_t warmup = warm == 1 && arguments_.warmup_steps == 0 ? max_steps_ : TrainingArguments::steps_of(warm, max_steps_);
  schedule_ = std::make_unique<Schedule>(arguments_.lr_scheduler_type, arguments_.learning_rate, warmup, max_steps_,
                                         arguments_.lr_scheduler_kwargs);
}

void Trainer::Impl::plan_rest() {
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

void Trainer::Impl::tell(const std::function<void(TrainerCallback&)>& what) {
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

void Trainer::Impl::tell_of_model(const std::function<void(TrainerCallback&)>& what) {
  task_.end_batches();
  const WeightAverage::InPlace averaged(*average_);
  tell(what);
}

void Trainer::Impl::notice(const std::string& text) const {
  if (hooks_.notice) hooks_.notice("warning: " + text);
}

double Trainer::Impl::epoch() const {
  const int64_t left = divide_up(task_.num_examples() - examples_, arguments_.per_device_train_batch_size);
  const int64_t done = std::max<int64_t>(0, batches_per_epoch_ - left);
  return static_cast<double>(epoch_) + static_cast<double>(done) / static_cast<double>(batches_per_epoch_);
}

std::vector<int> Trainer::Impl::free_cores() const {
  const std::vector<int>& taken = model_.runtime().placement().cores;
  std::vector<int> free;
  for (const int core : model_.runtime().cpu().affinity) {
    if (std::find(taken.begin(), taken.end(), core) == taken.end()) free.push_back(core);
  }
  return taken.empty() ? std::vector<int>() : free;
}

void Trainer::Impl::begin_callbacks() {
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

bool Trainer::Impl::step() {
  const double begun = steady_seconds();
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
    const double computed = steady_seconds();
    parallel_->finish_backward();
    loss = parallel_->ranks().all_reduce(loss);
    exchange = steady_seconds() - computed;
  }
  exchange += update(count);
  hot.reset();
  ++global_step_;
  tokens_ += all_tokens;
  total_flos_ += 6.0 * static_cast<double>(all_tokens) * flos_parameters_;
  loss_sum_ += loss;
  const StepReport report{global_step_, max_steps_, steady_seconds() - begun, static_cast<double>(tokens), flops, exchange};
  tell([&](TrainerCallback& each) { each.on_step(report); });
  after_step();
  return true;
}

double Trainer::Impl::run_batch(const MicroBatch& batch, int64_t count, const GradientHook* ready) {
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

double Trainer::Impl::update(int64_t count) {
  learning_rate_ = arguments_.learning_rate * schedule_->factor(global_step_);
  if (count == 0) return 0;  // a masked LM may draw no mask at all in a tiny batch
  gradient_norm_ = optimizer_->gradient_norm();
  if (parallel_) gradient_norm_ = parallel_->norm(gradient_norm_);
  if (!std::isfinite(gradient_norm_)) explain_gradient();
  const double limit = arguments_.max_grad_norm;
  const double scale = limit > 0 ? std::min(1.0, limit / (gradient_norm_ + 1e-6)) : 1.0;
  optimizer_->step(learning_rate_, static_cast<float>(scale));
  const double updated = steady_seconds();
  if (parallel_) parallel_->share_parameters();
  const double shared = parallel_ ? steady_seconds() - updated : 0;
  average_->update();
  return shared;
}

bool Trainer::Impl::due(const std::string& strategy, int64_t every) const {
  if (strategy == "steps") return global_step_ % every == 0;
  // As in HF's loop, an epoch that the run does not finish ends too.
  return strategy == "epoch" && (examples_ == task_.num_examples() || global_step_ >= max_steps_);
}

void Trainer::Impl::after_step() {
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

void Trainer::Impl::settle_step() {
  // An epoch that the run does not finish ends where it stops.
  if (best_.stops() && arguments_.logging_strategy == "epoch" && logged_step_ < global_step_) log();
  const bool ends = global_step_ >= max_steps_ || best_.stops();
  const bool at_the_end = ends && (arguments_.save_strategy == "steps" || arguments_.save_strategy == "epoch");
  const bool best = arguments_.save_strategy == "best" && improved_;
  if (due(arguments_.save_strategy, save_steps_) || at_the_end || best) save(task_.state());
}

void Trainer::Impl::refuse_metric(const std::vector<std::string>& names) const {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  invalid("--metric-for-best-model", "got {}, need one of {}", best_.name(), all);
}

bool Trainer::Impl::evaluate_or_keep() {
  try {
    return evaluate(true);
  } catch (const Error&) {
    evaluation_due_ = true;
    keep();
    throw;
  }
}

void Trainer::Impl::log() {
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

std::optional<Metrics> Trainer::Impl::job_metrics(std::optional<Metrics> metrics) {
  if (!parallel_) return metrics;
  Json json = metrics ? Json::object() : Json();
  for (const auto& [name, value] : metrics.value_or(Metrics())) json.set(name, value);
  json = Json::parse(parallel_->ranks().share(json.dump()), "metrics");
  if (json.is_null()) return {};
  Metrics all;
  for (const JsonMember& member : json.as_object("metrics")) all.emplace_back(member.key, member.value.as_double("metrics"));
  return all;
}

bool Trainer::Impl::evaluate(bool compare) {
  const double begun = steady_seconds();
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
  const double seconds = steady_seconds() - begun;
  entry.set("eval_runtime", seconds);
  if (const int64_t samples = task_.num_validation_examples(); samples > 0) {
    const int64_t size = arguments_.per_device_eval_batch_size;
    entry.set("eval_samples_per_second", static_cast<double>(samples) / seconds)
        .set("eval_steps_per_second", static_cast<double>(divide_up(samples, size * arguments_.world)) / seconds);
  }
  entry.set("step", global_step_);
  log_history_.push_back(entry);
  tell_of_model([&](TrainerCallback& each) { each.on_evaluate(entry); });
  if (!compare) return true;
  if (watched == nullptr) {
    const bool needed = arguments_.load_best_model_at_end || arguments_.early_stopping_patience > 0 ||
                        arguments_.save_strategy == "best" || arguments_.lr_scheduler_type == "reduce_lr_on_plateau";
    if (!needed) return true;
    std::vector<std::string> names;
    for (const auto& [name, value] : metrics) names.push_back(name);
    refuse_metric(names);
  }
  schedule_->observe(*watched);
  improved_ = best_.observe(*watched, global_step_);
  if (improved_ && saved_step_ == global_step_) best_checkpoint_ = saved_path_;  // made up by a run that goes on
  return true;
}

void Trainer::Impl::log_end() {
  total_loss_ += loss_sum_;
  loss_sum_ = 0;
  const double seconds = steady_seconds() - begun_;
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

bool Trainer::Impl::finish() {
  log_end();
  if (arguments_.load_best_model_at_end && best_.known()) load_best();
  if (is_main()) write_model();  // before the evaluation, whose errors cost no model
  if (parallel_) parallel_->ranks().barrier();
  const auto ended = [&] { tell_of_model([&](TrainerCallback& each) { each.on_train_end(arguments_.output_dir, state()); }); };
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

bool Trainer::Impl::measure() {
  if (!task_.has_validation() || arguments_.eval_strategy != "no" || !arguments_.eval_at_end) return true;
  if (!evaluate(false)) return false;
  if (is_main()) write_state();
  return true;
}

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
