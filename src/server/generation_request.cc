// Fields of OpenAI's and vLLM's requests.
#include "server/generation_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"
#include "pipelines/text_generation.h"
#include "server/param_names.h"

namespace pagoda::server {

namespace {

constexpr int64_t kMostTokens = int64_t{1} << 31;
constexpr size_t kMostBadTokens = 128 << 10;  // of all bad words, each as it stands alone and after a space
constexpr size_t kMostStopBytes = 64 << 10;   // of all stop strings; an open request keeps some 25 times as many

class AllowedTokens : public TokenConstraint {
 public:
  explicit AllowedTokens(std::shared_ptr<const std::vector<int32_t>> ids) : ids_(std::move(ids)) {}
  std::unique_ptr<TokenConstraint> clone() const override { return std::make_unique<AllowedTokens>(*this); }
  void mask(float* logits, int64_t vocab) override {
    size_t next = 0;
    for (int64_t id = 0; id < vocab; ++id) {
      if (next < ids_->size() && (*ids_)[next] == id) {
        ++next;
      } else {
        logits[id] = -std::numeric_limits<float>::infinity();
      }
    }
  }
  void accept(int32_t) override {}
  bool complete() const override { return false; }

 private:
  std::shared_ptr<const std::vector<int32_t>> ids_;  // ascending
};

void take_drawing(Fields& fields, SamplingParams& params) {
  if (const auto value = fields.number("temperature", 0, 100)) params.temperature = *value;
  if (const auto value = fields.number("top_p", 0, 1, Fields::Least::kRefused)) params.top_p = *value;
  if (const auto value = fields.integer("top_k", -1, kMostTokens)) params.top_k = std::max<int64_t>(0, *value);
  if (const auto value = fields.number("min_p", 0, 1)) params.min_p = *value;
  if (const auto value = fields.number("presence_penalty", -2, 2)) params.presence_penalty = *value;
  if (const auto value = fields.number("frequency_penalty", -2, 2)) params.frequency_penalty = *value;
  if (const auto value = fields.number("repetition_penalty", 1e-3, 1e3)) params.repetition_penalty = *value;
  if (const auto value = fields.integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())) {
    params.seed = static_cast<uint64_t>(*value);
  }
}

void take_logit_bias(Fields& fields, SamplingParams& params, const RequestLimits& limits) {
  const std::string schema =
      fmt::format(R"({{"type": "object", "maxProperties": {}, "propertyNames": {{"pattern": "^[0-9]{{1,9}}$"}},
      "additionalProperties": {{"type": "number", "minimum": -100, "maximum": 100}}}})",
                  limits.max_list);
  const Json* bias = fields.take("logit_bias", schema);
  if (bias == nullptr) return;
  const Json::Object& members = bias->as_object("logit_bias");
  if (static_cast<int64_t>(members.size()) > limits.max_list) {
    invalid("logit_bias", "too many: got {}, need at most {}", members.size(), limits.max_list);
  }
  for (const JsonMember& member : members) {
    const bool digits = !member.key.empty() && member.key.size() < 10 &&
                        std::all_of(member.key.begin(), member.key.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) invalid("logit_bias", "no token id: got '{}', need digits", utf8_cut(member.key, 32));
    const double value = member.value.as_double("logit_bias");
    // OpenAI clamps nothing and documents this range; vLLM clamps to it.
    if (!(value >= -100 && value <= 100)) invalid("logit_bias", "out of range: got {}, need -100 to 100", value);
    params.logit_bias[static_cast<int32_t>(std::stol(member.key))] = value;
  }
}

