// Conversations: messages through the model's template, and the answer read as content, thoughts and calls.
#include <utility>

#include "api/errors.h"
#include "api/model_impl.h"
#include "api/sampling.h"
#include "base/error.h"
#include "base/utf8.h"

namespace pagoda::api {

namespace {

Json utf8(const std::string& text) {
  const size_t bad = utf8_invalid_at(text);
  if (bad != std::string::npos) invalid("messages", "not UTF-8: byte {} cannot be read", bad);
  return text;
}

Json call_json(const ToolCall& call) {
  Json function = Json::object(), json = Json::object();
  Json arguments = Json::parse(call.arguments.empty() ? "{}" : call.arguments, "messages: tool_calls: arguments");
  arguments.as_object("messages: tool_calls: arguments");
  function.set("name", utf8(call.name)).set("arguments", std::move(arguments));
  json.set("id", utf8(call.id)).set("type", "function").set("function", std::move(function));
  return json;
}

Json message_json(const Message& message) {
  if (message.role.empty()) invalid("messages", "role: missing");
  Json json = Json::object();
  json.set("role", utf8(message.role)).set("content", utf8(message.content));
  for (const auto& [key, value] : {std::pair<const char*, const std::string&>{"reasoning", message.reasoning},
                                   {"tool_call_id", message.tool_call_id},
                                   {"name", message.name}}) {
    if (!value.empty()) json.set(key, utf8(value));
  }
  if (message.tool_calls.empty()) return json;
  Json calls = Json::array();
  for (const ToolCall& call : message.tool_calls) calls.push_back(call_json(call));
  json.set("tool_calls", std::move(calls));
  return json;
}

ToolUse tool_use(const ChatOptions& options) {
  ToolUse use;
  if (!options.tools.empty()) use = read_tools(Json::parse(options.tools, "tools"));
  const std::string& choice = options.tool_choice;
  if (choice == "none" || choice == "auto" || choice == "required") {
    read_tool_choice(choice, use);
  } else {
    Json function = Json::object(), named = Json::object();
    function.set("name", choice);
    named.set("function", std::move(function));
    read_tool_choice(named, use);
  }
  return use;
}

// Puts pieces where they belong: what is shown as it comes, and the message that grows.
void take(const std::vector<chat::AnswerPiece>& pieces, chat::ToolFormat format, Message& message, ChatChunk& chunk) {
  for (const chat::AnswerPiece& piece : pieces) {
    switch (piece.kind) {
      case chat::AnswerPiece::Kind::kContent: chunk.content += piece.text; break;
      case chat::AnswerPiece::Kind::kReasoning: chunk.reasoning += piece.text; break;
      case chat::AnswerPiece::Kind::kCall: message.tool_calls.push_back({make_call_id(format), piece.text, ""}); break;
      case chat::AnswerPiece::Kind::kArguments: message.tool_calls.back().arguments += piece.text; break;
    }
  }
  message.content += chunk.content;
  message.reasoning += chunk.reasoning;
}

}  // namespace

LanguageModel::Impl::Chats::Chats(const EngineOptions& options)
    : reasoning_format(options.reasoning_parser.empty() ? chat::ReasoningFormat::kNone
                                                        : chat::reasoning_format(options.reasoning_parser)),
      tool_format(options.tool_call_parser.empty() ? chat::ToolFormat::kNone : chat::tool_format(options.tool_call_parser)) {}

void LanguageModel::Impl::Chats::load(const std::string& tokenizer_path, const std::string& own_template) {
  templates = load_chat_templates(tokenizer_path);
  special_tokens = templates.special_tokens();
  if (!own_template.empty()) templates = chat::TemplateSet::from_text(own_template);
  if (tool_format == chat::ToolFormat::kNone && !templates.empty()) {
    tool_format = chat::detect_tool_format(templates.pick("", true));
  }
}

std::string LanguageModel::Impl::Chats::render(const std::vector<Message>& messages, const ChatOptions& options,
                                               const ToolUse& tools) {
  if (templates.empty()) not_found("chat", "this model has no chat template: need EngineOptions::chat_template, or generate()");
  if (messages.empty()) invalid("messages", "empty list");
  Json list = Json::array();
  for (const Message& message : messages) list.push_back(message_json(message));
  chat::ApplyOptions apply;
  apply.tools = tools.tools;
  apply.add_generation_prompt = !options.continue_final_message;
  if (options.continue_final_message) apply.continue_final_message = "content";
  if (!options.chat_template_kwargs.empty()) {
    apply.variables = Json::parse(options.chat_template_kwargs, "chat_template_kwargs");
    apply.variables.as_object("chat_template_kwargs");
  }
  const jinja::Template* own = nullptr;
  {
    const std::lock_guard<std::mutex> lock(cache_mutex);
    own = &cache.get(templates.pick("", apply.tools.is_array()));  // the model's few templates stay
  }
  return chat::apply(*own, list, special_tokens, apply).text;
}

AnswerReading LanguageModel::Impl::reading(const ChatOptions& options, ToolUse tools, const std::string& prompt,
                                           Request& request) {
  AnswerReading reading;
  reading.format = chats.tool_format;
  reading.tools = std::move(tools);
  if (reading.tools.choice == ToolChoice::kAuto && reading.format == chat::ToolFormat::kNone) {
    invalid("tool_choice",
            "how this model writes calls is not known from its template: need EngineOptions::tool_call_parser, or tool_choice "
            "required, none or a tool");
  }
  if (chats.reasoning_format != chat::ReasoningFormat::kNone) {
    reading.reasoning = chat::reasoning_start(chats.reasoning_format, prompt, options.continue_final_message);
  }
  if (!reading.plain() && request.skip_special_tokens) {
    request.skip_special_tokens = reading.skips_special_tokens(generation->require_tokenizer());
  }
  std::optional<GrammarSource> form;
  if (options.sampling.structured_outputs) form = grammar_source(*options.sampling.structured_outputs);
  if (reading.tools.forced()) {
    if (form) invalid("tool_choice", "a forced call does not go with structured_outputs");
    form = tool_grammar(reading.tools);
  }
  if (!form) return reading;
  request.constraint = constraint(*form, request.params);
  // What holds the answer must wait until the model has thought.
  if (reading.reasoning && *reading.reasoning != chat::ReasoningStart::kClosed) {
    request.constraint = chat::make_thinking_constraint(generation->tokenizer(), *reading.reasoning, std::nullopt,
                                                        request.params.end_token_ids(), std::move(request.constraint));
  }
  return reading;
}

ChatOutput LanguageModel::Impl::chat(const std::vector<Message>& messages, const ChatOptions& options,
                                     const std::function<bool(const ChatChunk&)>& on_chunk) {
  ChatOutput output;
  std::optional<AnswerReading> reading;
  std::optional<chat::AnswerParser> parser;
  std::vector<Request> requests;
  translated([&] {
    if (options.sampling.prompt_logprobs) invalid("prompt_logprobs", "not of chats: need generate()");
    pagoda::SamplingParams sampling = sampling_params(options.sampling, generation->defaults());
    if (sampling.num_return_sequences != 1) {
      invalid("num_return_sequences", "of a chat: got {}, need 1", sampling.num_return_sequences);
    }
    const Json* length = generation->loaded().folder().generation_config().find("max_new_tokens");
    const bool length_said = options.sampling.max_new_tokens || (length != nullptr && !length->is_null());
    if (!length_said) sampling.max_new_tokens = generation->engine().max_model_len();
    ToolUse tools = tool_use(options);
    const std::string prompt = chats.render(messages, options, tools);
    Request& added = requests.emplace_back(request(options.sampling, std::move(sampling)));
    reading = this->reading(options, std::move(tools), prompt, added);
    parser.emplace(reading->parser());
    added.prompt_ids = generation->require_tokenizer().encode_ids(prompt, false);  // templates write special tokens themselves
    engine->check(added);
    output.usage.prompt_tokens = static_cast<int64_t>(added.prompt_ids.size());
    output.message.role = options.continue_final_message ? messages.back().role : "assistant";
    output.finish_reason = FinishReason::kAbort;
  });
  std::string reason;
  run(std::move(requests), [&](size_t, Event& event) {
    ChatChunk chunk;
    translated([&] {
      const bool last = event.finish != pagoda::FinishReason::kNone;
      take(parser->feed(event.text), reading->format, output.message, chunk);
      if (last) {
        ChatChunk rest;
        take(parser->finish(), reading->format, output.message, rest);
        chunk.content += rest.content;
        chunk.reasoning += rest.reasoning;
        reason = finish_reason_name(event.finish);
        output.finish_reason = finish_reason(event.finish);
      }
      append_logprobs(event.logprobs, output.logprobs);
      output.token_ids.insert(output.token_ids.end(), event.token_ids.begin(), event.token_ids.end());
      output.usage.cached_tokens = event.num_cached_tokens;
      output.usage.completion_tokens += static_cast<int64_t>(event.token_ids.size());
    });
    return !on_chunk || on_chunk(chunk);
  });
  if (output.finish_reason == FinishReason::kAbort) {
    translated([&] {
      ChatChunk rest;
      take(parser->finish(), reading->format, output.message, rest);
    });
  }
  if (reading->finish_reason(reason, !output.message.tool_calls.empty()) == "tool_calls") {
    output.finish_reason = FinishReason::kToolCalls;
  }
  return output;
}

ChatOutput LanguageModel::chat(const std::vector<Message>& messages, const ChatOptions& options,
                               const std::function<bool(const ChatChunk&)>& on_chunk) const {
  return impl_->chat(messages, options, on_chunk);
}

std::string LanguageModel::apply_chat_template(const std::vector<Message>& messages, const ChatOptions& options) const {
  return translated([&] { return impl_->chats.render(messages, options, tool_use(options)); });
}

}  // namespace pagoda::api
