// Bodies of chats read, checked and rendered.
#include "server/chat_plan.h"

#include <algorithm>

#include "base/error.h"
#include "server/chat_messages.h"
#include "server/chat_request.h"
#include "server/served_generator.h"

namespace pagoda::server {

namespace {

// Marks that are special tokens must reach the parser.
void show_marks(const ModelTexts& texts, const AnswerReading& reading, GenerationRequest& request) {
  if (reading.plain() || !request.skip_special_tokens) return;
  request.skip_special_tokens = reading.skips_special_tokens(texts.require_tokenizer("messages"));
}

// What holds the answer must wait until the model has thought.
void let_think(ServedGenerator& served, chat::ReasoningStart start, const std::optional<int64_t>& budget,
               GenerationRequest& request) {
  std::unique_ptr<TokenConstraint> answer;
  if (request.grammar) {
    answer = served.constraints().make(*request.grammar, request.params);
  } else if (request.constraint) {
    answer = request.constraint->clone();
  }
  request.grammar.reset();
  request.constraint = chat::make_thinking_constraint(served.generation().tokenizer(), start, budget,
                                                      request.params.end_token_ids(), std::move(answer));
}

AnswerReading read_answer(ServedGenerator& served, const ChatBody& body, std::string_view prompt, GenerationRequest& request) {
  AnswerReading reading;
  reading.tools = body.tools;
  reading.format = served.tool_format();
  reading.show_reasoning = body.include_reasoning;
  if (served.reasoning_format() != chat::ReasoningFormat::kNone) {
    reading.reasoning = chat::reasoning_start(served.reasoning_format(), prompt, body.rendering.continues);
  }
  if (body.tools.choice == ToolChoice::kAuto && served.tool_format() == chat::ToolFormat::kNone) {
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
  show_marks(served.texts(), reading, request);
  reading.tools.tools = Json();  // the prompt and the grammar have them by now
  const bool thinks = reading.reasoning && *reading.reasoning != chat::ReasoningStart::kClosed;
  const std::optional<int64_t> budget = body.thinking_token_budget.value_or(-1) < 0 ? std::nullopt : body.thinking_token_budget;
  if (thinks && (request.grammar || budget)) let_think(served, *reading.reasoning, budget, request);
  return reading;
}

}  // namespace

ChatBody read_chat(const ServedGenerator& served, Fields& fields) {
  const RequestLimits& limits = served.serving().limits();
  served.serving().check_model(fields);
  ChatBody body;
  body.request = parse_generation(fields, Endpoint::kChat, served.defaults(), limits, served.generation());
  body.messages = fields.take("messages", messages_schema(limits.max_messages));
  fields.require("messages", "a list of messages");
  body.rendering = served.texts().chats().read(fields);
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

ChatPlan plan_chat(ServedGenerator& served, ChatBody body) {
  ModelTexts& texts = served.texts();
  ChatPlan plan;
  plan.request = std::move(body.request);
  GenerationRequest& request = plan.request;
  const Tokenizer& tokenizer = texts.require_tokenizer("messages");
  const Json messages = plain_messages(*body.messages, served.serving().limits());
  PromptState& prompt = plan.prompt;
  prompt.text = texts.limit().fit(texts.chats().render(body.rendering, messages), "messages", request.truncation);
  if (request.return_prompt_text) request.prompt_text = prompt.text;
  plan.reading = read_answer(served, body, prompt.text, request);
  // Templates write special tokens themselves.
  prompt.ids = tokenizer.encode_ids(prompt.text, request.add_special_tokens.value_or(false));
  truncate_prompt(prompt.ids, request.truncation);
  if (!request.max_tokens_given) {
    request.params.max_new_tokens = std::min(request.params.max_new_tokens, texts.max_model_len());
  }
  // What is echoed is what the last message held.
  const Json& last = messages.as_array("messages").back();
  prompt.text = request.echo ? last.get_string("content", "", "messages") : "";
  if (body.rendering.continues) plan.role = last.get_string("role", "assistant", "messages");
  return plan;
}

void start_chat(ServedGenerator& served, ChatPlan plan, std::unique_ptr<AnswerFormat> format, const Call& call) {
  std::vector<PromptState> prompts;
  prompts.push_back(std::move(plan.prompt));
  served.start(std::move(plan.request), std::move(prompts), std::move(format), call);
}

}  // namespace pagoda::server
