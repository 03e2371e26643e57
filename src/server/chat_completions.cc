// /v1/chat/completions: messages through the model's chat template, answers as OpenAI and vLLM write them.
#include "base/error.h"
#include "server/answer_json.h"
#include "server/app.h"
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
    return answer;
  }

  void begin(const GenerationJob& job, size_t, size_t index, std::vector<Json>& chunks) override {
    Json delta = Json::object();
    delta.set("role", role_).set("content", job.request().echo ? job.prompts()[0].text : "");
    chunks.push_back(chunk(job, index, std::move(delta), Json(), Json(), Json()));
  }

  void delta(const GenerationJob& job, size_t, size_t index, const Event& event, std::vector<Json>& chunks) override {
    const bool last = event.finish != FinishReason::kNone;
    // Half a character is no news.
    if (event.text.empty() && event.logprobs.empty() && !last && !job.request().return_token_ids) return;
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

// Content as templates of text models take it: a list of text parts becomes one string, as vLLM joins them.
Json plain_messages(const Json& messages, const RequestLimits& limits) {
  const Json::Array& list = messages.as_array("messages");
  if (list.empty()) invalid("messages", "empty list");
  if (static_cast<int64_t>(list.size()) > limits.max_messages) {
    invalid("messages", "too many: got {}, need at most {}", list.size(), limits.max_messages);
  }
  Json result = Json::array();
  for (const Json& message : list) {
    message.as_object("messages");
    message.at("role", "messages").as_string("role");
    Json copy = message;
    if (const Json* content = message.find("content"); content != nullptr && content->is_array()) {
      std::string text;
      for (const Json& part : content->as_array("content")) {
        const std::string type = part.at("type", "content").as_string("type");
        if (type != "text" && type != "input_text") {
          invalid("content", "unsupported part: got type '{}', need text (this model reads nothing else)", type.substr(0, 32));
        }
        if (!text.empty()) text += "\n";
        text += part.at("text", "content").as_string("text");
      }
      copy.set("content", text);
    }
    result.push_back(std::move(copy));
  }
  return result;
}

}  // namespace

std::unique_ptr<AnswerFormat> make_chat_format(FormatContext context, std::string role) {
  return std::make_unique<ChatFormat>(std::move(context), std::move(role));
}

std::string App::render_chat(Fields& fields, const Json& messages, bool& continues) {
  chat::ApplyOptions apply;
  continues = fields.boolean("continue_final_message").value_or(false);
  const bool prompt = fields.boolean("add_generation_prompt").value_or(!continues);
  if (continues && prompt) invalid("continue_final_message", "cannot be true together with add_generation_prompt");
  apply.add_generation_prompt = prompt;
  if (continues) apply.continue_final_message = "content";
  if (const Json* documents = fields.take("documents")) apply.documents = *documents;
  if (const Json* variables = fields.take("chat_template_kwargs")) {
    variables->as_object("chat_template_kwargs");
    apply.variables = *variables;
  }
  std::string source = fields.string("chat_template", 1 << 20).value_or("");
  if (source.empty()) source = templates_.pick("", false);
  const std::lock_guard<std::mutex> lock(template_mutex_);
  return chat::apply(template_cache_.get(source), messages, special_tokens_, apply).text;
}

void App::chat_completions(const HttpRequest& http, const std::shared_ptr<HttpResponse>& response) {
  const Json body = Json::parse(http.body, "request");
  Fields fields(body, "request");
  check_model(fields);
  GenerationRequest request = parse_generation(fields, Endpoint::kChat, defaults_, options_.limits, *generation_);
  const Json* given = fields.take("messages");
  if (given == nullptr) invalid("messages", "missing: need a list of messages");
  const Json messages = plain_messages(*given, options_.limits);
  bool continues = false;
  PromptState prompt;
  prompt.text = render_chat(fields, messages, continues);
  fields.refuse({"tools", "functions", "function_call"}, "tool calling is not supported by this server yet");
  if (const auto choice = fields.take("tool_choice");
      choice != nullptr && !(choice->is_string() && choice->as_string("") == "none")) {
    invalid("tool_choice", "tool calling is not supported by this server yet");
  }
  fields.ignore({"parallel_tool_calls", "include_reasoning"});
  fields.refuse({"reasoning_effort", "media_io_kwargs", "mm_processor_kwargs", "return_prompt_text", "modalities", "audio",
                 "prediction", "web_search_options", "verbosity"},
                "not supported by this server");
  fields.finish();
  // Templates write special tokens themselves.
  prompt.ids = generation_->require_tokenizer().encode_ids(prompt.text, request.add_special_tokens.value_or(false));
  truncate_prompt(prompt.ids, request);
  if (!request.max_tokens_given) request.params.max_new_tokens = generation_->engine().max_model_len();
  // What is echoed is what the last message held.
  prompt.text = request.echo ? messages.as_array("messages").back().get_string("content", "", "messages") : "";
  std::string role = "assistant";
  if (continues) role = messages.as_array("messages").back().get_string("role", "assistant", "messages");
  FormatContext context = format_context("chatcmpl-", request, http);
  std::vector<PromptState> prompts;
  prompts.push_back(std::move(prompt));
  start(std::move(request), std::move(prompts), make_chat_format(std::move(context), std::move(role)), response);
}

}  // namespace pagoda::server
