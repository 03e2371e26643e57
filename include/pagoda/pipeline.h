// Hugging Face's pipelines over encoders: JSON text in, JSON text out, with their inputs, parameters and result fields.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pagoda/options.h"

namespace pagoda::api {

// Thread-safe: inputs are prepared on the calling threads, passes go one after the other. Moving and destroying are not: no
// call may be under way.
class Pipeline {
 public:
  static std::vector<std::string> tasks();
  // task: one of tasks(), or "sentiment-analysis", "ner". model: a folder or ORG/NAME.
  // Errors as LanguageModel::open; kNotFound also for a task that is unknown.
  static Pipeline open(const std::string& task, const std::string& model, const ModelOptions& options = {});
  ~Pipeline();
  Pipeline(Pipeline&&) noexcept;
  Pipeline& operator=(Pipeline&&) noexcept;

  // inputs: what the task takes, or a list of such, as JSON: "\"a text\"". parameters: an object such as {"top_k": 3}; "":
  // none.
  std::string run(std::string_view inputs, std::string_view parameters = {}) const;

 private:
  struct Impl;
  explicit Pipeline(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda::api
