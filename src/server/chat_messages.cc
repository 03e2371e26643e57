// Messages checked and flattened.
#include "server/chat_messages.h"

#include <fmt/format.h>

#include "base/error.h"

namespace pagoda::server {

Json plain_messages(const Json& messages, const RequestLimits& limits) {
  const Json::Array& list = messages.as_array("messages");
  if (list.empty()) invalid("messages", "empty list");
  if (static_cast<int64_t>(list.size()) > limits.max_messages) {
    invalid("messages", "too many: got {}, need at most {}", list.size(), limits.max_messages);
  }
  Json result = Json::array();
  for (const Json& message : list) {
    message.as_object("messages");
    message.at("role", "messages").as_string("role");
    Json copy = message;
    const Json* content = message.find("content");
    if (content != nullptr && !content->is_null() && !content->is_array()) content->as_string("content");
    if (content != nullptr && content->is_array()) {
      std::string text;
      for (const Json& part : content->as_array("content")) {
        const std::string type = part.at("type", "content").as_string("type");
        if (type != "text" && type != "input_text") {
          invalid("content", "unsupported part: got type '{}', need text (this model reads nothing else)", type.substr(0, 32));
        }
        if (!text.empty()) text += "\n";
        text += part.at("text", "content").as_string("text");
      }
      copy.set("content", text);
    }
    result.push_back(std::move(copy));
  }
  return result;
}

std::string messages_schema(int64_t most) {
  return fmt::format(R"({{"type": "array", "minItems": 1, "maxItems": {}, "items": {{"type": "object", "required": ["role"],
    "properties": {{"role": {{"type": "string"}}, "content": {{"anyOf": [{{"type": ["string", "null"]}}, {{"type": "array", "items":
      {{"type": "object", "required": ["type", "text"],
        "properties": {{"type": {{"enum": ["text", "input_text"]}}, "text": {{"type": "string"}}}}}}}}]}}}}}}}})",
                     most);
}

}  // namespace pagoda::server
