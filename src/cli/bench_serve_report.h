// What pagoda bench serve makes of its records: figures under the names of vllm bench serve, a table, a plot.
#pragma once

#include <string>
#include <vector>

#include "cli/bench_serve_load.h"

namespace pagoda::cli {

// A latency of every completed request (every token for itl), in milliseconds.
struct ServeMetric {
  std::string key, name, heading;
  std::vector<double> ms;
};

std::vector<ServeMetric> serve_metrics(const std::vector<ServeRecord>& records);
// Throws kInvalidInput for flags of the report that are wrong.
void check_report_flags(const ServeBenchFlags& flags);
Json serve_summary(const ServeBenchFlags& flags, const std::string& model, const ServeLoad& load,
                   const std::vector<ServeMetric>& metrics);
std::string serve_table(const ServeBenchFlags& flags, const Json& summary, const std::vector<ServeMetric>& metrics);
void write_serve_plot(const ServeBenchFlags& flags, const Json& summary, const std::vector<ServeMetric>& metrics);
// The summary with every request's lengths, times, text and error.
Json with_records(Json summary, const ServeLoad& load);
// Of --save-result.
std::string serve_result_path(const ServeBenchFlags& flags, const std::string& model);

}  // namespace pagoda::cli
