// Data parallel: ranks as threads equal one process at equal global batch; owners; a rank that fails; resuming.
#include "train/data_parallel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "base/random.h"
#include "formats/safetensors.h"
#include "tests/folder.h"
#include "train/lm_task.h"
#include "train/trainer.h"

namespace pagoda::train {
namespace {

using ::testing::HasSubstr;

const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

struct Outcome {
  std::vector<double> losses, norms, epochs;
  std::vector<float> weights;  // of all parameters
};

class TrainingRanks : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (int row = 0; row < 24; ++row) {
      Json ids = Json::array();
      for (int t = 0; t < 4 + row % 5; ++t) ids.push_back((7 * row + 3 * t) % 50);
      text += Json::object().set("input_ids", std::move(ids)).dump() + "\n";
    }
    rows_ = folder_.write("rows.jsonl", text);
  }

  // One rank of a job.
  Outcome train(Communicator* ranks, int64_t batch, const std::string& out, const DataParallelOptions& options = {},
                int64_t steps = 4, bool resume = false) {
    TrainingModelOptions model_options;
    model_options.runtime.threads = 1;
    const auto model = TrainingModel::open(kFixtures + "llama", model_options);
    TrainingArguments arguments;
    arguments.output_dir = folder_ / out;
    arguments.per_device_train_batch_size = batch;
    arguments.gradient_accumulation_steps = 2;
    arguments.max_steps = steps;
    arguments.logging_steps = 1;
    arguments.save_steps = 2;
    arguments.learning_rate = 1e-2;
    arguments.lr_scheduler_type = "constant";
    if (ranks != nullptr) {
      arguments.rank = ranks->rank();
      arguments.world = ranks->size();
    }
    LmOptions lm;
    PrepareOptions prepare;
    prepare.output_dir = folder_ / (out + "_data_" + std::to_string(arguments.rank));
    lm.files = open_splits({rows_}, {}, prepare, nullptr, model->runtime().pool(), {});
    LmTask task(*model, arguments, lm, {});
    TrainerHooks hooks;
    hooks.ranks = ranks;
    hooks.data_parallel = options;
    Trainer trainer(*model, task, arguments, hooks);
    if (resume) trainer.resume(Trainer::last_checkpoint(arguments.output_dir));
    EXPECT_TRUE(trainer.run());
    Outcome run;
    const Json state = trainer.state();
    for (const Json& entry : state.at("log_history", "state").as_array("state")) {
      if (!entry.contains("loss")) continue;
      run.losses.push_back(entry.at("loss", "log").as_double("log"));
      run.norms.push_back(entry.at("grad_norm", "log").as_double("log"));
      run.epochs.push_back(entry.at("epoch", "log").as_double("log"));
    }
    for (const Parameter* parameter : model->model().parameters()) {
      const float* values = parameter->value.data<float>();
      run.weights.insert(run.weights.end(), values, values + parameter->value.numel());
    }
    return run;
  }

  std::vector<Outcome> train_ranks(int size, int64_t batch, const std::string& out, const DataParallelOptions& options = {},
                                   int64_t steps = 4, bool resume = false) {
    auto ranks = make_local_communicators(size);
    std::vector<Outcome> runs(static_cast<size_t>(size));
    std::vector<std::thread> threads;
    for (int r = 0; r < size; ++r) {
      const auto at = static_cast<size_t>(r);
      make_directories(folder_ / out);
      threads.emplace_back([&, at] { runs[at] = train(ranks[at].get(), batch, out, options, steps, resume); });
    }
    for (std::thread& thread : threads) thread.join();
    return runs;
  }

  static void expect_near(const Outcome& got, const Outcome& want, double tolerance) {
    ASSERT_EQ(got.losses.size(), want.losses.size());
    for (size_t i = 0; i < want.losses.size(); ++i) {
      EXPECT_NEAR(got.losses[i], want.losses[i], tolerance) << i;
      EXPECT_NEAR(got.norms[i], want.norms[i], 10 * tolerance) << i;
    }
    double most = 0;
    for (size_t i = 0; i < want.weights.size(); ++i)
      most = std::max(most, std::fabs(static_cast<double>(got.weights[i] - want.weights[i])));
    EXPECT_LT(most, 100 * tolerance);
  }

