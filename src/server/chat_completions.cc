// /v1/chat/completions: messages through the model's chat template, answers as OpenAI and vLLM write them.
#include <algorithm>

#include "base/error.h"
#include "server/answer_json.h"
#include "server/app.h"
#include "server/chat_messages.h"
#include "server/generation_job.h"

namespace pagoda::server {

namespace {

class ChatFormat : public AnswerFormat {
 public:
  ChatFormat(FormatContext context, std::string role, AnswerReading reading)
      : context_(std::move(context)), role_(std::move(role)), reading_(std::move(reading)) {}

  std::string whole(const GenerationJob& job, const std::vector<std::vector<size_t>>& order) override {
    const PromptState& prompt = job.prompts()[0];
    std::string choices = "[";
    for (size_t i = 0; i < order[0].size(); ++i) {
      const Answer& answer = prompt.answers[order[0][i]];
      bool called = false;
      Json choice = Json::object();
      choice.set("index", static_cast<int64_t>(i))
          .set("message", message(job, answer, called))
          .set("logprobs", job.request().logprobs ? chat_logprobs(job.request(), context_.tokenizer, answer.logprobs) : Json())
          .set("finish_reason", reading_.finish_reason(answer.finish_reason, called))
          .set("stop_reason", stop_reason_json(answer.stop_reason));
      if (job.request().return_token_ids) choice.set("token_ids", ids_json(answer.token_ids));
      if (i > 0) choices += ',';
      choices += choice.dump();
    }
    std::string answer = head(job, "chat.completion").dump();
    add_member(answer, "choices", choices += ']');
    add_member(answer, "usage", job.usage().json().dump());
    if (job.request().prompt_logprobs) {
      add_member(answer, "prompt_logprobs", prompt_logprobs_text(prompt.logprobs, context_.tokenizer));
    }
    if (job.request().return_token_ids) add_member(answer, "prompt_token_ids", ids_json(prompt.ids).dump());
    if (job.request().return_prompt_text) add_member(answer, "prompt_text", Json(job.request().prompt_text).dump());
    return answer;
  }

  void begin(const GenerationJob& job, size_t, size_t index, std::vector<Json>& chunks) override {
    Json delta = Json::object();
    delta.set("role", role_).set("content", job.request().echo ? job.prompts()[0].text : "");
    Json first = chunk(job, index, std::move(delta));
    if (job.request().return_prompt_text) first.set("prompt_text", job.request().prompt_text);
    chunks.push_back(std::move(first));
    if (streams_.size() <= index) streams_.resize(index + 1);
    streams_[index].parser.emplace(reading_.parser());
  }

  void delta(const GenerationJob& job, size_t, size_t index, const Event& event, std::vector<Json>& chunks) override {
    const bool last = event.finish != FinishReason::kNone;
    const size_t first = chunks.size();
    Stream& stream = streams_[index];
    for (const chat::AnswerPiece& piece : stream.parser->feed(event.text)) add(job, index, piece, chunks);
    if (last) {
      for (const chat::AnswerPiece& piece : stream.parser->finish()) add(job, index, piece, chunks);
    }
    // A chunk a token, half a character and held text too, as vLLM has it: clients time tokens by their chunks.
    const bool news = !event.token_ids.empty() || !event.logprobs.empty() || last;
    if (news && (chunks.size() == first || last)) {
      Json delta = Json::object();
      if (!last) delta.set("content", "");
      chunks.push_back(chunk(job, index, std::move(delta)));
    }
    if (chunks.size() == first) return;
    Json& begun = choice_of(chunks[first]);
    if (job.request().logprobs) begun.set("logprobs", chat_logprobs(job.request(), context_.tokenizer, event.logprobs));
    if (job.request().return_token_ids) begun.set("token_ids", ids_json(event.token_ids));
    if (!last) return;
    choice_of(chunks.back())
        .set("finish_reason", reading_.finish_reason(finish_reason_name(event.finish), stream.calls > 0))
        .set("stop_reason", stop_reason_json(event.stop_reason));
  }

  Json usage_chunk(const GenerationJob& job) override {
    Json answer = head(job, "chat.completion.chunk");
    answer.set("choices", Json::array()).set("usage", job.usage().json());
    return answer;
  }

 private:
  // What is known of one choice while it is streamed.
  struct Stream {
    std::optional<chat::AnswerParser> parser;
    int64_t calls = 0;
  };

