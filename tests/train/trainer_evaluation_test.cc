// Evaluations of a run: the metric and its best checkpoint, early stops, what fails or is interrupted.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <tuple>

#include "formats/safetensors.h"
#include "tests/train/trainer_fixture.h"
#include "train/checkpoint.h"

namespace pagoda::train {
namespace {

TEST_F(TrainerTest, KeepsTheBestAndStopsEarly) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.max_steps = 30;
  arguments.greater_is_better = 1;  // the loss falls: no evaluation is better than the first
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 2;
  arguments.load_best_model_at_end = true;
  arguments.early_stopping_patience = 3;
  arguments.save_total_limit = 2;
  const Result result = train(arguments);
  EXPECT_TRUE(result.ended);
  EXPECT_EQ(result.state.at("global_step", "state").as_int("state"), 8);
  EXPECT_EQ(result.state.at("best_global_step", "state").as_int("state"), 2);
  std::vector<int64_t> kept;
  for (const auto& [step, path] : list_checkpoints(folder_ / "out")) kept.push_back(step);
  EXPECT_EQ(kept, (std::vector<int64_t>{2, 8}));
  EXPECT_EQ(result.weights, model_bytes(folder_ / "out/checkpoint-2"));
  EXPECT_NE(result.weights, model_bytes(folder_ / "out/checkpoint-8"));
}

TEST_F(TrainerTest, SavesTheBestAndLowersTheRateOnAPlateau) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.max_steps = 6;
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 1;
  arguments.save_strategy = "best";
  arguments.save_total_limit = 1;
  arguments.metric_for_best_model = "loss";
  arguments.learning_rate = 1e-9;
  arguments.lr_scheduler_type = "reduce_lr_on_plateau";
  arguments.lr_scheduler_kwargs = Json::parse(R"({"factor": 0.5, "patience": 0, "threshold": 0.5, "eps": 0})", "test");
  const Result result = train(arguments);
  const std::vector<double> rates = column(result.state, "learning_rate");
  EXPECT_EQ(rates, (std::vector<double>{1e-9, 1e-9, 5e-10, 2.5e-10, 1.25e-10, 6.25e-11}));
  const auto kept = list_checkpoints(folder_ / "out");
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].first, result.state.get_int("best_global_step", -1, "state"));
  arguments.eval_strategy = "no";
  EXPECT_NE(message_of([&] { train(arguments); }).find("--save-strategy best"), std::string::npos);
}

// The best evaluation may be of a step that no checkpoint was written at.
TEST_F(TrainerTest, KeepsTheLastWeightsWhereTheBestWereNotSaved) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.greater_is_better = 1;  // the first evaluation stays the best
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 1;
  arguments.load_best_model_at_end = true;
  std::string told;
  TrainerHooks hooks;
  hooks.notice = [&](const std::string& text) { told += text; };
  const Result result = train(arguments, "", 1, hooks);
  EXPECT_TRUE(result.ended);
  EXPECT_EQ(result.weights, model_bytes(folder_ / "out/checkpoint-6"));
  EXPECT_TRUE(result.state.at("best_model_checkpoint", "state").is_null());
  EXPECT_NE(told.find("no checkpoint holds the best weights, those of step 1"), std::string::npos) << told;
}

TEST_F(TrainerTest, TheBestCheckpointMayLieInTheFolderOfTheRunBefore) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "before");
  arguments.max_steps = 4;
  arguments.greater_is_better = 1;
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 2;
  arguments.load_best_model_at_end = true;
  train(arguments);
  arguments.max_steps = 6;
  arguments.output_dir = folder_ / "after";
  const Result result = train(arguments, folder_ / "before/checkpoint-4");
  EXPECT_EQ(result.state.at("best_model_checkpoint", "state"), Json(folder_ / "before/checkpoint-2"));
  EXPECT_EQ(result.weights, model_bytes(folder_ / "before/checkpoint-2"));
  // Gone: the last weights, and a word about it.
  std::filesystem::remove_all(folder_ / "before/checkpoint-2");
  std::filesystem::remove_all(folder_ / "after");
  std::string told;
  TrainerHooks hooks;
  hooks.notice = [&](const std::string& text) { told += text; };
  const Result without = train(arguments, folder_ / "before/checkpoint-4", 1, hooks);
  EXPECT_EQ(without.weights, model_bytes(folder_ / "after/checkpoint-6"));
  EXPECT_NE(told.find("the best checkpoint so far is gone"), std::string::npos) << told;
}