// As vLLM reads them: each word alone, and as it stands after a space.
void take_bad_words(Fields& fields, SamplingParams& params, const RequestLimits& limits, const TextGeneration& generation) {
  const auto words =
      fields.strings("bad_words", static_cast<size_t>(limits.max_list), static_cast<size_t>(limits.max_string), 1);
  if (!words) return;
  const Tokenizer& tokenizer = tokenizer_for(generation.tokenizer(), "bad_words");
  size_t tokens = 0;
  for (const std::string& word : *words) {
    std::vector<int32_t> alone = tokenizer.encode_ids(word, false);
    if (alone.empty()) invalid("bad_words", "empty word");
    const size_t start = word.find_first_not_of(' ');
    std::vector<int32_t> spaced = tokenizer.encode_ids(" " + (start == std::string::npos ? "" : word.substr(start)), false);
    if (spaced != alone && spaced.size() == alone.size() && spaced[0] != alone[0]) {
      params.bad_words_ids.push_back(std::move(spaced));
    }
    tokens += 2 * alone.size();
    if (tokens > kMostBadTokens) invalid("bad_words", "too long together: need at most {} tokens", kMostBadTokens);
    params.bad_words_ids.push_back(std::move(alone));
  }
}

void take_ends(Fields& fields, SamplingParams& params, const RequestLimits& limits) {
  if (auto stop = fields.strings("stop", static_cast<size_t>(limits.max_stop), static_cast<size_t>(limits.max_string), 1)) {
    size_t bytes = 0;
    for (const std::string& each : *stop) bytes += each.size();
    if (bytes > kMostStopBytes) invalid("stop", "too long together: got {} bytes, need at most {}", bytes, kMostStopBytes);
    params.stop_strings = std::move(*stop);
  }
  if (auto ids = fields.ids("stop_token_ids", static_cast<size_t>(limits.max_list))) params.stop_token_ids = std::move(*ids);
  if (const auto value = fields.boolean("include_stop_str_in_output")) params.include_stop_str = *value;
  if (const auto value = fields.boolean("ignore_eos")) params.ignore_eos = *value;
  if (const auto value = fields.integer("min_tokens", 0, kMostTokens)) params.min_new_tokens = *value;
}

// Something must be left to choose from.
void check_allowed(const std::vector<int32_t>& allowed, const SamplingParams& params) {
  std::vector<int32_t> banned;
  if (params.min_new_tokens > 0) banned = params.end_token_ids();
  for (const std::vector<int32_t>& word : params.bad_words_ids) {
    if (word.size() == 1) banned.push_back(word[0]);
  }
  std::sort(banned.begin(), banned.end());
  const bool any = std::any_of(allowed.begin(), allowed.end(),
                               [&](int32_t id) { return !std::binary_search(banned.begin(), banned.end(), id); });
  if (!any) invalid("allowed_token_ids", "min_tokens and bad_words leave none of them: need one more");
}

std::optional<RepetitionDetection> take_repetition(Fields& fields) {
  auto inner = fields.object("repetition_detection");
  if (!inner) return std::nullopt;
  constexpr int64_t kLongestPattern = 1024;
  RepetitionDetection detection;
  detection.max_pattern_size = inner->integer("max_pattern_size", 0, kLongestPattern).value_or(0);
  detection.min_pattern_size = std::max<int64_t>(1, inner->integer("min_pattern_size", 0, kLongestPattern).value_or(1));
  // 0 and 1 repeat nothing: off, as vLLM has it where max_pattern_size is 0 too.
  detection.min_count = inner->integer("min_count", 0, kMostTokens).value_or(0);
  inner->finish();
  if (detection.max_pattern_size == 0) return std::nullopt;
  if (detection.min_count < 2) invalid("repetition_detection", "min_count: got {}, need at least 2", detection.min_count);
  if (detection.min_pattern_size > detection.max_pattern_size) {
    invalid("repetition_detection", "min_pattern_size is above max_pattern_size: got {} and {}", detection.min_pattern_size,
            detection.max_pattern_size);
  }
  return detection;
}

void take_several(Fields& fields, GenerationRequest& request, const RequestLimits& limits) {
  if (const auto value = fields.integer("n", 1, limits.max_n)) request.n = *value;
  request.best_of = request.n;
  const auto best_of = fields.integer("best_of", 1, limits.max_n);
  if (best_of) request.best_of = *best_of;
  if (request.best_of < request.n) invalid("best_of", "less than n: got {}, need at least {}", request.best_of, request.n);
  SamplingParams& params = request.params;
  params.num_return_sequences = request.best_of;
  if (const auto value = fields.number("length_penalty", -100, 100)) params.length_penalty = *value;
  if (fields.boolean("use_beam_search").value_or(false)) {
    // vLLM's beam search: n beams, all of them returned, no draws.
    params.num_beams = std::max<int64_t>(2, request.best_of);
    params.temperature = 0;
  } else if (request.best_of > 1 && !params.do_sample()) {
    const char* field = best_of ? "best_of" : "n";
    invalid(field, "several answers need a temperature above 0: got {} {} with temperature 0", field, request.best_of);
  }
}

}  // namespace

