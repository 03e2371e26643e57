// The fields of tools.
#include "server/chat_request.h"

#include <fmt/format.h>

#include "server/param_names.h"

namespace pagoda::server {

ToolUse take_tools(Fields& fields) {
  ToolUse use;
  const std::string tools_schema = fmt::format(R"({{"type": "array", "maxItems": {}, "items": {{"type": "object",
    "required": ["function"], "properties": {{"type": {{"const": "function"}}, "function": {{"type": "object", "required": ["name"],
      "properties": {{"name": {{"type": "string", "minLength": 1, "maxLength": {}}}, "description": {{"type": ["string", "null"]}},
        "parameters": {{"type": ["object", "null"]}}, "strict": {{"type": ["boolean", "null"]}}}}}}}}}}}})",
                                               kMostTools, kLongestToolName);
  if (const Json* tools = fields.take("tools", tools_schema)) use = in_field("tools", [&] { return read_tools(*tools); });
  if (const Json* choice = fields.take("tool_choice", R"({"anyOf": [{"enum": ["none", "auto", "required"]}, {"type": "object",
      "required": ["function"], "properties": {"type": {"const": "function"}, "function": {"type": "object", "required": ["name"],
        "properties": {"name": {"type": "string"}}}}}]})"))
    in_field("tool_choice", [&] { read_tool_choice(*choice, use); });
  use.parallel = fields.boolean("parallel_tool_calls").value_or(true);
  fields.refuse({"functions", "function_call"}, "replaced by tools and tool_choice");
  return use;
}

void take_verbosity(Fields& fields) { fields.choice("verbosity", {"medium"}); }

}  // namespace pagoda::server
