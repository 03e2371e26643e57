// Routing, keys, cross-origin headers, and the small endpoints.
#include "server/app.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>

#include "base/ascii.h"
#include "base/error.h"
#include "base/utf8.h"
#include "pipelines/chat_templates.h"
#include "server/answer_json.h"
#include "server/chat_messages.h"
#include "server/response_request.h"

namespace pagoda::server {

namespace {

constexpr const char* kJson = "application/json";
constexpr const char* kMethods = "GET, HEAD, POST, DELETE";  // of all routes together

// The same time whatever the first difference; lengths alone may show.
bool same_secret(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// {id} and the like in a route's path stand for one step of any name, {model} at its end for all that follows: names may have
// slashes.
bool path_matches(std::string_view pattern, std::string_view path) {
  if (const size_t at = pattern.find("{model}"); at != std::string_view::npos) {
    return path.size() > at && path.substr(0, at) == pattern.substr(0, at);
  }
  const size_t at = pattern.find('{');
  if (at == std::string_view::npos) return pattern == path;
  if (path.substr(0, at) != pattern.substr(0, at)) return false;
  const size_t end = std::min(path.find('/', at), path.size());
  return end > at && path.substr(end) == pattern.substr(pattern.find('}') + 1);
}

// Browsers say where the page comes from that asks, and send what needs no preflight without asking: an open server on this
// machine must not compute for any page its owner looks at.
bool from_foreign_page(const HttpRequest& request) {
  const std::string* origin = request.header("origin");
  if (origin == nullptr) return false;
  const std::string* host = request.header("host");
  const size_t scheme = origin->find("://");
  return host == nullptr || scheme == std::string::npos || origin->substr(scheme + 3) != *host;
}

// "*" stands for what `asked` names, since a browser takes no "*" beside Authorization.
std::string allowed_list(const std::vector<std::string>& allowed, const std::string& asked) {
  return std::find(allowed.begin(), allowed.end(), "*") != allowed.end() ? asked : fmt::format("{}", fmt::join(allowed, ", "));
}

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

}  // namespace

const std::vector<App::Entry>& App::routes() {
  static const std::vector<Entry> kEntries = {
      {"GET", "/", &App::page, false, false, {"The web page", "text/html"}},
      {"GET", "/pagoda/state", &App::state, true, true, {"What the engine does, and its cache", "LiveState"}},
      {"GET", "/pagoda/live", &App::live, true, true, {"The same as it changes, until the client goes", "text/event-stream"}},
      {"GET", "/health", &App::health, false, false, {"Whether the server answers", ""}},
      {"GET", "/ping", &App::health, false, false, {"The same", ""}},
      {"GET", "/version", &App::version, false, true, {"The program's version", "Version"}},
      {"GET", "/openapi.json", &App::openapi_json, true, true, {"This document", "OpenApi"}},
      {"GET", "/metrics", &App::metrics, true, true, {"Prometheus metrics under vLLM's names", "text/plain"}},
      {"GET", "/v1/models", &App::models, true, true, {"The model, under each name it is served by", "ModelList"}},
      {"GET", "/v1/models/{model}", &App::one_model, true, true, {"The model under one of its names", "Model"}},
      {"POST",
       "/tokenize",
       &App::tokenize,
       true,
       true,
       {"Token ids of a text or a chat", "Tokenized"},
       [](const App& app, Fields& fields) { app.read_tokenize(fields); }},
      {"POST",
       "/detokenize",
       &App::detokenize,
       true,
       true,
       {"Text of token ids", "Detokenized"},
       [](const App& app, Fields& fields) { app.read_detokenize(fields); }},
      {"POST",
       "/v1/embeddings",
       &App::embeddings,
       true,
       true,
       {"A vector for each input", "EmbeddingList"},
       [](const App& app, Fields& fields) { app.read_embedding(fields); }},
      {"POST",
       "/v1/completions",
       &App::completions,
       true,
       true,
       {"Text that follows prompts", "Completion", "CompletionChunk"},
       [](const App& app, Fields& fields) { app.read_completion(fields); }},
      {"POST",
       "/v1/chat/completions",
       &App::chat_completions,
       true,
       true,
       {"The next message of a chat", "ChatCompletion", "ChatCompletionChunk"},
       [](const App& app, Fields& fields) { app.read_chat(fields); }},
      {"POST",
       "/v1/responses",
       &App::responses,
       true,
       true,
       {"A chat in OpenAI's newer form, which is kept", "Response", "ResponseEvent"},
       [](const App&, Fields& fields) { parse_response_request(fields, nullptr); }},
      {"GET", "/v1/responses/{id}", &App::get_response, true, true, {"A response that was kept", "Response"}},
      {"DELETE", "/v1/responses/{id}", &App::delete_response, true, true, {"Forgets a response", "ResponseDeleted"}},
      {"POST",
       "/v1/responses/{id}/cancel",
       &App::cancel_response,
       true,
       true,
       {"Ends a response in the background", "Response"}},
  };
  return kEntries;
}

App::App(AppOptions options)
    : options_(std::move(options)), metrics_(options_.served_model_names.at(0)), started_(unix_seconds()) {
  options_.root_path = plain_root_path(options_.root_path);
  check_overrides(options_.override_generation_config, "--override-generation-config");
  if (!options_.tool_call_parser.empty()) tool_format_ = chat::tool_format(options_.tool_call_parser);
  if (!options_.reasoning_parser.empty()) reasoning_format_ = chat::reasoning_format(options_.reasoning_parser);
}

// Who asks others goes before them: the page's thread asks the engine, and what the engine's end tells responses in the
// background is written by their thread, which takes those requests back from the engine.
App::~App() {
  live_.reset();
  if (engine_) engine_->stop();
  background_.reset();
  engine_.reset();
}

void App::ready(TextGeneration& generation) {
  generation_ = &generation;
  defaults_ = serving_defaults(generation.loaded().folder(), options_.plain_defaults, options_.override_generation_config);
  templates_ = load_chat_templates(generation.tokenizer_path());
  special_tokens_ = templates_.special_tokens();
  if (!options_.chat_template.empty()) templates_ = chat::TemplateSet::from_text(options_.chat_template);
  if (tool_format_ == chat::ToolFormat::kNone && !templates_.empty()) {
    tool_format_ = chat::detect_tool_format(templates_.pick("", true));
  }
  if (tool_format_ == chat::ToolFormat::kNone && options_.enable_auto_tool_choice) {
    invalid("--enable-auto-tool-choice", "the model's template does not show how it writes calls: need --tool-call-parser");
  }
  background_ = std::make_unique<WorkThread>();
  engine_ = std::make_unique<AsyncEngine>(generation.engine(), options_.max_open);
  if (generation.tokenizer()) text_limit_ = TextLimit(*generation.tokenizer(), max_model_len());
  live_ = std::make_unique<LiveFeed>(*engine_, metrics_, model_json());
  name_params(routes());
  ready_ = true;
}

void App::name_params(const std::vector<Entry>& entries) {
  for (const Entry& entry : entries) {
    if (entry.read == nullptr) continue;
    Fields fields = Fields::describing("request");
    entry.read(*this, fields);
    params_.emplace(&entry, ParamNames(fields.schema()));
  }
}

void App::close() {
  closing_ = true;
  if (ready_ && live_) live_->close();
}

int64_t App::num_open() const { return encoder_ ? encoder_->num_open() : engine_ ? engine_->num_open() : 0; }

const Model& App::model() const { return encoder_ ? encoder_->model().model() : generation_->model(); }

const ModelFolder& App::folder() const {
  return encoder_ ? encoder_->model().loaded().folder() : generation_->loaded().folder();
}

const Tokenizer& App::require_tokenizer(std::string_view field) const {
  return encoder_ ? *encoder_->model().tokenizer() : tokenizer_for(*generation_, field);
}

int64_t App::max_model_len() const {
  return encoder_ ? sentence_length(encoder_->model()) : generation_->engine().max_model_len();
}

bool App::authorized(const HttpRequest& request) const {
  if (options_.api_keys.empty()) return true;
  const std::string* header = request.header("authorization");
  constexpr std::string_view kBearer = "Bearer ";
  if (header == nullptr || !equal_ignoring_case(std::string_view(*header).substr(0, kBearer.size()), kBearer)) return false;
  const std::string key = header->substr(kBearer.size());
  bool found = false;
  for (const std::string& each : options_.api_keys) found = same_secret(key, each) || found;
  return found;
}

Headers App::cors(const HttpRequest& request) const {
  const std::string* origin = request.header("origin");
  if (origin == nullptr) return {};
  for (const std::string& allowed : options_.allowed_origins) {
    if (allowed != "*" && allowed != *origin) continue;
    Headers headers{{"access-control-allow-origin", allowed}, {"access-control-expose-headers", "x-request-id"}};
    if (request.method != "OPTIONS") {
      headers.emplace_back("vary", "origin");
      return headers;
    }
    const std::string* wanted = request.header("access-control-request-headers");
    headers.emplace_back("access-control-allow-methods", allowed_list(options_.allowed_methods, "GET, POST, DELETE, OPTIONS"));
    headers.emplace_back(
        "access-control-allow-headers",
        allowed_list(options_.allowed_headers, wanted != nullptr ? *wanted : "authorization, content-type, x-request-id"));
    headers.emplace_back("access-control-max-age", "600");
    headers.emplace_back("vary", "origin, access-control-request-headers");
    return headers;
  }
  return {};
}

// Adds headers to whatever is answered.
class WithHeaders : public HttpResponse {
 public:
  WithHeaders(std::shared_ptr<HttpResponse> inner, Headers headers) : inner_(std::move(inner)), headers_(std::move(headers)) {}
  void send(int status, std::string_view type, std::string body, const Headers& headers) override {
    inner_->send(status, type, std::move(body), joined(headers));
  }
  void begin(int status, std::string_view type, const Headers& headers) override {
    inner_->begin(status, type, joined(headers));
  }
  bool write(std::string chunk) override { return inner_->write(std::move(chunk)); }
  void finish() override { inner_->finish(); }
  void on_disconnect(std::function<void()> callback) override { inner_->on_disconnect(std::move(callback)); }
  void post(std::function<void()> work) override { inner_->post(std::move(work)); }
  bool gone() const override { return inner_->gone(); }
  void keep(MemoryLedger::Lease room) override { inner_->keep(std::move(room)); }
  int64_t pending_bytes() const override { return inner_->pending_bytes(); }

