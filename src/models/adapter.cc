// Merging adapters, and models with an adapter in front of their weights.
#include "models/adapter.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "models/decoder.h"
#include "models/encoder.h"
#include "nn/lora.h"

namespace pagoda {

namespace {

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

// What the file has of one module.
struct LowRankEntries {
  const TensorEntry* a = nullptr;  // [r, inputs]
  const TensorEntry* b = nullptr;  // [outputs, r]
  const TensorEntry* bias = nullptr;
  const TensorEntry* magnitude = nullptr;
  bool embedding = false;
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
    const auto* encoder = dynamic_cast<const EncoderModel*>(&model);
    tied_decoder_ = encoder != nullptr && model.head_kind() == Head::kMaskedLm &&
                    parameters_.count(encoder->config().names.lm_decoder + ".weight") == 0;
    for (const ProductWeight& weight : product_weights(model)) products_.emplace(weight.parameter().name, weight);
  }

  std::vector<std::string> run() {
    std::map<std::string, LowRankEntries> modules;
    for (const TensorEntry& entry : file_->tensors()) {
      std::string name = entry.name;
      if (name.rfind(kAdapterPrefix, 0) == 0) name.erase(0, std::strlen(kAdapterPrefix));
      if (take(entry, name, modules)) continue;
      if (name.find(".lora_") != std::string::npos) {
        unsupported(path_, "{}: need lora_A, lora_B and lora_magnitude_vector of linear layers and embeddings alone",
                    entry.name);
      }
      if (const size_t at = name.rfind(kBaseLayer + std::string(".")); at != std::string::npos) {
        name.erase(at, std::strlen(kBaseLayer));
      }
      // A tied head: adapted_config() saw that it is the embedding.
      if (name != kHeadWeight || tied_ == nullptr) replace(entry, name);
    }
    if (modules.empty() && changed_.empty()) invalid(path_, "no tensor of an adapter in it: need lora_A and lora_B");
    for (const auto& [module, entries] : modules) add(module, entries);
    return changed_;
  }

 private:
  // Whether the entry is one of a module, whose name is left of its own then.
  static bool take(const TensorEntry& entry, std::string& name, std::map<std::string, LowRankEntries>& modules) {
    struct Kind {
      const char* end;
      const TensorEntry* LowRankEntries::* entry;
      bool embedding;
    };
    static constexpr Kind kKinds[] = {
        {".lora_A.weight", &LowRankEntries::a, false},   {".lora_B.weight", &LowRankEntries::b, false},
        {".lora_B.bias", &LowRankEntries::bias, false},  {kMagnitude, &LowRankEntries::magnitude, false},
        {".lora_embedding_A", &LowRankEntries::a, true}, {".lora_embedding_B", &LowRankEntries::b, true}};
    for (const Kind& kind : kKinds) {
      if (!strip_suffix(name, kind.end)) continue;
      LowRankEntries& entries = modules[name];
      entries.*kind.entry = &entry;
      entries.embedding = entries.embedding || kind.embedding;
      return true;
    }
    return false;
  }

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

  // Of the module's weight: whether its rows are inputs, as an embedding's are.
  bool is_transposed(const std::string& module, const Parameter& weight, const LowRankEntries& entries) const {
    const auto product = products_.find(weight.name);
    if (entries.embedding != (product == products_.end()) || weight.shape.size() != 2) {
      invalid(path_, "{}: got lora_{}, need a layer of that kind", module, entries.embedding ? "embedding_A" : "A");
    }
    if (entries.embedding && tied_decoder_) {
      unsupported(path_, "{}: an embedding that is the head's weight too, which peft leaves as it was", module);
    }
    return entries.embedding || product->second.linear->transposed();
  }

