// Histograms with vLLM's buckets, and the text format.
#include "server/metrics.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "engine/stats.h"

namespace pagoda::server {

namespace {

using Seconds = std::chrono::duration<double>;

// 1, 2, 5, 10, 20, 50 ... up to `most`.
std::vector<double> decades(double most) {
  std::vector<double> bounds;
  for (double power = 1; power <= most; power *= 10) {
    for (const double digit : {1.0, 2.0, 5.0}) {
      if (digit * power <= most) bounds.push_back(digit * power);
    }
  }
  return bounds;
}

// Of a request's way through the server, and of parts of it.
const std::vector<double> kRequestSeconds{0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,   10.0,   15.0,  20.0,
                                          30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

void head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds, std::vector<int64_t> counts, double sum)
    : bounds_(std::move(bounds)),
      counts_(std::move(counts)),
      sum_(sum),
      count_(std::accumulate(counts_.begin(), counts_.end(), int64_t{0})) {}

void Histogram::observe(double value) {
  const auto place = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  ++counts_[static_cast<size_t>(place)];
  sum_ += value;
  ++count_;
}

void Histogram::write(std::string& out, std::string_view name, const std::string& labels) const {
  int64_t below = 0;
  for (size_t i = 0; i < bounds_.size(); ++i) {
    below += counts_[i];
    out += fmt::format("{}_bucket{{{},le=\"{}\"}} {}\n", name, labels, bounds_[i], below);
  }
  out += fmt::format("{}_bucket{{{},le=\"+Inf\"}} {}\n{}_count{{{}}} {}\n{}_sum{{{}}} {}\n", name, labels, count_, name, labels,
                     count_, name, labels, sum_);
}

Metrics::Metrics(const std::string& model_name)
    : labels_("model_name=\"" + escape(model_name) + "\",engine=\"0\""),
      finished_({{"stop", 0}, {"length", 0}, {"abort", 0}, {"error", 0}, {"repetition", 0}}),
      first_token_({0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                    1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0}),
      inter_token_({0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0}),
      per_output_token_(
          {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0}),
      end_to_end_(kRequestSeconds),
      queue_(kRequestSeconds),
      prefill_(kRequestSeconds),
      decode_(kRequestSeconds),
      inference_(kRequestSeconds),
      prompt_tokens_(decades(200000)),
      generation_tokens_(decades(200000)),
      max_generation_tokens_(decades(200000)),
      params_n_({1, 2, 5, 10, 20}),
      params_max_tokens_(decades(200000)) {}

void Metrics::tokens(RequestTimer& timer, size_t sequence, int64_t count) {
  if (count == 0) return;
  const auto now = RequestTimer::Clock::now();
  RequestTimer::Sequence& its = timer.sequences[sequence];
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!std::exchange(timer.begun, true)) first_token_.observe(Seconds(now - timer.arrival).count());
  if (its.generated == 0) {
    its.first = now;
  } else {
    inter_token_.observe(Seconds(now - its.last).count());
  }
  its.last = now;
  its.generated += count;
}

void Metrics::finish(RequestTimer& timer, size_t sequence, std::string_view reason) {
  const std::lock_guard<std::mutex> lock(mutex_);
  finish_locked(timer, sequence, reason);
}

void Metrics::finish(RequestTimer& timer, std::string_view reason) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (size_t i = 0; i < timer.sequences.size(); ++i) finish_locked(timer, i, reason);
}

void Metrics::finish_locked(RequestTimer& timer, size_t sequence, std::string_view reason) {
  RequestTimer::Sequence& its = timer.sequences[sequence];
  if (std::exchange(its.ended, true)) return;
  const auto found = finished_.find(reason);
  if (found != finished_.end()) ++found->second;
  const auto observe = [](Histogram& times, RequestTimer::Clock::time_point from, RequestTimer::Clock::time_point to) {
    times.observe(std::max(0.0, Seconds(to - from).count()));
  };
  observe(end_to_end_, timer.arrival, RequestTimer::Clock::now());
  const bool scheduled = timer.scheduled != RequestTimer::Clock::time_point();
  if (scheduled) observe(queue_, timer.arrival, timer.scheduled);
  if (scheduled && its.generated > 0) {
    observe(prefill_, timer.scheduled, its.first);
    observe(decode_, its.first, its.last);
    observe(inference_, timer.scheduled, its.last);
  }
  prompt_tokens_.observe(static_cast<double>(timer.prompt_tokens));
  params_max_tokens_.observe(static_cast<double>(timer.max_tokens));
  generation_tokens_.observe(static_cast<double>(its.generated));
  if (its.generated > 1) {
    per_output_token_.observe(Seconds(its.last - its.first).count() / static_cast<double>(its.generated - 1));
  }
  if (++timer.num_ended < timer.sequences.size()) return;
  int64_t most = 0;
  for (const RequestTimer::Sequence& each : timer.sequences) most = std::max(most, each.generated);
  max_generation_tokens_.observe(static_cast<double>(most));
  params_n_.observe(static_cast<double>(timer.sequences.size()));
}

