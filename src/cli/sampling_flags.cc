// Flags of sampling, each bound to its parameter.
#include "cli/sampling_flags.h"

#include <algorithm>
#include <memory>

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

// Adds flags whose values, where they are given, change the parameters.
class SamplingFlags::Adder {
 public:
  Adder(Verb verb, SamplingFlags& flags) : verb_(verb), flags_(flags) {}
  const Verb& verb() const { return verb_; }

  template <class T, class Set>
  Flag value(const std::string& names, const std::string& help, Set set) const {
    const auto value = std::make_shared<T>();
    const Flag option = verb_.add_option(names, *value, help)->group(kGroup);
    flags_.setters_.emplace_back(option, [value, set](SamplingParams& p) { set(p, *value); });
    return option;
  }
  void flag(const std::string& names, const std::string& help, const std::function<void(SamplingParams&)>& set) const {
    flags_.setters_.emplace_back(verb_.add_flag(names, help)->group(kGroup), set);
  }

 private:
  static constexpr const char* kGroup = "Sampling";
  Verb verb_;
  SamplingFlags& flags_;
};

// How many tokens.
void SamplingFlags::add_lengths(const Adder& add) {
  add.value<int64_t>("--max-new-tokens", "Most tokens to generate (default: the model's, else 256)",
                     [](SamplingParams& p, int64_t v) {
                       p.max_new_tokens = v;
                       p.max_length = 0;
                     });
  add.value<int64_t>("--min-new-tokens,--min-tokens", "Neither an end token nor a stop string ends the text before this many",
                     [](SamplingParams& p, int64_t v) {
                       p.min_new_tokens = v;
                       p.min_length = 0;
                     });
  for (const bool most : {true, false}) {
    const Flag other = add.verb().get_option(most ? "--max-new-tokens" : "--min-new-tokens");
    add.value<int64_t>(
           most ? "--max-length" : "--min-length",
           most ? "Most tokens of prompt and answer together; --max-new-tokens wins" : "Least; --min-new-tokens wins",
           [other, most](SamplingParams& p, int64_t v) {
             if (other->count() == 0) (most ? p.max_length : p.min_length) = v;
           })
        ->check(most ? positive() : non_negative());
  }
}

// Which tokens may be drawn, and how.
void SamplingFlags::add_cuts(const Adder& add) {
  const Flag temperature =
      add.value<double>("--temperature", "0 is greedy", [](SamplingParams& p, double v) { p.temperature = v; });
  add.value<int64_t>("--top-k", "Keep the k likeliest tokens; 0 or -1: all", [](SamplingParams& p, int64_t v) { p.top_k = v; });
  add.value<double>("--top-p", "Keep the likeliest tokens that sum to p", [](SamplingParams& p, double v) { p.top_p = v; });
  add.value<double>("--min-p", "Drop tokens less likely than p times the likeliest",
                    [](SamplingParams& p, double v) { p.min_p = v; });
  add.value<double>("--typical-p", "Keep the most typical tokens that sum to p",
                    [](SamplingParams& p, double v) { p.typical_p = v; });
  add.value<double>("--epsilon-cutoff", "Drop tokens less likely than this",
                    [](SamplingParams& p, double v) { p.epsilon_cutoff = v; });
  add.value<double>("--eta-cutoff", "Drop by entropy", [](SamplingParams& p, double v) { p.eta_cutoff = v; });
  add.value<uint64_t>("--seed", "Seed of the draws (default: another each time)",
                      [](SamplingParams& p, uint64_t v) { p.seed = v; })
      ->check(non_negative());
  add.flag("--do-sample", "Draw tokens even where the model's default is greedy (temperature 1 unless given)",
           [temperature](SamplingParams& p) {
             if (p.do_sample()) return;
             if (temperature->count() > 0)
               invalid("--do-sample", "draws tokens, and --temperature 0 is greedy: give one of them");
             p.temperature = 1;
           });
}

