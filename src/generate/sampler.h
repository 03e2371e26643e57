// From a row of logits to a token: the largest, or a draw; and log-probabilities for those who ask.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "generate/warpers.h"

namespace pagoda {

// The first of the largest logits, as torch. Throws kInvalidInput for a NaN, or when no token is above -inf.
int32_t argmax(const float* logits, int64_t n);

// Which draw of a request this is: the same three give the same token for the same row, whatever else runs.
struct DrawKey {
  uint64_t seed = 0;
  uint64_t sequence = 0;  // index among the request's sequences
  uint64_t step = 0;      // tokens generated before this one
};

// A token from softmax(logits), in float64. Throws as argmax, and for +inf.
int32_t sample(const float* logits, int64_t n, const DrawKey& key, LogitsScratch& scratch);
// The same with a number in [0, 1): the first token, by id, at which the running sum of probabilities passes it.
int32_t sample_at(const float* logits, int64_t n, double uniform, LogitsScratch& scratch);

// log(sum(exp(logits))) in float64; log-probability of i is logits[i] minus it. Throws as sample.
double log_sum_exp(const float* logits, int64_t n);
// out[i] = log-probability of i, rounded as torch's float32 log_softmax; `out` may be `logits`.
void log_softmax(const float* logits, int64_t n, float* out);

struct TokenLogprob {
  int32_t id;
  double logprob;
};
// Of one position of an answer or a prompt.
struct PositionLogprobs {
  int32_t token = 0;
  double logprob = 0;
  int64_t rank = 1;               // 1: no token was likelier
  std::vector<TokenLogprob> top;  // the likeliest, best first
};
// The k likeliest tokens, best first; ties by lower id. total: log_sum_exp of the row.
std::vector<TokenLogprob> top_logprobs(const float* logits, int64_t n, int64_t k, double total);
// One plus the number of tokens with a larger logit.
int64_t token_rank(const float* logits, int64_t n, int32_t id);

}  // namespace pagoda
