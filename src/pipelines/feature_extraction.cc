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
  PreparedInput prepare_one(const Json& input, TaskParameters& parameters) const override {
    const std::string pooling = parameters.text("pooling", "none");
    const bool normalize = parameters.flag("normalize", pooling == "auto" && model().sentence().normalize);
    TruncationChoice truncation;
    if (const Json* given = parameters.take("tokenize_kwargs")) {
      TaskParameters tokenizing(*given, "tokenize_kwargs");
      truncation = read_truncation(tokenizing, model());
      tokenizing.finish();
    } else {
      truncation = read_truncation(parameters, model());
    }
    PreparedInput prepared;
    if (pooling != "none") {
      const std::vector<RowPooling> modes =
          pooling == "auto" ? model().sentence().pooling : std::vector<RowPooling>{parse_row_pooling(pooling, "pooling")};
      prepared.sequences.push_back(sentence_input(model(), text_of(input, "a string"), modes));
      prepared.finish = [normalize](const std::vector<SequenceOutput>& outputs) {
        const std::vector<float> vector = normalize ? unit_vector(outputs[0]) : outputs[0].values;
        return vector_json(vector.data(), static_cast<int64_t>(vector.size()));
      };
      return prepared;
    }
    if (normalize) invalid("normalize", "needs a pooling: one vector a text");
    EncodedText text = model().encode(text_of(input, "a string"));
    if (truncation.cut) truncate_text(text, truncation.max_length, truncation.strategy);
    SequenceInput sequence = model().input_of(text.encoding);
    sequence.hidden = true;
    prepared.sequences.push_back(std::move(sequence));
    prepared.finish = [](const std::vector<SequenceOutput>& outputs) {  // [1, tokens, hidden_size]
      Json rows = Json::array(), batch = Json::array();
      for (int64_t row = 0; row < outputs[0].rows; ++row) rows.push_back(vector_json(outputs[0].row(row), outputs[0].columns));
      batch.push_back(std::move(rows));
      return batch;
    };
    return prepared;
  }
};

class SentenceSimilarity final : public Pipeline {
 public:
  SentenceSimilarity(std::string task, std::shared_ptr<const SequenceModel> model)
      : Pipeline(std::move(task), std::move(model)) {}

 protected:
  PreparedInput prepare_one(const Json& input, TaskParameters&) const override {
    constexpr const char* kNeed = R"({"source_sentence": ..., "sentences": [...]})";
    const Json *source = input.find("source_sentence"), *sentences = input.find("sentences");
    if (source == nullptr || sentences == nullptr || !sentences->is_array()) {
      invalid("inputs", "missing fields: need {}", kNeed);
    }
    PreparedInput prepared;
    const std::vector<RowPooling>& pooling = model().sentence().pooling;
    prepared.sequences.push_back(sentence_input(model(), text_of(*source, kNeed), pooling));
    for (const Json& each : sentences->as_array("sentences")) {
      prepared.sequences.push_back(sentence_input(model(), text_of(each, kNeed), pooling));
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

SequenceInput sentence_input(const SequenceModel& model, const std::string& text, std::vector<RowPooling> pooling) {
  std::string lowered;
  if (model.sentence().do_lower_case) {
    for (size_t pos = 0; pos < text.size();) unicode::append_lower(lowered, utf8_next(text, pos));
  }
  EncodedText encoded = model.encode(model.sentence().do_lower_case ? lowered : text);
  const int64_t said = model.sentence().max_seq_length;
  truncate_text(encoded, said > 0 ? std::min(said, model.max_length()) : model.max_length(),
                Truncation::Strategy::kLongestFirst);
  SequenceInput input = model.input_of(encoded.encoding);
  input.hidden = true;
  input.pooling = std::move(pooling);
  return input;
}

}  // namespace pagoda
