// What callers give to the engine and what it tells them.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "engine/pooler.h"
#include "generate/constraint.h"
#include "generate/logits.h"
#include "generate/params.h"
#include "generate/sampler.h"
#include "generate/stop.h"

namespace pagoda {

struct Request {
  std::vector<int32_t> prompt_ids;
  SamplingParams params;
  // For requests that share them, else null. biases stand for those of params, which may then be empty.
  std::shared_ptr<const StopAutomaton> stops;  // of params.stop_strings
  std::shared_ptr<const TokenBiases> biases;

  // Log-probabilities of the model's own distribution (before temperature, penalties and cuts), as vLLM gives them.
  // Empty: none. 0: of the chosen token alone. k: of the k likeliest besides.
  std::optional<int64_t> logprobs;
  std::optional<int64_t> prompt_logprobs;
  std::vector<int32_t> logprob_token_ids;  // given: logprobs are of these tokens, in this order, instead of the likeliest
  std::optional<RepetitionDetection> repetition_detection;  // not for beams

  bool skip_special_tokens = true;  // left out of the text
  int64_t priority = 0;             // lower first, where the engine goes by priority
  std::string cache_salt;           // cached pages are shared only among requests of the same salt
  // The prompt alone: nothing is generated, the request ends once the prompt is computed (scores, echo without an answer), with
  // one empty answer for each of num_return_sequences. Not for beams.
  bool prompt_only = false;
  // The last hidden states as one vector instead of tokens: nothing is generated, the one event of the request carries it.
  std::optional<PoolingParams> pooling;
  std::unique_ptr<TokenConstraint> constraint;  // each sequence gets a copy; not for beams
};

// News of one sequence of a request. Beams tell everything when they are done; else there is one event a token.
struct Event {
  uint64_t request = 0;
  int index = 0;                              // of the sequence: 0 to num_return_sequences - 1, best first for beams
  std::vector<int32_t> token_ids;             // new since the last event
  std::string text;                           // new since the last event, whole characters; empty without a tokenizer
  std::vector<PositionLogprobs> logprobs;     // of token_ids, where asked for
  FinishReason finish = FinishReason::kNone;  // set in the last event of a sequence
  // Why it stopped, where that was neither the model's own end token nor a length: a stop token's id or a stop string.
  std::variant<std::monostate, int32_t, std::string> stop_reason;
  double score = 0;  // of a finished beam
  // With the request's first event: of prompt position 1 and on (nothing precedes position 0).
  std::vector<PositionLogprobs> prompt_logprobs;
  int64_t num_cached_tokens = 0;                         // of the prompt, found in the cache instead of computed
  std::vector<float> pooled;                             // of a pooling request
  std::chrono::steady_clock::time_point scheduled_at{};  // when the request was computed for the first time
  bool request_done = false;                             // no further event of this request follows
  std::optional<Error> error;                            // the request failed: request_done is set
};

}  // namespace pagoda
