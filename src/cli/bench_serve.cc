// pagoda bench serve: load on a running server; latencies of streams as its clients see them.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <ctime>
#include <limits>
#include <memory>
#include <mutex>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "cli/bench_common.h"
#include "cli/bench_requests.h"
#include "cli/openai_client.h"
#include "formats/tokenizer_loader.h"
#include "metrics/svg_plot.h"

namespace pagoda::cli {

namespace {

constexpr uint64_t kArrivalStream = 5;

struct Flags {
  DatasetFlags dataset;
  std::string backend = "openai", url, host = "127.0.0.1", endpoint, model, tokenizer, api_key, extra_body, label;
  std::string request_rate = "inf", percentile_metrics = "ttft,tpot,itl", metric_percentiles = "99";
  std::string result_dir, result_filename, plot;
  std::vector<std::string> headers, goodput;
  int port = 8000;
  int64_t max_concurrency = 0, vocab_size = 0, num_warmups = 1;
  double burstiness = 1, temperature = 0, timeout = 600;
  bool ignore_eos = false, save_result = false, save_detailed = false, insecure = false;

  bool chat() const { return backend == "openai-chat"; }
};

double parse_rate(const std::string& text) {
  if (text == "inf") return std::numeric_limits<double>::infinity();
  size_t end = 0;
  double rate = 0;
  try {
    rate = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  if (end != text.size() || text.empty() || !(rate > 0))
    invalid("--request-rate", "got '{}', need requests a second, or inf", text);
  return rate;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t from = 0; from <= text.size();) {
    const size_t end = std::min(text.find(',', from), text.size());
    if (end > from) parts.push_back(text.substr(from, end - from));
    from = end + 1;
  }
  return parts;
}

// One request as its client saw it; seconds of steady_seconds().
struct Record {
  double start = 0, first = 0, last = 0;
  int64_t input_len = 0, output_len = 0, chunks = 0;
  std::vector<double> itl;
  std::string text, error;
  bool done = false, ok = false;

  double ttft() const { return first - start; }
  double latency() const { return last - start; }
  double tpot() const { return output_len > 1 ? (latency() - ttft()) / static_cast<double>(output_len - 1) : 0; }
};

// Seconds between arrivals: gamma of shape `burstiness` and mean 1 / rate, exponential at 1 (a Poisson process).
class Arrivals {
 public:
  Arrivals(double rate, double burstiness, uint64_t seed) : rate_(rate), shape_(burstiness), random_(seed, kArrivalStream) {}
  double next() {
    if (std::isinf(rate_)) return 0;
    return gamma() / (shape_ * rate_);
  }

 private:
  // Marsaglia and Tsang, "A simple method for generating gamma variables" (2000).
  double gamma() {
    const double shape = shape_ < 1 ? shape_ + 1 : shape_, d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = random_.normal(drawn_++), v = std::pow(1 + c * x, 3), u = uniform();
      if (v <= 0 || std::log(u) >= 0.5 * x * x + d - d * v + d * std::log(v)) continue;
      return shape_ < 1 ? d * v * std::pow(uniform(), 1 / shape_) : d * v;
    }
  }
  double uniform() { return 1 - random_.uniform(drawn_++); }  // in (0, 1]

