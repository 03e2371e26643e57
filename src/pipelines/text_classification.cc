// text-classification (HF pipelines/text_classification.py).
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/stable_sort.h"
#include "pipelines/tasks.h"

namespace pagoda::tasks {

namespace {

std::string default_function(const Labels& labels) {
  if (labels.problem_type == "regression") return "none";
  if (labels.problem_type == "multi_label_classification" || labels.names.size() == 1) return "sigmoid";
  return "softmax";
}

std::vector<float> scores_of(const SequenceOutput& output, const std::string& function) {
  if (function == "softmax") return softmax_of(output.row(0), output.columns);
  std::vector<float> scores(output.values);
  if (function == "sigmoid") {
    for (float& score : scores) score = sigmoid_of(score);
  }
  return scores;
}

Json label_json(const std::string& label, float score) {
  Json json = Json::object();
  json.set("label", label).set("score", static_cast<double>(score));
  return json;
}

class TextClassification final : public Pipeline {
 public:
  TextClassification(std::string task, std::shared_ptr<const SequenceModel> model)
      : Pipeline(std::move(task), std::move(model)) {}

 protected:
  InputReader reader(TaskParameters& parameters) const override {
    const Labels& labels = model().labels();
    // top_k given as null means all; not given, the best alone and not in a list.
    // return_all_scores, of transformers 4: all, as the model has them.
    const bool listed = parameters.given("top_k");
    Options options;
    options.as_they_are = parameters.flag("return_all_scores", false) && !listed;
    options.best_alone = !listed && !options.as_they_are;
    options.top_k = parameters.integer("top_k", static_cast<int64_t>(labels.names.size()), 1, int64_t{1} << 31);
    options.function = parameters.take("function_to_apply") == nullptr
                           ? default_function(labels)
                           : parameters.choice("function_to_apply", "", {"softmax", "sigmoid", "none"});
    // Rows are ragged: it does nothing else.
    const Json* padding = parameters.take("padding");
    const bool pads = padding != nullptr && !(padding->is_bool() && !padding->as_bool("padding"));
    const TruncationChoice truncation = read_truncation(parameters, model(), pads);
    return [this, options, truncation](const Json& input) {
      EncodedText text = encode(input);
      truncation.apply(text, model().max_length());
      PreparedInput prepared;
      prepared.sequences.push_back(model().input_of(text.encoding));
      prepared.finish = [this, options](const std::vector<SequenceOutput>& outputs) {
        return result_of(options, scores_of(outputs[0], options.function));
      };
      return prepared;
    };
  }

  // One string without top_k gives a list of one.
  Json single_result(const Json& input, const Json& parameters, Json result) const override {
    if (!input.is_string() || parameters.contains("top_k")) return result;
    Json list = Json::array();
    list.push_back(std::move(result));
    return list;
  }

 private:
  struct Options {
    bool best_alone = false, as_they_are = false;
    int64_t top_k = 0;
    std::string function;
  };

  EncodedText encode(const Json& input) const {
    const std::string need = R"(a string or {"text": ..., "text_pair": ...})";
    if (!input.is_object()) return model().encode(text_of(input, need));
    const Json *first = input.find("text"), *second = input.find("text_pair");
    if (first == nullptr) invalid("inputs", "missing field 'text': need {}", need);
    const std::string pair = second != nullptr && !second->is_null() ? text_of(*second, need) : std::string();
    return model().encode(text_of(*first, need), pair.empty() ? nullptr : &pair);  // HF takes an empty one for none, too
  }

  Json result_of(const Options& options, const std::vector<float>& scores) const {
    const Labels& labels = model().labels();
    if (options.best_alone) {
      const size_t best = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
      return label_json(labels.names[best], scores[best]);
    }
    std::vector<size_t> order(scores.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    if (!options.as_they_are) stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
    Json list = Json::array();
    for (size_t i = 0; i < order.size() && static_cast<int64_t>(i) < options.top_k; ++i) {
      list.push_back(label_json(labels.names[order[i]], scores[order[i]]));
    }
    return list;
  }
};

}  // namespace

std::unique_ptr<Pipeline> text_classification(std::string task, std::shared_ptr<const SequenceModel> model) {
  return std::make_unique<TextClassification>(std::move(task), std::move(model));
}

}  // namespace pagoda::tasks

namespace pagoda {

std::vector<float> class_scores(const Labels& labels, const SequenceOutput& output) {
  return tasks::scores_of(output, tasks::default_function(labels));
}

float pair_score(const Labels& labels, const SequenceOutput& output) {
  check_score_activation(labels);
  const float logit = output.row(0)[0];
  switch (labels.score_activation) {
    case ScoreActivation::kIdentity: return logit;
    case ScoreActivation::kTanh: return std::tanh(logit);
    case ScoreActivation::kRelu: return std::max(logit, 0.0f);
    default: return sigmoid_of(logit);
  }
}

}  // namespace pagoda
