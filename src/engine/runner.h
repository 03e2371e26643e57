// Runs one step: rows of several sequences through the model over the paged cache.
#pragma once

#include "engine/kv_cache.h"
#include "engine/scheduler.h"
#include "models/model.h"
#include "ops/runtime.h"

namespace pagoda {

struct StepResult {
  Tensor logits;  // [rows wanted, vocab_size] float32, in order of items
  Tensor hidden;  // [new tokens, hidden_size]
};

class Runner {
 public:
  Runner(Runtime& runtime, const Model& model, KvCache& cache) : runtime_(runtime), model_(model), cache_(cache) {}
  // Copies pages, then computes and stores. Tables stay as they are: advance() moves them on.
  StepResult run(const SchedulerOutput& step, Observer* observer = nullptr);

 private:
  Runtime& runtime_;
  const Model& model_;
  KvCache& cache_;
};

}  // namespace pagoda
