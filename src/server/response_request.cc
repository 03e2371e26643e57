// Fields and items of OpenAI's Responses.
#include "server/response_request.h"

#include "base/error.h"
#include "base/utf8.h"
#include "server/chat_request.h"

namespace pagoda::server {

namespace {

constexpr size_t kMostText = size_t{16} << 20;

// The text of a list of parts, or of a string.
std::string joined_text(const Json& value, std::string_view where) {
  if (value.is_string()) return value.as_string(where);
  std::string text;
  for (const Json& part : value.as_array(where)) text += part.at("text", where).as_string(where);
  return text;
}

bool holds(const Json& message, const char* field) {
  const Json* value = message.find(field);
  return value != nullptr && !value->is_null();
}

// The assistant's message that an item goes into: the last one, unless that has what the item brings or what comes behind it.
Json& assistant(Json& messages, std::initializer_list<const char*> taken) {
  Json::Array& list = messages.as_array("input");
  bool fits = !list.empty() && list.back().get_string("role", "", "input") == "assistant";
  for (const char* field : taken) fits = fits && !holds(list.back(), field);
  if (!fits) {
    Json message = Json::object();
    message.set("role", "assistant");
    list.push_back(std::move(message));
  }
  return list.back();
}

void append_message(Json& messages, const Json& item) {
  const std::string role = item.at("role", "input").as_string("role");
  const Json& content = item.at("content", "input");
  if (role == "assistant") {
    assistant(messages, {"content", "tool_calls"}).set("content", content);
    return;
  }
  if (role != "user" && role != "system" && role != "developer") {
    invalid("input", "role: got '{}', need user, assistant, system or developer", utf8_cut(role, 32));
  }
  Json message = Json::object();
  message.set("role", role == "developer" ? "system" : role).set("content", content);
  messages.push_back(std::move(message));
}

void append_call(Json& messages, const Json& item) {
  Json call = Json::object(), function = Json::object();
  function.set("name", item.at("name", "input").as_string("name"));
  function.set("arguments", item.at("arguments", "input").as_string("arguments"));
  call.set("id", item.at("call_id", "input").as_string("call_id")).set("type", "function").set("function", std::move(function));
  Json& message = assistant(messages, {});
  Json calls = holds(message, "tool_calls") ? *message.find("tool_calls") : Json::array();
  calls.push_back(std::move(call));
  message.set("tool_calls", std::move(calls));
}

void append_reasoning(Json& messages, const Json& item) {
  std::string text;
  for (const char* field : {"content", "summary"}) {
    if (text.empty() && holds(item, field)) text = joined_text(*item.find(field), field);
  }
  if (!text.empty()) assistant(messages, {"reasoning", "content", "tool_calls"}).set("reasoning", text);
}

Json chat_tools(const Json& tools) {
  Json list = Json::array();
  for (const Json& tool : tools.as_array("tools")) {
    const std::string type = tool.get_string("type", "", "tools");
    if (type != "function") invalid("tools", "unsupported type: got '{}', need function", utf8_cut(type, 32));
    Json function = Json::object(), wrapped = Json::object();
    for (const JsonMember& member : tool.as_object("tools")) {
      if (member.key != "type" && !member.value.is_null()) function.set(member.key, member.value);
    }
    wrapped.set("type", "function").set("function", std::move(function));
    list.push_back(std::move(wrapped));
  }
  return list;
}

Json chat_tool_choice(const Json& choice) {
  if (choice.is_string()) return choice;
  const std::string type = choice.get_string("type", "", "tool_choice");
  if (type != "function") invalid("tool_choice", "unsupported type: got '{}', need function", utf8_cut(type, 32));
  Json function = Json::object(), result = Json::object();
  function.set("name", choice.at("name", "tool_choice").as_string("name"));
  result.set("type", "function").set("function", std::move(function));
  return result;
}

// text.format as response_format.
Json chat_format(const Json& format) {
  const std::string type = format.get_string("type", "", "text.format");
  Json result = Json::object();
  result.set("type", type);
  if (type != "json_schema") return result;
  Json schema = Json::object();
  for (const JsonMember& member : format.as_object("text.format")) {
    if (member.key != "type") schema.set(member.key, member.value);
  }
  result.set("json_schema", std::move(schema));
  return result;
}

void take_text(Fields& fields, ResponseRequest& request) {
  Json format = Json::object();
  format.set("type", "text");
  if (auto inner = fields.object("text")) {
    if (const Json* given = inner->take("format", R"({"type": "object", "required": ["type"], "properties":
        {"type": {"enum": ["text", "json_object", "json_schema"]}, "schema": {"type": "object"}}})")) {
      request.chat.set("response_format", chat_format(*given));
      format = *given;
    }
    take_verbosity(*inner);
    inner->finish();
  }
  Json text = Json::object();
  text.set("format", std::move(format));
  request.frame.set("text", std::move(text));
}

void take_tools(Fields& fields, ResponseRequest& request) {
  Json tools = Json::array(), choice = "auto";
  if (const Json* given =
          fields.take("tools", R"({"type": "array", "items": {"type": "object", "required": ["type", "name"], "properties":
      {"type": {"const": "function"}, "name": {"type": "string"}, "parameters": {"type": ["object", "null"]}}}})")) {
    check_tools(*given);
    request.chat.set("tools", chat_tools(*given));
    tools = *given;
  }
  if (const Json* given = fields.take("tool_choice", R"({"anyOf": [{"enum": ["none", "auto", "required"]}, {"type": "object",
      "required": ["type", "name"], "properties": {"type": {"const": "function"}, "name": {"type": "string"}}}]})")) {
    request.chat.set("tool_choice", chat_tool_choice(*given));
    choice = *given;
  }
  const bool parallel = fields.boolean("parallel_tool_calls").value_or(true);
  request.chat.set("parallel_tool_calls", parallel);
  request.frame.set("tools", std::move(tools)).set("tool_choice", std::move(choice)).set("parallel_tool_calls", parallel);
}