  // Of a call; `id` only where it begins.
  static Json call_json(const std::string* id, const std::string* name, const std::string& arguments) {
    Json call = Json::object(), function = Json::object();
    if (id != nullptr) call.set("id", *id).set("type", "function");
    if (name != nullptr) function.set("name", *name);
    function.set("arguments", arguments);
    call.set("function", std::move(function));
    return call;
  }

  Json message(const GenerationJob& job, const Answer& answer, bool& called) const {
    std::string content = job.request().echo ? job.prompts()[0].text : "", reasoning;
    chat::AnswerParser parser = reading_.parser();
    std::vector<chat::AnswerPiece> pieces = parser.feed(answer.text);
    for (chat::AnswerPiece& piece : parser.finish()) pieces.push_back(std::move(piece));
    std::vector<std::pair<std::string, std::string>> calls;
    for (const chat::AnswerPiece& piece : pieces) {
      switch (piece.kind) {
        case chat::AnswerPiece::Kind::kContent: content += piece.text; break;
        case chat::AnswerPiece::Kind::kReasoning: reasoning += piece.text; break;
        case chat::AnswerPiece::Kind::kCall: calls.emplace_back(piece.text, ""); break;
        case chat::AnswerPiece::Kind::kArguments: calls.back().second += piece.text; break;
      }
    }
    called = !calls.empty();
    Json message = Json::object();
    message.set("role", role_).set("content", content.empty() && (called || !reasoning.empty()) ? Json() : Json(content));
    if (reading_.reasoning && reading_.show_reasoning) message.set("reasoning", reasoning.empty() ? Json() : Json(reasoning));
    if (!called) return message;
    if (!reading_.tools.parallel) calls.resize(1);
    Json list = Json::array();
    for (const auto& [name, arguments] : calls) {
      const std::string id = make_call_id(reading_.format);
      list.push_back(call_json(&id, &name, arguments));
    }
    message.set("tool_calls", std::move(list));
    return message;
  }

  void add(const GenerationJob& job, size_t index, const chat::AnswerPiece& piece, std::vector<Json>& chunks) {
    Json delta = Json::object(), call, calls = Json::array();
    int64_t& count = streams_[index].calls;
    switch (piece.kind) {
      case chat::AnswerPiece::Kind::kContent: delta.set("content", piece.text); break;
      case chat::AnswerPiece::Kind::kReasoning:
        if (!reading_.show_reasoning) return;
        delta.set("reasoning", piece.text);
        break;
      case chat::AnswerPiece::Kind::kCall: {
        ++count;
        const std::string id = make_call_id(reading_.format);
        call = call_json(&id, &piece.text, "");
        break;
      }
      case chat::AnswerPiece::Kind::kArguments: call = call_json(nullptr, nullptr, piece.text); break;
    }
    if (!call.is_null()) {
      if (count > 1 && !reading_.tools.parallel) return;
      Json numbered = Json::object();
      numbered.set("index", count - 1);
      for (JsonMember& member : call.as_object("call")) numbered.set(member.key, std::move(member.value));
      calls.push_back(std::move(numbered));
      delta.set("tool_calls", std::move(calls));
    }
    chunks.push_back(chunk(job, index, std::move(delta)));
  }

  Json head(const GenerationJob& job, const char* object) const {
    Json answer = Json::object();
    answer.set("id", context_.id).set("object", object).set("created", job.created()).set("model", context_.model);
    return answer;
  }
  static Json& choice_of(Json& chunk) { return chunk.find("choices")->as_array("choices")[0]; }
  Json chunk(const GenerationJob& job, size_t index, Json delta) const {
    Json choice = Json::object(), choices = Json::array(), answer = head(job, "chat.completion.chunk");
    choice.set("index", static_cast<int64_t>(index))
        .set("delta", std::move(delta))
        .set("logprobs", Json())
        .set("finish_reason", Json())
        .set("stop_reason", Json());
    choices.push_back(std::move(choice));
    answer.set("choices", std::move(choices));
    if (job.request().usage_always) answer.set("usage", job.usage(0, index).json());
    return answer;
  }

