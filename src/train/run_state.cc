// What a run writes, and what one that goes on reads: checkpoints, trainer_state.json, the model.
#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "train/checkpoint.h"
#include "train/trainer_impl.h"

namespace pagoda::train {

namespace {

constexpr int kFormat = 1;

std::string pretty(const Json& json) { return json.pretty() + "\n"; }

// 0.1, not the float nearest to it in sixteen digits.
double as_written(float value) { return std::stod(fmt::format("{}", value)); }

}  // namespace

Json Trainer::Impl::noted_arguments() const {
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

void Trainer::Impl::resume(const std::string& folder) {
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

void Trainer::Impl::find_best(const std::string& resumed, const std::string& noted) {
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

void Trainer::Impl::warn_of_changes(const Json& before, const std::string& folder) const {
  const Json now = noted_arguments();
  std::string changes;
  for (const JsonMember& mine : now.as_object("arguments")) {
    const Json* old = before.find(mine.key);
    if (mine.key == "output_dir" || mine.key == "optim" || old == nullptr || *old == mine.value) continue;
    changes += fmt::format("{}{}: {} (before: {})", changes.empty() ? "" : ", ", mine.key, mine.value.dump(), old->dump());
  }
  if (!changes.empty()) notice(fmt::format("other arguments than when {} was written: {}", folder, changes));
}

int64_t Trainer::Impl::bytes_needed() const {
  int64_t all = 0, trained = 0;
  for (const Parameter* parameter : model_.model().parameters()) all += parameter->value.bytes();
  for (const Parameter* parameter : parameters_) trained += parameter->value.bytes();
  return bytes_of_run(arguments_, all, trained);
}

int64_t Trainer::Impl::bytes_removed() const {
  if (!hooks_.remove_old_checkpoints) return 0;
  int64_t bytes = 0;
  for (const auto& [step, path] : list_checkpoints(arguments_.output_dir)) bytes += bytes_of_checkpoint(path);
  return bytes;
}

std::string Trainer::Impl::to_go_on_from() const {
  return saved_step_ == global_step_ && !arguments_.save_only_model ? saved_path_ : std::string();
}

Json Trainer::Impl::state() const {
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

void Trainer::Impl::save(const Json& place) {
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

void Trainer::Impl::write_checkpoint(const Json& place, const std::vector<std::pair<std::string, Tensor>>& moments) {
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

void Trainer::Impl::write_place(const std::string& folder, const Json& place,
                                const std::vector<std::pair<std::string, Tensor>>& moments) {
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

void Trainer::Impl::keep() {
  try {
    // Ranks write a checkpoint together, and the others need not have met this error.
    if (!parallel_ && saved_step_ != global_step_) save(task_.state());
    if (is_main() && global_step_ >= max_steps_) write_model();
  } catch (const Error& error) {
    notice(fmt::format("what was trained up to step {} could not be written: {}", global_step_, error.what()));
  }
}

void Trainer::Impl::write_model() {
  const WeightAverage::InPlace averaged(*average_);
  model_.save(arguments_.output_dir);
  write_state();
  wrote_model_ = true;
}

void Trainer::Impl::write_state() const { write_file_atomic(join_path(arguments_.output_dir, kTrainerState), pretty(state())); }

void Trainer::Impl::load_best() {
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

}  // namespace pagoda::train