void take_reasoning(Fields& fields, ResponseRequest& request) {
  Json effort, summary;
  if (auto inner = fields.object("reasoning")) {
    if (const auto given = inner->string("effort", 16)) effort = *given;
    inner->ignore({"summary", "generate_summary"});  // thoughts are given whole
    inner->finish();
  }
  if (!effort.is_null()) request.chat.set("reasoning_effort", effort);
  Json result = Json::object();
  result.set("effort", std::move(effort)).set("summary", std::move(summary));
  request.frame.set("reasoning", std::move(result));
}

void take_logprobs(Fields& fields, ResponseRequest& request) {
  const auto top = fields.integer("top_logprobs", 0, 1 << 20);
  bool wanted = top.value_or(0) > 0;
  if (const auto include = fields.strings("include", 16, 64)) {
    for (const std::string& each : *include) {
      if (each == "message.output_text.logprobs") {
        wanted = true;
      } else if (each != "reasoning.encrypted_content") {
        invalid("include", "unsupported: got '{}', need message.output_text.logprobs", each);
      }
    }
  }
  if (wanted) request.chat.set("logprobs", true).set("top_logprobs", top.value_or(0));
  request.frame.set("top_logprobs", top.value_or(0));
}

void take_metadata(Fields& fields, ResponseRequest& request) {
  constexpr size_t kMostPairs = 16, kLongest = 512;  // OpenAI's bounds
  Json metadata = Json::object(), user;
  if (const Json* given = fields.take("metadata", R"({"type": "object", "maxProperties": 16,
      "additionalProperties": {"type": "string"}})")) {
    if (given->as_object("metadata").size() > kMostPairs) {
      invalid("metadata", "too many: got {}, need at most {}", given->size(), kMostPairs);
    }
    for (const JsonMember& member : given->as_object("metadata")) {
      if (member.key.size() + member.value.as_string("metadata").size() > kLongest) invalid("metadata", "too long");
    }
    metadata = *given;
  }
  if (const auto name = fields.string("user", kLongest)) user = *name;
  request.frame.set("metadata", std::move(metadata)).set("user", std::move(user));
}

