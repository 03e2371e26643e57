// The trainer: first steps against PyTorch, accumulation, resuming to the bit, checkpoints, what goes wrong.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "formats/safetensors.h"
#include "ops/dropout.h"
#include "tests/train/trainer_fixture.h"
#include "train/checkpoint.h"
#include "train/lm_task.h"
#include "train/optimizer.h"

namespace pagoda::train {
namespace {

constexpr size_t kFirstSteps = 15;

class FirstSteps : public ::testing::TestWithParam<size_t> {};

// Ten steps of AdamW on every family: loss of each step before its update, and the gradient norm before clipping.
TEST_P(FirstSteps, EqualPyTorch) {
  const std::string path = kFixtures + "training/first_steps.json";
  const Json cases = Json::parse(read_file(path, 1 << 26), path);
  ASSERT_EQ(cases.size(), kFirstSteps) << "the file has another number of cases: say so below";
  const Json& each = cases.as_array(path)[GetParam()];
  const std::string name = each.at("folder", path).as_string(path);
  SCOPED_TRACE(name);
  const Folder folder("first_steps");
  const bool masked = each.at("masked", path).as_bool(path);
  TrainingModelOptions options = model_options(2);
  if (masked) options.head = Head::kMaskedLm;
  const auto model = open_plain(kFixtures + name, options);
  Json::Array lines = each.at("lines", path).as_array(path);
  // A line without a label (causal labels shift by one) is an example like others.
  const std::string rows = write_rows(folder, "rows.jsonl", lines);
  TrainingArguments arguments = arguments_in(folder / "out");
  arguments.max_steps = 10;
  arguments.per_device_train_batch_size = static_cast<int64_t>(lines.size());
  arguments.weight_decay = 0.1;
  arguments.lr_scheduler_type = "cosine";
  arguments.warmup_steps = 3;
  arguments.save_strategy = "no";
  LmTask task(*model, arguments, lm_options(folder, {rows}, masked, model->runtime().pool()), {});
  Trainer trainer(*model, task, arguments);
  ASSERT_TRUE(trainer.run());
  const std::vector<double> losses = column(trainer.state(), "loss"), norms = column(trainer.state(), "grad_norm");
  ASSERT_EQ(losses.size(), 10u);
  for (size_t step = 0; step < losses.size(); ++step) {
    const double wanted = each.at("losses", path).as_array(path)[step].as_double(path);
    EXPECT_NEAR(losses[step], wanted, 1e-5 * std::max(1.0, wanted)) << step;
    const double norm = each.at("grad_norms", path).as_array(path)[step].as_double(path);
    EXPECT_NEAR(norms[step], norm, 1e-3 * norm) << step;
  }
  std::vector<std::string> decayed;
  for (const Parameter* parameter : model->trained_parameters()) {
    if (decays(*parameter)) decayed.push_back(parameter->name);
  }
  std::sort(decayed.begin(), decayed.end());
  std::vector<std::string> expected;
  for (const Json& parameter : each.at("decayed", path).as_array(path)) expected.push_back(parameter.as_string(path));
  EXPECT_EQ(decayed, expected);
}

INSTANTIATE_TEST_SUITE_P(Families, FirstSteps, ::testing::Range<size_t>(0, kFirstSteps));

TEST_F(TrainerTest, LearnsLogsAndSavesAModelThatLoads) {
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.max_steps = 60;
  arguments.learning_rate = 2e-2;
  arguments.save_steps = 40;
  const Result result = train(arguments);
  ASSERT_TRUE(result.ended);
  const std::vector<double> losses = column(result.state, "loss"), rates = column(result.state, "learning_rate");
  ASSERT_EQ(losses.size(), 60u);
  EXPECT_GT(losses.front(), 3.5);
  EXPECT_LT(losses.back(), 1.5);
  EXPECT_DOUBLE_EQ(rates[0], 2e-2);
  EXPECT_DOUBLE_EQ(rates[30], 1e-2);
  for (const char* file : {"out/model.safetensors", "out/config.json", "out/trainer_state.json",
                           "out/checkpoint-40/optimizer.safetensors", "out/checkpoint-60/model.safetensors"}) {
    EXPECT_TRUE(file_exists(folder_ / file)) << file;
  }
  // As transformers: 6 FLOPs a token and parameter outside of embeddings: 2 layers of q, o, k, v, gate, up, down and norms.
  const double parameters = 2 * (2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 32 + 2 * 16) + 16;
  const double tokens = result.state.at("num_input_tokens_seen", "state").as_double("state");
  EXPECT_GT(tokens, 60 * 4 * 5.0 - 1);
  EXPECT_DOUBLE_EQ(result.state.at("total_flos", "state").as_double("state"), 6 * tokens * parameters);
  const auto again = TrainingModel::open(folder_ / "out", model_options());
  EXPECT_FALSE(again->from_scratch());
  EXPECT_TRUE(again->new_parameters().empty());
}

TEST_F(TrainerTest, ResumesToTheBitWithOtherThreads) {
  // Dropout, masks of another epoch, a step over the end of the epoch: all hang on counters.
  config_ = folder_.write("gpt2.json", kTinyGpt2);
  TrainingArguments arguments = arguments_in(folder_ / "whole");
  arguments.max_steps = 9;
  arguments.per_device_train_batch_size = 3;
  arguments.gradient_accumulation_steps = 2;
  arguments.save_steps = 1;
  arguments.lr_scheduler_type = "cosine";
  arguments.ema_decay = 0.9;
  const Result whole = train(arguments);
  const std::vector<double> losses = column(whole.state, "loss");
  ASSERT_EQ(losses.size(), 9u);
  for (const int64_t step : {1, 4, 5, 8}) {
    TrainingArguments other = arguments;
    other.output_dir = folder_ / ("resumed" + std::to_string(step));
    const Result resumed = train(other, checkpoint_path(folder_ / "whole", step), static_cast<int>(step % 3) + 1);
    EXPECT_EQ(resumed.weights, whole.weights) << step;
    EXPECT_EQ(column(resumed.state, "loss"), losses) << step;
    EXPECT_EQ(model_bytes(checkpoint_path(other.output_dir, 9)), model_bytes(checkpoint_path(folder_ / "whole", 9)));
  }
}

TEST_F(TrainerTest, ComputesInBfloat16ToTheBit) {
  TrainingArguments arguments = arguments_in(folder_ / "float32");
  const std::vector<double> exact = column(train(arguments).state, "loss");
  arguments.bf16 = true;
  arguments.output_dir = folder_ / "whole";
  const Result whole = train(arguments);
  const std::vector<double> losses = column(whole.state, "loss");
  for (size_t step = 0; step < exact.size(); ++step) EXPECT_NEAR(losses[step], exact[step], 0.02) << step;
  arguments.output_dir = folder_ / "checkpointed";
  arguments.gradient_checkpointing = true;
  EXPECT_EQ(train(arguments, "", 3).weights, whole.weights);
  arguments.output_dir = folder_ / "resumed";
  EXPECT_EQ(train(arguments, checkpoint_path(folder_ / "whole", 4), 2).weights, whole.weights);
}

TEST_F(TrainerTest, DropoutTellsSeedsApartAndIsOffInEvaluation) {
  config_ = folder_.write("gpt2.json", kTinyGpt2);
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "a");
  arguments.max_steps = 1;
  arguments.learning_rate = 0;
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 1;
  const Result first = train(arguments);
  arguments.output_dir = folder_ / "b";
  const Result same = train(arguments);
  EXPECT_EQ(column(first.state, "loss"), column(same.state, "loss"));
  arguments.output_dir = folder_ / "c";
  arguments.per_device_train_batch_size = 1;
  arguments.gradient_accumulation_steps = 4;
  const Result accumulated = train(arguments);
  // The same rows drop the same elements, whatever batch they come in.
  EXPECT_NEAR(column(first.state, "loss")[0], column(accumulated.state, "loss")[0], 1e-6);
  EXPECT_EQ(column(first.state, "eval_loss"), column(accumulated.state, "eval_loss"));
}

TEST_F(TrainerTest, AccumulationEqualsOneLargeBatch) {
  std::vector<Result> results;
  for (const int64_t batch : {8, 4, 1}) {
    TrainingArguments arguments = arguments_in(folder_ / ("out" + std::to_string(batch)));
    arguments.per_device_train_batch_size = batch;
    arguments.gradient_accumulation_steps = 8 / batch;
    arguments.save_strategy = "no";
    arguments.optim = "sgd";  // Adam turns rounding of tiny gradients into steps
    arguments.learning_rate = 0.1;
    results.push_back(train(arguments));
  }
  for (size_t i = 1; i < results.size(); ++i) {
    const std::vector<double> wanted = column(results[0].state, "loss"), got = column(results[i].state, "loss");
    const std::vector<double> norms = column(results[0].state, "grad_norm"), others = column(results[i].state, "grad_norm");
    for (size_t step = 0; step < wanted.size(); ++step) {
      EXPECT_NEAR(got[step], wanted[step], 2e-6);
      EXPECT_NEAR(others[step], norms[step], 1e-5 * norms[step]);
    }
  }
}

// What transformers 5.24 has in log_history with a data set of as many rows (logging_steps 1, the entry at the end too).
TEST_F(TrainerTest, EpochsAreThoseOfTransformers) {
  const auto train_rows = [&](int rows, const TrainingArguments& arguments, const std::string& checkpoint = "") {
    rows_ = counting_rows(folder_, 50, rows);
    return column(train(arguments, checkpoint).state, "epoch");
  };
  struct Case {
    int rows;
    int64_t batch, accumulation;
    double num_epochs;
    int64_t max_steps;
    std::vector<double> epochs;
  };
  const std::vector<Case> cases{
      {70, 32, 1, 1, -1, {0.3333333333333333, 0.6666666666666666, 1.0, 1.0}},
      {70, 8, 4, 2, -1, {0.4444444444444444, 0.8888888888888888, 1.0, 1.4444444444444444, 1.8888888888888888, 2.0, 2.0}},
      {24, 5, 2, 1.5, -1, {0.4, 0.8, 1.0, 1.4, 1.8, 1.8}},
      {24, 5, 3, 3, 4, {0.6, 1.0, 1.6, 2.0, 2.0}},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(fmt::format("{} rows in {} by {}", each.rows, each.batch, each.accumulation));
    TrainingArguments arguments = arguments_in(folder_ / fmt::format("out{}_{}", each.batch, each.accumulation));
    arguments.per_device_train_batch_size = each.batch;
    arguments.gradient_accumulation_steps = each.accumulation;
    arguments.num_train_epochs = each.num_epochs;
    arguments.max_steps = each.max_steps;
    arguments.save_strategy = "no";
    EXPECT_EQ(train_rows(each.rows, arguments), each.epochs);
  }
  // A run that goes on amid an epoch.
  TrainingArguments arguments = arguments_in(folder_ / "resumed");
  arguments.per_device_train_batch_size = 5;
  arguments.gradient_accumulation_steps = 2;
  arguments.num_train_epochs = 2;
  arguments.max_steps = -1;
  const std::vector<double> epochs{0.4, 0.8, 1.0, 1.4, 1.8, 2.0, 2.0};
  EXPECT_EQ(train_rows(24, arguments), epochs);
  EXPECT_EQ(train_rows(24, arguments, checkpoint_path(arguments.output_dir, 2)), epochs);
}

TEST_F(TrainerTest, GradientCheckpointingChangesNoBit) {
  config_ = folder_.write("gpt2.json", kTinyGpt2);
  TrainingArguments arguments = arguments_in(folder_ / "plain");
  const Result plain = train(arguments);
  arguments.output_dir = folder_ / "checkpointed";
  arguments.gradient_checkpointing = true;
  const Result again = train(arguments);
  EXPECT_EQ(plain.weights, again.weights);
  EXPECT_EQ(column(plain.state, "grad_norm"), column(again.state, "grad_norm"));
}

TEST_F(TrainerTest, SharesOfAllStepsAndWhenToEvaluate) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.max_steps = 10;
  arguments.logging_steps = 0.25;  // every 3
  arguments.warmup_steps = 0.2;
  arguments.eval_strategy = "steps";
  arguments.eval_steps = 0.3;
  arguments.eval_delay = 4;
  arguments.eval_on_start = true;
  arguments.save_steps = 0.5;
  arguments.save_only_model = true;
  const Result result = train(arguments);
  for (const Json& entry : result.state.at("log_history", "state").as_array("state")) {
    if (!entry.contains("eval_loss")) continue;
    EXPECT_GT(entry.get_double("eval_samples_per_second", 0, "log"), 0);
    EXPECT_GT(entry.get_double("eval_steps_per_second", 0, "log"), 0);
  }
  EXPECT_EQ(steps_with(result.state, "loss"), (std::vector<int64_t>{3, 6, 9}));
  EXPECT_EQ(steps_with(result.state, "eval_loss"), (std::vector<int64_t>{0, 6, 9, 10}));
  EXPECT_DOUBLE_EQ(column(result.state, "learning_rate")[0], 1e-3);  // the third step, behind two of warm-up
  EXPECT_EQ(result.state.get_int("save_steps", 0, "state"), 5);
  EXPECT_TRUE(file_exists(folder_ / "out/checkpoint-5/model.safetensors"));
  EXPECT_FALSE(file_exists(folder_ / "out/checkpoint-5/optimizer.safetensors"));
  EXPECT_NE(message_of([&] { train(arguments, folder_ / "out/checkpoint-5"); }).find("--save-only-model"), std::string::npos);
}

