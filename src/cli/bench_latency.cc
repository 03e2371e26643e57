// pagoda bench latency: time of whole batches, prefill and decode rates, and their share of what the machine could do.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/checked.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "cli/bench_common.h"
#include "cli/cli.h"
#include "cli/step_cost.h"
#include "engine/runner.h"
#include "generate/sampler.h"
#include "pipelines/loaded_model.h"

namespace pagoda::cli {

namespace {

constexpr int64_t kPrefillRows = 512;  // of one step, as the engine's own default

struct Flags {
  MachineFlags machine;
  std::string model, output_json, kv_cache_dtype = "auto";
  int64_t input_len = 32, output_len = 128, batch_size = 8, num_iters = 30, num_iters_warmup = 10;
  uint64_t seed = 0;
};

// The steps of one batch: which rows each computes. Prompts are computed one after the other, at most kPrefillRows a step.
struct Plan {
  std::vector<std::vector<std::pair<int64_t, StepRows>>> prefill;  // a step: (sequence, rows)
  std::vector<std::vector<std::pair<int64_t, StepRows>>> decode;

  explicit Plan(const Flags& flags) {
    int64_t sequence = 0, done = 0;
    while (sequence < flags.batch_size) {
      prefill.emplace_back();
      for (int64_t room = kPrefillRows; room > 0 && sequence < flags.batch_size;) {
        const int64_t count = std::min(room, flags.input_len - done);
        const bool last = done + count == flags.input_len;
        prefill.back().push_back({sequence, {done, count, last ? 1 : 0}});
        room -= count;
        done += count;
        if (last) {
          ++sequence;
          done = 0;
        }
      }
    }
    for (int64_t token = 1; token < flags.output_len; ++token) {
      decode.emplace_back();
      for (int64_t s = 0; s < flags.batch_size; ++s) decode.back().push_back({s, {flags.input_len + token - 1, 1, 1}});
    }
  }
};

struct Times {
  double prefill = 0, decode = 0;
  double total() const { return prefill + decode; }
};

class Bench {
 public:
  Bench(LoadedModel& loaded, const Flags& flags)
      : plan_(flags),
        runtime_(loaded.runtime()),
        vocab_(loaded.model().vocab_size()),
        cache_(loaded.model().layer_states(),
               parse_kv_cache_dtype(flags.kv_cache_dtype).value_or(loaded.model().compute_dtype()),
               checked_mul(flags.batch_size, div_up(flags.input_len + flags.output_len, kPageTokens), "bench")),
        blocks_(cache_.num_pages()),
        runner_(loaded.runtime(), loaded.model(), cache_),
        tables_(static_cast<size_t>(flags.batch_size)) {
    for (int64_t s = 0; s < flags.batch_size; ++s) {
      const RandomStream random(flags.seed, static_cast<uint64_t>(s));
      std::vector<int32_t> ids;
      for (int64_t i = 0; i < flags.input_len; ++i) {
        ids.push_back(static_cast<int32_t>(random.bits(static_cast<uint64_t>(i)) % static_cast<uint64_t>(vocab_)));
      }
      prompts_.push_back(std::move(ids));
    }
  }

  const Plan& plan() const { return plan_; }
  DType cache_dtype() const { return cache_.dtype(); }

  // One batch from its first token to its last; false when interrupted.
  bool run(Times& times) {
    sequences_ = prompts_;
    const double start = steady_seconds();
    const bool prefilled = run_steps(plan_.prefill);
    const double middle = steady_seconds();
    const bool complete = prefilled && run_steps(plan_.decode);
    const double end = steady_seconds();
    for (BlockTable& table : tables_) blocks_.release(table, true);
    times = {middle - start, end - middle};
    return complete;
  }

 private:
  bool run_steps(const std::vector<std::vector<std::pair<int64_t, StepRows>>>& steps) {
    for (const auto& rows : steps) {
      if (interrupted()) return false;
      SchedulerOutput step;
      for (const auto& [sequence, part] : rows) {
        BlockTable& table = tables_[static_cast<size_t>(sequence)];
        if (!blocks_.reserve(table, part.from + part.count, step.copies)) {
          fail(ErrorKind::kInternal, "bench", "cache too small for the plan");
        }
        step.items.push_back({&sequences_[static_cast<size_t>(sequence)], &table, part.from, part.count, part.logits > 0});
      }
      const StepResult result = runner_.run(step);
      advance(step);
      choose(rows, result.logits);
    }
    return true;
  }

