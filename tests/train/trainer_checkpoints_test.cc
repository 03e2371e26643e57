// What a training leaves behind: checkpoints, the best of them, the final model; runs that are cut short and go on.
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

TEST_F(TrainerTest, GoesOnFromTheNewestWholeCheckpoint) {
  TrainingArguments arguments = arguments_in(folder_ / "out");
  const Result whole = train(arguments);
  const auto cut = [&](const std::string& file, uintmax_t size) { std::filesystem::resize_file(folder_ / file, size); };
  EXPECT_EQ(Trainer::last_checkpoint(folder_ / "out"), folder_ / "out/checkpoint-6");
  cut("out/checkpoint-6/optimizer.safetensors",
      std::filesystem::file_size(folder_ / "out/checkpoint-6/optimizer.safetensors") - 1);
  std::filesystem::remove(folder_ / "out/checkpoint-4/model.safetensors");
  std::vector<std::string> incomplete;
  EXPECT_EQ(Trainer::last_checkpoint(folder_ / "out", &incomplete), folder_ / "out/checkpoint-2");
  ASSERT_EQ(incomplete.size(), 2u);
  EXPECT_NE(incomplete[0].find("optimizer.safetensors"), std::string::npos) << incomplete[0];
  EXPECT_NE(incomplete[1].find("no model.safetensors in it"), std::string::npos) << incomplete[1];
  const std::string message = message_of([&] { train(arguments, folder_ / "out/checkpoint-6"); });
  EXPECT_NE(message.find("checkpoint-6] cannot go on from it"), std::string::npos) << message;
  EXPECT_EQ(train(arguments, folder_ / "out/checkpoint-2").weights, whole.weights);
  for (const char* file : {"out/checkpoint-6/training_state.json", "out/checkpoint-6/model.safetensors"}) {
    cut(file, 0);
    EXPECT_EQ(Trainer::last_checkpoint(folder_ / "out"), folder_ / "out/checkpoint-4") << file;
  }
}

TEST_F(TrainerTest, CheckpointsAppearWholeOrNotAtAll) {
  const std::string out = folder_ / "out";
  make_directories(out + "/.tmp-checkpoint-11");  // a writer was killed
  EXPECT_EQ(Trainer::last_checkpoint(out), "");
  {
    FolderWriter writer(checkpoint_path(out, 3));
    write_file_atomic(writer.temporary() + "/trainer_state.json", "{}");
    EXPECT_EQ(Trainer::last_checkpoint(out), "");
  }
  EXPECT_EQ(Trainer::last_checkpoint(out), "");  // not committed: gone
  for (const char* text : {"1", "2"}) {
    FolderWriter writer(checkpoint_path(out, 3));
    write_file_atomic(writer.temporary() + "/trainer_state.json", text);
    writer.commit();
    EXPECT_EQ(read_file(checkpoint_path(out, 3) + "/trainer_state.json", 10), text);
  }
  EXPECT_EQ(list_checkpoints(out).back().second, checkpoint_path(out, 3));
  remove_leftovers(out);
  EXPECT_EQ(list_directory(out), std::vector<std::string>{"checkpoint-3"});
}

// Without an exchange of names the old checkpoint goes only when the new one has its name.
TEST_F(TrainerTest, AReplacedCheckpointIsNeverLost) {
  const std::string out = folder_ / "out", path = checkpoint_path(out, 3), state = path + "/trainer_state.json";
  const auto fill = [](const std::string& folder, const char* text) {
    make_directories(folder);
    write_file_atomic(folder + "/trainer_state.json", text);
  };
  fill(path, "old");
  EXPECT_NE(message_of([&] { replace_checkpoint(path, out + "/none", false); }).find("cannot rename"), std::string::npos);
  EXPECT_EQ(read_file(state, 10), "old");
  fill(out + "/.tmp-checkpoint-3", "new");
  replace_checkpoint(path, out + "/.tmp-checkpoint-3", false);
  EXPECT_EQ(read_file(state, 10), "new");
  EXPECT_EQ(list_directory(out), std::vector<std::string>{"checkpoint-3"});
  // Killed between the two renames, and behind them.
  std::filesystem::rename(path, out + "/.tmp-old-checkpoint-3");
  put_back(out);
  EXPECT_EQ(read_file(state, 10), "new");
  fill(out + "/.tmp-old-checkpoint-3", "old");
  fill(out + "/.tmp-old-checkpoint-notes", "mine");
  remove_leftovers(out);
  EXPECT_EQ(read_file(state, 10), "new");
  EXPECT_EQ(list_directory(out), (std::vector<std::string>{".tmp-old-checkpoint-notes", "checkpoint-3"}));
}

