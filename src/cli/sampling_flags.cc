// Flags of sampling, each bound to its parameter.
#include "cli/sampling_flags.h"

#include <algorithm>
#include <memory>
#include <type_traits>

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda::cli {

namespace {

std::vector<int32_t> id_list(const Json& json, const std::string& where) { return parse_ids(json, int64_t{1} << 31, where); }

int32_t id_key(const std::string& text, const std::string& where) {
  const bool digits = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || text.size() > 10) invalid(where, "no token id: got '{}', need digits", utf8_cut(text, 32));
  Json list = Json::array();
  list.push_back(static_cast<int64_t>(std::stoll(text)));
  return id_list(list, where)[0];
}

int32_t one_id(const std::string& text, const std::string& where) {
  Json list = Json::array();
  list.push_back(Json::parse(text, where));
  return id_list(list, where)[0];
}

}  // namespace

SamplingParams SamplingFlags::apply(SamplingParams defaults) const {
  for (const auto& [option, set] : setters_) {
    if (option->count() > 0) set(defaults);
  }
  return defaults;
}

void SamplingFlags::keep(Verb verb, const std::function<bool(Flag option)>& wanted) {
  std::erase_if(setters_, [&](const auto& setter) { return !wanted(setter.first) && verb->remove_option(setter.first); });
}