  // Greedy, each row by one thread, as the engine does.
  void choose(const std::vector<std::pair<int64_t, StepRows>>& rows, const Tensor& logits) {
    std::vector<int64_t> wanted;
    for (const auto& [sequence, part] : rows) {
      if (part.logits > 0) wanted.push_back(sequence);
    }
    runtime_.pool().parallel_for(static_cast<int64_t>(wanted.size()), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        const int32_t token = argmax(logits.data<float>() + row * vocab_, vocab_);
        sequences_[static_cast<size_t>(wanted[static_cast<size_t>(row)])].push_back(token);
      }
    });
  }

  Plan plan_;
  Runtime& runtime_;
  int64_t vocab_;
  KvCache cache_;
  BlockManager blocks_;
  Runner runner_;
  std::vector<BlockTable> tables_;
  std::vector<std::vector<int32_t>> prompts_, sequences_;
};

double least_seconds(const std::vector<std::vector<std::pair<int64_t, StepRows>>>& steps, const DecoderModel& model,
                     DType cached, const MachineRates& rates) {
  double seconds = 0;
  const WeightBytes weights = weight_bytes(model);
  for (const auto& step : steps) {
    std::vector<StepRows> rows;
    for (const auto& [sequence, part] : step) rows.push_back(part);
    seconds += least_seconds(step_cost(model.config(), weights, cached, rows), rates);
  }
  return seconds;
}

// Tokens a second of one phase beside its limit.
struct Rate {
  double best = 0, mean = 0, limit = 0;  // 0: there is none
  Rate(int64_t tokens, const std::vector<double>& seconds, double least) {
    if (tokens == 0) return;
    const auto count = static_cast<double>(tokens);
    const double shortest = *std::min_element(seconds.begin(), seconds.end());
    best = count / shortest;
    mean = count / cli::mean(seconds);
    if (least > 0) limit = count / limit_seconds(least, shortest);
  }
  double share() const { return limit > 0 ? best / limit : 0; }
};

std::string rate_text(const char* name, const Rate& rate) {
  if (rate.best == 0) return "";
  std::string text = fmt::format("{:<9}{:>12.1f} tokens/s best, {:.1f} mean", name, rate.best, rate.mean);
  if (rate.limit > 0) text += fmt::format("; limit {:.1f}: {:.1f} %", rate.limit, 100 * rate.share());
  return text + "\n";
}

// Of each timed batch.
struct Measured {
  std::vector<double> latencies, prefill, decode;
  void add(const Times& times) {
    latencies.push_back(times.total());
    prefill.push_back(times.prefill);
    decode.push_back(times.decode);
  }
};

// Measures batches, and the machine beside them; false when interrupted.
bool measure(Bench& bench, MachineLimits& machine, const Flags& flags, StatusLine& status, Measured& measured) {
  const auto measure_machine = [&] {
    status.show("measuring the machine");
    machine.measure();
  };
  measure_machine();
  for (int64_t i = -flags.num_iters_warmup; i < flags.num_iters; ++i) {
    status.show(i < 0 ? fmt::format("warmup {} of {}", i + flags.num_iters_warmup + 1, flags.num_iters_warmup)
                      : fmt::format("iteration {} of {}", i + 1, flags.num_iters));
    // The machine's speed drifts with its other load: limits are taken again half way and at the end, and the best counts.
    if (i > 0 && i == flags.num_iters / 2) measure_machine();
    Times times;
    if (!bench.run(times)) return false;
    if (i >= 0) measured.add(times);
  }
  measure_machine();
  status.show("");
  return true;
}

// What is told, as JSON and for people.
struct Report {
  const Flags& flags;
  Runtime& runtime;
  DType dtype;
  const MachineRates& rates;
  const Measured& measured;
  Rate prefill, decode;

  Json json() const {
    Json all = Json::array(), percentiles = Json::object(), result = Json::object();
    for (const double latency : measured.latencies) all.push_back(latency);
    for (const int percent : {10, 25, 50, 75, 90, 99}) {
      percentiles.set(std::to_string(percent), percentile(measured.latencies, percent));
    }
    result.set("avg_latency", mean(measured.latencies))
        .set("latencies", std::move(all))
        .set("percentiles", std::move(percentiles))
        .set("prefill_tokens_per_s", known(prefill.best))
        .set("decode_tokens_per_s", known(decode.best))
        .set("mean_prefill_tokens_per_s", known(prefill.mean))
        .set("mean_decode_tokens_per_s", known(decode.mean))
        .set("input_len", flags.input_len)
        .set("output_len", flags.output_len)
        .set("batch_size", flags.batch_size)
        .set("limits", limits());
    return result;
  }

