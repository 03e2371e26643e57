// The output side of one request: from logits to tokens, text and finish, for every sequence. Private to the engine.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "engine/request.h"
#include "engine/scheduler.h"
#include "generate/beam_search.h"
#include "generate/logits.h"
#include "generate/stop.h"
#include "text/tokenizer.h"

namespace pagoda {

// Steps of grammars (TokenConstraint::take_work) in one step of the engine, some five a microsecond: what all sequences of one
// request may take together, and how many all requests may have taken where another one still begins. Every stream waits for
// them. A schema's 128 answers take some 30,000 at most where their texts part, and next to nothing later.
constexpr int64_t kMostConstraintWork = 400'000;
constexpr int64_t kConstraintWorkOfAStep = 100'000;

class Group {
 public:
  Group(uint64_t id, Request request, BlockManager& blocks, bool shares_prefix, int64_t vocab_size,
        std::shared_ptr<const Tokenizer> tokenizer);
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  RequestState& state() { return state_; }
  bool done() const { return done_; }

  // One thing to decide from logits: the next token of one sequence, or of all beams. May run on any thread beside others.
  struct Choice {
    Group* group = nullptr;
    size_t sequence = 0;
    const float* logits = nullptr;  // [rows, vocab], more than one of beams
    int64_t rows = 1;
    int32_t token = -1;
    bool completes = false;  // the constraint lets nothing follow but an end
    bool waits = false;      // for a later step
    int64_t work = 0;        // of the constraint
    std::optional<PositionLogprobs> logprobs = {};
    std::optional<Error> error = {};
  };
  // The items of this request in a step that was computed, with their rows of logits in order. Appends what must be chosen.
  void take(const SchedulerOutput::Item* items, size_t count, const float* rows, std::vector<Choice>& choices);
  // The hidden states of one item of a pooling request, from `row` on. The last item ends the request.
  void pool(const SchedulerOutput::Item& item, const Tensor& hidden, int64_t row, std::vector<Event>& events);
  void choose(Choice& choice, LogitsScratch& scratch);
  // Tells whether choices of this step are made in it. Once all requests have `spent` what a step has for constraints, those
  // with constraints that have not begun yet wait, each whole. May run on any thread beside others.
  bool enters_step(int64_t spent);
  // Choices that wait, and the same again in a later step: none where the request was preempted in the meantime, since their
  // logits are then made anew.
  void hold(const Choice* choices, size_t count);
  void take_held(std::vector<Choice>& choices);
  // Serial, in order of choices.
  void apply(Choice& choice, std::vector<Event>& events);

 private:
  struct Answer {
    SequenceState* sequence;
    std::unique_ptr<StreamDecoder> decoder;  // null without a tokenizer
    StopMatcher stops;
    std::unique_ptr<TokenConstraint> constraint;
  };
  // How far the text of a beam has come, for stop strings.
  struct BeamText {
    StreamDecoder decoder;
    StopMatcher stops;
  };
  void take_prompt_logprobs(const SchedulerOutput::Item& item, const float* rows);
  // What all tokens of a row of logits have in common.
  struct RowLogprobs {
    double total;  // log_sum_exp
    std::vector<TokenLogprob> top;
  };
  RowLogprobs row_logprobs(const float* logits, int64_t count, const std::vector<int32_t>& ids) const;
  RowLogprobs answer_row(const float* logits) const;
  PositionLogprobs position_of(const float* logits, int32_t token, RowLogprobs row) const;
  void fork_prompt();
  void begin_step();
  void charge(TokenConstraint& constraint, Choice& choice);
  bool hides_text(FinishReason of_token) const;
  void append(Answer& answer, const Choice& choice, Event& event);
  void end(Answer& answer);
  void choose_beams(const float* logits);
  BeamText beam_text(int32_t parent, int32_t token, int64_t length) const;
  void advance_beams(std::vector<Event>& events);
  void finish_beams(std::vector<Event>& events);
  void finish_prompt(std::vector<Event>& events);
  void push(Event event, std::vector<Event>& events);
  std::unique_ptr<StreamDecoder> decoder_after_prompt() const;

  Request request_;
  BlockManager& blocks_;
  int64_t vocab_size_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const StopAutomaton> stops_;
  LogitsProcessors processors_;
  RequestState state_;
  std::vector<Answer> answers_;  // of sampling, once the prompt is computed
  std::optional<BeamSearch> beams_;
  std::vector<BeamText> beam_texts_;  // of the beams, where there are stop strings
  BeamStep beam_step_;                // chosen, and not applied yet
  std::optional<Pooler> pooler_;
  std::vector<PositionLogprobs> prompt_logprobs_;
  // Of the constraints, in the step under way.
  enum class Entry { kOpen, kEnters, kWaits };
  std::atomic<Entry> entry_{Entry::kOpen};
  std::atomic<int64_t> work_{0};
  struct Held {
    size_t sequence, row;
  };
  std::vector<Held> held_;
  std::vector<std::vector<float>> held_rows_;
  bool told_ = false;  // an event was sent
  bool done_ = false;
  uint64_t seed_;
};

}  // namespace pagoda
