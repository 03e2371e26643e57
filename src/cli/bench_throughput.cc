// pagoda bench throughput: many requests offline through the engine, beside what the machine and the cache could give.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "cli/bench_common.h"
#include "cli/bench_requests.h"
#include "cli/byte_size.h"
#include "cli/cli.h"
#include "cli/step_cost.h"
#include "pipelines/loaded_model.h"
#include "pipelines/text_generation.h"

namespace pagoda::cli {

namespace {

struct Flags {
  MachineFlags machine;
  DatasetFlags dataset;
  std::string model, output_json, kv_cache_memory, kv_cache_dtype = "auto";
  int64_t n = 1, beam_width = 1, max_num_seqs = 256, max_num_batched_tokens = 0, max_model_len = 0;
  double temperature = -1;
  bool prefix_caching = false;
};

int64_t answers(const Flags& flags) { return std::max(flags.n, flags.beam_width); }

// How full the blocks are and how often they are shared, looked at after every step. Sums over steps.
class CacheUse {
 public:
  // Counted by force where answers or prefixes can be shared.
  explicit CacheUse(const Flags& flags)
      : by_force_(answers(flags) > 1 || flags.prefix_caching),
        across_requests_(flags.prefix_caching),
        beams_(flags.beam_width > 1) {}

  void observe(const Engine& engine) {
    const EngineStats stats = engine.stats();
    int64_t tokens = 0, sequences = 0;
    engine.visit([&](uint64_t, const SequenceState& sequence) {
      tokens += sequence.table.num_tokens;
      sequences += sequence.table.num_tokens > 0 ? 1 : 0;
    });
    shared_tokens_ = tokens - stats.num_held_tokens;
    if (stats.num_allocated_blocks == 0) return;
    ++steps_;
    held_ += static_cast<double>(stats.num_held_tokens) / static_cast<double>(stats.num_allocated_blocks * kPageTokens);
    tokens_ += static_cast<double>(tokens);
    sequences_ += static_cast<double>(sequences);
    peak_ = std::max(peak_, stats.num_allocated_blocks);
    allocated_ += static_cast<double>(stats.num_allocated_blocks);
    tables_ += static_cast<double>(stats.num_table_blocks);
    if (by_force_) count_by_force(engine);
  }

  // Tokens that sequences have in common with others, in the last state seen: their keys and values are stored once.
  int64_t shared_tokens() const { return shared_tokens_; }

  double held() const { return steps_ > 0 ? held_ / static_cast<double>(steps_) : 0; }
  double mean_length() const { return sequences_ > 0 ? tokens_ / sequences_ : 0; }  // of a sequence, over time
  int64_t peak_blocks() const { return peak_; }
  double saved() const { return tables_ > 0 ? 1 - allocated_ / tables_ : 0; }
  double could_save() const { return plain_ > 0 ? 1 - distinct_ / plain_ : 0; }

 private:
  // What could be one block: the same tokens from the first on, by common descent. Knows tokens and lengths alone, no tables:
  // a trie over 16 tokens a step. Beams that agree so far have the same ancestors. Drawn answers part at the prompt's end, and
  // agree by chance alone. Across requests only full blocks of prompts count: what another request will write is not known.
  void count_by_force(const Engine& engine) {
    std::map<std::pair<int64_t, std::vector<int32_t>>, int64_t> nodes;
    int32_t number = 0;
    engine.visit([&](uint64_t request, const SequenceState& sequence) {
      ++number;
      int64_t node = across_requests_ ? 0 : -static_cast<int64_t>(request);
      const int64_t length = sequence.table.num_tokens;
      for (int64_t from = 0; from < length; from += kPageTokens) {
        const int64_t to = std::min(from + kPageTokens, length);
        const auto begin = sequence.history.ids().begin();
        std::vector<int32_t> block(begin + from, begin + to);
        if (!beams_ && to > sequence.history.prompt_length()) block.push_back(-number);
        if (to - from < kPageTokens && across_requests_) block.push_back(-static_cast<int32_t>(request));
        node = nodes.try_emplace({node, std::move(block)}, static_cast<int64_t>(nodes.size()) + 1).first->second;
        ++plain_;
      }
    });
    distinct_ += static_cast<double>(nodes.size());
  }