  double rate_, shape_;
  RandomStream random_;
  uint64_t drawn_ = 0;
};

Json request_body(const BenchRequest& request, const Flags& flags, const std::string& model, const Json& extra) {
  Json body = Json::object();
  body.set("model", model);
  if (flags.chat()) {
    Json message = Json::object(), messages = Json::array();
    message.set("role", "user").set("content", request.prompt);
    messages.push_back(std::move(message));
    body.set("messages", std::move(messages)).set("max_completion_tokens", request.output_len);
  } else {
    body.set("prompt", request.prompt.empty() ? ids_json(request.prompt_ids) : Json(request.prompt));
    body.set("max_tokens", request.output_len);
  }
  Json options = Json::object();
  options.set("include_usage", true);
  body.set("temperature", flags.temperature).set("stream", true).set("stream_options", std::move(options));
  if (flags.ignore_eos) body.set("ignore_eos", true);
  if (extra.is_object()) {
    for (const JsonMember& member : extra.as_object("--extra-body")) body.set(member.key, member.value);
  }
  return body;
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Sends requests at their times and records what comes.
class Load {
 public:
  Load(const Program& program, const Flags& flags, server::HttpClient& client, const ApiServer& api, std::string model)
      : flags_(flags),
        client_(client),
        api_(api),
        model_(std::move(model)),
        status_(program),
        extra_(flags.extra_body.empty() ? Json() : Json::parse(flags.extra_body, "--extra-body")) {
    if (!extra_.is_null()) extra_.as_object("--extra-body");
  }

  // One request before the clock runs: a wrong address or flag is told at once.
  void warm_up(const std::vector<BenchRequest>& requests) {
    status_.show("waiting for a first answer");
    for (int64_t i = 0; i < flags_.num_warmups; ++i) {
      const BenchRequest& request = requests[static_cast<size_t>(i) % requests.size()];
      if (!complete_and_wait(client_, api_, flags_.endpoint, request_body(request, flags_, model_, extra_),
                             [](const Delta&) {})) {
        throw Interrupted();
      }
    }
  }

  // False when interrupted: what is under way is cancelled, and counts neither as completed nor as failed.
  bool run(const std::vector<BenchRequest>& requests) {
    records_.resize(requests.size());
    const double cpu = cpu_seconds();
    begun_ = steady_seconds();
    Arrivals arrivals(parse_rate(flags_.request_rate), flags_.burstiness, flags_.dataset.seed);
    double at = begun_;
    bool whole = true;
    for (size_t i = 0; i < requests.size() && whole; ++i) {
      whole = wait_until(at) && wait_for_room();
      if (whole) send(i, requests[i]);
      at += arrivals.next();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    while (open_ > 0 && whole) {
      wait(lock, 0.05);
      whole = !interrupted();
    }
    seconds_ = steady_seconds() - begun_;
    if (!whole) cancel(lock);
    cpu_seconds_ = cpu_seconds() - cpu;
    status_.show("");
    return whole;
  }

  const std::vector<Record>& records() const { return records_; }
  double seconds() const { return seconds_; }
  double client_cpu_seconds() const { return cpu_seconds_; }
  int64_t most_open() const { return most_open_; }
  double begun() const { return begun_; }
  StatusLine& status() { return status_; }

 private:
  bool wait_until(double time) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (double left = time - steady_seconds(); left > 0; left = time - steady_seconds()) {
      wait(lock, std::min(left, 0.05));
      if (interrupted()) return false;
    }
    return !interrupted();
  }
  bool wait_for_room() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (flags_.max_concurrency > 0 && open_ >= flags_.max_concurrency) {
      if (interrupted()) return false;
      wait(lock, 0.05);
    }
    return true;
  }
  void wait(std::unique_lock<std::mutex>& lock, double seconds) {
    show();
    changed_.wait_for(lock, std::chrono::duration<double>(seconds));
  }
  void show() {
    const double passed = steady_seconds() - begun_, rate = static_cast<double>(done_) / std::max(passed, 1e-9);
    const auto total = static_cast<int64_t>(records_.size());
    const double left = rate > 0 ? static_cast<double>(total - done_) / rate : NAN;
    status_.show_sometimes(fmt::format("{} of {} requests, {} under way, {} failed, {:.2f} requests/s, {} chunks/s, {} left",
                                       done_, total, open_, failed_, rate,
                                       static_cast<int64_t>(static_cast<double>(chunks_) / std::max(passed, 1e-9)),
                                       std::isfinite(left) ? fmt::format("{:.0f} s", left) : "?"));
  }
  void send(size_t i, const BenchRequest& request) {
    Json body = request_body(request, flags_, model_, extra_);
    const std::lock_guard<std::mutex> lock(mutex_);
    Record& record = records_[i];
    record.input_len = request.input_len();
    record.start = steady_seconds();
    most_open_ = std::max(most_open_, ++open_);
    StreamHandlers handlers;
    handlers.on_delta = [this, &record](const Delta& delta) { take(record, delta); };
    handlers.on_done = [this, &record](const std::optional<Error>& error) { end(record, error); };
    ids_.push_back(start_completion(client_, api_, flags_.endpoint, body, std::move(handlers)));
  }
  void take(Record& record, const Delta& delta) {
    const double now = steady_seconds();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (delta.has_choice) {
      if (record.chunks++ == 0) {
        record.first = now;
      } else {
        record.itl.push_back(now - record.last);
      }
      record.last = now;
      ++chunks_;
      if (flags_.save_detailed) record.text += delta.text;
    }
    if (delta.completion_tokens) record.output_len = *delta.completion_tokens;
    if (delta.prompt_tokens) record.input_len = *delta.prompt_tokens;
  }
  void end(Record& record, const std::optional<Error>& error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    --open_;
    if (!stopping_) {
      record.done = true;
      record.ok = !error && record.chunks > 0;
      if (!record.ok) record.error = error ? error->message() : "[server] an answer without tokens";
      if (record.output_len == 0) record.output_len = record.chunks;  // a server that tells no usage
      ++done_;
      failed_ += record.ok ? 0 : 1;
    }
    changed_.notify_all();
  }
  void cancel(std::unique_lock<std::mutex>& lock) {
    stopping_ = true;
    for (const uint64_t id : ids_) client_.cancel(id);
    while (open_ > 0) changed_.wait_for(lock, std::chrono::milliseconds(50));
  }

  const Flags& flags_;
  server::HttpClient& client_;
  const ApiServer& api_;
  std::string model_;
  StatusLine status_;
  Json extra_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<Record> records_;
  std::vector<uint64_t> ids_;
  int64_t open_ = 0, most_open_ = 0, done_ = 0, failed_ = 0, chunks_ = 0;
  bool stopping_ = false;
  double begun_ = 0, seconds_ = 0, cpu_seconds_ = 0;
};

// A latency of every completed request (every token for itl), in milliseconds.
struct Metric {
  std::string key, name, heading;
  std::vector<double> ms;
};

std::vector<Metric> metrics_of(const std::vector<Record>& records) {
  std::vector<Metric> metrics{{"ttft", "TTFT", "Time to First Token", {}},
                              {"tpot", "TPOT", "Time per Output Token (excl. 1st token)", {}},
                              {"itl", "ITL", "Inter-token Latency", {}},
                              {"e2el", "E2EL", "End-to-end Latency", {}}};
  for (const Record& record : records) {
    if (!record.ok) continue;
    metrics[0].ms.push_back(1e3 * record.ttft());
    if (record.output_len > 1) metrics[1].ms.push_back(1e3 * record.tpot());
    for (const double gap : record.itl) metrics[2].ms.push_back(1e3 * gap);
    metrics[3].ms.push_back(1e3 * record.latency());
  }
  return metrics;
}

struct Goal {
  std::string metric;
  double ms = 0;
};

std::vector<Goal> parse_goals(const std::vector<std::string>& texts) {
  std::vector<Goal> goals;
  for (const std::string& text : texts) {
    const size_t colon = text.find(':');
    const std::string metric = text.substr(0, colon);
    const double ms = colon == std::string::npos ? -1 : std::atof(text.c_str() + colon + 1);
    if ((metric != "ttft" && metric != "tpot" && metric != "e2el") || !(ms > 0)) {
      invalid("--goodput", "got '{}', need ttft:MS, tpot:MS or e2el:MS", text);
    }
    goals.push_back({metric, ms});
  }
  return goals;
}

bool is_good(const Record& record, const std::vector<Goal>& goals) {
  return std::all_of(goals.begin(), goals.end(), [&](const Goal& goal) {
    const double seconds = goal.metric == "ttft" ? record.ttft() : goal.metric == "tpot" ? record.tpot() : record.latency();
    return 1e3 * seconds <= goal.ms;
  });
}

std::vector<double> parse_percentiles(const std::string& text) {
  std::vector<double> percents;
  for (const std::string& part : split(text)) {
    char* end = nullptr;
    const double percent = std::strtod(part.c_str(), &end);
    if (*end != '\0' || !(percent >= 0 && percent <= 100)) invalid("--metric-percentiles", "got '{}', need 0 to 100", part);
    percents.push_back(percent);
  }
  return percents;
}

void check_metrics(const std::string& text) {
  for (const std::string& part : split(text)) {
    if (part != "ttft" && part != "tpot" && part != "itl" && part != "e2el") {
      invalid("--percentile-metrics", "got '{}', need ttft, tpot, itl or e2el", part);
    }
  }
}

std::string local_time(const char* format) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  std::array<char, 64> text{};
  std::strftime(text.data(), text.size(), format, &parts);
  return text.data();
}