TEST_F(TrainerTest, TheSpaceOfARunHasRoomForTheAverage) {
  TrainingArguments arguments = arguments_in(folder_ / "out");
  const int64_t without = bytes_of_run(arguments, 1000, 100);
  arguments.ema_decay = 0.9;
  EXPECT_EQ(bytes_of_run(arguments, 1000, 100), without + 100);
  arguments.save_strategy = "no";
  EXPECT_EQ(bytes_of_run(arguments, 1000, 100), 1000 + (1 << 20));
}

// Reports ask the model for samples: of the weights that are evaluated and published.
TEST_F(TrainerTest, WatchersSeeTheAverage) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 6;
  arguments.ema_decay = 0.9;
  struct Watching : TrainerCallback {
    TrainingModel* model = nullptr;
    std::vector<float> evaluated, ended;
    std::vector<float> weights() const {
      const Tensor& value = model->trained_parameters().front()->value;
      return {value.data<float>(), value.data<float>() + value.numel()};
    }
    void on_evaluate(const Json&) override { evaluated = weights(); }
    void on_train_end(const std::string&, const Json&) override { ended = weights(); }
  } watching;
  const auto model = TrainingModel::open(config_, model_options());
  watching.model = model.get();
  LmTask task(*model, arguments, lm_options(folder_, {rows_}, false, model->runtime().pool(), validation_), {});
  Trainer trainer(*model, task, arguments, {{&watching}});
  ASSERT_TRUE(trainer.run());
  const auto published = TrainingModel::open(folder_ / "out", model_options());
  const Tensor& value = published->trained_parameters().front()->value;
  const std::vector<float> wanted(value.data<float>(), value.data<float>() + value.numel());
  EXPECT_EQ(watching.evaluated, wanted);
  EXPECT_EQ(watching.ended, wanted);
  EXPECT_NE(watching.weights(), wanted);  // training itself goes on with its own
}

// Only what bears our temporary names is removed, and a name that is taken is told before the first step.
TEST_F(TrainerTest, WhatIsNoCheckpointStays) {
  const std::string out = folder_ / "out";
  const std::vector<std::string> others{".tmp-checkpoint-notes", ".tmp-x",       "checkpoint-10", "checkpoint-2",
                                        "checkpoint-3",          "checkpoint-9", "checkpoint-x"};
  for (const std::string& name : others) {
    if (name == "checkpoint-9") continue;
    make_directories(out + "/" + name);
    write_file_atomic(out + "/" + name + "/notes.txt", "mine");
  }
  write_file_atomic(out + "/checkpoint-9", "a file");
  remove_leftovers(out);
  EXPECT_EQ(list_directory(out), others);
  TrainingArguments arguments = arguments_in(out);
  arguments.max_steps = 3;
  arguments.save_steps = 1;
  const std::string message = message_of([&] { train(arguments); });
  EXPECT_NE(message.find("checkpoint-2"), std::string::npos) << message;
  EXPECT_NE(message.find("is no checkpoint"), std::string::npos) << message;
  EXPECT_EQ(list_directory(out), others);
  EXPECT_EQ(read_file(out + "/checkpoint-2/notes.txt", 10), "mine");
  // One that appears while the training runs is not replaced either.
  FolderWriter writer(checkpoint_path(out, 3));
  write_file_atomic(writer.temporary() + "/trainer_state.json", "{}");
  EXPECT_NE(message_of([&] { writer.commit(); }).find("is no checkpoint"), std::string::npos);
  EXPECT_EQ(read_file(out + "/checkpoint-3/notes.txt", 10), "mine");
}

// A removal that is cut short leaves a temporary name behind, which the next run takes away.
TEST_F(TrainerTest, PruningRenamesFirst) {
  const std::string out = folder_ / "out";
  for (const int64_t step : {1, 2, 3}) {
    FolderWriter writer(checkpoint_path(out, step));
    write_file_atomic(writer.temporary() + "/trainer_state.json", "{}");
    writer.commit();
  }
  make_directories(out + "/.tmp-checkpoint-1");  // of one that was cut short
  write_file_atomic(out + "/.tmp-checkpoint-1/optimizer.safetensors", "half");
  prune_checkpoints(out, 1, {});
  EXPECT_EQ(list_directory(out), std::vector<std::string>{"checkpoint-3"});
}

TEST_F(TrainerTest, OneTrainingAFolder) {
  const std::string out = folder_ / "locked";
  {
    const OutputLock held(out);
    EXPECT_NE(message_of([&] { const OutputLock second(out); }).find("another training"), std::string::npos);
    const OutputLock other(folder_ / "free");
  }
  const OutputLock again(out);
  EXPECT_TRUE(list_directory(out).empty());
}

