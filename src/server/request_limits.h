// What one request may ask for at most.
#pragma once

#include <cstdint>

namespace pagoda::server {

// The first five are flags of `pagoda serve`.
struct RequestLimits {
  int64_t max_n = 128;        // n, best_of, beams
  int64_t max_logprobs = 20;  // logprobs, top_logprobs, prompt_logprobs
  int64_t max_prompts = 256;  // prompts of one completion request
  int64_t max_inputs = 2048;  // inputs of one embedding request
  int64_t max_stop = 16;      // stop strings
  int64_t max_logprob_token_ids = 128;
  int64_t max_list = 4096;      // other lists: logit_bias, allowed_token_ids, bad_words
  int64_t max_string = 4096;    // characters of a stop string, a bad word, a salt
  int64_t max_messages = 4096;  // of a chat
};

}  // namespace pagoda::server
