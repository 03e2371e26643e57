// Reading, writing and merging adapters.
#include "models/adapter.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "models/decoder.h"
#include "models/encoder.h"

namespace pagoda {

namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;

std::vector<std::string> name_list(const Json* value, const std::string& where) {
  std::vector<std::string> names;
  if (value == nullptr || value->is_null()) return names;
  if (value->is_string()) return {value->as_string(where)};
  for (const Json& name : value->as_array(where)) names.push_back(name.as_string(where));
  return names;
}

Json json_list(const std::vector<std::string>& names) {
  if (names.empty()) return {};
  Json list = Json::array();
  for (const std::string& name : names) list.push_back(name);
  return list;
}

bool is_set(const Json& value) {
  return !value.is_null() && !(value.is_bool() && !value.as_bool("")) &&
         !((value.is_array() || value.is_object()) && value.size() == 0);
}

// An adapter that peft begins as something else than zero goes with the base less that.
void check_beginning(const Json& json, const std::string& where) {
  const Json* value = json.find("init_lora_weights");
  if (value == nullptr || value->is_null() || value->is_bool()) return;
  std::string kind = value->as_string(where + ": init_lora_weights");
  std::transform(kind.begin(), kind.end(), kind.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* plain : {"gaussian", "eva", "orthogonal", "mica"}) {
    if (kind == plain) return;
  }
  unsupported(where,
              "init_lora_weights: got '{}', whose adapter goes with a base that peft changes: need true, false, gaussian, eva, "
              "orthogonal or mica (peft's save_pretrained makes a plain one, with path_initial_model_for_weight_conversion)",
              value->as_string(where));
}

// What makes more of peft's LoRA than scale * B A added to weights of products: named fields, and whatever is named like the
// switches of variants that come to be.
void check_plain(const Json& json, const std::string& where) {
  check_beginning(json, where);
  const auto among = [](const std::string& key, std::initializer_list<const char*> names) {
    return std::find(names.begin(), names.end(), key) != names.end();
  };
  for (const JsonMember& member : json.as_object(where)) {
    const std::string& key = member.key;
    if (!is_set(member.value)) continue;
    const bool named = among(key, {"alora_invocation_tokens", "alora_invocation_string", "layer_replication",
                                   "target_parameters", "trainable_token_indices", "lora_bias"});
    const bool uses = key.starts_with("use_") && key != "use_rslora";
    const bool variant =
        key.ends_with("_config") && !among(key, {"eva_config", "corda_config", "loftq_config", "lora_ga_config",
                                                 "velora_config", "megatron_config", "runtime_config"});
    if (named || uses || variant) unsupported(where, "{}: need plain LoRA", key);
  }
}

// Values of an entry in float32.
Tensor float32_of(Device& device, const TensorEntry& entry, const std::string& where) {
  if (entry.dtype != DType::kFloat32 && entry.dtype != DType::kBFloat16 && entry.dtype != DType::kFloat16) {
    unsupported(where, "{}: got dtype {}, need float32, bfloat16 or float16", entry.name, dtype_name(entry.dtype));
  }
  Tensor raw = Tensor::empty(device, entry.dtype, entry.shape);
  std::memcpy(raw.view().data, entry.data(), static_cast<size_t>(entry.bytes));
  if (entry.dtype == DType::kFloat32) return raw;
  Tensor out = Tensor::empty(device, DType::kFloat32, entry.shape);
  device.kernels->cast(device.exec, raw.view(), out.view());
  return out;
}

bool strip_suffix(std::string& text, std::string_view suffix) {
  if (text.size() < suffix.size() || text.compare(text.size() - suffix.size(), suffix.size(), suffix) != 0) return false;
  text.resize(text.size() - suffix.size());
  return true;
}

struct Pair {
  const TensorEntry* a = nullptr;
  const TensorEntry* b = nullptr;
};

// An adapter's file against a model: low-rank pairs by module, and whole parameters.
class Merge {
 public:
  Merge(Device& device, Model& model, const std::string& folder)
      : device_(device),
        config_(read_adapter_config(folder)),
        path_(join_path(folder, kAdapterWeights)),
        file_(SafetensorsFile::open(path_)) {
    for (Parameter* parameter : model.parameters()) parameters_.emplace(parameter->name, parameter);
    tied_ = tied_embedding(model);
    for (const ProductWeight& weight : product_weights(model)) products_.emplace(weight.parameter().name, weight);
  }

