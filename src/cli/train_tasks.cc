// pagoda train text-classification, token-classification, question-answering.
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "cli/task_flags.h"
#include "cli/train.h"
#include "models/adapter.h"

namespace pagoda::cli {

namespace {

Json config_at(const std::string& path) { return read_json(directory_exists(path) ? join_path(path, "config.json") : path); }

int run(const Program& program, TrainFlags& flags, LabelledTask& task) {
  TrainSetup setup;
  setup.head = task.head();
  setup.config_of_data = [&](const std::string& path, const std::string& adapter) {
    Json config = named_config(program, flags);
    if (config.is_null()) config = config_at(path);
    if (!adapter.empty()) config = config_with_head(config, adapter);
    return task.config_of_data(config, flags.train_files);
  };
  setup.make_task = [&](const TaskSetup& given) {
    return task.make(given.model, given.arguments, flags.train_files, flags.validation_files, given.hooks);
  };
  return run_training(program, flags, setup);
}

void add_task(Program& program, Verb parent, size_t number, const char* text, const std::vector<std::string>& examples) {
  const std::shared_ptr<LabelledTask> task = labelled_tasks()[number];
  const auto flags = std::make_shared<TrainFlags>();
  const Verb verb = add_verb(program, parent, task->name(), text, examples);
  add_train_flags(verb, *flags);
  task->add_flags(verb);
  verb->callback([&program, flags, task] { program.run = [&program, flags, task] { return run(program, *flags, *task); }; });
}

}  // namespace

void add_train_text_classification(Program& program, Verb parent) {
  add_task(program, parent, 0, "Train an encoder to label texts or pairs of texts (HF's run_glue), or to score them",
           {"pagoda train text-classification MODEL --train-file train.csv --validation-file dev.csv --num-train-epochs 3 "
            "--learning-rate 2e-5 --output-dir my-classifier",
            "pagoda train text-classification MODEL --train-file rows.jsonl --text-column-names question,passage "
            "--label-column-name "
            "answer --use-peft --output-dir my-adapter"});
}

void add_train_token_classification(Program& program, Verb parent) {
  add_task(
      program, parent, 1, "Train an encoder to tag words (HF's run_ner)",
      {"pagoda train token-classification MODEL --train-file train.jsonl --validation-file dev.jsonl --output-dir my-tagger"});
}

void add_train_question_answering(Program& program, Verb parent) {
  add_task(
      program, parent, 2, "Train an encoder to find answers in a text (HF's run_qa); SQuAD's files are read as they are",
      {"pagoda train question-answering MODEL --train-file train-v1.1.json --validation-file dev-v1.1.json --output-dir "
       "my-reader",
       "pagoda train question-answering MODEL --train-file train-v2.0.json --version-2-with-negative --output-dir my-reader"});
}

}  // namespace pagoda::cli
