// The one door to a model: a Hugging Face folder or a GGUF file, as config, generation config and weights by name.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "tensor/dtype.h"

namespace pagoda {

// Weights by state-dict name, whatever file holds them. Thread-safe for reading.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual const TensorEntry* find(const std::string& name) const = 0;
  virtual std::vector<std::string> names() const = 0;  // sorted
  // Gives memory of the mapped files back: after weights were packed elsewhere. What is read again comes back from the file.
  virtual void drop_pages() const {}
};

class ModelFolder {
 public:
  // path: an existing folder with config.json, a .gguf file, or a folder with one .gguf file and no config.json (kNotFound says
  // what is missing). Weights are opened at the first weights() call.
  static std::shared_ptr<ModelFolder> open(const std::string& path, const Limits& limits = {});

  const std::string& path() const { return path_; }                     // the folder, or the .gguf file
  std::string config_path() const;                                      // where config() comes from, for messages
  const Json& config() const { return config_; }                        // config.json, or GGUF's metadata in its words
  const Json& generation_config() const { return generation_config_; }  // generation_config.json, or null
  // What else is in front of these weights: an adapter says it (models/adapter.h).
  void set_configs(Json config, Json generation_config) {
    config_ = std::move(config);
    generation_config_ = std::move(generation_config);
  }
  // model.safetensors, model.safetensors.index.json, pytorch_model.bin(.index.json), in this order. What config's
  // quantization_config says is quantised comes under the names of the plain weights (formats/quantized.h).
  const WeightSource& weights() const;
  std::vector<std::string> weight_files() const;  // that weights() reads
  // quantization_config of config.json; null: none.
  const Json* quantization() const;
  // dtype of the checkpoint: config's "dtype" or "torch_dtype", else that of most weights. Quantised ones say float16 where
  // bfloat16 does as well: it is bfloat16 then.
  DType dtype() const;

 private:
  std::string path_;
  Limits limits_;
  Json config_, generation_config_;
  std::shared_ptr<const GgufFile> gguf_;  // null for a folder
  mutable std::shared_ptr<WeightSource> weights_;
  mutable std::vector<std::string> weight_files_;
};

// The .gguf file of a folder that has one and no config.json; else the path itself.
std::string model_path(const std::string& path);

// Loaders by file; a shard that the index names and that is missing, or a tensor that its shard lacks, throws.
std::shared_ptr<WeightSource> open_safetensors(const std::vector<std::string>& files, const Limits& limits);

}  // namespace pagoda