  std::vector<std::string> run() {
    std::map<std::string, Pair> pairs;
    for (const TensorEntry& entry : file_->tensors()) {
      std::string name = entry.name;
      if (name.rfind(kAdapterPrefix, 0) == 0) name.erase(0, std::strlen(kAdapterPrefix));
      if (strip_suffix(name, ".lora_A.weight")) {
        pairs[name].a = &entry;
      } else if (strip_suffix(name, ".lora_B.weight")) {
        pairs[name].b = &entry;
      } else if (name.find(".lora_") != std::string::npos) {
        unsupported(path_, "{}: need lora_A and lora_B of linear layers alone", entry.name);
      } else if (name != kHeadWeight || tied_ == nullptr) {  // tied: adapted_config() saw that it is the embedding
        replace(entry, name);
      }
    }
    if (pairs.empty() && changed_.empty()) invalid(path_, "no tensor of an adapter in it: need lora_A and lora_B");
    for (const auto& [module, pair] : pairs) add(module, pair);
    return changed_;
  }

 private:
  Parameter& parameter(const std::string& name, const std::string& key) {
    const auto found = parameters_.find(name);
    if (found == parameters_.end()) invalid(path_, "{}: the model has no parameter '{}'", key, name);
    changed_.push_back(name);
    return *found->second;
  }

  void replace(const TensorEntry& entry, const std::string& name) {
    Parameter& into = parameter(name, entry.name);
    if (entry.shape != into.shape) {
      invalid(path_, "{}: got {} rows or another width, need {} rows as the model has (by id2label where it is a classifier)",
              entry.name, entry.shape.empty() ? 0 : entry.shape[0], into.shape.empty() ? 0 : into.shape[0]);
    }
    store(into, float32_of(device_, entry, path_));
  }

  void add(const std::string& module, const Pair& pair) {
    if (pair.a == nullptr || pair.b == nullptr) invalid(path_, "{}: got one of lora_A and lora_B, need both", module);
    Parameter& into = parameter(module + ".weight", pair.a->name);
    const auto product = products_.find(into.name);
    if (product == products_.end()) invalid(path_, "{}: no linear layer", module);
    const bool turned = product->second.linear->transposed();
    const std::vector<int64_t>&a = pair.a->shape, &b = pair.b->shape;
    const int64_t n = product->second.outputs(), k = product->second.inputs();
    if (a.size() != 2 || b.size() != 2 || a[1] != k || b[0] != n || a[0] != b[1] || a[0] == 0) {
      invalid(path_, "{}: the shapes of lora_A and lora_B do not fit a layer of {} outputs and {} inputs", module, n, k);
    }
    const Tensor low = float32_of(device_, *pair.a, path_), high = float32_of(device_, *pair.b, path_);
    const auto scale = static_cast<float>(config_.scale(a[0]));
    for (int64_t i = 0; i < b[0] * b[1]; ++i) high.data<float>()[i] *= scale;
    Tensor sum = Tensor::empty(device_, DType::kFloat32, into.shape);
    const Tensor old = into.encoded ? decode(device_, *into.encoded, into.shape, DType::kFloat32) : into.value;
    device_.kernels->cast(device_.exec, old.view(), sum.view());
    // W + B A, or its transpose A^T B^T.
    if (turned) {
      device_.kernels->gemm(device_.exec, low.view(), true, high.view(), true, true, sum.view());
    } else {
      device_.kernels->gemm(device_.exec, high.view(), false, low.view(), false, true, sum.view());
    }
    store(into, sum);
  }

  void store(Parameter& into, const Tensor& values) {
    const DType dtype = into.encoded ? DType::kBFloat16 : into.value.is_defined() ? into.value.dtype() : DType::kFloat32;
    into.encoded = nullptr;
    into.value = values;
    if (dtype == DType::kFloat32) return;
    into.value = Tensor::empty(device_, dtype, into.shape);
    device_.kernels->cast(device_.exec, values.view(), into.value.view());
  }

  Device& device_;
  AdapterConfig config_;
  std::string path_;
  std::shared_ptr<SafetensorsFile> file_;
  std::map<std::string, Parameter*> parameters_;
  Parameter* tied_ = nullptr;
  std::map<std::string, ProductWeight> products_;
  std::vector<std::string> changed_;
};

}  // namespace

