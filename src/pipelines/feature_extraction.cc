// feature-extraction (HF pipelines/feature_extraction.py), with one vector a text on request; and sentence-similarity.
#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"
#include "pipelines/tasks.h"
#include "text/unicode.h"

namespace pagoda::tasks {

namespace {

Json vector_json(const float* values, int64_t count) {
  std::vector<Json> list;
  list.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) list.emplace_back(static_cast<double>(values[i]));
  return Json(std::move(list));
}

class FeatureExtraction final : public Pipeline {
 public:
  FeatureExtraction(std::string task, std::shared_ptr<const SequenceModel> model)
      : Pipeline(std::move(task), std::move(model)) {}

 protected:
  InputReader reader(TaskParameters& parameters) const override {
    const std::string pooling = parameters.text("pooling", "none");
    const TruncationChoice truncation = truncation_of(parameters);
    parameters.flag("return_tensors", false);  // a tensor is lists in JSON too
    if (pooling != "none") return pooled_reader(pooling, parameters, truncation);
    for (const char* key : {"normalize", "prompt", "prompt_name"}) {
      const Json* given = parameters.take(key);
      const bool wanted = given != nullptr && !(given->is_bool() && !given->as_bool(key));
      if (wanted) invalid(key, "needs a pooling: one vector a text");
    }
    return [this, truncation](const Json& input) {
      EncodedText text = model().encode(text_of(input, "a string"));
      truncation.apply(text, model().max_length());
      PreparedInput prepared;
      SequenceInput sequence = model().input_of(text.encoding);
      sequence.hidden = true;
      prepared.sequences.push_back(std::move(sequence));
      prepared.finish = [](const std::vector<SequenceOutput>& outputs) {  // [1, tokens, hidden_size]
        Json rows = Json::array(), batch = Json::array();
        for (int64_t row = 0; row < outputs[0].rows; ++row)
          rows.push_back(vector_json(outputs[0].row(row), outputs[0].columns));
        batch.push_back(std::move(rows));
        return batch;
      };
      return prepared;
    };
  }

 private:
  // One vector a text, which is cut to the folder's max_seq_length unless the caller says otherwise.
  InputReader pooled_reader(const std::string& pooling, TaskParameters& parameters, const TruncationChoice& truncation) const {
    const bool has_prompt_name = parameters.take("prompt_name") != nullptr;
    const std::string prompt_name = parameters.text("prompt_name", "");
    SentenceOptions options;
    if (pooling == "auto") {
      options = sentence_options(model(), prompt_name);
    } else {
      options.pooling = {parse_row_pooling(pooling, "pooling")};
      if (has_prompt_name) options.prompt = prompt_text(model().sentence(), prompt_name);
    }
    options.prompt = parameters.text("prompt", options.prompt);
    options.normalize = parameters.flag("normalize", options.normalize);
    const bool unit = parameters.flag("normalize", false);
    return [this, options, truncation, unit](const Json& input) {
      EncodedText text = encode_sentence(model(), text_of(input, "a string"), options.prompt);
      truncation.apply(text, sentence_length(model()), true);
      PreparedInput prepared;
      prepared.sequences.push_back(sentence_input(model(), text.encoding, options));
      prepared.finish = [unit](const std::vector<SequenceOutput>& outputs) {
        const std::vector<float> vector = unit ? unit_vector(outputs[0]) : outputs[0].values;
        return vector_json(vector.data(), static_cast<int64_t>(vector.size()));
      };
      return prepared;
    };
  }

  // In tokenize_kwargs or beside them, which HF's pipeline takes as one.
  TruncationChoice truncation_of(TaskParameters& parameters) const {
    Json kwargs = Json::object();
    if (const Json* given = parameters.take("tokenize_kwargs")) kwargs = *given;
    if (!kwargs.is_object()) invalid("tokenize_kwargs", "wrong type: got {}, need object", kwargs.type_name());
    for (const char* key : {"truncation", "max_length"}) {
      const Json* given = parameters.take(key);
      if (given == nullptr) continue;
      if (kwargs.contains(key)) invalid(key, "given twice: also in tokenize_kwargs");
      kwargs.set(key, *given);
    }
    TaskParameters tokenizing(kwargs, "tokenize_kwargs");
    const TruncationChoice truncation = read_truncation(tokenizing, model());
    tokenizing.finish();
    return truncation;
  }
};

class SentenceSimilarity final : public Pipeline {
 public:
  SentenceSimilarity(std::string task, std::shared_ptr<const SequenceModel> model)
      : Pipeline(std::move(task), std::move(model)) {}

