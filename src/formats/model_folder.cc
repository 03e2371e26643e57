// Opens the files of a Hugging Face folder, or a GGUF file as one.
#include "formats/model_folder.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "formats/gguf_model.h"
#include "formats/quantized.h"
#include "formats/torch_bin.h"

namespace pagoda {

namespace {

class SafetensorsSource : public WeightSource {
 public:
  SafetensorsSource(const std::vector<std::string>& files, const Limits& limits) {
    for (const std::string& path : files) {
      files_.push_back(SafetensorsFile::open(path, limits));
      for (const TensorEntry& entry : files_.back()->tensors()) {
        if (!index_.emplace(entry.name, &entry).second) invalid(path, "tensor '{}' is in two shards", entry.name);
      }
    }
  }
  const TensorEntry* find(const std::string& name) const override {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : it->second;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const auto& [name, entry] : index_) all.push_back(name);
    return all;
  }
  void drop_pages() const override {
    for (const std::shared_ptr<SafetensorsFile>& file : files_) file->drop_pages();
  }

 private:
  std::vector<std::shared_ptr<SafetensorsFile>> files_;
  std::map<std::string, const TensorEntry*> index_;
};

// The shards that an index names, each once, as paths; names must stay inside the folder.
std::vector<std::string> shards(const std::string& folder, const std::string& index_path, const Limits& limits,
                                Json& weight_map) {
  const Json index = Json::parse(read_file(index_path, limits.max_json_bytes), index_path, limits);
  weight_map = index.at("weight_map", index_path);
  std::set<std::string> names;
  for (const JsonMember& member : weight_map.as_object(index_path)) {
    const std::string& name = member.value.as_string(index_path);
    if (!is_safe_relative_path(name)) invalid(index_path, "shard outside the folder: got '{}'", name);
    names.insert(name);
  }
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    const std::string path = join_path(folder, name);
    if (!file_exists(path)) not_found(index_path, "shard missing: need {}", path);
    paths.push_back(path);
  }
  return paths;
}

void check_index(const WeightSource& source, const Json& weight_map, const std::string& index_path) {
  for (const JsonMember& member : weight_map.as_object(index_path)) {
    if (source.find(member.key) == nullptr) {
      invalid(index_path, "tensor missing: the index says that '{}' is in {}", member.key, member.value.as_string(index_path));
    }
  }
}

}  // namespace

std::shared_ptr<WeightSource> open_safetensors(const std::vector<std::string>& files, const Limits& limits) {
  return std::make_shared<SafetensorsSource>(files, limits);
}

std::string model_path(const std::string& path) {
  if (!directory_exists(path) || file_exists(join_path(path, "config.json"))) return path;
  constexpr std::string_view kEnd = ".gguf";
  std::string found;
  for (const std::string& name : list_directory(path)) {
    if (name.size() <= kEnd.size() || name.compare(name.size() - kEnd.size(), kEnd.size(), kEnd) != 0) continue;
    if (!found.empty()) return path;
    found = join_path(path, name);
  }
  return found.empty() ? path : found;
}

std::shared_ptr<ModelFolder> ModelFolder::open(const std::string& given, const Limits& limits) {
  const std::string path = model_path(given);
  std::shared_ptr<ModelFolder> folder(new ModelFolder);
  folder->path_ = path;
  folder->limits_ = limits;
  if (file_exists(path)) {
    if (!is_gguf(path)) invalid(path, "no model: got a file that is not GGUF, need a model folder or a .gguf file");
    folder->gguf_ = GgufFile::open(path, limits);
    folder->config_ = gguf_config(*folder->gguf_);
    return folder;
  }
  if (!directory_exists(path)) not_found(path, "no such model folder");
  const std::string config = join_path(path, "config.json");
  if (!file_exists(config)) not_found(path, "not a model folder: need config.json, or one .gguf file");
  folder->config_ = Json::parse(read_file(config, limits.max_json_bytes), config, limits);
  if (!folder->config_.is_object()) invalid(config, "wrong type: got {}, need object", folder->config_.type_name());
  const std::string generation = join_path(path, "generation_config.json");
  if (file_exists(generation)) {
    folder->generation_config_ = Json::parse(read_file(generation, limits.max_json_bytes), generation, limits);
    if (!folder->generation_config_.is_object()) {
      invalid(generation, "wrong type: got {}, need object", folder->generation_config_.type_name());
    }
  }
  return folder;
}

std::string ModelFolder::config_path() const { return gguf_ ? path_ : join_path(path_, "config.json"); }

const Json* ModelFolder::quantization() const {
  for (const char* key : {"quantization_config", "compression_config"}) {
    const Json* value = config_.find(key);
    if (value != nullptr && value->is_object()) return value;
  }
  return nullptr;
}

const WeightSource& ModelFolder::weights() const {
  if (weights_) return *weights_;
  if (gguf_) {
    weights_ = open_gguf_weights(gguf_);
    weight_files_ = {path_};
    return *weights_;
  }
  for (const auto& [name, open_files] :
       {std::pair{"model.safetensors", &open_safetensors}, {"pytorch_model.bin", &open_torch_bin}}) {
    const std::string single = join_path(path_, name), index = single + ".index.json";
    if (file_exists(single)) {
      weight_files_ = {single};
      weights_ = open_files(weight_files_, limits_);
    } else if (file_exists(index)) {
      Json weight_map;
      weight_files_ = shards(path_, index, limits_, weight_map);
      weights_ = open_files(weight_files_, limits_);
      check_index(*weights_, weight_map, index);
    }
    if (!weights_) continue;
    if (const Json* quantized = quantization()) weights_ = open_quantized(weights_, *quantized, config_path());
    return *weights_;
  }
  not_found(path_, "no weights: need model.safetensors or pytorch_model.bin, or one of them in shards with its .index.json");
}

std::vector<std::string> ModelFolder::weight_files() const {
  weights();
  return weight_files_;
}

DType ModelFolder::dtype() const {
  for (const char* key : {"dtype", "torch_dtype"}) {
    const Json* value = config_.find(key);
    if (value == nullptr || !value->is_string()) continue;
    const DType named = parse_dtype(value->as_string(key), config_path());
    return named == DType::kFloat16 && quantization() != nullptr ? DType::kBFloat16 : named;
  }
  std::map<DType, int64_t> bytes;
  for (const std::string& name : weights().names()) {
    const TensorEntry* entry = weights().find(name);
    if (is_floating(entry->dtype)) bytes[entry->dtype] += entry->bytes;
  }
  const auto most =
      std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == bytes.end() ? DType::kFloat32 : most->first;
}

}  // namespace pagoda
