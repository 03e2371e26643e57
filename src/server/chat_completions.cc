// /v1/chat/completions: messages through the model's chat template, answers as OpenAI and vLLM write them.
#include "base/error.h"
#include "server/answer_json.h"
#include "server/app.h"
#include "server/chat_messages.h"
#include "server/generation_job.h"

namespace pagoda::server {

namespace {

class ChatFormat : public AnswerFormat {
 public:
  ChatFormat(FormatContext context, std::string role) : context_(std::move(context)), role_(std::move(role)) {}

  Json whole(const GenerationJob& job, const std::vector<std::vector<size_t>>& order) override {
    const PromptState& prompt = job.prompts()[0];
    Json choices = Json::array();
    for (size_t i = 0; i < order[0].size(); ++i) {
      const Answer& answer = prompt.answers[order[0][i]];
      Json message = Json::object(), choice = Json::object();
      message.set("role", role_).set("content", (job.request().echo ? prompt.text : "") + answer.text);
      choice.set("index", static_cast<int64_t>(i))
          .set("message", std::move(message))
          .set("logprobs", logprobs(job, answer.logprobs))
          .set("finish_reason", answer.finish_reason)
          .set("stop_reason", stop_reason_json(answer.stop_reason));
      if (job.request().return_token_ids) choice.set("token_ids", ids_json(answer.token_ids));
      choices.push_back(std::move(choice));
    }
    Json answer = head(job, "chat.completion");
    answer.set("choices", std::move(choices)).set("usage", job.usage().json());
    if (job.request().prompt_logprobs) {
      answer.set("prompt_logprobs", prompt_logprobs_json(prompt.logprobs, context_.tokenizer));
    }
    if (job.request().return_token_ids) answer.set("prompt_token_ids", ids_json(prompt.ids));
    if (job.request().return_prompt_text) answer.set("prompt_text", job.request().prompt_text);
    return answer;
  }

  void begin(const GenerationJob& job, size_t, size_t index, std::vector<Json>& chunks) override {
    Json delta = Json::object();
    delta.set("role", role_).set("content", job.request().echo ? job.prompts()[0].text : "");
    Json first = chunk(job, index, std::move(delta), Json(), Json(), Json());
    if (job.request().return_prompt_text) first.set("prompt_text", job.request().prompt_text);
    chunks.push_back(std::move(first));
  }

  void delta(const GenerationJob& job, size_t, size_t index, const Event& event, std::vector<Json>& chunks) override {
    const bool last = event.finish != FinishReason::kNone;
    // A chunk a token, half a character too, as vLLM has it: clients time tokens by their chunks.
    if (event.text.empty() && event.token_ids.empty() && !last) return;
    Json delta = Json::object();
    if (!event.text.empty() || !last) delta.set("content", event.text);
    Json one = chunk(job, index, std::move(delta), logprobs(job, event.logprobs),
                     last ? Json(finish_reason_name(event.finish)) : Json(), stop_reason_json(event.stop_reason));
    if (job.request().return_token_ids) {
      one.find("choices")->as_array("choices")[0].set("token_ids", ids_json(event.token_ids));
    }
    chunks.push_back(std::move(one));
  }

  Json usage_chunk(const GenerationJob& job) override {
    Json answer = head(job, "chat.completion.chunk");
    answer.set("choices", Json::array()).set("usage", job.usage().json());
    return answer;
  }

