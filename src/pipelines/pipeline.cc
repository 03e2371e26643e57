// The list of tasks, parameters, and what lists of inputs have in common.
#include "pipelines/pipeline.h"

#include <algorithm>
#include <cmath>

#include "base/ascii.h"
#include "base/error.h"
#include "base/utf8.h"
#include "pipelines/tasks.h"

namespace pagoda {

namespace {

constexpr int64_t kMostSequences = 1 << 16;  // of one request
constexpr int64_t kMostTokens = int64_t{1} << 22;
constexpr int64_t kMostValues = int64_t{1} << 24;  // that are kept for one result
constexpr int64_t kMostHeld = int64_t{1} << 28;    // bytes

struct Task {
  TaskInfo info;
  tasks::Maker make;
};

const Task kTasks[] = {
    {{"text-classification", "sentiment-analysis", Head::kSequenceClassification, "Labels of a text or a pair of texts"},
     tasks::text_classification},
    {{"token-classification", "ner", Head::kTokenClassification, "Labels of a text's tokens, words or entities"},
     tasks::token_classification},
    {{"question-answering", "", Head::kQuestionAnswering, "The part of a context that answers a question"},
     tasks::question_answering},
    {{"fill-mask", "", Head::kMaskedLm, "Tokens for the masks of a text"}, tasks::fill_mask},
    {{"feature-extraction", "", Head::kNone, "The last hidden states of a text, or one vector of them"},
     tasks::feature_extraction},
    {{"zero-shot-classification", "", Head::kSequenceClassification, "Labels of one's own choice, by a model of entailment"},
     tasks::zero_shot_classification},
    {{"sentence-similarity", "", Head::kNone, "How near texts are to one, as cosines"}, tasks::sentence_similarity},
};

const Task& task_of(const std::string& name) {
  std::string known;
  for (const Task& task : kTasks) {
    if (name == task.info.name || (task.info.alias[0] != '\0' && name == task.info.alias)) return task;
    known += (known.empty() ? "" : ", ") + std::string(task.info.name);
  }
  not_found("task", "unknown: got '{}', need one of {}", utf8_cut(name, 64), known);
}

// What one request may cost, counted input by input, so that a list ends where it has become too long.
class Budget {
 public:
  explicit Budget(const SequenceModel& model) : model_(model) {}
  void add(const PreparedInput& input) {
    decoded_ += input.decoded;
    held_ += input.held;
    sequences_ += static_cast<int64_t>(input.sequences.size());
    for (const SequenceInput& sequence : input.sequences) {
      tokens_ += static_cast<int64_t>(sequence.ids.size());
      values_ += model_.num_values(sequence);
    }
    check("sequences", sequences_, kMostSequences);
    check("tokens", tokens_, kMostTokens);
    check("numbers of the model", values_, kMostValues);
    check("tokens of filled texts", decoded_, kMostTokens);
    check("bytes of texts kept for the results", held_, kMostHeld);
  }

