// An automaton run over a vocabulary: states of texts so far, the tokens that each allows, and memory of both.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "generate/grammar/automaton.h"
#include "generate/grammar/vocabulary.h"

namespace pagoda::grammar {

// Tokens by bit, or listed where they are few.
struct TokenSet {
  bool listed = false;
  std::vector<uint64_t> bits;
  std::vector<int32_t> ids;
  bool empty() const { return listed && ids.empty(); }
};

// What is known of texts so far. A reading is a state and the calls it came through (a chain of frames, shared between
// readings); a situation is the set of readings of one text. Situations are numbered, and each knows where each class of bytes
// leads, once asked: the automaton made deterministic as far as texts go.
//
// For masks a situation may end below in the unknown: what lies under the topmost call is left open, so that what was found
// out about the inside of a rule serves wherever the rule is called.
class Memory {
 public:
  static constexpr int32_t kBottom = 0, kUnknown = 1;  // frames
  static constexpr int32_t kDead = 0;                  // situation without readings that may not end either

  Memory(const Automaton& automaton, const TokenVocabulary& vocabulary, const GrammarLimits& limits);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // What follows, up to the next call, may take max_token_steps; beyond them it throws, and the memory is as it was.
  void begin_token() {
    work_left_ = limits_.max_token_steps;
    nodes_visited_ = 0;
  }
  // What was done since then.
  int64_t work() const;
  void count_bytes();  // within the budget
  int32_t start();
  int32_t step(int32_t situation, uint8_t byte) {
    const int32_t row = situations_[static_cast<size_t>(situation)].row;
    const size_t at = static_cast<size_t>(row) + automaton_.class_of[byte];
    return row >= 0 && rows_[at] >= 0 ? rows_[at] : take_step(situation, automaton_.class_of[byte]);
  }
  bool may_end(int32_t situation) const { return situations_[static_cast<size_t>(situation)].ends; }
  bool may_go_on(int32_t situation) const { return situations_[static_cast<size_t>(situation)].count > 0; }
  const TokenSet& allowed(int32_t situation);
  // The same situation in another memory.
  int32_t import(const Memory& from, int32_t situation);
  int64_t memory_bytes() const;
  // Nothing was left out at a limit so far: what was found is all that there is.
  bool exact() const { return exact_; }

 private:
  struct Reading {
    int32_t state, frame;
    bool operator==(const Reading& other) const { return state == other.state && frame == other.frame; }
    bool operator<(const Reading& other) const { return frame != other.frame ? frame < other.frame : state < other.state; }
  };
  // A call under way. rule -1: called once. Else so often: `need` more times at least after this one, `room` at most.
  struct Call {
    int32_t parent, to, rule, need, room;
    bool operator==(const Call& other) const {
      return parent == other.parent && to == other.to && rule == other.rule && need == other.need && room == other.room;
    }
  };
  struct CallHash {
    size_t operator()(const Call& call) const;
  };
  struct Frame {
    Call call;
    int32_t depth;
    int32_t near;  // the same as far as one token can see: counts that no token reaches made equal
    int32_t open;  // ... and the unknown under the topmost call
    int32_t base;  // frame of that call
  };
  struct Situation {
    size_t first = 0;  // into readings_
    int32_t count = 0;
    bool ends = false;     // the text may end here
    bool escapes = false;  // ... or what is unknown goes on
    int64_t row = -1;      // into rows_
    int32_t near = -1;     // the situation with near frames; -1: not asked yet
    int32_t mask = -1;     // into masks_
    int32_t inside = -1;   // into insides_
  };
  // What an open situation allows on its own, and the nodes of the vocabulary's tree where it is left for the unknown.
  struct Inside {
    TokenSet allowed;
    std::vector<int32_t> exits;
  };
  class Collector;

  int32_t frame(const Call& call);
  void push(int32_t state, int32_t frame);
  // Follows empty steps, calls and returns from what was pushed, and numbers the situation found.
  int32_t close();
  int32_t intern(bool ends, bool escapes);
  int32_t take_step(int32_t situation, uint8_t byte_class);
  int32_t near_of(int32_t situation);
  int32_t inside_of(int32_t situation);
  int32_t mask_of(int32_t situation);
  void walk(int32_t situation, int32_t node, Collector& found, std::vector<int32_t>* exits);

  const Automaton& automaton_;
  const TokenVocabulary& vocabulary_;
  GrammarLimits limits_;
  int32_t far_;  // a count that no token reaches

  std::vector<Frame> frames_;
  std::unordered_map<Call, int32_t, CallHash> frame_ids_;
  std::vector<Situation> situations_;
  std::vector<Reading> readings_;
  std::vector<int32_t> rows_;
  std::vector<int32_t> situation_slots_;  // open addressing by the hash of the readings
  std::vector<TokenSet> masks_;
  std::vector<Inside> insides_;
  int64_t mask_bytes_ = 0;
  int64_t counted_bytes_ = 0;
  int64_t steps_left_ = 0;
  int64_t work_left_;
  bool exact_ = true;
  int64_t nodes_visited_ = 0;  // of the vocabulary's tree

  // Working memory of close() and walk().
  std::vector<Reading> work_, found_;
  std::vector<uint64_t> seen_slots_;
  std::vector<uint32_t> seen_stamps_;
  uint32_t stamp_ = 0;
  size_t seen_count_ = 0;
  std::vector<uint32_t> frame_stamps_;
  bool see(const Reading& reading);  // false: seen before
  std::vector<int32_t> levels_;
};

// One grammar over one vocabulary, shared by its sequences; safe to use from many threads. Memory that grows over its bound is
// left to those who still hold it, and a new one begun.
class Machine {
 public:
  struct Place {
    std::shared_ptr<Memory> memory;
    int32_t situation = Memory::kDead;
    int64_t work = 0;  // steps that were taken for it
  };
  Machine(std::shared_ptr<const Automaton> automaton, std::shared_ptr<const TokenVocabulary> vocabulary,
          const GrammarLimits& limits);

  const TokenVocabulary& vocabulary() const { return *vocabulary_; }
  Place start();
  // Moves on by a token; false: it does not fit, and the place stays.
  bool advance(Place& place, int32_t token);
  bool may_end(const Place& place) const;
  bool may_go_on(Place& place);  // some token fits
  // Sets logits [vocab] of all tokens that do not fit to -inf, but for those in `keep`.
  void mask(Place& place, float* logits, int64_t vocab, const std::vector<int32_t>& keep);
  int64_t memory_bytes() const;

 private:
  void renew(Place& place);
  void begin(Place& place);
  static void end(Place& place);
  std::shared_ptr<const Automaton> automaton_;
  std::shared_ptr<const TokenVocabulary> vocabulary_;
  GrammarLimits limits_;
  mutable std::mutex mutex_;
  std::shared_ptr<Memory> memory_;
};

}  // namespace pagoda::grammar
