// Lengths and cuts.
#include "server/encoder_inputs.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace pagoda::server {

namespace {

// Cut as asked, else held against what there is room for.
Encoding cut(EncodedText encoded, const std::optional<int64_t>& truncate, int64_t most) {
  if (truncate)
    truncate_text(encoded, std::min(*truncate < 0 ? most : *truncate, most), pagoda::Truncation::Strategy::kLongestFirst);
  if (static_cast<int64_t>(encoded.encoding.size()) > most) {
    invalid("input", "too long: got {} tokens, need at most {} (or truncate_prompt_tokens)", encoded.encoding.size(), most);
  }
  return std::move(encoded.encoding);
}

}  // namespace

int64_t tokens_of(const std::vector<SequenceInput>& sequences) {
  int64_t count = 0;
  for (const SequenceInput& sequence : sequences) count += static_cast<int64_t>(sequence.ids.size());
  return count;
}

void check_there(const HttpResponse& response) {
  if (response.gone()) fail(ErrorKind::kDevice, "http", "the client is gone");
}

std::vector<std::string> fit_all(std::vector<std::string> texts, std::string_view where, const TextLimit& limit,
                                 const Truncation& truncation) {
  const size_t tokenized = texts.size() == 1 ? kLongFirst : TextLimit::kAlwaysTokenized;
  for (std::string& text : texts) text = limit.fit(std::move(text), where, truncation, tokenized);
  return texts;
}

SequenceInput head_input(const SequenceModel& model, EncodedText encoded, const std::optional<int64_t>& truncate) {
  return model.input_of(cut(std::move(encoded), truncate, sentence_length(model)));
}

SequenceInput vector_input(const SequenceModel& model, const std::string& text, const SentenceOptions& options,
                           const std::optional<int64_t>& truncate) {
  return sentence_input(model, cut(encode_sentence(model, text, options.prompt), truncate, sentence_length(model)), options);
}

SequenceInput ids_input(const SequenceModel& model, std::vector<int32_t> ids, SentenceOptions options,
                        const Truncation& truncation) {
  truncate_prompt(ids, truncation);
  const int64_t most = sentence_length(model);
  if (std::ssize(ids) > most) {
    invalid("input", "too long: got {} tokens, need at most {} (or truncate_prompt_tokens)", ids.size(), most);
  }
  Encoding encoding;
  encoding.type_ids.assign(ids.size(), 0);
  encoding.ids = std::move(ids);
  options.prompt.clear();
  return sentence_input(model, encoding, options);
}

SequenceInput bare_input(const SequenceModel& model, const std::string& text, const SentenceOptions& options,
                         const Truncation& truncation) {
  const auto ids_of = [&](const std::string& part) { return model.tokenizer()->encode_ids(sentence_text(model, part), false); };
  SequenceInput input = ids_input(model, ids_of(options.prompt + text), options, truncation);
  if (options.layers && !model.sentence().include_prompt) input.pooled_from = std::ssize(ids_of(options.prompt));
  return input;
}

SentenceOptions vector_options(const SequenceModel& model, const std::optional<PoolingType>& asked,
                               const std::string& prompt_name) {
  SentenceOptions options = sentence_options(model, prompt_name);
  if (asked == PoolingType::kLast) options.pooling = {RowPooling::kLastToken};
  if (asked == PoolingType::kMean) options.pooling = {RowPooling::kMean};
  if (asked == PoolingType::kCls) options.pooling = {RowPooling::kCls};
  return options;
}

std::vector<float> vector_of(const SequenceOutput& output, const PoolingParams& params) {
  if (params.dimensions <= 0 || params.dimensions >= output.columns) {
    return params.normalize ? unit_vector(output) : output.values;
  }
  SequenceOutput cut;
  cut.rows = 1;
  cut.columns = params.dimensions;
  cut.values.assign(output.values.begin(), output.values.begin() + params.dimensions);
  return params.normalize ? unit_vector(cut) : cut.values;
}

void check_score(double value) {
  if (!std::isfinite(value)) fail(ErrorKind::kInternal, "scores", "the model's outputs make a score of {}", value);
}

}  // namespace pagoda::server