TEST_F(TrainerTest, FewerSamplesOtherOrdersAndSmoothing) {
  validation_ = {counting_rows(folder_, 50, 6, "validation.jsonl")};
  TrainingArguments arguments = arguments_in(folder_ / "a");
  arguments.max_train_samples = 8;
  arguments.max_eval_samples = 2;
  arguments.num_train_epochs = 1;
  arguments.max_steps = -1;
  const Result few = train(arguments);
  EXPECT_EQ(few.state.get_int("max_steps", 0, "state"), 2);
  arguments = arguments_in(folder_ / "b");
  const std::vector<double> plain = column(train(arguments).state, "loss");
  arguments.output_dir = folder_ / "c";
  arguments.data_seed = 7;
  EXPECT_NE(column(train(arguments).state, "loss")[0], plain[0]);
  arguments.data_seed = 42;
  arguments.output_dir = folder_ / "d";
  EXPECT_EQ(column(train(arguments).state, "loss"), plain);
  arguments.output_dir = folder_ / "e";
  arguments.label_smoothing_factor = 1;  // all classes alike: no row's loss is below log(classes)
  EXPECT_GE(column(train(arguments).state, "loss")[0], std::log(50.0));
}

TEST_F(TrainerTest, StopsAtLossesThatAreNotFinite) {
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.learning_rate = 1e30;
  arguments.max_grad_norm = 0;
  arguments.optim = "sgd";
  arguments.max_steps = 20;
  arguments.save_steps = 1;
  const std::string message = message_of([&] { train(arguments); });
  EXPECT_NE(message.find("[step "), std::string::npos) << message;
  EXPECT_NE(message.find("not finite"), std::string::npos) << message;
  for (const auto& [step, path] : list_checkpoints(folder_ / "out")) {
    const auto model = TrainingModel::open(path, model_options());
    for (const Parameter* parameter : model->model().parameters()) {
      for (int64_t i = 0; i < parameter->value.numel(); ++i)
        ASSERT_TRUE(std::isfinite(parameter->value.data<float>()[i])) << step;
    }
  }
}