  testing::Folder folder_{"data_parallel"};
  std::string rows_;
};

TEST_F(TrainingRanks, EqualOneProcessAtEqualGlobalBatch) {
  const Outcome alone = train(nullptr, 6, "alone");
  for (const int size : {2, 3}) {
    for (const bool overlap : {true, false}) {
      DataParallelOptions options;
      options.overlap = overlap;
      options.bucket_bytes = 2000;  // many of them
      const auto runs = train_ranks(size, 6 / size, "ranks_" + std::to_string(size) + (overlap ? "_overlap" : ""), options);
      expect_near(runs[0], alone, 1e-5);
      for (const Outcome& run : runs) EXPECT_EQ(run.weights, runs[0].weights);  // to the bit
    }
  }
}

// As transformers 5.24 with two processes: 24 rows in batches of 5 are three on each rank.
TEST_F(TrainingRanks, EpochsAreCountedInBatchesOfARank) {
  EXPECT_EQ(train_ranks(2, 5, "epochs", {}, 3)[0].epochs, (std::vector<double>{0.6666666666666666, 1.0, 1.6666666666666665}));
}

TEST_F(TrainingRanks, BFloat16ReductionIsNear) {
  DataParallelOptions options;
  options.wire = Wire::kBFloat16;
  const Outcome alone = train(nullptr, 4, "alone");
  const auto runs = train_ranks(2, 2, "ranks", options);
  EXPECT_NEAR(runs[0].losses.back(), alone.losses.back(), 0.02);
  EXPECT_EQ(runs[1].weights, runs[0].weights);
}

TEST_F(TrainingRanks, ResumedJobIsTheSameToTheBit) {
  const auto whole = train_ranks(2, 2, "whole");
  train_ranks(2, 2, "cut", {}, 2);
  const auto resumed = train_ranks(2, 2, "cut", {}, 4, true);
  EXPECT_EQ(resumed[0].weights, whole[0].weights);
  // Any number of ranks may go on, amid an epoch (of three steps) too, and over its end: the same rows in the same order.
  const Outcome alone = train(nullptr, 4, "alone", {}, 5);
  for (const bool from_ranks : {true, false}) {
    const std::string out = from_ranks ? "from_ranks" : "from_one";
    if (from_ranks) {
      train_ranks(2, 2, out, {}, 2);
      expect_near(train(nullptr, 4, out, {}, 5, true), alone, 1e-5);
    } else {
      train(nullptr, 4, out, {}, 2);
      expect_near(train_ranks(2, 2, out, {}, 5, true)[0], alone, 1e-5);
    }
  }
  // The optimiser's state in the checkpoint is whole.
  const auto file = SafetensorsFile::open(folder_ / "whole/checkpoint-2/optimizer.safetensors");
  train(nullptr, 4, "one");
  EXPECT_EQ(file->tensors().size(),
            SafetensorsFile::open(folder_ / "one/checkpoint-2/optimizer.safetensors")->tensors().size());
}

