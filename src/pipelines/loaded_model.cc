// Opens a folder and readies its model.
#include "pipelines/loaded_model.h"

#include "base/error.h"
#include "hub/pull.h"
#include "pipelines/compiled_model.h"

namespace pagoda {

DType choose_dtype(const std::string& name, DType checkpoint) {
  if (name == "auto") return checkpoint == DType::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
  if (name == "float32") return DType::kFloat32;
  if (name == "bfloat16") return DType::kBFloat16;
  invalid("dtype", "unknown dtype: got '{}', need auto, float32 or bfloat16", name);
}

std::unique_ptr<LoadedModel> LoadedModel::open_plain(const std::string& name, const LoadOptions& options) {
  std::unique_ptr<LoadedModel> loaded(new LoadedModel);
  loaded->folder_ = ModelFolder::open(hub::resolve_model(name));
  loaded->model_ = make_model(loaded->folder_->config(), loaded->folder_->config_path(), options.head);
  loaded->runtime_ = std::make_unique<Runtime>(options.runtime);
  loaded->model_->load(loaded->runtime_->device(), *loaded->folder_);
  return loaded;
}

std::unique_ptr<LoadedModel> LoadedModel::open(const std::string& name, const LoadOptions& options) {
  std::unique_ptr<LoadedModel> loaded = open_plain(name, options);
  Device& device = loaded->runtime_->device();
  const DType compute = choose_dtype(options.dtype, loaded->folder_->dtype());
  std::unique_ptr<CompiledStore> compiled;
  if (!options.packed) compiled = open_compiled(*loaded->folder_, *loaded->runtime_, compute, options);
  device.packed = options.packed ? options.packed.get() : compiled.get();
  loaded->model_->prepare_for_inference(device, compute);
  device.packed = nullptr;
  if (compiled) loaded->mapped_bytes_ = compiled->found_bytes();
  loaded->folder_->weights().drop_pages();
  return loaded;
}

std::unique_ptr<LoadedModel> LoadedModel::open_for_training(const std::string& name, const LoadOptions& options,
                                                            DType compute) {
  std::unique_ptr<LoadedModel> loaded = open_plain(name, options);
  loaded->model_->prepare_for_training(loaded->runtime_->device(), compute);
  return loaded;
}

}  // namespace pagoda