TEST_F(TrainerTest, AnEpochThatIsNotFinishedEndsToo) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.max_steps = 8;  // of 6 an epoch
  arguments.logging_strategy = arguments.eval_strategy = arguments.save_strategy = "epoch";
  const Result result = train(arguments);
  std::vector<int64_t> saved;
  for (const auto& [step, path] : list_checkpoints(folder_ / "out")) saved.push_back(step);
  for (const auto& steps : {steps_with(result.state, "loss"), steps_with(result.state, "eval_loss"), saved})
    EXPECT_EQ(steps, (std::vector<int64_t>{6, 8}));
}

// A task whose evaluations do what a test wants.
class WithEvaluation : public Task {
 public:
  WithEvaluation(Task& task, std::function<Metrics()> evaluation) : task_(task), evaluation_(std::move(evaluation)) {}
  int64_t num_examples() const override { return task_.num_examples(); }
  MicroBatch next(int64_t examples) override { return task_.next(examples); }
  Json state() const override { return task_.state(); }
  void restore(const Json& state) override { task_.restore(state); }
  int64_t examples_left() const override { return task_.examples_left(); }
  bool has_validation() const override { return true; }
  int64_t num_validation_examples() const override { return 1; }
  std::vector<std::string> metric_names() const override { return task_.metric_names(); }
  Metrics evaluate(const Model&, const TaskHooks&, Communicator*) override { return evaluation_(); }

 private:
  Task& task_;
  std::function<Metrics()> evaluation_;
};

TEST_F(TrainerTest, TheLastEvaluationCostsNoModel) {
  const auto model = TrainingModel::open(config_, model_options());
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.save_strategy = "no";
  LmTask task(*model, arguments, lm_options(folder_, {rows_}, false, model->runtime().pool()), {});
  WithEvaluation failing(task, []() -> Metrics { invalid("validation data", "nothing to see"); });
  Trainer trainer(*model, failing, arguments);
  EXPECT_NE(message_of([&] { trainer.run(); }).find("nothing to see"), std::string::npos);
  EXPECT_TRUE(file_exists(folder_ / "out/model.safetensors"));
}

TEST_F(TrainerTest, AnInterruptedLastEvaluationIsNotTakenForTheEnd) {
  for (const bool in_steps : {false, true}) {
    const auto model = TrainingModel::open(config_, model_options());
    TrainingArguments arguments = arguments_in(folder_ / (in_steps ? "steps" : "end"));
    if (in_steps) arguments.eval_strategy = "steps";
    arguments.eval_steps = 6;
    LmTask task(*model, arguments, lm_options(folder_, {rows_}, false, model->runtime().pool()), {});
    WithEvaluation cancelled(task, []() -> Metrics { throw Cancelled(); });
    EXPECT_FALSE(Trainer(*model, cancelled, arguments).run());
    EXPECT_EQ(file_exists(arguments.output_dir + "/model.safetensors"), !in_steps);
    // Whoever goes on evaluates first, and is done.
    int evaluations = 0;
    WithEvaluation counted(task, [&]() -> Metrics { return {{"loss", 1.0 + ++evaluations}}; });
    Trainer again(*model, counted, arguments);
    again.resume(checkpoint_path(arguments.output_dir, 6));
    EXPECT_TRUE(again.run());
    EXPECT_EQ(evaluations, 1);
    EXPECT_TRUE(file_exists(arguments.output_dir + "/model.safetensors"));
  }
}

