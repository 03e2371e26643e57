// Accuracy, precision, recall and F1 of labels, and the errors of regressions, as scikit-learn and `evaluate` count them.
#pragma once

#include <cstdint>
#include <vector>

namespace pagoda {

enum class Average {
  kBinary,  // of the positive label alone
  kMicro,   // all decisions pooled
  kMacro,   // mean over the labels that occur in either list
};

struct PrecisionRecallF1 {
  double precision = 0, recall = 0, f1 = 0;  // 0 where there is nothing to divide by
  int64_t support = 0;                       // references counted
};
// From counts: right, predicted, true.
PrecisionRecallF1 precision_recall_f1(int64_t right, int64_t predicted, int64_t support);

// Predictions and references have one length, at least 1, else kInvalidInput.
double accuracy(const std::vector<int64_t>& predictions, const std::vector<int64_t>& references);
PrecisionRecallF1 precision_recall_f1(const std::vector<int64_t>& predictions, const std::vector<int64_t>& references,
                                      Average average, int64_t positive_label = 1);
// Several labels a sample: rows of 0 and 1, one column a label. kBinary is refused. Accuracy is that of whole rows.
PrecisionRecallF1 multilabel_f1(const std::vector<std::vector<uint8_t>>& predictions,
                                const std::vector<std::vector<uint8_t>>& references, Average average);
double multilabel_accuracy(const std::vector<std::vector<uint8_t>>& predictions,
                           const std::vector<std::vector<uint8_t>>& references);

double mean_squared_error(const std::vector<double>& predictions, const std::vector<double>& references);

}  // namespace pagoda