 protected:
  InputReader reader(TaskParameters&) const override {
    return [this](const Json& input) { return prepare_one(input); };
  }

 private:
  PreparedInput prepare_one(const Json& input) const {
    constexpr const char* kNeed = R"({"source_sentence": ..., "sentences": [...]})";
    const Json *source = input.find("source_sentence"), *sentences = input.find("sentences");
    if (source == nullptr || sentences == nullptr || !sentences->is_array()) {
      invalid("inputs", "missing fields: need {}", kNeed);
    }
    PreparedInput prepared;
    const SentenceOptions options = sentence_options(model());
    prepared.sequences.push_back(sentence_input(model(), text_of(*source, kNeed), options));
    for (const Json& each : sentences->as_array("sentences")) {
      prepared.sequences.push_back(sentence_input(model(), text_of(each, kNeed), options));
    }
    prepared.finish = [](const std::vector<SequenceOutput>& outputs) {
      const std::vector<float> first = unit_vector(outputs[0]);
      Json scores = Json::array();
      for (size_t i = 1; i < outputs.size(); ++i) {
        const std::vector<float> other = unit_vector(outputs[i]);
        double dot = 0;
        for (size_t c = 0; c < first.size(); ++c) dot += static_cast<double>(first[c]) * static_cast<double>(other[c]);
        scores.push_back(static_cast<double>(static_cast<float>(dot)));
      }
      return scores;
    };
    return prepared;
  }
};

}  // namespace

std::unique_ptr<Pipeline> feature_extraction(std::string task, std::shared_ptr<const SequenceModel> model) {
  return std::make_unique<FeatureExtraction>(std::move(task), std::move(model));
}

std::unique_ptr<Pipeline> sentence_similarity(std::string task, std::shared_ptr<const SequenceModel> model) {
  return std::make_unique<SentenceSimilarity>(std::move(task), std::move(model));
}

}  // namespace pagoda::tasks

namespace pagoda {

SentenceOptions sentence_options(const SequenceModel& model, const std::string& prompt_name) {
  return {model.sentence().pooling, true, true, prompt_text(model.sentence(), prompt_name)};
}

std::string sentence_text(const SequenceModel& model, std::string text) {
  if (!model.sentence().do_lower_case) return text;
  std::string lowered;
  for (size_t pos = 0; pos < text.size();) unicode::append_lower(lowered, utf8_next(text, pos));
  return lowered;
}

int64_t sentence_length(const SequenceModel& model) {
  const int64_t said = model.sentence().max_seq_length;
  return said > 0 ? std::min(said, model.max_length()) : model.max_length();
}

EncodedText encode_sentence(const SequenceModel& model, const std::string& text, const std::string& prompt) {
  return model.encode(sentence_text(model, prompt + text));
}

SequenceInput sentence_input(const SequenceModel& model, const Encoding& encoding, const SentenceOptions& options) {
  // Another pooling than the folder's may not fit its modules: said here, before it shares a pass with others.
  if (options.layers)
    layers_width(model.sentence(), static_cast<int64_t>(options.pooling.size()) * model.model().hidden_size());
  SequenceInput input = model.input_of(encoding);
  input.hidden = true;
  input.pooling = options.pooling;
  input.layers = options.layers;
  input.normalize = options.normalize;
  if (!options.layers || model.sentence().include_prompt || options.prompt.empty()) return input;
  // The prompt's own tokens, less the special one at its end.
  const Encoding alone = encode_sentence(model, "", options.prompt).encoding;
  input.pooled_from = static_cast<int64_t>(alone.size());
  if (alone.size() > 0 && alone.special_tokens_mask.back() != 0) --input.pooled_from;
  return input;
}

SequenceInput sentence_input(const SequenceModel& model, const std::string& text, const SentenceOptions& options) {
  EncodedText encoded = encode_sentence(model, text, options.prompt);
  truncate_text(encoded, sentence_length(model), Truncation::Strategy::kLongestFirst);
  return sentence_input(model, encoded.encoding, options);
}

}  // namespace pagoda
