// HF's pipelines, from text to text.
#include "pagoda/pipeline.h"

#include <mutex>

#include "api/errors.h"
#include "api/options.h"
#include "api/own_thread.h"
#include "pipelines/pipeline.h"

namespace pagoda::api {

struct Pipeline::Impl {
  std::unique_ptr<pagoda::Pipeline> pipeline;
  std::mutex running;  // one pass at a time
};

Pipeline::Pipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::~Pipeline() = default;
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;

std::vector<std::string> Pipeline::tasks() {
  return translated([] {
    std::vector<std::string> names;
    for (const TaskInfo& task : pipeline_tasks()) names.emplace_back(task.name);
    return names;
  });
}

Pipeline Pipeline::open(const std::string& task, const std::string& model, const ModelOptions& options) {
  return translated([&] {
    return Pipeline(std::unique_ptr<Impl>(
        new Impl{on_own_thread([&] { return pagoda::Pipeline::open(task, model, load_options(options)); }), {}}));
  });
}

std::string Pipeline::run(std::string_view inputs, std::string_view parameters) const {
  return translated([&] {
    std::vector<PreparedInput> prepared;
    prepared.push_back(impl_->pipeline->prepare(Json::parse(inputs, "inputs"),
                                                parameters.empty() ? Json() : Json::parse(parameters, "parameters")));
    const std::lock_guard<std::mutex> lock(impl_->running);
    return run_together(impl_->pipeline->model(), prepared)[0].dump();
  });
}

}  // namespace pagoda::api
