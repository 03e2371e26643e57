// Conversations: the template's prompt, streams, tools, thoughts, and messages that come back.
#include <gtest/gtest.h>
#include <pagoda/pagoda.h>

#include "tests/api/expect_error.h"
#include "tests/api/models.h"

namespace pagoda {
namespace {

using testing::expect_error;

constexpr const char* kTools = R"([{"type": "function", "function": {"name": "look", "parameters":
    {"type": "object", "properties": {"at": {"enum": ["moon", "sun"]}}, "required": ["at"], "additionalProperties": false}}}])";

const LanguageModel& stories() {
  static const LanguageModel kModel = LanguageModel::open(testing::kStories, {.threads = 1}, {.kv_cache_memory = 64 << 20});
  return kModel;
}
LanguageModel words(EngineOptions engine = {}) {
  engine.kv_cache_memory = 16 << 20;
  return LanguageModel::open(testing::word_model(), {.threads = 1}, engine);
}

const std::vector<Message> kAsked = {{.role = "user", .content = "tell me a story about a cat."}};

TEST(Chat, GoesThroughTheModelsTemplate) {
  const std::string prompt = "<|user|>tell me a story about a cat.<|end|><|assistant|>";
  EXPECT_EQ(stories().apply_chat_template(kAsked), prompt);
  const SamplingParams sampling{.max_new_tokens = 30, .temperature = 0.7, .seed = 1};
  const ChatOutput output = stories().chat(kAsked, {.sampling = sampling});
  EXPECT_EQ(output.message.content, stories().generate(stories().tokenizer().encode(prompt, false), sampling).text());
  EXPECT_EQ(output.message.role, "assistant");
  EXPECT_EQ(output.usage.completion_tokens, static_cast<int64_t>(output.token_ids.size()));
  EXPECT_EQ(output.usage.prompt_tokens, static_cast<int64_t>(stories().tokenizer().encode(prompt, false).size()));
  // The answer goes into the next turn as it is.
  std::vector<Message> conversation = kAsked;
  conversation.push_back(output.message);
  conversation.push_back({.role = "user", .content = "who is it about?"});
  EXPECT_EQ(stories().apply_chat_template(conversation), "<|user|>tell me a story about a cat.<|end|><|assistant|>" +
                                                             output.message.content +
                                                             "<|end|><|user|>who is it about?<|end|><|assistant|>");
}

TEST(Chat, StreamsAndIsCancelled) {
  std::string streamed;
  int chunks = 0;
  const ChatOptions options{.sampling = {.max_new_tokens = 30, .temperature = 0, .logprobs = 0}};
  const ChatOutput output = stories().chat(kAsked, options, [&](const ChatChunk& chunk) {
    EXPECT_TRUE(chunk.reasoning.empty());
    streamed += chunk.content;
    ++chunks;
    return true;
  });
  EXPECT_EQ(streamed, output.message.content);
  EXPECT_EQ(output.logprobs.size(), output.token_ids.size());
  EXPECT_GT(chunks, 5);
  const ChatOutput cut = stories().chat(kAsked, options, [](const ChatChunk&) { return false; });
  EXPECT_EQ(cut.finish_reason, FinishReason::kAbort);
  EXPECT_EQ(cut.token_ids.size(), 1U);
}

TEST(Chat, GoesOnToTheEndOfTheContextWhereNobodySays) {
  const LanguageModel model = words({.max_model_len = 100});
  const ChatOutput output = model.chat({{.role = "user", .content = "w7"}}, {.sampling = {.ignore_eos = true}});
  EXPECT_EQ(output.usage.prompt_tokens + output.usage.completion_tokens, model.max_model_len());
  EXPECT_EQ(output.finish_reason, FinishReason::kLength);
}

TEST(Chat, ContinuesTheLastMessage) {
  const LanguageModel model = words();
  const std::vector<Message> begun = {{.role = "user", .content = "w7"}, {.role = "assistant", .content = "w8 w9"}};
  const ChatOptions options{.sampling = {.max_new_tokens = 3, .temperature = 0}, .continue_final_message = true};
  EXPECT_EQ(model.apply_chat_template(begun, options), "<s> user w7 assistant w8 w9");
  EXPECT_EQ(model.chat(begun, options).message.role, "assistant");
}

TEST(Chat, TakesAnotherTemplateAndItsVariables) {
  const LanguageModel model = words({.chat_template = "{{ mood }} {{ messages[0].content }}"});
  EXPECT_EQ(model.apply_chat_template({{.role = "user", .content = "w7"}}, {.chat_template_kwargs = R"({"mood": "w9"})"}),
            "w9 w7");
}

TEST(Chat, ShowsTemplatesCallsAndTheirAnswers) {
  const LanguageModel model = words(
      {.chat_template = "{% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.id }}="
                        "{{ c.function.name }}({{ c.function.arguments.at }}){% endfor %}{{ m.tool_call_id }}{{ m.name }};"
                        "{% endfor %}{{ tools | length }}",
       .tool_call_parser = "hermes"});
  const std::vector<Message> messages = {
      {.role = "user", .content = "w7"},
      {.role = "assistant", .tool_calls = {{.id = "c1", .name = "look", .arguments = R"({"at": "moon"})"}}},
      {.role = "tool", .content = "w8", .tool_call_id = "c1", .name = "look"}};
  EXPECT_EQ(model.apply_chat_template(messages, {.tools = kTools}), "user:w7;assistant:c1=look(moon);tool:w8c1look;1");
}

