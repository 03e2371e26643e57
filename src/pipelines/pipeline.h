// Tasks by name as HF's pipelines have them: JSON in, JSON out, under the same names, parameters and result fields.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
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
  int64_t held = 0;                                                // bytes of texts that finish() keeps
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

// One input that is no list. Parameters are read and checked before, once for all inputs of a call.
using InputReader = std::function<PreparedInput(const Json& input)>;

struct PrepareOptions {
  size_t max_inputs = 1 << 16;  // of one list
  // Called between inputs and between passes; throws where the caller has stopped. May be empty.
  std::function<void()> check{};
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
  PreparedInput prepare(const Json& input, const Json& parameters, const PrepareOptions& options = {}) const;
  Json run(const Json& input, const Json& parameters = {}, const PrepareOptions& options = {}) const;

 protected:
  Pipeline(std::string task, std::shared_ptr<const SequenceModel> model) : task_(std::move(task)), model_(std::move(model)) {}
  // Every parameter that the task knows must be taken.
  virtual InputReader reader(TaskParameters& parameters) const = 0;
  // How many inputs come as a list; none: it is one that is none. HF takes several in one object, too, or a list as one.
  virtual std::optional<size_t> count_inputs(const Json& input, const Json& parameters) const;
  // One of them: a part of `input`, or `made`, so that what they share is there once.
  virtual const Json& input_at(const Json& input, const Json& parameters, size_t index, Json& made) const;
  // What a list of inputs gives; `single`: what one gives that came without a list.
  virtual Json list_result(std::vector<Json> results) const;
  virtual Json single_result(const Json& input, const Json& parameters, Json result) const;

 private:
  InputReader checked_reader(const Json& parameters) const;
  std::string task_;
  std::shared_ptr<const SequenceModel> model_;
};

// Inputs of many callers through the model together: one result or error each, in order.
std::vector<Json> run_together(const SequenceModel& model, const std::vector<PreparedInput>& inputs,
                               const std::function<void()>& check = {});

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
// Of one label for a pair of texts, as sentence-transformers' CrossEncoder: by its own activation, else a sigmoid.
float pair_score(const Labels& labels, const SequenceOutput& output);
// `truncation`: false, true or a strategy of HF's; `max_length`. What a text-in task does with texts that are too long.
struct TruncationChoice {
  std::optional<bool> cut;
  Truncation::Strategy strategy = Truncation::Strategy::kLongestFirst;
  std::optional<int64_t> max_length;
  // longest: where no max_length was given. unsaid: whether to cut where nothing was said.
  void apply(EncodedText& text, int64_t longest, bool unsaid = false) const;
};
// max_length alone is to cut, too, unless texts are padded to it.
TruncationChoice read_truncation(TaskParameters& parameters, const SequenceModel& model, bool pads = false);
// Code points of a text, to slice it as Python does.
class CodePoints {
 public:
  explicit CodePoints(std::string_view text);
  int64_t size() const { return static_cast<int64_t>(starts_.size()) - 1; }
  std::string_view slice(int64_t begin, int64_t end) const;  // clipped; empty where begin >= end
  int64_t bytes() const { return static_cast<int64_t>(text_.size() + starts_.size() * sizeof(size_t)); }

 private:
  std::string text_;
  std::vector<size_t> starts_;
};

}  // namespace pagoda