TEST_F(TrainerTest, TellsWhatIsOtherwiseWhenItGoesOn) {
  TrainingArguments arguments = arguments_in(folder_ / "out");
  train(arguments);
  std::string told;
  TrainerHooks hooks;
  hooks.notice = [&](const std::string& text) { told += text; };
  train(arguments, folder_ / "out/checkpoint-4", 1, hooks);
  EXPECT_EQ(told, "");
  arguments.per_device_train_batch_size = 2;
  arguments.learning_rate = 2e-3;
  arguments.max_grad_norm = 2;
  arguments.optim = "adamw_torch";  // the same by another name
  train(arguments, folder_ / "out/checkpoint-4", 1, hooks);
  EXPECT_NE(told.find("max_grad_norm: 2.0 (before: 1.0)"), std::string::npos) << told;
  EXPECT_EQ(told.find("optim"), std::string::npos) << told;
  EXPECT_NE(told.find("per_device_train_batch_size: 2 (before: 4), learning_rate: 0.002 (before: 0.001)"), std::string::npos)
      << told;
}

TEST_F(TrainerTest, CancelSavesWhatWasDone) {
  struct CancelAfter : TrainerCallback {
    std::atomic<bool> cancel{false};
    void on_step(const StepReport& report) override { cancel = report.step == 3; }
  } after;
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.save_steps = 100;
  const Result whole = train([&] {
    TrainingArguments undisturbed = arguments;
    undisturbed.output_dir = folder_ / "whole";
    return undisturbed;
  }());
  const Result stopped = train(arguments, "", 1, {{&after}, &after.cancel});
  EXPECT_FALSE(stopped.ended);
  EXPECT_EQ(Trainer::last_checkpoint(folder_ / "out"), folder_ / "out/checkpoint-3");
  const Result resumed = train(arguments, folder_ / "out/checkpoint-3");
  EXPECT_EQ(resumed.weights, whole.weights);
}

// As many rows of other ids are other data.
TEST_F(TrainerTest, GoesOnWithItsOwnDataAlone) {
  train(arguments_in(folder_ / "out"));
  const std::string checkpoint = folder_ / "out/checkpoint-4", before = rows_;
  rows_ = counting_rows(folder_, 47, 24, "others.jsonl");
  EXPECT_NE(message_of([&] { train(arguments_in(folder_ / "out"), checkpoint); }).find("other examples"), std::string::npos);
  rows_ = before;
  EXPECT_TRUE(train(arguments_in(folder_ / "out"), checkpoint).ended);
}

TEST_F(TrainerTest, PruningGoesByTimeNotByStep) {
  const std::string out = folder_ / "out";
  auto time = std::filesystem::file_time_type::clock::now() - std::chrono::hours(1);
  for (const int64_t step : {5, 6, 2, 3}) {  // the run went back to the second step
    FolderWriter writer(checkpoint_path(out, step));
    write_file_atomic(writer.temporary() + "/trainer_state.json", "{}");
    writer.commit();
    std::filesystem::last_write_time(checkpoint_path(out, step) + "/trainer_state.json", time += std::chrono::seconds(1));
  }
  prune_checkpoints(out, 2, {checkpoint_path(out, 3), checkpoint_path(out, 5)});
  EXPECT_EQ(list_directory(out), (std::vector<std::string>{"checkpoint-3", "checkpoint-5"}));
}

// An epoch has another number of steps with other batches (or ranks): as many epochs as were asked for all the same.
TEST_F(TrainerTest, EpochsAreCountedWhereStepsAreOthers) {
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.max_steps = -1;
  arguments.num_train_epochs = 3;  // of 6 steps
  arguments.save_steps = 3;
  EXPECT_EQ(train(arguments).state.get_int("global_step", 0, "state"), 18);
  for (const auto& [batch, from, steps] :
       {std::tuple{2, 9, 9 + 6 + 12}, std::tuple{8, 9, 9 + 2 + 3}, std::tuple{4, 9, 18}, std::tuple{8, 18, 18}}) {
    SCOPED_TRACE(fmt::format("batches of {}, from step {}", batch, from));
    std::string told;
    TrainerHooks hooks;
    hooks.notice = [&](const std::string& text) { told += text; };
    arguments.output_dir = folder_ / "other";
    arguments.per_device_train_batch_size = batch;
    const Result other = train(arguments, checkpoint_path(folder_ / "out", from), 1, hooks);
    EXPECT_EQ(other.state.get_int("global_step", 0, "state"), steps);
    EXPECT_EQ(other.state.get_int("max_steps", 0, "state"), steps);
    EXPECT_DOUBLE_EQ(other.state.get_double("epoch", 0, "state"), 3);
    const std::string end = fmt::format("epochs end after step {}", steps);
    EXPECT_EQ(told.find(end) != std::string::npos, batch != 4) << told;
  }
  // And once more, with the batches of before.
  arguments.per_device_train_batch_size = 2;
  train(arguments, checkpoint_path(folder_ / "out", 9));
  EXPECT_EQ(train(arguments, checkpoint_path(folder_ / "other", 21)).state.get_int("global_step", 0, "state"), 27);
}

