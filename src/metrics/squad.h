// Exact match and F1 of extracted answers, as the official scorers of SQuAD 1.1 and 2.0 count them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pagoda {

// Lower case, without ASCII punctuation, without the words a, an, the; single spaces.
std::string normalize_answer(std::string_view text);
bool exact_match(std::string_view prediction, std::string_view answer);
double answer_f1(std::string_view prediction, std::string_view answer);  // of words, counted; 1.1's: 0 if nothing is shared

struct SquadSample {
  std::string prediction;
  std::vector<std::string> answers;  // any of these is right; none: the question has no answer (2.0 only)
  double no_answer_probability = 0;  // 2.0 only
};

// Values in per cent, under the keys of `evaluate`, in its order. At least one sample.
using NamedScores = std::vector<std::pair<std::string, double>>;
NamedScores squad_scores(const std::vector<SquadSample>& samples);  // exact_match, f1
// exact, f1, total, HasAns_*, NoAns_*, best_exact, best_exact_thresh, best_f1, best_f1_thresh. A no-answer probability over
// the threshold makes a prediction "no answer".
NamedScores squad_v2_scores(const std::vector<SquadSample>& samples, double no_answer_threshold = 1.0);

}  // namespace pagoda
