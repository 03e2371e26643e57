// Everything that changes a row of logits before a token is chosen: biases, penalties, bans, then the cuts of warpers.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "generate/history.h"
#include "generate/params.h"
#include "generate/warpers.h"

namespace pagoda {

// Sequences of the same length, in the order given, as HF adds their biases.
struct BiasGroup {
  size_t prefix_length = 0;
  std::vector<std::pair<std::vector<int32_t>, float>> sequences;
};

// What a request's sequence_bias, bad_words_ids and logit_bias become: megabytes where it says so, hence once for all its
// prompts.
struct TokenBiases {
  explicit TokenBiases(const SamplingParams& params);
  std::vector<BiasGroup> sequences, bad_words;
  std::vector<std::pair<int32_t, float>> tokens;
};

// Made once a request, shared by its sequences; holds no state of theirs. The order is HF's (transformers 5,
// generation/utils.py), vLLM's three stand where vLLM has them: sequence bias, logit bias, repetition penalty, frequency and
// presence penalty, n-grams, bad words, ends before min_new_tokens, forced tokens, suppressed tokens, cuts. In float32.
class LogitsProcessors {
 public:
  // biases: of params, for those that share them; null: made here.
  explicit LogitsProcessors(const SamplingParams& params, std::shared_ptr<const TokenBiases> biases = nullptr);

  // True: apply changes nothing, whatever the row.
  bool empty() const { return !changes_ && warpers_.empty(); }

  // Changes `logits` [vocab] in place for the token that follows `history`. Rows of log-probabilities do as well (beams).
  void apply(float* logits, int64_t vocab, const TokenHistory& history, LogitsScratch& scratch) const;
  // The same for ids = prompt, then output; counts them anew, so for single steps.
  void apply(float* logits, int64_t vocab, const std::vector<int32_t>& ids, int64_t prompt_length) const;

 private:
  static void add_biases(const std::vector<BiasGroup>& biases, float* logits, int64_t vocab, const TokenHistory& history,
                         LogitsScratch& scratch);
  void penalize(float* logits, int64_t vocab, const TokenHistory& history) const;
  void ban_ngrams(float* logits, int64_t vocab, const TokenHistory& history) const;
  void force(float* logits, int64_t vocab, const TokenHistory& history) const;

  bool changes_ = false;
  std::shared_ptr<const TokenBiases> biases_;
  float repetition_penalty_;
  float presence_penalty_;
  float frequency_penalty_;
  int64_t ngram_size_;
  int64_t min_new_tokens_;
  int64_t max_new_tokens_;
  std::vector<int32_t> end_ids_;
  std::optional<int32_t> forced_bos_;
  std::vector<int32_t> forced_eos_;
  std::vector<int32_t> suppressed_;
  std::vector<int32_t> begin_suppressed_;
  Warpers warpers_;
};

}  // namespace pagoda