TEST_F(TrainerTest, TellsOfDropoutsAndOfTheTasksOptions) {
  TrainingModelOptions options = model_options();
  options.head = Head::kMaskedLm;
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.max_steps = 2;
  std::string told;
  const auto run = [&](double probability, float dropout, const std::string& checkpoint) {
    const auto model = TrainingModel::open(kFixtures + "encoders/bert", options);
    Dropouts dropouts = model->model().dropouts();
    dropouts.attention_probs = dropout;
    model->model().set_dropouts(dropouts);
    LmOptions lm = lm_options(folder_, {rows_}, true, model->runtime().pool());
    lm.mlm_probability = probability;
    LmTask task(*model, arguments, lm, {});
    TrainerHooks hooks;
    hooks.notice = [&](const std::string& text) { told += text; };
    Trainer trainer(*model, task, arguments, hooks);
    if (!checkpoint.empty()) trainer.resume(checkpoint);
    EXPECT_TRUE(trainer.run());
  };
  run(0.3, 0.1F, "");
  run(0.3, 0.1F, folder_ / "out/checkpoint-2");
  EXPECT_EQ(told, "");
  run(0.5, 0.3F, folder_ / "out/checkpoint-2");
  EXPECT_NE(told.find("mlm_probability: 0.5 (before: 0.3)"), std::string::npos) << told;
  EXPECT_NE(told.find("\"attention_probs\":0.3"), std::string::npos) << told;
  EXPECT_NE(told.find("\"attention_probs\":0.1"), std::string::npos) << told;
}

// Room that old checkpoints take is room for new ones; where there is too little all the same, they stay.
TEST_F(TrainerTest, OldCheckpointsStayWhereTheRunCannotWrite) {
  TrainingArguments arguments = arguments_in(folder_ / "out");
  train(arguments);
  EXPECT_GE(bytes_of_checkpoint(folder_ / "out/checkpoint-2"), file_size(folder_ / "out/checkpoint-2/model.safetensors"));
  const auto model = TrainingModel::open(config_, model_options());
  LmTask task(*model, arguments, lm_options(folder_, {rows_}, false, model->runtime().pool()), {});
  TrainerHooks hooks;
  hooks.remove_old_checkpoints = true;
  arguments.output_dir = folder_ / "out/checkpoint-2/model.safetensors";  // a file: nothing can be written into it
  EXPECT_THROW(Trainer(*model, task, arguments, hooks), Error);
  EXPECT_EQ(list_checkpoints(folder_ / "out").size(), 3u);
}

TEST_F(TrainerTest, AReportThatFailsEndsNoTraining) {
  struct Failing : TrainerCallback {
    int told = 0;
    void on_log(const Json&) override {
      ++told;
      fail(ErrorKind::kDevice, "report.html", "no space");
    }
  } failing;
  struct Counting : TrainerCallback {
    int told = 0;
    void on_log(const Json&) override { ++told; }
  } counting;
  std::string told;
  TrainerHooks hooks;
  hooks.callbacks = {&failing, &counting};
  hooks.notice = [&](const std::string& text) { told += text; };
  EXPECT_TRUE(train(arguments_in(folder_ / "out"), "", 1, hooks).ended);
  EXPECT_EQ(failing.told, 1);
  EXPECT_EQ(counting.told, 7);  // six steps and the end
  EXPECT_NE(told.find("report.html"), std::string::npos) << told;
}

TEST_F(TrainerTest, OldCheckpointsGoWhenTheRunBegins) {
  TrainingArguments arguments = arguments_in(folder_ / "out");
  train(arguments);
  const auto model = TrainingModel::open(config_, model_options());
  LmTask task(*model, arguments, lm_options(folder_, {rows_}, false, model->runtime().pool()), {});
  TrainerHooks hooks;
  hooks.remove_old_checkpoints = true;
  arguments.max_steps = 1;
  arguments.save_strategy = "no";
  Trainer trainer(*model, task, arguments, hooks);
  EXPECT_EQ(list_checkpoints(folder_ / "out").size(), 3u);
  EXPECT_TRUE(trainer.run());
  EXPECT_TRUE(list_checkpoints(folder_ / "out").empty());
}

TEST_F(TrainerTest, MoreEpochsThanStepsCanCountAreRefused) {
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.max_steps = -1;
  arguments.num_train_epochs = 1e30;
  EXPECT_NE(message_of([&] { train(arguments); }).find("--num-train-epochs"), std::string::npos);
}

}  // namespace
}  // namespace pagoda::train