 private:
  static void check(const char* what, int64_t got, int64_t most) {
    if (got > most)
      invalid("inputs", "too large a result: got {} {}, need at most {} (fewer or shorter texts)", got, what, most);
  }
  const SequenceModel& model_;
  int64_t sequences_ = 0, tokens_ = 0, values_ = 0, decoded_ = 0, held_ = 0;
};

}  // namespace

const std::vector<TaskInfo>& pipeline_tasks() {
  static const std::vector<TaskInfo> kInfos = [] {
    std::vector<TaskInfo> list;
    for (const Task& task : kTasks) list.push_back(task.info);
    return list;
  }();
  return kInfos;
}

const TaskInfo& find_task(const std::string& name) { return task_of(name).info; }

TaskParameters::TaskParameters(const Json& object, std::string task) : object_(object), task_(std::move(task)) {
  if (!object.is_null() && !object.is_object()) invalid("parameters", "wrong type: got {}, need object", object.type_name());
}

const Json* TaskParameters::take(std::string_view key) {
  known_.emplace(key);
  const Json* value = object_.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool TaskParameters::given(std::string_view key) {
  known_.emplace(key);
  return object_.contains(key);
}

int64_t TaskParameters::integer(std::string_view key, int64_t fallback, int64_t least, int64_t most) {
  const Json* value = take(key);
  if (value == nullptr) return fallback;
  const int64_t number = value->as_int(key);
  if (number < least || number > most) invalid(key, "got {}, need {} to {}", number, least, most);
  return number;
}

bool TaskParameters::flag(std::string_view key, bool fallback) {
  const Json* value = take(key);
  return value == nullptr ? fallback : value->as_bool(key);
}

std::string TaskParameters::text(std::string_view key, std::string_view fallback) {
  const Json* value = take(key);
  return value == nullptr ? std::string(fallback) : value->as_string(key);
}

std::string TaskParameters::choice(std::string_view key, std::string_view fallback,
                                   std::initializer_list<std::string_view> values) {
  const std::string word = lower_case(text(key, fallback));
  std::string known;
  for (const std::string_view value : values) {
    if (word == value) return word;
    known += (known.empty() ? "" : ", ") + std::string(value);
  }
  invalid(key, "got '{}', need one of {}", utf8_cut(word, 64), known);
}

std::vector<std::string> TaskParameters::strings(std::string_view key) {
  const Json* value = take(key);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->as_string(key)};
  std::vector<std::string> list;
  for (const Json& each : value->as_array(key)) list.push_back(each.as_string(key));
  return list;
}

void TaskParameters::finish() const {
  if (!object_.is_object()) return;
  for (const JsonMember& member : object_.as_object("parameters")) {
    if (known_.count(member.key) > 0) continue;
    std::string known;
    for (const std::string& each : known_) known += (known.empty() ? "" : ", ") + each;
    invalid("parameters", "unknown for {}: got '{}', need one of {}", task_, utf8_cut(member.key, 64), known);
  }
}

std::unique_ptr<Pipeline> Pipeline::open(const std::string& task, const std::string& name, const LoadOptions& options) {
  return make(task, SequenceModel::open(name, options, task_of(task).info.head));
}

std::unique_ptr<Pipeline> Pipeline::make(const std::string& task, std::shared_ptr<const SequenceModel> model) {
  const Task& found = task_of(task);
  // Hidden states come out of every model.
  if (found.info.head != Head::kNone && model->head() != found.info.head) {
    unsupported("task", "{} needs a model {}: got {}", found.info.name, head_name(found.info.head),
                model->model().architecture());
  }
  return found.make(found.info.name, std::move(model));
}

std::optional<size_t> Pipeline::count_inputs(const Json& input, const Json&) const {
  return input.is_array() ? std::optional(input.size()) : std::nullopt;
}

const Json& Pipeline::input_at(const Json& input, const Json&, size_t index, Json&) const {
  return input.as_array("inputs")[index];
}

Json Pipeline::list_result(std::vector<Json> results) const { return Json(std::move(results)); }

Json Pipeline::single_result(const Json&, const Json&, Json result) const { return result; }

InputReader Pipeline::checked_reader(const Json& parameters) const {
  TaskParameters read(parameters, task_);
  InputReader reader = this->reader(read);
  for (const char* key : {"batch_size", "num_workers"}) read.integer(key, 1, 0, int64_t{1} << 31);
  read.finish();
  return reader;
}

PreparedInput Pipeline::prepare(const Json& input, const Json& parameters, const PrepareOptions& options) const {
  Budget budget(model());
  const InputReader reader = checked_reader(parameters);
  const std::optional<size_t> count = count_inputs(input, parameters);
  if (!count) {
    PreparedInput prepared = reader(input);
    budget.add(prepared);
    prepared.finish = [this, input, parameters,
                       finish = std::move(prepared.finish)](const std::vector<SequenceOutput>& outputs) {
      return single_result(input, parameters, finish(outputs));
    };
    return prepared;
  }
  if (*count > options.max_inputs) invalid("inputs", "too many: got {}, need at most {}", *count, options.max_inputs);
  PreparedInput all;
  std::vector<std::pair<size_t, std::function<Json(const std::vector<SequenceOutput>&)>>> parts;
  for (size_t i = 0; i < *count; ++i) {
    if (options.check) options.check();
    Json made;
    PreparedInput one = reader(input_at(input, parameters, i, made));
    budget.add(one);
    parts.emplace_back(one.sequences.size(), std::move(one.finish));
    std::move(one.sequences.begin(), one.sequences.end(), std::back_inserter(all.sequences));
  }
  all.finish = [this, parts = std::move(parts)](const std::vector<SequenceOutput>& outputs) {
    std::vector<Json> results;
    size_t at = 0;
    for (const auto& [rows, finish] : parts) {
      const auto begin = outputs.begin() + static_cast<std::ptrdiff_t>(at);
      results.push_back(finish({begin, begin + static_cast<std::ptrdiff_t>(rows)}));
      at += rows;
    }
    return list_result(std::move(results));
  };
  return all;
}

std::vector<Json> run_together(const SequenceModel& model, const std::vector<PreparedInput>& inputs,
                               const std::function<void()>& check) {
  std::vector<const SequenceInput*> sequences;
  for (const PreparedInput& input : inputs) {
    for (const SequenceInput& sequence : input.sequences) sequences.push_back(&sequence);
  }
  std::vector<SequenceOutput> outputs = model.run(sequences, check);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!sequences[i]->pooling.empty()) check_finite(outputs[i]);
  }
  std::vector<Json> results;
  size_t at = 0;
  for (const PreparedInput& input : inputs) {
    const auto begin = std::make_move_iterator(outputs.begin() + static_cast<std::ptrdiff_t>(at));
    at += input.sequences.size();
    results.push_back(input.finish({begin, std::make_move_iterator(outputs.begin() + static_cast<std::ptrdiff_t>(at))}));
  }
  return results;
}