TEST_F(TrainerTest, ErrorsComeBeforeTheFirstStep) {
  const auto with = [&](const std::function<void(TrainingArguments&)>& change) {
    TrainingArguments arguments = arguments_in(folder_ / "out");
    change(arguments);
    return message_of([&] { train(arguments); });
  };
  EXPECT_NE(with([](TrainingArguments& a) { a.learning_rate = NAN; }).find("--learning-rate"), std::string::npos);
  EXPECT_NE(with([](TrainingArguments& a) { a.optim = "adamx"; }).find("got 'adamx'"), std::string::npos);
  EXPECT_NE(with([](TrainingArguments& a) { a.eval_strategy = "steps"; }).find("validation"), std::string::npos);
  EXPECT_NE(with([](TrainingArguments& a) { a.output_dir = "/proc/nowhere"; }).find("/proc/nowhere"), std::string::npos);
  const std::string good = rows_;
  rows_ = folder_.write("bad.jsonl", "{\"input_ids\": [1, 50]}\n");
  EXPECT_NE(with([](TrainingArguments&) {}).find("token id outside the vocabulary: got 50"), std::string::npos);
  rows_ = folder_.write("bad.jsonl", "{\"input_ids\": [1, 2], \"labels\": [1, 77]}\n");
  EXPECT_NE(with([](TrainingArguments&) {}).find("label: got 77"), std::string::npos);
  rows_ = folder_.write("bad.jsonl", "{\"input_ids\": [1, 2], \"labels\": [1, -100]}\n");
  EXPECT_NE(with([](TrainingArguments&) {}).find("no labelled position"), std::string::npos);
  std::string long_row = "{\"input_ids\": [1";
  for (int i = 0; i < 32; ++i) long_row += ", 1";
  rows_ = folder_.write("bad.jsonl", long_row + "]}\n");
  EXPECT_NE(with([](TrainingArguments&) {}).find("sequence too long: got 33"), std::string::npos);
  rows_ = folder_.write("empty.jsonl", "");
  EXPECT_NE(with([](TrainingArguments&) {}).find("the file is empty"), std::string::npos);
  // Resuming what was another run.
  rows_ = good;
  TrainingArguments arguments = arguments_in(folder_ / "run");
  train(arguments);
  const std::string checkpoint = checkpoint_path(arguments.output_dir, 2);
  const auto resume = [&](const std::function<void(TrainingArguments&)>& change) {
    TrainingArguments other = arguments_in(folder_ / "other");
    change(other);
    return message_of([&] { train(other, checkpoint); });
  };
  EXPECT_NE(resume([](TrainingArguments& a) { a.optim = "lion"; }).find("--optim"), std::string::npos);
  EXPECT_NE(resume([](TrainingArguments& a) { a.seed = 1; }).find("--seed"), std::string::npos);
  rows_ = counting_rows(folder_, 50, 25, "more.jsonl");
  EXPECT_NE(resume([](TrainingArguments&) {}).find("num_rows"), std::string::npos);
  rows_ = good;
  config_ = folder_.write("other.json", kTinyGpt2);
  EXPECT_NE(resume([](TrainingArguments&) {}).find("another model"), std::string::npos);
}