void Metrics::count_rejection() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++rejections_;
}

Latency Metrics::first_token() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {first_token_.count(), first_token_.sum()};
}

Latency Metrics::inter_token() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {inter_token_.count(), inter_token_.sum()};
}

std::string Metrics::text(const EngineStats& stats, int64_t kv_block_size) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string out;
  const auto value = [&](std::string_view name, std::string_view type, std::string_view help, double number) {
    head(out, name, type, help);
    out += fmt::format("{}{{{}}} {}\n", name, labels_, number);
  };
  const auto histogram = [&](std::string_view name, std::string_view help, const Histogram& data) {
    head(out, name, "histogram", help);
    data.write(out, name, labels_);
  };
  const auto number = [](int64_t count) { return static_cast<double>(count); };
  value("vllm:num_requests_running", "gauge", "Requests in the running batch", number(stats.num_running));
  value("vllm:num_requests_waiting", "gauge", "Requests waiting to be begun", number(stats.num_waiting));
  value("vllm:kv_cache_usage_perc", "gauge", "Share of cache pages in use, 1 is all",
        stats.num_blocks > 0 ? number(stats.num_allocated_blocks) / number(stats.num_blocks) : 0);
  head(out, "vllm:cache_config_info", "gauge", "The cache");
  out += fmt::format("vllm:cache_config_info{{{},block_size=\"{}\",num_gpu_blocks=\"{}\"}} 1\n", labels_, kv_block_size,
                     stats.num_blocks);
  value("vllm:prompt_tokens_total", "counter", "Prompt tokens of requests that were begun", number(stats.num_prompt_tokens));
  value("vllm:prompt_tokens_cached_total", "counter", "Prompt tokens found in the cache",
        number(stats.num_cached_prompt_tokens));
  value("vllm:prefix_cache_queries_total", "counter", "Tokens looked for in the prefix cache", number(stats.num_prompt_tokens));
  value("vllm:prefix_cache_hits_total", "counter", "Tokens found in the prefix cache", number(stats.num_cached_prompt_tokens));
  value("vllm:generation_tokens_total", "counter", "Generated tokens", number(stats.num_generated_tokens));
  value("vllm:num_preemptions_total", "counter", "Requests preempted", number(stats.num_preemptions));
  value("vllm:admission_rejections_total", "counter", "Requests refused because too many were open", number(rejections_));
  head(out, "vllm:request_success_total", "counter", "Answers that ended, by reason");
  for (const auto& [reason, count] : finished_) {
    out += fmt::format("vllm:request_success_total{{{},finished_reason=\"{}\"}} {}\n", labels_, reason, count);
  }
  histogram("vllm:time_to_first_token_seconds", "From arrival to the first token", first_token_);
  histogram("vllm:inter_token_latency_seconds", "Between two tokens", inter_token_);
  histogram("vllm:request_time_per_output_token_seconds", "Mean time of a token after the first", per_output_token_);
  histogram("vllm:e2e_request_latency_seconds", "From arrival to the end", end_to_end_);
  histogram("vllm:request_queue_time_seconds", "From arrival to the first step", queue_);
  histogram("vllm:request_prefill_time_seconds", "From the first step to the first token", prefill_);
  histogram("vllm:request_decode_time_seconds", "From the first token to the last", decode_);
  histogram("vllm:request_inference_time_seconds", "From the first step to the last token", inference_);
  histogram("vllm:iteration_tokens_total", "Tokens of a step",
            Histogram({StepSizes::kBounds.begin(), StepSizes::kBounds.end()},
                      {stats.step_sizes.counts.begin(), stats.step_sizes.counts.end()}, number(stats.step_sizes.tokens)));
  histogram("vllm:request_prompt_tokens", "Prompt tokens of a request", prompt_tokens_);
  histogram("vllm:request_generation_tokens", "Generated tokens of an answer", generation_tokens_);
  histogram("vllm:request_max_num_generation_tokens", "Generated tokens of a request's longest answer", max_generation_tokens_);
  histogram("vllm:request_params_n", "Answers asked for", params_n_);
  histogram("vllm:request_params_max_tokens", "max_tokens asked for", params_max_tokens_);
  return out;
}

}  // namespace pagoda::server