  bool by_force_, across_requests_, beams_;
  int64_t steps_ = 0, shared_tokens_ = 0, peak_ = 0;
  double held_ = 0, tokens_ = 0, sequences_ = 0, allocated_ = 0, tables_ = 0, plain_ = 0, distinct_ = 0;
};

// What ran and what it cost.
struct Run {
  int64_t requests = 0, prompt_tokens = 0, output_tokens = 0;  // of finished requests, each token once
  double seconds = 0;                                          // in the engine: what is observed between steps does not count
  std::vector<StepCost> costs;                                 // of the steps that were made
};

Request to_request(const BenchRequest& from, const Flags& flags) {
  Request request;
  request.prompt_ids = from.prompt_ids;
  request.params.max_new_tokens = from.output_len;
  request.params.ignore_eos = true;
  request.params.num_beams = flags.beam_width;
  request.params.num_return_sequences = answers(flags);
  // Forks that are not drawn would all be the same.
  request.params.temperature = flags.temperature >= 0 ? flags.temperature : flags.n > 1 ? 1 : 0;
  request.params.seed = flags.dataset.seed;
  return request;
}

// Keys and values that sequences share are read once at least: they are taken off what their contexts add up to.
StepCost cost_of(const SchedulerOutput& step, const DecoderModel& model, DType cached, int64_t shared_tokens) {
  std::vector<StepRows> rows;
  for (const SchedulerOutput::Item& item : step.items) rows.push_back({item.from, item.num_new_tokens, item.rows_wanted()});
  StepCost cost = step_cost(model.config(), weight_bytes(model), cached, rows);
  const double token_bytes = static_cast<double>(KvCache::bytes_per_token(model.layer_states(), cached));
  cost.bytes = std::max(0.0, cost.bytes - token_bytes * static_cast<double>(shared_tokens));
  return cost;
}

class Throughput {
 public:
  Throughput(const Program& program, const Flags& flags) : flags_(flags), status_(program), use_(flags) {}

  // False when interrupted.
  bool run(Engine& engine, const DecoderModel& model, const std::vector<BenchRequest>& requests,
           const std::function<void()>& half_way) {
    std::map<uint64_t, const BenchRequest*> open;
    int64_t total = 0, generated = 0;
    const double begun = steady_seconds();
    for (const BenchRequest& request : requests) {
      open.emplace(engine.add(to_request(request, flags_)), &request);
      total += request.output_len * answers(flags_);
    }
    run_.seconds = steady_seconds() - begun;
    bool first_half = true;
    while (engine.has_work()) {
      if (interrupted()) return false;
      const double start = steady_seconds();
      const std::vector<Event> events = engine.step();
      run_.seconds += steady_seconds() - start;
      if (!engine.last_step().items.empty())
        run_.costs.push_back(cost_of(engine.last_step(), model, engine.cache().dtype(), use_.shared_tokens()));
      use_.observe(engine);
      for (const Event& event : events) {
        if (event.error) throw Error(*event.error);
        generated += static_cast<int64_t>(event.token_ids.size());
        if (event.request_done) finish(*open.at(event.request));
      }
      show(generated, total);
      if (first_half && 2 * run_.requests >= static_cast<int64_t>(requests.size())) {
        first_half = false;
        half_way();
      }
    }
    status_.show("");
    return true;
  }

  StatusLine& status() { return status_; }
  const Run& result() const { return run_; }
  const CacheUse& use() const { return use_; }

 private:
  void finish(const BenchRequest& request) {
    ++run_.requests;
    run_.prompt_tokens += request.input_len();
    run_.output_tokens += request.output_len * answers(flags_);
  }
  void show(int64_t generated, int64_t total) {
    const double rate = static_cast<double>(generated) / std::max(run_.seconds, 1e-9);
    const double left = rate > 0 ? static_cast<double>(total - generated) / rate : 0;
    status_.show_sometimes(fmt::format("{} of {} tokens, {} requests done, {:.0f} tokens/s, {:.0f} s left", generated, total,
                                       run_.requests, rate, left));
  }