TEST_F(TrainerTest, MasksAreDrawnAnewEachEpochAndTheSameInEachRun) {
  const auto open = [&] {
    TrainingModelOptions options = model_options();
    options.head = Head::kMaskedLm;
    return open_plain(kFixtures + "encoders/bert", options);
  };
  const auto model = open();
  const int64_t vocab = model->model().vocab_size();
  rows_ = counting_rows(folder_, vocab, 64);
  dump_ = folder_ / "dump.jsonl";
  TrainingArguments arguments = arguments_in(folder_ / "out");
  arguments.per_device_train_batch_size = 16;
  LmOptions options = lm_options(folder_, {rows_}, true, model->runtime().pool());
  options.dump_batches = dump_;
  options.mlm_probability = 0.5;
  std::vector<std::string> dumps;
  for (int run = 0; run < 2; ++run) {
    {
      LmTask task(*model, arguments, options, {});
      for (int i = 0; i < 8; ++i) task.next(16);  // two epochs
    }
    dumps.push_back(read_file(dump_, 1 << 24));
  }
  EXPECT_EQ(dumps[0], dumps[1]);
  int64_t masked = 0, kept = 0, changed = 0, all = 0;
  const int32_t mask = *model->tokenizer()->token_to_id("[MASK]");
  std::vector<std::vector<std::string>> labels_of(64);
  std::ifstream lines(dump_);
  for (std::string text; std::getline(lines, text);) {
    const Json line = Json::parse(text, "dump");
    for (size_t i = 0; i < line.at("input_ids", "dump").size(); ++i) {
      const Json::Array& ids = line.at("input_ids", "dump").as_array("dump")[i].as_array("dump");
      const Json& labels = line.at("labels", "dump").as_array("dump")[i];
      std::string row;
      for (size_t t = 0; t < ids.size(); ++t) {
        ++all;
        const int64_t label = labels.as_array("dump")[t].as_int("dump"), id = ids[t].as_int("dump");
        row += std::to_string(label < 0 ? id : label) + ",";
        if (label < 0) continue;
        masked += id == mask ? 1 : 0;
        kept += id == label ? 1 : 0;
        changed += id != label && id != mask ? 1 : 0;
        EXPECT_FALSE(model->tokenizer()->is_special(static_cast<int32_t>(label)));
      }
      const int64_t number = line.at("examples", "dump").as_array("dump")[i].as_int("dump");
      labels_of[static_cast<size_t>(number % 64)].push_back(labels.dump());
    }
  }
  const double chosen = static_cast<double>(masked + kept + changed);
  EXPECT_NEAR(chosen / static_cast<double>(all), 0.5, 0.08);
  EXPECT_NEAR(static_cast<double>(masked) / chosen, 0.8, 0.05);
  EXPECT_NEAR(static_cast<double>(changed) / chosen, 0.1, 0.05);
}

