// Dispatch, and the routes that every server has.
#include "server/app.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "base/ascii.h"
#include "base/error.h"
#include "base/stable_sort.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "server/answer_json.h"
#include "server/model_texts.h"
#include "server/page.h"
#include "server/param_names.h"
#include "server/served_model.h"
#include "server/token_routes.h"

namespace pagoda::server {

namespace {

constexpr const char* kJson = "application/json";
constexpr const char* kMethods = "GET, HEAD, POST, DELETE";  // of all routes together

// A prefix as "/a/b", however its slashes were given.
std::string plain_root_path(const std::string& given) {
  std::string root = given;
  while (!root.empty() && root.back() == '/') root.pop_back();
  if (!root.empty() && root.front() != '/') root.insert(0, "/");
  const bool plain = std::none_of(root.begin(), root.end(), [](unsigned char c) {
    return c <= ' ' || c >= 0x7f || c == '?' || c == '#' || c == '%' || c == '{';
  });
  if (!plain || root.find("//") != std::string::npos) invalid("--root-path", "no path: got '{}', need one as /api", given);
  return root;
}

bool is_json(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (!content_type.empty() && content_type.back() == ' ') content_type.remove_suffix(1);
  return equal_ignoring_case(content_type, "application/json");
}

const std::string& table_method(const HttpRequest& request) {
  static const std::string kGet = "GET";
  return request.method == "HEAD" ? kGet : request.method;
}

bool is_post(const HttpRequest& request) { return request.method == "POST"; }

void send_error(HttpResponse& response, int status, std::string_view message, const Headers& headers = {}) {
  response.send(status, kJson, error_body(status, message), headers);
}

// allowed: methods of the path; empty: there is no such path.
void send_no_route(const HttpRequest& request, const std::string& allowed, HttpResponse& response) {
  const int status = allowed.empty() ? 404 : 405;
  Headers headers;
  if (status == 405) headers.emplace_back("allow", allowed + ", OPTIONS");
  if (request.method == "OPTIONS" && status == 405) return response.send(204, kJson, "", headers);
  send_error(response, status,
             fmt::format("[server] {}: got {} {}", status == 405 ? "method not allowed" : "no such route",
                         utf8_cut(request.method, 16), utf8_cut(request.path, 128)),
             headers);
}

// True: answered, the body is none that is read here.
bool refuse_media(const HttpRequest& request, HttpResponse& response) {
  if (const std::string* type = request.header("content-type"); is_post(request) && type != nullptr && !is_json(*type)) {
    send_error(response, 415,
               fmt::format("[server] unsupported media type: got '{}', need application/json", utf8_cut(*type, 64)));
    return true;
  }
  const std::string* coding = request.header("content-encoding");
  if (coding == nullptr || request.body.empty() || coding->empty() || equal_ignoring_case(*coding, "identity")) return false;
  send_error(
      response, 415,
      fmt::format("[server] unsupported Content-Encoding: got '{}', need a body that is not compressed", utf8_cut(*coding, 64)),
      {{"accept-encoding", "identity"}});
  return true;
}

}  // namespace

struct App::Entry {
  Route route;
  std::optional<ParamNames> names;  // where it reads a body, once there is a model
};

App::App(AppOptions options)
    : model_path_(std::move(options.model)),
      root_path_(plain_root_path(options.root_path)),
      started_(unix_seconds()),
      access_(options),
      serving_(std::move(options)) {
  for (Route& route : own_routes()) loading_table_.push_back({std::move(route), {}});
  for (RouteInfo& info : routes_of_all_kinds()) loading_table_.push_back({{std::move(info)}, {}});
}

App::~App() = default;

void App::serve(std::unique_ptr<ServedModel> model) {
  model_ = std::move(model);
  std::vector<Route> routes = own_routes(), others = model_->routes();
  const auto of_page = [](const Route& route) { return route.info.section == Section::kPage; };
  // The page is for models that have something to show on it.
  if (std::none_of(others.begin(), others.end(), of_page)) {
    routes.erase(std::remove_if(routes.begin(), routes.end(), of_page), routes.end());
  }
  std::move(others.begin(), others.end(), std::back_inserter(routes));
  stable_sort(routes, [](const Route& a, const Route& b) { return a.info.section < b.info.section; });
  for (Route& route : routes) {
    Entry entry{std::move(route), {}};
    if (entry.route.read) {
      Fields fields = Fields::describing("request");
      entry.route.read(fields);
      entry.names.emplace(fields.schema());
    }
    serving_table_.push_back(std::move(entry));
  }
  ready_ = true;
}

void App::close() {
  closing_ = true;
  if (ready_) model_->close();
}

int64_t App::num_open() const { return ready_ ? model_->num_open() : 0; }

int64_t App::num_background() const { return ready_ ? model_->num_background() : 0; }

std::vector<std::string> App::route_names() const {
  std::vector<std::string> names;
  for (const Entry& entry : table(ready_)) names.push_back(entry.route.info.method + " " + entry.route.info.path);
  return names;
}

App::Match App::find(const Table& table, const HttpRequest& request) {
  Match match{nullptr, request.method == "OPTIONS" && request.path == "*" ? kMethods : ""};
  for (const Entry& each : table) {
    const RouteInfo& route = each.route.info;
    if (!matches(route, request.path)) continue;
    match.allowed += (match.allowed.empty() ? "" : ", ") + route.method + (route.method == "GET" ? ", HEAD" : "");
    if (route.method == table_method(request)) match.entry = &each;
  }
  return match;
}

void App::handle(HttpRequest request, std::shared_ptr<HttpResponse> response) {
  const Headers cors = access_.cors(request);
  const bool allowed_page = !cors.empty();
  if (allowed_page) response = with_headers(std::move(response), cors);
  if (!root_path_.empty() && request.path.compare(0, root_path_.size() + 1, root_path_ + "/") == 0) {
    request.path.erase(0, root_path_.size());
  }
  const bool asks_methods = request.method == "OPTIONS";
  if (asks_methods && allowed_page) return response->send(204, kJson, "");
  // A page that may not ask learns nothing of the routes (a preflight without permission).
  if (asks_methods && request.header("origin") != nullptr) return response->send(405, kJson, "", {{"allow", kMethods}});

  const bool ready = ready_;
  const auto [entry, allowed] = find(table(ready), request);
  // A wrong key learns nothing about routes.
  const bool needs_key = entry == nullptr || entry->route.info.needs_key;
  if (needs_key && !access_.authorized(request)) {
    return send_error(*response, 401, "[server] unauthorized: need header 'Authorization: Bearer KEY'",
                      {{"www-authenticate", "Bearer"}});
  }
  if (entry == nullptr) return send_no_route(request, allowed, *response);
  if (is_post(request) && !allowed_page && !access_.asks_for_keys() && from_foreign_page(request)) {
    return send_error(*response, 403, "[server] a page of another origin asks: need it in --allowed-origins, or an --api-key");
  }
  if (refuse_media(request, *response)) return;
  if (entry->route.info.needs_model && (!ready || (closing_ && is_post(request)))) {
    return send_busy(*response, closing_ ? "[server] shutting down" : "[server] loading the model");
  }
  answer(*entry, {request, response, entry->names ? &*entry->names : nullptr});
}

// Errors that are the request's fault are answers. What is valid elsewhere and not here (a keyword of a schema, say) is one too
// as far as HTTP goes.
void App::answer(const Entry& entry, const Call& call) const {
  try {
    entry.route.answer(call);
  } catch (const Error& error) {
    const bool missing = error.kind() == ErrorKind::kNotFound;
    if (!missing && error.kind() != ErrorKind::kInvalidInput && error.kind() != ErrorKind::kUnsupported) throw;
    const std::string param = call.names == nullptr ? "" : call.names->param(error.message());
    const int status = missing ? 404 : 400;
    call.response->send(status, kJson,
                        error_body(status, error.message(), param, missing && param == "model" ? "model_not_found" : ""));
  }
}

std::vector<Route> App::own_routes() {
  const auto of_server = [](const char* path, const RouteDoc& doc, bool needs_model = true, bool needs_key = true) {
    return RouteInfo{"GET", path, doc, Section::kServer, needs_model, needs_key};
  };
  std::vector<Route> routes = {
      {{"GET", "/", {"The web page", "text/html"}, Section::kPage, false, false},
       [](const Call& call) { send_page(call.http, *call.response); }},
      {of_server("/health", {"Whether the server answers", ""}, false, false),
       [this](const Call& call) { health(*call.response); }},
      {of_server("/ping", {"The same", ""}, false, false), [this](const Call& call) { health(*call.response); }},
      {of_server("/version", {"The program's version", "Version"}, false),
       [](const Call& call) { call.send(Json::object().set("version", PAGODA_VERSION)); }},
      {of_server("/openapi.json", {"This document", "OpenApi"}), [this](const Call& call) { call.send(openapi()); }},
      {of_server("/metrics", {"Prometheus metrics under vLLM's names", "text/plain"}),
       [this](const Call& call) {
         call.response->send(200, "text/plain; version=0.0.4; charset=utf-8",
                             serving_.metrics().text(model_->stats(), kPageTokens));
       }},
      {of_server("/v1/models", {"The model, under each name it is served by", "ModelList"}),
       [this](const Call& call) { models(call); }},
      {of_server("/v1/models/{model}", {"The model under one of its names", "Model"}),
       [this](const Call& call) { one_model(call); }},
  };
  for (Route& route : token_routes(serving_, [this]() -> ModelTexts& { return model_->texts(); })) {
    routes.push_back(std::move(route));
  }
  return routes;
}

void App::health(HttpResponse& response) const {
  if (!ready_) return send_busy(response, "[server] loading the model");
  if (closing_) return send_error(response, 503, "[server] shutting down");
  if (!model_->healthy()) return send_error(response, 500, "[server] the engine failed twice in a row");
  response.send(200, kJson, "");
}

Json App::model_card(const std::string& name) const {
  Json model = Json::object();
  return model.set("id", name)
      .set("object", "model")
      .set("created", started_)
      .set("owned_by", "pagoda")
      .set("root", model_path_)
      .set("parent", Json())
      .set("max_model_len", model_->texts().max_model_len());
}

void App::one_model(const Call& call) const {
  constexpr std::string_view kPrefix = "/v1/models/";
  const std::string name = call.http.path.substr(kPrefix.size());
  if (serving_.serves(name)) return call.send(model_card(name));
  const std::string message = "[model] " + serving_.no_such_model(utf8_cut(name, 256));
  call.response->send(404, kJson, error_body(404, message, "model", "model_not_found"));
}

void App::models(const Call& call) const {
  Json list = Json::array(), answer = Json::object();
  for (const std::string& name : serving_.options().served_model_names) list.push_back(model_card(name));
  call.send(answer.set("object", "list").set("data", std::move(list)));
}

Json App::openapi() const {
  std::vector<RouteDescription> descriptions;
  for (const Entry& entry : serving_table_) {
    const RouteInfo& info = entry.route.info;
    RouteDescription description{info.method, info.path, info.needs_key, info.doc, {}};
    if (entry.route.read) {
      Fields fields = Fields::describing("request");
      entry.route.read(fields);
      description.body = fields.schema();
    }
    descriptions.push_back(std::move(description));
  }
  return openapi_document(descriptions, root_path_, access_.asks_for_keys());
}

}  // namespace pagoda::server
