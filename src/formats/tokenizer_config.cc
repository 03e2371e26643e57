// Later files win: special_tokens_map.json and the template files over the configuration.
#include "formats/tokenizer_config.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/stable_sort.h"
#include "base/utf8.h"
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
  token.special = special || json.get_bool("special", false, where);
  token.normalized = json.get_bool("normalized", !token.special, where);
  return token;
}

constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

// Lists of (name, value) in order of the names' first mention, of which the value said last counts.
template <class Value>
class NamedList {
 public:
  explicit NamedList(std::vector<std::pair<std::string, Value>>& list) : list_(list) {
    for (size_t i = 0; i < list_.size(); ++i) index_.emplace(list_[i].first, i);
  }
  void set(const std::string& name, Value value) {
    const auto [at, is_new] = index_.emplace(name, list_.size());
    if (is_new) {
      list_.emplace_back(name, std::move(value));
    } else {
      list_[at->second].second = std::move(value);
    }
  }

 private:
  std::vector<std::pair<std::string, Value>>& list_;
  std::map<std::string, size_t> index_;
};

// A token of this file by a model's own name (image_token). A configuration writes its class beside an object.
bool is_token(const Json& value, bool is_map) {
  if (value.is_string()) return true;
  if (!value.is_object() || !value.contains("content")) return false;
  const Json* const type = value.find("__type");
  return is_map || (type != nullptr && *type == Json("AddedToken"));
}

// A model's own names, such as image_token, are named tokens too; for those the configuration counts before the map.
void read_named(const Json& json, const std::string& where, TokenizerConfig& config, bool is_map) {
  std::set<std::string> taken;
  for (const auto& [name, token] : config.named) taken.insert(name);
  NamedList named(config.named);
  for (const char* key : kNames) {
    const Json* value = json.find(key);
    if (value == nullptr) continue;
    const bool none = value->is_null() || value->is_bool();
    named.set(key, none ? std::nullopt : std::optional(read_token(*value, true, where + ": " + key)));
  }
  for (const JsonMember& member : json.as_object(where)) {
    const bool known = std::find(std::begin(kNames), std::end(kNames), member.key) != std::end(kNames);
    if (known || !member.key.ends_with("_token") || !is_token(member.value, is_map) || taken.count(member.key) != 0) continue;
    named.set(member.key, read_token(member.value, true, where + ": " + member.key));
  }
  const Json* const extra = json.find("extra_special_tokens");
  if (extra == nullptr || !extra->is_object()) return;
  for (const JsonMember& member : extra->as_object(where))
    named.set(member.key, read_token(member.value, true, where + ": extra_special_tokens"));
}

// `special`: also those that are objects and do not say so.
std::optional<std::vector<AddedToken>> read_list(const Json& json, const char* key, const std::string& where,
                                                 bool special = false) {
  const Json* const list = json.find(key);
  if (list == nullptr || !list->is_array()) return std::nullopt;
  std::vector<AddedToken> tokens;
  for (const Json& item : list->as_array(where))
    tokens.push_back(read_token(item, special || item.is_string(), where + ": " + key));
  return tokens;
}

// Of both keys extra_special_tokens counts, unless it is empty.
void read_extra(const Json& json, const std::string& where, TokenizerConfig& config) {
  const auto extra = read_list(json, "extra_special_tokens", where), old = read_list(json, "additional_special_tokens", where);
  if (!extra && !old) return;
  config.extra_tokens_given = true;
  config.extra_tokens = extra && (!extra->empty() || !old) ? *extra : *old;
}

// special_tokens_map.json, over what tokenizer_config.json says.
void read_map(const Json& json, const std::string& where, TokenizerConfig& config) {
  read_named(json, where, config, true);
  if (const auto list = read_list(json, "extra_special_tokens", where, true)) {
    config.extra_tokens_given = true;
    std::set<AddedToken> known(config.extra_tokens.begin(), config.extra_tokens.end());
    for (const AddedToken& token : *list) {
      if (known.insert(token).second) config.extra_tokens.push_back(token);
    }
  }
  const auto old = read_list(json, "additional_special_tokens", where);
  if (old && !config.extra_tokens_given) config.extra_tokens = *old;
}

// What counts as special in added_tokens.json, as transformers compares it: strings, and objects of the map, whose list of
// additional_special_tokens does not count, nor do objects of the configuration and a model's own names.
std::set<std::string> special_texts(const Json& config, const Json& map) {
  std::set<std::string> texts;
  const auto take = [&](const Json& token, bool of_map) {
    if (token.is_string()) texts.insert(token.as_string("token"));
    if (of_map && token.is_object()) texts.insert(token.get_string("content", "", "token"));
  };
  const auto take_all = [&](const Json* list, bool of_map) {
    if (list == nullptr || !list->is_array()) return false;
    for (const Json& token : list->as_array("tokens")) take(token, of_map);
    return list->size() > 0;
  };
  for (const char* name : kNames) {
    if (const Json* const token = map.find(name)) {
      take(*token, true);
    } else if (const Json* const given = config.find(name)) {
      take(*given, false);
    }
  }
  if (!take_all(config.find("extra_special_tokens"), false)) take_all(config.find("additional_special_tokens"), false);
  take_all(map.find("extra_special_tokens"), true);
  return texts;
}

