// Labels of a data set: found in its rows, matched with those of a model, written into its config.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "models/labels.h"

namespace pagoda::train {

// What the values of a label column can be, and what was seen of them.
class LabelCollector {
 public:
  // A string, a number, or a list of such (several labels a row, or a tag a word). CSV gives strings for everything.
  void add(const Json& value, const std::string& where);
  // Names as HF orders them: numbers by value, else by code points.
  std::vector<std::string> names() const;
  bool lists() const { return lists_; }
  // All values are numbers and one at least has a fraction: HF's float column.
  bool fractions() const { return numbers_ && fractions_; }

 private:
  void add_one(const Json& value, const std::string& where);
  std::set<std::string> names_;
  bool lists_ = false, numbers_ = true, fractions_ = false;
};

// The name of one value: a string as it is, a whole number without fraction.
std::string label_name(const Json& value, const std::string& where);
// Its number in a model: by name, else a number within range. kInvalidInput lists what there is.
int64_t label_id(const Labels& labels, const std::string& name, const std::string& where);

// Whether a model (its config.json) keeps its own labels for this data: it names some other than LABEL_0, ..., and all of the
// data's are among them (or are numbers of them).
bool keeps_labels(const Json& config, const std::vector<std::string>& names, const std::string& where);
// {"id2label", "label2id", "problem_type"}, and num_labels where the config has it.
Json label_overrides(const Json& config, const std::vector<std::string>& names, const std::string& problem_type);

}  // namespace pagoda::train
