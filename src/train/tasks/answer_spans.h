// From the logits of a question's windows to its answer, as HF's run_qa does (utils_qa.py).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pagoda::train {

struct AnswerOptions {
  int64_t n_best_size = 20, max_answer_length = 30;  // candidates of a window; tokens
  bool version_2_with_negative = false;
  double null_score_diff_threshold = 0;  // no answer wins where it is better by more than this
};

struct AnswerWindow {
  std::vector<float> starts, ends;                   // a logit a token
  std::vector<std::pair<int64_t, int64_t>> offsets;  // code points of the context; of other tokens {-1, -1}
};

struct AnswerSpan {
  int64_t begin = 0, end = 0;  // code points of the context
  double probability = 0, start_logit = 0, end_logit = 0;
};

// The best candidates, at most n_best_size; {0, 0} is no answer. And which of them is the prediction: -1 is no answer.
struct AnswerChoice {
  std::vector<AnswerSpan> spans;
  int64_t chosen = -1;
  double null_odds = 0;  // how much better no answer is than the best span; only with version_2_with_negative
};
AnswerChoice choose_answer(const std::vector<AnswerWindow>& windows, const AnswerOptions& options);

}  // namespace pagoda::train
