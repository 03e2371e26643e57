// What a request asks of generation: HF's names where HF has one, vLLM's otherwise; checks; defaults from a model's file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace pagoda {

enum class EarlyStopping {
  kFalse,  // stop when the best running beam at its present length is worse than the worst finished one
  kTrue,   // stop as soon as num_beams hypotheses are finished
  kNever,  // stop only when no running beam can get better at any length
};

// Added to the logit of the last id where the sequence so far ends with the ids before it.
struct SequenceBias {
  std::vector<int32_t> ids;
  double bias = 0.0;
};

// Below this temperature tokens are not drawn: the largest logit wins (vLLM's rule, so that no division overflows).
constexpr double kLeastTemperature = 1e-5;

struct SamplingParams {
  // Lengths, in tokens after the prompt.
  int64_t max_new_tokens = 256;
  // HF's max_length and min_length: the prompt counts. 0: none, else they stand in for the two others (settle_lengths).
  int64_t max_length = 0, min_length = 0;
  // Until then no end or stop id is chosen, and no stop string ends the answer; above max_new_tokens it has no further effect.
  int64_t min_new_tokens = 0;

  // Drawing. Off: temperature 0 (greedy), top_k 0 or -1, top_p 1, min_p 0, typical_p 1, cutoffs 0.
  double temperature = 0.0;
  int64_t top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  double typical_p = 1.0;
  double epsilon_cutoff = 0.0;
  double eta_cutoff = 0.0;
  std::optional<uint64_t> seed;  // none: the caller chooses one

  // Penalties. Repetition: HF's, over prompt and output. Presence and frequency: vLLM's, over the output alone.
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  int64_t no_repeat_ngram_size = 0;

  // Tokens.
  std::vector<std::vector<int32_t>> bad_words_ids;
  std::vector<SequenceBias> sequence_bias;
  std::map<int32_t, double> logit_bias;
  std::vector<int32_t> suppress_tokens;        // ids outside the vocabulary are ignored, as HF does
  std::vector<int32_t> begin_suppress_tokens;  // at the first new token alone
  std::optional<int32_t> forced_bos_token_id;  // where the sequence so far is one token long
  std::vector<int32_t> forced_eos_token_ids;   // at the last token that max_new_tokens allows

  // Ends.
  std::optional<int32_t> bos_token_id;  // what an empty prompt becomes
  std::vector<int32_t> eos_token_ids;
  std::vector<int32_t> stop_token_ids;  // as eos_token_ids, but ignore_eos leaves them
  std::vector<std::string> stop_strings;
  // Keep the stop string or token in the text (HF keeps it and what its last token holds beyond).
  bool include_stop_str = false;
  bool ignore_eos = false;  // eos_token_ids may appear and do not stop

  // Several answers.
  int64_t num_return_sequences = 1;  // also `n`
  int64_t num_beams = 1;
  double length_penalty = 1.0;
  EarlyStopping early_stopping = EarlyStopping::kFalse;

  bool do_sample() const { return temperature >= kLeastTemperature; }
  // The ids that end a sequence: eos_token_ids unless ignored, then stop_token_ids; no id twice.
  std::vector<int32_t> end_token_ids() const;
};

// Turns max_length and min_length into max_new_tokens and min_new_tokens once the prompt is known. kInvalidInput for a prompt
// of max_length or more.
void settle_lengths(SamplingParams& params, int64_t prompt_length);

// Throws kInvalidInput "[sampling] NAME is ...: got X, need Y" for a value out of range, an id outside the vocabulary, or
// a combination that cannot be met. Ids of ends and suppress_tokens may lie outside: some models' files hold such.
void validate(const SamplingParams& params, int64_t vocab_size);

// The defaults that a generation_config.json gives, under HF's names; `where` names the file in errors. Keys that are null,
// unknown, or of no use here are passed over. do_sample true: temperature 1 where the file has none (top_k stays off, as
// vLLM has it); false: greedy; missing: greedy, or the temperature that the file names.
SamplingParams from_generation_config(const Json& config, std::string_view where);
// Keys of a generation_config.json that change HF's answers, are set so that they do, and have no effect here.
std::vector<std::string> keys_without_effect(const Json& config);

// "false", "true", "never" and Python's spellings; throws kInvalidInput for anything else.
EarlyStopping parse_early_stopping(std::string_view text);

}  // namespace pagoda
