// Checks of sampling parameters, and their defaults from generation_config.json.
#include "generate/params.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda {
namespace {

constexpr int64_t kMostSequences = 16384;
constexpr int64_t kMostBeams = 4096;
const char* const kWhere = "sampling";

void check_number(const char* name, double value, bool good, const char* need) {
  if (!std::isfinite(value) || !good) invalid(kWhere, "{} is out of range: got {}, need {}", name, value, need);
}

void check_count(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    if (most == std::numeric_limits<int64_t>::max()) {
      invalid(kWhere, "{} is out of range: got {}, need {} or more", name, value, least);
    }
    invalid(kWhere, "{} is out of range: got {}, need {} to {}", name, value, least, most);
  }
}

void check_id(const char* name, int64_t id, int64_t vocab_size) {
  if (id < 0 || id >= vocab_size) {
    invalid(kWhere, "{} holds an id outside the vocabulary: got {}, need 0 to {}", name, id, vocab_size - 1);
  }
}

void check_ids(const char* name, const std::vector<int32_t>& ids, int64_t vocab_size) {
  if (ids.empty()) invalid(kWhere, "{} holds an empty list: got [], need at least one id", name);
  for (const int32_t id : ids) check_id(name, id, vocab_size);
}

void check_bias(const char* name, double bias) {
  if (std::isnan(bias) || bias == std::numeric_limits<double>::infinity()) {
    invalid(kWhere, "{} holds a bias that is no usable number: got {}, need a finite number or -inf", name, bias);
  }
}

void check_not_suppressed(const char* name, const std::vector<int32_t>& forced, const std::vector<int32_t>& suppressed) {
  const auto is_suppressed = [&](int32_t id) {
    return std::find(suppressed.begin(), suppressed.end(), id) != suppressed.end();
  };
  if (!forced.empty() && std::all_of(forced.begin(), forced.end(), is_suppressed)) {
    invalid(kWhere, "{} is forced and suppressed: got id {} in suppress_tokens too, need a token that may be chosen", name,
            forced.front());
  }
}

int32_t read_id(const Json& value, const std::string& where) {
  const int64_t id = value.as_int(where);
  if (id < std::numeric_limits<int32_t>::min() || id > std::numeric_limits<int32_t>::max()) {
    invalid(where, "token id out of range: got {}, need 32 bits", id);
  }
  return static_cast<int32_t>(id);
}

std::vector<int32_t> read_ids(const Json& value, const std::string& where) {
  std::vector<int32_t> ids;
  if (value.is_array()) {
    for (const Json& element : value.as_array(where)) ids.push_back(read_id(element, where));
  } else {
    ids.push_back(read_id(value, where));
  }
  return ids;
}

class Reader {
 public:
  Reader(const Json& config, std::string_view where) : config_(config), where_(where) {}

  // The member, or null where it is missing or null.
  const Json* find(const char* key) const {
    const Json* value = config_.find(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }
  std::string at(const char* key) const { return where_ + ": " + key; }
  void number(const char* key, double& into) const { into = config_.get_double(key, into, at(key)); }
  void count(const char* key, int64_t& into) const { into = config_.get_int(key, into, at(key)); }
  void ids(const char* key, std::vector<int32_t>& into) const {
    if (const Json* value = find(key)) into = read_ids(*value, at(key));
  }
  // One id; HF also takes a list of one.
  void id(const char* key, std::optional<int32_t>& into) const {
    if (const Json* value = find(key)) {
      const std::vector<int32_t> all = read_ids(*value, at(key));
      if (!all.empty()) into = all.front();
    }
  }

 private:
  const Json& config_;
  std::string where_;
};

void read_temperature(const Reader& reader, SamplingParams& params) {
  const Json* do_sample = reader.find("do_sample");
  const Json* temperature = reader.find("temperature");
  const double named = temperature == nullptr ? 1.0 : temperature->as_double(reader.at("temperature"));
  if (do_sample != nullptr) {
    params.temperature = do_sample->as_bool(reader.at("do_sample")) ? named : 0.0;
  } else if (temperature != nullptr) {
    params.temperature = named;
  }
}

void read_ends(const Reader& reader, SamplingParams& params) {
  reader.id("bos_token_id", params.bos_token_id);
  reader.ids("eos_token_id", params.eos_token_ids);
  reader.id("forced_bos_token_id", params.forced_bos_token_id);
  reader.ids("forced_eos_token_id", params.forced_eos_token_ids);
  if (const Json* stops = reader.find("stop_strings")) {
    if (stops->is_string()) {
      params.stop_strings.push_back(stops->as_string(reader.at("stop_strings")));
    } else {
      for (const Json& stop : stops->as_array(reader.at("stop_strings"))) {
        params.stop_strings.push_back(stop.as_string(reader.at("stop_strings")));
      }
    }
  }
}

void read_token_rules(const Reader& reader, SamplingParams& params) {
  reader.ids("suppress_tokens", params.suppress_tokens);
  reader.ids("begin_suppress_tokens", params.begin_suppress_tokens);
  if (const Json* words = reader.find("bad_words_ids")) {
    const std::string where = reader.at("bad_words_ids");
    for (const Json& word : words->as_array(where)) {
      if (!word.is_array()) invalid(where, "wrong type: got {}, need a list of lists of ids", word.type_name());
      params.bad_words_ids.push_back(read_ids(word, where));
    }
  }
  if (const Json* biases = reader.find("sequence_bias")) {
    const std::string where = reader.at("sequence_bias");
    for (const Json& pair : biases->as_array(where)) {
      const Json::Array& parts = pair.as_array(where);
      if (parts.size() != 2 || !parts[0].is_array()) invalid(where, "wrong shape: got {}, need [[ids], bias]", pair.dump());
      params.sequence_bias.push_back({read_ids(parts[0], where), parts[1].as_double(where)});
    }
  }
}

}  // namespace

