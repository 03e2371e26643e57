// The scheduler without a model: a simulated cache shows that every sequence would read exactly its own history.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/error.h"
#include "base/random.h"
#include "ops/attention.h"
#include "tests/share.h"

namespace pagoda {
namespace {

// Stands for the model: a slot of a page holds a hash of all tokens up to its own, as keys and values depend on them.
class FakeCache {
 public:
  explicit FakeCache(int64_t num_blocks) : slots_(static_cast<size_t>(num_blocks * kPageTokens)) {}

  void run(const SchedulerOutput& step) {
    for (const BlockCopy& copy : step.copies) {
      std::copy_n(slots_.begin() + copy.from * kPageTokens, kPageTokens, slots_.begin() + copy.to * kPageTokens);
    }
    for (const SchedulerOutput::Item& item : step.items) {
      uint64_t hash = 0;
      const int64_t to = item.from + item.num_new_tokens;
      ASSERT_LE(to, static_cast<int64_t>(item.ids->size()));
      for (int64_t position = 0; position < to; ++position) {
        hash = mix(hash, (*item.ids)[static_cast<size_t>(position)]);
        if (position >= item.from) at(*item.table, position) = hash;
      }
    }
    // Only now is anything read, as in a layer.
    for (const SchedulerOutput::Item& item : step.items) {
      uint64_t hash = 0;
      for (int64_t position = 0; position < item.from + item.num_new_tokens; ++position) {
        hash = mix(hash, (*item.ids)[static_cast<size_t>(position)]);
        if (item.table->blocks[static_cast<size_t>(position / kPageTokens)] < 0) continue;
        ASSERT_EQ(at(*item.table, position), hash) << "position " << position << " of request " << item.request->id;
      }
    }
  }

 private:
  static uint64_t mix(uint64_t hash, int32_t token) {
    hash = (hash ^ static_cast<uint64_t>(token)) * 0x9E3779B97F4A7C15u;
    return hash ^ (hash >> 29);
  }
  uint64_t& at(const BlockTable& table, int64_t position) {
    const int64_t block = table.blocks[static_cast<size_t>(position / kPageTokens)];
    return slots_[static_cast<size_t>(block * kPageTokens + position % kPageTokens)];
  }
  std::vector<uint64_t> slots_;
};

std::vector<int32_t> prompt_of(int64_t length, int32_t first) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < length; ++i) ids.push_back(first + static_cast<int32_t>(i % 50));
  return ids;
}

// A request with its plan: how long its answer gets, and whether its sequences change parents at each step as beams do.
struct Plan {
  RequestState state;
  int64_t new_tokens = 1;
  bool beams = false;
  bool forked = false;
  int64_t admitted_at = -1;
  bool done = false;
};

class Simulation {
 public:
  Simulation(int64_t num_blocks, const SchedulerOptions& options, int64_t window = 0)
      : blocks_(num_blocks, window), cache_(num_blocks), scheduler_(options, blocks_) {}

  Plan& add(std::vector<int32_t> prompt, int64_t new_tokens, int64_t width = 1, bool beams = false, bool shares = true,
            int64_t priority = 0) {
    plans_.push_back(std::make_unique<Plan>());
    Plan& plan = *plans_.back();
    plan.state.id = plans_.size();
    plan.state.width = width;
    plan.state.priority = priority;
    plan.state.forget_pages = !shares;
    plan.state.root = blocks_.hasher().root(shares ? "" : "alone " + std::to_string(plan.state.id));
    plan.state.sequences.emplace_back(TokenHistory(std::move(prompt)));
    plan.new_tokens = new_tokens;
    plan.beams = beams;
    plan.state.all_at_once = beams;
    by_id_[plan.state.id] = &plan;
    scheduler_.add(&plan.state);
    return plan;
  }

  void abort(Plan& plan) {
    if (plan.done) return;
    plan.done = true;
    scheduler_.remove(&plan.state);
  }

