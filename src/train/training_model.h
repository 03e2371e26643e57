// A model being trained: where it came from, its tokenizer, its Runtime, and how it is saved.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/model_folder.h"
#include "formats/tokenizer_config.h"
#include "models/model.h"
#include "ops/runtime.h"
#include "text/tokenizer.h"

namespace pagoda::train {

struct TrainingModelOptions {
  RuntimeOptions runtime;
  std::optional<Head> head;     // the task's; empty: config.json's own
  Json config;                  // instead of the folder's config.json; null: that
  Json config_overrides;        // an object: fields that replace those of config.json (id2label, dropout); null: none
  std::string tokenizer;        // folder or file; empty: the model's folder. A task without text needs none
  uint64_t seed = 42;           // of weights that are drawn
  bool from_scratch = false;    // draw all weights though the folder has some
  bool evaluated_only = false;  // quantised weights are taken too
  // Folder of an adapter that goes with `path`: its labels and head are the model's, what it holds whole may have another shape
  // there. evaluated_only: merged into the weights; else LoraModel goes on from it.
  std::string adapter;
  bool ignore_mismatched_sizes = false;  // draw weights that the folder has in another shape (a head of other labels)
  DType compute = DType::kFloat32;
};

class TrainingModel {
 public:
  // path: empty (from scratch, options.config), a folder with weights (fine-tuning), or a folder without, or a config.json
  // (from scratch, after HF's _init_weights). Weights that a checkpoint of another head lacks are drawn: new_parameters() names
  // them. Parameters require gradients. kInvalidInput for a folder whose weights are of a kind that this does not read (an
  // adapter's alone, TensorFlow's ...), unless from_scratch says that they are not wanted.
  static std::unique_ptr<TrainingModel> open(const std::string& path, const TrainingModelOptions& options);
  virtual ~TrainingModel() = default;

  Runtime& runtime() { return *runtime_; }
  Device& device() { return runtime_->device(); }
  Model& model() { return *model_; }
  const Model& model() const { return *model_; }
  const Json& config() const { return config_; }  // as it will be saved
  const std::string& path() const { return path_; }
  bool from_scratch() const { return from_scratch_; }
  const std::vector<std::string>& new_parameters() const { return new_parameters_; }
  // Throws kInvalidInput saying that the task needs one, where there is none.
  const std::shared_ptr<const Tokenizer>& tokenizer() const;
  bool has_tokenizer() const { return tokenizer_ != nullptr; }
  const TokenizerConfig& tokenizer_config() const { return tokenizer_config_; }
  const std::string& tokenizer_path() const { return tokenizer_path_; }
  std::vector<std::string> tokenizer_files() const;  // those that there are of it; none: no tokenizer

  // A file that save() writes beside the model's own, in place of one of the tokenizer's of that name.
  void add_file(const std::string& name, std::string text) { files_[name] = std::move(text); }

  // What opening it met that its caller should tell: a line each.
  const std::vector<std::string>& notices() const { return notices_; }

  // Those that training changes: parameters whose value requires gradients (LoRA freezes the others), in the model's order.
  std::vector<Parameter*> trained_parameters();
  // What training it depends on besides TrainingArguments and its dropouts, as Task::options().
  virtual Json options() const { return Json::object(); }
  // A folder that transformers loads: config.json, model.safetensors, generation_config.json, tokenizer files. An adapter has
  // its own form. The folder exists.
  virtual void save(const std::string& folder);
  // What save() wrote, into the parameters' values; kInvalidInput where names or shapes differ.
  virtual void load(const std::string& folder);

 protected:
  TrainingModel() = default;
  void open_model(const std::string& path, const TrainingModelOptions& options);
  void save_beside(const std::string& folder);  // all that save() writes but the weights
  std::string path_, tokenizer_path_;
  Json config_, generation_config_;
  std::map<std::string, std::string> files_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  TokenizerConfig tokenizer_config_;
  std::unique_ptr<Runtime> runtime_;  // outlives the model's tensors: declared before them
  std::unique_ptr<Model> model_;
  std::vector<std::string> new_parameters_, notices_;
  bool from_scratch_ = false;

 private:
  void load_weights(const ModelFolder& folder, const TrainingModelOptions& options, std::vector<Parameter*>& missing);
  void draw(const std::vector<Parameter*>& missing, uint64_t seed);
  void open_tokenizer(const std::string& path, bool needed);
  void settle_config();
  void align_tokens();
};

}  // namespace pagoda::train