 private:
  Json head(const GenerationJob& job, const char* object) const {
    Json answer = Json::object();
    answer.set("id", context_.id).set("object", object).set("created", job.created()).set("model", context_.model);
    return answer;
  }
  Json chunk(const GenerationJob& job, size_t index, Json delta, Json logprobs, Json finish, Json stop) const {
    Json choice = Json::object(), choices = Json::array(), answer = head(job, "chat.completion.chunk");
    choice.set("index", static_cast<int64_t>(index))
        .set("delta", std::move(delta))
        .set("logprobs", std::move(logprobs))
        .set("finish_reason", std::move(finish))
        .set("stop_reason", std::move(stop));
    choices.push_back(std::move(choice));
    answer.set("choices", std::move(choices));
    if (job.request().usage_always) answer.set("usage", job.usage().json());
    return answer;
  }
  Json logprobs(const GenerationJob& job, const std::vector<PositionLogprobs>& positions) const {
    if (!job.request().logprobs) return Json();
    const bool as_ids = job.request().tokens_as_token_ids;
    const auto one = [&](int32_t id, double logprob) {
      const std::string text = token_text(context_.tokenizer, id, as_ids);
      Json bytes = Json::array(), entry = Json::object();
      for (const char c : text) bytes.push_back(static_cast<int64_t>(static_cast<unsigned char>(c)));
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

  FormatContext context_;
  std::string role_;
};

constexpr int64_t kMostRenderingMs = 2000;

}  // namespace

std::unique_ptr<AnswerFormat> make_chat_format(FormatContext context, std::string role) {
  return std::make_unique<ChatFormat>(std::move(context), std::move(role));
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
  if (const Json* variables = fields.take("chat_template_kwargs", R"({"type": "object"})")) {
    variables->as_object("chat_template_kwargs");
    rendering.apply.variables = *variables;
  }
  if (options_.trust_request_chat_template) {
    rendering.source = fields.string("chat_template", 1 << 20).value_or("");
  } else {
    fields.refuse({"chat_template"}, "templates in requests are programs: need a server with --trust-request-chat-template");
  }
  return rendering;
}

std::string App::render_chat(const ChatRendering& rendering, const Json& messages) {
  chat::ApplyOptions apply = rendering.apply;
  // A rendering blocks a thread that others' requests wait for.
  apply.render.limits.max_milliseconds = kMostRenderingMs;
  if (!rendering.source.empty()) {
    return chat::apply(*jinja::Template::parse(rendering.source, apply.render.limits), messages, special_tokens_, apply).text;
  }
  const jinja::Template* own = nullptr;
  {
    const std::lock_guard<std::mutex> lock(template_mutex_);
    own = &template_cache_.get(templates_.pick("", false));  // the model's few templates stay
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
  fields.refuse({"tools", "functions", "function_call"}, "tool calling is not supported by this server yet");
  if (const auto choice = fields.take("tool_choice", R"({"const": "none"})");
      choice != nullptr && !(choice->is_string() && choice->as_string("") == "none")) {
    invalid("tool_choice", "tool calling is not supported by this server yet");
  }
  body.request.return_prompt_text = fields.boolean("return_prompt_text").value_or(false);
  fields.ignore({"parallel_tool_calls", "include_reasoning"});
  fields.refuse({"reasoning_effort", "media_io_kwargs", "mm_processor_kwargs", "modalities", "audio", "prediction",
                 "web_search_options", "verbosity"},
                "not supported by this server");
  fields.finish();
  return body;
}

void App::chat_completions(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json json = Json::parse(http.body, "request");
  Fields fields(json, "request");
  ChatBody body = read_chat(fields);
  GenerationRequest& request = body.request;
  const Json messages = plain_messages(*body.messages, options_.limits);
  PromptState prompt;
  prompt.text = render_chat(body.rendering, messages);
  if (request.return_prompt_text) request.prompt_text = prompt.text;
  // Templates write special tokens themselves.
  prompt.ids = generation_->require_tokenizer().encode_ids(prompt.text, request.add_special_tokens.value_or(false));
  truncate_prompt(prompt.ids, request.truncation);
  if (!request.max_tokens_given) request.params.max_new_tokens = generation_->engine().max_model_len();
  // What is echoed is what the last message held.
  prompt.text = request.echo ? messages.as_array("messages").back().get_string("content", "", "messages") : "";
  std::string role = "assistant";
  if (body.rendering.continues) role = messages.as_array("messages").back().get_string("role", "assistant", "messages");
  FormatContext context = format_context("chatcmpl-", request, http);
  std::vector<PromptState> prompts;
  prompts.push_back(std::move(prompt));
  start(std::move(request), std::move(prompts), make_chat_format(std::move(context), std::move(role)), response);
}

}  // namespace pagoda::server
