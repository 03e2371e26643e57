// One request being worked on: its sequences, from prompt to finish. Private to the engine.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/request.h"
#include "engine/runner.h"
#include "generate/beam_search.h"
#include "generate/sampler.h"
#include "text/tokenizer.h"

namespace pagoda {

class GroupState {
 public:
  GroupState(uint64_t id, Request request, KvCache& cache, int64_t vocab_size, std::shared_ptr<const Tokenizer> tokenizer);
  ~GroupState();  // gives all pages back
  GroupState(const GroupState&) = delete;
  GroupState& operator=(const GroupState&) = delete;

  uint64_t id() const { return id_; }
  bool done() const { return done_; }
  // The next step: a chunk of the prompt, or a token of every running sequence. Reserves the pages that it writes; throws
  // kOutOfMemory if there are none.
  SchedulerOutput schedule(int64_t max_prefill_tokens);
  // Chooses tokens from the step's logits (none while the prompt is unfinished).
  std::vector<Event> update(const StepResult& result);

 private:
  struct Sequence {
    explicit Sequence(TokenHistory past) : history(std::move(past)) {}
    TokenHistory history;
    BlockTable table;
    std::unique_ptr<StreamDecoder> decoder;  // null without a tokenizer
    std::unique_ptr<StopMatcher> stops;
    bool running = true;
  };
  std::vector<Event> sample_all(const StepResult& result);
  std::vector<Event> advance_beams(const StepResult& result);
  std::vector<Event> finish_beams();
  void fork_prompt(int64_t count);
  void append(Sequence& sequence, int32_t token, Event& event);
  std::unique_ptr<StreamDecoder> decoder_after_prompt() const;

  uint64_t id_;
  Request request_;
  KvCache& cache_;
  int64_t vocab_size_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  LogitsProcessors processors_;
  LogitsScratch scratch_;
  std::vector<Sequence> sequences_;  // sampling: one an answer; beams: one a running beam
  std::optional<BeamSearch> beams_;
  bool prompt_done_ = false;
  bool done_ = false;
  uint64_t seed_;
};

}  // namespace pagoda
