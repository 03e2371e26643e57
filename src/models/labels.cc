// Reads what transformers' PreTrainedConfig reads of labels.
#include "models/labels.h"

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda {

namespace {

constexpr int64_t kMostLabels = 1 << 24;

std::vector<std::string> names_of(const Json& id2label, const std::string& where) {
  const Json::Object& members = id2label.as_object(where + ": id2label");
  std::vector<std::string> names(members.size());
  for (const JsonMember& member : members) {
    size_t id = 0;
    bool good = !member.key.empty() && member.key.size() < 9;
    for (const char digit : member.key) {
      good = good && digit >= '0' && digit <= '9';
      id = id * 10 + static_cast<size_t>(digit - '0');
      if (!good) break;
    }
    if (!good || id >= names.size()) {
      invalid(where, "id2label: got id '{}', need 0 to {}", utf8_cut(member.key, 64), names.size() - 1);
    }
    names[id] = member.value.is_string() ? member.value.as_string(where) : member.value.dump();
  }
  return names;
}

}  // namespace

Labels read_labels(const Json& config, const std::string& where) {
  Labels labels;
  const Json* id2label = config.find("id2label");
  const int64_t given = config.get_int("num_labels", 0, where);
  if (given < 0 || given > kMostLabels) invalid(where, "num_labels: got {}, need 1 to {}", given, kMostLabels);
  if (id2label != nullptr && !id2label->is_null() && id2label->size() > 0) {
    labels.names = names_of(*id2label, where);
    if (given > 0 && given != static_cast<int64_t>(labels.names.size())) {
      invalid(where, "num_labels: got {}, need the {} of id2label", given, labels.names.size());
    }
  } else {
    for (int64_t i = 0; i < (given > 0 ? given : 2); ++i) labels.names.push_back("LABEL_" + std::to_string(i));
  }
  const Json* label2id = config.find("label2id");
  if (label2id != nullptr && label2id->is_object() && label2id->size() > 0) {
    for (const JsonMember& member : label2id->as_object(where)) {
      const int64_t id = member.value.as_int(where + ": label2id");
      if (id < 0 || id >= static_cast<int64_t>(labels.names.size())) {
        invalid(where, "label2id: got {} for '{}', need 0 to {}", id, utf8_cut(member.key, 64), labels.names.size() - 1);
      }
      labels.label2id.emplace_back(member.key, id);
    }
  } else {
    for (size_t i = 0; i < labels.names.size(); ++i) labels.label2id.emplace_back(labels.names[i], static_cast<int64_t>(i));
  }
  labels.problem_type = config.get_string("problem_type", "", where);
  if (!labels.problem_type.empty() && labels.problem_type != "regression" &&
      labels.problem_type != "single_label_classification" && labels.problem_type != "multi_label_classification") {
    invalid(where, "problem_type: got '{}', need regression, single_label_classification or multi_label_classification",
            utf8_cut(labels.problem_type, 64));
  }
  const Json* sentences = config.find("sentence_transformers");
  labels.score_activation = config.get_string("sbert_ce_default_activation_function", "", where);
  if (sentences != nullptr && sentences->is_object())
    labels.score_activation = sentences->get_string("activation_fn", labels.score_activation, where);
  return labels;
}

}  // namespace pagoda
