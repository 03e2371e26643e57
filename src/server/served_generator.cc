// What the routes of a model that generates share, made once it is loaded.
#include "server/served_generator.h"

#include "base/error.h"
#include "pipelines/chat_templates.h"
#include "server/generation_routes.h"

namespace pagoda::server {

namespace {

chat::ToolFormat given_tool_format(const GenerationOptions& options) {
  return options.tool_call_parser.empty() ? chat::ToolFormat::kNone : chat::tool_format(options.tool_call_parser);
}

chat::ReasoningFormat given_reasoning_format(const GenerationOptions& options) {
  return options.reasoning_parser.empty() ? chat::ReasoningFormat::kNone : chat::reasoning_format(options.reasoning_parser);
}

ChatRendererOptions chats_of(const Serving& serving, const GenerationOptions& options, const TextGeneration& generation) {
  chat::TemplateSet templates = load_chat_templates(generation.tokenizer_path());
  Json special_tokens = templates.special_tokens();
  if (!options.chat_template.empty()) templates = chat::TemplateSet::from_text(options.chat_template);
  return {std::move(templates), std::move(special_tokens), options.default_chat_template_kwargs,
          serving.options().trust_request_chat_template};
}

chat::ToolFormat tool_format_of(const GenerationOptions& options, const chat::TemplateSet& templates) {
  chat::ToolFormat format = given_tool_format(options);
  if (format == chat::ToolFormat::kNone && !templates.empty()) format = chat::detect_tool_format(templates.pick("", true));
  if (format == chat::ToolFormat::kNone && options.enable_auto_tool_choice) {
    invalid("--enable-auto-tool-choice", "the model's template does not show how it writes calls: need --tool-call-parser");
  }
  return format;
}

void watch(ServedGenerator& served, const Call& call) {
  if (call.http.method == "HEAD") return call.response->send(200, "text/event-stream; charset=utf-8", "");
  served.live().watch(call.response);
}

}  // namespace

void check(const GenerationOptions& options) {
  check_overrides(options.override_generation_config, "--override-generation-config");
  given_tool_format(options);
  given_reasoning_format(options);
}

const std::vector<RouteOf<ServedGenerator>>& generation_routes() {
  static const std::vector<RouteOf<ServedGenerator>> kRoutes = [] {
    std::vector<RouteOf<ServedGenerator>> list = {
        {{"GET", "/pagoda/state", {"What the engine does, and its cache", "LiveState"}, Section::kPage},
         [](ServedGenerator& served, const Call& call) { served.live().tell(call.response); }},
        {{"GET", "/pagoda/live", {"The same as it changes, until the client goes", "text/event-stream"}, Section::kPage},
         watch},
        embeddings_route(),
        completions_route(),
        chat_completions_route(),
    };
    for (RouteOf<ServedGenerator>& route : responses_routes()) list.push_back(std::move(route));
    return list;
  }();
  return kRoutes;
}

ServedGenerator::ServedGenerator(Serving& serving, const GenerationOptions& options, TextGeneration& generation)
    : serving_(serving),
      generation_(generation),
      defaults_(serving_defaults(generation.loaded().folder(), options.plain_defaults, options.override_generation_config)),
      texts_(generation.tokenizer(), generation.model().vocab_size(), generation.engine().max_model_len(),
             chats_of(serving, options, generation)),
      tool_format_(tool_format_of(options, texts_.chats().templates())),
      reasoning_format_(given_reasoning_format(options)),
      constraints_(generation.tokenizer()),
      engine_(generation.engine(), serving.options().max_open),
      live_(std::make_unique<LiveFeed>(engine_, serving.metrics(), model_json())) {}

// Who asks others goes before them: the page's thread asks the engine, and what the engine's end tells responses in the
// background is written by their thread, which takes those requests back from the engine.
ServedGenerator::~ServedGenerator() {
  live_.reset();
  engine_.stop();
}

std::vector<Route> ServedGenerator::routes() { return bound(generation_routes(), *this); }

std::vector<int32_t> ServedGenerator::encode(const std::string& text, std::string_view field, bool special_tokens) const {
  const Tokenizer& tokenizer = texts_.require_tokenizer(field);
  return special_tokens ? generation_.encode_prompt(text) : tokenizer.encode_ids(text, false);
}

FormatContext ServedGenerator::format_context(const char* prefix, const GenerationRequest& request, const Call& call) const {
  return {call.answer_id(prefix, request.request_id), serving_.model_name(), texts_.tokenizer()};
}

void ServedGenerator::start(GenerationRequest request, std::vector<PromptState> prompts, std::unique_ptr<AnswerFormat> format,
                            const Call& call) {
  const int64_t vocab = texts_.vocab_size();
  for (const int32_t id : request.allowed_token_ids.value_or(std::vector<int32_t>{})) {
    if (id >= vocab) invalid("allowed_token_ids", "id outside the vocabulary: got {}, need 0 to {}", id, vocab - 1);
  }
  if (request.grammar) {
    request.constraint = constraints_.make(*request.grammar, request.params);
    request.grammar->text.clear();  // errors name its field alone
    request.grammar->choices.clear();
  }
  request.share_lists(vocab);
  const auto job = std::make_shared<GenerationJob>(engine_, serving_.metrics(), serving_.options().memory, std::move(request),
                                                   std::move(prompts), std::move(format), call.response, call.names);
  job->start(texts_.max_model_len());
}

// What the page must know of the model to begin with.
std::string ServedGenerator::model_json() const {
  Json defaults = Json::object(), model = Json::object();
  defaults.set("temperature", defaults_.temperature)
      .set("top_p", defaults_.top_p)
      .set("top_k", defaults_.top_k)
      .set("min_p", defaults_.min_p)
      .set("repetition_penalty", defaults_.repetition_penalty);
  model.set("name", serving_.model_name())
      .set("chat", !texts_.chats().templates().empty())
      .set("max_model_len", texts_.max_model_len())
      .set("max_n", serving_.limits().max_n)
      .set("defaults", std::move(defaults))
      .set("version", PAGODA_VERSION);
  return model.dump();
}

}  // namespace pagoda::server
