// One rule for three tokens; end tokens may be several.
#include "train/align_tokens.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "formats/tokenizer_rules.h"
#include "train/default_configs.h"

namespace pagoda::train {

namespace {

// The id of a named token; a class's own name where the folder gives none (GPT-2's <|endoftext|>).
std::optional<int32_t> id_of(const Tokenizer& tokenizer, const TokenizerConfig& names, const char* name) {
  for (const auto& [each, token] : names.named) {
    if (each == name) return token ? tokenizer.token_to_id(token->content) : std::nullopt;
  }
  return {};
}

Json::Array list_of(const Json* value) {
  if (value == nullptr) return {Json()};
  return value->is_array() ? value->as_array("token ids") : Json::Array{*value};
}

bool holds(const Json::Array& list, const Json& id) { return std::find(list.begin(), list.end(), id) != list.end(); }

// What transformers' config of the family has where config.json is silent; {}: not known.
Json defaults_of(const Json& config) {
  const std::vector<std::string>& known = default_config_types();
  const std::string type = config.get_string("model_type", "", "config.json");
  return std::find(known.begin(), known.end(), type) == known.end() ? Json::object() : default_config(type);
}

// The id first, then the others there are.
Json joined(const Json& id, const Json::Array& others) {
  Json all = Json::array();
  all.push_back(id);
  for (const Json& each : others) {
    if (!each.is_null() && !(each == id)) all.push_back(each);
  }
  return all;
}

}  // namespace

std::string align_special_tokens(const Tokenizer& tokenizer, const TokenizerConfig& names, const std::string& model_type,
                                 Json& config, Json* generation) {
  const Json beside = model_type.empty() ? Json() : Json::object().set("model_type", model_type);
  const TokenizerConfig own = completed(choose_tokenizer_class(names, beside, false).kind, names, "tokenizer_config.json");
  const Json defaults = defaults_of(config);
  std::string changed;
  for (const char* name : {"eos_token", "bos_token", "pad_token"}) {
    const std::optional<int32_t> found = id_of(tokenizer, own, name);
    if (!found) continue;
    const std::string key = std::string(name) + "_id";
    const Json id = static_cast<int64_t>(*found);
    const Json* value = config.contains(key) ? config.find(key) : defaults.find(key);
    const Json::Array in_config = list_of(value), in_generation = list_of(generation ? generation->find(key) : nullptr);
    if (holds(in_config, id) && (generation == nullptr || holds(in_generation, id))) continue;
    const bool several = key == "eos_token_id";
    config.set(key, several && value != nullptr && value->is_array() ? joined(id, in_config) : id);
    if (generation != nullptr) generation->set(key, several ? joined(id, in_generation) : id);
    changed += fmt::format("{}{} {}", changed.empty() ? "" : ", ", key, *found);
  }
  return changed;
}

}  // namespace pagoda::train
