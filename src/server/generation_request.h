// What /v1/completions and /v1/chat/completions share: from a request's fields to what the engine is asked.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "generate/grammar/grammar.h"
#include "server/fields.h"
#include "server/request_limits.h"
#include "text/tokenizer.h"

namespace pagoda {
class ModelFolder;
class TextGeneration;
}  // namespace pagoda

namespace pagoda::server {

constexpr int64_t kMostPriority = int64_t{1} << 40;
constexpr size_t kLongestId = 128;  // of a request_id

// truncate_prompt_tokens and truncation_side.
struct Truncation {
  std::optional<int64_t> tokens;
  bool left = true;  // the end of the prompt is kept
};

enum class Endpoint { kCompletions, kChat };

struct GenerationRequest {
  // The engine's request without its prompt: copied for each prompt (make()).
  SamplingParams params;
  // What is one for all prompts: of the stop strings (null: there are none), and in place of lists in params (share_lists).
  std::shared_ptr<const StopAutomaton> stops;
  std::shared_ptr<const TokenBiases> biases;
  bool max_tokens_given = false;
  int64_t most_logprobs = int64_t{1} << 22;  // that are kept of one answer for its end, some 100 bytes each
  std::optional<int64_t> logprobs, prompt_logprobs;
  std::vector<int32_t> logprob_token_ids;
  std::optional<RepetitionDetection> repetition_detection;
  int64_t priority = 0;
  std::string cache_salt;
  bool skip_special_tokens = true;
  std::optional<std::vector<int32_t>> allowed_token_ids;
  std::optional<GrammarSource> grammar;               // structured outputs
  std::shared_ptr<const TokenConstraint> constraint;  // what allowed_token_ids or the grammar became

  int64_t n = 1, best_of = 1;
  bool echo = false;
  bool stream = false, include_usage = false, usage_always = false;
  int64_t stream_interval = 1;  // tokens of a chunk; the first comes alone
  bool return_token_ids = false;
  bool tokens_as_token_ids = false;  // "token_id:42" instead of a token's text in logprobs
  Truncation truncation;
  std::optional<bool> add_special_tokens;
  std::string request_id;
  bool return_prompt_text = false;
  std::string prompt_text;  // what the template made of a chat, where it is to be returned
  int64_t list_bytes = 0;   // of biases, about

  // Makes biases of the lists in params and checks them, since the engine does not see them any more.
  void share_lists(int64_t vocab_size);
  Request make(std::vector<int32_t> prompt_ids, int64_t max_model_len) const;
  // More answers are made than are wanted, and the likeliest of them chosen. Beams come in that order.
  bool ranks() const { return best_of > n && params.num_beams == 1; }
};

// Throws kInvalidInput for a name that serving_defaults() does nothing with, and for a value that no request may have.
void check_overrides(const Json& overrides, std::string_view where);
// What a model's requests start from: temperature 1, top_p 1 and no other cut, as vLLM, over which generation_config.json's
// values stand (unless `plain`), and the model's end tokens. max_new_tokens is the most that a request gets, whatever it asks
// for.
// overrides: members that stand over the file's, `plain` or not.
SamplingParams serving_defaults(const ModelFolder& folder, bool plain, const Json& overrides = {});

// Takes the fields that both endpoints know. Throws kInvalidInput naming the field. `generation` gives vocabulary and
// tokenizer.
GenerationRequest parse_generation(Fields& fields, Endpoint endpoint, const SamplingParams& defaults,
                                   const RequestLimits& limits, const TextGeneration& generation);

// Throws kInvalidInput for one that would change nothing, as vLLM does.
int64_t take_priority(Fields& fields, bool by_priority);

// longest: what -1 stands for. kRight: prompts are cut at their end and nowhere else.
enum class Sides { kBoth, kRight };
Truncation parse_truncation(Fields& fields, int64_t longest, Sides sides = Sides::kBoth);
void truncate_prompt(std::vector<int32_t>& ids, const Truncation& truncation);

// A model's tokenizer. Throws kInvalidInput where it has none (null): `field` holds text, and could hold ids at most.
const Tokenizer& tokenizer_for(const std::shared_ptr<const Tokenizer>& tokenizer, std::string_view field);

// Takes response_format, structured_outputs and the older guided_* fields.
std::optional<GrammarSource> parse_structured_outputs(Fields& fields, const RequestLimits& limits);

// Allows these tokens alone (vLLM's allowed_token_ids).
std::unique_ptr<TokenConstraint> make_allowed_tokens(std::vector<int32_t> ids);

}  // namespace pagoda::server