Json detailed(const std::vector<Record>& records, double begun, Json result) {
  Json inputs = Json::array(), outputs = Json::array(), ttfts = Json::array(), itls = Json::array(), starts = Json::array(),
       texts = Json::array(), errors = Json::array();
  for (const Record& record : records) {
    if (!record.done) continue;
    Json gaps = Json::array();
    for (const double gap : record.itl) gaps.push_back(gap);
    inputs.push_back(record.input_len);
    outputs.push_back(record.ok ? record.output_len : 0);
    ttfts.push_back(record.ok ? record.ttft() : 0);
    itls.push_back(std::move(gaps));
    starts.push_back(record.start - begun);
    texts.push_back(record.text);
    errors.push_back(record.error);
  }
  result.set("input_lens", std::move(inputs)).set("output_lens", std::move(outputs)).set("ttfts", std::move(ttfts));
  result.set("itls", std::move(itls)).set("start_times", std::move(starts)).set("generated_texts", std::move(texts));
  result.set("errors", std::move(errors));
  return result;
}

Json summary(const Flags& flags, const std::string& model, const Load& load, const std::vector<Metric>& metrics) {
  int64_t completed = 0, failed = 0, input = 0, output = 0, good = 0;
  const std::vector<Goal> goals = parse_goals(flags.goodput);
  for (const Record& record : load.records()) {
    if (record.done && !record.ok) ++failed;
    if (!record.ok) continue;
    ++completed;
    input += record.input_len;
    output += record.output_len;
    good += is_good(record, goals) ? 1 : 0;
  }
  const auto per_second = [&](int64_t count) { return static_cast<double>(count) / load.seconds(); };
  const double rate = parse_rate(flags.request_rate);
  Json result = Json::object();
  result.set("date", local_time("%Y%m%d-%H%M%S"))
      .set("backend", flags.backend)
      .set("endpoint_type", flags.backend)
      .set("label", flags.label.empty() ? Json() : Json(flags.label))
      .set("model_id", model)
      .set("tokenizer_id", flags.tokenizer.empty() ? model : flags.tokenizer)
      .set("num_prompts", static_cast<int64_t>(load.records().size()))
      .set("request_rate", std::isinf(rate) ? Json("inf") : Json(rate))
      .set("burstiness", flags.burstiness)
      .set("max_concurrency", flags.max_concurrency > 0 ? Json(flags.max_concurrency) : Json())
      .set("duration", load.seconds())
      .set("completed", completed)
      .set("failed", failed)
      .set("total_input_tokens", input)
      .set("total_output_tokens", output)
      .set("request_throughput", per_second(completed))
      .set("request_goodput", goals.empty() ? Json() : Json(per_second(good)))
      .set("output_throughput", per_second(output))
      .set("total_token_throughput", per_second(input + output))
      .set("max_concurrent_requests", load.most_open())
      .set("client_cpu_seconds", load.client_cpu_seconds());
  const std::vector<std::string> selected = split(flags.percentile_metrics);
  for (const Metric& metric : metrics) {
    if (std::find(selected.begin(), selected.end(), metric.key) == selected.end()) continue;
    result.set("mean_" + metric.key + "_ms", mean(metric.ms))
        .set("median_" + metric.key + "_ms", percentile(metric.ms, 50))
        .set("std_" + metric.key + "_ms", standard_deviation(metric.ms));
    for (const double percent : parse_percentiles(flags.metric_percentiles)) {
      result.set(fmt::format("p{:g}_{}_ms", percent, metric.key), percentile(metric.ms, percent));
    }
  }
  return result;
}

