// The server's description of itself: an OpenAPI 3.1 document made of its routes and of what reads their bodies.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace pagoda::server {

// What a route's author says of it beside its code.
struct RouteDoc {
  const char* summary = "";
  // Of the answer 200: a schema of openapi_schemas(), a content type ("text/plain"), or "": an empty body.
  const char* answer = "";
  const char* chunk = "";  // schema of a streamed chunk, where the route streams
};

struct RouteDescription {
  std::string method, path;  // "/v1/responses/{id}": what stands in braces is a parameter
  bool needs_key = false;
  RouteDoc doc;
  std::optional<Json> body;  // schema of the request
};

Json openapi_document(const std::vector<RouteDescription>& routes, const std::string& root_path, bool has_keys);
// The answers' schemas by name (openapi_answers.cc).
const Json& openapi_schemas();

}  // namespace pagoda::server
