// A route of the server: its name, what the document says of it, who answers and who reads its body.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/fields.h"
#include "server/http_server.h"
#include "server/openapi.h"

namespace pagoda::server {

class ParamNames;

// One request on its way.
struct Call {
  const HttpRequest& http;
  std::shared_ptr<HttpResponse> response;
  const ParamNames* names;  // of the fields that its route reads, as long as the App lives; null: it reads none

  // Of the answer; given: a request_id.
  std::string answer_id(const char* prefix, const std::string& given) const {
    return prefix + (given.empty() ? http.id : given);
  }
  void send(const Json& answer) const { response->send(200, "application/json", answer.dump()); }
};

// The body of a call, and its fields, which point into it.
struct RequestBody {
  explicit RequestBody(const HttpRequest& http) : json(Json::parse(http.body, "request")), fields(json, "request") {}
  RequestBody(const RequestBody&) = delete;
  RequestBody& operator=(const RequestBody&) = delete;
  const Json json;
  Fields fields;
};

// Parts of the document, in their order there.
enum class Section { kPage, kServer, kModel };

struct RouteInfo {
  std::string method, path;  // "/v1/responses/{id}": see matches()
  RouteDoc doc;
  Section section = Section::kModel;
  bool needs_model = true, needs_key = true;
};

struct Route {
  RouteInfo info;
  std::function<void(const Call&)> answer{};
  std::function<void(Fields&)> read{};  // of POST: asks for every field of the body (see Fields)
};

// {id} and the like in a route's path stand for one step of any name, {model} at its end for all that follows: names may have
// slashes.
bool matches(const RouteInfo& route, std::string_view path);

// A route over one kind of served models, written down before there is one.
template <class Served>
struct RouteOf {
  RouteInfo info;
  void (*answer)(Served&, const Call&);
  void (*read)(const Served&, Fields&) = nullptr;
};

template <class Served>
std::vector<Route> bound(const std::vector<RouteOf<Served>>& routes, Served& served) {
  std::vector<Route> list;
  for (const RouteOf<Served>& each : routes) {
    Route route{each.info, [&served, answer = each.answer](const Call& call) { answer(served, call); }};
    if (each.read != nullptr) route.read = [&served, read = each.read](Fields& fields) { read(served, fields); };
    list.push_back(std::move(route));
  }
  return list;
}

}  // namespace pagoda::server
