// What a classifier's outputs are called: id2label, label2id and problem_type of config.json.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace pagoda {

// What sentence-transformers' CrossEncoder makes a score of a logit with.
enum class ScoreActivation : uint8_t { kSigmoid, kIdentity, kTanh, kRelu, kUnknown };

struct Labels {
  std::vector<std::string> names;                         // by id; "LABEL_0" ... where the config has none
  std::vector<std::pair<std::string, int64_t>> label2id;  // in the file's order; made of `names` where it has none
  std::vector<std::string> without_output;                // of label2id: what they say is the id of no name
  // "regression", "single_label_classification", "multi_label_classification", or empty: not said.
  std::string problem_type;
  ScoreActivation score_activation = ScoreActivation::kSigmoid;
  std::string score_activation_name;  // a class of torch; empty: not said
  std::string notice;                 // what of the config is not used; empty: nothing
};

// For heads that have labels: with others a config may say anything of them. num_labels counts, else id2label's length, else 2;
// where both are there and differ, id2label's names are not used, as in transformers. Throws kInvalidInput where id2label's ids
// are not those from 0 on.
Labels read_labels(const Json& config, const std::string& where);
// name: as a class of torch; empty: nothing changes.
void set_score_activation(Labels& labels, const std::string& name);
void check_score_activation(const Labels& labels);  // kUnsupported names those there are

}  // namespace pagoda