  // One step; false when nothing is left to do.
  bool step() {
    last_ = scheduler_.schedule();
    for (RequestState* request : last_.too_large) {
      ++too_large_;
      abort(*by_id_.at(request->id));
    }
    if (last_.items.empty()) return scheduler_.num_running() + scheduler_.num_waiting() > 0;
    EXPECT_LE(last_.num_new_tokens(), scheduler_.options().max_num_batched_tokens);
    cache_.run(last_);
    scheduler_.commit(last_);
    std::map<uint64_t, int64_t> logits;
    for (const SchedulerOutput::Item& item : last_.items) logits[item.request->id] += item.wants_logits ? 1 : 0;
    for (const auto& [id, count] : logits) {
      Plan& plan = *by_id_.at(id);
      if (plan.admitted_at < 0) plan.admitted_at = num_steps_;
      if (count > 0) extend(plan, count);
    }
    ++num_steps_;
    return true;
  }

  void finish_all() {
    int64_t idle = 0;
    while (step() && !::testing::Test::HasFatalFailure()) {
      idle = last_.items.empty() ? idle + 1 : 0;
      ASSERT_LT(idle, 3) << "nothing moves";
      ASSERT_LT(num_steps_, 1000000);
    }
    for (const auto& plan : plans_) EXPECT_TRUE(plan->done) << plan->state.id;
    EXPECT_EQ(blocks_.pool().num_free(), blocks_.pool().num_blocks());
  }

  BlockManager blocks_;
  FakeCache cache_;
  Scheduler scheduler_;
  SchedulerOutput last_;
  std::vector<std::unique_ptr<Plan>> plans_;
  std::map<uint64_t, Plan*> by_id_;
  int64_t num_steps_ = 0, too_large_ = 0;

 private:
  void extend(Plan& plan, int64_t rows) {
    std::list<SequenceState>& sequences = plan.state.sequences;
    if (!plan.forked) {
      plan.forked = true;
      for (int64_t i = 1; i < plan.state.width; ++i) {
        sequences.emplace_back(sequences.front().history);
        sequences.back().table = blocks_.fork(sequences.front().table);
      }
    } else {
      EXPECT_EQ(rows, plan.state.num_running()) << "the last tokens of a request's sequences are computed together";
    }
    if (plan.beams && plan.state.width > 1) change_parents(plan);
    int32_t index = 0;
    for (SequenceState& sequence : sequences) {
      ++index;
      if (!sequence.running) continue;
      // Forks differ from their first token on, and end at different lengths.
      const auto token = static_cast<int32_t>(1000 * index + sequence.history.output_length());
      sequence.history.append(token);
      const int64_t stop = plan.beams ? plan.new_tokens : std::max<int64_t>(1, plan.new_tokens - index + 1);
      if (sequence.history.output_length() < stop) continue;
      sequence.running = false;
      blocks_.release(sequence.table, plan.state.forget_pages);
    }
    if (plan.state.num_running() == 0) abort(plan);
  }

  void change_parents(Plan& plan) {
    std::list<SequenceState>& sequences = plan.state.sequences;
    const RandomStream random(plan.state.id, 7);
    std::vector<SequenceState*> parents;
    for (SequenceState& sequence : sequences) parents.push_back(&sequence);
    std::list<SequenceState> next;
    for (size_t i = 0; i < parents.size(); ++i) {
      const uint64_t draw = random.bits(static_cast<uint64_t>(num_steps_) * 16 + i);
      SequenceState& parent = *parents[draw % parents.size()];
      next.emplace_back(parent.history);
      next.back().table = blocks_.fork(parent.table);
    }
    for (SequenceState& sequence : sequences) blocks_.release(sequence.table, true);
    sequences = std::move(next);
  }
};

SchedulerOptions small(int64_t seqs, int64_t tokens) {
  SchedulerOptions options;
  options.max_num_seqs = seqs;
  options.max_num_batched_tokens = tokens;
  return options;
}

// Rows of prompts' logits lie outside the cache's memory: so many in a step and no more, whoever wants them.
TEST(Scheduler, PromptLogitsOfAStepAreBounded) {
  SchedulerOptions options = small(8, 100);
  options.max_prompt_logits = 7;
  Simulation sim(64, options);
  for (const int64_t length : {40, 3, 25}) sim.add(prompt_of(length, 1), 3).state.prompt_logits_from = 0;
  const Plan& plain = sim.add(prompt_of(30, 1), 3);
  int64_t rows_of_prompts = 0;
  while (sim.step()) {
    int64_t rows = 0;
    for (const SchedulerOutput::Item& item : sim.last_.items) rows += item.wants_all_logits ? item.num_new_tokens : 0;
    EXPECT_LE(rows, 7);
    rows_of_prompts += rows;
  }
  EXPECT_GE(rows_of_prompts, 39 + 2 + 24);  // nothing follows the last of each
  EXPECT_TRUE(plain.done);
  sim.finish_all();
}