void add_sampling_flags(Verb verb, SamplingFlags& flags) {
  const std::string group = "Sampling";
  // Binds a flag with a value of type T to what it does to the parameters, if it was given.
  const auto bind = [&](const auto& zero, const std::string& names, const std::string& help, auto set) {
    using T = std::decay_t<decltype(zero)>;
    const auto value = std::make_shared<T>();
    const Flag option = verb->add_option(names, *value, help)->group(group);
    flags.setters_.emplace_back(option, [value, set](SamplingParams& p) { set(p, *value); });
    return option;
  };
  const auto text = std::string();
  bind(int64_t{}, "--max-new-tokens", "Most tokens to generate (default: the model's, else 256)",
       [](SamplingParams& p, int64_t v) {
         p.max_new_tokens = v;
         p.max_length = 0;
       });
  bind(int64_t{}, "--min-new-tokens,--min-tokens", "Neither an end token nor a stop string ends the text before this many",
       [](SamplingParams& p, int64_t v) {
         p.min_new_tokens = v;
         p.min_length = 0;
       });
  for (const bool most : {true, false}) {
    const Flag other = verb->get_option(most ? "--max-new-tokens" : "--min-new-tokens");
    bind(int64_t{}, most ? "--max-length" : "--min-length",
         most ? "Most tokens of prompt and answer together; --max-new-tokens wins" : "Least; --min-new-tokens wins",
         [other, most](SamplingParams& p, int64_t v) {
           if (other->count() == 0) (most ? p.max_length : p.min_length) = v;
         })
        ->check(most ? positive() : non_negative());
  }
  const Flag temperature =
      bind(double{}, "--temperature", "0 is greedy", [](SamplingParams& p, double v) { p.temperature = v; });
  bind(int64_t{}, "--top-k", "Keep the k likeliest tokens; 0 or -1: all", [](SamplingParams& p, int64_t v) { p.top_k = v; });
  bind(double{}, "--top-p", "Keep the likeliest tokens that sum to p", [](SamplingParams& p, double v) { p.top_p = v; });
  bind(double{}, "--min-p", "Drop tokens less likely than p times the likeliest",
       [](SamplingParams& p, double v) { p.min_p = v; });
  bind(double{}, "--typical-p", "Keep the most typical tokens that sum to p",
       [](SamplingParams& p, double v) { p.typical_p = v; });
  bind(double{}, "--epsilon-cutoff", "Drop tokens less likely than this",
       [](SamplingParams& p, double v) { p.epsilon_cutoff = v; });
  bind(double{}, "--eta-cutoff", "Drop by entropy", [](SamplingParams& p, double v) { p.eta_cutoff = v; });
  bind(uint64_t{}, "--seed", "Seed of the draws (default: another each time)", [](SamplingParams& p, uint64_t v) {
    p.seed = v;
  })->check(non_negative());
  bind(double{}, "--repetition-penalty", "Of tokens in prompt or output; 1 is none",
       [](SamplingParams& p, double v) { p.repetition_penalty = v; });
  bind(double{}, "--presence-penalty", "Taken from the logit of every token in the output",
       [](SamplingParams& p, double v) { p.presence_penalty = v; });
  bind(double{}, "--frequency-penalty", "The same, times its count",
       [](SamplingParams& p, double v) { p.frequency_penalty = v; });
  bind(int64_t{}, "--no-repeat-ngram-size", "No n tokens in a row twice; 0: off",
       [](SamplingParams& p, int64_t v) { p.no_repeat_ngram_size = v; });
  bind(text, "--bad-words-ids", "Never these sequences: [[id, ...], ...]", [](SamplingParams& p, const std::string& v) {
    p.bad_words_ids.clear();
    const Json json = Json::parse(v, "--bad-words-ids");
    for (const Json& word : json.as_array("--bad-words-ids")) p.bad_words_ids.push_back(id_list(word, "--bad-words-ids"));
  });
  bind(text, "--logit-bias", "Added to logits: {\"ID\": X, ...}", [](SamplingParams& p, const std::string& v) {
    p.logit_bias.clear();
    const Json json = Json::parse(v, "--logit-bias");
    for (const JsonMember& member : json.as_object("--logit-bias")) {
      p.logit_bias[id_key(member.key, "--logit-bias")] = member.value.as_double("--logit-bias");
    }
  });
  bind(text, "--sequence-bias", "Added where a sequence would end: [[[id, ...], X], ...]",
       [](SamplingParams& p, const std::string& v) {
         p.sequence_bias.clear();
         const Json json = Json::parse(v, "--sequence-bias");
         for (const Json& entry : json.as_array("--sequence-bias")) {
           const Json::Array& pair = entry.as_array("--sequence-bias");
           if (pair.size() != 2) invalid("--sequence-bias", "got {} parts, need [[id, ...], bias]", pair.size());
           p.sequence_bias.push_back({id_list(pair[0], "--sequence-bias"), pair[1].as_double("--sequence-bias")});
         }
       });
  bind(text, "--suppress-tokens", "Never these: [id, ...]", [](SamplingParams& p, const std::string& v) {
    p.suppress_tokens = id_list(Json::parse(v, "--suppress-tokens"), "--suppress-tokens");
  });
  bind(text, "--begin-suppress-tokens", "Not as the first new token: [id, ...]", [](SamplingParams& p, const std::string& v) {
    p.begin_suppress_tokens = id_list(Json::parse(v, "--begin-suppress-tokens"), "--begin-suppress-tokens");
  });
  bind(text, "--eos-token-id", "End tokens instead of the model's: id or [id, ...]",
       [](SamplingParams& p, const std::string& v) {
         const Json json = Json::parse(v, "--eos-token-id");
         p.eos_token_ids =
             json.is_array() ? id_list(json, "--eos-token-id") : std::vector<int32_t>{one_id(v, "--eos-token-id")};
       });
  bind(text, "--stop-token-ids", "Further end tokens: [id, ...]", [](SamplingParams& p, const std::string& v) {
    p.stop_token_ids = id_list(Json::parse(v, "--stop-token-ids"), "--stop-token-ids");
  });
  bind(std::vector<std::string>(), "--stop-strings", "Stop where this text appears (may be given several times)",
       [](SamplingParams& p, const std::vector<std::string>& v) { p.stop_strings = v; })
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
  bind(int64_t{}, "--num-return-sequences,--n", "Answers to the prompt",
       [](SamplingParams& p, int64_t v) { p.num_return_sequences = v; });
  bind(int64_t{}, "--num-beams", "Beam search with this many beams; 1: none",
       [](SamplingParams& p, int64_t v) { p.num_beams = v; });
  bind(double{}, "--length-penalty", "Exponent of the length that divides a beam's score",
       [](SamplingParams& p, double v) { p.length_penalty = v; });
  bind(text, "--early-stopping", "When beam search ends", [](SamplingParams& p, const std::string& v) {
    p.early_stopping = parse_early_stopping(v);
  })->type_name("false|true|never");
  const auto flag = [&](const std::string& names, const std::string& help, auto set) {
    flags.setters_.emplace_back(verb->add_flag(names, help)->group(group), set);
  };
  flag("--do-sample", "Draw tokens even where the model's default is greedy (temperature 1 unless given)",
       [temperature](SamplingParams& p) {
         if (p.do_sample()) return;
         if (temperature->count() > 0) invalid("--do-sample", "draws tokens, and --temperature 0 is greedy: give one of them");
         p.temperature = 1;
       });
  flag("--ignore-eos", "The end token may appear and does not stop", [](SamplingParams& p) { p.ignore_eos = true; });
  flag("--include-stop-str-in-output", "Keep the stop string or token in the text",
       [](SamplingParams& p) { p.include_stop_str = true; });
}

}  // namespace pagoda::cli