// added_tokens.json: the tokens that a tokenizer of before 2023 was given, by their ids.
void read_added_tokens(const Json& json, const std::string& where, const std::set<std::string>& special,
                       TokenizerConfig& config) {
  for (const JsonMember& member : json.as_object(where)) {
    AddedToken token;
    token.content = member.key;
    token.special = special.count(member.key) != 0;
    token.normalized = !token.special;
    const int64_t id = member.value.as_int(where);
    if (id < 0) invalid(where, "'{}': got id {}, need at least 0", member.key, id);
    config.added_tokens.emplace_back(id, std::move(token));
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

bool is_left(const Json& json, const char* key, const std::string& where) {
  const std::string side = json.get_string(key, "right", where);
  if (side != "left" && side != "right") invalid(where, "{}: got '{}', need left or right", key, utf8_cut(side, 64));
  return side == "left";
}

auto place_of_name(const std::string& name) { return std::find(std::begin(kNames), std::end(kNames), name) - kNames; }

// The seven common names first, as transformers lists them.
void order_names(TokenizerConfig& config) {
  stable_sort(config.named, [](const auto& a, const auto& b) { return place_of_name(a.first) < place_of_name(b.first); });
}

}  // namespace

void TokenizerConfig::set_texts() {
  std::string* const texts[] = {&bos_token, &eos_token, &unk_token, &sep_token, &pad_token, &cls_token, &mask_token};
  for (const auto& [name, token] : named) {
    const auto at = place_of_name(name);
    if (at < std::end(kNames) - kNames) *texts[at] = token ? token->content : "";
  }
}

Json TokenizerConfig::named_texts() const {
  Json texts = Json::object();
  for (const auto& [name, token] : named) {
    if (token) texts.set(name, token->content);
  }
  return texts;
}

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
  const bool gguf = is_gguf(folder);
  config.raw = gguf ? gguf_tokenizer_config(*GgufFile::open(folder, limits)) : read("tokenizer_config.json");
  if (config.raw.is_object()) {
    const Json& json = config.raw;
    const std::string where = gguf ? folder : join_path(folder, "tokenizer_config.json");
    read_named(json, where, config, false);
    read_extra(json, where, config);
    config.tokenizer_class = json.get_string("tokenizer_class", "", where);
    if (config.tokenizer_class.ends_with("Fast")) config.tokenizer_class.resize(config.tokenizer_class.size() - 4);
    const auto flag = [&](const char* key, std::optional<bool>& target) {
      const Json* value = json.find(key);
      if (value != nullptr && value->is_bool()) target = value->as_bool(where);
    };
    flag("add_bos_token", config.add_bos_token);
    flag("add_eos_token", config.add_eos_token);
    flag("add_prefix_space", config.add_prefix_space);
    config.do_lower_case = json.get_bool("do_lower_case", true, where);
    config.clean_up_tokenization_spaces = json.get_bool("clean_up_tokenization_spaces", false, where);
    config.truncation_left = is_left(json, "truncation_side", where);
    config.padding_left = is_left(json, "padding_side", where);
    const Json* longest = json.find("model_max_length");
    // transformers writes 1e30 for "no bound".
    if (longest != nullptr && longest->is_number() && longest->as_double(where) >= 0 && longest->as_double(where) < 1e15)
      config.model_max_length = static_cast<int64_t>(longest->as_double(where));
    const Json* added = json.find("added_tokens_decoder");
    if (added != nullptr && added->is_object()) {
      config.lists_added_tokens = true;
      for (const JsonMember& member : added->as_object(where)) {
        int64_t id = 0;
        if (member.key.empty() || member.key.size() > 9) invalid(where, "added_tokens_decoder: bad id '{}'", member.key);
        for (const char c : member.key) {
          if (c < '0' || c > '9') invalid(where, "added_tokens_decoder: bad id '{}'", member.key);
          id = id * 10 + (c - '0');
        }
        config.added_tokens.emplace_back(id, read_token(member.value, false, where + ": added_tokens_decoder"));
      }
    }
    read_template(json, where, config);
  }
  // Newer folders have all in tokenizer_config.json, and neither of these files is read.
  if (!config.lists_added_tokens) {
    const std::string map_path = join_path(folder, "special_tokens_map.json"),
                      added_path = join_path(folder, "added_tokens.json");
    const Json map = read("special_tokens_map.json"), added = read("added_tokens.json");
    if (map.is_object()) read_map(map, map_path, config);
    if (added.is_object()) read_added_tokens(added, added_path, special_texts(config.raw, map), config);
  }
  std::sort(config.added_tokens.begin(), config.added_tokens.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  order_names(config);
  config.set_texts();
  const Json legacy = read("chat_template.json");
  if (legacy.is_object()) read_template(legacy, join_path(folder, "chat_template.json"), config);
  const std::string file = join_path(folder, "chat_template.jinja");
  if (file_exists(file)) config.chat_template = read_file(file, limits.max_json_bytes);
  const std::string more = join_path(folder, "additional_chat_templates");
  if (directory_exists(more)) {
    NamedList named(config.named_chat_templates);
    for (const std::string& name : list_directory(more)) {
      constexpr std::string_view kEnd = ".jinja";
      if (name.size() <= kEnd.size() || name.substr(name.size() - kEnd.size()) != kEnd) continue;
      named.set(name.substr(0, name.size() - kEnd.size()), read_file(join_path(more, name), limits.max_json_bytes));
    }
  }
  return config;
}

}  // namespace pagoda