TEST(Scheduler, ChunksChaseThePrompt) {
  Simulation sim(64, small(4, 10));
  sim.add(prompt_of(25, 1), 3);
  std::vector<int64_t> counts;
  while (sim.step()) counts.push_back(sim.last_.num_new_tokens());
  EXPECT_EQ(counts, (std::vector<int64_t>{10, 10, 5, 1, 1}));
}

TEST(Scheduler, DecodesComeBeforeChunksAndChunksBeforeNewRequests) {
  Simulation sim(64, small(4, 8));
  sim.add(prompt_of(4, 1), 9);
  sim.step();
  sim.add(prompt_of(20, 100), 2);
  sim.add(prompt_of(20, 200), 2);
  sim.step();
  ASSERT_EQ(sim.last_.items.size(), 2u);
  EXPECT_EQ(sim.last_.items[0].num_new_tokens, 1);
  EXPECT_EQ(sim.last_.items[1].num_new_tokens, 7);
  sim.finish_all();
}

TEST(Scheduler, RatesBoundTheChunksBesideDecodes) {
  SchedulerOptions options = small(64, 2048);
  options.rates = {0.010, 0.0005, 0.0002};
  Simulation sim(1024, options);
  sim.add(prompt_of(300, 1), 100);
  sim.step();
  EXPECT_EQ(sim.last_.num_new_tokens(), 300);  // nobody waits for a next token
  sim.add(prompt_of(1000, 2000), 2);
  sim.step();
  EXPECT_EQ(sim.last_.num_new_tokens(), 1 + 32);  // two thirds of 10 ms of decoding: 33 tokens, cut to whole pages
  sim.finish_all();
}

TEST(Scheduler, APrefixIsComputedOnce) {
  Simulation sim(256, small(64, 4096));
  std::vector<int32_t> prompt = prompt_of(341, 1);
  for (int32_t i = 0; i < 8; ++i) {
    std::vector<int32_t> own = prompt;
    for (int32_t j = 0; j < 20; ++j) own.push_back(5000 + 100 * i + j);
    sim.add(own, 4);
  }
  sim.step();
  // 21 full pages are shared already in the step that stores them.
  EXPECT_EQ(sim.last_.num_new_tokens(), 361 + 7 * (361 - 336));
  EXPECT_EQ(sim.plans_[3]->state.num_cached_tokens, 336);
  sim.finish_all();
  // All of it known, the last token is still computed.
  sim.add(prompt_of(336, 1), 2);
  sim.step();
  EXPECT_EQ(sim.last_.num_new_tokens(), 16);
  sim.finish_all();
}

TEST(Scheduler, OtherSaltsShareNothing) {
  Simulation sim(256, small(64, 4096));
  sim.add(prompt_of(100, 1), 2, 1, false, false);
  sim.add(prompt_of(100, 1), 2, 1, false, false);
  sim.step();
  EXPECT_EQ(sim.last_.num_new_tokens(), 200);
  sim.finish_all();
  EXPECT_EQ(sim.blocks_.pool().num_published(), 0);
}

TEST(Scheduler, TheLatestIsPreemptedWholeAndComesBack) {
  Simulation sim(12, small(16, 512));
  sim.add(prompt_of(64, 1), 60);
  sim.add(prompt_of(33, 500), 50, 3);
  sim.add(prompt_of(16, 900), 10);
  int64_t preempted = 0;
  while (sim.step()) preempted += static_cast<int64_t>(sim.last_.preempted.size());
  EXPECT_GT(preempted, 0);
  EXPECT_EQ(sim.plans_[0]->state.num_preemptions, 0);
  EXPECT_EQ(sim.too_large_, 0);
  EXPECT_EQ(sim.blocks_.pool().num_free(), 12);
}

TEST(Scheduler, ARequestLargerThanTheCacheEndsAlone) {
  Simulation sim(4, small(16, 512));
  sim.add(prompt_of(200, 1), 5);
  sim.add(prompt_of(40, 300), 200);
  sim.add(prompt_of(40, 600), 5);
  sim.finish_all();
  EXPECT_EQ(sim.too_large_, 2);
}