std::unique_ptr<TokenConstraint> make_allowed_tokens(std::vector<int32_t> ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return std::make_unique<AllowedTokens>(std::make_shared<const std::vector<int32_t>>(std::move(ids)));
}

void check_overrides(const Json& overrides, std::string_view where) {
  constexpr std::string_view kNames[] = {"temperature",  "top_p",        "top_k",     "min_p",         "repetition_penalty",
                                         "bos_token_id", "eos_token_id", "do_sample", "max_new_tokens"};
  if (overrides.is_null()) return;
  for (const JsonMember& member : overrides.as_object(where)) {
    if (std::find(std::begin(kNames), std::end(kNames), member.key) != std::end(kNames)) continue;
    std::string all;
    for (const std::string_view name : kNames) all += (all.empty() ? "" : ", ") + std::string(name);
    invalid(where, "{}{}', need some of {}", kUnknownField, utf8_cut(member.key, 64), all);
  }
  const SamplingParams params = from_generation_config(overrides, where);
  in_field(where, [&] { validate(params, kMostTokens); });
}

SamplingParams serving_defaults(const ModelFolder& folder, bool plain, const Json& overrides) {
  const Json& config = folder.generation_config();
  Json asked = overrides;
  // A temperature draws here without do_sample too, as vLLM has it.
  if (const Json* named = config.is_object() && !config.contains("do_sample") ? config.find("temperature") : nullptr) {
    if (!asked.contains("temperature") && !named->is_null()) asked.set("temperature", *named);
  }
  const SamplingParams model = generation_defaults(folder, asked);
  SamplingParams params;
  params.temperature = 1.0;
  params.bos_token_id = model.bos_token_id;
  params.eos_token_ids = model.eos_token_ids;
  const auto has = [&](const char* key) {
    const Json* value = overrides.is_object() ? overrides.find(key) : nullptr;
    if (value == nullptr && !plain && config.is_object()) value = config.find(key);
    return value != nullptr && !value->is_null();
  };
  if (has("temperature")) params.temperature = model.temperature;
  if (has("top_p")) params.top_p = model.top_p;
  if (has("top_k")) params.top_k = model.top_k;
  if (has("min_p")) params.min_p = model.min_p;
  if (has("repetition_penalty")) params.repetition_penalty = model.repetition_penalty;
  params.max_new_tokens = has("max_new_tokens") ? model.max_new_tokens : kMostTokens;
  return params;
}