std::vector<ProductWeight> product_weights(Model& model) {
  std::vector<Linear*> linears;
  if (auto* decoder = dynamic_cast<DecoderModel*>(&model)) linears = decoder->linears();
  if (auto* encoder = dynamic_cast<EncoderModel*>(&model)) linears = encoder->linears();
  std::vector<ProductWeight> weights;
  for (Linear* linear : linears) {
    for (size_t part = 0; part < linear->num_parts(); ++part) weights.push_back({linear, part});
  }
  return weights;
}

Parameter* tied_embedding(Model& model) {
  if (dynamic_cast<DecoderModel*>(&model) == nullptr || model.head_kind() != Head::kCausalLm) return nullptr;
  const std::vector<Parameter*> parameters = model.parameters();
  for (const Parameter* parameter : parameters) {
    if (parameter->name == kHeadWeight) return nullptr;
  }
  const auto embeds = [](const Parameter* parameter) {
    std::string name = parameter->name;
    return strip_suffix(name, "embed_tokens.weight") || strip_suffix(name, "wte.weight");
  };
  const auto found = std::find_if(parameters.begin(), parameters.end(), embeds);
  return found == parameters.end() ? nullptr : *found;
}

double AdapterConfig::scale(int64_t rank) const {
  const auto rows = static_cast<double>(rank);
  return lora_alpha / (use_rslora ? std::sqrt(rows) : rows);
}

bool is_adapter(const std::string& folder) { return file_exists(join_path(folder, kAdapterConfig)); }

AdapterConfig read_adapter_config(const std::string& folder) {
  const std::string where = join_path(folder, kAdapterConfig);
  if (!is_adapter(folder)) not_found(folder, "no adapter in it: need {} and {}", kAdapterConfig, kAdapterWeights);
  const Json json = Json::parse(read_file(where, kMaxConfigBytes), where);
  const std::string kind = json.get_string("peft_type", "LORA", where);
  if (kind != "LORA") unsupported(where, "peft_type: got {}, need LORA", kind);
  check_plain(json, where);
  if (const Json* pattern = json.find("alpha_pattern"); pattern != nullptr && pattern->size() > 0) {
    unsupported(where, "alpha_pattern: need one lora_alpha for all modules");
  }
  AdapterConfig config;
  config.base_model_name_or_path = json.get_string("base_model_name_or_path", "", where);
  config.task_type = json.get_string("task_type", "", where);
  config.r = json.get_int("r", config.r, where);
  config.lora_alpha = json.get_double("lora_alpha", config.lora_alpha, where);
  config.lora_dropout = json.get_double("lora_dropout", config.lora_dropout, where);
  config.use_rslora = json.get_bool("use_rslora", false, where);
  config.bias = json.get_string("bias", "none", where);
  config.target_modules = name_list(json.find("target_modules"), where);
  config.modules_to_save = name_list(json.find("modules_to_save"), where);
  config.ensure_weight_tying = json.get_bool("ensure_weight_tying", false, where);
  if (config.r < 1) invalid(where, "r: got {}, need at least 1", config.r);
  if (!std::isfinite(config.lora_alpha)) invalid(where, "lora_alpha: got {}, need a number", config.lora_alpha);
  return config;
}

std::string adapter_config_json(const AdapterConfig& config, bool fan_in_fan_out) {
  Json json = Json::object();
  json.set("peft_type", "LORA").set("auto_mapping", Json()).set("base_model_name_or_path", config.base_model_name_or_path);
  json.set("bias", config.bias).set("fan_in_fan_out", fan_in_fan_out).set("inference_mode", true);
  json.set("init_lora_weights", true).set("lora_alpha", config.lora_alpha).set("lora_dropout", config.lora_dropout);
  json.set("modules_to_save", json_list(config.modules_to_save)).set("r", config.r).set("revision", Json());
  json.set("target_modules", json_list(config.target_modules));
  json.set("task_type", config.task_type.empty() ? Json() : Json(config.task_type)).set("use_dora", false);
  json.set("use_rslora", config.use_rslora);
  if (config.ensure_weight_tying) json.set("ensure_weight_tying", true);
  Json::DumpOptions options;
  options.indent = 2;
  options.key_separator = ": ";
  return json.dump(options) + "\n";
}