 private:
  Headers joined(const Headers& headers) const {
    Headers all = headers_;
    all.insert(all.end(), headers.begin(), headers.end());
    return all;
  }
  std::shared_ptr<HttpResponse> inner_;
  Headers headers_;
};

void App::handle(HttpRequest request, std::shared_ptr<HttpResponse> response) {
  Headers extra = cors(request);
  if (!extra.empty()) response = std::make_shared<WithHeaders>(std::move(response), extra);
  const std::string& root = options_.root_path;
  if (!root.empty() && request.path.compare(0, root.size() + 1, root + "/") == 0) request.path.erase(0, root.size());
  const bool asks_methods = request.method == "OPTIONS";
  if (asks_methods && !extra.empty()) return response->send(204, kJson, "");
  // A page that may not ask learns nothing of the routes (a preflight without permission).
  if (asks_methods && request.header("origin") != nullptr) return response->send(405, kJson, "", {{"allow", kMethods}});

  const Entry* entry = nullptr;
  std::string allowed = asks_methods && request.path == "*" ? kMethods : "";  // methods of the path
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  const auto look_in = [&](const std::vector<Entry>& entries) {
    for (const Entry& each : entries) {
      if (!path_matches(each.path, request.path)) continue;
      allowed += (allowed.empty() ? "" : ", ") + each.method + (each.method == "GET" ? ", HEAD" : "");
      if (each.method == method) entry = &each;
    }
  };
  look_in(table());
  // What will be served is not known yet.
  if (!ready_ && allowed.empty()) look_in(encoder_routes());
  // A wrong key learns nothing about routes.
  const bool needs_key = entry == nullptr || entry->needs_key;
  if (needs_key && !authorized(request)) {
    return response->send(401, kJson, error_body(401, "[server] unauthorized: need header 'Authorization: Bearer KEY'"),
                          {{"www-authenticate", "Bearer"}});
  }
  if (entry == nullptr) {
    const int status = allowed.empty() ? 404 : 405;
    Headers headers;
    if (status == 405) headers.emplace_back("allow", allowed + ", OPTIONS");
    if (asks_methods && status == 405) return response->send(204, kJson, "", headers);
    return response->send(
        status, kJson,
        error_body(status, fmt::format("[server] {}: got {} {}", status == 405 ? "method not allowed" : "no such route",
                                       utf8_cut(request.method, 16), utf8_cut(request.path, 128))),
        headers);
  }
  if (method == "POST" && extra.empty() && options_.api_keys.empty() && from_foreign_page(request)) {
    return response->send(
        403, kJson, error_body(403, "[server] a page of another origin asks: need it in --allowed-origins, or an --api-key"));
  }
  if (const std::string* type = request.header("content-type"); method == "POST" && type != nullptr && !is_json(*type)) {
    return response->send(
        415, kJson,
        error_body(415, fmt::format("[server] unsupported media type: got '{}', need application/json", utf8_cut(*type, 64))));
  }
  if (const std::string* coding = request.header("content-encoding");
      coding != nullptr && !request.body.empty() && !coding->empty() && !equal_ignoring_case(*coding, "identity")) {
    return response->send(
        415, kJson,
        error_body(415, fmt::format("[server] unsupported Content-Encoding: got '{}', need a body that is not compressed",
                                    utf8_cut(*coding, 64))),
        {{"accept-encoding", "identity"}});
  }
  if (entry->needs_model && (!ready_ || (closing_ && method == "POST"))) {
    return response->send(503, kJson, error_body(503, closing_ ? "[server] shutting down" : "[server] loading the model"),
                          {{"retry-after", "1"}});
  }
  try {
    (this->*entry->route)(request, response);
  } catch (const Error& error) {
    if (!refuse(*entry, error, *response)) throw;
  }
}

// Answers an error that is the request's fault. What is valid elsewhere and not here (a keyword of a schema, say) is one too as
// far as HTTP goes.
bool App::refuse(const Entry& entry, const Error& error, HttpResponse& response) const {
  const bool missing = error.kind() == ErrorKind::kNotFound;
  if (!missing && error.kind() != ErrorKind::kInvalidInput && error.kind() != ErrorKind::kUnsupported) return false;
  const auto names = params_.find(&entry);
  const std::string param = names == params_.end() ? "" : names->second.param(error.message());
  const int status = missing ? 404 : 400;
  response.send(status, kJson,
                error_body(status, error.message(), param, missing && param == "model" ? "model_not_found" : ""));
  return true;
}

FormatContext App::format_context(const char* prefix, const GenerationRequest& request, const HttpRequest& http) const {
  return {prefix + (request.request_id.empty() ? http.id : request.request_id), model_name(), generation_->tokenizer().get()};
}

const ParamNames* App::names_of(const HttpRequest& http) const {
  for (const Entry& entry : table()) {
    const auto names =
        entry.method == http.method && path_matches(entry.path, http.path) ? params_.find(&entry) : params_.end();
    if (names != params_.end()) return &names->second;
  }
  return nullptr;
}

void App::start(GenerationRequest request, std::vector<PromptState> prompts, std::unique_ptr<AnswerFormat> format,
                const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const int64_t vocab = generation_->model().vocab_size();
  for (const int32_t id : request.allowed_token_ids.value_or(std::vector<int32_t>{})) {
    if (id >= vocab) invalid("allowed_token_ids", "id outside the vocabulary: got {}, need 0 to {}", id, vocab - 1);
  }
  if (request.grammar) {
    request.constraint = constrain(*request.grammar, request.params);
    request.grammar->text.clear();  // errors name its field alone
    request.grammar->choices.clear();
  }
  request.share_lists(vocab);
  const auto job = std::make_shared<GenerationJob>(*engine_, metrics_, options_.memory, std::move(request), std::move(prompts),
                                                   std::move(format), response, names_of(http));
  job->start(generation_->engine().max_model_len());
}

std::unique_ptr<TokenConstraint> App::constrain(const GrammarSource& source, const SamplingParams& params) {
  const std::string& where = source.where;
  {
    const Tokenizer& tokenizer = tokenizer_for(*generation_, where);
    const std::lock_guard<std::mutex> lock(vocabulary_mutex_);
    if (!vocabulary_) vocabulary_ = std::make_shared<const TokenVocabulary>(tokenizer);
  }
  return in_field(where, [&] { return make_constraint(grammars_.get(source), vocabulary_, params.end_token_ids()); });
}

void App::check_model(Fields& fields) const {
  const auto name = fields.string("model", 4096);
  const std::vector<std::string>& names = options_.served_model_names;
  if (!name || std::find(names.begin(), names.end(), *name) != names.end()) return;
  not_found("model", "The model `{}` does not exist: need {}", *name, fmt::join(names, " or "));
}

void App::health(const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
  if (!ready_) return response->send(503, kJson, error_body(503, "[server] loading the model"), {{"retry-after", "1"}});
  if (closing_) return response->send(503, kJson, error_body(503, "[server] shutting down"));
  if (!(encoder_ ? encoder_->healthy() : engine_->healthy()))
    return response->send(500, kJson, error_body(500, "[server] the engine failed twice in a row"));
  response->send(200, kJson, "");
}

void App::version(const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
  Json answer = Json::object();
  answer.set("version", PAGODA_VERSION);
  response->send(200, kJson, answer.dump());
}

void App::metrics(const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
  response->send(200, "text/plain; version=0.0.4; charset=utf-8",
                 metrics_.text(encoder_ ? encoder_->stats() : engine_->stats(), kPageTokens));
}

Json App::model_entry(const std::string& name) const {
  Json model = Json::object();
  return model.set("id", name)
      .set("object", "model")
      .set("created", started_)
      .set("owned_by", "pagoda")
      .set("root", options_.model)
      .set("parent", Json())
      .set("max_model_len", max_model_len());
}

void App::one_model(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  constexpr std::string_view kPrefix = "/v1/models/";
  const std::string name = http.path.substr(kPrefix.size());
  const std::vector<std::string>& names = options_.served_model_names;
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    const std::string message =
        fmt::format("[model] The model `{}` does not exist: need {}", utf8_cut(name, 256), fmt::join(names, " or "));
    return response->send(404, kJson, error_body(404, message, "model", "model_not_found"));
  }
  response->send(200, kJson, model_entry(name).dump());
}

void App::models(const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
  Json list = Json::array(), answer = Json::object();
  for (const std::string& name : options_.served_model_names) list.push_back(model_entry(name));
  answer.set("object", "list").set("data", std::move(list));
  response->send(200, kJson, answer.dump());
}

App::TokenizeBody App::read_tokenize(Fields& fields) const {
  check_model(fields);
  TokenizeBody body;
  body.messages = fields.take("messages", messages_schema(options_.limits.max_messages));
  body.prompt = fields.string("prompt", kAnyLength);
  body.rendering = read_rendering(fields);
  body.rendering.apply.tools = take_tools(fields).tools;
  body.add_special_tokens = fields.boolean("add_special_tokens");
  body.return_token_strs = fields.boolean("return_token_strs").value_or(false);
  fields.refuse({"mm_processor_kwargs", "media_io_kwargs"}, "not supported by this server");
  fields.finish();
  if (body.messages == nullptr && !body.prompt && !fields.is_describing())
    invalid("prompt", "missing: need prompt or messages");
  return body;
}

void App::tokenize(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json json = Json::parse(http.body, "request");
  Fields fields(json, "request");
  const TokenizeBody body = read_tokenize(fields);
  const bool chat = body.messages != nullptr;
  const Tokenizer& tokenizer = require_tokenizer(chat ? "messages" : "prompt");
  const std::string text = chat ? render_chat(body.rendering, plain_messages(*body.messages, options_.limits)) : *body.prompt;
  text_limit_.check(text, chat ? "messages" : "prompt");
  const std::vector<int32_t> ids = tokenizer.encode_ids(text, body.add_special_tokens.value_or(!chat));
  Json answer = Json::object();
  answer.set("count", static_cast<int64_t>(ids.size())).set("max_model_len", max_model_len()).set("tokens", ids_json(ids));
  Json tokens;
  if (body.return_token_strs) {
    tokens = Json::array();
    for (const int32_t id : ids) tokens.push_back(tokenizer.id_to_token(id));
  }
  answer.set("token_strs", std::move(tokens));
  response->send(200, kJson, answer.dump());
}

std::vector<int32_t> App::read_detokenize(Fields& fields) const {
  check_model(fields);
  auto ids = fields.ids("tokens", kAnyLength);
  fields.require("tokens", "a list of token ids");
  fields.finish();
  return std::move(ids).value_or(std::vector<int32_t>{});
}

void App::detokenize(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json json = Json::parse(http.body, "request");
  Fields fields(json, "request");
  const std::vector<int32_t> ids = read_detokenize(fields);
  Json answer = Json::object();
  const int64_t vocab = model().vocab_size();
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab) invalid("tokens", "id outside the vocabulary: got {}, need 0 to {}", id, vocab - 1);
  }
  answer.set("prompt", require_tokenizer("tokens").decode(ids, false));
  response->send(200, kJson, answer.dump());
}

std::vector<std::string> App::route_names() {
  std::vector<std::string> names;
  for (const Entry& entry : routes()) names.push_back(entry.method + " " + entry.path);
  return names;
}

Json App::openapi() const {
  std::vector<RouteDescription> descriptions;
  for (const Entry& entry : table()) {
    RouteDescription description{entry.method, entry.path, entry.needs_model, entry.needs_key, entry.doc, {}};
    if (entry.read != nullptr) {
      Fields fields = Fields::describing("request");
      entry.read(*this, fields);
      description.body = fields.schema();
    }
    descriptions.push_back(std::move(description));
  }
  return openapi_document(descriptions, options_.root_path, !options_.api_keys.empty());
}

void App::openapi_json(const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
  response->send(200, kJson, openapi().dump());
}

}  // namespace pagoda::server