// Owners have the sums in the order of ranks, to the bit, whatever the buckets; the others have nothing.
TEST_F(TrainingRanks, GradientsGoToTheirOwners) {
  const auto value = [](int rank, size_t parameter, int64_t i) {
    return static_cast<float>(RandomStream(parameter, static_cast<uint64_t>(rank)).normal(static_cast<uint64_t>(i)));
  };
  for (const int size : {2, 3}) {
    for (const Wire wire : {Wire::kFloat32, Wire::kBFloat16}) {
      for (const int64_t bytes : {400, 20000, 25 << 20}) {
        auto ranks = make_local_communicators(size);
        std::vector<std::thread> threads;
        for (int r = 0; r < size; ++r) {
          threads.emplace_back([&, r] {
            TrainingModelOptions model_options;
            model_options.runtime.threads = 1;
            const auto model = TrainingModel::open(kFixtures + "llama", model_options);
            const std::vector<Parameter*> parameters = model->trained_parameters();
            DataParallelOptions options;
            options.wire = wire;
            options.bucket_bytes = bytes;
            DataParallel parallel(*ranks[static_cast<size_t>(r)], parameters, options);
            for (int pass = 0; pass < 2; ++pass) {  // the second travels early
              parallel.begin_backward();
              for (size_t p = parameters.size(); p-- > 0;) {
                Tensor& leaf = parameters[p]->value;
                if (r == 1 && p == 2) continue;  // has none
                Tensor gradient = Tensor::empty(model->device(), DType::kFloat32, leaf.dims());
                for (int64_t i = 0; i < leaf.numel(); ++i) gradient.data<float>()[i] = value(r, p, i);
                leaf.set_grad(gradient);
                parallel.ready(leaf);
              }
              parallel.finish_backward();
              for (size_t p = 0; p < parameters.size(); ++p) {
                const Tensor gradient = parameters[p]->value.grad();
                ASSERT_EQ(gradient.is_defined(), parallel.owns(p));
                for (int64_t i = 0; i < (gradient ? gradient.numel() : 0); ++i) {
                  float want = 0;
                  for (int from = 0; from < size; ++from) {
                    float part = from == 1 && p == 2 ? 0 : value(from, p, i);
                    if (wire == Wire::kBFloat16 && from != r) part = static_cast<float>(BFloat16(part));
                    want = from == 0 ? part : want + part;
                  }
                  ASSERT_EQ(gradient.data<float>()[i], want) << size << " ranks, parameter " << p << ", element " << i;
                }
              }
            }
          });
        }
        for (std::thread& thread : threads) thread.join();
      }
    }
  }
}

// Batches dealt out to ranks give the metrics of one process, to the bit.
TEST_F(TrainingRanks, EvaluateTogether) {
  std::string text;
  for (int row = 0; row < 22; ++row) {
    Json ids = Json::array();
    for (int t = 0; t < 3 + row % 7; ++t) ids.push_back((5 * row + 2 * t) % 50);
    text += Json::object().set("input_ids", std::move(ids)).dump() + "\n";
  }
  const std::string held_out = folder_.write("held_out.jsonl", text);
  const auto evaluate = [&](Communicator* ranks) {
    TrainingModelOptions model_options;
    model_options.runtime.threads = 1;
    const auto model = TrainingModel::open(kFixtures + "llama", model_options);
    TrainingArguments arguments;
    arguments.per_device_eval_batch_size = 5;  // 22 rows: 5 batches
    LmOptions lm;
    PrepareOptions prepare;
    prepare.output_dir = folder_ / ("evaluation_" + std::to_string(ranks == nullptr ? 0 : ranks->rank()));
    lm.files = open_splits({rows_}, {held_out}, prepare, nullptr, model->runtime().pool(), {});
    LmTask task(*model, arguments, lm, {});
    return task.evaluate(model->model(), {}, ranks);
  };
  const Metrics alone = evaluate(nullptr);
  EXPECT_EQ(alone.size(), 3u);
  for (const int size : {2, 3, 7}) {
    auto ranks = make_local_communicators(size);
    std::vector<std::thread> threads;
    std::vector<Metrics> all(static_cast<size_t>(size));
    for (size_t r = 0; r < all.size(); ++r) threads.emplace_back([&, r] { all[r] = evaluate(ranks[r].get()); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(all[0], alone) << size << " ranks";
    EXPECT_TRUE(all[1].empty());
  }
}

TEST_F(TrainingRanks, EachParameterHasOneOwner) {
  auto ranks = make_local_communicators(2);
  TrainingModelOptions options;
  options.runtime.threads = 1;
  const auto model = TrainingModel::open(kFixtures + "llama", options);
  const std::vector<Parameter*> parameters = model->trained_parameters();
  DataParallel first(*ranks[0], parameters), second(*ranks[1], parameters);
  int64_t sizes[2] = {0, 0};
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_NE(first.owns(i), second.owns(i));
    sizes[first.owns(i) ? 0 : 1] += parameters[i]->value.numel();
  }
  EXPECT_LT(std::abs(sizes[0] - sizes[1]), (sizes[0] + sizes[1]) / 4);
}

}  // namespace
}  // namespace pagoda::train
