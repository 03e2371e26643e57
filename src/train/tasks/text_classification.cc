// Rows to sequences with a label each; the loss by the config's problem_type.
#include "train/tasks/text_classification.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "formats/type_ids.h"
#include "metrics/classification.h"
#include "ops/loss.h"
#include "ops/task_loss.h"
#include "text/encoded_text.h"
#include "train/tasks/label_names.h"

namespace pagoda::train {

namespace {

constexpr const char* kSingle = "single_label_classification";
constexpr const char* kMulti = "multi_label_classification";
constexpr const char* kRegression = "regression";

std::vector<std::string> text_columns(const Json& record, const TextClassificationOptions& options, const std::string& where) {
  if (options.text_columns.size() > 2) invalid("--text-column-names", "got {}, need one or two", options.text_columns.size());
  if (!options.text_columns.empty()) return options.text_columns;
  if (record.contains("sentence1") && record.contains("sentence2")) return {"sentence1", "sentence2"};
  for (const char* name : {"sentence", "text"}) {
    if (record.contains(name)) return {name};
  }
  std::vector<std::string> found;
  for (const JsonMember& member : record.as_object(where)) {
    const bool other = member.key == options.label_column || member.key == "idx" || member.key == "id";
    if (!other && member.value.is_string() && found.size() < 2) found.push_back(member.key);
  }
  if (found.empty()) invalid(where, "no column of text: name one with --text-column-names");
  return found;
}

const Json& label_of(const Json& record, const std::string& column, const std::string& where) {
  const Json* value = record.find(column);
  if (value == nullptr || value->is_null()) invalid(where, "no label: need column '{}' (--label-column-name)", column);
  return *value;
}

double number_of(const Json& value, const std::string& where) {
  if (value.is_number()) return value.as_double(where);
  const std::string& text = value.as_string(where);
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0') invalid(where, "label: got '{}', need a number", text.substr(0, 64));
  return number;
}

Tensor targets_tensor(Device& device, const std::vector<float>& values, int64_t rows) {
  Tensor tensor =
      Tensor::empty(device, DType::kFloat32, {rows, static_cast<int64_t>(values.size()) / std::max<int64_t>(rows, 1)});
  std::copy(values.begin(), values.end(), tensor.data<float>());
  return tensor;
}

}  // namespace

Json classification_overrides(const Json& config, const TextClassificationOptions& options) {
  LabelCollector labels;
  for_each_record(options.train_files, options.records, [&](const Json& record, const std::string& where) {
    labels.add(label_of(record, options.label_column, where), where);
  });
  if (options.do_regression || labels.fractions()) {
    return label_overrides(config, {"LABEL_0"}, kRegression);
  }
  const std::vector<std::string> names = labels.names();
  const char* problem = labels.lists() ? kMulti : kSingle;
  if (keeps_labels(config, names, "config.json")) return Json::object().set("problem_type", problem);
  if (names.size() < 2 && !labels.lists()) {
    invalid(options.label_column, "one label for all rows: got '{}', need at least two", names.empty() ? "" : names[0]);
  }
  return label_overrides(config, names, problem);
}

TextClassificationTask::TextClassificationTask(TrainingModel& model, const TrainingArguments& arguments,
                                               const TextClassificationOptions& options, const TaskHooks& hooks)
    : MemoryTask(model, arguments), labels_(read_labels(model.config(), "config.json")) {
  if (model.model().head_kind() != Head::kSequenceClassification) {
    invalid(model.path(), "got {}, need a model with a head of sequence classification", model.model().architecture());
  }
  problem_type_ = labels_.problem_type;
  if (problem_type_.empty()) problem_type_ = labels_.names.size() == 1 ? kRegression : kSingle;
  if (options.do_regression && problem_type_ != kRegression) {
    invalid("--do-regression", "the model's problem_type is {}, need {}", problem_type_, kRegression);
  }
  if (arguments.label_smoothing_factor > 0 && problem_type_ != kSingle) {
    invalid("--label-smoothing-factor", "the model's problem_type is {}, need {}", problem_type_, kSingle);
  }
  max_length_ = checked_length(options.max_seq_length, "--max-seq-length");
  types_ = gives_type_ids(model.tokenizer_config(), model.config().get_string("model_type", "", "config.json"));
  if (!options.train_files.empty())
    train_ = read(options.train_files, options, arguments.max_train_samples, hooks, "reading training data");
  if (!options.validation_files.empty())
    validation_ = read(options.validation_files, options, arguments.max_eval_samples, hooks, "reading validation data");
  uint64_t contents = hash_ids({});
  for (const Sample& sample : train_) {
    std::vector<int32_t> label(sample.targets.size() + 1, static_cast<int32_t>(sample.label));
    if (!sample.targets.empty()) std::memcpy(label.data(), sample.targets.data(), sample.targets.size() * sizeof(float));
    contents = hash_ids(label, hash_ids(sample.ids, contents));
  }
  set_sizes(static_cast<int64_t>(train_.size()), static_cast<int64_t>(validation_.size()), contents);
}

std::vector<TextClassificationTask::Sample> TextClassificationTask::read(const std::vector<std::string>& files,
                                                                         const TextClassificationOptions& options, int64_t most,
                                                                         const TaskHooks& hooks, const char* stage) {
  std::vector<Sample> samples;
  std::vector<std::string> columns;
  for_each_record(files, options.records, [&](const Json& record, const std::string& where) {
    if (most > 0 && static_cast<int64_t>(samples.size()) >= most) return;
    if (samples.size() % 256 == 0) hooks.at(stage, static_cast<int64_t>(samples.size()), 0);
    if (columns.empty()) columns = text_columns(record, options, where);
    samples.push_back(sample_of(record, where, columns, options));
  });
  return samples;
}

TextClassificationTask::Sample TextClassificationTask::sample_of(const Json& record, const std::string& where,
                                                                 const std::vector<std::string>& columns,
                                                                 const TextClassificationOptions& options) const {
  std::vector<std::string> texts;
  for (const std::string& column : columns) texts.push_back(record.at(column, where).as_string(where + ": " + column));
  EncodedText text = encode_text(*model_.tokenizer(), texts[0], texts.size() > 1 ? &texts[1] : nullptr);
  text.cut_left = model_.tokenizer_config().truncation_left;
  truncate_text(text, max_length_, Truncation::Strategy::kLongestFirst);
  if (text.encoding.ids.empty()) invalid(where, "no token in the text, and the tokenizer adds none");
  Sample sample;
  sample.ids = std::move(text.encoding.ids);
  if (types_) sample.types = std::move(text.encoding.type_ids);
  set_label(sample, label_of(record, options.label_column, where), where);
  return sample;
}

void TextClassificationTask::set_label(Sample& sample, const Json& value, const std::string& where) const {
  const size_t count = labels_.names.size();
  if (problem_type_ == kRegression) {
    if (value.is_array()) {
      for (const Json& each : value.as_array(where)) sample.targets.push_back(static_cast<float>(number_of(each, where)));
    } else {
      sample.targets.push_back(static_cast<float>(number_of(value, where)));
    }
    if (sample.targets.size() != count) invalid(where, "label: got {} numbers, need {}", sample.targets.size(), count);
  } else if (problem_type_ == kMulti) {
    sample.targets.assign(count, 0.0F);
    if (!value.is_array()) invalid(where, "label: got {}, need a list of labels", value.type_name());
    for (const Json& each : value.as_array(where)) {
      sample.targets[static_cast<size_t>(label_id(labels_, label_name(each, where), where))] = 1;
    }
  } else {
    if (value.is_array()) invalid(where, "label: got a list, need one label (the model's problem_type is {})", problem_type_);
    sample.label = label_id(labels_, label_name(value, where), where);
  }
}

MicroBatch TextClassificationTask::batch(Split split, const std::vector<int64_t>& examples,
                                         const std::vector<uint64_t>& numbers) const {
  const std::vector<Sample>& samples = split == Split::kTrain ? train_ : validation_;
  BatchRows rows;
  std::vector<float> targets;
  for (size_t i = 0; i < examples.size(); ++i) {
    const Sample& sample = samples[static_cast<size_t>(examples[i])];
    rows.add_sequence(sample.ids, sample.types, numbers[i]);
    if (sample.targets.empty()) rows.labels.push_back(sample.label);
    targets.insert(targets.end(), sample.targets.begin(), sample.targets.end());
    rows.num_labels += sample.targets.empty() ? 1 : static_cast<int64_t>(sample.targets.size());
    ++rows.num_examples;
  }
  MicroBatch made = make_micro_batch(model_.device(), rows, dropout_seed(split));
  if (!targets.empty()) made.labels = targets_tensor(model_.device(), targets, static_cast<int64_t>(examples.size()));
  return made;
}

Tensor TextClassificationTask::loss_of(const Tensor& logits, const MicroBatch& batch, int64_t count) const {
  if (problem_type_ == kRegression) return ops::squared_error(logits, batch.labels, count);
  if (problem_type_ == kMulti) return ops::binary_cross_entropy(logits, batch.labels, count);
  return ops::cross_entropy(logits, batch.labels, count, smoothing());
}

void TextClassificationTask::begin_scores() {
  predicted_.clear();
  truth_.clear();
  predicted_sets_.clear();
  true_sets_.clear();
  predicted_values_.clear();
  true_values_.clear();
}

void TextClassificationTask::take_scores(const std::vector<int64_t>& examples, const MicroBatch& batch, const Tensor& logits) {
  const int64_t columns = logits.dim(1);
  for (size_t i = 0; i < examples.size(); ++i) {
    const float* row = logits.data<float>() + static_cast<int64_t>(i) * columns;
    if (problem_type_ == kSingle) {
      predicted_.push_back(std::max_element(row, row + columns) - row);
      truth_.push_back(batch.labels.data<int64_t>()[i]);
      continue;
    }
    const float* truth = batch.labels.data<float>() + static_cast<int64_t>(i) * columns;
    if (problem_type_ == kMulti) {
      predicted_sets_.emplace_back();
      true_sets_.emplace_back();
      for (int64_t c = 0; c < columns; ++c) {
        predicted_sets_.back().push_back(row[c] > 0 ? 1 : 0);  // a probability over one half
        true_sets_.back().push_back(truth[c] > 0.5F ? 1 : 0);
      }
    } else {
      predicted_values_.insert(predicted_values_.end(), row, row + columns);
      true_values_.insert(true_values_.end(), truth, truth + columns);
    }
  }
}

std::vector<std::string> TextClassificationTask::score_names() const {
  if (problem_type_ == kRegression) return {"mse"};
  return {"accuracy", "f1", "precision", "recall"};
}

Metrics TextClassificationTask::end_scores() {
  if (problem_type_ == kRegression) return {{"mse", mean_squared_error(predicted_values_, true_values_)}};
  if (problem_type_ == kMulti) {
    const PrecisionRecallF1 scores = multilabel_f1(predicted_sets_, true_sets_, Average::kMicro);
    return {{"f1", scores.f1},
            {"precision", scores.precision},
            {"recall", scores.recall},
            {"accuracy", multilabel_accuracy(predicted_sets_, true_sets_)}};
  }
  const Average average = labels_.names.size() == 2 ? Average::kBinary : Average::kMacro;
  const PrecisionRecallF1 scores = precision_recall_f1(predicted_, truth_, average);
  return {{"accuracy", accuracy(predicted_, truth_)},
          {"f1", scores.f1},
          {"precision", scores.precision},
          {"recall", scores.recall}};
}

}  // namespace pagoda::train
