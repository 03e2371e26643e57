// The engine: requests in, one step at a time, events out.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/request.h"
#include "engine/runner.h"
#include "text/tokenizer.h"

namespace pagoda {

struct EngineOptions {
  int64_t max_model_len = 0;         // prompt and output together; 0: what the model was made for
  int64_t max_prefill_tokens = 512;  // prompt tokens of one step: a longer prompt is computed in chunks
  int64_t kv_cache_bytes = 0;        // 0: 60 % of the memory that is free now, at most what 2^20 tokens need
};

class GroupState;  // one request being worked on

// Owned and stepped by one thread. Requests are served one after the other, all sequences of one request together.
// A request that fails (bad logits, no page left) ends with an event that carries the error; the engine goes on.
class Engine {
 public:
  // tokenizer may be null: events then carry ids alone, and stop strings are refused.
  Engine(Runtime& runtime, const Model& model, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Checks the request and queues it; returns its number. kInvalidInput: empty or too long a prompt, ids outside the
  // vocabulary, parameters that validate() refuses.
  uint64_t add(Request request);
  bool has_work() const { return active_ != nullptr || !waiting_.empty(); }
  // Computes the next tokens of the current request.
  std::vector<Event> step();
  void abort(uint64_t request);  // no further event of it; its pages are free at once

  int64_t max_model_len() const { return max_model_len_; }
  const KvCache& cache() const { return cache_; }

 private:
  void start_next();
  const Model& model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  EngineOptions options_;
  int64_t max_model_len_;
  KvCache cache_;
  Runner runner_;
  std::deque<std::pair<uint64_t, Request>> waiting_;
  std::unique_ptr<GroupState> active_;
  uint64_t next_id_ = 1;
};

}  // namespace pagoda
