// Tools, forced calls, and the reading of answers.
#include "pipelines/chat_answer.h"

#include <algorithm>
#include <random>

#include "base/error.h"
#include "base/utf8.h"

namespace pagoda {

namespace {

// A schema inside another: what it refers to at its own root lies below `root` now.
Json moved(const Json& schema, const std::string& root) {
  if (schema.is_array()) {
    Json list = Json::array();
    for (const Json& each : schema.as_array("schema")) list.push_back(moved(each, root));
    return list;
  }
  if (!schema.is_object()) return schema;
  Json result = Json::object();
  for (const JsonMember& member : schema.as_object("schema")) {
    const bool data = member.key == "const" || member.key == "enum" || member.key == "default" || member.key == "examples";
    if (member.key == "$ref" && member.value.is_string() && member.value.as_string("$ref").compare(0, 1, "#") == 0) {
      result.set("$ref", root + member.value.as_string("$ref").substr(1));
    } else {
      result.set(member.key, data ? member.value : moved(member.value, root));
    }
  }
  return result;
}

// The schema of a tool's arguments, which are an object whatever else is said.
Json parameters_of(const Json& tool) {
  const Json* given = tool.at("function", "tools").find("parameters");
  Json schema = given == nullptr || given->is_null() ? Json::object() : *given;
  if (const Json* type = schema.find("type"); type != nullptr && !(type->is_string() && type->as_string("type") == "object")) {
    invalid("tools", "parameters: type: need object");
  }
  schema.set("type", "object");
  return schema;
}

}  // namespace

std::string take_function_name(const Json& function, std::string_view where) {
  const std::string& name = function.at("name", where).as_string(where);
  if (name.empty() || name.size() > kLongestToolName) {
    invalid(where, "name: got {} bytes, need 1 to {}", name.size(), kLongestToolName);
  }
  return name;
}

void check_tools(const Json& list) {
  if (list.as_array("tools").size() > kMostTools)
    invalid("tools", "too many: got {}, need at most {}", list.size(), kMostTools);
  const size_t bytes = list.dump().size();
  if (bytes > kMostToolBytes) invalid("tools", "too large: got {} bytes, need at most {}", bytes, kMostToolBytes);
}

ToolUse read_tools(const Json& list) {
  ToolUse use;
  check_tools(list);
  for (const Json& tool : list.as_array("tools")) {
    const std::string type = tool.get_string("type", "function", "tools");
    if (type != "function") invalid("tools", "unsupported type: got '{}', need function", utf8_cut(type, 32));
    const Json& function = tool.at("function", "tools");
    function.as_object("function");
    if (const Json* schema = function.find("parameters"); schema != nullptr && !schema->is_null()) {
      schema->as_object("parameters");
    }
    use.names.push_back(take_function_name(function, "tools"));
  }
  if (!use.names.empty()) {
    use.tools = list;
    use.choice = ToolChoice::kAuto;
  }
  return use;
}

void read_tool_choice(const Json& choice, ToolUse& use) {
  if (choice.is_string()) {
    const std::string& word = choice.as_string("tool_choice");
    if (word == "none") {
      use.choice = ToolChoice::kNone;
    } else if (word == "auto") {
      use.choice = use.names.empty() ? ToolChoice::kNone : ToolChoice::kAuto;
    } else if (word == "required") {
      use.choice = ToolChoice::kRequired;
    } else {
      invalid("tool_choice", "got '{}', need none, auto, required or a function", utf8_cut(word, 32));
    }
  } else {
    const std::string type = choice.get_string("type", "function", "tool_choice");
    if (type != "function") invalid("tool_choice", "unsupported type: got '{}', need function", utf8_cut(type, 32));
    use.choice = ToolChoice::kNamed;
    use.named = take_function_name(choice.at("function", "tool_choice"), "tool_choice");
    if (std::find(use.names.begin(), use.names.end(), use.named) == use.names.end()) {
      invalid("tool_choice", "no such tool: got '{}', need the name of one in tools", utf8_cut(use.named, 64));
    }
  }
  if (use.forced() && use.names.empty()) invalid("tool_choice", "needs tools");
}

GrammarSource tool_grammar(const ToolUse& use) {
  GrammarSource source;
  source.where = "tools";
  source.kind = GrammarSource::Kind::kJsonSchema;
  const Json::Array& tools = use.tools.as_array("tools");
  if (use.choice == ToolChoice::kNamed) {
    const auto at = std::find(use.names.begin(), use.names.end(), use.named) - use.names.begin();
    source.text = parameters_of(tools[static_cast<size_t>(at)]).dump();
    return source;
  }
  Json calls = Json::array(), schemas = Json::object();
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string key = "tool" + std::to_string(i), root = "#/$defs/" + key;
    schemas.set(key, moved(parameters_of(tools[i]), root));
    Json names = Json::array(), name = Json::object(), reference = Json::object(), properties = Json::object();
    names.push_back(use.names[i]);
    name.set("enum", std::move(names));
    reference.set("$ref", root);
    properties.set("name", std::move(name)).set("parameters", std::move(reference));
    Json call = Json::object();
    call.set("type", "object")
        .set("properties", std::move(properties))
        .set("required", Json::parse(R"(["name", "parameters"])", "schema"))
        .set("additionalProperties", false);
    calls.push_back(std::move(call));
  }
  Json items = Json::object(), schema = Json::object();
  items.set("anyOf", std::move(calls));
  schema.set("type", "array").set("items", std::move(items)).set("minItems", 1).set("$defs", std::move(schemas));
  if (!use.parallel) schema.set("maxItems", 1);
  source.text = schema.dump();
  return source;
}

bool AnswerReading::skips_special_tokens(const Tokenizer& tokenizer) const {
  std::vector<std::string> marks;
  if (tools.choice == ToolChoice::kAuto) marks = chat::tool_markers(format);
  if (reasoning) marks.insert(marks.end(), {std::string(chat::kThinkOpen), std::string(chat::kThinkClose)});
  return std::none_of(marks.begin(), marks.end(), [&](const std::string& mark) {
    const auto id = tokenizer.token_to_id(mark);
    return id && tokenizer.is_special(*id);
  });
}

chat::AnswerParser AnswerReading::parser() const {
  std::unique_ptr<chat::ToolParser> calls;
  switch (tools.choice) {
    case ToolChoice::kNone: break;
    case ToolChoice::kAuto: calls = chat::make_tool_parser(format, tools.names); break;
    case ToolChoice::kNamed: calls = chat::make_named_call_parser(tools.named); break;
    case ToolChoice::kRequired: calls = chat::make_required_calls_parser(); break;
  }
  return {reasoning, std::move(calls)};
}

std::string AnswerReading::finish_reason(const std::string& reason, bool called) const {
  return called && reason == "stop" && tools.choice != ToolChoice::kNamed ? "tool_calls" : reason;
}

std::string random_text(size_t characters) {
  static constexpr char kLetters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  std::random_device source;
  std::uniform_int_distribution<size_t> letter(0, sizeof(kLetters) - 2);
  std::string text(characters, ' ');
  for (char& c : text) c = kLetters[letter(source)];
  return text;
}

std::string make_call_id(chat::ToolFormat format) {
  return format == chat::ToolFormat::kMistral ? random_text(9) : "call_" + random_text(24);
}

}  // namespace pagoda
