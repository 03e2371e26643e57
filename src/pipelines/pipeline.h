// Tasks by name as HF's pipelines have them: JSON in, JSON out, under the same names, parameters and result fields.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "pipelines/sequence_model.h"

namespace pagoda {

// An input on its way: what the model is to compute, and what makes the result of it. Inputs of many callers may share a pass.
struct PreparedInput {
  std::vector<SequenceInput> sequences;
  int64_t decoded = 0;                                             // tokens that finish() decodes for its texts
  std::function<Json(const std::vector<SequenceOutput>&)> finish;  // one output a sequence, in order
};

// The parameters of one call, read once each; what nobody read is refused by name. null counts as not given.
class TaskParameters {
 public:
  // object: null or an object.
  TaskParameters(const Json& object, std::string task);
  const Json* take(std::string_view key);  // null: not given
  bool given(std::string_view key);        // also where it is null
  int64_t integer(std::string_view key, int64_t fallback, int64_t least, int64_t most);
  bool flag(std::string_view key, bool fallback);
  std::string text(std::string_view key, std::string_view fallback);
  // One of `values`, in any case.
  std::string choice(std::string_view key, std::string_view fallback, std::initializer_list<std::string_view> values);
  std::vector<std::string> strings(std::string_view key);  // a string is a list of one
  void finish() const;

 private:
  Json object_;
  std::string task_;
  std::set<std::string, std::less<>> known_;
};

// One task over one model. prepare() may be called from many threads at once; run() from one at a time (see SequenceModel).
class Pipeline {
 public:
  // task: "text-classification" (or "sentiment-analysis"), "token-classification" ("ner"), "question-answering", "fill-mask",
  // "feature-extraction", "zero-shot-classification", "sentence-similarity". kNotFound names them all.
  // name: a folder or ORG/NAME; its weights must have what the task's head needs.
  static std::unique_ptr<Pipeline> open(const std::string& task, const std::string& name, const LoadOptions& options);
  // Over a model that is loaded; kUnsupported where its head is not the task's.
  static std::unique_ptr<Pipeline> make(const std::string& task, std::shared_ptr<const SequenceModel> model);
  virtual ~Pipeline() = default;

  const SequenceModel& model() const { return *model_; }
  const std::string& task() const { return task_; }
  // input: what HF's pipeline of this name takes, or a list of such. Throws kInvalidInput. The result looks at this Pipeline.
  // parameters: HF's, batch_size and num_workers too, which change nothing here.
  PreparedInput prepare(const Json& input, const Json& parameters) const;
  Json run(const Json& input, const Json& parameters = {}) const;

 protected:
  Pipeline(std::string task, std::shared_ptr<const SequenceModel> model) : task_(std::move(task)), model_(std::move(model)) {}
  // One input that is no list; parameters: every one that the task knows must be read.
  virtual PreparedInput prepare_one(const Json& input, TaskParameters& parameters) const = 0;
  // The input as prepare_one() wants it: one, or a list of such. Where HF takes several in one object, or a list as one.
  virtual Json inputs_of(const Json& input, const Json& parameters) const;
  // What a list of inputs gives; `single`: what one gives that came without a list.
  virtual Json list_result(std::vector<Json> results) const;
  virtual Json single_result(const Json& input, const Json& parameters, Json result) const;

 private:
  PreparedInput prepare_checked(const Json& input, const Json& parameters) const;
  std::string task_;
  std::shared_ptr<const SequenceModel> model_;
};

// Inputs of many callers through the model together: one result or error each, in order.
std::vector<Json> run_together(const SequenceModel& model, const std::vector<PreparedInput>& inputs);

struct TaskInfo {
  const char* name;
  const char* alias;  // "": none
  Head head;
  const char* summary;
};
const std::vector<TaskInfo>& pipeline_tasks();
const TaskInfo& find_task(const std::string& name);  // by name or alias; kNotFound

// Helpers of the tasks.
const std::string& text_of(const Json& input, std::string_view need);  // a string, or kInvalidInput
std::vector<float> softmax_of(const float* values, int64_t count);
float sigmoid_of(float value);
// Of sequence classification, by problem_type: softmax, sigmoid for one or independent labels, or the numbers themselves.
std::vector<float> class_scores(const Labels& labels, const SequenceOutput& output);
// Of one label for a pair of texts, as sentence-transformers' CrossEncoder: by config.json's activation, else as above.
float pair_score(const Labels& labels, const SequenceOutput& output);
// `truncation`: false, true or a strategy of HF's; `max_length`. What a text-in task does with texts that are too long.
struct TruncationChoice {
  bool cut = false;
  Truncation::Strategy strategy = Truncation::Strategy::kLongestFirst;
  int64_t max_length = 0;
};
TruncationChoice read_truncation(TaskParameters& parameters, const SequenceModel& model);
// Code points of a text, to slice it as Python does.
class CodePoints {
 public:
  explicit CodePoints(std::string_view text);
  int64_t size() const { return static_cast<int64_t>(starts_.size()) - 1; }
  std::string_view slice(int64_t begin, int64_t end) const;  // clipped; empty where begin >= end

 private:
  std::string text_;
  std::vector<size_t> starts_;
};

}  // namespace pagoda
