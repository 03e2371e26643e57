// What tests of the trainer share: tiny models, rows that they can learn, a run in a folder of its own.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/folder.h"
#include "train/lm_task.h"
#include "train/trainer.h"

namespace pagoda::train {

using ::pagoda::testing::Folder;
using ::pagoda::testing::message_of;

inline const std::string kFixtures = PAGODA_SOURCE_DIR "/tests/fixtures/";

inline TrainingModelOptions model_options(int threads = 1) {
  TrainingModelOptions options;
  options.runtime.threads = threads;
  return options;
}

inline std::unique_ptr<TrainingModel> open_plain(const std::string& path, TrainingModelOptions options = model_options()) {
  std::unique_ptr<TrainingModel> model = TrainingModel::open(path, options);
  model->model().set_dropouts({});
  return model;
}

// Rows with labels: a task that takes them in order.
inline std::string write_rows(const Folder& folder, const std::string& name, const Json::Array& lines) {
  std::string text;
  for (const Json& line : lines) text += line.dump() + "\n";
  return folder.write(name, text);
}

inline LmOptions lm_options(const Folder& folder, const std::vector<std::string>& train, bool masked, ThreadPool& pool,
                            const std::vector<std::string>& validation = {}) {
  LmOptions options;
  options.masked = masked;
  PrepareOptions prepare;
  prepare.output_dir = folder / "data";
  prepare.block_size = 16;
  options.files = open_splits(train, validation, prepare, nullptr, pool, {});
  return options;
}

inline TrainingArguments arguments_in(const std::string& output_dir) {
  TrainingArguments arguments;
  arguments.output_dir = output_dir;
  arguments.per_device_train_batch_size = 4;
  arguments.learning_rate = 1e-3;
  arguments.max_steps = 6;
  arguments.logging_steps = 1;
  arguments.save_steps = 2;
  return arguments;
}

inline std::vector<double> column(const Json& state, const char* key) {
  std::vector<double> values;
  for (const Json& entry : state.at("log_history", "state").as_array("state")) {
    if (const Json* value = entry.find(key)) values.push_back(value->as_double(key));
  }
  return values;
}

// The steps of the log's entries that have `key`.
inline std::vector<int64_t> steps_with(const Json& state, const char* key) {
  std::vector<int64_t> steps;
  for (const Json& entry : state.at("log_history", "state").as_array("state")) {
    if (entry.contains(key)) steps.push_back(entry.get_int("step", -1, "log"));
  }
  return steps;
}

inline std::string model_bytes(const std::string& folder) { return read_file(folder + "/model.safetensors", 1 << 26); }

// 24 lines of ids that a tiny model can learn: each counts up from somewhere.
inline std::string counting_rows(const Folder& folder, int64_t vocab, int lines = 24, const std::string& name = "rows.jsonl") {
  Json::Array rows;
  for (int i = 0; i < lines; ++i) {
    Json ids = Json::array();
    for (int64_t t = 0; t < 5 + i % 9; ++t) ids.push_back((3 * i + t) % vocab);
    rows.push_back(Json::object().set("input_ids", ids));
  }
  return write_rows(folder, name, rows);
}

inline constexpr const char* kTiny = R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 50,
  "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
  "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "tie_word_embeddings": true})";
inline constexpr const char* kTinyGpt2 =
    R"({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 50, "n_embd": 16,
  "n_layer": 2, "n_head": 2, "n_positions": 32})";

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() : folder_("trainer"), config_(folder_.write("config.json", kTiny)), rows_(counting_rows(folder_, 50)) {}

  struct Result {
    Json state;
    std::string weights;
    bool ended = false;
  };
  // Trains into folder_/out; resumes from `checkpoint` if there is one.
  Result train(const TrainingArguments& arguments, const std::string& checkpoint = "", int threads = 1,
               const TrainerHooks& hooks = {}) {
    TrainingModelOptions model_of = model_options(threads);
    if (arguments.bf16) model_of.compute = DType::kBFloat16;
    const auto model = TrainingModel::open(config_, model_of);
    LmOptions options = lm_options(folder_, {rows_}, false, model->runtime().pool(), validation_);
    options.dump_batches = dump_;
    LmTask task(*model, arguments, options, {});
    Trainer trainer(*model, task, arguments, hooks);
    if (!checkpoint.empty()) trainer.resume(checkpoint);
    Result result;
    result.ended = trainer.run();
    result.state = trainer.state();
    if (result.ended) result.weights = model_bytes(arguments.output_dir);
    return result;
  }

  Folder folder_;
  std::string config_, rows_, dump_;
  std::vector<std::string> validation_;
};

}  // namespace pagoda::train
