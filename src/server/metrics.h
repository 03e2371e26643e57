// What the server counts and times, under the names and labels of vLLM's Prometheus metrics, so that its dashboards work.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda {
struct EngineStats;
}

namespace pagoda::server {

// The times of one prompt's way through the engine. Owned by its job; touched under the job's lock.
struct RequestTimer {
  using Clock = std::chrono::steady_clock;
  RequestTimer(int64_t prompt, int64_t n, int64_t max)
      : arrival(Clock::now()), prompt_tokens(prompt), max_tokens(max), sequences(static_cast<size_t>(n)) {}
  struct Sequence {
    Clock::time_point first, last;
    int64_t generated = 0;
    bool ended = false;
  };
  Clock::time_point arrival, scheduled{};  // ... by the engine; its zero: not yet
  int64_t prompt_tokens, max_tokens;
  std::vector<Sequence> sequences;  // each has gaps of its own between its tokens
  bool begun = false;
  size_t num_ended = 0;
};

// Cumulative counts below bounds, as Prometheus has them.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value);
  // Of observations that others have counted: one number more than there are bounds.
  Histogram(std::vector<double> bounds, std::vector<int64_t> counts, double sum);
  // Lines of the text format.
  void write(std::string& out, std::string_view name, const std::string& labels) const;
  double sum() const { return sum_; }
  int64_t count() const { return count_; }

 private:
  std::vector<double> bounds_;
  std::vector<int64_t> counts_;
  double sum_ = 0;
  int64_t count_ = 0;
};

// Since the start: how often, and seconds in all.
struct Latency {
  int64_t count = 0;
  double seconds = 0;
};

// Thread-safe.
class Metrics {
 public:
  explicit Metrics(const std::string& model_name);

  void tokens(RequestTimer& timer, size_t sequence, int64_t count);  // `count` more tokens of a sequence came
  // One of the request's answers ended. reason: "stop", "length", "abort", "error". Each counts, as vLLM has it, and counts
  // once.
  void finish(RequestTimer& timer, size_t sequence, std::string_view reason);
  void finish(RequestTimer& timer, std::string_view reason);  // all that have not ended yet
  void count_rejection();

  Latency first_token() const;
  Latency inter_token() const;
  // The page that is scraped, in Prometheus' text format 0.0.4.
  std::string text(const EngineStats& stats, int64_t kv_block_size) const;

 private:
  void finish_locked(RequestTimer& timer, size_t sequence, std::string_view reason);
  mutable std::mutex mutex_;
  std::string labels_;
  std::map<std::string, int64_t, std::less<>> finished_;
  int64_t rejections_ = 0;
  Histogram first_token_, inter_token_, per_output_token_, end_to_end_, queue_, prefill_, decode_, inference_, prompt_tokens_,
      generation_tokens_, max_generation_tokens_, params_n_, params_max_tokens_;
};

}  // namespace pagoda::server
