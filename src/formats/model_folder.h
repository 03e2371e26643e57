// The one door to a Hugging Face folder: config, generation config, weights by name.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
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
  // path: an existing folder with config.json (kNotFound says what is missing). Weights are opened at the first weights() call.
  static std::shared_ptr<ModelFolder> open(const std::string& path, const Limits& limits = {});

  const std::string& path() const { return path_; }
  const Json& config() const { return config_; }                        // config.json
  const Json& generation_config() const { return generation_config_; }  // generation_config.json, or null
  // model.safetensors, model.safetensors.index.json, pytorch_model.bin(.index.json), in this order.
  const WeightSource& weights() const;
  // dtype of the checkpoint: config's "dtype" or "torch_dtype", else that of most weights.
  DType dtype() const;

 private:
  std::string path_;
  Limits limits_;
  Json config_, generation_config_;
  mutable std::shared_ptr<WeightSource> weights_;
};

// Loaders by file; a shard that the index names and that is missing, or a tensor that its shard lacks, throws.
std::shared_ptr<WeightSource> open_safetensors(const std::vector<std::string>& files, const Limits& limits);

}  // namespace pagoda
