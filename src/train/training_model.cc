// Opening, drawing what is missing, saving as Hugging Face does.
#include "train/training_model.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "formats/tokenizer_loader.h"
#include "models/adapter.h"
#include "models/padding_rows.h"
#include "train/align_tokens.h"

namespace pagoda::train {

namespace {

constexpr const char* kWeights = "model.safetensors";

bool has_weights(const std::string& folder) {
  for (const char* name : {kWeights, "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (file_exists(join_path(folder, name))) return true;
  }
  return false;
}

// Weights all the same, though none that are read here: who has them does not want new ones without a word.
void refuse_other_weights(const std::string& folder) {
  if (is_adapter(folder)) {
    invalid(folder,
            "the folder of an adapter, whose base has the weights: need both (the base and --adapter), or pagoda merge");
  }
  if (!directory_exists(folder)) return;
  for (const std::string& name : list_directory(folder)) {
    const bool known = name.ends_with(".safetensors") || name.ends_with(".gguf") || name.rfind("pytorch_model", 0) == 0 ||
                       name.rfind("tf_model", 0) == 0 || name.rfind("flax_model", 0) == 0 ||
                       name.rfind("consolidated.", 0) == 0;
    if (!known) continue;
    invalid(folder,
            "has weights in {}, which is not read here: need model.safetensors or pytorch_model.bin, or --from-scratch "
            "for new weights",
            name);
  }
}

std::string pretty(const Json& json) { return json.pretty() + "\n"; }

// The files of a tokenizer, whichever of them there are, by their names in its folder.
std::vector<std::string> names_of_tokenizer(const std::string& folder) {
  std::vector<std::string> names;
  for (const char* name : {"tokenizer.json", "tekken.json", "tokenizer_config.json", "special_tokens_map.json",
                           "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model",
                           "sentencepiece.bpe.model", "chat_template.jinja", "chat_template.json"}) {
    if (file_exists(join_path(folder, name))) names.emplace_back(name);
  }
  const std::string more = "additional_chat_templates";
  if (!directory_exists(join_path(folder, more))) return names;
  for (const std::string& name : list_directory(join_path(folder, more))) {
    if (file_exists(join_path(join_path(folder, more), name))) names.push_back(join_path(more, name));
  }
  return names;
}

void copy_tokenizer(const std::string& from, const std::string& into) {
  const auto copy = [&](const std::string& source, const std::string& name) {
    const std::string target = join_path(into, name);
    std::error_code error;
    if (std::filesystem::equivalent(source, target, error)) return;
    make_directories(parent_path(target));
    write_file_atomic(target, read_file(source, int64_t{1} << 32));
  };
  if (file_exists(from)) return copy(from, file_name(from));
  for (const std::string& name : names_of_tokenizer(from)) copy(join_path(from, name), name);
}

Json generation_config_of(const Json& config) {
  Json generation = Json::object();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    const Json* value = config.find(key);
    if (value != nullptr && !value->is_null()) generation.set(key, *value);
  }
  return generation;
}

void check_fits(const TensorEntry& entry, const Parameter& parameter, const std::string& where) {
  const Tensor& value = parameter.value;
  if (entry.shape != parameter.shape || entry.dtype != value.dtype() || entry.bytes != value.bytes()) {
    invalid(where, "{}: got another shape or dtype than the model has", parameter.name);
  }
}

void copy_values(const TensorEntry& entry, const Parameter& parameter) {
  std::memcpy(parameter.value.view().data, entry.data(), static_cast<size_t>(entry.bytes));
}

}  // namespace

std::unique_ptr<TrainingModel> TrainingModel::open(const std::string& path, const TrainingModelOptions& options) {
  std::unique_ptr<TrainingModel> self(new TrainingModel);
  self->open_model(path, options);
  return self;
}

void TrainingModel::open_model(const std::string& given, const TrainingModelOptions& options) {
  const std::string path = model_path(given);
  path_ = path;
  const bool gguf = file_exists(path) && path.size() > 5 && path.compare(path.size() - 5, 5, ".gguf") == 0;
  const std::string folder_path = file_exists(path) && !gguf ? parent_path(path) : path;
  if (gguf && !options.evaluated_only) {
    unsupported(path, "a GGUF file cannot be trained: need a folder of safetensors, or a config.json");
  }
  const Limits limits;
  std::shared_ptr<ModelFolder> folder;
  if (directory_exists(path) || gguf) {
    folder = ModelFolder::open(path);
    if (folder->quantization() != nullptr && !options.evaluated_only) {
      unsupported(path, "quantised weights cannot be trained: need plain ones");
    }
    config_ = folder->config();
    generation_config_ = folder->generation_config();
  } else if (file_exists(path)) {
    config_ = Json::parse(read_file(path, limits.max_json_bytes), path, limits);
  } else if (!path.empty() || options.config.is_null()) {
    not_found(path, "no such model folder or config.json");
  }
  if (!options.config.is_null()) config_ = options.config;
  const bool merges = !options.adapter.empty() && options.evaluated_only;
  if (!options.adapter.empty()) {
    config_ = merges ? adapted_config(config_, options.adapter) : config_with_head(config_, options.adapter);
  }
  if (!options.config_overrides.is_null()) {
    for (const JsonMember& member : options.config_overrides.as_object("config_overrides"))
      config_.set(member.key, member.value);
  }
  from_scratch_ = options.from_scratch || folder == nullptr || (!gguf && !has_weights(folder_path));
  model_ = make_model(config_, folder == nullptr ? path : folder->config_path(), options.head);
  set_padding_rows(config_, *model_);
  runtime_ = std::make_unique<Runtime>(options.runtime);
  std::vector<Parameter*> missing;
  if (from_scratch_) {
    if (!options.from_scratch && folder != nullptr) refuse_other_weights(folder_path);
    missing = model_->parameters();
  } else if (merges) {
    load_adapted(device(), *model_, *folder, options.adapter);
  } else {
    load_weights(*folder, options, missing);
    if (missing.size() == model_->parameters().size()) {
      invalid(path, "none of the model's weights is in it: need those of {}", model_->architecture());
    }
  }
  draw(missing, options.seed);
  if (folder != nullptr && (gguf || folder->quantization() != nullptr)) {
    model_->prepare_for_inference(device(), options.compute);
  } else {
    model_->prepare_for_training(device(), options.compute);
  }
  if (!folder_path.empty() || !options.tokenizer.empty()) {
    open_tokenizer(options.tokenizer.empty() ? folder_path : options.tokenizer, !options.tokenizer.empty());
  }
  settle_config();
  if (!options.evaluated_only && tokenizer_ != nullptr) align_tokens();
}

// What the folder has in another shape counts as missing, where new values come anyway.
void TrainingModel::load_weights(const ModelFolder& folder, const TrainingModelOptions& options,
                                 std::vector<Parameter*>& missing) {
  const auto in_adapter = options.adapter.empty() ? nullptr : saved_whole(options.adapter);
  model_->load(device(), folder, &missing, [&](const Parameter& parameter) {
    return options.ignore_mismatched_sizes || (in_adapter && in_adapter(parameter));
  });
}

void TrainingModel::draw(const std::vector<Parameter*>& missing, uint64_t seed) {
  // Streams are numbered over all parameters, so that a head is drawn alike with and without a checkpoint below it.
  uint64_t stream = 0;
  for (Parameter* parameter : model_->parameters()) {
    const uint64_t own = stream++;
    if (std::find(missing.begin(), missing.end(), parameter) == missing.end()) continue;
    model_->initialize_parameter(device(), *parameter, DType::kFloat32, seed, own);
    zero_padding_row(config_, *parameter);
    if (!from_scratch_) new_parameters_.push_back(parameter->name);
  }
}

void TrainingModel::open_tokenizer(const std::string& path, bool needed) {
  if (!pagoda::has_tokenizer(path)) {
    if (needed) not_found(path, "no tokenizer in it");
    return;
  }
  tokenizer_ = load_tokenizer(path);
  tokenizer_path_ = path;
  if (directory_exists(path) || is_gguf(path)) tokenizer_config_ = load_complete_tokenizer_config(path);
  if (tokenizer_->id_limit() > model_->vocab_size()) {
    invalid(path, "the tokenizer has ids up to {}, need at most {} (vocab_size of the model)", tokenizer_->id_limit() - 1,
            model_->vocab_size() - 1);
  }
}

void TrainingModel::settle_config() {
  Json list = Json::array();
  list.push_back(model_->architecture());
  config_.set("architectures", std::move(list));
  const char* key = config_.contains("torch_dtype") && !config_.contains("dtype") ? "torch_dtype" : "dtype";
  config_.set(key, "float32");
  if (generation_config_.is_null()) generation_config_ = generation_config_of(config_);
}

// Before training, so that what is written in the end stops where the rows that it was trained on stop.
void TrainingModel::align_tokens() {
  const std::string beside = directory_exists(tokenizer_path_) ? join_path(tokenizer_path_, "config.json") : "";
  std::string model_type;
  if (file_exists(beside)) {
    const Limits limits;
    model_type = Json::parse(read_file(beside, limits.max_json_bytes), beside, limits).get_string("model_type", "", beside);
  }
  const bool generates = model_->head_kind() == Head::kCausalLm;
  const std::string changed =
      align_special_tokens(*tokenizer_, tokenizer_config_, model_type, config_, generates ? &generation_config_ : nullptr);
  if (changed.empty()) return;
  notices_.push_back("the tokenizer's special tokens are others than the config's, which now has them: " + changed);
}

const std::shared_ptr<const Tokenizer>& TrainingModel::tokenizer() const {
  if (tokenizer_ == nullptr) {
    invalid(path_, "this task needs a tokenizer and there is none in the model's folder: give --tokenizer-name");
  }
  return tokenizer_;
}

std::vector<std::string> TrainingModel::tokenizer_files() const {
  if (tokenizer_path_.empty() || file_exists(tokenizer_path_)) {
    return tokenizer_path_.empty() ? std::vector<std::string>() : std::vector<std::string>{tokenizer_path_};
  }
  std::vector<std::string> files;
  for (const std::string& name : names_of_tokenizer(tokenizer_path_)) files.push_back(join_path(tokenizer_path_, name));
  return files;
}

std::vector<Parameter*> TrainingModel::trained_parameters() {
  std::vector<Parameter*> trained;
  for (Parameter* parameter : model_->parameters()) {
    if (parameter->value.requires_grad()) trained.push_back(parameter);
  }
  return trained;
}

void TrainingModel::save(const std::string& folder) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const Parameter* parameter : model_->parameters()) tensors.emplace_back(parameter->name, parameter->value);
  write_safetensors(join_path(folder, kWeights), tensors, {{"format", "pt"}});
  save_beside(folder);
}