GenerationRequest parse_generation(Fields& fields, Endpoint endpoint, const SamplingParams& defaults,
                                   const RequestLimits& limits, const TextGeneration& generation) {
  GenerationRequest request;
  request.params = defaults;
  const bool chat = endpoint == Endpoint::kChat;
  take_drawing(fields, request.params);
  take_logit_bias(fields, request.params, limits);
  take_bad_words(fields, request.params, limits, generation);
  take_ends(fields, request.params, limits);
  const std::vector<std::string>& stop_strings = request.params.stop_strings;
  if (!stop_strings.empty()) request.stops = std::make_shared<const StopAutomaton>(stop_strings);
  take_several(fields, request, limits);
  if (const int64_t most_seqs = generation.engine().max_num_seqs(); request.best_of > most_seqs) {
    invalid(request.best_of > request.n ? "best_of" : "n", "got {}, need at most {} (--max-num-seqs)", request.best_of,
            most_seqs);
  }

  auto most = fields.integer("max_tokens", 0, kMostTokens);
  if (chat) {
    if (const auto value = fields.integer("max_completion_tokens", 0, kMostTokens)) most = value;
  }
  request.max_tokens_given = most.has_value();
  request.params.max_new_tokens = std::min(most.value_or(chat ? kMostTokens : 16), defaults.max_new_tokens);
  // With 0 only the prompt is scored.
  if (const auto& p = request.params; (most || !chat) && p.max_new_tokens > 0 && p.min_new_tokens > p.max_new_tokens) {
    invalid("min_tokens", "above max_tokens: got {}, need at most {}", p.min_new_tokens, p.max_new_tokens);
  }
  request.echo = fields.boolean("echo").value_or(false);

  if (chat) {
    const bool wanted = fields.boolean("logprobs").value_or(false);
    const auto top = fields.integer("top_logprobs", 0, limits.max_logprobs);
    if (top.value_or(0) > 0 && !wanted) invalid("top_logprobs", "needs logprobs to be true");
    if (wanted) request.logprobs = top.value_or(0);
  } else {
    request.logprobs = fields.integer("logprobs", 0, limits.max_logprobs);
  }
  if (auto ids = fields.ids("logprob_token_ids", static_cast<size_t>(limits.max_logprob_token_ids))) {
    if (!ids->empty() && !request.logprobs) invalid("logprob_token_ids", "needs logprobs");
    request.logprob_token_ids = std::move(*ids);
  }
  request.repetition_detection = take_repetition(fields);
  request.prompt_logprobs = fields.integer("prompt_logprobs", 0, limits.max_logprobs);

  request.stream = fields.boolean("stream").value_or(false);
  if (auto options = fields.object("stream_options")) {
    if (!request.stream && !fields.is_describing()) invalid("stream_options", "needs stream to be true");
    request.include_usage = options->boolean("include_usage").value_or(false);
    request.usage_always = options->boolean("continuous_usage_stats").value_or(false);
    options->ignore({"include_obfuscation"});
    options->finish();
  }
  request.stream_interval = fields.integer("stream_interval", 1, kMostTokens).value_or(1);
  if (request.stream && request.best_of > request.n) invalid("best_of", "cannot be streamed: got best_of above n");
  if (request.stream && request.prompt_logprobs) invalid("prompt_logprobs", "cannot be streamed");

  request.return_token_ids = fields.boolean("return_token_ids").value_or(false);
  request.tokens_as_token_ids = fields.boolean("return_tokens_as_token_ids").value_or(false);
  request.skip_special_tokens = fields.boolean("skip_special_tokens").value_or(true);
  // Of no effect where special tokens are left out.
  if (!fields.boolean("spaces_between_special_tokens").value_or(true) && !request.skip_special_tokens) {
    invalid("spaces_between_special_tokens", "false is not supported together with skip_special_tokens false");
  }
  request.add_special_tokens = fields.boolean("add_special_tokens");
  const int64_t answer = request.max_tokens_given ? std::max<int64_t>(1, request.params.max_new_tokens) : 1;
  request.truncation = parse_truncation(fields, std::max<int64_t>(1, generation.engine().max_model_len() - answer));
  request.priority = take_priority(fields, generation.engine().by_priority());
  request.cache_salt = fields.string("cache_salt", static_cast<size_t>(limits.max_string)).value_or("");
  request.request_id = fields.string("request_id", kLongestId).value_or("");
  request.allowed_token_ids = fields.ids("allowed_token_ids", static_cast<size_t>(limits.max_list), 1);
  request.grammar = parse_structured_outputs(fields, limits);
  if (request.allowed_token_ids) {
    if (request.grammar) invalid("allowed_token_ids", "not together with structured outputs");
    check_allowed(*request.allowed_token_ids, request.params);
    request.constraint = make_allowed_tokens(*request.allowed_token_ids);
  }
  if (request.params.num_beams > 1 && (request.grammar || request.allowed_token_ids)) {
    invalid("use_beam_search", "not together with structured outputs or allowed_token_ids");
  }

  fields.ignore({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
                 "session_id"});
  fields.refuse({"kv_transfer_params", "ec_transfer_params", "vllm_xargs", "watermarking", "routed_experts_prompt_start",
                 "return_mm_kwargs", "return_token_offsets", "logits_processors"},
                "not supported by this server");
  if (!chat) fields.refuse({"thinking_token_budget"}, "only for chats");
  return request;
}

