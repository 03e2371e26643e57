// Which modules get low-rank parts, what else trains, and the file of both.
#include "train/lora_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "formats/safetensors.h"
#include "models/decoder.h"
#include "models/encoder.h"

namespace pagoda::train {

namespace {

constexpr uint32_t kFirstSite = 1 << 20;  // of dropouts, above those of the models
constexpr uint64_t kStream = 1 << 20;     // of the values of A
constexpr size_t kMostNamed = 12;

struct FamilyTargets {
  const char* model_type;
  std::vector<std::string> modules;
};

// peft/utils/constants.py; where peft has none, the query and value as for their kin.
std::vector<std::string> default_targets(const std::string& model_type) {
  static const std::vector<FamilyTargets> kTargets{{"gpt2", {"c_attn"}},
                                                   {"gpt_bigcode", {"c_attn"}},
                                                   {"llama", {"q_proj", "v_proj"}},
                                                   {"mistral", {"q_proj", "v_proj"}},
                                                   {"qwen2", {"q_proj", "v_proj"}},
                                                   {"bert", {"query", "value"}},
                                                   {"roberta", {"query", "value"}},
                                                   {"xlm-roberta", {"query", "value"}},
                                                   {"camembert", {"query", "value"}},
                                                   {"distilbert", {"q_lin", "v_lin"}},
                                                   {"albert", {"query", "value"}}};
  for (const FamilyTargets& family : kTargets) {
    if (model_type == family.model_type) return family.modules;
  }
  invalid("--lora-target-modules", "no default for {}: name modules, or all-linear", model_type);
}

std::string module_of(const std::string& parameter) { return parameter.substr(0, parameter.rfind('.')); }

bool ends_behind_dot(const std::string& module, const std::string& target) {
  if (module == target) return true;
  return module.size() > target.size() && module.compare(module.size() - target.size(), target.size(), target) == 0 &&
         module[module.size() - target.size() - 1] == '.';
}

// peft: a module is saved whole if its name ends with the given one, with all that is below it.
bool is_saved(const std::string& parameter, const std::vector<std::string>& modules) {
  for (size_t dot = parameter.find('.'); dot != std::string::npos; dot = parameter.find('.', dot + 1)) {
    for (const std::string& module : modules) {
      if (ends_behind_dot(parameter.substr(0, dot), module)) return true;
    }
  }
  return false;
}

// What peft's all-linear leaves out: the output embedding, and classifiers, which it saves whole (whatever ends with the word).
bool is_head(const Model& model, const std::string& module) {
  const auto* encoder = dynamic_cast<const EncoderModel*>(&model);
  if (module == (encoder != nullptr ? encoder->config().names.lm_decoder : module_of(kHeadWeight))) return true;
  const std::string first = module.substr(0, module.find('.'));
  return first.ends_with("classifier") || first == "score" || first == "qa_outputs";
}

// What chooses modules by their names.
class Targets {
 public:
  // of_adapter: its file says which modules, and an expression has chosen them already.
  Targets(const std::vector<std::string>& names, bool of_adapter) : names_(names) {
    if (of_adapter || names.size() != 1 || !is_module_expression(names[0])) return;
    expression_ = whole_module_expression(names[0], "--lora-target-modules");
  }
  bool all_linear() const { return names_.size() == 1 && names_[0] == "all-linear"; }
  bool is_expression() const { return expression_ != nullptr; }
  bool fits(const std::string& target, const std::string& module) const {
    return expression_ ? pagoda::fits(*expression_, module) : ends_behind_dot(module, target);
  }
  bool fit(const std::string& module) const {
    return std::any_of(names_.begin(), names_.end(), [&](const std::string& target) { return fits(target, module); });
  }

