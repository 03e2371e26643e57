// Opens a folder and readies its model.
#include "pipelines/loaded_model.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/tokenizer_loader.h"
#include "hub/pull.h"
#include "models/adapter.h"
#include "models/padding_rows.h"
#include "pipelines/compiled_model.h"

namespace pagoda {

DType choose_dtype(const std::string& name, DType checkpoint) {
  if (name == "auto") return checkpoint == DType::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
  if (name == "float32") return DType::kFloat32;
  if (name == "bfloat16") return DType::kBFloat16;
  invalid("dtype", "unknown dtype: got '{}', need auto, float32 or bfloat16", name);
}

std::shared_ptr<ModelFolder> open_model_folder(const std::string& path) {
  return is_adapter(path) ? open_adapted(hub::resolve_model(adapter_base(path)), path) : ModelFolder::open(path);
}

std::unique_ptr<LoadedModel> LoadedModel::open_plain(const std::string& name, const LoadOptions& options) {
  std::unique_ptr<LoadedModel> loaded(new LoadedModel);
  const std::string path = hub::resolve_model(name);
  const bool adapted = is_adapter(path);  // the folder of a LoRA: its base with it merged in
  loaded->folder_ = open_model_folder(path);
  loaded->tokenizer_path_ = adapted && has_tokenizer(path) ? path : loaded->folder_->path();
  loaded->model_ = make_model(loaded->folder_->config(), loaded->folder_->config_path(), options.head);
  loaded->runtime_ = std::make_unique<Runtime>(options.runtime);
  Device& device = loaded->runtime_->device();
  if (adapted) {
    load_adapted(device, *loaded->model_, *loaded->folder_, path);
  } else {
    loaded->model_->load(device, *loaded->folder_);
  }
  if (options.notice) {
    for (const std::string& line : loaded->model_->notices()) options.notice("warning: " + line);
  }
  return loaded;
}

std::unique_ptr<LoadedModel> LoadedModel::open(const std::string& name, const LoadOptions& options) {
  std::unique_ptr<LoadedModel> loaded = open_plain(name, options);
  Device& device = loaded->runtime_->device();
  const DType compute = choose_dtype(options.dtype, loaded->folder_->dtype());
  std::unique_ptr<CompiledStore> compiled;
  // What is compiled are the folder's own weights.
  const bool adapted = is_adapter(hub::resolve_model(name));
  if (adapted && options.packed) unsupported(name, "an adapter cannot be compiled: pagoda merge makes a folder that can");
  if (adapted && !options.compiled.empty() && options.compiled != "none") {
    invalid("--compiled",
            "got {} beside an adapter, whose weights are not compiled: need none (pagoda merge makes a folder that can be)",
            options.compiled);
  }
  if (!options.packed && !adapted) compiled = open_compiled(*loaded->folder_, *loaded->runtime_, compute, options);
  device.packed = options.packed ? options.packed.get() : compiled.get();
  loaded->model_->prepare_for_inference(device, compute);
  device.packed = nullptr;
  if (compiled) loaded->mapped_bytes_ = compiled->found_bytes();
  loaded->folder_->weights().drop_pages();
  return loaded;
}

void LoadedModel::check_output(const std::string& path) const {
  std::vector<std::string> read = folder_->weight_files();
  read.push_back(folder_->path());
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer.model"})
    read.push_back(join_path(folder_->path(), name));
  for (const std::string& file : read) {
    std::error_code missing;
    if (std::filesystem::equivalent(path, file, missing))
      invalid("--out", "got {}, which the model is read from: need another file", path);
  }
}

std::unique_ptr<LoadedModel> LoadedModel::open_for_training(const std::string& name, const LoadOptions& options,
                                                            DType compute) {
  std::unique_ptr<LoadedModel> loaded = open_plain(name, options);
  loaded->model_->prepare_for_training(loaded->runtime_->device(), compute);
  set_padding_rows(loaded->folder_->config(), *loaded->model_);
  return loaded;
}

}  // namespace pagoda