std::string report(const Flags& flags, const Json& result, const std::vector<Metric>& metrics) {
  std::string text = fmt::format("{:=^50}\n", " Serving Benchmark Result ");
  const auto line = [&](const std::string& name, const std::string& value) {
    text += fmt::format("{:<40} {:<10}\n", name + ":", value);
  };
  const auto count = [&](const char* key) { return std::to_string(result.get_int(key, 0, "bench")); };
  const auto number = [&](const std::string& key) { return fmt::format("{:.2f}", result.get_double(key, 0, "bench")); };
  line("Successful requests", count("completed"));
  line("Failed requests", count("failed"));
  line("Benchmark duration (s)", number("duration"));
  line("Total input tokens", count("total_input_tokens"));
  line("Total generated tokens", count("total_output_tokens"));
  line("Request throughput (req/s)", number("request_throughput"));
  if (!flags.goodput.empty()) line("Request goodput (req/s)", number("request_goodput"));
  line("Output token throughput (tok/s)", number("output_throughput"));
  line("Total token throughput (tok/s)", number("total_token_throughput"));
  line("Peak concurrent requests", count("max_concurrent_requests"));
  line("CPU of this client (s)", number("client_cpu_seconds"));
  for (const Metric& metric : metrics) {
    if (!result.contains("mean_" + metric.key + "_ms")) continue;
    text += fmt::format("{:-^50}\n", metric.heading);
    line("Mean " + metric.name + " (ms)", number("mean_" + metric.key + "_ms"));
    line("Median " + metric.name + " (ms)", number("median_" + metric.key + "_ms"));
    for (const double percent : parse_percentiles(flags.metric_percentiles)) {
      line(fmt::format("P{:g} {} (ms)", percent, metric.name), number(fmt::format("p{:g}_{}_ms", percent, metric.key)));
    }
  }
  return text + std::string(50, '=') + "\n";
}

