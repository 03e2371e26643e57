// Tokenizer and counts.
#include "metrics/bleu.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "base/utf8.h"
#include "metrics/words.h"
#include "text/python_unicode.h"

namespace pagoda {

namespace {

constexpr size_t kOrders = 4;

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (size_t pos = text.find(what); pos != std::string::npos; pos = text.find(what, pos + by.size())) {
    text.replace(pos, what.size(), by);
  }
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_stop(char c) { return c == '.' || c == ','; }
bool is_separate(char c) {  // symbols that are words by themselves
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') ||
         (c >= ':' && c <= '@') || c == '/';
}

// One pass: wherever a pair of neighbours fits, spaces go in; matches do not overlap, as in a regular expression's.
template <class Fits>
std::string spaced_pairs(const std::string& text, Fits&& fits, std::string_view before, std::string_view between,
                         std::string_view after) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && fits(text[i], text[i + 1])) {
      out.append(before).append(1, text[i]).append(between).append(1, text[i + 1]).append(after);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

using Counts = std::map<std::vector<std::string_view>, int64_t>;

Counts ngrams(const std::vector<std::string>& words) {
  Counts counts;
  for (size_t i = 0; i < words.size(); ++i) {
    std::vector<std::string_view> gram;
    for (size_t n = 0; n < kOrders && i + n < words.size(); ++n) {
      gram.push_back(words[i + n]);
      ++counts[gram];
    }
  }
  return counts;
}

void add_segment(BleuScore& score, const std::string& prediction, const std::vector<std::string>& references) {
  const auto words = split_words(tokenize_13a(prediction));
  const auto length = static_cast<int64_t>(words.size());
  std::vector<std::vector<std::string>> truths;  // the counts below point into these
  for (const std::string& reference : references) truths.push_back(split_words(tokenize_13a(reference)));
  Counts best;
  int64_t closest = -1;
  for (const auto& truth : truths) {
    for (const auto& [gram, count] : ngrams(truth)) {
      int64_t& most = best[gram];
      most = std::max(most, count);
    }
    const auto size = static_cast<int64_t>(truth.size());
    const int64_t distance = std::abs(length - size), known = std::abs(length - closest);
    if (closest < 0 || distance < known || (distance == known && size < closest)) closest = size;
  }
  for (const auto& [gram, count] : ngrams(words)) {
    score.totals[gram.size() - 1] += count;
    const auto found = best.find(gram);
    if (found != best.end()) score.counts[gram.size() - 1] += std::min(count, found->second);
  }
  score.system_length += length;
  score.reference_length += closest;
}

}  // namespace

std::string tokenize_13a(std::string_view line) {
  size_t kept = 0;  // without white space at the end
  for (size_t pos = 0; pos < line.size();) {
    if (!python::is_space(utf8_next(line, pos))) kept = pos;
  }
  std::string text(line.substr(0, kept));
  replace_all(text, "<skipped>", "");
  replace_all(text, "-\n", "");
  std::replace(text.begin(), text.end(), '\n', ' ');
  replace_all(text, "&quot;", "\"");
  replace_all(text, "&amp;", "&");
  replace_all(text, "&lt;", "<");
  replace_all(text, "&gt;", ">");
  std::string spaced = " ";
  for (const char c : text + " ") {
    if (is_separate(c)) {
      spaced.append(1, ' ').append(1, c).append(1, ' ');
    } else {
      spaced += c;
    }
  }
  spaced = spaced_pairs(spaced, [](char left, char right) { return !is_digit(left) && is_stop(right); }, "", " ", " ");
  spaced = spaced_pairs(spaced, [](char left, char right) { return is_stop(left) && !is_digit(right); }, " ", " ", "");
  spaced = spaced_pairs(spaced, [](char left, char right) { return is_digit(left) && right == '-'; }, "", " ", " ");
  std::string out;
  for (const std::string& word : split_words(spaced)) {
    if (!out.empty()) out += ' ';
    out += word;
  }
  return out;
}

BleuScore corpus_bleu(const std::vector<std::string>& predictions, const std::vector<std::vector<std::string>>& references) {
  if (predictions.size() != references.size() || predictions.empty()) {
    invalid("metrics", "lengths differ: got {} predictions and {} lists of references, need as many, and at least 1",
            predictions.size(), references.size());
  }
  BleuScore score;
  for (size_t i = 0; i < predictions.size(); ++i) {
    if (references[i].empty()) invalid("metrics", "segment {} has no reference, need at least 1", i);
    add_segment(score, predictions[i], references[i]);
  }
  const auto system = static_cast<double>(score.system_length), truth = static_cast<double>(score.reference_length);
  score.brevity_penalty = system >= truth ? 1.0 : system > 0 ? std::exp(1 - truth / system) : 0.0;
  if (std::all_of(score.counts.begin(), score.counts.end(), [](int64_t count) { return count == 0; })) return score;
  double smoothing = 1, logs = 0;
  bool zero = false;
  for (size_t n = 0; n < kOrders; ++n) {
    const auto total = static_cast<double>(score.totals[n]);
    if (score.totals[n] == 0) {
      zero = true;  // no text of the corpus is so long
      break;
    }
    if (score.counts[n] == 0) smoothing *= 2;
    score.precisions[n] =
        score.counts[n] == 0 ? 100.0 / (smoothing * total) : 100.0 * static_cast<double>(score.counts[n]) / total;
    logs += std::log(score.precisions[n]);
  }
  score.score = zero ? 0 : score.brevity_penalty * std::exp(logs / kOrders);
  return score;
}

}  // namespace pagoda
