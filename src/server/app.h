// The server's routes over one model: OpenAI's endpoints and those that clients of vLLM expect beside them.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/async_engine.h"
#include "generate/chat/chat_template.h"
#include "pipelines/text_generation.h"
#include "server/chat_request.h"
#include "server/embeddings.h"
#include "server/encoder_service.h"
#include "server/generation_job.h"
#include "server/http_server.h"
#include "server/live_feed.h"
#include "server/memory_ledger.h"
#include "server/metrics.h"
#include "server/openapi.h"
#include "server/param_names.h"
#include "server/response_store.h"
#include "server/text_limit.h"
#include "server/work_thread.h"

namespace pagoda::server {

struct AppOptions {
  std::vector<std::string> served_model_names;  // the first is the one that answers carry; empty: the model's own name
  std::string model;                            // as it was given
  std::vector<std::string> api_keys;            // empty: none is asked for
  std::vector<std::string> allowed_origins;     // of browsers; "*": any
  std::vector<std::string> allowed_methods{"*"}, allowed_headers{"*"};  // of these pages; "*": any
  std::string root_path;                                                // a prefix that a proxy leaves before every path
  std::string chat_template;                 // text of a template that stands for the model's own; empty: the model's
  std::string tool_call_parser;              // how the model writes calls; empty: as its template tells
  bool enable_auto_tool_choice = false;      // a start without a known way to write calls fails
  std::string reasoning_parser;              // how the model marks thoughts; empty: they are part of the answer
  bool plain_defaults = false;               // --generation-config vllm: the model's generation_config.json is not looked at
  Json override_generation_config;           // an object over generation_config.json; null: none
  Json default_chat_template_kwargs;         // of chats, where a request's chat_template_kwargs do not say; null: none
  int64_t max_open = 1024;                   // requests that run or wait; more are told to come back (503)
  bool trust_request_chat_template = false;  // requests may bring templates, which are programs
  PoolingParams pooling;                     // of embeddings, where the request does not say
  RequestLimits limits;
  // What open requests and their answers take counts here. A server has one with its connections (HttpOptions::memory).
  MemoryLedger memory = MemoryLedger::unbounded();
};

// What every answer of a request carries.
struct FormatContext {
  std::string id, model;
  const Tokenizer* tokenizer;  // may be null
};

// Answers requests from the first moment: 503 until ready() was called.
class App {
 public:
  explicit App(AppOptions options);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // The model is loaded: from now on there are answers. `generation` must live as long as the App.
  void ready(TextGeneration& generation);
  // The same for an encoder, which has routes of its own (encoder_routes.cc).
  void ready(std::shared_ptr<const SequenceModel> model);
  void handle(HttpRequest request, std::shared_ptr<HttpResponse> response);
  // No new requests, and nobody watches any more; waits for no answer.
  void close();
  AsyncEngine* engine() { return engine_.get(); }  // null for an encoder
  int64_t num_open() const;
  // Of those in the background, which no connection waits for. They can be asked for after close() too.
  int64_t num_background() const { return static_cast<int64_t>(responses_.num_open()); }
  // The OpenAPI document: what routes() and the functions that read requests say. Needs the model.
  Json openapi() const;
  static std::vector<std::string> route_names();  // "GET /health", ...
  static std::vector<std::string> encoder_route_names();

