// What a classifier's outputs are called: id2label, label2id and problem_type of config.json.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace pagoda {

struct Labels {
  std::vector<std::string> names;                         // by id; "LABEL_0" ... where the config has none
  std::vector<std::pair<std::string, int64_t>> label2id;  // in the file's order; made of `names` where it has none
  // "regression", "single_label_classification", "multi_label_classification", or empty: not said.
  std::string problem_type;
  // What sentence-transformers' CrossEncoder makes a score with, as a class of torch; empty: not said.
  std::string score_activation;
};

// The number of labels is id2label's length, num_labels without it, else 2. Throws kInvalidInput: ids that are no numbers from
// 0 on, num_labels that contradicts them.
Labels read_labels(const Json& config, const std::string& where);

}  // namespace pagoda
