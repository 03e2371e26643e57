// Bounds on grammars: on what is read, on what it becomes, and on the work of one mask.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace pagoda {

// Memory of several grammars together: automata, masks and transitions, of those that run as of those that are kept.
struct GrammarBudget {
  explicit GrammarBudget(int64_t most_bytes) : most(most_bytes) {}
  bool exceeded() const { return bytes.load(std::memory_order_relaxed) > most; }
  const int64_t most;
  std::atomic<int64_t> bytes{0};
};

// The first group bounds reading: what reaches one is kInvalidInput that names it. The second bounds running. There the choice
// of tokens gets smaller, never wrong; but a text whose next token alone needs max_token_steps fails its request
// (kInvalidInput), since all others wait for it meanwhile.
struct GrammarLimits {
  int64_t max_source_bytes = int64_t{4} << 20;
  int64_t max_depth = 200;                // nesting of the source
  int64_t max_items = int64_t{1} << 20;   // rules and expressions
  int64_t max_states = int64_t{1} << 21;  // of the automaton
  int64_t max_count = int64_t{1} << 30;   // of a repetition

  int64_t max_stack = 1024;                     // nesting of the text: deeper is not offered
  int64_t max_stacks = 4096;                    // ways through calls to read the text so far that are followed at once
  int64_t max_readings = int64_t{1} << 18;      // those times the places they have come to
  int64_t max_mask_steps = 200'000;             // readings advanced for one mask; then the tokens found so far are offered
  int64_t max_token_steps = 400'000;            // ... at most, and for taking one token
  int64_t max_cache_bytes = int64_t{64} << 20;  // masks and transitions of one grammar over one vocabulary
  std::shared_ptr<GrammarBudget> budget;        // of this grammar and others; null: none
};

}  // namespace pagoda
