// Runs one step: rows of several sequences through the model over the paged cache.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kv_cache.h"
#include "models/model.h"
#include "ops/runtime.h"

namespace pagoda {

// What the scheduler hands to the runner: plain data. Each item computes the next `num_new_tokens` of its sequence.
struct SchedulerOutput {
  struct Item {
    const std::vector<int32_t>* ids = nullptr;  // all known tokens of the sequence
    BlockTable* table = nullptr;                // pages reserved for table->num_tokens + num_new_tokens positions
    int64_t num_new_tokens = 0;
    bool wants_logits = false;      // of the last new token
    bool wants_all_logits = false;  // of every new token
  };
  std::vector<Item> items;
};

struct StepResult {
  Tensor logits;  // [rows wanted, vocab_size] float32, in order of items
  Tensor hidden;  // [new tokens, hidden_size]
};

class Runner {
 public:
  Runner(Runtime& runtime, const Model& model, KvCache& cache) : runtime_(runtime), model_(model), cache_(cache) {}
  // Stores keys and values, moves table->num_tokens on.
  StepResult run(const SchedulerOutput& step, Observer* observer = nullptr);

 private:
  Runtime& runtime_;
  const Model& model_;
  KvCache& cache_;
};

}  // namespace pagoda
