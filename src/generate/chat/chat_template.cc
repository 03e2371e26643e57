// Messages to prompt text.
#include "generate/chat/chat_template.h"

#include <algorithm>
#include <istream>
#include <ostream>

#include "base/error.h"
#include "base/file.h"
#include "text/jinja_text.h"

namespace pagoda::chat {

namespace {

constexpr const char* kWhere = "chat template";
// The names that reasoning is passed under; templates read the first.
constexpr const char* kReasoning[] = {"reasoning_content", "thinking", "reasoning"};
// Stands at the end of the text to go on with, to find it again in the rendering.
constexpr std::string_view kContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";

bool is_reasoning(const std::string& field) {
  return std::any_of(std::begin(kReasoning), std::end(kReasoning), [&](const char* name) { return field == name; });
}

std::string_view strip(std::string_view text, bool left, bool right) { return jinja::strip_text(text, nullptr, left, right); }

}  // namespace

void TemplateSet::add(std::string name, std::string text) {
  for (auto& entry : templates_) {
    if (entry.first != name) continue;
    entry.second = std::move(text);
    return;
  }
  templates_.emplace_back(std::move(name), std::move(text));
}

TemplateSet TemplateSet::from_config(const Json& config, const Limits& limits) {
  TemplateSet set;
  const std::string where = "tokenizer_config.json: chat_template";
  if (const Json* value = config.find("chat_template"); value != nullptr && !value->is_null()) {
    if (value->is_array()) {
      const Json::Array& list = value->as_array(where);
      if (static_cast<int64_t>(list.size()) > limits.max_items) {
        invalid(where, "too many templates: got {}, need at most {}", list.size(), limits.max_items);
      }
      for (const Json& entry : list) {
        set.add(entry.at("name", where).as_string(where), entry.at("template", where).as_string(where));
      }
    } else if (value->is_object()) {
      for (const JsonMember& entry : value->as_object(where)) set.add(entry.key, entry.value.as_string(where));
    } else {
      set.add("default", value->as_string(where));
    }
  }
  return set;
}

TemplateSet TemplateSet::from_folder(const std::string& folder, const Limits& limits) {
  const auto read = [&](const std::string& path) { return read_file(path, limits.max_json_bytes); };
  TemplateSet set;
  if (const std::string config = join_path(folder, "tokenizer_config.json"); file_exists(config))
    set = from_config(Json::parse(read(config), config, limits), limits);
  TemplateSet files;
  const std::string one = join_path(folder, "chat_template.jinja");
  if (file_exists(one)) files.add("default", read(one));
  const std::string more = join_path(folder, "additional_chat_templates");
  if (directory_exists(more)) {
    constexpr std::string_view kSuffix = ".jinja";
    for (const std::string& name : list_directory(more)) {
      if (name.size() <= kSuffix.size() || name.compare(name.size() - kSuffix.size(), kSuffix.size(), kSuffix) != 0) continue;
      files.add(name.substr(0, name.size() - kSuffix.size()), read(join_path(more, name)));
    }
  }
  if (files.empty() && set.empty()) {
    const std::string old = join_path(folder, "chat_template.json");
    if (file_exists(old)) {
      const Json json = Json::parse(read(old), old, limits);
      files.add("default", json.at("chat_template", old).as_string(old));
    }
  }
  if (!files.empty()) set.templates_ = std::move(files.templates_);
  return set;
}

TemplateSet TemplateSet::from_text(std::string text) {
  TemplateSet set;
  set.bare_ = true;
  set.add("default", std::move(text));
  return set;
}

std::vector<std::string> TemplateSet::names() const {
  std::vector<std::string> names;
  for (const auto& entry : templates_) names.push_back(entry.first);
  std::sort(names.begin(), names.end());
  return names;
}

const std::string& TemplateSet::pick(std::string_view name, bool has_tools) const {
  const auto find = [&](std::string_view wanted) -> const std::string* {
    for (const auto& entry : templates_) {
      if (entry.first == wanted) return &entry.second;
    }
    return nullptr;
  };
  if (templates_.empty()) not_found(kWhere, "the model has no chat template: need one, or a template file");
  const std::string* found = nullptr;
  if (!name.empty()) {
    found = find(name);
  } else {
    if (has_tools) found = find("tool_use");
    if (found == nullptr) found = find("default");
  }
  if (found != nullptr) return *found;
  std::string known;
  for (const std::string& each : names()) known += (known.empty() ? "" : ", ") + each;
  not_found(kWhere, "no template of that name: got '{}', need one of {}", name.empty() ? "default" : name, known);
}

namespace {

Json clean_messages(const Json& messages) {
  Json out = Json::array();
  for (const Json& message : messages.as_array("messages")) {
    if (!message.is_object()) invalid("messages", "wrong type of a message: got {}, need object", message.type_name());
    Json kept = Json::object();
    for (const JsonMember& member : message.as_object("messages")) {
      if (!member.value.is_null()) kept.set(member.key, member.value);
    }
    const Json* reasoning = nullptr;
    for (const char* name : kReasoning) {
      if (reasoning == nullptr) reasoning = kept.find(name);
    }
    if (reasoning != nullptr) {
      const Json value = *reasoning;
      Json named = Json::object();
      named.set("thinking", value);
      for (const JsonMember& member : kept.as_object("messages")) named.set(member.key, member.value);
      named.set("reasoning_content", value);
      kept = std::move(named);
    }
    out.push_back(std::move(kept));
  }
  return out;
}

// Marks the end of the text to go on with; returns that text.
std::string mark_final(Json& messages, const std::string& field, const std::string& source) {
  Json::Array& list = messages.as_array("messages");
  Json& last = list.back();
  Json* content = last.find(field);
  if (content == nullptr || content->is_null()) {
    invalid("continue_final_message", "the final message has no \"{}\" to continue", field);
  }
  std::vector<std::string> fields{field};
  if (is_reasoning(field)) {
    fields.clear();
    for (const char* name : kReasoning) {
      const Json* value = last.find(name);
      if (value != nullptr && *value == *content) fields.emplace_back(name);
    }
  }
  const bool known = std::any_of(fields.begin(), fields.end(),
                                 [&](const std::string& name) { return source.find(name) != std::string::npos; });
  if (!known) invalid("continue_final_message", "the chat template does not read \"{}\"", field);
  if (content->is_array()) {
    Json::Array& blocks = content->as_array("messages");
    for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
      Json* text = block->find("text");
      if (text == nullptr) continue;
      std::string final_text = text->as_string("messages: text");
      *text = final_text + std::string(kContinueTag);
      return final_text;
    }
    invalid("continue_final_message", "the final message holds no text to continue");
  }
  std::string final_text = content->as_string("messages: " + field);
  for (const std::string& name : fields) last.set(name, final_text + std::string(kContinueTag));
  return final_text;
}

}  // namespace

