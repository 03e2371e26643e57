// A model ready to run: its folder, its Runtime, its weights.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/model_folder.h"
#include "models/model.h"
#include "ops/packed_weight.h"
#include "ops/runtime.h"

namespace pagoda {

struct LoadOptions {
  RuntimeOptions runtime;
  std::string dtype = "auto";  // "auto", "float32", "bfloat16"
  std::string tokenizer;       // folder or ORG/NAME of another tokenizer, with its chat template; "": the model's
  std::optional<Head> head;    // another than config.json's; see make_model
  // A compiled model's file (pipelines/compiled_model.h); "": the one beside the weights, where it is there and fits; "none".
  std::string compiled;
  std::shared_ptr<PackedStore> packed;  // stands for it
  // Told what load() met, why a compiled file is not used, and what the hub did not say of a cached model.
  std::function<void(const std::string& text)> notice;
  const std::atomic<bool>* cancel = nullptr;  // set: downloads end with Cancelled
};

class LoadedModel {
 public:
  // name: a folder, a .gguf file, or ORG/NAME of the hub. Weights are packed for inference.
  static std::unique_ptr<LoadedModel> open(const std::string& name, const LoadOptions& options);
  // Weights as float32 parameters that require gradients.
  static std::unique_ptr<LoadedModel> open_for_training(const std::string& name, const LoadOptions& options, DType compute);

  const ModelFolder& folder() const { return *folder_; }  // of an adapter: its base under the adapter's configs
  // Throws kInvalidInput where a file to be written is one that the model was read from, or lies in its folder (or its
  // adapter's) and is there and is no output of such a verb; or is one of `inputs`.
  void check_output(const std::string& path, const std::vector<std::string>& inputs = {}) const;
  // The tokenizer's folder or file: an adapter's own, where it has one, else the model's.
  const std::string& tokenizer_path() const { return tokenizer_path_; }
  Runtime& runtime() { return *runtime_; }
  Model& model() { return *model_; }
  // Of packed weights that lie in a mapped file: the system counts their memory as free.
  int64_t mapped_bytes() const { return mapped_bytes_; }

 private:
  LoadedModel() = default;
  static std::unique_ptr<LoadedModel> open_plain(const std::string& name, const LoadOptions& options);
  std::shared_ptr<ModelFolder> folder_;
  std::string adapter_;  // the folder of an adapter that is merged into the weights; empty: none
  std::string tokenizer_path_;
  std::unique_ptr<Runtime> runtime_;  // outlives the model's tensors: declared before them
  std::unique_ptr<Model> model_;
  int64_t mapped_bytes_ = 0;
};

// The folder (or .gguf file) of a model; of an adapter that of its base under the adapter's configs (models/adapter.h), which
// may have to be downloaded.
std::shared_ptr<ModelFolder> open_model_folder(const std::string& path, const LoadOptions& options = {});

// What `auto` means for a checkpoint: bfloat16 stays, float16 and float32 are computed in float32.
DType choose_dtype(const std::string& name, DType checkpoint);

}  // namespace pagoda
