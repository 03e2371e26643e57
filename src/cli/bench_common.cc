// pagoda bench: the parent of its verbs, and what they share.
#include "cli/bench_common.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/clock.h"
#include "base/cpu_info.h"
#include "base/file.h"
#include "base/links.h"
#include "ops/machine.h"
#include "ops/runtime.h"

namespace pagoda::cli {

StatusLine::StatusLine(const Program& program) : active_(!program.quiet && ::isatty(STDERR_FILENO) != 0) {}

void StatusLine::show(const std::string& text) const {
  if (!active_) return;
  fmt::print(stderr, "\r\x1b[K{}", text);
  std::fflush(stderr);
}

void StatusLine::show_sometimes(const std::string& text) {
  if (!active_ || steady_seconds() - drawn_ < 0.1) return;
  drawn_ = steady_seconds();
  show(text);
}

double percentile(std::vector<double> values, double percent) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = percent / 100 * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - std::floor(at)) * (values[above] - values[below]);
}

double mean(const std::vector<double>& values) {
  if (values.empty()) return 0;
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double standard_deviation(const std::vector<double>& values) {
  if (values.empty()) return 0;
  const double middle = mean(values);
  double sum = 0;
  for (const double value : values) sum += (value - middle) * (value - middle);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

MachineLimits::MachineLimits(Runtime& runtime, DType dtype) : runtime_(runtime), dtype_(dtype) {
  // Well beyond the caches, and a quarter of what is free at most: measuring must not push the model out of memory.
  const int64_t beyond_caches = std::clamp<int64_t>(8 * runtime.cpu().l3_bytes, int64_t{256} << 20, int64_t{1} << 30);
  probe_bytes_ = std::min(beyond_caches, std::max<int64_t>(detect_cpu().memory_available / 4, int64_t{64} << 20));
}

void MachineLimits::measure() {
  const EndAtOnce measuring;  // for seconds, and what was timed before is lost either way
  rates_.read_bytes_per_s = std::max(rates_.read_bytes_per_s, measure_read_rate(runtime_, probe_bytes_));
  rates_.flops_per_s = std::max(rates_.flops_per_s, measure_flop_rate(runtime_, dtype_));
}

double limit_seconds(double least, double best) { return best > 0 ? std::min(least, best) : least; }

Json known(double value) { return value > 0 ? Json(value) : Json(); }

void write_result(const std::string& path, const Json& result) { write_named_file(path, result.pretty() + "\n"); }

void add_bench(Program& program) {
  const Verb bench = program.app->add_subcommand("bench", "Measure speed beside the machine's own limits");
  bench->require_subcommand(1);
  add_bench_latency(program, bench);
  add_bench_encoder(program, bench);
  add_bench_throughput(program, bench);
  add_bench_serve(program, bench);
  add_bench_lengths(program, bench);
}

}  // namespace pagoda::cli
