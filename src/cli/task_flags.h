// Flags of tasks with labels, shared by `pagoda train` and `pagoda evaluate`: names of HF's run_glue, run_ner and run_qa.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "models/model.h"
#include "train/arguments.h"
#include "train/task.h"
#include "train/training_model.h"

namespace pagoda::cli {

// One task as the verbs see it. Each instance belongs to one verb: it holds the flags' values.
class LabelledTask {
 public:
  virtual ~LabelledTask() = default;
  virtual const char* name() const = 0;  // text-classification
  virtual Head head() const = 0;
  virtual void add_flags(Verb verb) = 0;
  // Fields of the config that follow from the training data; an object.
  virtual Json config_of_data(const Json& config, const std::vector<std::string>& train_files) = 0;
  virtual std::unique_ptr<train::Task> make(train::TrainingModel& model, const train::TrainingArguments& arguments,
                                            const std::vector<std::string>& train_files,
                                            const std::vector<std::string>& validation_files, const TaskHooks& hooks) = 0;
};

std::vector<std::shared_ptr<LabelledTask>> labelled_tasks();

}  // namespace pagoda::cli
