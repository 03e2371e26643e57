// One HTTP request for vectors (embeddings; room: scores, classes): its inputs through the engine a few at a time, one answer.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/async_engine.h"
#include "server/http_server.h"
#include "server/metrics.h"

namespace pagoda::server {

struct PoolingResult {
  std::vector<std::vector<float>> vectors;  // in order of the inputs
  int64_t prompt_tokens = 0, cached_tokens = 0;
};

class PoolingJob : public std::enable_shared_from_this<PoolingJob> {
 public:
  // Makes the answer's JSON body. Called once, on the connection's thread (HttpResponse::post).
  using Write = std::function<std::string(const PoolingResult&)>;

  PoolingJob(AsyncEngine& engine, Metrics& metrics, std::vector<Request> requests, Write write,
             std::shared_ptr<HttpResponse> response);
  // Checks all inputs first (throws kInvalidInput). An engine that has no room for a single one is answered with 503 and
  // Retry-After; where it has room for some, the others follow as these end.
  void start();

 private:
  void submit_more();
  void on_event(size_t input, const Event& event);
  void take(size_t input, const Event& event);
  void fail(const Error& error);
  void stop(std::string_view reason);
  void cancel();

  AsyncEngine& engine_;
  Metrics& metrics_;
  Write write_;
  std::shared_ptr<HttpResponse> response_;
  std::mutex mutex_;  // guards what follows
  std::vector<Request> requests_;
  std::vector<RequestTimer> timers_;
  std::vector<uint64_t> tickets_;  // of those submitted
  PoolingResult result_;
  size_t next_ = 0, under_way_ = 0;
  bool over_ = false;
};

}  // namespace pagoda::server