 private:
  using Route = void (App::*)(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  struct Entry {
    std::string method, path;
    Route route;
    bool needs_model, needs_key;
    RouteDoc doc;                                 // what /openapi.json says of it
    void (*read)(const App&, Fields&) = nullptr;  // of POST: asks for every field of the body
  };
  static const std::vector<Entry>& routes();
  static const std::vector<Entry>& encoder_routes();
  const std::vector<Entry>& table() const { return ready_ && encoder_ ? encoder_routes() : routes(); }

  void page(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void state(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void live(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void health(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void version(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void metrics(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void models(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void one_model(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void tokenize(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void detokenize(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void embeddings(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void openapi_json(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void completions(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void chat_completions(const HttpRequest&, const std::shared_ptr<HttpResponse>&);

  void encoder_embeddings(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void rerank(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void score(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void classify(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  Truncation cut_as_model(const std::optional<int64_t>& tokens) const;
  void run_task(const HttpRequest&, const std::shared_ptr<HttpResponse>&);

  void responses(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void get_response(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void delete_response(const HttpRequest&, const std::shared_ptr<HttpResponse>&);
  void cancel_response(const HttpRequest&, const std::shared_ptr<HttpResponse>&);

  bool authorized(const HttpRequest& request) const;
  Headers cors(const HttpRequest& request) const;
  void check_model(Fields& fields) const;
  void name_params(const std::vector<Entry>& entries);
  bool refuse(const Entry& entry, const Error& error, HttpResponse& response) const;
  Json model_entry(const std::string& name) const;
  std::string model_json() const;
  const std::string& model_name() const { return options_.served_model_names[0]; }
  std::unique_ptr<TokenConstraint> constrain(const GrammarSource& source, const SamplingParams& params);
  // How messages become a prompt.
  struct ChatRendering {
    chat::ApplyOptions apply;
    std::string source;  // of a template that the request brings; empty: the model's
    bool continues = false;
  };
  // Bodies as they were read. What they point at lives as long as the request's JSON.
  struct CompletionBody {
    GenerationRequest request;
    const Json* prompt = nullptr;
  };
  struct ChatBody {
    GenerationRequest request;
    const Json* messages = nullptr;
    ChatRendering rendering;
    ToolUse tools;
    bool include_reasoning = true;
    std::optional<int64_t> thinking_token_budget;  // below 0: none
  };
  struct TokenizeBody {
    const Json* messages = nullptr;
    std::optional<std::string> prompt;
    ChatRendering rendering;
    std::optional<bool> add_special_tokens;
    bool return_token_strs = false;
  };
  // What rerank, score and classify have in common.
  struct PairsBody {
    std::optional<int64_t> truncate;  // tokens; below 0: what the model takes
    bool activate = true;             // scores instead of logits
    std::string request_id;
  };
  struct RerankBody {
    std::string query;
    const Json* documents = nullptr;
    int64_t top_n = 0;  // 0: all
    bool return_documents = true;
    PairsBody pairs;
  };
  struct ScoreBody {
    const Json *first = nullptr, *second = nullptr;
    PairsBody pairs;
  };
  struct ClassifyBody {
    const Json* input = nullptr;
    PairsBody pairs;
  };
  struct TaskBody {
    const Json *inputs = nullptr, *parameters = nullptr;
  };
  // What a chat's body has become.
  struct ChatPlan {
    GenerationRequest request;
    PromptState prompt;
    AnswerReading reading;
    std::string role = "assistant";
  };
  // Each asks for every field of its body (see Fields).
  CompletionBody read_completion(Fields& fields) const;
  ChatBody read_chat(Fields& fields) const;
  EmbeddingBody read_embedding(Fields& fields) const;
  PairsBody read_pairs(Fields& fields) const;
  RerankBody read_rerank(Fields& fields) const;
  ScoreBody read_score(Fields& fields) const;
  ClassifyBody read_classify(Fields& fields) const;
  TaskBody read_task(Fields& fields) const;
  using AnswerWriter = std::function<std::string(const std::vector<SequenceOutput>&)>;  // the body of an answer
  void submit(std::vector<SequenceInput> sequences, AnswerWriter write, const std::shared_ptr<HttpResponse>& response);
  bool hold_vectors(int64_t numbers, HttpResponse& response);  // false: answered with 503
  TokenizeBody read_tokenize(Fields& fields) const;
  std::vector<int32_t> read_detokenize(Fields& fields) const;
  ChatRendering read_rendering(Fields& fields) const;
  std::string render_chat(const ChatRendering& rendering, const Json& messages);
  ChatPlan plan_chat(ChatBody body);
  AnswerReading read_answer(const ChatBody& body, std::string_view prompt, GenerationRequest& request);
  void show_marks(AnswerReading& reading, GenerationRequest& request) const;
  FormatContext format_context(const char* prefix, const GenerationRequest& request, const HttpRequest& http) const;
  // Of the fields of a request; null where its route reads none.
  const ParamNames* names_of(const HttpRequest& http) const;
  void start(GenerationRequest request, std::vector<PromptState> prompts, std::unique_ptr<AnswerFormat> format,
             const HttpRequest& http, const std::shared_ptr<HttpResponse>& response);

  // Of whatever is served.
  const Model& model() const;
  const ModelFolder& folder() const;
  const Tokenizer& require_tokenizer(std::string_view field) const;
  int64_t max_model_len() const;

  AppOptions options_;
  TextGeneration* generation_ = nullptr;
  std::map<const Entry*, ParamNames> params_;  // of the routes that read a body
  SamplingParams defaults_;
  TextLimit text_limit_;  // of prompts
  Metrics metrics_;
  GrammarCache grammars_;
  ResponseStore responses_;
  std::shared_ptr<const TokenVocabulary> vocabulary_;  // of the tokenizer, made when the first grammar comes
  std::mutex vocabulary_mutex_;
  std::unique_ptr<WorkThread> background_;  // writes responses that nobody waits for
  std::unique_ptr<AsyncEngine> engine_;
  std::unique_ptr<LiveFeed> live_;  // looks at engine_
  std::unique_ptr<EncoderService> encoder_;
  chat::TemplateSet templates_;
  Json special_tokens_;
  chat::ToolFormat tool_format_ = chat::ToolFormat::kNone;
  chat::ReasoningFormat reasoning_format_ = chat::ReasoningFormat::kNone;
  std::mutex template_mutex_;
  chat::TemplateCache template_cache_;
  std::atomic<bool> ready_{false}, closing_{false};
  int64_t started_;
};

// The two endpoints.
std::unique_ptr<AnswerFormat> make_completion_format(FormatContext context);
std::unique_ptr<AnswerFormat> make_chat_format(FormatContext context, std::string role, AnswerReading reading);
// {"content": [...]} of OpenAI's chats.
Json chat_logprobs(const GenerationRequest& request, const Tokenizer* tokenizer,
                   const std::vector<PositionLogprobs>& positions);

}  // namespace pagoda::server