  FormatContext context_;
  std::string role_;
  AnswerReading reading_;
  std::vector<Stream> streams_;  // by choice
};

constexpr int64_t kMostRenderingMs = 2000;

}  // namespace

Json chat_logprobs(const GenerationRequest& request, const Tokenizer* tokenizer,
                   const std::vector<PositionLogprobs>& positions) {
  const auto one = [&](int32_t id, double logprob) {
    const std::string text = token_text(tokenizer, id, request.tokens_as_token_ids);
    Json bytes = Json::array(), entry = Json::object();
    // The token's own, also where they are a part of a character: those of all tokens join to the text.
    const bool spelled = request.tokens_as_token_ids || tokenizer == nullptr;
    for (const char c : spelled ? text : token_bytes(*tokenizer, id))
      bytes.push_back(static_cast<int64_t>(static_cast<unsigned char>(c)));
    entry.set("token", text).set("logprob", logprob).set("bytes", std::move(bytes));
    return entry;
  };
  Json content = Json::array(), result = Json::object();
  for (const PositionLogprobs& position : positions) {
    Json entry = one(position.token, position.logprob), top = Json::array();
    for (const TokenLogprob& each : position.top) top.push_back(one(each.id, each.logprob));
    entry.set("top_logprobs", std::move(top));
    content.push_back(std::move(entry));
  }
  result.set("content", std::move(content));
  return result;
}

std::unique_ptr<AnswerFormat> make_chat_format(FormatContext context, std::string role, AnswerReading reading) {
  return std::make_unique<ChatFormat>(std::move(context), std::move(role), std::move(reading));
}

App::ChatRendering App::read_rendering(Fields& fields) const {
  ChatRendering rendering;
  rendering.continues = fields.boolean("continue_final_message").value_or(false);
  const bool prompt = fields.boolean("add_generation_prompt").value_or(!rendering.continues);
  if (rendering.continues && prompt) invalid("continue_final_message", "cannot be true together with add_generation_prompt");
  rendering.apply.add_generation_prompt = prompt;
  if (rendering.continues) rendering.apply.continue_final_message = "content";
  if (const Json* documents = fields.take("documents", R"({"type": "array", "items": {"type": "object"}})")) {
    for (const Json& each : documents->as_array("documents")) each.as_object("documents");
    rendering.apply.documents = *documents;
  }
  Json& variables = rendering.apply.variables;
  if (options_.default_chat_template_kwargs.is_object()) variables = options_.default_chat_template_kwargs;
  if (const Json* given = fields.take("chat_template_kwargs", R"({"type": "object"})")) {
    for (const JsonMember& member : given->as_object("chat_template_kwargs")) {
      variables.set(member.key, member.value);
    }
  }
  if (const auto effort = fields.choice("reasoning_effort", {"none", "minimal", "low", "medium", "high", "xhigh", "max"})) {
    if (!variables.contains("reasoning_effort")) variables.set("reasoning_effort", *effort);
    // As vLLM: templates that must be told to think are told so.
    if (!variables.contains("enable_thinking")) variables.set("enable_thinking", *effort != "none");
  }
  if (options_.trust_request_chat_template) {
    rendering.source = fields.string("chat_template", 1 << 20).value_or("");
  } else {
    fields.refuse({"chat_template"}, "templates in requests are programs: need a server with --trust-request-chat-template");
  }
  return rendering;
}

std::string App::render_chat(const ChatRendering& rendering, const Json& messages) {
  if (rendering.source.empty() && templates_.empty()) {
    invalid("messages", "this model has no chat template: need a server with --chat-template, or /v1/completions");
  }
  chat::ApplyOptions apply = rendering.apply;
  // A rendering blocks a thread that others' requests wait for.
  apply.render.limits.max_milliseconds = kMostRenderingMs;
  if (!rendering.source.empty()) {
    return chat::apply(*jinja::Template::parse(rendering.source, apply.render.limits), messages, special_tokens_, apply).text;
  }
  const jinja::Template* own = nullptr;
  {
    const std::lock_guard<std::mutex> lock(template_mutex_);
    own = &template_cache_.get(templates_.pick("", !apply.tools.is_null()));  // the model's few templates stay
  }
  return chat::apply(*own, messages, special_tokens_, apply).text;
}

App::ChatBody App::read_chat(Fields& fields) const {
  check_model(fields);
  ChatBody body;
  body.request = parse_generation(fields, Endpoint::kChat, defaults_, options_.limits, *generation_);
  body.messages = fields.take("messages", messages_schema(options_.limits.max_messages));
  fields.require("messages", "a list of messages");
  body.rendering = read_rendering(fields);
  body.tools = take_tools(fields);
  body.rendering.apply.tools = body.tools.tools;
  body.include_reasoning = fields.boolean("include_reasoning").value_or(true);
  body.thinking_token_budget = fields.integer("thinking_token_budget", -1, int64_t{1} << 31);
  take_verbosity(fields);
  body.request.return_prompt_text = fields.boolean("return_prompt_text").value_or(false);
  fields.refuse({"media_io_kwargs", "mm_processor_kwargs", "modalities", "audio", "prediction", "web_search_options"},
                "not supported by this server");
  fields.finish();
  return body;
}

// Marks that are special tokens must reach the parser.
void App::show_marks(AnswerReading& reading, GenerationRequest& request) const {
  if (reading.plain() || !request.skip_special_tokens) return;
  const Tokenizer& tokenizer = tokenizer_for(*generation_, "messages");
  request.skip_special_tokens = reading.skips_special_tokens(tokenizer);
}

AnswerReading App::read_answer(const ChatBody& body, std::string_view prompt, GenerationRequest& request) {
  AnswerReading reading;
  reading.tools = body.tools;
  reading.format = tool_format_;
  reading.show_reasoning = body.include_reasoning;
  if (reasoning_format_ != chat::ReasoningFormat::kNone) {
    reading.reasoning = chat::reasoning_start(reasoning_format_, prompt, body.rendering.continues);
  }
  if (body.tools.choice == ToolChoice::kAuto && tool_format_ == chat::ToolFormat::kNone) {
    invalid("tool_choice",
            "how this model writes calls is not known from its template: need a server with --tool-call-parser, or tool_choice "
            "required, none or a function");
  }
  if (body.tools.forced()) {
    if (request.grammar) invalid("tool_choice", "a forced call does not go with response_format or structured_outputs");
    request.grammar = tool_grammar(body.tools);
    request.grammar->where = "tools";
  }
  if (body.thinking_token_budget && !reading.reasoning) {
    invalid("thinking_token_budget", "needs a server with --reasoning-parser");
  }
  show_marks(reading, request);
  reading.tools.tools = Json();  // the prompt and the grammar have them by now
  // What holds the answer must wait until the model has thought.
  const bool thinks = reading.reasoning && *reading.reasoning != chat::ReasoningStart::kClosed;
  const std::optional<int64_t> budget = body.thinking_token_budget.value_or(-1) < 0 ? std::nullopt : body.thinking_token_budget;
  if (!thinks || (!request.grammar && !budget)) return reading;
  std::unique_ptr<TokenConstraint> answer;
  if (request.grammar) {
    answer = constrain(*request.grammar, request.params);
  } else if (request.constraint) {
    answer = request.constraint->clone();
  }
  request.grammar.reset();
  request.constraint = chat::make_thinking_constraint(generation_->tokenizer(), *reading.reasoning, budget,
                                                      request.params.end_token_ids(), std::move(answer));
  return reading;
}

App::ChatPlan App::plan_chat(ChatBody body) {
  ChatPlan plan;
  plan.request = std::move(body.request);
  GenerationRequest& request = plan.request;
  const Tokenizer& tokenizer = tokenizer_for(*generation_, "messages");
  const Json messages = plain_messages(*body.messages, options_.limits);
  PromptState& prompt = plan.prompt;
  prompt.text = text_limit_.fit(render_chat(body.rendering, messages), "messages", request.truncation);
  if (request.return_prompt_text) request.prompt_text = prompt.text;
  plan.reading = read_answer(body, prompt.text, request);
  // Templates write special tokens themselves.
  prompt.ids = tokenizer.encode_ids(prompt.text, request.add_special_tokens.value_or(false));
  truncate_prompt(prompt.ids, request.truncation);
  if (!request.max_tokens_given) {
    request.params.max_new_tokens = std::min(request.params.max_new_tokens, generation_->engine().max_model_len());
  }
  // What is echoed is what the last message held.
  const Json& last = messages.as_array("messages").back();
  prompt.text = request.echo ? last.get_string("content", "", "messages") : "";
  if (body.rendering.continues) plan.role = last.get_string("role", "assistant", "messages");
  return plan;
}

void App::chat_completions(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json json = Json::parse(http.body, "request");
  Fields fields(json, "request");
  ChatPlan plan = plan_chat(read_chat(fields));
  FormatContext context = format_context("chatcmpl-", plan.request, http);
  std::vector<PromptState> prompts;
  prompts.push_back(std::move(plan.prompt));
  start(std::move(plan.request), std::move(prompts),
        make_chat_format(std::move(context), std::move(plan.role), std::move(plan.reading)), http, response);
}

}  // namespace pagoda::server