  const Flags& flags_;
  StatusLine status_;
  CacheUse use_;
  Run run_;
};

double least_seconds(const std::vector<StepCost>& costs, const MachineRates& rates) {
  double seconds = 0;
  for (const StepCost& cost : costs) seconds += least_seconds(cost, rates);
  return seconds;
}

Json limits_json(Runtime& runtime, DType dtype, const MachineRates& rates, double least, const Run& run) {
  Json limits = Json::object();
  limits.set("read_gb_per_s", rates.read_bytes_per_s * 1e-9)
      .set("flops", known(rates.flops_per_s))
      .set("seconds", known(least))
      .set("total_tokens_per_second", known(least > 0 ? static_cast<double>(run.prompt_tokens + run.output_tokens) / least : 0))
      .set("output_tokens_per_second", known(least > 0 ? static_cast<double>(run.output_tokens) / least : 0))
      .set("share", known(least / run.seconds))
      .set("isa", isa_name(runtime.isa()))
      .set("dtype", dtype_name(dtype))
      .set("threads", runtime.pool().num_threads())
      .set("machine", runtime.cpu().model);
  return limits;
}

Json cache_json(const Engine& engine, const CacheUse& use, const Flags& flags) {
  const double length = use.mean_length();
  Json cache = Json::object();
  cache.set("num_blocks", engine.cache().num_pages())
      .set("block_size", kPageTokens)
      .set("peak_blocks", use.peak_blocks())
      .set("held_token_share", use.held())
      .set("mean_length", length)
      .set("possible_token_share", length / (length + 0.5 * static_cast<double>(kPageTokens)))
      .set("leaked_blocks", engine.stats().num_allocated_blocks)
      .set("blocks_saved_share", use.saved());
  if (answers(flags) > 1 || flags.prefix_caching) cache.set("blocks_saved_share_possible", use.could_save());
  return cache;
}

std::string report(const Json& result, const Flags& flags) {
  const auto number = [&](const Json& object, const char* key) { return object.get_double(key, 0, "bench"); };
  const Json &limits = result.at("limits", "bench"), &cache = result.at("cache", "bench");
  std::string text = fmt::format("{}, {}, {}, {} thread(s); {}\n", flags.model, limits.get_string("dtype", "", "bench"),
                                 limits.get_string("isa", "", "bench"), limits.get_int("threads", 0, "bench"),
                                 limits.get_string("machine", "", "bench"));
  text += fmt::format("{} requests, {} prompt and {} output tokens in {:.2f} s: {} steps, {} preemptions\n",
                      result.get_int("num_requests", 0, "bench"), result.get_int("total_num_prompt_tokens", 0, "bench"),
                      result.get_int("total_num_output_tokens", 0, "bench"), number(result, "elapsed_time"),
                      result.get_int("num_steps", 0, "bench"), result.get_int("num_preemptions", 0, "bench"));
  text += fmt::format("Throughput: {:.2f} requests/s, {:.2f} total tokens/s, {:.2f} output tokens/s\n",
                      number(result, "requests_per_second"), number(result, "tokens_per_second"),
                      number(result, "output_tokens_per_second"));
  text += fmt::format("Limit:      {:.2f} total tokens/s, {:.2f} output tokens/s; reached: {:.1f} %\n",
                      number(limits, "total_tokens_per_second"), number(limits, "output_tokens_per_second"),
                      100 * number(limits, "share"));
  text +=
      fmt::format("Machine:    {:.1f} GB/s read, {:.1f} GFLOP/s; scheduler {:.2f} % of the steps' time, sampling {:.2f} %\n",
                  number(limits, "read_gb_per_s"), number(limits, "flops") * 1e-9, 100 * number(result, "scheduler_time_share"),
                  100 * number(result, "sampling_time_share"));
  text += fmt::format(
      "Cache:      {:.2f} % of allocated slots hold tokens (mean length {:.0f}: {:.2f} % with 16 tokens a block); "
      "{} blocks at most, {} leaked\n",
      100 * number(cache, "held_token_share"), number(cache, "mean_length"), 100 * number(cache, "possible_token_share"),
      cache.get_int("peak_blocks", 0, "bench"), cache.get_int("leaked_blocks", 0, "bench"));
  if (const Json* possible = cache.find("blocks_saved_share_possible")) {
    text += fmt::format("Sharing:    {:.2f} % of blocks saved; counted from the tokens alone {:.2f} % could be\n",
                        100 * number(cache, "blocks_saved_share"), 100 * possible->as_double("bench"));
  }
  return text;
}

EngineOptions engine_options(const Flags& flags) {
  EngineOptions options;
  options.max_model_len = flags.max_model_len;
  options.max_num_seqs = flags.max_num_seqs;
  options.max_num_batched_tokens = batched_tokens(flags.max_num_batched_tokens, flags.max_num_seqs);
  options.enable_prefix_caching = flags.prefix_caching;
  options.kv_cache_dtype = parse_kv_cache_dtype(flags.kv_cache_dtype);
  if (!flags.kv_cache_memory.empty()) options.kv_cache_bytes = parse_bytes(flags.kv_cache_memory, "--kv-cache-memory");
  return options;
}

int run(const Program& program, const Flags& flags) {
  if (flags.n > 1 && flags.beam_width > 1) invalid("bench", "--n and --beam-width: give one of them");
  const LoadOptions load_options = flags.machine.load_options();
  const EngineOptions options = engine_options(flags);
  Throughput bench(program, flags);
  bench.status().show("loading");
  const std::unique_ptr<TextGeneration> generation =
      TextGeneration::open(find_model(program, flags.model), load_options, options);
  const auto* model = dynamic_cast<const DecoderModel*>(&generation->model());
  if (model == nullptr)
    unsupported("bench", "cannot time {}: need a model that generates text", generation->model().architecture());
  Engine& engine = generation->engine();
  const std::vector<BenchRequest> requests =
      make_requests(flags.dataset, {model->vocab_size(), engine.max_model_len(), generation->tokenizer().get()});
  for (const BenchRequest& request : requests) {
    if (request.prompt_ids.empty()) invalid("bench", "texts need a tokenizer: {} has none", flags.model);
  }
  Runtime& runtime = generation->loaded().runtime();
  MachineLimits machine(runtime, model->compute_dtype());
  const auto measure = [&] {
    bench.status().show("measuring the machine");
    machine.measure();
  };
  measure();
  // Its speed drifts with its other load: during a long run limits are taken again, and the best counts.
  const auto measure_again = [&] {
    if (bench.result().seconds > 1) measure();
  };
  if (!bench.run(engine, *model, requests, measure_again)) return kInterruptedExit;
  measure_again();
  bench.status().show("");

  const Run& done = bench.result();
  const EngineStats stats = engine.stats();
  const Engine::Times& times = engine.times();
  const double steps = times.schedule + times.model + times.sample;
  const auto per_second = [&](int64_t count) { return static_cast<double>(count) / done.seconds; };
  Json result = Json::object();
  result.set("elapsed_time", done.seconds)
      .set("num_requests", done.requests)
      .set("total_num_tokens", done.prompt_tokens + done.output_tokens)
      .set("requests_per_second", per_second(done.requests))
      .set("tokens_per_second", per_second(done.prompt_tokens + done.output_tokens))
      .set("output_tokens_per_second", per_second(done.output_tokens))
      .set("total_num_prompt_tokens", done.prompt_tokens)
      .set("total_num_output_tokens", done.output_tokens)
      .set("num_cached_prompt_tokens", stats.num_cached_prompt_tokens)
      .set("n", flags.n)
      .set("beam_width", flags.beam_width)
      .set("num_steps", stats.num_steps)
      .set("num_preemptions", stats.num_preemptions)
      .set("scheduler_time_share", times.schedule / steps)
      .set("sampling_time_share", times.sample / steps)
      .set("limits", limits_json(runtime, model->compute_dtype(), machine.rates(),
                                 limit_seconds(least_seconds(done.costs, machine.rates()), done.seconds), done))
      .set("cache", cache_json(engine, bench.use(), flags));
  if (!flags.output_json.empty()) write_result(flags.output_json, result);
  if (program.json) {
    write_json(result);
  } else {
    write_out(report(result, flags));
  }
  return 0;
}

}  // namespace

void add_bench_throughput(Program& program, Verb bench) {
  const auto flags = std::make_shared<Flags>();
  const Verb verb = add_verb(
      program, bench, "throughput",
      "Run many requests at once, without a server: requests and tokens a second (prompts and answers counted once, end tokens "
      "ignored) beside the machine's limit, which is the longer of FLOPs / measured FLOP/s and bytes (weights, and the "
      "contexts' "
      "cache) / measured read rate summed over the steps that were made; how well the cache was used",
      {"pagoda bench throughput MODEL --dataset-name sharegpt-lengths --num-prompts 200",
       "pagoda bench throughput MODEL --random-input-len 512 --random-output-len 64 --num-prompts 32 --output-json result.json",
       "pagoda bench throughput MODEL --dataset-name alpaca-lengths --num-prompts 100 --n 4",
       "pagoda bench throughput MODEL --random-prefix-len 341 --random-input-len 20 --random-output-len 16 --num-prompts 64 "
       "--enable-prefix-caching"});
  add_model(verb, flags->model)->required();
  add_dataset_flags(verb, flags->dataset);
  const Check width = in_range(int64_t{1}, int64_t{1024});
  verb->add_option("--n", flags->n, "Answers to each prompt")->capture_default_str()->check(width);
  verb->add_option("--beam-width", flags->beam_width, "Beams of each prompt, instead of --n")
      ->capture_default_str()
      ->check(width);
  verb->add_option("--temperature", flags->temperature, "Default: 0 (greedy), 1 with --n above 1")->check(non_negative());
  verb->add_option("--max-num-seqs", flags->max_num_seqs, "Sequences that run at once")
      ->capture_default_str()
      ->check(in_range(1, 65536));
  verb->add_option("--max-num-batched-tokens", flags->max_num_batched_tokens, "Tokens of one step (default 2048)")
      ->check(positive());
  add_max_model_len(verb, flags->max_model_len);
  verb->add_option("--kv-cache-memory", flags->kv_cache_memory, "Memory for the cache: 4194304, 512MiB, 2GB");
  add_kv_cache_dtype(verb, flags->kv_cache_dtype);
  verb->add_flag("--enable-prefix-caching", flags->prefix_caching, "Share pages between requests with equal beginnings");
  verb->add_option("--output-json", flags->output_json, "Write the results to this file too");
  add_machine_flags(verb, flags->machine);
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
