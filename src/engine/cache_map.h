// Who holds which page of the cache, and how far requests are, at one moment between two steps: for those who watch.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/stats.h"

namespace pagoda {

struct CacheMap {
  static constexpr uint64_t kFree = 0;               // nobody's, holds nothing
  static constexpr uint64_t kCached = ~uint64_t{0};  // nobody's, still known by what it holds

  struct Open {
    uint64_t request = 0;
    int64_t num_prompt_tokens = 0;
    int64_t num_computed_tokens = 0;   // of its longest sequence
    int64_t num_generated_tokens = 0;  // of all its sequences
    int64_t num_sequences = 0;         // that run
    int64_t num_blocks = 0;            // in its tables; 0: it waits
  };
  // [num_blocks] each. The owner is a request's number, of several the least.
  std::vector<uint64_t> owners;
  std::vector<int32_t> references;
  std::vector<Open> requests;  // by number
  EngineStats stats;
};

}  // namespace pagoda