std::vector<std::string> merge_adapter(Device& device, Model& model, const std::string& folder) {
  return Merge(device, model, folder).run();
}

std::string adapter_base(const std::string& folder) {
  const std::string base = read_adapter_config(folder).base_model_name_or_path;
  if (base.empty()) invalid(folder, "base_model_name_or_path is empty: pagoda merge adds the adapter to a model that you name");
  return base;
}

namespace {

// Of a base that ties them, an adapter leaves embedding and head different.
bool unties(const Json& config, const std::string& folder) {
  const std::unique_ptr<Model> model = make_model(config, join_path(folder, kAdapterConfig));
  const Parameter* embedding = tied_embedding(*model);
  if (embedding == nullptr) return false;
  const auto file = SafetensorsFile::open(join_path(folder, kAdapterWeights));
  const std::string prefix = kAdapterPrefix;
  const TensorEntry* words = file->find(prefix + embedding->name);
  const TensorEntry* head = file->find(prefix + kHeadWeight);
  if (file->find(prefix + "lm_head.lora_A.weight") != nullptr) return true;
  if (words == nullptr && head == nullptr) return false;
  if (words == nullptr || head == nullptr) return !read_adapter_config(folder).ensure_weight_tying || words == nullptr;
  return words->dtype != head->dtype || words->bytes != head->bytes ||
         std::memcmp(words->data(), head->data(), static_cast<size_t>(words->bytes)) != 0;
}

Json read_json(const std::string& path) {
  const Limits limits;
  return Json::parse(read_file(path, limits.max_json_bytes), path, limits);
}

}  // namespace

Json config_with_head(const Json& base, const std::string& folder) {
  const std::string path = join_path(folder, "config.json");
  if (!file_exists(path)) return base;
  const Json own = read_json(path);
  Json config = base;
  if (const Json* value = own.find("architectures"); value != nullptr) config.set("architectures", *value);
  const bool whole = own.contains("model_type");  // a config of its own: what it does not say is as transformers has it
  for (const char* key : {"id2label", "label2id", "problem_type", "num_labels"}) {
    const Json* value = own.find(key);
    if (value != nullptr) config.set(key, *value);
    if (value == nullptr && whole && config.contains(key)) config.set(key, Json());
  }
  return config;
}

Json adapted_config(const Json& base, const std::string& folder) {
  Json config = config_with_head(base, folder);
  if (unties(config, folder)) config.set("tie_word_embeddings", false);
  return config;
}

std::shared_ptr<ModelFolder> open_adapted(const std::string& base, const std::string& folder) {
  std::shared_ptr<ModelFolder> opened = ModelFolder::open(base);
  const std::string generation = join_path(folder, "generation_config.json");
  Json generation_config = file_exists(generation) ? read_json(generation) : opened->generation_config();
  if (!generation_config.is_object() && !generation_config.is_null()) {
    invalid(generation, "wrong type: got {}, need object", generation_config.type_name());
  }
  opened->set_configs(adapted_config(opened->config(), folder), std::move(generation_config));
  return opened;
}

std::function<bool(const Parameter&)> saved_whole(const std::string& folder) {
  return [file = SafetensorsFile::open(join_path(folder, kAdapterWeights))](const Parameter& parameter) {
    return file->find(kAdapterPrefix + parameter.name) != nullptr || file->find(parameter.name) != nullptr;
  };
}

std::vector<std::string> load_adapted(Device& device, Model& model, const ModelFolder& base, const std::string& folder) {
  std::vector<Parameter*> missing;
  model.load(device, base, &missing, saved_whole(folder));
  for (Parameter* parameter : missing) {
    if (parameter->name != kHeadWeight) continue;
    for (const Parameter* words : model.parameters()) {  // the base's were tied
      const bool same = words != parameter && words->shape == parameter->shape;
      if (!same || parameter->value.is_defined() || parameter->encoded) continue;
      parameter->value = words->value;
      parameter->encoded = words->encoded;
    }
  }
  std::vector<std::string> changed = merge_adapter(device, model, folder);
  for (const Parameter* parameter : missing) {
    if (!parameter->value.is_defined() && !parameter->encoded)
      invalid(base.path(), "{} is neither in the base nor in the adapter", parameter->name);
  }
  return changed;
}

}  // namespace pagoda
