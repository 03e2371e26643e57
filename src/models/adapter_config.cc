// Fields by name: those that are known, and those that make an adapter something else.
#include "models/adapter_config.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <initializer_list>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace pagoda {

namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;
constexpr int64_t kMostRank = 1 << 20;

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

// What makes more of peft's LoRA than this knows: named fields, and whatever is named like the switches of variants that come
// to be.
void check_plain(const Json& json, const std::string& where) {
  check_beginning(json, where);
  const auto among = [](const std::string& key, std::initializer_list<const char*> names) {
    return std::find(names.begin(), names.end(), key) != names.end();
  };
  for (const JsonMember& member : json.as_object(where)) {
    const std::string& key = member.key;
    if (!is_set(member.value)) continue;
    const bool named = among(key, {"alora_invocation_tokens", "alora_invocation_string", "layer_replication",
                                   "target_parameters", "trainable_token_indices"});
    const bool uses = key.starts_with("use_") && !among(key, {"use_rslora", "use_dora"});
    const bool variant =
        key.ends_with("_config") && !among(key, {"eva_config", "corda_config", "loftq_config", "lora_ga_config",
                                                 "velora_config", "megatron_config", "runtime_config"});
    if (named || uses || variant) unsupported(where, "{}: need LoRA or DoRA without it", key);
  }
}

ModulePattern read_pattern(const Json& json, const char* name, const std::string& where) {
  ModulePattern pattern;
  const Json* value = json.find(name);
  if (value == nullptr || value->is_null()) return pattern;
  const std::string field = where + ": " + name;
  for (const JsonMember& member : value->as_object(field)) pattern.add(member.key, member.value.as_double(field), field);
  return pattern;
}

Json to_json(const ModulePattern& pattern) {
  Json json = Json::object();
  for (const ModulePattern::Entry& entry : pattern.entries()) {
    const bool whole = std::trunc(entry.value) == entry.value && std::abs(entry.value) < 1e15;
    json.set(entry.key, whole ? Json(static_cast<int64_t>(entry.value)) : Json(entry.value));
  }
  return json;
}

void check(const AdapterConfig& config, const std::string& where) {
  if (config.r < 1) invalid(where, "r: got {}, need at least 1", config.r);
  if (!std::isfinite(config.lora_alpha)) invalid(where, "lora_alpha: got {}, need a number", config.lora_alpha);
  for (const ModulePattern::Entry& entry : config.rank_pattern.entries()) {
    if (!(entry.value >= 1 && entry.value <= kMostRank) || std::trunc(entry.value) != entry.value) {
      invalid(where, "rank_pattern: got {} for '{}', need a whole number from 1 to {}", entry.value, entry.key, kMostRank);
    }
  }
  for (const ModulePattern::Entry& entry : config.alpha_pattern.entries()) {
    if (!std::isfinite(entry.value)) {
      invalid(where, "alpha_pattern: got {} for '{}', need a number", entry.value, entry.key);
    }
  }
  if (config.use_dora && config.lora_bias) invalid(where, "lora_bias: got true beside use_dora, need one of them as peft does");
}

}  // namespace

void ModulePattern::add(const std::string& key, double value, const std::string& where) {
  entries_.push_back({key, value, Regex::compile(R"(^(.*\.)?()" + key + ")$", PatternDialect::kRust, where)});
}

double ModulePattern::value(const std::string& module, double otherwise) const {
  for (const Entry& entry : entries_) {
    if (fits(*entry.expression, module)) return entry.value;
  }
  return otherwise;
}

int64_t AdapterConfig::rank(const std::string& module) const {
  return static_cast<int64_t>(rank_pattern.value(module, static_cast<double>(r)));
}

double AdapterConfig::scale(const std::string& module) const {
  const auto rows = static_cast<double>(rank(module));
  return alpha_pattern.value(module, lora_alpha) / (use_rslora ? std::sqrt(rows) : rows);
}

bool is_adapter(const std::string& folder) { return file_exists(join_path(folder, kAdapterConfig)); }

AdapterConfig read_adapter_config(const std::string& folder) {
  const std::string where = join_path(folder, kAdapterConfig);
  if (!is_adapter(folder)) not_found(folder, "no adapter in it: need {} and {}", kAdapterConfig, kAdapterWeights);
  const Json json = Json::parse(read_file(where, kMaxConfigBytes), where);
  const std::string kind = json.get_string("peft_type", "LORA", where);
  if (kind != "LORA") unsupported(where, "peft_type: got {}, need LORA", kind);
  check_plain(json, where);
  AdapterConfig config;
  config.base_model_name_or_path = json.get_string("base_model_name_or_path", "", where);
  config.task_type = json.get_string("task_type", "", where);
  config.r = json.get_int("r", config.r, where);
  config.lora_alpha = json.get_double("lora_alpha", config.lora_alpha, where);
  config.lora_dropout = json.get_double("lora_dropout", config.lora_dropout, where);
  config.rank_pattern = read_pattern(json, "rank_pattern", where);
  config.alpha_pattern = read_pattern(json, "alpha_pattern", where);
  config.use_rslora = json.get_bool("use_rslora", false, where);
  config.use_dora = json.get_bool("use_dora", false, where);
  config.lora_bias = json.get_bool("lora_bias", false, where);
  config.bias = json.get_string("bias", "none", where);
  config.target_modules = name_list(json.find("target_modules"), where);
  config.modules_to_save = name_list(json.find("modules_to_save"), where);
  config.ensure_weight_tying = json.get_bool("ensure_weight_tying", false, where);
  check(config, where);
  return config;
}

std::string adapter_config_json(const AdapterConfig& config, bool fan_in_fan_out) {
  Json json = Json::object();
  json.set("peft_type", "LORA").set("auto_mapping", Json()).set("base_model_name_or_path", config.base_model_name_or_path);
  json.set("alpha_pattern", to_json(config.alpha_pattern));
  json.set("bias", config.bias).set("fan_in_fan_out", fan_in_fan_out).set("inference_mode", true);
  json.set("init_lora_weights", true).set("lora_alpha", config.lora_alpha).set("lora_dropout", config.lora_dropout);
  json.set("modules_to_save", json_list(config.modules_to_save)).set("r", config.r);
  json.set("rank_pattern", to_json(config.rank_pattern)).set("revision", Json());
  json.set("target_modules", json_list(config.target_modules));
  json.set("task_type", config.task_type.empty() ? Json() : Json(config.task_type)).set("use_dora", config.use_dora);
  json.set("use_rslora", config.use_rslora);
  if (config.ensure_weight_tying) json.set("ensure_weight_tying", true);
  return json.pretty() + "\n";
}

bool is_module_expression(const std::string& target) {
  return !std::all_of(target.begin(), target.end(),
                      [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.' || c >= 0x80; });
}

std::shared_ptr<const Regex> whole_module_expression(const std::string& expression, const std::string& where) {
  return Regex::compile("^(?:" + expression + ")$", PatternDialect::kRust, where);
}

bool fits(const Regex& expression, const std::string& module) {
  RegexScratch scratch;
  size_t begin = 0, end = 0;
  return expression.search(module, 0, begin, end, scratch);
}

}  // namespace pagoda
