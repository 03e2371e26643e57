// What callers give to the engine and what it tells them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "generate/params.h"
#include "generate/stop.h"

namespace pagoda {

struct Request {
  std::vector<int32_t> prompt_ids;
  SamplingParams params;
};

// News of one sequence of a request. Beams tell everything when they are done; else there is one event a token.
struct Event {
  uint64_t request = 0;
  int index = 0;                              // of the sequence: 0 to num_return_sequences - 1, best first for beams
  std::vector<int32_t> token_ids;             // new since the last event
  std::string text;                           // new since the last event, whole characters; empty without a tokenizer
  FinishReason finish = FinishReason::kNone;  // set in the last event of a sequence
  bool request_done = false;                  // no further event of this request follows
  std::optional<Error> error;                 // the request failed: request_done is set
};

}  // namespace pagoda