  void check(const std::string& module, const LowRankEntries& entries, int64_t n, int64_t k) const {
    if (entries.a == nullptr || entries.b == nullptr) invalid(path_, "{}: got one of lora_A and lora_B, need both", module);
    const std::vector<int64_t>&a = entries.a->shape, &b = entries.b->shape;
    if (a.size() != 2 || b.size() != 2 || a[1] != k || b[0] != n || a[0] != b[1] || a[0] == 0) {
      invalid(path_, "{}: the shapes of lora_A and lora_B do not fit a layer of {} outputs and {} inputs", module, n, k);
    }
    if (a[0] != config_.rank(module)) {
      invalid(path_, "{}: got a rank of {}, need {} as r and rank_pattern of {} say", module, a[0], config_.rank(module),
              kAdapterConfig);
    }
    const auto vector = [&](const TensorEntry* entry, const char* name, bool wanted, const char* field) {
      if ((entry != nullptr) != wanted) {
        invalid(path_, "{}{}: got {}, need it where {} of {} is true alone", module, name, wanted ? "none" : "one", field,
                kAdapterConfig);
      }
      if (entry != nullptr && entry->shape != std::vector<int64_t>{n}) {
        invalid(path_, "{}{}: got another shape, need [{}]", module, name, n);
      }
    };
    vector(entries.magnitude, kMagnitude, config_.use_dora, "use_dora");
    vector(entries.bias, ".lora_B.bias", config_.lora_bias, "lora_bias");
  }

  void add(const std::string& module, const LowRankEntries& entries) {
    Parameter& into = parameter(module + ".weight", module);
    const bool transposed = is_transposed(module, into, entries);
    check(module, entries, into.shape[transposed ? 1 : 0], into.shape[transposed ? 0 : 1]);
    const auto scale = static_cast<float>(config_.scale(module));
    const Tensor old = into.encoded ? decode(device_, *into.encoded, into.shape, DType::kFloat32) : into.value;
    const Tensor sum =
        with_low_rank(old, float32_of(device_, *entries.a, path_), float32_of(device_, *entries.b, path_), scale, transposed);
    if (entries.magnitude != nullptr) {
      set_output_lengths(sum, float32_of(device_, *entries.magnitude, path_), transposed);
    }
    store(into, sum);
    if (entries.bias != nullptr) add_bias(module, *entries.bias, scale);
  }

  void add_bias(const std::string& module, const TensorEntry& entry, float scale) {
    if (parameters_.find(module + ".bias") == parameters_.end()) {
      unsupported(path_, "{}: lora_bias on a layer without a bias, into which it could be merged", entry.name);
    }
    Parameter& into = parameter(module + ".bias", entry.name);
    const Tensor more = float32_of(device_, entry, path_);
    Tensor sum = Tensor::empty(device_, DType::kFloat32, into.shape);
    device_.kernels->cast(device_.exec, into.value.view(), sum.view());
    for (int64_t i = 0; i < sum.numel(); ++i) sum.data<float>()[i] += scale * more.data<float>()[i];
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
  bool tied_decoder_ = false;  // of a masked LM
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
  const std::string module = embedding->name.substr(0, embedding->name.rfind('.'));
  for (const std::string& key : {std::string("lm_head.lora_A.weight"), module + ".lora_embedding_A"}) {
    if (file->find(prefix + key) != nullptr) return true;
  }
  if (words == nullptr && head == nullptr) return false;
  if (words == nullptr || head == nullptr) return !read_adapter_config(folder).ensure_weight_tying || words == nullptr;
  return words->dtype != head->dtype || words->bytes != head->bytes ||
         std::memcmp(words->data(), head->data(), static_cast<size_t>(words->bytes)) != 0;
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
    std::string adapted = kAdapterPrefix + parameter.name;
    adapted.insert(adapted.rfind('.'), kBaseLayer);
    const std::string names[] = {kAdapterPrefix + parameter.name, parameter.name, adapted};
    return std::any_of(std::begin(names), std::end(names),
                       [&](const std::string& name) { return file->find(name) != nullptr; });
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
