// Decodes, chunks, admissions, preemption.
#include "engine/scheduler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "ops/attention.h"

namespace pagoda {

int64_t RequestState::num_running() const {
  return std::count_if(sequences.begin(), sequences.end(), [](const SequenceState& sequence) { return sequence.running; });
}

void RequestState::resume_one() {
  for (SequenceState& sequence : sequences) {
    if (std::exchange(sequence.paused, false)) return;
  }
}

int64_t SchedulerOutput::num_new_tokens() const {
  int64_t total = 0;
  for (const Item& item : items) total += item.num_new_tokens;
  return total;
}

void advance(const SchedulerOutput& step) {
  for (const SchedulerOutput::Item& item : step.items) item.table->num_tokens = item.from + item.num_new_tokens;
}

Scheduler::Scheduler(const SchedulerOptions& options, BlockManager& blocks) : options_(options), blocks_(blocks) {
  if (options.max_num_seqs < 1) invalid("scheduler", "max_num_seqs: got {}, need at least 1", options.max_num_seqs);
  if (options.max_num_batched_tokens < options.max_num_seqs) {
    invalid("scheduler", "max_num_batched_tokens: got {}, need at least max_num_seqs ({})", options.max_num_batched_tokens,
            options.max_num_seqs);
  }
}

void Scheduler::add(RequestState* request) {
  if (request->width > options_.max_num_seqs) {
    invalid("scheduler", "too many sequences in one request: got {}, need at most {} (max_num_seqs)", request->width,
            options_.max_num_seqs);
  }
  if (!options_.by_priority) request->priority = 0;
  waiting_.insert(request);
}

namespace {
bool in_step(const RequestState& request, const SchedulerOutput& step) {
  return std::any_of(step.items.begin(), step.items.end(),
                     [&](const SchedulerOutput::Item& item) { return item.request == &request; });
}

// Every sequence that may go on misses its last token alone.
bool at_last_tokens(const RequestState& request) {
  return std::all_of(request.sequences.begin(), request.sequences.end(), [](const SequenceState& sequence) {
    return !sequence.running || sequence.paused || (sequence.missing() == 1 && !sequence.table.blocks.empty());
  });
}
}  // namespace

void Scheduler::give_back(RequestState& request) {
  request.holds = false;
  for (SequenceState& sequence : request.sequences) {
    blocks_.retract(sequence.table);
    blocks_.release(sequence.table, false);
  }
}

void Scheduler::remove(RequestState* request) {
  if (running_.erase(request) > 0) {
    running_width_ -= request->width;
  } else {
    waiting_.erase(request);
  }
  for (SequenceState& sequence : request->sequences) {
    blocks_.retract(sequence.table);
    blocks_.release(sequence.table, request->forget_pages);
  }
}

// How many tokens of prompts may be computed beside so many decodes.
int64_t Scheduler::chunk_allowance(int64_t decodes) const {
  const StepRates& rates = options_.rates;
  if (decodes == 0 || rates.prefill_row <= 0) return options_.max_num_batched_tokens;
  const double decoding = rates.step + static_cast<double>(decodes - 1) * rates.decode_row;
  // A third is left for what the rates do not know: caches to be read, a machine that others use too.
  const auto tokens = static_cast<int64_t>(std::min(2.0 / 3.0 * decoding / rates.prefill_row, 1e9));
  return std::max(kPageTokens, tokens / kPageTokens * kPageTokens);
}

SchedulerOutput Scheduler::schedule() {
  SchedulerOutput step;
  budget_ = options_.max_num_batched_tokens;
  prompt_logits_ = options_.max_prompt_logits;
  const bool complete = decode_running(step);
  allowance_ = chunk_allowance(static_cast<int64_t>(step.items.size()));
  if (complete && chunk_running(step)) {
    // From here on nobody is preempted, so that pages named in this step can be shared in it.
    start_forks(step);
    // Forks may have found all that they missed but their last tokens.
    if (!step.items.empty() || decode_running(step)) admit_waiting(step);
  }
  const bool stuck = step.items.empty() && !running_.empty() && step.preempted.empty() &&
                     std::none_of(running_.begin(), running_.end(), [](const RequestState* each) { return each->holds; });
  if (stuck) make_room(**running_.rbegin(), step);
  return step;
}

// False: pages were short, somebody was preempted, and nobody new may start in this step.
bool Scheduler::decode_running(SchedulerOutput& step) {
  bool complete = true;
  for (auto next = running_.begin(); next != running_.end();) {
    RequestState& request = **next;
    if (request.holds || !at_last_tokens(request) || request.num_running() > budget_) {
      ++next;
      continue;
    }
    while (!add_last_tokens(request, step)) {
      complete = false;
      if (!make_room(request, step)) break;
    }
    next = running_.upper_bound(&request);
  }
  return complete;
}

bool Scheduler::chunk_running(SchedulerOutput& step) {
  bool complete = true;
  for (auto next = running_.begin(); next != running_.end() && budget_ > 0 && allowance_ > 0;) {
    RequestState& request = **next;
    // Those whose last tokens are computed already are most of them.
    while (!request.holds && !at_last_tokens(request) && add_chunks(request, Which::kBegun, step) == Added::kNoPages) {
      complete = false;
      if (!make_room(request, step)) break;
    }
    next = running_.upper_bound(&request);
  }
  return complete;
}

// Sequences of a request that came back from preemption without pages of their own yet: they find those of the first.
void Scheduler::start_forks(SchedulerOutput& step) {
  for (RequestState* request : running_) {
    if (budget_ == 0 || allowance_ == 0) return;
    const auto waits = [](const SequenceState& sequence) {
      return sequence.running && !sequence.paused && sequence.table.blocks.empty();
    };
    if (std::none_of(request->sequences.begin(), request->sequences.end(), waits)) continue;
    if (add_chunks(*request, Which::kAll, step) == Added::kNoPages) return;
  }
}

void Scheduler::admit_waiting(SchedulerOutput& step) {
  while (!waiting_.empty() && budget_ > 0 && allowance_ > 0) {
    RequestState& request = **waiting_.begin();
    if (running_width_ + request.width > options_.max_num_seqs) return;
    const int64_t cached_before = request.num_cached_tokens;
    Added added = add_chunks(request, Which::kAll, step);
    if (added == Added::kNothing && at_last_tokens(request) && request.num_running() <= budget_) {
      added = add_last_tokens(request, step) ? Added::kSome : Added::kNoPages;
    }
    if (!in_step(request, step)) {
      give_back(request);
      request.num_cached_tokens = cached_before;
      if (!running_.empty()) return;
      // Not even its first chunk fits into the empty cache.
      waiting_.erase(&request);
      step.too_large.push_back(&request);
      continue;
    }
    waiting_.erase(&request);
    running_.insert(&request);
    running_width_ += request.width;
    if (added == Added::kNoPages) return;
  }
}

// The last token of each sequence, in one step: all or none.
bool Scheduler::add_last_tokens(RequestState& request, SchedulerOutput& step) {
  const size_t items = step.items.size();
  const int64_t budget = budget_;
  for (SequenceState& sequence : request.sequences) {
    if (!sequence.running || sequence.paused || add_item(request, sequence, 1, step)) continue;
    step.items.resize(items);
    budget_ = budget;
    return false;
  }
  return true;
}

// As much as the step has room for of what the request misses.
Scheduler::Added Scheduler::add_chunks(RequestState& request, Which which, SchedulerOutput& step) {
  Added added = Added::kNothing;
  for (SequenceState& sequence : request.sequences) {
    const bool begun = !sequence.table.blocks.empty();
    const auto its = [&](const SchedulerOutput::Item& item) { return item.sequence == &sequence; };
    if (!sequence.running || sequence.paused || std::any_of(step.items.begin(), step.items.end(), its)) continue;
    if (!begun && which == Which::kBegun) return added;
    if (!begun && request.prompt_logits_from < 0 && !request.computes_all) {
      // The last known token is computed in any case: its logits are wanted.
      const int64_t found =
          blocks_.find_prefix(sequence.table, request.root, sequence.history.ids(), sequence.history.length() - 1);
      if (request.num_cached_tokens < 0) request.num_cached_tokens = std::min(found, sequence.history.prompt_length());
    }
    // Beams, and forks that come back: each is brought to its last token first, which is then computed for all together.
    const int64_t missing = sequence.missing() - (request.sequences.size() > 1 ? 1 : 0);
    if (missing == 0) continue;
    const int64_t count = chunk_size(request, sequence, missing);
    if (count == 0) return added;
    if (!add_item(request, sequence, count, step)) return Added::kNoPages;
    allowance_ -= count;
    added = Added::kSome;
    if (count < missing) return added;  // the next sequence finds in the cache what this one stores
  }
  return added;
}

// Logits of positions that a request had before a preemption are not made again.
int64_t Scheduler::chunk_size(const RequestState& request, const SequenceState& sequence, int64_t missing) const {
  const int64_t from = sequence.table.num_tokens, count = std::min({missing, budget_, allowance_});
  const bool scores = request.prompt_logits_from >= 0 && from < sequence.history.prompt_length() - 1;
  return scores ? std::min(count, std::max(prompt_logits_, request.prompt_logits_from - from)) : count;
}

bool Scheduler::add_item(RequestState& request, SequenceState& sequence, int64_t count, SchedulerOutput& step) {
  BlockTable& table = sequence.table;
  const int64_t from = table.num_tokens, to = from + count;
  if (!blocks_.reserve(table, to, step.copies)) return false;
  // Named before they are filled: in this very step others may share them, since every layer stores its keys and values before
  // it reads any.
  blocks_.publish(table, request.root, sequence.history.ids(), to);
  const int64_t prompt = sequence.history.prompt_length();
  const bool last = to == sequence.history.length() && !request.pools;
  const bool all = request.prompt_logits_from >= 0 && from < prompt - 1 && to > request.prompt_logits_from;
  step.items.push_back({&sequence.history.ids(), &table, from, count, last, all, &request, &sequence});
  budget_ -= count;
  if (all) prompt_logits_ -= count;
  return true;
}

// Takes the pages of the last request in order. False: that was the one that wants them.
bool Scheduler::make_room(RequestState& wanting, SchedulerOutput& step) {
  RequestState& victim = **running_.rbegin();
  const bool alone = running_.size() == 1;
  if (alone && pause_last(victim, step)) return true;
  stop_running(victim, step);
  if (alone) {
    step.too_large.push_back(&victim);
  } else {
    waiting_.insert(&victim);
    ++victim.num_preemptions;
    step.preempted.push_back(&victim);
  }
  return &victim != &wanting;
}

// False: it has but one sequence that goes on.
bool Scheduler::pause_last(RequestState& request, SchedulerOutput& step) {
  if (request.all_at_once) return false;
  const auto goes_on = [](const SequenceState& sequence) { return sequence.running && !sequence.paused; };
  if (std::count_if(request.sequences.begin(), request.sequences.end(), goes_on) < 2) return false;
  SequenceState& last = *std::find_if(request.sequences.rbegin(), request.sequences.rend(), goes_on);
  take_back([&](const SchedulerOutput::Item& item) { return item.sequence == &last; }, step);
  blocks_.retract(last.table);
  blocks_.release(last.table, false);
  last.paused = true;
  ++request.num_preemptions;
  return true;
}

// Items of a step are not to be computed after all.
void Scheduler::take_back(const std::function<bool(const SchedulerOutput::Item&)>& which, SchedulerOutput& step) {
  for (const SchedulerOutput::Item& item : step.items) {
    if (!which(item)) continue;
    budget_ += item.num_new_tokens;
    if (item.wants_all_logits) prompt_logits_ += item.num_new_tokens;
  }
  step.items.erase(std::remove_if(step.items.begin(), step.items.end(), which), step.items.end());
}

void Scheduler::stop_running(RequestState& request, SchedulerOutput& step) {
  take_back([&](const SchedulerOutput::Item& item) { return item.request == &request; }, step);
  give_back(request);
  running_.erase(&request);
  running_width_ -= request.width;
}

void Scheduler::commit(const SchedulerOutput& step) {
  advance(step);
  for (const SchedulerOutput::Item& item : step.items) {
    blocks_.trim(*item.table);
    if (item.wants_all_logits) {
      item.request->prompt_logits_from = std::max(item.request->prompt_logits_from, item.from + item.num_new_tokens);
    }
  }
}

void Scheduler::discard(const SchedulerOutput& step) {
  for (const SchedulerOutput::Item& item : step.items) blocks_.retract(*item.table);
}

}  // namespace pagoda