void write_plot(const Flags& flags, const Json& result, const std::vector<Metric>& metrics) {
  std::vector<PlotPanel> panels;
  for (const Metric& metric : metrics) {
    if (percentile(metric.ms, 100) <= 0) continue;  // nothing to draw on a logarithmic axis
    PlotPanel panel{metric.heading, "ms", "per cent at most", {cumulative_curve(metric.name, metric.ms)}, {}, true};
    for (const double percent : {50.0, 90.0, 99.0}) {
      const double ms = percentile(metric.ms, percent);
      panel.marks.push_back({ms, fmt::format("p{:g} {:.{}f} ms", percent, ms, ms < 10 ? 2 : ms < 1000 ? 1 : 0)});
    }
    panels.push_back(std::move(panel));
  }
  const std::string rate = flags.request_rate == "inf" ? "all at once" : flags.request_rate + " requests/s asked";
  const std::vector<std::string> notes{
      fmt::format("{}: {} completed, {} failed, {}", result.get_string("model_id", "", "bench"),
                  result.get_int("completed", 0, "bench"), result.get_int("failed", 0, "bench"), rate),
      fmt::format("{:.2f} requests/s, {:.1f} output tokens/s, {:.1f} tokens/s in all",
                  result.get_double("request_throughput", 0, "bench"), result.get_double("output_throughput", 0, "bench"),
                  result.get_double("total_token_throughput", 0, "bench"))};
  write_file_atomic(
      flags.plot,
      svg_plot("Latencies of " + std::to_string(result.get_int("completed", 0, "bench")) + " requests", notes, panels));
}

