// What the benchmark verbs share: a status line, figures of a sample, the machine's measured limits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "cli/step_cost.h"

namespace pagoda {
class Runtime;
}

namespace pagoda::cli {

void add_bench_latency(Program& program, Verb bench);
void add_bench_encoder(Program& program, Verb bench);
void add_bench_throughput(Program& program, Verb bench);
void add_bench_serve(Program& program, Verb bench);
void add_bench_lengths(Program& program, Verb bench);

// One status line on a terminal's stderr.
class StatusLine {
 public:
  explicit StatusLine(const Program& program);
  ~StatusLine() { show(""); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;
  void show(const std::string& text) const;
  // The same, unless one was drawn less than a tenth of a second ago.
  void show_sometimes(const std::string& text);

 private:
  bool active_;
  double drawn_ = 0;
};

// As numpy.percentile: linear between the two nearest. 0 of nothing.
double percentile(std::vector<double> values, double percent);
double mean(const std::vector<double>& values);                // 0 of nothing
double standard_deviation(const std::vector<double>& values);  // of the whole set, as numpy.std

// Rates of this machine, measured several times: its speed drifts with its other load, and the best counts.
class MachineLimits {
 public:
  MachineLimits(Runtime& runtime, DType dtype);
  void measure();
  const MachineRates& rates() const { return rates_; }

 private:
  Runtime& runtime_;
  DType dtype_;
  int64_t probe_bytes_;
  MachineRates rates_;
};

// The least time by the machine's rates (0: not known) of what took `best`: never more, since a rate that was reached is a
// lower bound of what the machine gives, whatever other load it had when it was measured.
double limit_seconds(double least, double best);
Json known(double value);  // null for 0: not measured
// One object, indented, as the results of other benchmarks are.
void write_result(const std::string& path, const Json& result);

}  // namespace pagoda::cli
