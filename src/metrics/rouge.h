// ROUGE-N, ROUGE-L and ROUGE-Lsum of one text against another, as the package rouge_score counts them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "metrics/classification.h"

namespace pagoda {

struct RougeScores {
  PrecisionRecallF1 rouge1, rouge2, rouge_l, rouge_lsum;  // support is not set
};

// Words are runs of a-z and 0-9 after lower(); with `use_stemmer`, those over 3 letters are stemmed. Lsum's sentences are
// lines. kInvalidInput for texts whose table of common subsequences would take over 1 GiB.
RougeScores rouge_scores(std::string_view prediction, std::string_view reference, bool use_stemmer = false);
// Means over a corpus.
RougeScores mean_of(const std::vector<RougeScores>& scores);

// The Porter stemmer with NLTK's extensions, of a word in lower-case ASCII.
std::string porter_stem(std::string_view word);

}  // namespace pagoda