std::vector<int32_t> SamplingParams::end_token_ids() const {
  std::vector<int32_t> ids;
  const auto add = [&](int32_t id) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  if (!ignore_eos) {
    for (const int32_t id : eos_token_ids) add(id);
  }
  for (const int32_t id : stop_token_ids) add(id);
  return ids;
}

void settle_lengths(SamplingParams& params, int64_t prompt_length) {
  if (params.max_length > 0) {
    if (prompt_length >= params.max_length) {
      invalid(kWhere, "max_length leaves no room for an answer: got a prompt of {} tokens, need fewer than {}", prompt_length,
              params.max_length);
    }
    params.max_new_tokens = params.max_length - prompt_length;
  }
  if (params.min_length > 0) params.min_new_tokens = std::max<int64_t>(0, params.min_length - prompt_length);
  params.max_length = params.min_length = 0;
}

std::vector<std::string> keys_without_effect(const Json& config) {
  // With the value that means nothing; null always does.
  static const std::pair<const char*, Json> kKeys[] = {{"exponential_decay_length_penalty", Json()},
                                                       {"guidance_scale", Json(1.0)},
                                                       {"encoder_repetition_penalty", Json(1.0)},
                                                       {"encoder_no_repeat_ngram_size", Json(0)},
                                                       {"num_beam_groups", Json(1)},
                                                       {"diversity_penalty", Json(0.0)},
                                                       {"penalty_alpha", Json(0.0)},
                                                       {"top_h", Json()},
                                                       {"renormalize_logits", Json(false)},
                                                       {"watermarking_config", Json()},
                                                       {"token_healing", Json(false)},
                                                       {"dola_layers", Json()},
                                                       {"constraints", Json()},
                                                       {"force_words_ids", Json()}};
  std::vector<std::string> keys;
  for (const auto& [key, none] : kKeys) {
    const Json* value = config.find(key);
    if (value != nullptr && !value->is_null() && !(*value == none)) keys.emplace_back(key);
  }
  return keys;
}

