// Counts of right, predicted and true labels, and what is made of them.
#include "metrics/classification.h"

#include <map>

#include "base/error.h"

namespace pagoda {

namespace {

constexpr const char* kWhere = "metrics";

void check_lengths(size_t predictions, size_t references) {
  if (predictions != references || predictions == 0) {
    invalid(kWhere, "lengths differ: got {} predictions and {} references, need as many, and at least 1", predictions,
            references);
  }
}

struct Counts {
  int64_t right = 0, predicted = 0, support = 0;
};

PrecisionRecallF1 average_of(const std::vector<Counts>& labels, Average average) {
  Counts all;
  for (const Counts& one : labels) {
    all.right += one.right;
    all.predicted += one.predicted;
    all.support += one.support;
  }
  if (average == Average::kMicro) return precision_recall_f1(all.right, all.predicted, all.support);
  PrecisionRecallF1 sum;
  for (const Counts& one : labels) {
    const PrecisionRecallF1 scores = precision_recall_f1(one.right, one.predicted, one.support);
    sum.precision += scores.precision;
    sum.recall += scores.recall;
    sum.f1 += scores.f1;
  }
  if (const auto count = static_cast<double>(labels.size()); count > 0) {
    sum.precision /= count;
    sum.recall /= count;
    sum.f1 /= count;
  }
  sum.support = all.support;
  return sum;
}

void check_rows(const std::vector<std::vector<uint8_t>>& predictions, const std::vector<std::vector<uint8_t>>& references) {
  check_lengths(predictions.size(), references.size());
  for (size_t i = 0; i < predictions.size(); ++i) {
    if (predictions[i].size() != references[0].size() || references[i].size() != references[0].size()) {
      invalid(kWhere, "row {} has another number of labels: got {} predicted and {} true, need {}", i, predictions[i].size(),
              references[i].size(), references[0].size());
    }
  }
}

}  // namespace

PrecisionRecallF1 precision_recall_f1(int64_t right, int64_t predicted, int64_t support) {
  const auto share = [](int64_t part, int64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  return {share(right, predicted), share(right, support), share(2 * right, predicted + support), support};
}

double accuracy(const std::vector<int64_t>& predictions, const std::vector<int64_t>& references) {
  check_lengths(predictions.size(), references.size());
  int64_t right = 0;
  for (size_t i = 0; i < predictions.size(); ++i) right += predictions[i] == references[i] ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(predictions.size());
}

PrecisionRecallF1 precision_recall_f1(const std::vector<int64_t>& predictions, const std::vector<int64_t>& references,
                                      Average average, int64_t positive_label) {
  check_lengths(predictions.size(), references.size());
  std::map<int64_t, Counts> labels;
  for (size_t i = 0; i < predictions.size(); ++i) {
    ++labels[predictions[i]].predicted;
    Counts& truth = labels[references[i]];
    ++truth.support;
    truth.right += predictions[i] == references[i] ? 1 : 0;
  }
  if (average == Average::kBinary) {
    const Counts& one = labels[positive_label];
    return precision_recall_f1(one.right, one.predicted, one.support);
  }
  std::vector<Counts> counts;
  counts.reserve(labels.size());
  for (const auto& [label, one] : labels) counts.push_back(one);
  return average_of(counts, average);
}

PrecisionRecallF1 multilabel_f1(const std::vector<std::vector<uint8_t>>& predictions,
                                const std::vector<std::vector<uint8_t>>& references, Average average) {
  if (average == Average::kBinary) invalid(kWhere, "several labels a sample: got average binary, need micro or macro");
  check_rows(predictions, references);
  std::vector<Counts> counts(references[0].size());
  for (size_t i = 0; i < predictions.size(); ++i) {
    for (size_t label = 0; label < counts.size(); ++label) {
      const bool predicted = predictions[i][label] != 0, truth = references[i][label] != 0;
      counts[label].predicted += predicted ? 1 : 0;
      counts[label].support += truth ? 1 : 0;
      counts[label].right += predicted && truth ? 1 : 0;
    }
  }
  return average_of(counts, average);
}

double multilabel_accuracy(const std::vector<std::vector<uint8_t>>& predictions,
                           const std::vector<std::vector<uint8_t>>& references) {
  check_rows(predictions, references);
  int64_t right = 0;
  for (size_t i = 0; i < predictions.size(); ++i) right += predictions[i] == references[i] ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(predictions.size());
}

double mean_squared_error(const std::vector<double>& predictions, const std::vector<double>& references) {
  check_lengths(predictions.size(), references.size());
  double sum = 0;
  for (size_t i = 0; i < predictions.size(); ++i) sum += (predictions[i] - references[i]) * (predictions[i] - references[i]);
  return sum / static_cast<double>(predictions.size());
}

}  // namespace pagoda