// Language modelling with such evaluations.
struct Watched {
  Watched(TrainingModel& model, const TrainingArguments& arguments, const LmOptions& options,
          std::function<Metrics()> evaluation)
      : task(model, arguments, options, {}), with(task, std::move(evaluation)) {}
  LmTask task;
  WithEvaluation with;
};

// The evaluation that Ctrl-C took is made up by the run that goes on: all is then as if nothing had been.
TEST_F(TrainerTest, TheBestEvaluationMayBeTheOneThatIsMadeUp) {
  for (const int64_t cut : {int64_t{4}, int64_t{6}}) {
    for (const char* strategy : {"steps", "best"}) {
      TrainingArguments arguments = arguments_in(folder_ / "out");
      arguments.eval_strategy = "steps";
      arguments.eval_steps = 2;
      arguments.save_strategy = strategy;
      arguments.load_best_model_at_end = true;
      arguments.save_total_limit = 2;
      const auto run = [&](const std::string& out, int64_t cancelled, const std::string& checkpoint) {
        arguments.output_dir = folder_ / out;
        const auto model = TrainingModel::open(config_, model_options());
        int64_t step = checkpoint.empty() ? 0 : cut - 2;
        // The one at `cut` is the best.
        Watched watched(*model, arguments, lm_options(folder_, {rows_}, false, model->runtime().pool()), [&]() -> Metrics {
          step += 2;
          if (step == cancelled) throw Cancelled();
          return {{"loss", step == cut ? 1.0 : 3.0 - 0.1 * static_cast<double>(step)}};
        });
        std::atomic<bool> cancel{false};
        struct Stop : TrainerCallback {
          std::atomic<bool>* flag = nullptr;
          int64_t at = 0;
          void on_step(const StepReport& report) override { *flag = report.step == at; }
        } stop;
        stop.flag = &cancel;
        stop.at = cancelled;
        Trainer trainer(*model, watched.with, arguments, {{&stop}, &cancel});
        if (!checkpoint.empty()) trainer.resume(checkpoint);
        EXPECT_EQ(trainer.run(), cancelled == 0);
        return trainer.state();
      };
      SCOPED_TRACE(fmt::format("{} {}", cut, strategy));
      const Json whole = run("whole", 0, "");
      run("cut", cut, "");
      const Json state = run("cut", 0, checkpoint_path(folder_ / "cut", cut));
      EXPECT_EQ(state.get_int("best_global_step", 0, "state"), cut);
      EXPECT_EQ(state.at("best_model_checkpoint", "state"), Json(checkpoint_path(folder_ / "cut", cut)));
      EXPECT_EQ(model_bytes(folder_ / "cut"), model_bytes(folder_ / "whole"));
      EXPECT_EQ(model_bytes(folder_ / "cut"), model_bytes(checkpoint_path(folder_ / "cut", cut)));
      std::vector<int64_t> kept[2];
      for (const int i : {0, 1}) {
        for (const auto& each : list_checkpoints(folder_ / (i == 0 ? "whole" : "cut"))) kept[i].push_back(each.first);
      }
      EXPECT_EQ(kept[0], kept[1]);
      EXPECT_EQ(whole.at("best_metric", "state"), state.at("best_metric", "state"));
      // And the checkpoint knows it: whoever goes on from there again need not evaluate.
      const std::string place = join_path(checkpoint_path(folder_ / "cut", cut), "training_state.json");
      EXPECT_FALSE(Json::parse(read_file(place, 1 << 20), place).at("evaluation_due", place).as_bool(place));
      std::filesystem::remove_all(folder_ / "cut");
      std::filesystem::remove_all(folder_ / "whole");
    }
  }
}