std::string result_path(const Flags& flags, const std::string& model) {
  std::string name = flags.result_filename;
  if (name.empty()) {
    const std::string base = model.substr(model.find_last_of('/') + 1);
    const std::string concurrency =
        flags.max_concurrency > 0 ? "-concurrency" + std::to_string(flags.max_concurrency) : std::string();
    name = fmt::format("{}-{}qps{}-{}-{}.json", flags.label.empty() ? flags.backend : flags.label, flags.request_rate,
                       concurrency, base, local_time("%Y%m%d-%H%M%S"));
  }
  return flags.result_dir.empty() ? name : join_path(flags.result_dir, name);
}

std::vector<BenchRequest> requests_for(const Flags& flags) {
  std::shared_ptr<const Tokenizer> tokenizer;
  if (!flags.tokenizer.empty()) tokenizer = load_tokenizer(flags.tokenizer);
  // Any model has this many tokens.
  constexpr int64_t kSmallVocabulary = 256;
  const int64_t vocab_size = flags.vocab_size > 0 ? flags.vocab_size : tokenizer ? tokenizer->vocab_size() : kSmallVocabulary;
  std::vector<BenchRequest> requests = make_requests(flags.dataset, {vocab_size, 0, tokenizer.get()});
  for (BenchRequest& request : requests) {
    if (!flags.chat() || !request.prompt.empty()) continue;
    if (!tokenizer) invalid("bench", "random ids have no text for a chat: give --tokenizer, or --backend openai");
    request.prompt = tokenizer->decode(request.prompt_ids, true);
  }
  return requests;
}

int run(const Program& program, Flags flags) {
  // What is wrong with the flags is told before the first request.
  parse_rate(flags.request_rate);
  parse_goals(flags.goodput);
  parse_percentiles(flags.metric_percentiles);
  check_metrics(flags.percentile_metrics);
  if (flags.endpoint.empty()) flags.endpoint = flags.chat() ? "/v1/chat/completions" : "/v1/completions";
  const bool bare_v6 = flags.host.find(':') != std::string::npos && flags.host.front() != '[';
  const std::string host = bare_v6 ? "[" + flags.host + "]" : flags.host;
  const ApiServer api = api_server(flags.url.empty() ? fmt::format("http://{}:{}", host, flags.port) : flags.url,
                                   find_api_key(flags.api_key), flags.headers);
  const std::vector<BenchRequest> requests = requests_for(flags);
  server::HttpClientOptions options;
  options.idle_timeout = std::chrono::milliseconds(static_cast<int64_t>(1e3 * flags.timeout));
  options.connect_timeout = options.idle_timeout;  // a server under load accepts late
  options.max_connections = static_cast<int64_t>(requests.size());
  options.insecure = flags.insecure;
  server::HttpClient client(options);
  const std::string model = flags.model.empty() ? first_model(client, api) : flags.model;
  Load load(program, flags, client, api, model);
  load.warm_up(requests);
  const bool whole = load.run(requests);

  const std::vector<Metric> metrics = metrics_of(load.records());
  Json result = summary(flags, model, load, metrics);
  if (!whole) note(program, "interrupted: what follows is of the requests that were answered before");
  for (const Record& record : load.records()) {
    if (record.error.empty()) continue;
    note(program, "a request failed: " + record.error);
    break;
  }
  if (program.json) {
    write_json(result);
  } else {
    write_out(report(flags, result, metrics));
  }
  if (!flags.plot.empty()) write_plot(flags, result, metrics);
  if (flags.save_result || flags.save_detailed) {
    if (flags.save_detailed) result = detailed(load.records(), load.begun(), std::move(result));
    write_result(result_path(flags, model), result);
  }
  return whole ? 0 : kInterruptedExit;
}

}  // namespace

