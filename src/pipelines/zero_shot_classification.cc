// zero-shot-classification (HF pipelines/zero_shot_classification.py): each label as a hypothesis that the text entails or not.
#include <algorithm>
#include <cmath>

#include "base/ascii.h"
#include "base/error.h"
#include "base/stable_sort.h"
#include "base/utf8.h"
#include "pipelines/tasks.h"

namespace pagoda::tasks {

namespace {

constexpr size_t kMostLabels = 1024, kLongestHypothesis = 1 << 16;

// Python's str.format of one argument: {} or {0}, and doubled braces.
std::string fill_template(const std::string& form, const std::string& label) {
  std::string out;
  bool filled = false;
  for (size_t i = 0; i < form.size(); ++i) {
    const char c = form[i];
    if ((c == '{' || c == '}') && i + 1 < form.size() && form[i + 1] == c) {
      out += c;
      ++i;
    } else if (c == '{' && (form.compare(i, 2, "{}") == 0 || form.compare(i, 3, "{0}") == 0)) {
      out += label;
      filled = true;
      i = form.find('}', i);
    } else if (c == '{' || c == '}') {
      invalid("hypothesis_template", "single '{}' at byte {}: need {{}} where the label goes", c, i);
    } else {
      out += c;
    }
    if (out.size() > kLongestHypothesis) {
      invalid("hypothesis_template", "too long with its label: need at most {} bytes", kLongestHypothesis);
    }
  }
  if (!filled) invalid("hypothesis_template", "got '{}', need {{}} where the label goes", utf8_cut(form, 128));
  return out;
}

std::string strip(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  return begin == std::string::npos ? std::string() : text.substr(begin, end - begin + 1);
}

class ZeroShotClassification final : public Pipeline {
 public:
  ZeroShotClassification(std::string task, std::shared_ptr<const SequenceModel> model)
      : Pipeline(std::move(task), std::move(model)) {
    const pagoda::Labels& labels = this->model().labels();
    // Python's index -1 where no label says so: the last.
    entailment_ = static_cast<int64_t>(labels.names.size()) - 1;
    const auto entails = [](const std::string& name) { return lower_case(name).rfind("entail", 0) == 0; };
    for (const std::string& name : labels.without_output) {
      if (entails(name)) invalid("label2id", "'{}' has no output: need an id from 0 to {}", utf8_cut(name, 64), entailment_);
    }
    for (const auto& [name, id] : labels.label2id) {
      if (!entails(name)) continue;
      entailment_ = id;
      break;
    }
  }

 protected:
  InputReader reader(TaskParameters& parameters) const override {
    Options options;
    if (parameters.take("candidate_labels") != nullptr) options.labels = labels_of(parameters);
    options.form = parameters.text("hypothesis_template", "This example is {}.");
    options.multi = is_multi_label(parameters, false);
    return [this, options = std::move(options)](const Json& input) { return read(input, options); };
  }

  // {"sequences": [...], ...}
  std::optional<size_t> count_inputs(const Json& input, const Json& parameters) const override {
    const Json* texts = input.find("sequences");
    return texts != nullptr && texts->is_array() ? texts->size() : Pipeline::count_inputs(input, parameters);
  }
  const Json& input_at(const Json& input, const Json& parameters, size_t index, Json& made) const override {
    if (input.is_array()) return Pipeline::input_at(input, parameters, index, made);
    made = Json::object();
    for (const JsonMember& member : input.as_object("inputs")) {
      made.set(member.key, member.key == "sequences" ? member.value.as_array("sequences")[index] : member.value);
    }
    return made;
  }

 private:
  using Labels = std::shared_ptr<const std::vector<std::string>>;
  struct Options {
    Labels labels;  // null: each input has its own
    std::string form;
    bool multi = false;
  };

