// Later files win: the template files over the configuration, the configuration over special_tokens_map.json.
#include "formats/tokenizer_config.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "formats/gguf_model.h"

namespace pagoda {

namespace {

AddedToken read_token(const Json& json, bool special, const std::string& where) {
  AddedToken token;
  token.special = special;
  token.normalized = !special;
  if (json.is_string()) {
    token.content = json.as_string(where);
    return token;
  }
  token.content = json.at("content", where).as_string(where);
  token.lstrip = json.get_bool("lstrip", false, where);
  token.rstrip = json.get_bool("rstrip", false, where);
  token.single_word = json.get_bool("single_word", false, where);
  token.normalized = json.get_bool("normalized", !special, where);
  token.special = special || json.get_bool("special", false, where);
  return token;
}

void read_named(const Json& json, const std::string& where, TokenizerConfig& config) {
  const std::pair<const char*, std::string*> names[] = {
      {"bos_token", &config.bos_token},   {"eos_token", &config.eos_token}, {"unk_token", &config.unk_token},
      {"sep_token", &config.sep_token},   {"pad_token", &config.pad_token}, {"cls_token", &config.cls_token},
      {"mask_token", &config.mask_token},
  };
  for (const auto& [key, target] : names) {
    const Json* value = json.find(key);
    if (value == nullptr) continue;
    const std::string old = *target;
    config.named_tokens.erase(std::remove_if(config.named_tokens.begin(), config.named_tokens.end(),
                                             [&](const AddedToken& token) { return !old.empty() && token.content == old; }),
                              config.named_tokens.end());
    target->clear();
    if (value->is_null() || value->is_bool()) continue;
    const AddedToken token = read_token(*value, true, where + ": " + key);
    *target = token.content;
    if (token.content.empty()) continue;
    const bool known = std::any_of(config.named_tokens.begin(), config.named_tokens.end(),
                                   [&](const AddedToken& t) { return t.content == token.content; });
    if (!known) config.named_tokens.push_back(token);
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const Json* list = json.find(key);
    if (list == nullptr || !list->is_array()) continue;
    config.additional_tokens.clear();
    for (const Json& item : list->as_array(where))
      config.additional_tokens.push_back(read_token(item, true, where + ": " + key));
  }
}

void read_template(const Json& json, const std::string& where, TokenizerConfig& config) {
  const Json* value = json.find("chat_template");
  if (value == nullptr || value->is_null()) return;
  if (value->is_string()) {
    config.chat_template = value->as_string(where);
    return;
  }
  for (const Json& item : value->as_array(where + ": chat_template")) {
    const std::string name = item.at("name", where).as_string(where);
    const std::string text = item.at("template", where).as_string(where);
    if (name == "default") {
      config.chat_template = text;
    } else {
      config.named_chat_templates.emplace_back(name, text);
    }
  }
}

void set_named(TokenizerConfig& config, const std::string& name, std::string text) {
  for (auto& [known, old] : config.named_chat_templates) {
    if (known == name) {
      old = std::move(text);
      return;
    }
  }
  config.named_chat_templates.emplace_back(name, std::move(text));
}

}  // namespace

const std::string& TokenizerConfig::find_chat_template(const std::string& name) const {
  if (name.empty() || name == "default") {
    if (!chat_template.empty()) return chat_template;
  }
  std::string known = chat_template.empty() ? "" : "default";
  for (const auto& [each, text] : named_chat_templates) {
    if (each == name) return text;
    known += (known.empty() ? "" : ", ") + each;
  }
  not_found("chat_template", "no template '{}': this folder has {}", name.empty() ? "default" : name,
            known.empty() ? "none" : known);
}

TokenizerConfig load_tokenizer_config(const std::string& folder, const Limits& limits) {
  TokenizerConfig config;
  const auto read = [&](const char* name) -> Json {
    const std::string path = join_path(folder, name);
    if (!file_exists(path)) return Json();
    Json json = Json::parse(read_file(path, limits.max_json_bytes), path, limits);
    if (!json.is_object()) invalid(path, "wrong type: got {}, need an object", json.type_name());
    return json;
  };
  const Json map = read("special_tokens_map.json");
  if (map.is_object()) read_named(map, join_path(folder, "special_tokens_map.json"), config);
  const bool gguf = is_gguf(folder);
  config.raw = gguf ? gguf_tokenizer_config(*GgufFile::open(folder, limits)) : read("tokenizer_config.json");
  if (config.raw.is_object()) {
    const Json& json = config.raw;
    const std::string where = gguf ? folder : join_path(folder, "tokenizer_config.json");
    read_named(json, where, config);
    config.tokenizer_class = json.get_string("tokenizer_class", "", where);
    if (config.tokenizer_class.size() > 4 && config.tokenizer_class.substr(config.tokenizer_class.size() - 4) == "Fast") {
      config.tokenizer_class.resize(config.tokenizer_class.size() - 4);
    }
    const auto flag = [&](const char* key, std::optional<bool>& target) {
      const Json* value = json.find(key);
      if (value != nullptr && value->is_bool()) target = value->as_bool(where);
    };
    flag("add_bos_token", config.add_bos_token);
    flag("add_eos_token", config.add_eos_token);
    flag("add_prefix_space", config.add_prefix_space);
    config.do_lower_case = json.get_bool("do_lower_case", true, where);
    config.clean_up_tokenization_spaces = json.get_bool("clean_up_tokenization_spaces", false, where);
    const Json* longest = json.find("model_max_length");
    // transformers writes 1e30 for "no bound".
    if (longest != nullptr && longest->is_number() && longest->as_double(where) < 1e15)
      config.model_max_length = static_cast<int64_t>(longest->as_double(where));
    const Json* added = json.find("added_tokens_decoder");
    if (added != nullptr && added->is_object()) {
      for (const JsonMember& member : added->as_object(where)) {
        int64_t id = 0;
        if (member.key.empty() || member.key.size() > 9) invalid(where, "added_tokens_decoder: bad id '{}'", member.key);
        for (const char c : member.key) {
          if (c < '0' || c > '9') invalid(where, "added_tokens_decoder: bad id '{}'", member.key);
          id = id * 10 + (c - '0');
        }
        config.added_tokens.emplace_back(id, read_token(member.value, false, where + ": added_tokens_decoder"));
      }
      std::sort(config.added_tokens.begin(), config.added_tokens.end(),
                [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    read_template(json, where, config);
  }
  const Json legacy = read("chat_template.json");
  if (legacy.is_object()) read_template(legacy, join_path(folder, "chat_template.json"), config);
  const std::string file = join_path(folder, "chat_template.jinja");
  if (file_exists(file)) config.chat_template = read_file(file, limits.max_json_bytes);
  const std::string more = join_path(folder, "additional_chat_templates");
  if (directory_exists(more)) {
    for (const std::string& name : list_directory(more)) {
      constexpr std::string_view kEnd = ".jinja";
      if (name.size() <= kEnd.size() || name.substr(name.size() - kEnd.size()) != kEnd) continue;
      set_named(config, name.substr(0, name.size() - kEnd.size()), read_file(join_path(more, name), limits.max_json_bytes));
    }
  }
  return config;
}

}  // namespace pagoda
