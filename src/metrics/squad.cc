// The scorers' normalisation works on Python's strings: lower(), \b, split() and isalnum are Unicode's.
#include "metrics/squad.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/stable_sort.h"
#include "base/utf8.h"
#include "metrics/words.h"
#include "text/python_unicode.h"

namespace pagoda {

namespace {

bool is_ascii_punctuation(uint32_t code) {
  return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') || (code >= '[' && code <= '`') ||
         (code >= '{' && code <= '~');
}

bool is_article(std::string_view word) { return word == "a" || word == "an" || word == "the"; }

// Runs of word characters that are articles become a space each.
std::string without_articles(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    size_t end = pos;
    for (size_t next = pos; next < text.size();) {
      if (!python::is_word(utf8_next(text, next))) break;
      end = next;
    }
    if (end == pos) {
      utf8_next(text, end);
      out += text.substr(pos, end - pos);
    } else if (is_article(text.substr(pos, end - pos))) {
      out += ' ';
    } else {
      out += text.substr(pos, end - pos);
    }
    pos = end;
  }
  return out;
}

int64_t shared_words(const std::vector<std::string>& left, const std::vector<std::string>& right) {
  std::map<std::string_view, int64_t> counts;
  for (const std::string& word : left) ++counts[word];
  int64_t shared = 0;
  for (const std::string& word : right) {
    const auto found = counts.find(word);
    if (found != counts.end() && found->second > 0) {
      --found->second;
      ++shared;
    }
  }
  return shared;
}

double f1_of(int64_t shared, size_t predicted, size_t truth) {
  if (shared == 0) return 0;
  const double precision = static_cast<double>(shared) / static_cast<double>(predicted);
  const double recall = static_cast<double>(shared) / static_cast<double>(truth);
  return 2 * precision * recall / (precision + recall);
}

// 2.0's: where one side has no words, both must have none.
double answer_f1_v2(std::string_view prediction, std::string_view answer) {
  const auto guess = split_words(normalize_answer(prediction)), truth = split_words(normalize_answer(answer));
  if (guess.empty() || truth.empty()) return guess == truth ? 1 : 0;
  return f1_of(shared_words(guess, truth), guess.size(), truth.size());
}

struct Raw {
  double exact = 0, f1 = 0;
};

Raw raw_scores_v2(const SquadSample& sample) {
  Raw best;
  bool any = false;
  const auto take = [&](std::string_view answer) {
    best.exact = std::max(best.exact, exact_match(sample.prediction, answer) ? 1.0 : 0.0);
    best.f1 = std::max(best.f1, answer_f1_v2(sample.prediction, answer));
  };
  for (const std::string& answer : sample.answers) {
    if (normalize_answer(answer).empty()) continue;
    any = true;
    take(answer);
  }
  if (!any) take("");  // right is the empty answer alone
  return best;
}

struct Sums {
  double exact = 0, f1 = 0;
  int64_t total = 0;
};

void append(NamedScores& out, const std::string& prefix, const Sums& sums) {
  const auto total = static_cast<double>(sums.total);
  out.emplace_back(prefix + "exact", 100.0 * sums.exact / total);
  out.emplace_back(prefix + "f1", 100.0 * sums.f1 / total);
  out.emplace_back(prefix + "total", total);
}

// The threshold on the no-answer probability that would have given most, walking up the probabilities.
std::pair<double, double> best_threshold(const std::vector<SquadSample>& samples, const std::vector<double>& scores) {
  std::vector<size_t> order(samples.size());
  double current = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    order[i] = i;
    current += samples[i].answers.empty() ? 1 : 0;
  }
  stable_sort(order, [&](size_t left, size_t right) {
    return samples[left].no_answer_probability < samples[right].no_answer_probability;
  });
  double best = current, threshold = 0;
  for (const size_t i : order) {
    if (!samples[i].answers.empty()) {
      current += scores[i];
    } else if (!samples[i].prediction.empty()) {
      current -= 1;
    }
    if (current > best) {
      best = current;
      threshold = samples[i].no_answer_probability;
    }
  }
  return {100.0 * best / static_cast<double>(samples.size()), threshold};
}

void check_any(const std::vector<SquadSample>& samples) {
  if (samples.empty()) invalid("metrics", "nothing to score: got 0 questions, need at least 1");
}

}  // namespace

std::string normalize_answer(std::string_view text) {
  const std::string lowered = python::lower(text);
  std::string plain;
  for (const char c : lowered) {
    if (!is_ascii_punctuation(static_cast<unsigned char>(c))) plain += c;
  }
  std::string out;
  for (const std::string& word : split_words(without_articles(plain))) {
    if (!out.empty()) out += ' ';
    out += word;
  }
  return out;
}

bool exact_match(std::string_view prediction, std::string_view answer) {
  return normalize_answer(prediction) == normalize_answer(answer);
}

double answer_f1(std::string_view prediction, std::string_view answer) {
  const auto guess = split_words(normalize_answer(prediction)), truth = split_words(normalize_answer(answer));
  return f1_of(shared_words(guess, truth), guess.size(), truth.size());
}

NamedScores squad_scores(const std::vector<SquadSample>& samples) {
  check_any(samples);
  double exact = 0, f1 = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].answers.empty()) {
      invalid("metrics", "question {} has no answer: SQuAD 1.1 needs one a question (--version-2-with-negative scores as 2.0)",
              i);
    }
    double best_exact = 0, best_f1 = 0;
    for (const std::string& answer : samples[i].answers) {
      best_exact = std::max(best_exact, exact_match(samples[i].prediction, answer) ? 1.0 : 0.0);
      best_f1 = std::max(best_f1, answer_f1(samples[i].prediction, answer));
    }
    exact += best_exact;
    f1 += best_f1;
  }
  const auto total = static_cast<double>(samples.size());
  return {{"exact_match", 100.0 * exact / total}, {"f1", 100.0 * f1 / total}};
}

NamedScores squad_v2_scores(const std::vector<SquadSample>& samples, double no_answer_threshold) {
  check_any(samples);
  Sums all, with, without;
  std::vector<double> exact, f1;
  for (const SquadSample& sample : samples) {
    const bool answerable = !sample.answers.empty();
    const Raw raw = raw_scores_v2(sample);
    exact.push_back(raw.exact);
    f1.push_back(raw.f1);
    const bool withheld = sample.no_answer_probability > no_answer_threshold;
    const double kept = answerable ? 0 : 1;  // what a withheld answer is worth
    for (Sums* sums : {&all, answerable ? &with : &without}) {
      sums->exact += withheld ? kept : raw.exact;
      sums->f1 += withheld ? kept : raw.f1;
      ++sums->total;
    }
  }
  NamedScores out;
  append(out, "", all);
  if (with.total > 0) append(out, "HasAns_", with);
  if (without.total > 0) append(out, "NoAns_", without);
  const auto [best_exact, exact_threshold] = best_threshold(samples, exact);
  const auto [best_f1, f1_threshold] = best_threshold(samples, f1);
  out.emplace_back("best_exact", best_exact);
  out.emplace_back("best_exact_thresh", exact_threshold);
  out.emplace_back("best_f1", best_f1);
  out.emplace_back("best_f1_thresh", f1_threshold);
  return out;
}

}  // namespace pagoda