// What is added to logits, and what is never said.
void SamplingFlags::add_penalties(const Adder& add) {
  add.value<double>("--repetition-penalty", "Of tokens in prompt or output; 1 is none",
                    [](SamplingParams& p, double v) { p.repetition_penalty = v; });
  add.value<double>("--presence-penalty", "Taken from the logit of every token in the output",
                    [](SamplingParams& p, double v) { p.presence_penalty = v; });
  add.value<double>("--frequency-penalty", "The same, times its count",
                    [](SamplingParams& p, double v) { p.frequency_penalty = v; });
  add.value<int64_t>("--no-repeat-ngram-size", "No n tokens in a row twice; 0: off",
                     [](SamplingParams& p, int64_t v) { p.no_repeat_ngram_size = v; });
  add.value<std::string>("--bad-words-ids", "Never these sequences: [[id, ...], ...]",
                         [](SamplingParams& p, const std::string& v) {
                           p.bad_words_ids.clear();
                           const Json json = Json::parse(v, "--bad-words-ids");
                           for (const Json& word : json.as_array("--bad-words-ids"))
                             p.bad_words_ids.push_back(id_list(word, "--bad-words-ids"));
                         });
  add.value<std::string>("--logit-bias", "Added to logits: {\"ID\": X, ...}", [](SamplingParams& p, const std::string& v) {
    p.logit_bias.clear();
    const Json json = Json::parse(v, "--logit-bias");
    for (const JsonMember& member : json.as_object("--logit-bias")) {
      p.logit_bias[id_key(member.key, "--logit-bias")] = member.value.as_double("--logit-bias");
    }
  });
  add.value<std::string>(
      "--sequence-bias", "Added where a sequence would end: [[[id, ...], X], ...]",
      [](SamplingParams& p, const std::string& v) {
        p.sequence_bias.clear();
        const Json json = Json::parse(v, "--sequence-bias");
        for (const Json& entry : json.as_array("--sequence-bias")) {
          const Json::Array& pair = entry.as_array("--sequence-bias");
          if (pair.size() != 2) invalid("--sequence-bias", "got {} parts, need [[id, ...], bias]", pair.size());
          p.sequence_bias.push_back({id_list(pair[0], "--sequence-bias"), pair[1].as_double("--sequence-bias")});
        }
      });
  add.value<std::string>("--suppress-tokens", "Never these: [id, ...]", [](SamplingParams& p, const std::string& v) {
    p.suppress_tokens = id_list(Json::parse(v, "--suppress-tokens"), "--suppress-tokens");
  });
  add.value<std::string>(
      "--begin-suppress-tokens", "Not as the first new token: [id, ...]", [](SamplingParams& p, const std::string& v) {
        p.begin_suppress_tokens = id_list(Json::parse(v, "--begin-suppress-tokens"), "--begin-suppress-tokens");
      });
}

// What ends a text.
void SamplingFlags::add_ends(const Adder& add) {
  add.value<std::string>(
      "--eos-token-id", "End tokens instead of the model's: id or [id, ...]", [](SamplingParams& p, const std::string& v) {
        const Json json = Json::parse(v, "--eos-token-id");
        p.eos_token_ids = json.is_array() ? id_list(json, "--eos-token-id") : std::vector<int32_t>{one_id(v, "--eos-token-id")};
      });
  add.value<std::string>("--stop-token-ids", "Further end tokens: [id, ...]", [](SamplingParams& p, const std::string& v) {
    p.stop_token_ids = id_list(Json::parse(v, "--stop-token-ids"), "--stop-token-ids");
  });
  add.value<std::vector<std::string>>("--stop-strings", "Stop where this text appears (may be given several times)",
                                      [](SamplingParams& p, const std::vector<std::string>& v) { p.stop_strings = v; })
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
  add.flag("--ignore-eos", "The end token may appear and does not stop", [](SamplingParams& p) { p.ignore_eos = true; });
  add.flag("--include-stop-str-in-output", "Keep the stop string or token in the text",
           [](SamplingParams& p) { p.include_stop_str = true; });
}

// How many answers, and beams.
void SamplingFlags::add_answers(const Adder& add) {
  add.value<int64_t>("--num-return-sequences,--n", "Answers to the prompt",
                     [](SamplingParams& p, int64_t v) { p.num_return_sequences = v; });
  add.value<int64_t>("--num-beams", "Beam search with this many beams; 1: none",
                     [](SamplingParams& p, int64_t v) { p.num_beams = v; });
  add.value<double>("--length-penalty", "Exponent of the length that divides a beam's score",
                    [](SamplingParams& p, double v) { p.length_penalty = v; });
  add.value<std::string>("--early-stopping", "When beam search ends",
                         [](SamplingParams& p, const std::string& v) { p.early_stopping = parse_early_stopping(v); })
      ->type_name("false|true|never");
}

void add_sampling_flags(Verb verb, SamplingFlags& flags) {
  const SamplingFlags::Adder add(verb, flags);
  SamplingFlags::add_lengths(add);
  SamplingFlags::add_cuts(add);
  SamplingFlags::add_penalties(add);
  SamplingFlags::add_ends(add);
  SamplingFlags::add_answers(add);
}

}  // namespace pagoda::cli
