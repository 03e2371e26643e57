// text-classification (HF pipelines/text_classification.py).
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/stable_sort.h"
#include "base/utf8.h"
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
  PreparedInput prepare_one(const Json& input, TaskParameters& parameters) const override {
    const Labels& labels = model().labels();
    // top_k given as null means all; not given, the best alone and not in a list.
    // return_all_scores, of transformers 4: all, as the model has them.
    const bool listed = parameters.given("top_k");
    const bool as_they_are = parameters.flag("return_all_scores", false) && !listed, best_alone = !listed && !as_they_are;
    const int64_t top_k = parameters.integer("top_k", static_cast<int64_t>(labels.names.size()), 1, int64_t{1} << 31);
    const std::string function = parameters.take("function_to_apply") == nullptr
                                     ? default_function(labels)
                                     : parameters.choice("function_to_apply", "", {"softmax", "sigmoid", "none"});
    const TruncationChoice truncation = read_truncation(parameters, model());
    parameters.take("padding");  // rows are ragged: nothing to do
    const std::string need = R"(a string or {"text": ..., "text_pair": ...})";
    EncodedText text;
    if (input.is_object()) {
      const Json *first = input.find("text"), *second = input.find("text_pair");
      if (first == nullptr) invalid("inputs", "missing field 'text': need {}", need);
      const std::string pair = second != nullptr && !second->is_null() ? text_of(*second, need) : std::string();
      text = model().encode(text_of(*first, need), second != nullptr && !second->is_null() ? &pair : nullptr);
    } else {
      text = model().encode(text_of(input, need));
    }
    if (truncation.cut) truncate_text(text, truncation.max_length, truncation.strategy);
    PreparedInput prepared;
    prepared.sequences.push_back(model().input_of(text.encoding));
    prepared.finish = [&labels, best_alone, as_they_are, top_k, function](const std::vector<SequenceOutput>& outputs) {
      const std::vector<float> scores = scores_of(outputs[0], function);
      if (best_alone) {
        const size_t best = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
        return label_json(labels.names[best], scores[best]);
      }
      std::vector<size_t> order(scores.size());
      for (size_t i = 0; i < order.size(); ++i) order[i] = i;
      if (!as_they_are) stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
      Json list = Json::array();
      for (size_t i = 0; i < order.size() && static_cast<int64_t>(i) < top_k; ++i) {
        list.push_back(label_json(labels.names[order[i]], scores[order[i]]));
      }
      return list;
    };
    return prepared;
  }

  // One string without top_k gives a list of one.
  Json single_result(const Json& input, const Json& parameters, Json result) const override {
    if (!input.is_string() || parameters.contains("top_k")) return result;
    Json list = Json::array();
    list.push_back(std::move(result));
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
  const std::string& name = labels.score_activation;
  if (name.empty()) return class_scores(labels, output)[0];
  const float logit = output.row(0)[0];
  if (name == "torch.nn.modules.linear.Identity") return logit;
  if (name == "torch.nn.modules.activation.Sigmoid") return sigmoid_of(logit);
  if (name == "torch.nn.modules.activation.Tanh") return std::tanh(logit);
  if (name == "torch.nn.modules.activation.ReLU") return std::max(logit, 0.0f);
  unsupported("activation_fn",
              "got '{}', need torch.nn.modules.linear.Identity, or Sigmoid, Tanh or ReLU of "
              "torch.nn.modules.activation",
              utf8_cut(name, 128));
}

}  // namespace pagoda
