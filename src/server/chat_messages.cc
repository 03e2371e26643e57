// Messages checked and flattened.
#include "server/chat_messages.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/utf8.h"
#include "server/chat_request.h"
#include "server/param_names.h"

namespace pagoda::server {

namespace {

std::string plain_content(const Json& content) {
  if (!content.is_array()) return content.as_string("content");
  std::string text;
  for (const Json& part : content.as_array("content")) {
    const std::string type = part.at("type", "content").as_string("type");
    if (type == "refusal") {
      text += part.at("refusal", "content").as_string("refusal");
      continue;
    }
    if (type != "text" && type != "input_text" && type != "output_text") {
      invalid("content", "unsupported part: got type '{}', need text (this model reads nothing else)", utf8_cut(type, 32));
    }
    if (!text.empty()) text += "\n";
    text += part.at("text", "content").as_string("text");
  }
  return text;
}

Json template_calls(const Json& calls, const RequestLimits& limits) {
  if (static_cast<int64_t>(calls.as_array("tool_calls").size()) > limits.max_list) {
    invalid("tool_calls", "too many: got {}, need at most {}", calls.size(), limits.max_list);
  }
  Json result = Json::array();
  for (const Json& call : calls.as_array("tool_calls")) {
    Json copy = call;
    Json function = call.at("function", "tool_calls");
    take_function_name(function, "tool_calls");
    const Json* arguments = function.find("arguments");
    if (arguments == nullptr || arguments->is_null() || (arguments->is_string() && arguments->as_string("").empty())) {
      function.set("arguments", Json::object());
    } else if (arguments->is_string()) {
      Json parsed = Json::parse(arguments->as_string("arguments"), "arguments");
      parsed.as_object("arguments");
      function.set("arguments", std::move(parsed));
    } else {
      arguments->as_object("arguments");
    }
    copy.set("function", std::move(function));
    result.push_back(std::move(copy));
  }
  return result;
}

Json read_messages(const Json& messages, const RequestLimits& limits) {
  const Json::Array& list = messages.as_array("messages");
  if (list.empty()) invalid("messages", "empty list");
  if (static_cast<int64_t>(list.size()) > limits.max_messages) {
    invalid("messages", "too many: got {}, need at most {}", list.size(), limits.max_messages);
  }
  Json result = Json::array();
  for (const Json& message : list) {
    message.as_object("messages");
    const std::string& role = message.at("role", "messages").as_string("role");
    Json copy = message;
    const Json* content = message.find("content");
    if (content != nullptr && !content->is_null()) {
      copy.set("content", plain_content(*content));
    } else if (role == "assistant") {
      copy.set("content", "");  // templates add to it
    }
    if (const Json* calls = message.find("tool_calls"); calls != nullptr && !calls->is_null()) {
      // An empty list is no call: templates ask whether the field is there.
      copy.set("tool_calls", calls->size() == 0 && calls->is_array() ? Json() : template_calls(*calls, limits));
    }
    result.push_back(std::move(copy));
  }
  return result;
}

}  // namespace

Json plain_messages(const Json& messages, const RequestLimits& limits) {
  return in_field("messages", [&] { return read_messages(messages, limits); });
}

std::string messages_schema(int64_t most) {
  return fmt::format(R"({{"type": "array", "minItems": 1, "maxItems": {}, "items": {{"type": "object", "required": ["role"],
    "properties": {{"role": {{"type": "string"}}, "content": {{"anyOf": [{{"type": ["string", "null"]}}, {{"type": "array", "items":
      {{"type": "object", "required": ["type", "text"],
        "properties": {{"type": {{"enum": ["text", "input_text", "output_text"]}}, "text": {{"type": "string"}}}}}}}}]}},
    "reasoning": {{"type": ["string", "null"]}}, "tool_call_id": {{"type": ["string", "null"]}},
    "tool_calls": {{"type": ["array", "null"], "items": {{"type": "object", "required": ["function"], "properties": {{
      "id": {{"type": "string"}}, "function": {{"type": "object", "required": ["name"], "properties": {{
        "name": {{"type": "string", "minLength": 1}}, "arguments": {{"type": ["string", "object", "null"]}}}}}}}}}}}}}}}}}})",
                     most);
}

}  // namespace pagoda::server
