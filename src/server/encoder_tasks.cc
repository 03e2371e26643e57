// /pipelines/TASK of encoders: HF's pipelines by task.
#include <algorithm>

#include "base/error.h"
#include "server/embeddings.h"
#include "server/encoder_inputs.h"
#include "server/encoder_routes.h"
#include "server/served_encoder.h"

namespace pagoda::server {

namespace {

constexpr size_t kHeadBytes = 4096;         // of long answers
constexpr size_t kMostInWindows = 1 << 22;  // bytes of a text for tasks that read it in parts

struct TaskBody {
  const Json *inputs = nullptr, *parameters = nullptr;
};

TaskBody read_task(Fields& fields) {
  TaskBody body;
  body.inputs = fields.take("inputs");
  fields.require("inputs", "what the task takes: a string, an object, or a list of such");
  body.parameters = fields.take("parameters", R"({"type": "object"})");
  fields.take("options", R"({"type": "object"})");  // of HF's service: caches and waiting, of no effect here
  fields.finish();
  return body;
}

// All texts in what a task takes.
void check_texts(const Json& value, const TextLimit& limit, size_t tokenized) {
  if (value.is_string()) return limit.check(value.as_string("inputs"), "inputs", tokenized);
  if (value.is_array()) {
    for (const Json& each : value.as_array("inputs")) check_texts(each, limit, tokenized);
  } else if (value.is_object()) {
    for (const JsonMember& member : value.as_object("inputs")) check_texts(member.value, limit, tokenized);
  }
}

// Of a task's inputs: they are a list, or one object with lists (of questions, say).
size_t longest_list(const Json& inputs) {
  if (!inputs.is_object()) return inputs.is_array() ? inputs.size() : 0;
  size_t longest = 0;
  for (const JsonMember& member : inputs.as_object("inputs")) {
    if (member.value.is_array()) longest = std::max(longest, member.value.size());
  }
  return longest;
}

void check_scores(const Json& value) {
  if (value.is_array()) {
    for (const Json& each : value.as_array("result")) check_scores(each);
  } else if (value.is_object()) {
    for (const JsonMember& member : value.as_object("result")) check_scores(member.value);
  } else if (value.is_number()) {
    check_score(value.as_double("result"));
  }
}

// What feature-extraction makes of texts: [[[...], ...]] each, all rows; one vector each where they are pooled.
struct FeatureFormat {
  bool list, pooled, unit;
  std::string operator()(const std::vector<SequenceOutput>& outputs) const {
    std::string out = list ? "[" : "";
    size_t numbers = 0;
    for (const SequenceOutput& output : outputs) numbers += output.values.size();
    out.reserve(numbers * kBytesOfNumber + kHeadBytes);  // room that is made once
    for (size_t i = 0; i < outputs.size(); ++i) {
      const SequenceOutput& output = outputs[i];
      check_finite(output);
      if (i > 0) out += ',';
      if (pooled) {
        append_vector(out, unit ? unit_vector(output) : output.values, false);
        continue;
      }
      out += "[[";
      for (int64_t row = 0; row < output.rows; ++row) {
        if (row > 0) out += ',';
        append_vector(out, {output.row(row), static_cast<size_t>(output.columns)}, false);
      }
      out += "]]";
    }
    if (list) out += ']';
    return out;
  }
};

// Lists and texts that are longer than any may be.
void check_inputs(const ServedEncoder& served, const Pipeline& pipeline, const Json& inputs) {
  const size_t count = longest_list(inputs);
  if (static_cast<int64_t>(count) > served.serving().limits().max_inputs) {
    invalid("inputs", "too many: got {}, need at most {}", count, served.serving().limits().max_inputs);
  }
  const bool in_parts = pipeline.task() == "question-answering" || pipeline.task() == "token-classification";
  check_texts(inputs, served.texts().limit(), in_parts ? kMostInWindows : TextLimit::kAlwaysTokenized);
}

void run_task(ServedEncoder& served, const Call& call) {
  const Pipeline& pipeline = served.pipeline(call.http.path.substr(std::string_view("/pipelines/").size()));
  RequestBody in(call.http);
  const TaskBody body = read_task(in.fields);
  check_inputs(served, pipeline, *body.inputs);
  const Json parameters = body.parameters == nullptr ? Json() : *body.parameters;
  PrepareOptions prepare;
  prepare.check = [&] { check_there(*call.response); };
  PreparedInput prepared = pipeline.prepare(*body.inputs, parameters, prepare);
  if (pipeline.task() == "feature-extraction") {
    const Json* unit = parameters.find("normalize");
    const bool pooled = !prepared.sequences.empty() && !prepared.sequences[0].pooling.empty();
    const FeatureFormat write{body.inputs->is_array(), pooled, unit != nullptr && *unit == Json(true)};
    return served.submit(std::move(prepared.sequences), write, call.response);
  }
  const auto write = [finish = std::move(prepared.finish)](const std::vector<SequenceOutput>& outputs) {
    const Json result = finish(outputs);
    check_scores(result);
    return result.dump();
  };
  served.submit(std::move(prepared.sequences), write, call.response);
}

}  // namespace

RouteOf<ServedEncoder> task_route() {
  return {{"POST", "/pipelines/{task}", {"What HF's pipeline of this name gives", "TaskResult"}},
          run_task,
          [](const ServedEncoder&, Fields& fields) { read_task(fields); }};
}

}  // namespace pagoda::server