void take_input(Fields& fields, ResponseRequest& request, const std::function<Json(const std::string&)>& earlier) {
  Json messages = Json::array();
  Json previous, instructions;
  if (const auto id = fields.string("previous_response_id", 128)) {
    messages = earlier(*id);
    previous = *id;
  }
  const Json* input =
      fields.take("input", R"({"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "object",
      "properties": {"type": {"enum": ["message", "function_call", "function_call_output", "reasoning"]}}}}]})");
  fields.require("input", "a string or a list of items");
  if (fields.is_describing()) {
    messages.push_back(Json::object());
  } else if (input->is_string()) {
    Json message = Json::object();
    message.set("role", "user").set("content", *input);
    messages.push_back(std::move(message));
  } else {
    append_items(messages, *input);
  }
  if (messages.size() == 0) invalid("input", "empty");
  request.messages = messages;
  Json all = Json::array();
  if (const auto text = fields.string("instructions", kMostText)) {
    Json message = Json::object();
    message.set("role", "system").set("content", *text);
    all.push_back(std::move(message));
    instructions = *text;
  }
  for (Json& message : messages.as_array("input")) all.push_back(std::move(message));
  request.chat.set("messages", std::move(all));
  request.frame.set("instructions", std::move(instructions)).set("previous_response_id", std::move(previous));
}

}  // namespace

void append_items(Json& messages, const Json& items) {
  for (const Json& item : items.as_array("input")) {
    const std::string type = item.get_string("type", "message", "input");
    if (type == "message") {
      append_message(messages, item);
    } else if (type == "function_call") {
      append_call(messages, item);
    } else if (type == "function_call_output") {
      Json message = Json::object();
      message.set("role", "tool")
          .set("tool_call_id", item.at("call_id", "input").as_string("call_id"))
          .set("content", item.at("output", "input"));
      messages.push_back(std::move(message));
    } else if (type == "reasoning") {
      append_reasoning(messages, item);
    } else {
      invalid("input", "unsupported item: got type '{}', need message, function_call, function_call_output or reasoning",
              utf8_cut(type, 32));
    }
  }
}

ResponseRequest parse_response_request(Fields& fields, const std::function<Json(const std::string&)>& earlier) {
  ResponseRequest request;
  request.chat = Json::object();
  request.frame = Json::object();
  take_input(fields, request, earlier);
  take_tools(fields, request);
  take_text(fields, request);
  take_reasoning(fields, request);
  take_logprobs(fields, request);
  Json most;
  if (const auto value = fields.integer("max_output_tokens", 1, int64_t{1} << 31)) {
    request.chat.set("max_completion_tokens", *value);
    most = *value;
  }
  request.frame.set("max_output_tokens", std::move(most));
  take_metadata(fields, request);
  request.stores = fields.boolean("store").value_or(true);
  request.background = fields.boolean("background").value_or(false);
  const bool stream = fields.boolean("stream").value_or(false);
  if (request.background && !request.stores) invalid("background", "needs store to be true");
  if (request.background && stream) invalid("background", "cannot be streamed: ask with GET /v1/responses/ID");
  request.chat.set("stream", stream);
  request.frame.set("store", request.stores).set("background", request.background);
  fields.choice("truncation", {"disabled"});
  request.frame.set("truncation", "disabled").set("service_tier", "default");
  // What a chat knows under the same name, vLLM's sampling parameters among it.
  for (const char* key : {"model",
                          "temperature",
                          "top_p",
                          "top_k",
                          "min_p",
                          "seed",
                          "presence_penalty",
                          "frequency_penalty",
                          "repetition_penalty",
                          "logit_bias",
                          "bad_words",
                          "stop",
                          "stop_token_ids",
                          "ignore_eos",
                          "min_tokens",
                          "include_stop_str_in_output",
                          "skip_special_tokens",
                          "priority",
                          "cache_salt",
                          "structured_outputs",
                          "chat_template_kwargs",
                          "thinking_token_budget",
                          "include_reasoning"}) {
    if (const Json* value = fields.take(key)) request.chat.set(key, *value);
  }
  fields.ignore(
      {"service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "max_tool_calls", "stream_options"});
  fields.refuse({"conversation", "prompt", "context_management", "moderation", "image", "access_programs", "background_options",
                 "prompt_cache_options"},
                "not supported by this server");
  fields.finish();
  return request;
}

}  // namespace pagoda::server
