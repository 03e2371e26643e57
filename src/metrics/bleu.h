// Corpus BLEU as sacrebleu counts it by default: tokenizer 13a, up to 4-grams, exponential smoothing.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda {

struct BleuScore {
  double score = 0;  // 0 to 100
  std::array<int64_t, 4> counts{}, totals{};
  std::array<double, 4> precisions{};  // in per cent, smoothed
  double brevity_penalty = 0;
  int64_t system_length = 0, reference_length = 0;
};

// As many predictions as lists of references, each list with at least one, else kInvalidInput.
BleuScore corpus_bleu(const std::vector<std::string>& predictions, const std::vector<std::vector<std::string>>& references);

// Words of a line by mteval-v13a's rules, single spaces between them.
std::string tokenize_13a(std::string_view line);

}  // namespace pagoda
