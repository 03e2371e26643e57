// What an engine has done and holds, as numbers.
#pragma once

#include <cstdint>

namespace pagoda {

struct EngineStats {
  int64_t num_running = 0, num_waiting = 0;  // requests
  int64_t num_blocks = 0, num_allocated_blocks = 0;
  int64_t num_held_tokens = 0;   // in allocated blocks, shared ones once
  int64_t num_table_blocks = 0;  // blocks in tables: with sharing more than are allocated
  // Since the start.
  int64_t num_steps = 0, num_preemptions = 0;
  int64_t num_prompt_tokens = 0, num_cached_prompt_tokens = 0;  // of prompts that are computed; found in the cache
  int64_t num_generated_tokens = 0;
};

}  // namespace pagoda
