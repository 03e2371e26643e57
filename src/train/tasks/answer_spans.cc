// Candidates of every window, sorted by the sum of their two logits.
#include "train/tasks/answer_spans.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/stable_sort.h"

namespace pagoda::train {

namespace {

struct Candidate {
  int64_t begin, end;
  double start, stop, score;
};

// Indices of the largest, largest first.
std::vector<size_t> largest(const std::vector<float>& values, int64_t count) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t kept = std::min(order.size(), static_cast<size_t>(count));
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(kept), order.end(),
                    [&](size_t a, size_t b) { return values[a] > values[b] || (values[a] == values[b] && a > b); });
  order.resize(kept);
  return order;
}

void add_window(const AnswerWindow& window, const AnswerOptions& options, std::vector<Candidate>& candidates) {
  const auto ends = largest(window.ends, options.n_best_size);
  for (const size_t start : largest(window.starts, options.n_best_size)) {
    for (const size_t end : ends) {
      if (window.offsets[start].first < 0 || window.offsets[end].first < 0) continue;
      if (end < start || static_cast<int64_t>(end - start + 1) > options.max_answer_length) continue;
      const auto first = static_cast<double>(window.starts[start]), last = static_cast<double>(window.ends[end]);
      candidates.push_back({window.offsets[start].first, window.offsets[end].second, first, last, first + last});
    }
  }
}

bool is_null(const AnswerSpan& span) { return span.begin == 0 && span.end == 0; }

}  // namespace

AnswerChoice choose_answer(const std::vector<AnswerWindow>& windows, const AnswerOptions& options) {
  std::vector<Candidate> candidates;
  Candidate null{0, 0, 0, 0, HUGE_VAL};
  for (const AnswerWindow& window : windows) {
    const auto start = static_cast<double>(window.starts[0]), end = static_cast<double>(window.ends[0]);
    if (start + end < null.score) null = {0, 0, start, end, start + end};
    add_window(window, options, candidates);
  }
  const bool may_refuse = options.version_2_with_negative && !windows.empty();
  if (may_refuse) candidates.push_back(null);
  stable_sort(candidates, [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  if (static_cast<int64_t>(candidates.size()) > options.n_best_size)
    candidates.resize(static_cast<size_t>(options.n_best_size));
  const auto none = [](const Candidate& one) { return one.begin == 0 && one.end == 0; };
  if (may_refuse && std::none_of(candidates.begin(), candidates.end(), none)) candidates.push_back(null);
  AnswerChoice choice;
  double total = 0;
  for (const Candidate& one : candidates) total += std::exp(one.score - candidates.front().score);
  for (const Candidate& one : candidates) {
    choice.spans.push_back({one.begin, one.end, std::exp(one.score - candidates.front().score) / total, one.start, one.stop});
  }
  const auto best = std::find_if(choice.spans.begin(), choice.spans.end(),
                                 [&](const AnswerSpan& span) { return !options.version_2_with_negative || !is_null(span); });
  if (best == choice.spans.end()) return choice;
  choice.chosen = best - choice.spans.begin();
  if (options.version_2_with_negative) {
    choice.null_odds = null.score - best->start_logit - best->end_logit;
    if (choice.null_odds > options.null_score_diff_threshold) choice.chosen = -1;
  }
  return choice;
}

}  // namespace pagoda::train
