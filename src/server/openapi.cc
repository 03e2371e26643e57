// Paths, operations and the errors that any of them may answer with.
#include "server/openapi.h"

#include <cctype>
#include <cstring>

#include "base/ascii.h"
#include "base/error.h"

namespace pagoda::server {

namespace {

Json reference(const std::string& schema) { return Json::object().set("$ref", "#/components/schemas/" + schema); }

Json content(const char* type, Json schema) {
  Json media = Json::object(), result = Json::object();
  media.set("schema", std::move(schema));
  return result.set(type, std::move(media));
}

// One event of a stream: its data is a chunk (or what went wrong), and the last says [DONE].
Json event_schema(const char* chunk) {
  Json chunks = Json::array(), data = Json::array(), properties = Json::object(), event = Json::object();
  chunks.push_back(reference(chunk));
  chunks.push_back(reference("Error"));
  data.push_back(Json::object().set("const", "[DONE]"));
  data.push_back(Json::object()
                     .set("contentMediaType", "application/json")
                     .set("contentSchema", Json::object().set("anyOf", std::move(chunks))));
  properties.set("data", Json::object().set("type", "string").set("anyOf", std::move(data)));
  event.set("type", "object").set("description", "With stream: true.").set("required", Json::array());
  event.find("required")->push_back("data");
  return event.set("properties", std::move(properties));
}

Json answer_200(const RouteDoc& doc) {
  Json answer = Json::object();
  answer.set("description", "Success");
  if (doc.answer[0] == '\0') return answer;
  if (std::strchr(doc.answer, '/') != nullptr) {
    return answer.set("content", content(doc.answer, Json::object().set("type", "string")));
  }
  Json types = content("application/json", reference(doc.answer));
  if (doc.chunk[0] != '\0') {
    types.set("text/event-stream", Json::object().set("schema", event_schema(doc.chunk)));
  }
  return answer.set("content", std::move(types));
}

void add_errors(Json& responses, const RouteDescription& route) {
  const auto add = [&](const char* status, const char* description) {
    Json answer = Json::object();
    answer.set("description", description).set("content", content("application/json", reference("Error")));
    responses.set(status, std::move(answer));
  };
  if (route.body) {
    add("400", "The request is wrong; the message names the field");
    add("404", "No such model");
    add("408", "The body took too long");
    add("413", "The body is too large");
    add("403", "A page of another origin asks, and no key is needed");
    add("415", "The body is not JSON by its Content-Type, or has a Content-Encoding");
  } else if (route.path.find('{') != std::string::npos) {
    add("400", "The request is wrong");
    add("404", "No such thing");
  }
  if (route.needs_key) add("401", "The key is missing or wrong");
  add("500", "The server failed");
  add("503", "The model is loading, the server is shutting down, or too much is open: try again later");
}

// One required string for each name in braces.
Json path_parameters(const std::string& path) {
  Json list = Json::array();
  for (size_t open = path.find('{'); open != std::string::npos; open = path.find('{', open + 1)) {
    const size_t close = path.find('}', open);
    if (close == std::string::npos) break;
    Json parameter = Json::object();
    parameter.set("name", path.substr(open + 1, close - open - 1)).set("in", "path").set("required", true);
    parameter.set("schema", Json::object().set("type", "string").set("minLength", 1));
    list.push_back(std::move(parameter));
  }
  return list;
}

Json operation(const RouteDescription& route, bool has_keys) {
  Json result = Json::object(), responses = Json::object();
  std::string id = lower_case(route.method);
  for (const char c : route.path) id += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  result.set("operationId", id).set("summary", route.doc.summary);
  if (Json parameters = path_parameters(route.path); parameters.size() > 0) result.set("parameters", std::move(parameters));
  if (route.body) {
    Json body = Json::object();
    body.set("required", true).set("content", content("application/json", *route.body));
    result.set("requestBody", std::move(body));
  }
  responses.set("200", answer_200(route.doc));
  add_errors(responses, route);
  result.set("responses", std::move(responses));
  Json security = Json::array();
  if (has_keys && route.needs_key) security.push_back(Json::object().set("bearer", Json::array()));
  return result.set("security", std::move(security));
}

}  // namespace

Json openapi_document(const std::vector<RouteDescription>& routes, const std::string& root_path, bool has_keys) {
  Json document = Json::object(), info = Json::object(), paths = Json::object(), components = Json::object();
  info.set("title", "Pagoda").set("version", PAGODA_VERSION);
  info.set("description", "OpenAI's API over one model, with the parameters that vLLM adds.");
  Json servers = Json::array();
  servers.push_back(Json::object().set("url", root_path.empty() ? "/" : root_path));
  for (const RouteDescription& route : routes) {
    if (paths.find(route.path) == nullptr) paths.set(route.path, Json::object());
    paths.find(route.path)->set(lower_case(route.method), operation(route, has_keys));
  }
  components.set("schemas", openapi_schemas());
  if (has_keys) {
    Json bearer = Json::object(), schemes = Json::object();
    bearer.set("type", "http").set("scheme", "bearer");
    components.set("securitySchemes", std::move(schemes.set("bearer", std::move(bearer))));
  }
  document.set("openapi", "3.1.0").set("info", std::move(info)).set("servers", std::move(servers));
  return document.set("paths", std::move(paths)).set("components", std::move(components));
}

}  // namespace pagoda::server
