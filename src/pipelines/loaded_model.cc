// Opens a folder and readies its model.
#include "pipelines/loaded_model.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/links.h"
#include "base/task_hooks.h"
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

namespace {

std::string resolve(const std::string& name, const LoadOptions& options) {
  hub::PullOptions pull;
  pull.cancel = options.cancel;
  if (options.notice) pull.warn = [&](const std::string& text) { options.notice("warning: " + text); };
  try {
    return hub::resolve_model(name, pull);
  } catch (const Error&) {
    if (options.cancel != nullptr && options.cancel->load()) throw Cancelled();
    throw;
  }
}

// Whether a file that is there (and no pipe) lies in a folder, at any depth.
bool lies_in(const std::string& path, const std::string& folder) {
  std::error_code failed;
  if (folder.empty() || !directory_exists(folder) || !file_exists(path)) return false;
  const std::string file = std::filesystem::canonical(path, failed).string();
  return !failed && file.starts_with(join_path(std::filesystem::canonical(folder, failed).string(), "")) && !failed;
}

// As compile, logits and gradients write, and unlike all that a model is loaded with but its weights.
bool may_be_output(const std::string& path) {
  const std::string name = file_name(path);
  return name.ends_with(".pagoda") ||
         (name.ends_with(".safetensors") && name != "model.safetensors" && name != kAdapterWeights);
}

}  // namespace

std::shared_ptr<ModelFolder> open_model_folder(const std::string& path, const LoadOptions& options) {
  return is_adapter(path) ? open_adapted(resolve(adapter_base(path), options), path) : ModelFolder::open(path);
}

std::unique_ptr<LoadedModel> LoadedModel::open_plain(const std::string& name, const LoadOptions& options) {
  std::unique_ptr<LoadedModel> loaded(new LoadedModel);
  const std::string path = resolve(name, options);
  const bool adapted = is_adapter(path);  // the folder of a LoRA: its base with it merged in
  if (adapted) loaded->adapter_ = path;
  loaded->folder_ = open_model_folder(path, options);
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
  const bool adapted = !loaded->adapter_.empty();
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

void LoadedModel::check_output(const std::string& path, const std::vector<std::string>& inputs) const {
  const auto is_one_of = [&](const std::vector<std::string>& files) {
    return std::any_of(files.begin(), files.end(), [&](const std::string& file) {
      std::error_code missing;
      return std::filesystem::equivalent(path, file, missing) && !missing;
    });
  };
  if (is_one_of(inputs)) invalid("--out", "got {}, which is read: need another file", path);
  std::vector<std::string> read = folder_->weight_files();
  read.push_back(folder_->path());
  const bool in_folder = lies_in(path, folder_->path()) || lies_in(path, adapter_);
  if (is_one_of(read) || (in_folder && !may_be_output(behind_links(path))))
    invalid("--out", "got {}, which the model is read from: need another file", path);
}

std::unique_ptr<LoadedModel> LoadedModel::open_for_training(const std::string& name, const LoadOptions& options,
                                                            DType compute) {
  std::unique_ptr<LoadedModel> loaded = open_plain(name, options);
  loaded->model_->prepare_for_training(loaded->runtime_->device(), compute);
  set_padding_rows(loaded->folder_->config(), *loaded->model_);
  return loaded;
}

}  // namespace pagoda
