// adapter_config.json of PEFT: what it says of a LoRA, read, checked and written.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/regex.h"

namespace pagoda {

// Values of rank_pattern or alpha_pattern: keys are expressions for the last names of a module, and the first that fits counts.
class ModulePattern {
 public:
  void add(const std::string& key, double value, const std::string& where);
  double value(const std::string& module, double otherwise) const;
  bool empty() const { return entries_.empty(); }
  struct Entry {
    std::string key;
    double value = 0;
    std::shared_ptr<const Regex> expression;
    bool operator==(const Entry& other) const { return key == other.key && value == other.value; }
  };
  const std::vector<Entry>& entries() const { return entries_; }
  bool operator==(const ModulePattern&) const = default;

 private:
  std::vector<Entry> entries_;
};

// The fields of peft's LoraConfig that mean something here, under its names. Which modules are adapted stands in the file of
// weights: target_modules, layers_to_transform and exclude_modules chose them before.
struct AdapterConfig {
  std::string base_model_name_or_path, task_type;
  int64_t r = 8;
  double lora_alpha = 8, lora_dropout = 0;
  ModulePattern rank_pattern, alpha_pattern;
  bool use_rslora = false, use_dora = false, lora_bias = false;
  std::string bias = "none";  // none, all, lora_only
  std::vector<std::string> target_modules, modules_to_save;
  bool ensure_weight_tying = false;  // what modules_to_save names stays tied to what the base ties it to

  int64_t rank(const std::string& module) const;
  double scale(const std::string& module) const;
};

constexpr const char* kAdapterConfig = "adapter_config.json";
constexpr const char* kAdapterWeights = "adapter_model.safetensors";

bool is_adapter(const std::string& folder);
// kNotFound where the folder holds no adapter; kUnsupported names what this does not know (aLoRA, other kinds of adapters,
// those that go with a changed base such as PiSSA's).
AdapterConfig read_adapter_config(const std::string& folder);
std::string adapter_config_json(const AdapterConfig& config, bool fan_in_fan_out);

// peft's target_modules may be one expression, which must fit the whole name of a module. What has a character that no name of
// a module has is one.
bool is_module_expression(const std::string& target);
std::shared_ptr<const Regex> whole_module_expression(const std::string& expression, const std::string& where);
bool fits(const Regex& expression, const std::string& module);

}  // namespace pagoda