 private:
  std::vector<std::string> names_;
  std::shared_ptr<const Regex> expression_;
};

std::set<std::string> modules_of_adapter(const std::string& folder) {
  const std::string prefix = kAdapterPrefix, suffix = ".lora_A.weight";
  const auto file = SafetensorsFile::open(join_path(folder, kAdapterWeights));
  std::set<std::string> modules;
  for (const TensorEntry& entry : file->tensors()) {
    const std::string& name = entry.name;
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    if (name.size() > prefix.size() + suffix.size()) {
      modules.insert(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
    }
  }
  return modules;
}

// Names by which peft finds the adapted modules and no others: of each the shortest end that no other has.
std::vector<std::string> target_names(const std::set<std::string>& adapted, const std::set<std::string>& others) {
  std::set<std::string> names;
  for (const std::string& module : adapted) {
    size_t dot = module.rfind('.');
    const auto name = [&] { return dot == std::string::npos ? module : module.substr(dot + 1); };
    const auto is_other = [&](const std::string& other) { return ends_behind_dot(other, name()); };
    while (dot != std::string::npos && std::any_of(others.begin(), others.end(), is_other)) {
      dot = dot == 0 ? std::string::npos : module.rfind('.', dot - 1);
    }
    names.insert(name());
  }
  return {names.begin(), names.end()};
}

const char* task_type_of(Head head) {
  switch (head) {
    case Head::kCausalLm: return "CAUSAL_LM";
    case Head::kSequenceClassification: return "SEQ_CLS";
    case Head::kTokenClassification: return "TOKEN_CLS";
    case Head::kQuestionAnswering: return "QUESTION_ANS";
    default: return "";
  }
}

Parameter trained_matrix(Device& device, std::string name, Init init, const std::vector<int64_t>& shape) {
  Parameter parameter{std::move(name), shape, init, Tensor::zeros(device, DType::kFloat32, shape)};
  parameter.value.set_requires_grad(true);
  parameter.copies = std::make_shared<ops::WeightCopies>();
  return parameter;
}

// What an adapter can add and training cannot go on with.
void check_trains(const std::string& folder, const AdapterConfig& config) {
  if (config.lora_bias) unsupported(folder, "lora_bias does not train: need an adapter without (pagoda merge adds it)");
  const std::string path = join_path(folder, kAdapterWeights);
  const auto file = SafetensorsFile::open(path);
  for (const TensorEntry& entry : file->tensors()) {
    if (entry.name.find(".lora_embedding_") == std::string::npos) continue;
    unsupported(path, "{}: LoRA of an embedding does not train: need one of linear layers (pagoda merge adds it)", entry.name);
  }
}

}  // namespace

std::unique_ptr<LoraModel> LoraModel::open(const std::string& path, const TrainingModelOptions& options,
                                           const LoraOptions& lora) {
  std::unique_ptr<LoraModel> self(new LoraModel);
  TrainingModelOptions with_adapter = options;
  with_adapter.adapter = lora.adapter;
  self->open_model(path, with_adapter);
  if (self->from_scratch()) invalid(path, "LoRA adapts a trained model: need a folder with weights");
  AdapterConfig& config = self->config_of_adapter_;
  config = lora.adapter.empty() ? lora.config : read_adapter_config(lora.adapter);
  if (!lora.adapter.empty()) check_trains(lora.adapter, config);
  if (config.base_model_name_or_path.empty()) config.base_model_name_or_path = lora.config.base_model_name_or_path;
  if (config.r < 1) invalid("--lora-r", "got {}, need at least 1", config.r);
  if (!(config.lora_dropout >= 0 && config.lora_dropout < 1))
    invalid("--lora-dropout", "got {}, need 0 to below 1", config.lora_dropout);
  if (config.bias != "none" && config.bias != "all" && config.bias != "lora_only") {
    invalid("--lora-bias", "got '{}', need none, all or lora_only", config.bias);
  }
  config.task_type = task_type_of(self->model().head_kind());
  self->choose_saved_modules(!lora.adapter.empty());
  self->attach(options.seed, lora.adapter);
  if (!lora.adapter.empty()) {
    self->load_from(lora.adapter);
    std::erase_if(self->new_parameters_, [&](const std::string& name) {
      const auto trained = self->trained_parameters();  // all of them are in the adapter
      return std::any_of(trained.begin(), trained.end(), [&](const Parameter* each) { return each->name == name; });
    });
  }
  return self;
}

void LoraModel::choose_saved_modules(bool of_adapter) {
  std::vector<std::string>& saved = config_of_adapter_.modules_to_save;
  const std::vector<Parameter*> parameters = model().parameters();
  const auto holds = [&](const std::string& module) {
    return std::any_of(parameters.begin(), parameters.end(),
                       [&](const Parameter* each) { return is_saved(each->name, {module}); });
  };
  Parameter* words = tied_embedding(model());
  const std::string head = module_of(kHeadWeight);
  // peft names every head that there might be ("classifier" and "score").
  if (of_adapter) std::erase_if(saved, [&](const std::string& module) { return !holds(module) && !(words && module == head); });
  for (const std::string& module : saved) {
    if (!holds(module) && !(words != nullptr && module == head)) {
      invalid("--lora-modules-to-save", "no module with weights of its own ends with '{}'", module);
    }
  }
  // One weight has two names: both are saved, so that PeftModel, which loads each by itself, has the same.
  if (words != nullptr && (is_saved(words->name, saved) || std::find(saved.begin(), saved.end(), head) != saved.end())) {
    tied_ = words;
    config_of_adapter_.ensure_weight_tying = true;
    const std::string module = module_of(words->name);
    if (!is_saved(words->name, saved)) saved.push_back(module.substr(module.rfind('.') + 1));
    if (std::find(saved.begin(), saved.end(), head) == saved.end()) saved.push_back(head);
  }
  for (const Parameter* parameter : parameters) {
    const bool tied_head =
        model().head_kind() == Head::kMaskedLm && config_.get_bool("tie_word_embeddings", true, "config.json");
    if (tied_head && parameter->name.ends_with("word_embeddings.weight") && is_saved(parameter->name, saved)) {
      unsupported("--lora-modules-to-save", "{} is the weight of the head too, which PEFT would leave as it was",
                  parameter->name);
    }
  }
  for (const std::string& name : new_parameters()) {
    if (is_saved(name, saved)) continue;
    const std::string first = name.substr(0, name.find('.'));
    const bool new_head = first == "classifier" || first == "score" || first == "qa_outputs";
    saved.push_back(new_head ? first : module_of(name));
  }
}

std::shared_ptr<LowRank> LoraModel::low_rank(const ProductWeight& weight, uint64_t seed, uint32_t number) {
  const AdapterConfig& config = config_of_adapter_;
  const std::string module = module_of(weight.parameter().name);
  const int64_t n = weight.outputs(), k = weight.inputs(), r = config.rank(module);
  auto added = std::make_shared<LowRank>();
  added->a = trained_matrix(device(), module + ".lora_A.weight", Init::kNormal, {r, k});
  added->b = trained_matrix(device(), module + ".lora_B.weight", Init::kZeros, {n, r});
  // torch's kaiming_uniform with a = sqrt(5).
  const double bound = 1 / std::sqrt(static_cast<double>(k));
  const RandomStream random(seed, kStream + number);
  for (int64_t i = 0; i < r * k; ++i) {
    added->a.value.data<float>()[i] = static_cast<float>((2 * random.uniform(static_cast<uint64_t>(i)) - 1) * bound);
  }
  if (config.use_dora) {  // begins as the length that is there
    added->magnitude = {
        module + kMagnitude, {n}, Init::kNormal, output_lengths(weight.parameter().value, weight.linear->transposed())};
    added->magnitude.value.set_requires_grad(true);
  }
  added->scale = static_cast<float>(config.scale(module));
  added->dropout = {static_cast<float>(config.lora_dropout), kFirstSite + number};
  added->draws = draws_;
  return added;
}

void LoraModel::attach(uint64_t seed, const std::string& of_adapter) {
  AdapterConfig& config = config_of_adapter_;
  std::vector<std::string>& targets = config.target_modules;
  const bool by_names = of_adapter.empty();
  if (targets.empty() && by_names) targets = default_targets(config_.get_string("model_type", "", "config.json"));
  const Targets wanted(targets, !by_names);
  const std::set<std::string> in_file = by_names ? std::set<std::string>() : modules_of_adapter(of_adapter);
  std::set<std::string>& adapted = adapted_;
  std::set<std::string> others, named, last_words;
  const std::vector<Parameter*> parameters = model().parameters();
  for (Parameter* parameter : parameters) parameter->value.set_requires_grad(is_saved(parameter->name, config.modules_to_save));
  uint32_t number = 0;
  for (const ProductWeight& weight : product_weights(model())) {
    const std::string module = module_of(weight.parameter().name);
    const bool trained_whole = weight.parameter().value.requires_grad();
    const bool is_named = wanted.fit(module);
    if (is_named) named.insert(module);
    if (!trained_whole) last_words.insert(module.substr(module.rfind('.') + 1));
    const bool chosen = !by_names ? in_file.count(module) > 0 : wanted.all_linear() ? !is_head(model(), module) : is_named;
    if (trained_whole || !chosen) {
      others.insert(module);
      continue;
    }
    weight.linear->set_low_rank(weight.part, low_rank(weight, seed, number++));
    fan_in_fan_out_ = fan_in_fan_out_ || weight.linear->transposed();
    adapted.insert(module);
  }
  for (const std::string& target : targets) {
    const auto fits = [&](const std::string& module) { return wanted.fits(target, module); };
    if (!by_names || wanted.all_linear() || std::any_of(adapted.begin(), adapted.end(), fits)) continue;
    std::string names;
    size_t count = 0;
    for (const std::string& name : last_words) {
      if (count++ < kMostNamed) names += (names.empty() ? "" : ", ") + name;
    }
    invalid("--lora-target-modules", "no such module: got '{}', need some of {}", target, names);
  }
  if (named != adapted || wanted.is_expression()) targets = target_names(adapted, others);
  if (config.bias == "none") return;
  for (Parameter* parameter : parameters) {
    const size_t dot = parameter->name.rfind('.');
    if (dot == std::string::npos || parameter->name.compare(dot, std::string::npos, ".bias") != 0) continue;
    if (config.bias == "all" || adapted.count(module_of(parameter->name)) > 0) parameter->value.set_requires_grad(true);
  }
}

void LoraModel::save(const std::string& folder) {
  TrainingModel::save_beside(folder);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const Parameter* parameter : trained_parameters()) tensors.emplace_back(key_of(*parameter), parameter->value);
  for (const Parameter* parameter : base_layers_) tensors.emplace_back(key_of(*parameter), parameter->value);
  if (tied_ != nullptr) tensors.emplace_back(std::string(kAdapterPrefix) + kHeadWeight, tied_->value);
  write_safetensors(join_path(folder, kAdapterWeights), tensors, {{"format", "pt"}});
  write_file_atomic(join_path(folder, kAdapterConfig), adapter_config_json(config_of_adapter_, fan_in_fan_out_));
}

// peft has an adapted module's own parameters one level down.
std::string LoraModel::key_of(const Parameter& parameter) const {
  const std::string module = module_of(parameter.name), name = parameter.name.substr(module.size());
  const bool own = adapted_.count(module) > 0 && (name == ".bias" || name == ".weight");
  return kAdapterPrefix + module + (own ? kBaseLayer : "") + name;
}

void LoraModel::load(const std::string& folder) {
  const AdapterConfig before = read_adapter_config(folder);
  const AdapterConfig& now = config_of_adapter_;
  if (before.r != now.r) invalid("--lora-r", "got {}, need {} as in {}", now.r, before.r, folder);
  if (before.lora_alpha != now.lora_alpha || before.use_rslora != now.use_rslora) {
    const auto text = [](const AdapterConfig& of) {
      return fmt::format("{}{}", of.lora_alpha, of.use_rslora ? " with --use-rslora" : "");
    };
    invalid("--lora-alpha", "got {}, need {} as in {}", text(now), text(before), folder);
  }
  if (before.use_dora != now.use_dora) {
    invalid("--use-dora", "got {}, need {} as in {}", now.use_dora, before.use_dora, folder);
  }
  if (before.rank_pattern != now.rank_pattern || before.alpha_pattern != now.alpha_pattern) {
    invalid(folder, "rank_pattern and alpha_pattern are others than those of this training: need an adapter of it");
  }
  load_from(folder);
}

void LoraModel::load_values(const TensorEntry& entry, Parameter& parameter, const std::string& where) {
  const bool floats = entry.dtype == DType::kFloat32 || entry.dtype == DType::kBFloat16 || entry.dtype == DType::kFloat16;
  if (entry.shape != parameter.shape || !floats) {
    invalid(where, "{}: got another shape than the model has, or a dtype that is not float32, bfloat16 or float16", entry.name);
  }
  const Tensor values = Tensor::empty(device(), entry.dtype, entry.shape);
  std::memcpy(values.view().data, entry.data(), static_cast<size_t>(entry.bytes));
  device().kernels->cast(device().exec, values.view(), parameter.value.view());
  ++parameter.version;
}

void LoraModel::load_from(const std::string& folder) {
  const std::string path = join_path(folder, kAdapterWeights);
  const auto file = SafetensorsFile::open(path);
  const std::vector<Parameter*> trained = trained_parameters();
  for (Parameter* parameter : trained) {
    const TensorEntry* entry = file->find(key_of(*parameter));
    if (entry == nullptr) entry = file->find(kAdapterPrefix + parameter->name);  // biases of old adapters
    if (entry == nullptr) invalid(path, "{} is missing: the adapter is of other modules", key_of(*parameter));
    load_values(*entry, *parameter, path);
  }
  base_layers_.clear();
  for (Parameter* parameter : model().parameters()) {
    const TensorEntry* entry = parameter->value.requires_grad() ? nullptr : file->find(key_of(*parameter));
    if (entry == nullptr) continue;
    load_values(*entry, *parameter, path);
    base_layers_.push_back(parameter);
  }
  const TensorEntry* head = tied_ == nullptr ? nullptr : file->find(std::string(kAdapterPrefix) + kHeadWeight);
  const TensorEntry* words = tied_ == nullptr ? nullptr : file->find(kAdapterPrefix + tied_->name);
  if (head != nullptr && words != nullptr &&
      (head->bytes != words->bytes || std::memcmp(head->data(), words->data(), static_cast<size_t>(head->bytes)) != 0)) {
    unsupported(path, "embedding and head differ, which the model ties: pagoda merge makes a model of both");
  }
  const size_t wanted = trained.size() + base_layers_.size() + (head != nullptr ? 1 : 0);
  if (file->tensors().size() != wanted) {
    invalid(path, "got {} tensors, need {}: the adapter is of other modules", file->tensors().size(), wanted);
  }
}

Tensor LoraTask::loss(const Model& model, const MicroBatch& batch, int64_t count, Observer* observer) const {
  draws_->rows = batch.layout->dropout;
  return task_->loss(model, batch, count, observer);
}

void LoraTask::end_batches() {
  draws_->rows = nullptr;
  task_->end_batches();
}

Metrics LoraTask::evaluate(const Model& model, const TaskHooks& hooks, Communicator* ranks) {
  end_batches();
  return task_->evaluate(model, hooks, ranks);
}

}  // namespace pagoda::train
