// Counts of n-grams and longest common subsequences.
#include "metrics/rouge.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "text/python_unicode.h"

namespace pagoda {

namespace {

constexpr size_t kMaxCells = size_t{1} << 30;

using Words = std::vector<std::string>;

Words words_of(std::string_view text, bool use_stemmer) {
  const std::string lowered = python::lower(text);
  Words words;
  std::string word;
  const auto end_word = [&] {
    if (use_stemmer && word.size() > 3) word = porter_stem(word);
    if (!word.empty()) words.push_back(word);
    word.clear();
  };
  for (const char c : lowered) {
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      word += c;
    } else {
      end_word();
    }
  }
  end_word();
  return words;
}

PrecisionRecallF1 scores_of(double hits, size_t predicted, size_t truth) {
  PrecisionRecallF1 out;
  out.precision = hits / static_cast<double>(std::max<size_t>(predicted, 1));
  out.recall = hits / static_cast<double>(std::max<size_t>(truth, 1));
  if (out.precision + out.recall > 0) out.f1 = 2 * out.precision * out.recall / (out.precision + out.recall);
  return out;
}

PrecisionRecallF1 rouge_n(const Words& prediction, const Words& reference, size_t n) {
  const auto grams = [n](const Words& words) {
    std::map<std::vector<std::string_view>, int64_t> counts;
    for (size_t i = 0; i + n <= words.size(); ++i)
      ++counts[{words.begin() + static_cast<int64_t>(i), words.begin() + static_cast<int64_t>(i + n)}];
    return counts;
  };
  const auto guessed = grams(prediction), truth = grams(reference);
  int64_t hits = 0;
  for (const auto& [gram, count] : truth) {
    const auto found = guessed.find(gram);
    if (found != guessed.end()) hits += std::min(count, found->second);
  }
  const auto total = [n](const Words& words) { return words.size() < n ? 0 : words.size() - n + 1; };
  return scores_of(static_cast<double>(hits), total(prediction), total(reference));
}

enum class Step : uint8_t { kUp, kLeft, kBoth };

// Steps of the walk back through the table of common subsequences, rows of `reference`; and its last value.
std::vector<Step> subsequence_steps(const Words& reference, const Words& candidate, int64_t& length, bool keep) {
  const size_t columns = candidate.size();
  if (columns > 0 && reference.size() > kMaxCells / columns) {
    invalid("metrics", "texts too long for ROUGE-L: got {} and {} words, need a product of at most {}", reference.size(),
            columns, kMaxCells);
  }
  std::vector<Step> steps(keep ? reference.size() * columns : 0);
  std::vector<int64_t> above(columns + 1, 0), row(columns + 1, 0);
  for (size_t i = 0; i < reference.size(); ++i) {
    for (size_t j = 0; j < columns; ++j) {
      const bool same = reference[i] == candidate[j];
      const bool left = row[j] > above[j + 1];
      row[j + 1] = same ? above[j] + 1 : std::max(row[j], above[j + 1]);
      if (keep) steps[i * columns + j] = same ? Step::kBoth : left ? Step::kLeft : Step::kUp;
    }
    std::swap(row, above);
  }
  length = above[columns];
  return steps;
}

PrecisionRecallF1 rouge_l(const Words& prediction, const Words& reference) {
  if (prediction.empty() || reference.empty()) return {};
  int64_t length = 0;
  subsequence_steps(reference, prediction, length, false);
  return scores_of(static_cast<double>(length), prediction.size(), reference.size());
}

std::vector<Words> sentences_of(std::string_view text, bool use_stemmer) {
  std::vector<Words> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) out.push_back(words_of(text.substr(begin, end - begin), use_stemmer));
    begin = end + 1;
  }
  return out;
}

void mark_common(const Words& reference, const Words& candidate, std::set<size_t>& marked) {
  int64_t length = 0;
  const auto steps = subsequence_steps(reference, candidate, length, true);
  for (size_t i = reference.size(), j = candidate.size(); i > 0 && j > 0;) {
    switch (steps[(i - 1) * candidate.size() + j - 1]) {
      case Step::kBoth:
        marked.insert(i - 1);
        --i;
        --j;
        break;
      case Step::kLeft: --j; break;
      case Step::kUp: --i; break;
    }
  }
}

PrecisionRecallF1 rouge_lsum(const std::vector<Words>& prediction, const std::vector<Words>& reference) {
  std::map<std::string_view, int64_t> left_in_prediction, left_in_reference;
  size_t predicted = 0, truth = 0;
  for (const Words& sentence : prediction) {
    predicted += sentence.size();
    for (const std::string& word : sentence) ++left_in_prediction[word];
  }
  for (const Words& sentence : reference) {
    truth += sentence.size();
    for (const std::string& word : sentence) ++left_in_reference[word];
  }
  if (predicted == 0 || truth == 0) return {};
  int64_t hits = 0;
  for (const Words& sentence : reference) {
    std::set<size_t> marked;  // words of the sentence in a common subsequence with any predicted sentence
    for (const Words& candidate : prediction) mark_common(sentence, candidate, marked);
    for (const size_t i : marked) {
      int64_t& guess = left_in_prediction[sentence[i]];
      int64_t& own = left_in_reference[sentence[i]];
      if (guess > 0 && own > 0) {  // no word counts twice
        ++hits;
        --guess;
        --own;
      }
    }
  }
  return scores_of(static_cast<double>(hits), predicted, truth);
}

constexpr PrecisionRecallF1 RougeScores::* kMeasures[] = {&RougeScores::rouge1, &RougeScores::rouge2, &RougeScores::rouge_l,
                                                          &RougeScores::rouge_lsum};

}  // namespace

RougeScores rouge_scores(std::string_view prediction, std::string_view reference, bool use_stemmer) {
  const Words guess = words_of(prediction, use_stemmer), truth = words_of(reference, use_stemmer);
  return {rouge_n(guess, truth, 1), rouge_n(guess, truth, 2), rouge_l(guess, truth),
          rouge_lsum(sentences_of(prediction, use_stemmer), sentences_of(reference, use_stemmer))};
}

RougeScores mean_of(const std::vector<RougeScores>& scores) {
  RougeScores mean;
  for (const RougeScores& one : scores) {
    for (const auto measure : kMeasures) {
      (mean.*measure).precision += (one.*measure).precision / static_cast<double>(scores.size());
      (mean.*measure).recall += (one.*measure).recall / static_cast<double>(scores.size());
      (mean.*measure).f1 += (one.*measure).f1 / static_cast<double>(scores.size());
    }
  }
  return mean;
}

}  // namespace pagoda