Prompt apply(const jinja::Template& chat_template, const Json& messages, const Json& special_tokens,
             const ApplyOptions& options) {
  if (!messages.is_array()) invalid("messages", "wrong type: got {}, need list", messages.type_name());
  if (messages.size() == 0) invalid("messages", "empty conversation: need at least one message");
  Json chat = clean_messages(messages);
  std::string final_text;
  const bool go_on = !options.continue_final_message.empty();
  if (go_on) {
    if (options.add_generation_prompt) {
      invalid("continue_final_message",
              "does not go with add_generation_prompt: one continues a message, one begins a new one");
    }
    final_text = mark_final(chat, options.continue_final_message, chat_template.source());
  }
  for (const auto& [value, name] :
       {std::pair<const Json*, const char*>{&options.tools, "tools"}, {&options.documents, "documents"}}) {
    if (value->is_null()) continue;
    for (const Json& item : value->as_array(name)) {
      if (!item.is_object()) invalid(name, "wrong type of an item: got {}, need object", item.type_name());
    }
  }
  Json variables = special_tokens.is_object() ? special_tokens : Json::object();
  for (const JsonMember& member : options.variables.as_object("variables")) variables.set(member.key, member.value);
  variables.set("messages", std::move(chat));
  variables.set("tools", options.tools);
  variables.set("documents", options.documents);
  variables.set("add_generation_prompt", options.add_generation_prompt);

  Prompt prompt;
  prompt.text = chat_template.render(jinja::from_json(variables), options.render, &prompt.generation_spans);
  if (!go_on) return prompt;
  const std::string_view tag = strip(kContinueTag, false, true);
  const size_t at = prompt.text.rfind(tag);
  if (at == std::string::npos || prompt.text.find(strip(final_text, true, true)) == std::string::npos) {
    invalid("continue_final_message", "the rendered chat does not hold the final message: the template changes or drops it");
  }
  // A template that trims the message took the tag's last space, and so what the message ended with.
  const bool spaces_kept = prompt.text.compare(at, kContinueTag.size(), kContinueTag) == 0;
  prompt.text.resize(at);
  if (!spaces_kept) prompt.text = std::string(strip(prompt.text, false, true));
  return prompt;
}

const jinja::Template& TemplateCache::get(const std::string& source) {
  for (const auto& entry : parsed_) {
    if (entry.first == source) return *entry.second;
  }
  parsed_.emplace_back(source, jinja::Template::parse(source, limits_));
  return *parsed_.back().second;
}

namespace {

std::string render_line(const std::string& line, const TemplateSet& templates, TemplateCache& cache,
                        const jinja::RenderOptions& options) {
  const Json given = Json::parse(line, "line", options.limits);
  if (!given.is_object()) invalid("line", "wrong type: got {}, need an object of template variables", given.type_name());
  const Json* tools = given.find("tools");
  const std::string& source = templates.pick("", tools != nullptr && !tools->is_null());
  Json variables = templates.special_tokens();
  if (!templates.bare()) variables.set("tools", Json()).set("documents", Json()).set("add_generation_prompt", false);
  for (const JsonMember& member : given.as_object("line")) variables.set(member.key, member.value);
  return cache.get(source).render(jinja::from_json(variables), options);
}

}  // namespace

int64_t template_jsonl(std::istream& in, std::ostream& out, const TemplateSet& templates, const jinja::RenderOptions& options) {
  TemplateCache cache(options.limits);
  int64_t failed = 0;
  for (std::string line; std::getline(in, line);) {
    Json result;
    try {
      result = render_line(line, templates, cache, options);
    } catch (...) {
      ++failed;
      result = Json::object();
      result.set("error", current_error().message());
    }
    out << result.dump() << '\n' << std::flush;
  }
  return failed;
}

}  // namespace pagoda::chat
