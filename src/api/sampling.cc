// Each field of the API's parameters, set where it is given.
#include "api/sampling.h"

#include "base/error.h"

namespace pagoda::api {

namespace {

template <class From, class To>
void set(const std::optional<From>& value, To& field) {
  if (value) field = *value;
}

}  // namespace

pagoda::SamplingParams sampling_params(const SamplingParams& params, pagoda::SamplingParams p) {
  set(params.max_new_tokens, p.max_new_tokens);
  if (params.max_new_tokens) p.max_length = 0;
  set(params.min_new_tokens, p.min_new_tokens);
  if (params.min_new_tokens) p.min_length = 0;

  set(params.temperature, p.temperature);
  set(params.top_k, p.top_k);
  set(params.top_p, p.top_p);
  set(params.min_p, p.min_p);
  set(params.typical_p, p.typical_p);
  if (params.seed) p.seed = params.seed;

  set(params.repetition_penalty, p.repetition_penalty);
  set(params.presence_penalty, p.presence_penalty);
  set(params.frequency_penalty, p.frequency_penalty);
  set(params.no_repeat_ngram_size, p.no_repeat_ngram_size);
  if (!params.logit_bias.empty()) p.logit_bias = params.logit_bias;
  if (!params.bad_words_ids.empty()) p.bad_words_ids = params.bad_words_ids;

  if (!params.stop.empty()) p.stop_strings = params.stop;
  if (!params.stop_token_ids.empty()) p.stop_token_ids = params.stop_token_ids;
  p.include_stop_str = params.include_stop_str_in_output;
  p.ignore_eos = params.ignore_eos;

  set(params.num_return_sequences, p.num_return_sequences);
  set(params.num_beams, p.num_beams);
  set(params.length_penalty, p.length_penalty);
  return p;
}

GrammarSource grammar_source(const StructuredOutputs& outputs) {
  GrammarSource source;
  int given = 0;
  const auto take = [&](bool is_given, GrammarSource::Kind kind, const std::string& text) {
    if (!is_given) return;
    ++given;
    source.kind = kind;
    source.text = text;
  };
  take(!outputs.json.empty(), GrammarSource::Kind::kJsonSchema, outputs.json);
  take(outputs.json_object, GrammarSource::Kind::kJsonObject, "");
  take(!outputs.regex.empty(), GrammarSource::Kind::kRegex, outputs.regex);
  take(!outputs.grammar.empty(), GrammarSource::Kind::kGrammar, outputs.grammar);
  take(!outputs.choice.empty(), GrammarSource::Kind::kChoice, "");
  if (given != 1) invalid("structured_outputs", "got {} forms, need one of json, json_object, regex, choice, grammar", given);
  source.choices = outputs.choice;
  source.where = "structured_outputs";
  return source;
}

}  // namespace pagoda::api