void add_bench_serve(Program& program, CLI::App* bench) {
  const auto flags = std::make_shared<Flags>();
  flags->dataset.num_prompts = 1000;
  CLI::App* verb = add_verb(
      program, bench, "serve",
      "Load a running server (any that speaks OpenAI's API) with streamed requests: throughput, time to the first token, time "
      "per "
      "token, gaps between tokens, under the names of vllm bench serve. Ctrl-C ends it with what was measured",
      {"pagoda bench serve --port 8000 --dataset-name sharegpt-lengths --num-prompts 200 --ignore-eos",
       "pagoda bench serve --url http://127.0.0.1:8000 --random-input-len 161 --random-output-len 64 --request-rate 4 "
       "--ignore-eos "
       "--num-prompts 100 --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,90,99 --plot latency.svg",
       "pagoda bench serve --backend openai-chat --dataset-name custom --dataset-path prompts.jsonl --max-concurrency 32 "
       "--save-result --result-dir results --goodput ttft:200 --goodput tpot:50"});
  verb->add_option("--backend,--endpoint-type", flags->backend, "Kind of request: completions (openai, vllm) or chat")
      ->capture_default_str()
      ->check(CLI::IsMember({"openai", "vllm", "openai-chat"}));
  verb->add_option("--url,--base-url", flags->url, "http://, https:// or unix:/PATH, instead of host and port");
  verb->add_option("--host", flags->host, "Address of the server")->capture_default_str();
  verb->add_option("--port", flags->port, "Its port")->capture_default_str()->check(CLI::Range(1, 65535));
  verb->add_option("--endpoint", flags->endpoint, "Path (default: /v1/completions, of a chat /v1/chat/completions)");
  verb->add_option("--model", flags->model, "Model in the requests (default: the first that the server lists)");
  verb->add_option("--tokenizer", flags->tokenizer, "Folder of the model's tokenizer: for texts, and for the ids to draw from");
  verb->add_option("--vocab-size", flags->vocab_size, "Random ids lie below this (default: the tokenizer's, else 256)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  add_dataset_flags(verb, flags->dataset);
  verb->add_option("--request-rate", flags->request_rate, "Requests a second, arriving as a Poisson process; inf: all at once")
      ->capture_default_str();
  verb->add_option("--burstiness", flags->burstiness,
                   "Shape of the gamma-distributed gaps between requests; below 1: in bursts")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_option("--max-concurrency", flags->max_concurrency, "Most requests under way; later ones wait")
      ->check(CLI::PositiveNumber);
  verb->add_option("--num-warmups", flags->num_warmups, "Requests before the clock runs")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  verb->add_flag("--ignore-eos", flags->ignore_eos, "Answers go on to their full length (servers that know ignore_eos)");
  verb->add_option("--temperature", flags->temperature, "Temperature of the requests")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--extra-body", flags->extra_body, "JSON object of more fields for every request");
  verb->add_option("--percentile-metrics", flags->percentile_metrics, "Which of ttft, tpot, itl, e2el are reported")
      ->capture_default_str();
  verb->add_option("--metric-percentiles", flags->metric_percentiles, "Percentiles of each, such as 50,90,99")
      ->capture_default_str();
  verb->add_option("--goodput", flags->goodput, "Goals such as ttft:200 tpot:50 e2el:3000 (ms): requests that meet all count");
  verb->add_flag("--save-result", flags->save_result, "Write the results to a JSON file");
  verb->add_flag("--save-detailed", flags->save_detailed, "The same, with every request's lengths, times, text and error");
  verb->add_option("--result-dir", flags->result_dir, "Folder of that file");
  verb->add_option("--result-filename", flags->result_filename, "Its name (default: of label, rate, model and time)");
  verb->add_option("--label", flags->label, "Begins that name (default: the backend)");
  verb->add_option("--plot", flags->plot, "Draw the distributions of the latencies into this SVG file")->type_name("FILE");
  verb->add_option("--header", flags->headers, "NAME=VALUE sent with every request; several may be given");
  verb->add_option("--api-key", flags->api_key, "Key for the server (also OPENAI_API_KEY)");
  verb->add_option("--timeout", flags->timeout, "Seconds without a byte after which a request has failed")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  verb->add_flag("--insecure", flags->insecure, "Take any certificate of an https server");
  verb->callback([&program, flags] { program.run = [&program, flags] { return run(program, *flags); }; });
}

}  // namespace pagoda::cli