void TrainingModel::save_beside(const std::string& folder) {
  write_file_atomic(join_path(folder, "config.json"), pretty(config_));
  if (model_->head_kind() == Head::kCausalLm && generation_config_.size() > 0) {
    write_file_atomic(join_path(folder, "generation_config.json"), pretty(generation_config_));
  }
  if (!tokenizer_path_.empty()) copy_tokenizer(tokenizer_path_, folder);
  for (const auto& [name, text] : files_) write_file_atomic(join_path(folder, name), text);
}

void TrainingModel::load(const std::string& folder) {
  const std::string path = join_path(folder, kWeights);
  const auto file = SafetensorsFile::open(path);
  // All is looked at before the first is taken: an error leaves the weights that are there.
  for (Parameter* parameter : model_->parameters()) {
    const TensorEntry* entry = file->find(parameter->name);
    if (entry == nullptr) invalid(path, "{} is missing: the checkpoint is of another model", parameter->name);
    check_fits(*entry, *parameter, path);
  }
  if (file->tensors().size() != model_->parameters().size()) {
    invalid(path, "got {} tensors, need {}: the checkpoint is of another model", file->tensors().size(),
            model_->parameters().size());
  }
  for (Parameter* parameter : model_->parameters()) {
    copy_values(*file->find(parameter->name), *parameter);
    ++parameter->version;
  }
}

}  // namespace pagoda::train
