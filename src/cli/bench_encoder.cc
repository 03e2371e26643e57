// pagoda bench encoder: latency of encoders by length and batch, beside what the machine could do.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/links.h"
#include "base/random.h"
#include "cli/bench_common.h"
#include "cli/cli.h"
#include "cli/step_cost.h"
#include "metrics/svg_plot.h"
#include "ops/tape.h"
#include "pipelines/loaded_model.h"

namespace pagoda::cli {

namespace {

struct Flags {
  MachineFlags machine;
  std::string model, csv, plot, output_json;
  std::vector<int64_t> lengths{8, 16, 32, 64, 128, 256, 512}, batch_sizes{1, 8}, ragged;
  int64_t num_iters = 1000, num_iters_warmup = 100;
  double max_seconds = 10;
  uint64_t seed = 0;
};

// One batch, run again and again.
struct Cell {
  std::vector<int64_t> lengths;  // of its sequences
  std::vector<double> seconds;
  double limit = 0;  // least seconds; 0: not known

  bool even() const {
    return std::all_of(lengths.begin(), lengths.end(), [&](int64_t length) { return length == lengths[0]; });
  }
  std::string name() const {
    if (even()) return std::to_string(lengths[0]);
    std::string text;
    for (const int64_t length : lengths) text += (text.empty() ? "" : "+") + std::to_string(length);
    return text;
  }
  double best() const { return seconds.empty() ? 0 : *std::min_element(seconds.begin(), seconds.end()); }
  double share() const { return best() > 0 ? limit / best() : 0; }
};

class Bench {
 public:
  Bench(LoadedModel& loaded, const EncoderModel& model, const Flags& flags) : loaded_(loaded), model_(model), flags_(flags) {}

  // False when interrupted.
  bool run(Cell& cell) {
    std::vector<std::vector<int32_t>> batches;  // other ids each time: nothing is learned from the last
    for (uint64_t i = 0; i < 4; ++i) batches.push_back(random_ids(cell, i));
    const double begun = steady_seconds();
    for (int64_t i = -flags_.num_iters_warmup; i < flags_.num_iters; ++i) {
      if (interrupted()) return false;
      const double start = steady_seconds();
      // Half of the time at most goes to warming up; one run is always timed.
      const double allowed = i < 0 ? flags_.max_seconds / 2 : flags_.max_seconds;
      if (start - begun > allowed) {
        if (i >= 0 && !cell.seconds.empty()) break;
        i = std::max<int64_t>(i, 0);
      }
      forward(cell, batches[static_cast<size_t>(i + flags_.num_iters_warmup) % batches.size()]);
      if (i >= 0) cell.seconds.push_back(steady_seconds() - start);
    }
    return true;
  }

 private:
  std::vector<int32_t> random_ids(const Cell& cell, uint64_t batch) const {
    const RandomStream random(flags_.seed, batch);
    int64_t count = 0;
    for (const int64_t length : cell.lengths) count += length;
    std::vector<int32_t> ids;
    // The ids at the beginning are special tokens, of which RoBERTa's padding has no position.
    const int64_t first = std::min<int64_t>(100, model_.vocab_size() / 2);
    for (int64_t i = 0; i < count; ++i) {
      ids.push_back(static_cast<int32_t>(first + static_cast<int64_t>(random.bits(static_cast<uint64_t>(i)) %
                                                                      static_cast<uint64_t>(model_.vocab_size() - first))));
    }
    return ids;
  }

  // From ids to the last hidden states and the head's logits of every row.
  void forward(const Cell& cell, const std::vector<int32_t>& ids) {
    const NoGrad no_grad;
    const ThreadPool::Step step(loaded_.runtime().pool());
    Tensor input = Tensor::empty(loaded_.runtime().device(), DType::kInt32, {static_cast<int64_t>(ids.size())});
    std::copy(ids.begin(), ids.end(), input.data<int32_t>());
    ForwardContext context;
    context.layout = Layout::whole({cell.lengths.begin(), cell.lengths.end()}, model_.num_logits() > 0);
    model_.forward({input}, context);
  }

