// Routing, keys, cross-origin headers, and the small endpoints.
#include "server/app.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "server/answer_json.h"

namespace pagoda::server {

namespace {

constexpr const char* kJson = "application/json";

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// The same time whatever the first difference; lengths alone may show.
bool same_secret(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

const std::vector<App::Entry>& App::routes() {
  static const std::vector<Entry> entries = {
      {"GET", "/", &App::page, false, false},
      {"GET", "/pagoda/state", &App::state, true, true},
      {"GET", "/pagoda/live", &App::live, true, true},
      {"GET", "/health", &App::health, false, false},
      {"GET", "/ping", &App::health, false, false},
      {"GET", "/version", &App::version, false, true},
      {"GET", "/metrics", &App::metrics, true, true},
      {"GET", "/v1/models", &App::models, true, true},
      {"POST", "/tokenize", &App::tokenize, true, true},
      {"POST", "/detokenize", &App::detokenize, true, true},
      {"POST", "/v1/completions", &App::completions, true, true},
      {"POST", "/v1/chat/completions", &App::chat_completions, true, true},
  };
  return entries;
}

App::App(AppOptions options)
    : options_(std::move(options)), metrics_(options_.served_model_names.at(0)), started_(unix_seconds()) {}

App::~App() = default;

void App::ready(TextGeneration& generation) {
  generation_ = &generation;
  defaults_ = serving_defaults(generation.loaded().folder(), options_.plain_defaults);
  templates_ = chat::TemplateSet::from_folder(generation.loaded().folder().path());
  special_tokens_ = templates_.special_tokens();
  if (!options_.chat_template.empty()) templates_ = chat::TemplateSet::from_text(options_.chat_template);
  engine_ = std::make_unique<AsyncEngine>(generation.engine(), options_.max_open);
  live_ = std::make_unique<LiveFeed>(*engine_, metrics_, model_json());
  ready_ = true;
}

void App::close() {
  closing_ = true;
  if (ready_) live_->close();
}

bool App::authorized(const HttpRequest& request) const {
  if (options_.api_keys.empty()) return true;
  const std::string* header = request.header("authorization");
  constexpr std::string_view kBearer = "Bearer ";
  if (header == nullptr || header->compare(0, kBearer.size(), kBearer) != 0) return false;
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
    return {{"access-control-allow-origin", allowed},
            {"access-control-allow-methods", "GET, POST, OPTIONS"},
            {"access-control-allow-headers", "authorization, content-type, x-request-id"},
            {"access-control-expose-headers", "x-request-id"},
            {"vary", "origin"}};
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
  if (!root.empty() && request.path.compare(0, root.size(), root) == 0) request.path.erase(0, root.size());
  if (request.method == "OPTIONS") return response->send(extra.empty() ? 405 : 204, kJson, "");

  const Entry* entry = nullptr;
  bool path_known = false;
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  for (const Entry& each : routes()) {
    if (each.path != request.path) continue;
    path_known = true;
    if (each.method == method) entry = &each;
  }
  // A wrong key learns nothing about routes.
  const bool needs_key = entry == nullptr || entry->needs_key;
  if (needs_key && !authorized(request)) {
    return response->send(401, kJson, error_body(401, "[server] unauthorized: need header 'Authorization: Bearer KEY'"),
                          {{"www-authenticate", "Bearer"}});
  }
  if (entry == nullptr) {
    const int status = path_known ? 405 : 404;
    return response->send(
        status, kJson,
        error_body(status, fmt::format("[server] {}: got {} {}", path_known ? "method not allowed" : "no such route",
                                       request.method.substr(0, 16), request.path.substr(0, 128))));
  }
  if (entry->needs_model && (!ready_ || closing_)) {
    return response->send(503, kJson, error_body(503, closing_ ? "[server] shutting down" : "[server] loading the model"),
                          {{"retry-after", "1"}});
  }
  (this->*entry->route)(request, response);
}

FormatContext App::format_context(const char* prefix, const GenerationRequest& request, const HttpRequest& http) const {
  return {prefix + (request.request_id.empty() ? http.id : request.request_id), model_name(), generation_->tokenizer().get()};
}

void App::start(GenerationRequest request, std::vector<PromptState> prompts, std::unique_ptr<AnswerFormat> format,
                const std::shared_ptr<HttpResponse>& response) {
  if (request.grammar) request.constraint = constrain(*request.grammar, request.params);
  const auto job =
      std::make_shared<GenerationJob>(*engine_, metrics_, std::move(request), std::move(prompts), std::move(format), response);
  job->start(generation_->engine().max_model_len());
}

std::unique_ptr<TokenConstraint> App::constrain(const GrammarSource& source, const SamplingParams& params) {
  const GrammarPtr grammar = grammars_.get(source);
  {
    const std::lock_guard<std::mutex> lock(vocabulary_mutex_);
    if (!vocabulary_) vocabulary_ = std::make_shared<const TokenVocabulary>(generation_->require_tokenizer());
  }
  return make_constraint(grammar, vocabulary_, params.end_token_ids());
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
  if (!engine_->healthy()) return response->send(500, kJson, error_body(500, "[server] the engine failed twice in a row"));
  response->send(200, kJson, "");
}

void App::version(const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
  Json answer = Json::object();
  answer.set("version", PAGODA_VERSION);
  response->send(200, kJson, answer.dump());
}

void App::metrics(const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
  response->send(200, "text/plain; version=0.0.4; charset=utf-8", metrics_.text(engine_->stats(), kPageTokens));
}

void App::models(const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
  Json list = Json::array(), answer = Json::object();
  for (const std::string& name : options_.served_model_names) {
    Json model = Json::object();
    model.set("id", name)
        .set("object", "model")
        .set("created", started_)
        .set("owned_by", "pagoda")
        .set("root", options_.model)
        .set("parent", Json())
        .set("max_model_len", generation_->engine().max_model_len());
    list.push_back(std::move(model));
  }
  answer.set("object", "list").set("data", std::move(list));
  response->send(200, kJson, answer.dump());
}

void App::tokenize(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json body = Json::parse(http.body, "request");
  Fields fields(body, "request");
  check_model(fields);
  std::string text;
  bool special = true;
  if (const Json* messages = fields.take("messages")) {
    bool continues = false;
    text = render_chat(fields, *messages, continues);
    special = false;
  } else {
    const auto prompt = fields.string("prompt", std::numeric_limits<size_t>::max());
    if (!prompt) invalid("prompt", "missing: need prompt or messages");
    text = *prompt;
  }
  special = fields.boolean("add_special_tokens").value_or(special);
  const bool strings = fields.boolean("return_token_strs").value_or(false);
  fields.finish();
  const std::vector<int32_t> ids = generation_->require_tokenizer().encode_ids(text, special);
  Json answer = Json::object();
  answer.set("count", static_cast<int64_t>(ids.size()))
      .set("max_model_len", generation_->engine().max_model_len())
      .set("tokens", ids_json(ids));
  Json tokens;
  if (strings) {
    tokens = Json::array();
    for (const int32_t id : ids) tokens.push_back(generation_->tokenizer()->id_to_token(id));
  }
  answer.set("token_strs", std::move(tokens));
  response->send(200, kJson, answer.dump());
}

void App::detokenize(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json body = Json::parse(http.body, "request");
  Fields fields(body, "request");
  check_model(fields);
  const auto ids = fields.ids("tokens", std::numeric_limits<size_t>::max());
  if (!ids) invalid("tokens", "missing: need a list of token ids");
  fields.finish();
  Json answer = Json::object();
  answer.set("prompt", generation_->require_tokenizer().decode(*ids, false));
  response->send(200, kJson, answer.dump());
}

}  // namespace pagoda::server