TEST(Dropout, DrawsHangOnRowsAlone) {
  Runtime runtime([] {
    RuntimeOptions options;
    options.threads = 2;
    return options;
  }());
  const Tensor x = Tensor::empty(runtime.device(), DType::kFloat32, {40, 33});
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = 1;
  auto rows = std::make_shared<ops::DropoutRows>();
  rows->seed = 7;
  for (uint64_t t = 0; t < 40; ++t) rows->numbers.push_back(1000 + t);
  const Tensor y = ops::dropout(x, 0.25f, rows, 3);
  int64_t dropped = 0;
  for (int64_t i = 0; i < y.numel(); ++i) {
    const float value = y.data<float>()[i];
    dropped += value == 0 ? 1 : 0;
    EXPECT_TRUE(value == 0 || std::fabs(value - 1 / 0.75f) < 1e-6f);
  }
  EXPECT_NEAR(static_cast<double>(dropped) / static_cast<double>(y.numel()), 0.25, 0.05);
  // Rows 10 to 14 alone, in another batch.
  auto some = std::make_shared<ops::DropoutRows>();
  some->seed = 7;
  for (uint64_t t = 10; t < 15; ++t) some->numbers.push_back(1000 + t);
  const Tensor part = ops::dropout(x.slice(0, 0, 5), 0.25f, some, 3);
  EXPECT_EQ(std::memcmp(part.data<float>(), y.data<float>() + 10 * 33, static_cast<size_t>(part.bytes())), 0);
  const Tensor other = ops::dropout(x, 0.25f, rows, 4);
  EXPECT_NE(std::memcmp(other.data<float>(), y.data<float>(), static_cast<size_t>(y.bytes())), 0);
}

}  // namespace
}  // namespace pagoda::train