// Calls that the grammar forces: the model of stories knows nothing of tools.
TEST(Chat, CallsTools) {
  const SamplingParams sampling{.max_new_tokens = 120, .temperature = 0};
  const ChatOutput named = stories().chat(kAsked, {.sampling = sampling, .tools = kTools, .tool_choice = "look"});
  ASSERT_EQ(named.message.tool_calls.size(), 1U);
  EXPECT_EQ(named.message.tool_calls[0].name, "look");
  EXPECT_TRUE(testing::is_json_object(named.message.tool_calls[0].arguments)) << named.message.tool_calls[0].arguments;
  EXPECT_EQ(named.message.tool_calls[0].id.find("call_"), 0U);
  EXPECT_EQ(named.finish_reason, FinishReason::kStop);  // as OpenAI has it where the tool was named
  const ChatOutput required = stories().chat(kAsked, {.sampling = sampling, .tools = kTools, .tool_choice = "required"});
  ASSERT_FALSE(required.message.tool_calls.empty());
  EXPECT_EQ(required.message.tool_calls[0].name, "look");
  // none: the template shows them, nothing is looked for.
  EXPECT_TRUE(
      stories().chat(kAsked, {.sampling = sampling, .tools = kTools, .tool_choice = "none"}).message.tool_calls.empty());
}

TEST(Chat, FindsCallsInTheAnswer) {
  const LanguageModel model =
      LanguageModel::open(testing::kStories, {.threads = 1}, {.kv_cache_memory = 64 << 20, .tool_call_parser = "hermes"});
  const std::string call = R"(<tool_call>{"name": "look", "arguments": {"at": "sun"}}</tool_call>)";
  std::string streamed;
  const ChatOutput output = model.chat(
      kAsked, {.sampling = {.max_new_tokens = 200, .structured_outputs = StructuredOutputs{.choice = {call}}}, .tools = kTools},
      [&](const ChatChunk& chunk) {
        streamed += chunk.content;
        return true;
      });
  ASSERT_EQ(output.message.tool_calls.size(), 1U);
  EXPECT_EQ(output.message.tool_calls[0].arguments, R"({"at": "sun"})");
  EXPECT_EQ(output.finish_reason, FinishReason::kToolCalls);
  EXPECT_EQ(output.message.content, "");
  EXPECT_EQ(streamed, "");
}

TEST(Chat, TellsThoughtsApart) {
  const LanguageModel model =
      LanguageModel::open(testing::kStories, {.threads = 1}, {.kv_cache_memory = 64 << 20, .reasoning_parser = "qwen3"});
  // Forced into the answer by a beginning that the model goes on with.
  const std::vector<Message> begun = {kAsked[0], {.role = "assistant", .content = "<think>"}};
  std::string thought;
  const ChatOutput output =
      model.chat(begun, {.sampling = {.max_new_tokens = 12, .temperature = 0}, .continue_final_message = true},
                 [&](const ChatChunk& chunk) {
                   thought += chunk.reasoning;
                   return true;
                 });
  EXPECT_FALSE(output.message.reasoning.empty());
  EXPECT_EQ(output.message.content, "");
  EXPECT_EQ(thought, output.message.reasoning);
}

TEST(Chat, RefusesWhatIsNone) {
  const auto refused = [](const std::vector<Message>& messages, const ChatOptions& options, const std::string& part) {
    expect_error(ErrorKind::kInvalidInput, part, [&] { stories().chat(messages, options); });
  };
  refused({}, {}, "messages");
  refused({{.content = "hello"}}, {}, "role");
  refused({{.role = "user", .content = "\xff"}}, {}, "UTF-8");
  refused({{.role = "assistant", .tool_calls = {{.name = "f", .arguments = "{"}}}}, {}, "arguments");
  refused({{.role = "assistant", .tool_calls = {{.name = "f", .arguments = "[]"}}}}, {}, "arguments");
  refused(kAsked, {.tools = "{"}, "tools");
  refused(kAsked, {.tools = "[{}]"}, "tools");
  refused(kAsked, {.tools = kTools}, "tool_choice");  // how this model writes calls is not known
  refused(kAsked, {.tools = kTools, .tool_choice = "listen"}, "listen");
  refused(kAsked, {.tool_choice = "required"}, "needs tools");
  refused(kAsked, {.chat_template_kwargs = "[]"}, "chat_template_kwargs");
  refused(kAsked, {.sampling = {.num_return_sequences = 2}}, "num_return_sequences");
  refused(kAsked, {.sampling = {.prompt_logprobs = 1}}, "prompt_logprobs");
  refused(kAsked, {.sampling = {.structured_outputs = StructuredOutputs{.regex = "a"}}, .tools = kTools, .tool_choice = "look"},
          "structured_outputs");
  // A template's own words come as it raised them.
  try {
    words().chat({{.role = "user", .content = "w90"}});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput);
    EXPECT_EQ(error.message(), "no w90 here");
  }
}

}  // namespace
}  // namespace pagoda