void validate(const SamplingParams& params, int64_t vocab_size) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  if (vocab_size < 1) invalid(kWhere, "the vocabulary is empty: got {}, need at least one token", vocab_size);
  const SamplingParams& p = params;

  check_count("max_new_tokens", p.max_new_tokens, 1, kMost);
  check_count("min_new_tokens", p.min_new_tokens, 0, kMost);
  check_count("max_length", p.max_length, 0, kMost);
  check_count("min_length", p.min_length, 0, kMost);

  check_number("temperature", p.temperature, p.temperature >= 0, "0 (greedy) or more");
  check_count("top_k", p.top_k, -1, kMost);
  check_number("top_p", p.top_p, p.top_p >= 0 && p.top_p <= 1, "0 to 1");
  check_number("min_p", p.min_p, p.min_p >= 0 && p.min_p <= 1, "0 to 1");
  check_number("typical_p", p.typical_p, p.typical_p > 0 && p.typical_p <= 1, "above 0, 1 at most");
  check_number("epsilon_cutoff", p.epsilon_cutoff, p.epsilon_cutoff >= 0 && p.epsilon_cutoff < 1, "0 (off) to below 1");
  check_number("eta_cutoff", p.eta_cutoff, p.eta_cutoff >= 0 && p.eta_cutoff < 1, "0 (off) to below 1");
  check_number("repetition_penalty", p.repetition_penalty, p.repetition_penalty > 0, "above 0");
  check_number("presence_penalty", p.presence_penalty, std::fabs(p.presence_penalty) <= 2, "-2 to 2");
  check_number("frequency_penalty", p.frequency_penalty, std::fabs(p.frequency_penalty) <= 2, "-2 to 2");
  check_count("no_repeat_ngram_size", p.no_repeat_ngram_size, 0, kMost);

  for (const auto& word : p.bad_words_ids) check_ids("bad_words_ids", word, vocab_size);
  for (const auto& [ids, bias] : p.sequence_bias) {
    check_ids("sequence_bias", ids, vocab_size);
    check_bias("sequence_bias", bias);
  }
  for (const auto& [id, bias] : p.logit_bias) {
    check_id("logit_bias", id, vocab_size);
    check_bias("logit_bias", bias);
  }
  if (p.forced_bos_token_id) check_id("forced_bos_token_id", *p.forced_bos_token_id, vocab_size);
  for (const int32_t id : p.forced_eos_token_ids) check_id("forced_eos_token_id", id, vocab_size);
  if (p.forced_bos_token_id) check_not_suppressed("forced_bos_token_id", {*p.forced_bos_token_id}, p.suppress_tokens);
  check_not_suppressed("forced_eos_token_id", p.forced_eos_token_ids, p.suppress_tokens);
  for (const int32_t id : p.stop_token_ids) check_id("stop_token_ids", id, vocab_size);
  for (const std::string& stop : p.stop_strings) {
    if (stop.empty()) invalid(kWhere, "stop_strings holds an empty string: got \"\", need at least one character");
    if (!utf8_valid(stop)) {
      invalid(kWhere, "stop_strings holds one that is not UTF-8: got a bad byte at {}, need UTF-8", utf8_invalid_at(stop));
    }
  }

  check_count("num_return_sequences", p.num_return_sequences, 1, kMostSequences);
  check_count("num_beams", p.num_beams, 1, kMostBeams);
  check_number("length_penalty", p.length_penalty, true, "a finite number");
  if (p.num_beams > 1 && p.num_return_sequences > p.num_beams) {
    invalid(kWhere, "num_return_sequences is above num_beams: got {}, need {} at most", p.num_return_sequences, p.num_beams);
  }
  if (p.num_beams == 1 && p.num_return_sequences > 1 && !p.do_sample()) {
    invalid(kWhere,
            "num_return_sequences needs sampling or beams: got {} with temperature {} and num_beams 1, need temperature above "
            "0, num_beams of at least num_return_sequences, or num_return_sequences 1",
            p.num_return_sequences, p.temperature);
  }
}

SamplingParams from_generation_config(const Json& config, std::string_view where) {
  if (!config.is_object()) invalid(where, "wrong type: got {}, need an object", config.type_name());
  const Reader reader(config, where);
  SamplingParams params;
  reader.count("max_new_tokens", params.max_new_tokens);
  reader.count("min_new_tokens", params.min_new_tokens);
  // The two above win, as in HF.
  if (reader.find("max_new_tokens") == nullptr) reader.count("max_length", params.max_length);
  if (reader.find("min_new_tokens") == nullptr) reader.count("min_length", params.min_length);
  read_temperature(reader, params);
  reader.count("top_k", params.top_k);
  reader.number("top_p", params.top_p);
  reader.number("min_p", params.min_p);
  reader.number("typical_p", params.typical_p);
  reader.number("epsilon_cutoff", params.epsilon_cutoff);
  reader.number("eta_cutoff", params.eta_cutoff);
  reader.number("repetition_penalty", params.repetition_penalty);
  reader.count("no_repeat_ngram_size", params.no_repeat_ngram_size);
  read_token_rules(reader, params);
  read_ends(reader, params);
  reader.count("num_return_sequences", params.num_return_sequences);
  reader.count("num_beams", params.num_beams);
  reader.number("length_penalty", params.length_penalty);
  if (const Json* early = reader.find("early_stopping")) {
    if (early->is_bool()) {
      params.early_stopping = early->as_bool(reader.at("early_stopping")) ? EarlyStopping::kTrue : EarlyStopping::kFalse;
    } else {
      params.early_stopping = parse_early_stopping(early->as_string(reader.at("early_stopping")));
    }
  }
  return params;
}

EarlyStopping parse_early_stopping(std::string_view text) {
  if (text == "never") return EarlyStopping::kNever;
  if (text == "true" || text == "True" || text == "1") return EarlyStopping::kTrue;
  if (text == "false" || text == "False" || text == "0") return EarlyStopping::kFalse;
  invalid(kWhere, "early_stopping is unknown: got \"{}\", need true, false or never", text);
}

}  // namespace pagoda
