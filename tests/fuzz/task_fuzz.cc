// Feeds JSON to the tasks of encoders: what reads inputs and parameters, cuts texts, and makes results of numbers.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "pipelines/pipeline.h"

namespace {

using pagoda::Json;

// Numbers of the shape that the model would give.
std::vector<pagoda::SequenceOutput> outputs_for(const pagoda::SequenceModel& model, const pagoda::PreparedInput& prepared) {
  std::vector<pagoda::SequenceOutput> outputs;
  for (const pagoda::SequenceInput& sequence : prepared.sequences) {
    pagoda::SequenceOutput output;
    const bool hidden = sequence.hidden || model.head() == pagoda::Head::kNone;
    output.columns = hidden ? model.model().hidden_size() : model.model().num_logits();
    output.rows = model.num_values(sequence) / output.columns;
    for (int64_t i = 0; i < output.rows * output.columns; ++i) {
      output.values.push_back(static_cast<float>((i * 2654435761) % 1000) / 250.0f - 2.0f);
    }
    outputs.push_back(std::move(output));
  }
  return outputs;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using pagoda::Pipeline;
  static const std::vector<std::unique_ptr<Pipeline>> pipelines = [] {
    std::vector<std::unique_ptr<Pipeline>> all;
    pagoda::LoadOptions options;
    options.runtime.threads = 1;
    for (const pagoda::TaskInfo& task : pagoda::pipeline_tasks()) {
      all.push_back(Pipeline::open(task.name, PAGODA_FIXTURES "/encoders/bert", options));
    }
    return all;
  }();
  try {
    const Json json = Json::parse(std::string_view(reinterpret_cast<const char*>(data), size), "fuzz");
    const Json* parameters = json.find("parameters");
    for (const std::unique_ptr<Pipeline>& pipeline : pipelines) {
      try {
        const Json* input = json.find("input");
        const pagoda::PreparedInput prepared =
            pipeline->prepare(input == nullptr ? json : *input, parameters == nullptr ? Json() : *parameters);
        prepared.finish(outputs_for(pipeline->model(), prepared)).dump();
      } catch (const pagoda::Error&) {
        // Another task may take it.
      }
    }
  } catch (const pagoda::Error&) {
  }
  return 0;
}
