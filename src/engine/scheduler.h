// Which tokens of which sequences the next step computes, and in which pages. Plain data in, plain data out: no tensor, no
// model.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "engine/block_manager.h"
#include "generate/history.h"

namespace pagoda {

// One sequence: its tokens, and the pages of those that are computed (table.num_tokens of them).
struct SequenceState {
  explicit SequenceState(TokenHistory past) : history(std::move(past)) {}
  TokenHistory history;
  BlockTable table;
  bool running = true;  // false: finished, holds no pages
  bool paused = false;  // runs, but there is no room for it beside the others of its request

  int64_t missing() const { return history.length() - table.num_tokens; }
};

// One request as the scheduler sees it. Its owner appends tokens, forks and ends sequences between steps.
struct RequestState {
  uint64_t id = 0;                     // ascending with arrival
  int64_t priority = 0;                // lower first; the same for all unless the policy is by priority
  int64_t width = 1;                   // the most sequences it will have at once
  BlockHash root;                      // pages are shared among requests of the same root
  int64_t prompt_logits_from = -1;     // >= 0: logits of the prompt's positions from here on are wanted
  bool computes_all = false;           // nothing of the prompt is taken from the cache: the hidden states are wanted
  bool pools = false;                  // no logits are wanted
  bool forget_pages = false;           // no other request will ask for its pages
  bool all_at_once = false;            // its sequences go on together or not at all (beams)
  bool holds = false;                  // logits that it has are not used yet; false again: it was preempted, they are void
  std::list<SequenceState> sequences;  // addresses stay while steps run

  // Kept by the scheduler.
  int64_t num_cached_tokens = -1;  // tokens of the prompt found in the cache when it was first scheduled
  int64_t num_preemptions = 0;
  // Kept by the engine: when it was first scheduled.
  std::optional<std::chrono::steady_clock::time_point> scheduled_at;

  int64_t num_running() const;
  // One of its sequences has ended: the first of those that are paused goes on.
  void resume_one();
};

struct SchedulerOutput {
  // Computes the tokens [from, from + num_new_tokens) of a sequence. Items of one request stand together.
  struct Item {
    const std::vector<int32_t>* ids = nullptr;  // all known tokens of the sequence
    BlockTable* table = nullptr;                // pages reserved for from + num_new_tokens positions
    int64_t from = 0, num_new_tokens = 0;
    bool wants_logits = false;      // of the last new token
    bool wants_all_logits = false;  // of every new token
    RequestState* request = nullptr;
    SequenceState* sequence = nullptr;

    int64_t rows_wanted() const { return wants_all_logits ? num_new_tokens : wants_logits ? 1 : 0; }
  };
  std::vector<Item> items;
  std::vector<BlockCopy> copies;
  std::vector<RequestState*> preempted;  // back among the waiting, without pages
  std::vector<RequestState*> too_large;  // need more pages than there are although nothing else runs: to be removed
  int64_t num_new_tokens() const;
};

// The table of each item moves on by what the step stored.
void advance(const SchedulerOutput& step);

// What a step costs, measured at start: seconds. All zero: unknown.
struct StepRates {
  double step = 0;         // of a step that decodes one sequence
  double decode_row = 0;   // more for each further sequence
  double prefill_row = 0;  // more for each token of a prompt
};

struct SchedulerOptions {
  int64_t max_num_seqs = 256;             // sequences that run at once
  int64_t max_num_batched_tokens = 2048;  // tokens of one step; at least max_num_seqs
  bool by_priority = false;
  int64_t max_prompt_logits = int64_t{1} << 40;  // rows of prompts' logits in one step: they lie outside the cache's memory
  // Known: prompts are computed in chunks such that a step with decodes takes at most twice as long as the decodes alone.
  StepRates rates;
};

// One rule: every sequence's computed tokens chase its known tokens. A new prompt, the next token of a running sequence and the
// return of a preempted one are the same thing; chunks and prefixes found in the cache fall out of it.
//
// Order: by priority, then arrival. Sequences that miss one token come first, then chunks of those that run, then waiting
// requests. Where pages are short the last request in order gives all of its pages back and waits (a request whole). One that
// is alone, and whose sequences have no room together, pauses its last ones until others of them have ended.
class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, BlockManager& blocks);

  // Throws kInvalidInput for a request wider than max_num_seqs. The request must live until remove().
  void add(RequestState* request);
  // Finished, failed or aborted: its pages are free at once.
  void remove(RequestState* request);

  SchedulerOutput schedule();
  // The step was computed: tables move on.
  void commit(const SchedulerOutput& step);
  // The step failed: what it was to store is not there. Its requests must be removed.
  void discard(const SchedulerOutput& step);

  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  const SchedulerOptions& options() const { return options_; }

 private:
  struct Order {
    bool operator()(const RequestState* a, const RequestState* b) const {
      return a->priority != b->priority ? a->priority < b->priority : a->id < b->id;
    }
  };
  using Queue = std::set<RequestState*, Order>;

  int64_t chunk_allowance(int64_t decodes) const;
  bool decode_running(SchedulerOutput& step);
  bool chunk_running(SchedulerOutput& step);
  void start_forks(SchedulerOutput& step);
  void admit_waiting(SchedulerOutput& step);
  bool add_last_tokens(RequestState& request, SchedulerOutput& step);
  enum class Added { kNothing, kSome, kNoPages };
  enum class Which { kBegun, kAll };  // sequences that hold pages already, or all
  Added add_chunks(RequestState& request, Which which, SchedulerOutput& step);
  int64_t chunk_size(const RequestState& request, const SequenceState& sequence, int64_t missing) const;
  bool add_item(RequestState& request, SequenceState& sequence, int64_t count, SchedulerOutput& step);
  bool make_room(RequestState& wanting, SchedulerOutput& step);
  void stop_running(RequestState& request, SchedulerOutput& step);
  bool pause_last(RequestState& request, SchedulerOutput& step);
  void take_back(const std::function<bool(const SchedulerOutput::Item&)>& which, SchedulerOutput& step);
  void give_back(RequestState& request);

  SchedulerOptions options_;
  BlockManager& blocks_;
  Queue waiting_, running_;
  int64_t running_width_ = 0;
  // Left in the step being made: tokens, tokens of chunks, rows of prompts' logits.
  int64_t budget_ = 0, allowance_ = 0, prompt_logits_ = 0;
};

}  // namespace pagoda
