// The load of pagoda bench serve: requests sent at their times, and what their clients saw.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/bench_common.h"
#include "cli/bench_requests.h"
#include "cli/openai_client.h"

namespace pagoda::cli {

struct ServeBenchFlags {
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

// --request-rate: requests a second, infinity for "inf". Throws kInvalidInput.
double parse_rate(const std::string& text);

// One request as its client saw it; seconds of steady_seconds().
struct ServeRecord {
  double start = 0, first = 0, last = 0;
  int64_t input_len = 0, output_len = 0, chunks = 0;
  std::vector<double> itl;
  std::string text;
  std::optional<Error> error;
  bool done = false, ok = false;

  double ttft() const { return first - start; }
  double latency() const { return last - start; }
  double tpot() const { return output_len > 1 ? (latency() - ttft()) / static_cast<double>(output_len - 1) : 0; }
};

// Sends requests at their times and records what comes.
class ServeLoad {
 public:
  ServeLoad(const Program& program, const ServeBenchFlags& flags, server::HttpClient& client, const ApiServer& api,
            std::string model);

  // One request before the clock runs: a wrong address or flag is told at once.
  void warm_up(const std::vector<BenchRequest>& requests);

  // False when interrupted: what is under way is cancelled, and counts neither as completed nor as failed.
  bool run(const std::vector<BenchRequest>& requests);

  const std::vector<ServeRecord>& records() const { return records_; }
  double seconds() const { return seconds_; }
  double client_cpu_seconds() const { return cpu_seconds_; }
  int64_t most_open() const { return most_open_; }
  double begun() const { return begun_; }
  StatusLine& status() { return status_; }

 private:
  bool wait_until(double time);
  bool wait_for_room();
  void wait(std::unique_lock<std::mutex>& lock, double seconds);
  void show();
  void send(size_t i, const BenchRequest& request);
  void take(ServeRecord& record, const Delta& delta);
  void end(ServeRecord& record, const std::optional<Error>& error);
  void cancel(std::unique_lock<std::mutex>& lock);

  const ServeBenchFlags& flags_;
  server::HttpClient& client_;
  const ApiServer& api_;
  std::string model_;
  StatusLine status_;
  Json extra_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<ServeRecord> records_;
  std::vector<uint64_t> ids_;
  int64_t open_ = 0, most_open_ = 0, done_ = 0, failed_ = 0, chunks_ = 0;
  bool stopping_ = false;
  double begun_ = 0, seconds_ = 0, cpu_seconds_ = 0;
};

}  // namespace pagoda::cli
