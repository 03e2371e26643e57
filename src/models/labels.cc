// Reads what transformers' PreTrainedConfig reads of labels.
#include "models/labels.h"

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda {

namespace {

constexpr int64_t kMostLabels = 1 << 20;
constexpr std::pair<const char*, ScoreActivation> kActivations[] = {
    {"torch.nn.modules.linear.Identity", ScoreActivation::kIdentity},
    {"torch.nn.modules.activation.Sigmoid", ScoreActivation::kSigmoid},
    {"torch.nn.modules.activation.Tanh", ScoreActivation::kTanh},
    {"torch.nn.modules.activation.ReLU", ScoreActivation::kRelu},
};

// Digits alone, as JSON's keys have ids; -1: anything else, and what is no id of `count` outputs.
int64_t id_of(const std::string& text, size_t count) {
  if (text.empty() || text.size() > 8) return -1;
  int64_t id = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return -1;
    id = id * 10 + (digit - '0');
  }
  return id < static_cast<int64_t>(count) ? id : -1;
}

std::vector<std::string> names_of(const Json& id2label, const std::string& where) {
  const Json::Object& members = id2label.as_object(where + ": id2label");
  std::vector<std::string> names(members.size());
  std::vector<bool> named(members.size());
  for (const JsonMember& member : members) {
    const int64_t id = id_of(member.key, names.size());
    if (id < 0) invalid(where, "id2label: got id '{}', need 0 to {}", utf8_cut(member.key, 64), names.size() - 1);
    const auto at = static_cast<size_t>(id);
    if (named[at]) invalid(where, "id2label: id {} stands there twice", id);
    named[at] = true;
    names[at] = member.value.is_string() ? member.value.as_string(where) : member.value.dump();
  }
  return names;
}

void read_names(const Json& config, const std::string& where, Labels& labels) {
  const Json* id2label = config.find("id2label");
  const int64_t given = config.get_int("num_labels", 0, where);
  if (given < 0 || given > kMostLabels) invalid(where, "num_labels: got {}, need 1 to {}", given, kMostLabels);
  const bool has_names = id2label != nullptr && !id2label->is_null() && id2label->size() > 0;
  if (has_names && (given == 0 || given == static_cast<int64_t>(id2label->size()))) {
    labels.names = names_of(*id2label, where);
    return;
  }
  if (has_names) {
    labels.notice = where + ": num_labels is " + std::to_string(given) + " and id2label has " +
                    std::to_string(id2label->size()) + " names, which are not used";
  }
  for (int64_t i = 0; i < (given > 0 ? given : 2); ++i) labels.names.push_back("LABEL_" + std::to_string(i));
}

void read_ids(const Json& config, Labels& labels) {
  const Json* label2id = config.find("label2id");
  if (!labels.notice.empty() || label2id == nullptr || !label2id->is_object() || label2id->size() == 0) {
    for (size_t i = 0; i < labels.names.size(); ++i) labels.label2id.emplace_back(labels.names[i], static_cast<int64_t>(i));
    return;
  }
  for (const JsonMember& member : label2id->as_object("label2id")) {
    const std::string text = member.value.is_string() ? member.value.as_string("label2id") : member.value.dump();
    const int64_t id = id_of(text, labels.names.size());
    if (id < 0) {
      labels.without_output.push_back(member.key);
    } else {
      labels.label2id.emplace_back(member.key, id);
    }
  }
}

}  // namespace

Labels read_labels(const Json& config, const std::string& where) {
  Labels labels;
  read_names(config, where, labels);
  read_ids(config, labels);
  labels.problem_type = config.get_string("problem_type", "", where);
  if (!labels.problem_type.empty() && labels.problem_type != "regression" &&
      labels.problem_type != "single_label_classification" && labels.problem_type != "multi_label_classification") {
    invalid(where, "problem_type: got '{}', need regression, single_label_classification or multi_label_classification",
            utf8_cut(labels.problem_type, 64));
  }
  set_score_activation(labels, config.get_string("sbert_ce_default_activation_function", "", where));
  const Json* sentences = config.find("sentence_transformers");
  if (sentences != nullptr && sentences->is_object())
    set_score_activation(labels, sentences->get_string("activation_fn", "", where));
  return labels;
}

void set_score_activation(Labels& labels, const std::string& name) {
  if (name.empty()) return;
  labels.score_activation_name = name;
  labels.score_activation = ScoreActivation::kUnknown;
  for (const auto& [known, activation] : kActivations) {
    if (name == known) labels.score_activation = activation;
  }
}

void check_score_activation(const Labels& labels) {
  if (labels.score_activation != ScoreActivation::kUnknown) return;
  unsupported("activation_fn",
              "got '{}', need torch.nn.modules.linear.Identity, or Sigmoid, Tanh or ReLU of "
              "torch.nn.modules.activation",
              utf8_cut(labels.score_activation_name, 128));
}

}  // namespace pagoda
