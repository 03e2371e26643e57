// The engine: requests in, one step at a time, events out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/cache_map.h"
#include "engine/group.h"
#include "engine/request.h"
#include "engine/runner.h"
#include "engine/scheduler.h"
#include "engine/stats.h"
#include "text/tokenizer.h"

namespace pagoda {

struct EngineOptions {
  int64_t max_model_len = 0;  // prompt and output together; 0: what the model was made for, and fits into the cache
  // Elements of the cache: float32, bfloat16, or int8 codes with a scale a token and head (KvPages); none: those of the model's
  // products.
  std::optional<DType> kv_cache_dtype;
  int64_t kv_cache_bytes = 0;  // more than is free now (the container's limit counted) is kOutOfMemory
  // Where kv_cache_bytes is 0: this share of the memory that is free now; 0: 60 %, at most what 2^20 tokens need.
  double memory_utilization = 0;
  int64_t mapped_weight_bytes = 0;  // of the model, in pages of a file: counted as free by the system, and not for the cache
  int64_t max_num_seqs = 256;
  int64_t max_num_batched_tokens = 2048;
  bool enable_prefix_caching = true;
  bool by_priority = false;
  std::optional<uint64_t> seed;  // of requests that bring none: each gets its own, by its number; none: seeds of chance
  // Times a few steps at start (tenths of a second), and bounds chunks of prompts beside decodes by what they cost.
  bool measure_rates = false;
};

// Owned and stepped by one thread. Requests run together as far as pages, max_num_seqs and max_num_batched_tokens allow; what
// comes out of a request does not depend on what else runs. A request that fails (bad logits, larger than the cache) ends with
// an event that carries the error; the engine goes on.
class Engine {
 public:
  // tokenizer may be null: events then carry ids alone, and stop strings are refused.
  Engine(Runtime& runtime, const Model& model, std::shared_ptr<const Tokenizer> tokenizer, const EngineOptions& options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Throws kInvalidInput: empty or too long a prompt, ids outside the vocabulary, parameters that validate() refuses, more
  // sequences than may run. May be called from any thread.
  void check(const Request& request) const;
  // Checks the request and queues it; returns its number.
  uint64_t add(Request request);
  bool has_work() const { return !groups_.empty(); }
  // Computes the next tokens of the requests that run.
  std::vector<Event> step();
  void abort(uint64_t request);  // no further event of it; its pages are free at once

  // Where the time of all steps went, in seconds.
  struct Times {
    double schedule = 0;  // deciding what to compute, moving tables on
    double model = 0;
    double sample = 0;  // tokens and texts out of logits
  };
  const Times& times() const { return times_; }
  // Every sequence that waits or runs, request by request: what it knows and what it holds.
  void visit(const std::function<void(uint64_t request, const SequenceState& sequence)>& fn) const;

  int64_t max_model_len() const { return max_model_len_; }
  int64_t max_num_seqs() const { return options_.max_num_seqs; }
  bool by_priority() const { return options_.by_priority; }
  const KvCache& cache() const { return cache_; }
  const BlockPool& pool() const { return blocks_.pool(); }
  // What the last step computed: from, num_new_tokens and rows_wanted() of its items; their pointers are spent.
  const SchedulerOutput& last_step() const { return last_; }
  EngineStats stats() const;
  CacheMap cache_map() const;
  // False after two steps in a row that ended with a device or internal error.
  bool healthy() const { return failures_ < 2; }

 private:
  void note_times();
  void count_prompts();
  std::vector<uint64_t> pool_prompts(const StepResult& result, std::vector<Event>& events);
  void sample(const StepResult& result, std::vector<Event>& events);
  void choose();
  void hold();
  void fail(uint64_t request, const Error& error, std::vector<Event>& events);
  void finish(uint64_t request);

  Runtime& runtime_;
  const Model& model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  EngineOptions options_;
  KvCache cache_;
  int64_t max_model_len_;
  BlockManager blocks_;
  Runner runner_;
  Scheduler scheduler_;
  std::unordered_map<uint64_t, std::unique_ptr<Group>> groups_;
  std::vector<LogitsScratch> scratch_;  // one a thread
  std::vector<Group::Choice> choices_;
  std::vector<uint64_t> held_;  // requests whose choices wait, the longest first
  SchedulerOutput last_;
  EngineStats totals_;
  Times times_;
  int failures_ = 0;
  uint64_t next_id_ = 1;
};

// Times a few steps of this model on this machine.
StepRates measure_step_rates(Runtime& runtime, const Model& model, DType cache_dtype);

}  // namespace pagoda