  LoadedModel& loaded_;
  const EncoderModel& model_;
  const Flags& flags_;
};

std::vector<Cell> cells_of(const Flags& flags, int64_t longest) {
  std::vector<Cell> cells;
  for (const int64_t batch : flags.batch_sizes) {
    for (const int64_t length : flags.lengths)
      cells.push_back({std::vector<int64_t>(static_cast<size_t>(batch), length), {}, 0});
  }
  if (!flags.ragged.empty()) cells.push_back({flags.ragged, {}, 0});
  for (const Cell& cell : cells) {
    const int64_t most = *std::max_element(cell.lengths.begin(), cell.lengths.end());
    if (most > longest) invalid("bench", "too long for the model: got {} tokens, need at most {}", most, longest);
  }
  return cells;
}

Json to_json(const Cell& cell) {
  Json json = Json::object();
  if (cell.even()) {
    json.set("length", cell.lengths[0]);
  } else {
    Json lengths = Json::array();
    for (const int64_t length : cell.lengths) lengths.push_back(length);
    json.set("lengths", std::move(lengths));
  }
  json.set("batch_size", static_cast<int64_t>(cell.lengths.size())).set("count", static_cast<int64_t>(cell.seconds.size()));
  json.set("mean_ms", 1e3 * mean(cell.seconds)).set("best_ms", 1e3 * cell.best());
  for (const int percent : {50, 95, 99}) json.set(fmt::format("p{}_ms", percent), 1e3 * percentile(cell.seconds, percent));
  return json.set("limit_ms", known(1e3 * cell.limit)).set("share", known(cell.share()));
}

std::string csv_of(const std::vector<Cell>& cells) {
  std::string text = "length,batch_size,count,mean_ms,p50_ms,p95_ms,p99_ms,best_ms,limit_ms,share\n";
  for (const Cell& cell : cells) {
    text += fmt::format("{},{},{},{:.6f},{:.6f},{:.6f},{:.6f},{:.6f},{:.6f},{:.4f}\n", cell.name(), cell.lengths.size(),
                        cell.seconds.size(), 1e3 * mean(cell.seconds), 1e3 * percentile(cell.seconds, 50),
                        1e3 * percentile(cell.seconds, 95), 1e3 * percentile(cell.seconds, 99), 1e3 * cell.best(),
                        1e3 * cell.limit, cell.share());
  }
  return text;
}

std::string table_of(const std::vector<Cell>& cells) {
  std::string text = fmt::format("{:>6}{:>8}{:>7}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}\n", "batch", "length", "count",
                                 "mean", "p50", "p95", "p99", "best", "limit", "share");
  for (const Cell& cell : cells) {
    text += fmt::format("{:>6}{:>8}{:>7}{:>10.3f}{:>10.3f}{:>10.3f}{:>10.3f}{:>10.3f}{:>10.3f}{:>6.0f} %\n",
                        cell.lengths.size(), cell.even() ? cell.name() : "mixed", cell.seconds.size(), 1e3 * mean(cell.seconds),
                        1e3 * percentile(cell.seconds, 50), 1e3 * percentile(cell.seconds, 95),
                        1e3 * percentile(cell.seconds, 99), 1e3 * cell.best(), 1e3 * cell.limit, 100 * cell.share());
  }
  return text;
}

std::string plot_of(const std::vector<Cell>& cells, const std::string& title, const std::string& machine) {
  std::vector<PlotPanel> panels;
  for (const Cell& cell : cells) {
    if (!cell.even()) continue;
    const std::string panel = fmt::format("batch {}", cell.lengths.size());
    if (panels.empty() || panels.back().title != panel) {
      panels.push_back({panel, "tokens of a sequence", "ms", {{"p50", {}}, {"p95", {}}, {"p99", {}}, {"limit", {}}}, {}, true});
    }
    std::vector<PlotCurve>& curves = panels.back().curves;
    const auto at = static_cast<double>(cell.lengths[0]);
    for (size_t i = 0; i < 3; ++i) {
      constexpr double kPercents[] = {50, 95, 99};
      curves[i].points.emplace_back(at, 1e3 * percentile(cell.seconds, kPercents[i]));
    }
    if (cell.limit > 0) curves[3].points.emplace_back(at, 1e3 * cell.limit);
  }
  return svg_plot(title, {machine}, panels);
}

int run(const Program& program, const Flags& flags) {
  StatusLine status(program);
  const LoadOptions options = flags.machine.load_options();
  status.show("loading");
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::open(find_model(program, flags.model), options);
  const auto* model = dynamic_cast<const EncoderModel*>(&loaded->model());
  if (model == nullptr)
    unsupported("bench", "cannot time {}: need an encoder (pagoda bench latency times what generates text)",
                loaded->model().architecture());
  std::vector<Cell> cells = cells_of(flags, model->max_positions());
  Runtime& runtime = loaded->runtime();
  const DType dtype = model->compute_dtype();
  MachineLimits machine(runtime, dtype);
  Bench bench(*loaded, *model, flags);
  for (size_t i = 0; i < cells.size(); ++i) {
    // The machine's speed drifts with its other load: limits are taken again as the batches grow, and the best counts.
    if (i == 0 || cells[i].lengths.size() != cells[i - 1].lengths.size()) {
      status.show("measuring the machine");
      machine.measure();
    }
    status.show(fmt::format("batch {}, length {}", cells[i].lengths.size(), cells[i].name()));
    if (!bench.run(cells[i])) return kInterruptedExit;
  }
  machine.measure();
  status.show("");
  const MachineRates& rates = machine.rates();
  Json list = Json::array(), limits = Json::object(), result = Json::object();
  for (Cell& cell : cells) {
    cell.limit = limit_seconds(least_seconds(encoder_cost(model->config(), dtype, cell.lengths), rates), cell.best());
    list.push_back(to_json(cell));
  }
  limits.set("read_gb_per_s", rates.read_bytes_per_s * 1e-9).set("flops", known(rates.flops_per_s));
  limits.set("isa", isa_name(runtime.isa())).set("dtype", dtype_name(dtype)).set("threads", runtime.pool().num_threads());
  limits.set("machine", runtime.cpu().model);
  result.set("architecture", model->architecture()).set("cells", std::move(list)).set("limits", std::move(limits));
  const std::string title = fmt::format("{}, {}, {}, {} thread{}", flags.model, dtype_name(dtype), isa_name(runtime.isa()),
                                        runtime.pool().num_threads(), runtime.pool().num_threads() == 1 ? "" : "s");
  if (!flags.csv.empty()) write_named_file(flags.csv, csv_of(cells));
  if (!flags.plot.empty()) write_named_file(flags.plot, plot_of(cells, title, runtime.cpu().model));
  if (!flags.output_json.empty()) write_result(flags.output_json, result);
  if (program.json) {
    write_json(result);
    return 0;
  }
  std::string text = fmt::format("{}; {}\nms of at most {} runs after {} to warm up, {} s a row\n", title, runtime.cpu().model,
                                 flags.num_iters, flags.num_iters_warmup, flags.max_seconds);
  text += table_of(cells);
  text += fmt::format("machine {:.1f} GB/s read", rates.read_bytes_per_s * 1e-9);
  if (rates.flops_per_s > 0) text += fmt::format(", {:.1f} GFLOP/s {}", rates.flops_per_s * 1e-9, dtype_name(dtype));
  write_out(text + "\n");
  return 0;
}

}  // namespace

void add_bench_encoder(Program& program, Verb bench) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(
      program, bench, "encoder",
      "Time an encoder by length and batch, on random ids: mean, median, 95 and 99 %, and the best beside the limit (the "
      "longer "
      "of FLOPs / measured FLOP/s and bytes of the weights / measured read rate)",
      {"pagoda bench encoder MODEL", "pagoda bench encoder MODEL --lengths 16 128 --batch-sizes 1 --max-seconds 3 --json",
       "pagoda bench encoder MODEL --ragged 8 12 14 16 16 18 20 24 --csv latency.csv --plot latency.svg"});
  const Check one = in_range(int64_t{1}, int64_t{1} << 24);
  add_model(verb, flags->model, "Folder, ORG/NAME or ORG/NAME@REVISION of an encoder")->required();
  verb->add_option("--lengths", flags->lengths, "Tokens of a sequence (8 16 32 64 128 256 512)")->check(one);
  verb->add_option("--batch-sizes", flags->batch_sizes, "Sequences together (1 8)")->check(in_range(int64_t{1}, int64_t{4096}));
  verb->add_option("--ragged", flags->ragged, "One more batch, of sequences of these lengths")->check(one);
  verb->add_option("--num-iters", flags->num_iters, "Runs timed for each length and batch")->check(one)->capture_default_str();
  verb->add_option("--num-iters-warmup", flags->num_iters_warmup, "Runs before that, not counted")
      ->check(in_range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  verb->add_option("--max-seconds", flags->max_seconds, "A length and batch ends after this, whatever has been counted")
      ->check(in_range(1e-3, 1e6))
      ->capture_default_str();
  verb->add_option("--csv", flags->csv, "Write the table as CSV to this file");
  verb->add_option("--plot", flags->plot, "Write a plot (SVG) to this file");
  verb->add_option("--output-json", flags->output_json, "Write the results to this file too");
  verb->add_option("--seed", flags->seed, "Seed of the random ids")->capture_default_str();
  add_machine_flags(verb, flags->machine);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