// The folder may be spelt otherwise, seen from elsewhere, or moved.
TEST_F(TrainerTest, TheBestCheckpointIsFoundByAnyName) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in("");
  arguments.greater_is_better = 1;  // the first evaluation stays the best
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 2;
  arguments.load_best_model_at_end = true;
  arguments.save_total_limit = 2;
  const std::string out = folder_ / "out", best = "checkpoint-2";
  const auto begin = [&] {
    std::filesystem::remove_all(out);
    arguments.output_dir = out;
    arguments.max_steps = 4;
    train(arguments);
    arguments.max_steps = 8;
  };
  const auto expect_best = [&](const std::string& folder) {
    SCOPED_TRACE(folder);
    EXPECT_EQ(model_bytes(folder), model_bytes(join_path(folder, best)));
    EXPECT_EQ(list_checkpoints(folder).size(), 2u);
  };
  begin();
  arguments.output_dir = folder_ / "./out/../out/";
  train(arguments, out + "/checkpoint-4/");
  expect_best(out);
  begin();
  std::filesystem::remove_all(folder_ / "moved");
  std::filesystem::rename(out, folder_ / "moved");
  arguments.output_dir = folder_ / "moved";
  train(arguments, folder_ / "moved/checkpoint-4");
  expect_best(folder_ / "moved");
  // The checkpoint alone was taken elsewhere.
  begin();
  std::filesystem::rename(out + "/checkpoint-4", folder_ / "taken");
  train(arguments, folder_ / "taken");
  expect_best(out);
  // By a relative path.
  begin();
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(out);
  arguments.output_dir = ".";
  train(arguments, "checkpoint-4");
  std::filesystem::current_path(before);
  expect_best(out);
}

// Whatever an evaluation or the best checkpoint does: what was trained is there.
TEST_F(TrainerTest, NoEvaluationCostsWhatWasTrained) {
  for (const char* strategy : {"steps", "epoch"}) {
    for (const int64_t fails : {int64_t{1}, int64_t{2}}) {
      SCOPED_TRACE(fmt::format("{} {}", strategy, fails));
      TrainingArguments arguments = arguments_in(folder_ / "out");
      std::filesystem::remove_all(arguments.output_dir);
      arguments.max_steps = -1;
      arguments.num_train_epochs = 2;  // of 6 steps
      arguments.eval_strategy = arguments.save_strategy = strategy;
      arguments.eval_steps = arguments.save_steps = 6;
      const auto model = TrainingModel::open(config_, model_options());
      int64_t evaluations = 0;
      Watched watched(*model, arguments, lm_options(folder_, {rows_}, false, model->runtime().pool()), [&]() -> Metrics {
        if (++evaluations == fails) invalid("validation data", "nothing to see");
        return {{"loss", 1.0}};
      });
      {
        Trainer trainer(*model, watched.with, arguments);
        EXPECT_NE(message_of([&] { trainer.run(); }).find("nothing to see"), std::string::npos);
        EXPECT_EQ(trainer.wrote_model(), fails == 2);
        EXPECT_EQ(trainer.to_go_on_from(), checkpoint_path(folder_ / "out", 6 * fails));
      }
      EXPECT_EQ(file_exists(folder_ / "out/model.safetensors"), fails == 2);
      Trainer again(*model, watched.with, arguments);
      again.resume(checkpoint_path(folder_ / "out", 6 * fails));
      EXPECT_TRUE(again.run());
      EXPECT_EQ(evaluations, 3);
    }
  }
}

TEST_F(TrainerTest, ABestCheckpointThatCannotBeReadCostsNoModel) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.max_steps = 4;
  arguments.greater_is_better = 1;
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 2;
  arguments.load_best_model_at_end = true;
  arguments.ema_decay = 0.5;
  for (const char* damaged : {"model.safetensors", "ema.safetensors"}) {
    std::filesystem::remove_all(folder_ / "out");
    arguments.max_steps = 4;
    train(arguments);
    const std::string file = folder_ / "out/checkpoint-2/" + std::string(damaged);
    std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
    std::string told;
    TrainerHooks hooks;
    hooks.notice = [&](const std::string& text) { told += text; };
    arguments.max_steps = 6;
    const Result result = train(arguments, folder_ / "out/checkpoint-4", 1, hooks);
    EXPECT_TRUE(result.ended);
    EXPECT_NE(told.find(damaged), std::string::npos) << told;
    EXPECT_NE(told.find("the last ones stay"), std::string::npos) << told;
    // The last averages, as a run without it has them.
    arguments.load_best_model_at_end = false;
    arguments.output_dir = folder_ / "last";
    EXPECT_EQ(result.weights, train(arguments, folder_ / "out/checkpoint-4").weights);
    arguments.load_best_model_at_end = true;
    arguments.output_dir = folder_ / "out";
  }
}

