// What an engine has done and holds, as numbers.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace pagoda {

// How many steps computed how many tokens.
struct StepSizes {
  static constexpr std::array<int64_t, 13> kBounds{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
  std::array<int64_t, kBounds.size() + 1> counts{};  // of steps up to each bound and above the one before it; beyond all
  int64_t tokens = 0;
  void add(int64_t size) {
    ++counts[static_cast<size_t>(std::lower_bound(kBounds.begin(), kBounds.end(), size) - kBounds.begin())];
    tokens += size;
  }
};

struct EngineStats {
  int64_t num_running = 0, num_waiting = 0;  // requests
  int64_t num_blocks = 0, num_allocated_blocks = 0;
  int64_t num_held_tokens = 0;   // in allocated blocks, shared ones once
  int64_t num_table_blocks = 0;  // blocks in tables: with sharing more than are allocated
  // Since the start.
  int64_t num_steps = 0, num_preemptions = 0;
  int64_t num_prompt_tokens = 0, num_cached_prompt_tokens = 0;  // of prompts that are computed; found in the cache
  int64_t num_generated_tokens = 0;
  StepSizes step_sizes;
};

}  // namespace pagoda
