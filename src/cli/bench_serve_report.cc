// Figures of records, and their forms.
#include "cli/bench_serve_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <ctime>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"
#include "base/links.h"
#include "metrics/svg_plot.h"

namespace pagoda::cli {

namespace {

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (const std::string_view part : split_at(text, ',')) {
    if (!part.empty()) parts.emplace_back(part);
  }
  return parts;
}

struct ServeGoal {
  std::string metric;
  double ms = 0;
};

std::vector<ServeGoal> parse_goals(const std::vector<std::string>& texts) {
  std::vector<ServeGoal> goals;
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

bool is_good(const ServeRecord& record, const std::vector<ServeGoal>& goals) {
  return std::all_of(goals.begin(), goals.end(), [&](const ServeGoal& goal) {
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

}  // namespace

std::vector<ServeMetric> serve_metrics(const std::vector<ServeRecord>& records) {
  std::vector<ServeMetric> metrics{{"ttft", "TTFT", "Time to First Token", {}},
                                   {"tpot", "TPOT", "Time per Output Token (excl. 1st token)", {}},
                                   {"itl", "ITL", "Inter-token Latency", {}},
                                   {"e2el", "E2EL", "End-to-end Latency", {}}};
  for (const ServeRecord& record : records) {
    if (!record.ok) continue;
    metrics[0].ms.push_back(1e3 * record.ttft());
    if (record.output_len > 1) metrics[1].ms.push_back(1e3 * record.tpot());
    for (const double gap : record.itl) metrics[2].ms.push_back(1e3 * gap);
    metrics[3].ms.push_back(1e3 * record.latency());
  }
  return metrics;
}

void check_report_flags(const ServeBenchFlags& flags) {
  parse_goals(flags.goodput);
  parse_percentiles(flags.metric_percentiles);
  check_metrics(flags.percentile_metrics);
}

Json with_records(Json result, const ServeLoad& load) {
  Json inputs = Json::array(), outputs = Json::array(), ttfts = Json::array(), itls = Json::array(), starts = Json::array(),
       texts = Json::array(), errors = Json::array();
  for (const ServeRecord& record : load.records()) {
    if (!record.done) continue;
    Json gaps = Json::array();
    for (const double gap : record.itl) gaps.push_back(gap);
    inputs.push_back(record.input_len);
    outputs.push_back(record.ok ? record.output_len : 0);
    ttfts.push_back(record.ok ? record.ttft() : 0);
    itls.push_back(std::move(gaps));
    starts.push_back(record.start - load.begun());
    texts.push_back(record.text);
    errors.push_back(record.error ? record.error->message() : "");
  }
  result.set("input_lens", std::move(inputs)).set("output_lens", std::move(outputs)).set("ttfts", std::move(ttfts));
  result.set("itls", std::move(itls)).set("start_times", std::move(starts)).set("generated_texts", std::move(texts));
  result.set("errors", std::move(errors));
  return result;
}

Json serve_summary(const ServeBenchFlags& flags, const std::string& model, const ServeLoad& load,
                   const std::vector<ServeMetric>& metrics) {
  int64_t completed = 0, failed = 0, input = 0, output = 0, good = 0;
  const std::vector<ServeGoal> goals = parse_goals(flags.goodput);
  for (const ServeRecord& record : load.records()) {
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
  for (const ServeMetric& metric : metrics) {
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

std::string serve_table(const ServeBenchFlags& flags, const Json& result, const std::vector<ServeMetric>& metrics) {
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
  for (const ServeMetric& metric : metrics) {
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

void write_serve_plot(const ServeBenchFlags& flags, const Json& result, const std::vector<ServeMetric>& metrics) {
  std::vector<PlotPanel> panels;
  for (const ServeMetric& metric : metrics) {
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
  write_named_file(flags.plot, svg_plot("Latencies of " + std::to_string(result.get_int("completed", 0, "bench")) + " requests",
                                        notes, panels));
}

std::string serve_result_path(const ServeBenchFlags& flags, const std::string& model) {
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

}  // namespace pagoda::cli
