// How fast the steps of a training job are, alone or as ranks under mpirun: the trainer itself on drawn tokens. One JSON
// object: the best step, what of it went into the exchange with the other ranks, and the losses, which N ranks share with one
// process of N times the sequences. benchmarks/ranks.sh and benchmarks/hosts.sh run it.
//
// bench_ranks [--model roberta|gpt2|small] [--layers N] [--dtype bfloat16|float32] [--sequences N] [--length N]
//   [--accumulate N] [--steps N] [--threads N] [--bucket-cap-mb N] [--latency-us N] [--no-overlap] [--bf16-reduction]
//   [--gradient-checkpointing]
// bench_ranks --plot TITLE FILE.svg: draws lines "CURVE X Y" of standard input.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <thread>

#include "base/file.h"
#include "base/random.h"
#include "machine.h"
#include "metrics/svg_plot.h"
#include "tensor/dtype.h"
#include "train/trainer.h"
#include "training_configs.h"

namespace pagoda {
namespace {

struct Options {
  std::string model = "roberta", dtype = "bfloat16";
  int64_t layers = 0, sequences = 8, length = 128, accumulate = 1, steps = 3, latency_us = 0;
  int threads = 1;
  bool checkpointing = false;
  train::DataParallelOptions parallel;
};

// Each call waits first: a network whose messages take so long, whatever their size.
class DelayedCommunicator final : public Communicator {
 public:
  DelayedCommunicator(std::unique_ptr<Communicator> inner, int64_t microseconds)
      : inner_(std::move(inner)), delay_(microseconds) {}
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  void exchange(const std::vector<Message>& sends, const std::vector<Message>& receives) override {
    std::this_thread::sleep_for(delay_);
    inner_->exchange(sends, receives);
  }

 private:
  std::unique_ptr<Communicator> inner_;
  std::chrono::microseconds delay_;
};

// Thrown on all ranks at once when the steps are done: nothing is saved.
struct Done {};

// Drawn tokens: a causal model predicts each, a masked one every seventh.
class DrawnTask final : public train::Task {
 public:
  DrawnTask(train::TrainingModel& model, const train::TrainingArguments& arguments, const Options& options)
      : model_(model), arguments_(arguments), options_(options) {}
  int64_t num_examples() const override { return (options_.steps + 2) * options_.accumulate * options_.sequences; }
  train::MicroBatch next(int64_t examples) override {
    if (batches_++ == (options_.steps + 1) * options_.accumulate) throw Done();
    const bool masked = model_.model().head_kind() == Head::kMaskedLm;
    const auto vocab = static_cast<uint64_t>(model_.model().vocab_size());
    train::BatchRows rows;
    for (int64_t i = 0; i < examples; ++i, ++example_) {
      const auto number = static_cast<uint64_t>(example_ * arguments_.world + arguments_.rank);
      const RandomStream random(1, number);
      std::vector<int32_t> ids;
      for (int64_t t = 0; t < options_.length; ++t)
        ids.push_back(static_cast<int32_t>(10 + random.bits(static_cast<uint64_t>(t)) % (vocab - 20)));
      const int32_t first = rows.add_sequence(ids, {}, number);
      for (int64_t t = 0; t < options_.length; t += masked ? 7 : 1)
        rows.want(first + static_cast<int32_t>(t), ids[static_cast<size_t>(t)]);
      ++rows.num_examples;
    }
    return train::make_micro_batch(model_.device(), rows, std::nullopt);
  }
  Json state() const override { return Json::object(); }
  void restore(const Json&) override {}
  int64_t examples_left() const override { return num_examples() - example_; }
  bool has_validation() const override { return false; }
  int64_t num_validation_examples() const override { return 0; }
  std::vector<std::string> metric_names() const override { return {}; }
  train::Metrics evaluate(const Model&, const TaskHooks&, Communicator*) override { return {}; }