TEST(Scheduler, PriorityGoesFirstAndIsPreemptedLast) {
  SchedulerOptions options = small(1, 64);
  options.by_priority = true;
  Simulation sim(64, options);
  sim.add(prompt_of(10, 1), 3, 1, false, true, 5);
  sim.add(prompt_of(10, 100), 3, 1, false, true, 5);
  sim.add(prompt_of(10, 200), 3, 1, false, true, -1);
  sim.finish_all();
  EXPECT_LT(sim.plans_[2]->admitted_at, sim.plans_[0]->admitted_at);
  EXPECT_LT(sim.plans_[0]->admitted_at, sim.plans_[1]->admitted_at);
}

TEST(Scheduler, AWindowGivesItsPagesBack) {
  Simulation sim(24, small(4, 64), 32);
  sim.add(prompt_of(100, 1), 900);
  int64_t most = 0;
  while (sim.step()) most = std::max(most, 24 - sim.blocks_.pool().num_free());
  EXPECT_LE(most, 14);  // the window, and what its block of keys and the step's chunk round up to
  EXPECT_EQ(sim.too_large_, 0);
  EXPECT_EQ(sim.blocks_.pool().num_free(), 24);
}

TEST(Scheduler, AFailedStepLeavesNoName) {
  Simulation sim(64, small(4, 64));
  Plan& plan = sim.add(prompt_of(40, 1), 4);
  const SchedulerOutput step = sim.scheduler_.schedule();
  EXPECT_EQ(sim.blocks_.pool().num_published(), 2);
  sim.scheduler_.discard(step);
  EXPECT_EQ(sim.blocks_.pool().num_published(), 0);
  sim.abort(plan);
  sim.add(prompt_of(40, 1), 4);
  sim.finish_all();
}

TEST(Scheduler, RefusesWhatCannotRun) {
  EXPECT_THROW(Simulation(8, small(0, 8)), Error);
  EXPECT_THROW(Simulation(8, small(8, 4)), Error);
  Simulation sim(8, small(2, 8));
  RequestState wide;
  wide.width = 3;
  EXPECT_THROW(sim.scheduler_.add(&wide), Error);
}

// Everything at once, with few pages and with many: shared prefixes, forks, beams, windows, priorities, aborts.
TEST(Scheduler, RandomWorkReadsOnlyItsOwnHistory) {
  test::Share share;
  for (const uint64_t seed : {3, 1, 2, 4, 5, 6, 7, 8}) {  // of a share first one that has too few pages
    if (!share.wanted()) continue;
    const RandomStream random(seed, 0);
    uint64_t drawn = 0;
    const auto draw = [&](uint64_t below) { return static_cast<int64_t>(random.bits(drawn++) % below); };
    SchedulerOptions options = small(48, seed % 2 == 0 ? 2048 : 96);
    options.by_priority = seed % 3 == 0;
    if (seed % 4 == 0) options.rates = {0.01, 0.0005, 0.0005};
    Simulation sim(seed <= 2 ? 10000 : 150, options, seed == 7 ? 40 : 0);
    int64_t preempted = 0;
    for (int round = 0; round < 1200; ++round) {
      if (round < 900 && draw(2) == 0) {
        std::vector<int32_t> prompt = prompt_of(draw(4) * 40, 1);  // a beginning that many have
        for (int64_t i = 0, own = 1 + draw(150); i < own; ++i) prompt.push_back(static_cast<int32_t>(2000 + draw(30)));
        const int64_t kind = draw(4), width = kind < 2 ? 1 : 1 + draw(6);
        sim.add(prompt, 1 + draw(150), width, kind == 3, draw(4) != 0, draw(3));
      }
      if (draw(40) == 0 && !sim.plans_.empty()) sim.abort(*sim.plans_[static_cast<size_t>(draw(sim.plans_.size()))]);
      sim.step();
      preempted += static_cast<int64_t>(sim.last_.preempted.size());
      if (HasFatalFailure()) return;
    }
    sim.finish_all();
    if (seed > 2) {
      EXPECT_GT(preempted, 0) << seed;
    }
    EXPECT_EQ(sim.too_large_, 0) << seed;
    // First come, first served: nobody starts before one who came earlier.
    if (options.by_priority) continue;
    int64_t latest = 0;
    for (const auto& plan : sim.plans_) {
      if (plan->admitted_at < 0) continue;
      EXPECT_GE(plan->admitted_at, latest);
      latest = plan->admitted_at;
    }
  }
}

}  // namespace
}  // namespace pagoda