TEST_F(TrainerTest, AnEpochThatStopsEarlyIsLogged) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.greater_is_better = 1;
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 1;
  arguments.early_stopping_patience = 2;
  arguments.logging_strategy = arguments.save_strategy = "epoch";
  const Result result = train(arguments);
  EXPECT_EQ(steps_with(result.state, "loss"), (std::vector<int64_t>{3}));
  const std::string saved = folder_ / "out/checkpoint-3/trainer_state.json";
  EXPECT_EQ(steps_with(Json::parse(read_file(saved, 1 << 20), saved), "loss"), (std::vector<int64_t>{3}));
}

// Nothing goes on from a run without checkpoints; its model is there, and its report ends.
TEST_F(TrainerTest, AnInterruptedEvaluationAtTheEndLeavesTheModel) {
  struct Ending : TrainerCallback {
    int ended = 0;
    void on_train_end(const std::string&, const Json&) override { ++ended; }
  } ending;
  for (const char* strategy : {"no", "steps"}) {
    const auto model = TrainingModel::open(config_, model_options());
    TrainingArguments arguments = arguments_in(folder_ / strategy);
    arguments.save_strategy = strategy;
    Watched cancelled(*model, arguments, lm_options(folder_, {rows_}, false, model->runtime().pool()),
                      []() -> Metrics { throw Cancelled(); });
    ending.ended = 0;
    Trainer trainer(*model, cancelled.with, arguments, {{&ending}});
    EXPECT_FALSE(trainer.run());
    EXPECT_TRUE(trainer.wrote_model());
    EXPECT_TRUE(file_exists(arguments.output_dir + "/model.safetensors"));
    const bool saved = std::string(strategy) == "steps";
    EXPECT_EQ(trainer.to_go_on_from(), saved ? checkpoint_path(arguments.output_dir, 6) : "");
    EXPECT_EQ(ending.ended, 1);
  }
}

// Masks of a validation set are the same in every pass: that there are none is known before the first step.
TEST_F(TrainerTest, ValidationWithoutAMaskIsRefusedAtOnce) {
  TrainingModelOptions options = model_options();
  options.head = Head::kMaskedLm;
  const auto model = open_plain(kFixtures + "encoders/bert", options);
  validation_ = {folder_.write("validation.jsonl", "{\"input_ids\": [20, 21]}\n")};
  LmOptions lm = lm_options(folder_, {rows_}, true, model->runtime().pool(), validation_);
  lm.mlm_probability = 1e-6;
  const std::string message = message_of([&] { const LmTask task(*model, arguments_in(folder_ / "out"), lm, {}); });
  EXPECT_NE(message.find("no position of 1 examples is masked"), std::string::npos) << message;
}

// Hours of training are not spent before it is told.
TEST_F(TrainerTest, AMetricThatIsNotThereIsRefusedAtOnce) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 6;
  for (const char* name : {"accuracy", "eval_perplexity", "loss"}) {
    arguments.metric_for_best_model = name;
    EXPECT_TRUE(train(arguments).ended) << name;
  }
  std::filesystem::remove_all(arguments.output_dir);
  for (const char* name : {"f1", "eval_accurcy"}) {
    arguments.metric_for_best_model = name;
    const std::string message = message_of([&] { train(arguments); });
    EXPECT_NE(message.find("[--metric-for-best-model]"), std::string::npos) << message;
    EXPECT_NE(message.find("need one of loss, accuracy, perplexity"), std::string::npos) << message;
    EXPECT_FALSE(directory_exists(arguments.output_dir + "/checkpoint-2"));
  }
}

}  // namespace
}  // namespace pagoda::train