int64_t take_priority(Fields& fields, bool by_priority) {
  const int64_t priority = fields.integer("priority", -kMostPriority, kMostPriority).value_or(0);
  if (priority != 0 && !by_priority)
    invalid("priority", "got {} where requests go in order of arrival: need 0, or a server with --scheduling-policy priority",
            priority);
  return priority;
}

const Tokenizer& tokenizer_for(const std::shared_ptr<const Tokenizer>& tokenizer, std::string_view field) {
  if (!tokenizer) invalid(field, "this model has no tokenizer: got text, need token ids");
  return *tokenizer;
}

Truncation parse_truncation(Fields& fields, int64_t longest, Sides sides) {
  Truncation truncation;
  truncation.tokens = fields.integer("truncate_prompt_tokens", -1, kMostTokens);
  if (truncation.tokens && *truncation.tokens < 0) truncation.tokens = longest;
  truncation.left = sides == Sides::kBoth;
  const auto side =
      truncation.left ? fields.choice("truncation_side", {"left", "right"}) : fields.choice("truncation_side", {"right"});
  if (side) truncation.left = *side == "left";
  return truncation;
}

void truncate_prompt(std::vector<int32_t>& ids, const Truncation& truncation) {
  if (!truncation.tokens) return;
  const auto most = static_cast<size_t>(*truncation.tokens);
  if (ids.size() <= most) return;
  if (truncation.left) {
    ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(most));
  } else {
    ids.resize(most);
  }
}

void GenerationRequest::share_lists(int64_t vocab_size) {
  SamplingParams lists;
  lists.bad_words_ids = std::exchange(params.bad_words_ids, {});
  lists.sequence_bias = std::exchange(params.sequence_bias, {});
  lists.logit_bias = std::exchange(params.logit_bias, {});
  lists.eos_token_ids = params.eos_token_ids;
  lists.ignore_eos = params.ignore_eos;
  validate(lists, vocab_size);
  constexpr int64_t kBytesOfWord = 64;  // and of one bias
  list_bytes = kBytesOfWord * static_cast<int64_t>(lists.bad_words_ids.size() + lists.logit_bias.size());
  for (const std::vector<int32_t>& word : lists.bad_words_ids) list_bytes += 2 * std::ssize(word) * int64_t{sizeof(int32_t)};
  biases = std::make_shared<const TokenBiases>(lists);
}

Request GenerationRequest::make(std::vector<int32_t> prompt_ids, int64_t max_model_len) const {
  Request result;
  result.params = params;
  result.stops = stops;
  result.biases = biases;
  const auto length = static_cast<int64_t>(prompt_ids.size());
  if (params.max_new_tokens > 0 && length == max_model_len) {
    invalid("prompt", "too long: got {} tokens, need at most {} (the model's context of {}, less one for the answer)", length,
            max_model_len - 1, max_model_len);
  }
  if (max_tokens_given && params.max_new_tokens > 0 && length + params.max_new_tokens > max_model_len) {
    invalid("max_tokens", "prompt and answer are too long: got {} and {} tokens, need at most {} together", length,
            params.max_new_tokens, max_model_len);
  }
  result.prompt_only = params.max_new_tokens == 0;
  if (result.prompt_only) {
    result.params.max_new_tokens = result.params.num_beams = 1;
    result.params.temperature = 1;  // nothing is drawn, but several answers without draws would be refused
  }
  result.logprobs = logprobs;
  result.logprob_token_ids = logprob_token_ids;
  result.repetition_detection = repetition_detection;
  result.prompt_logprobs = prompt_logprobs;
  // An echoed prompt shows its own log-probabilities.
  if (echo && logprobs && !result.prompt_logprobs) result.prompt_logprobs = logprobs;
  // What the answers are ranked by, whether or not it is shown.
  if (ranks() && !result.logprobs) result.logprobs = 0;
  result.priority = priority;
  result.cache_salt = cache_salt;
  result.skip_special_tokens = skip_special_tokens;
  if (constraint) result.constraint = constraint->clone();
  result.prompt_ids = std::move(prompt_ids);
  return result;
}

}  // namespace pagoda::server