  std::string text() const {
    const int threads = runtime.pool().num_threads();
    const std::vector<double>& latencies = measured.latencies;
    std::string text = fmt::format("{}, {}, {}, {} thread{}; {}\n", flags.model, dtype_name(dtype), isa_name(runtime.isa()),
                                   threads, threads == 1 ? "" : "s", runtime.cpu().model);
    text += fmt::format("batch {}, input {}, output {}, {} iterations after {} to warm up\n", flags.batch_size, flags.input_len,
                        flags.output_len, flags.num_iters, flags.num_iters_warmup);
    text +=
        fmt::format("{:<9}{:>12.4f} s mean; 10 % {:.4f}, median {:.4f}, 90 % {:.4f}, 99 % {:.4f}\n", "latency", mean(latencies),
                    percentile(latencies, 10), percentile(latencies, 50), percentile(latencies, 90), percentile(latencies, 99));
    text += rate_text("prefill", prefill) + rate_text("decode", decode);
    text += fmt::format("{:<9}{:>12.1f} GB/s read", "machine", rates.read_bytes_per_s * 1e-9);
    if (rates.flops_per_s > 0) text += fmt::format(", {:.1f} GFLOP/s {}", rates.flops_per_s * 1e-9, dtype_name(dtype));
    return text + "\n";
  }

 private:
  Json limits() const {
    Json limits = Json::object();
    limits.set("read_gb_per_s", rates.read_bytes_per_s * 1e-9)
        .set("flops", known(rates.flops_per_s))
        .set("prefill_limit_tokens_per_s", known(prefill.limit))
        .set("decode_limit_tokens_per_s", known(decode.limit))
        .set("prefill_share", known(prefill.share()))
        .set("decode_share", known(decode.share()))
        .set("isa", isa_name(runtime.isa()))
        .set("dtype", dtype_name(dtype))
        .set("threads", runtime.pool().num_threads())
        .set("machine", runtime.cpu().model);
    return limits;
  }
};

int run(const Program& program, const Flags& flags) {
  StatusLine status(program);
  const LoadOptions options = flags.machine.load_options();
  status.show("loading");
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::open(find_model(program, flags.model), options);
  const auto* model = dynamic_cast<const DecoderModel*>(&loaded->model());
  if (model == nullptr)
    unsupported("bench", "cannot time {}: need a model that generates text", loaded->model().architecture());
  const int64_t context = loaded->model().max_positions();
  if (checked_add(flags.input_len, flags.output_len, "bench") - 1 > context) {
    invalid("bench", "too long for the model: got --input-len {} and --output-len {}, need at most {} together",
            flags.input_len, flags.output_len, context + 1);
  }
  const DType dtype = loaded->model().compute_dtype();
  MachineLimits machine(loaded->runtime(), dtype);
  Bench bench(*loaded, flags);
  Measured measured;
  if (!measure(bench, machine, flags, status, measured)) return kInterruptedExit;

  const MachineRates& rates = machine.rates();
  const Rate prefill(flags.batch_size * flags.input_len, measured.prefill,
                     least_seconds(bench.plan().prefill, *model, bench.cache_dtype(), rates));
  const Rate decode(flags.batch_size * (flags.output_len - 1), measured.decode,
                    least_seconds(bench.plan().decode, *model, bench.cache_dtype(), rates));
  const Report report{flags, loaded->runtime(), dtype, rates, measured, prefill, decode};
  const Json result = report.json();
  if (!flags.output_json.empty()) write_result(flags.output_json, result);
  if (program.json) {
    write_json(result);
  } else {
    write_out(report.text());
  }
  return 0;
}

}  // namespace

void add_bench_latency(Program& program, Verb bench) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(
      program, bench, "latency",
      "Time batches of random prompts: latency, prefill and decode rates (best and mean; decode counts all streams together), "
      "and their share of the limit: over all steps, the longer of FLOPs / measured FLOP/s and bytes / measured read rate",
      {"pagoda bench latency MODEL --input-len 512 --output-len 64 --batch-size 1 --num-iters 10",
       "pagoda bench latency MODEL --json --output-json latency.json"});
  const Check one = in_range(int64_t{1}, int64_t{1} << 24);
  add_model(verb, flags->model)->required();
  verb->add_option("--input-len", flags->input_len, "Tokens of each prompt")->check(one)->capture_default_str();
  verb->add_option("--output-len", flags->output_len, "Tokens generated for each")->check(one)->capture_default_str();
  verb->add_option("--batch-size", flags->batch_size, "Sequences together")
      ->check(in_range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  verb->add_option("--num-iters", flags->num_iters, "Batches timed")->check(one)->capture_default_str();
  verb->add_option("--num-iters-warmup", flags->num_iters_warmup, "Batches before that, not counted")
      ->check(in_range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  verb->add_option("--output-json", flags->output_json, "Write the results to this file too");
  verb->add_option("--seed", flags->seed, "Seed of the random prompts")->capture_default_str();
  add_kv_cache_dtype(verb, flags->kv_cache_dtype);
  add_machine_flags(verb, flags->machine);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