 private:
  train::TrainingModel& model_;
  train::TrainingArguments arguments_;
  Options options_;
  int64_t example_ = 0, batches_ = 0;
};

class Steps final : public train::TrainerCallback {
 public:
  void on_step(const train::StepReport& step) override {
    std::fprintf(stderr, "step %ld: %.3f s, of it exchange %.3f s\n", static_cast<long>(step.step), step.seconds,
                 step.exchange);
    if (step.step > 1 && (best.step == 0 || step.seconds < best.seconds)) best = step;
  }
  void on_log(const Json& entry) override {
    if (const Json* loss = entry.find("loss")) losses.push_back(*loss);
  }
  train::StepReport best;
  Json losses = Json::array();
};

class Folder {
 public:
  Folder() : path_((std::filesystem::temp_directory_path() / ("bench_ranks." + std::to_string(::getpid()))).string()) {
    make_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const auto text = [&]() -> std::string {
      if (i + 1 == argc) invalid(flag, "got no value");
      return argv[++i];
    };
    const auto number = [&] { return static_cast<int64_t>(std::stoll(text())); };
    if (flag == "--model")
      options.model = text();
    else if (flag == "--dtype")
      options.dtype = text();
    else if (flag == "--layers")
      options.layers = number();
    else if (flag == "--sequences")
      options.sequences = number();
    else if (flag == "--length")
      options.length = number();
    else if (flag == "--accumulate")
      options.accumulate = number();
    else if (flag == "--steps")
      options.steps = number();
    else if (flag == "--threads")
      options.threads = static_cast<int>(number());
    else if (flag == "--latency-us")
      options.latency_us = number();
    else if (flag == "--bucket-cap-mb")
      options.parallel.bucket_bytes = number() << 20;
    else if (flag == "--no-overlap")
      options.parallel.overlap = false;
    else if (flag == "--bf16-reduction")
      options.parallel.wire = train::Wire::kBFloat16;
    else if (flag == "--gradient-checkpointing")
      options.checkpointing = true;
    else
      invalid("bench_ranks", "unknown flag: got '{}'", flag);
  }
  return options;
}

// Whether all ranks have the same bits.
bool equal_weights(Communicator& ranks, Model& model) {
  uint64_t hash = 0xCBF29CE484222325ull;
  for (const Parameter* parameter : model.parameters()) {
    const float* values = parameter->value.data<float>();
    for (int64_t i = 0; i < parameter->value.numel(); ++i) hash = (hash ^ float_to_bits(values[i])) * 0x100000001B3ull;
  }
  std::vector<uint64_t> all(static_cast<size_t>(ranks.size()));
  ranks.all_gather(&hash, all.data(), std::vector<int64_t>(all.size(), sizeof(hash)));
  return std::all_of(all.begin(), all.end(), [&](uint64_t each) { return each == hash; });
}

void train_steps(const Options& options) {
  std::unique_ptr<Communicator> ranks = started_by_mpi() ? make_mpi_communicator() : nullptr;
  if (ranks && options.latency_us > 0) ranks = std::make_unique<DelayedCommunicator>(std::move(ranks), options.latency_us);
  const Folder folder;
  write_file_atomic(join_path(folder.path(), "config.json"), training_config(options.model, options.layers).dump());
  train::TrainingModelOptions model_options;
  model_options.runtime.threads = options.threads;
  model_options.compute = options.dtype == "float32" ? DType::kFloat32 : DType::kBFloat16;
  const auto model = train::TrainingModel::open(join_path(folder.path(), "config.json"), model_options);
  train::TrainingArguments arguments;
  arguments.output_dir = folder.path();
  arguments.per_device_train_batch_size = options.sequences;
  arguments.gradient_accumulation_steps = options.accumulate;
  arguments.max_steps = options.steps + 2;
  arguments.logging_steps = 1;
  arguments.save_strategy = "no";
  arguments.weight_decay = 0.01;
  arguments.lr_scheduler_type = "constant";
  arguments.learning_rate = 1e-3;
  arguments.gradient_checkpointing = options.checkpointing;
  if (ranks) {
    arguments.rank = ranks->rank();
    arguments.world = ranks->size();
  }
  DrawnTask task(*model, arguments, options);
  Steps steps;
  train::TrainerHooks hooks;
  hooks.callbacks = {&steps};
  hooks.ranks = ranks.get();
  hooks.data_parallel = options.parallel;
  {
    train::Trainer trainer(*model, task, arguments, hooks);
    try {
      trainer.run();
    } catch (const Done&) {
    }
  }
  const bool equal = !ranks || equal_weights(*ranks, model->model());
  if (arguments.rank > 0) return;
  Json result = Json::object();
  result.set("model", options.model)
      .set("dtype", options.dtype)
      .set("ranks", arguments.world)
      .set("threads", options.threads)
      .set("tokens", options.sequences * options.length * options.accumulate)
      .set("seconds", steps.best.seconds)
      .set("exchange", steps.best.exchange)
      .set("tokens_per_second", steps.best.tokens * arguments.world / steps.best.seconds)
      .set("ranks_equal", equal)
      .set("losses", steps.losses);
  std::printf("%s\n", result.dump().c_str());
}

void plot(const std::string& title, const std::string& path) {
  PlotPanel panel;
  panel.x_label = "Mbit/s of each host's link";
  panel.y_label = "seconds a step";
  panel.log_x = true;
  std::string name;
  for (double x = 0, y = 0; std::cin >> name >> x >> y;) {
    std::replace(name.begin(), name.end(), '_', ' ');
    if (panel.curves.empty() || panel.curves.back().name != name) panel.curves.push_back({name, {}});
    panel.curves.back().points.emplace_back(x, y);
  }
  if (panel.curves.empty()) invalid("--plot", "got no line 'CURVE X Y' on standard input");
  write_file_atomic(path, svg_plot(title, {}, {panel}));
}

void run(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--plot") return plot(argv[2], argv[3]);
  train_steps(parse(argc, argv));
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) { return pagoda::run_benchmark(argc, argv, pagoda::run); }