Json Pipeline::run(const Json& input, const Json& parameters, const PrepareOptions& options) const {
  std::vector<PreparedInput> one;
  one.push_back(prepare(input, parameters, options));
  return std::move(run_together(*model_, one, options.check)[0]);
}

const std::string& text_of(const Json& input, std::string_view need) {
  if (!input.is_string()) invalid("inputs", "wrong type: got {}, need {}", input.type_name(), need);
  return input.as_string("inputs");
}

std::vector<float> softmax_of(const float* values, int64_t count) {
  std::vector<float> result(static_cast<size_t>(count));
  const double most = static_cast<double>(*std::max_element(values, values + count));
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(values[i]) - most);
  for (int64_t i = 0; i < count; ++i) {
    result[static_cast<size_t>(i)] = static_cast<float>(std::exp(static_cast<double>(values[i]) - most) / sum);
  }
  return result;
}

float sigmoid_of(float value) { return static_cast<float>(1 / (1 + std::exp(-static_cast<double>(value)))); }

void TruncationChoice::apply(EncodedText& text, int64_t longest, bool unsaid) const {
  if (cut.value_or(unsaid)) truncate_text(text, max_length.value_or(longest), strategy);
}

TruncationChoice read_truncation(TaskParameters& parameters, const SequenceModel& model, bool pads) {
  TruncationChoice choice;
  if (parameters.take("max_length") != nullptr) {
    choice.max_length = parameters.integer("max_length", 0, 1, model.model().max_positions());
  }
  const Json* value = parameters.take("truncation");
  if (value == nullptr) {
    if (choice.max_length && !pads) choice.cut = true;
    return choice;
  }
  if (value->is_bool()) {
    choice.cut = value->as_bool("truncation");
    return choice;
  }
  const std::string name =
      parameters.choice("truncation", "", {"longest_first", "only_first", "only_second", "do_not_truncate"});
  choice.cut = name != "do_not_truncate";
  if (name == "only_first") choice.strategy = Truncation::Strategy::kOnlyFirst;
  if (name == "only_second") choice.strategy = Truncation::Strategy::kOnlySecond;
  return choice;
}

CodePoints::CodePoints(std::string_view text) : text_(text) {
  for (size_t pos = 0; pos < text_.size();) {
    starts_.push_back(pos);
    utf8_next(text_, pos);
  }
  starts_.push_back(text_.size());
}

std::string_view CodePoints::slice(int64_t begin, int64_t end) const {
  begin = std::clamp<int64_t>(begin, 0, size());
  end = std::clamp<int64_t>(end, 0, size());
  if (begin >= end) return {};
  const size_t from = starts_[static_cast<size_t>(begin)], to = starts_[static_cast<size_t>(end)];
  return std::string_view(text_).substr(from, to - from);
}

}  // namespace pagoda
