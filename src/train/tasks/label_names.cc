// Names, numbers, and which of both a column holds.
#include "train/tasks/label_names.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"

namespace pagoda::train {

namespace {

constexpr size_t kMostLabels = 100'000;

bool parse_number(const std::string& text, double& value) {
  if (text.empty() || text.find_first_not_of("0123456789+-.eE") != std::string::npos) return false;
  char* end = nullptr;
  value = std::strtod(text.c_str(), &end);
  return *end == '\0' && std::isfinite(value);
}

bool is_whole(const std::string& text) {
  const size_t begin = !text.empty() && text[0] == '-' ? 1 : 0;
  return text.size() > begin && text.size() < 18 && text.find_first_not_of("0123456789", begin) == std::string::npos;
}

bool is_default_name(const std::string& name, size_t id) { return name == "LABEL_" + std::to_string(id); }

std::string some(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < 12; ++i) out += (i == 0 ? "" : ", ") + names[i].substr(0, 40);
  return names.size() > 12 ? out + ", ..." : out;
}

}  // namespace

std::string label_name(const Json& value, const std::string& where) {
  if (value.is_string()) {
    if (value.as_string(where).empty()) invalid(where, "empty label: need a name or a number");
    return value.as_string(where);
  }
  if (value.is_bool()) return value.as_bool(where) ? "1" : "0";
  if (!value.is_number()) invalid(where, "label: got {}, need a string or a number", value.type_name());
  const double number = value.as_double(where);
  return number == std::floor(number) && std::abs(number) < 1e15 ? std::to_string(static_cast<int64_t>(number))
                                                                 : python_float_repr(number);
}

void LabelCollector::add_one(const Json& value, const std::string& where) {
  const std::string name = label_name(value, where);
  double number = 0;
  if (!parse_number(name, number)) {
    numbers_ = false;
  } else {
    fractions_ = fractions_ || name.find_first_of(".eE") != std::string::npos || (value.is_number() && !value.is_int());
  }
  if (names_.count(name) > 0) return;
  if (names_.size() < kMostLabels) {
    names_.insert(name);
  } else if (!fractions()) {  // else a regression's: no labels, unless something else than numbers is to come
    invalid(where, "too many labels: got over {}, need fewer (--do-regression for numbers)", kMostLabels);
  }
}

void LabelCollector::add(const Json& value, const std::string& where) {
  if (!value.is_array()) return add_one(value, where);
  lists_ = true;
  for (const Json& each : value.as_array(where)) add_one(each, where);
}

std::vector<std::string> LabelCollector::names() const {
  std::vector<std::string> names(names_.begin(), names_.end());
  if (std::all_of(names.begin(), names.end(), is_whole)) {
    std::sort(names.begin(), names.end(),
              [](const std::string& a, const std::string& b) { return std::stoll(a) < std::stoll(b); });
  }
  return names;
}

int64_t label_id(const Labels& labels, const std::string& name, const std::string& where) {
  for (const auto& [known, id] : labels.label2id) {
    if (known == name) return id;
  }
  const auto count = static_cast<int64_t>(labels.names.size());
  if (is_whole(name)) {
    const int64_t id = std::stoll(name);
    if (id >= 0 && id < count) return id;
  }
  invalid(where, "unknown label: got '{}', need one of {} (or 0 to {})", name.substr(0, 64), some(labels.names), count - 1);
}

bool keeps_labels(const Json& config, const std::vector<std::string>& names, const std::string& where) {
  if (!config.contains("id2label")) return false;
  const Labels labels = read_labels(config, where);
  bool named = false;
  for (size_t i = 0; i < labels.names.size(); ++i) named = named || !is_default_name(labels.names[i], i);
  if (!named) return false;
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    const auto known = [&](const std::string& label) { return label == name; };
    if (std::any_of(labels.names.begin(), labels.names.end(), known)) return true;
    return is_whole(name) && std::stoll(name) >= 0 && std::stoll(name) < static_cast<int64_t>(labels.names.size());
  });
}

Json label_overrides(const Json& config, const std::vector<std::string>& names, const std::string& problem_type) {
  Json id2label = Json::object(), label2id = Json::object(), overrides = Json::object();
  for (size_t i = 0; i < names.size(); ++i) {
    id2label.set(std::to_string(i), names[i]);
    label2id.set(names[i], static_cast<int64_t>(i));
  }
  overrides.set("id2label", std::move(id2label)).set("label2id", std::move(label2id));
  if (!problem_type.empty()) overrides.set("problem_type", problem_type);
  if (config.contains("num_labels")) overrides.set("num_labels", static_cast<int64_t>(names.size()));
  return overrides;
}

}  // namespace pagoda::train