  // HF's keyword arguments may come as one object.
  PreparedInput read(const Json& input, Options options) const {
    constexpr const char* kNeed = R"(a string or {"sequences": ..., "candidate_labels": [...]})";
    if (!input.is_object()) {
      if (options.labels == nullptr) invalid("candidate_labels", "missing: need at least one label");
      return prepare_one(text_of(input, kNeed), options);
    }
    std::string text;
    Json own = Json::object();
    for (const JsonMember& member : input.as_object("inputs")) {
      if (member.key == "sequences" || member.key == "sequence") {
        text = text_of(member.value, "a string");
      } else {
        own.set(member.key, member.value);
      }
    }
    TaskParameters inside(own, task());
    if (inside.take("candidate_labels") != nullptr || options.labels == nullptr) options.labels = labels_of(inside);
    options.form = inside.text("hypothesis_template", options.form);
    options.multi = is_multi_label(inside, options.multi);
    inside.finish();
    return prepare_one(text, options);
  }

  PreparedInput prepare_one(const std::string& text, const Options& options) const {
    if (text.empty()) invalid("inputs", "empty: need at least one sequence");
    PreparedInput prepared;
    const PairEncoder pairs(model(), text, model().model().max_positions());
    for (const std::string& label : *options.labels) {
      const std::string hypothesis = fill_template(options.form, label);
      EncodedText pair = pairs.with(hypothesis);
      // A text too short to be cut stays as it is.
      const int64_t surplus = static_cast<int64_t>(pair.encoding.size()) - model().max_length();
      if (static_cast<int64_t>(pair.first_end - pair.first_begin) > surplus) {
        truncate_text(pair, model().max_length(), Truncation::Strategy::kOnlyFirst);
      }
      prepared.sequences.push_back(model().input_of(pair.encoding));
    }
    prepared.held = static_cast<int64_t>(text.size());
    const bool multi = options.multi || options.labels->size() == 1;
    prepared.finish = [this, text, labels = options.labels, multi](const std::vector<SequenceOutput>& outputs) {
      const std::vector<float> scores = scores_of(outputs, multi);
      std::vector<size_t> order(labels->size());
      for (size_t i = 0; i < order.size(); ++i) order[i] = order.size() - 1 - i;
      stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
      Json names = Json::array(), values = Json::array(), result = Json::object();
      for (const size_t i : order) {
        names.push_back((*labels)[i]);
        values.push_back(static_cast<double>(scores[i]));
      }
      result.set("sequence", text).set("labels", std::move(names)).set("scores", std::move(values));
      return result;
    };
    return prepared;
  }

  // multi_class is its older name, which goes first where both are given.
  static bool is_multi_label(TaskParameters& parameters, bool fallback) {
    return parameters.flag("multi_class", parameters.flag("multi_label", fallback));
  }

  static Labels labels_of(TaskParameters& parameters) {
    const Json* given = parameters.take("candidate_labels");
    std::vector<std::string> labels;
    if (given != nullptr && given->is_string()) {
      const std::string& list = given->as_string("candidate_labels");
      for (const std::string_view part : split_at(list, ',')) {
        if (std::string label = strip(std::string(part)); !label.empty()) labels.push_back(std::move(label));
      }
    } else {
      labels = parameters.strings("candidate_labels");
    }
    if (labels.empty()) invalid("candidate_labels", "missing: need at least one label");
    if (labels.size() > kMostLabels)
      invalid("candidate_labels", "too many: got {}, need at most {}", labels.size(), kMostLabels);
    return std::make_shared<const std::vector<std::string>>(std::move(labels));
  }

  std::vector<float> scores_of(const std::vector<SequenceOutput>& outputs, bool multi) const {
    std::vector<float> scores;
    if (!multi) {
      for (const SequenceOutput& output : outputs) scores.push_back(output.row(0)[entailment_]);
      return softmax_of(scores.data(), static_cast<int64_t>(scores.size()));
    }
    for (const SequenceOutput& output : outputs) {
      const int64_t contradiction = entailment_ == 0 ? output.columns - 1 : 0;
      const float pair[] = {output.row(0)[contradiction], output.row(0)[entailment_]};
      scores.push_back(softmax_of(pair, 2)[1]);
    }
    return scores;
  }

  int64_t entailment_ = 0;
};

}  // namespace

std::unique_ptr<Pipeline> zero_shot_classification(std::string task, std::shared_ptr<const SequenceModel> model) {
  return std::make_unique<ZeroShotClassification>(std::move(task), std::move(model));
}

}  // namespace pagoda::tasks
