// Tool calls and thoughts in chats: forced by schemas, found in text, streamed, and what goes into the prompt.
#include "server/chat_request.h"
#include "tests/char_model.h"
#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

const char* const kTools = R"("tools": [
  {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"enum": [1, 22]}},
    "required": ["x"], "additionalProperties": false}}},
  {"type": "function", "function": {"name": "gg", "strict": true, "parameters": {"$defs": {"d": {"enum": ["a", "b"]}}, "type": "object",
    "properties": {"y": {"$ref": "#/$defs/d"}}, "required": ["y"], "additionalProperties": false}}}])";

class ToolsTest : public AppTest {
 protected:
  static void SetUpTestSuite() {
    folder_ = ::testing::TempDir() + "pagoda_tools_model_" + std::to_string(::getpid());
    pagoda::testing::make_char_model(folder_);
    LoadOptions options;
    options.runtime.threads = 1;
    generation_ = TextGeneration::open(folder_, options).release();
  }
  static Options plain() {
    Options options = AppTest::plain();
    options.plain_defaults = true;
    options.trust_request_chat_template = true;
    return options;
  }
  void SetUp() override { make(plain()); }
  static std::string body(const std::string& fields, bool stream = false) {
    return R"({"messages": [{"role": "user", "content": "q"}], "max_tokens": 200, "seed": 1, )" + fields +
           (stream ? R"(, "stream": true})" : "}");
  }
  Json ask(const std::string& fields) {
    const auto told = post("/v1/chat/completions", body(fields));
    EXPECT_EQ(told->status, 200) << told->body;
    return choice(told->json());
  }
  // The choice that the pieces of a stream make.
  Json ask_stream(const std::string& fields) {
    const auto told = post("/v1/chat/completions", body(fields, true));
    EXPECT_EQ(told->status, 200) << told->body;
    std::string content, reasoning;
    Json calls = Json::array(), finish;
    for (const Json& chunk : told->chunks()) {
      if (chunk.at("choices", "c").size() == 0) continue;
      const Json& delta = choice(chunk).at("delta", "c");
      content += delta.get_string("content", "", "d");
      reasoning += delta.get_string("reasoning", "", "d");
      if (const Json* list = delta.find("tool_calls")) {
        for (const Json& piece : list->as_array("d")) {
          const auto index = static_cast<size_t>(piece.at("index", "p").as_int("p"));
          const Json& function = piece.at("function", "p");
          if (piece.contains("id")) {
            EXPECT_EQ(index, calls.size());
            EXPECT_EQ(piece.at("type", "p"), Json("function"));
            Json call = Json::object();
            call.set("id", piece.at("id", "p")).set("type", "function").set("function", function);
            calls.push_back(std::move(call));
          } else {
            EXPECT_EQ(index + 1, calls.size());
            EXPECT_FALSE(function.contains("name"));
            Json* whole = calls.as_array("c").at(index).find("function");
            whole->set("arguments", whole->get_string("arguments", "", "f") + function.get_string("arguments", "", "f"));
          }
        }
      }
      if (const Json& reason = choice(chunk).at("finish_reason", "c"); !reason.is_null()) finish = reason;
    }
    Json message = Json::object(), result = Json::object();
    message.set("content", content.empty() ? Json() : Json(content))
        .set("reasoning", reasoning.empty() ? Json() : Json(reasoning));
    if (calls.size() > 0) message.set("tool_calls", std::move(calls));
    return result.set("message", std::move(message)).set("finish_reason", finish);
  }
  // Whole and streamed must be the same but for the calls' ids.
  Json both(const std::string& fields) {
    Json whole = ask(fields);
    const Json streamed = ask_stream(fields);
    EXPECT_EQ(streamed.at("finish_reason", "s"), whole.at("finish_reason", "w"));
    const Json &a = whole.at("message", "w"), &b = streamed.at("message", "s");
    EXPECT_EQ(a.get_string("content", "", "m"), b.get_string("content", "", "m"));
    EXPECT_EQ(a.get_string("reasoning", "", "m"), b.get_string("reasoning", "", "m"));
    EXPECT_EQ(a.contains("tool_calls"), b.contains("tool_calls"));
    if (a.contains("tool_calls")) {
      EXPECT_EQ(a.at("tool_calls", "m").size(), b.at("tool_calls", "m").size());
      for (size_t i = 0; i < a.at("tool_calls", "m").size(); ++i) EXPECT_EQ(call(a, i), call(b, i));
    }
    return whole;
  }
  static const Json& call(const Json& message, size_t i = 0) {
    return message.at("tool_calls", "m").as_array("m").at(i).at("function", "m");
  }
  using AppTest::call;
};

TEST_F(ToolsTest, ANamedFunctionIsCalled) {
  for (const char* seed : {"1", "2", "3"}) {
    const Json answer =
        both(std::string(kTools) + R"(, "tool_choice": {"type": "function", "function": {"name": "gg"}}, "seed": )" + seed);
    const Json& message = answer.at("message", "a");
    EXPECT_EQ(call(message).at("name", "f"), Json("gg"));
    const std::string arguments = call(message).get_string("arguments", "", "f");
    const Json y = Json::parse(arguments, "a").at("y", "a");
    EXPECT_TRUE(y == Json("a") || y == Json("b")) << arguments;
    EXPECT_TRUE(message.at("content", "m").is_null());
    EXPECT_EQ(answer.at("finish_reason", "a"), Json("stop"));  // as OpenAI has it
    EXPECT_EQ(message.at("tool_calls", "m").as_array("m")[0].get_string("id", "", "m").compare(0, 5, "call_"), 0);
  }
}

TEST_F(ToolsTest, SomeToolIsCalledWhereOneIsRequired) {
  bool several = false;
  for (int seed = 0; seed < 6; ++seed) {
    const Json answer = both(std::string(kTools) + R"(, "tool_choice": "required", "seed": )" + std::to_string(seed));
    const Json& message = answer.at("message", "a");
    const size_t count = message.at("tool_calls", "m").size();
    ASSERT_GE(count, 1u);
    several = several || count > 1;
    if (answer.at("finish_reason", "a") == Json("length")) continue;  // a list may be long
    EXPECT_EQ(answer.at("finish_reason", "a"), Json("tool_calls"));
    for (size_t i = 0; i < count; ++i) {
      const Json arguments = Json::parse(call(message, i).get_string("arguments", "", "f"), "a");
      EXPECT_TRUE(arguments.contains(call(message, i).at("name", "f") == Json("f") ? "x" : "y"));
    }
  }
  EXPECT_TRUE(several);
  const Json one = both(std::string(kTools) + R"(, "tool_choice": "required", "parallel_tool_calls": false)");
  EXPECT_EQ(one.at("message", "a").at("tool_calls", "m").size(), 1u);
}

TEST_F(ToolsTest, ACallThatIsCutOffSaysSo) {
  const Json answer = both(std::string(kTools) + R"(, "tool_choice": {"function": {"name": "f"}}, "max_completion_tokens": 3)");
  EXPECT_EQ(answer.at("finish_reason", "a"), Json("length"));
}

// The text is forced here, as if the model had written it of its own will.
std::string forced(std::string text) {
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"\\", "\\\\"},
                                 {".", "\\."},
                                 {"{", "\\{"},
                                 {"}", "\\}"},
                                 {"[", "\\["},
                                 {"]", "\\]"}}) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
  }
  return R"(, "structured_outputs": {"regex": )" + Json(text).dump() + "}";
}

TEST_F(ToolsTest, CallsAreFoundInText) {
  const std::string calls =
      "Hm. <tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 22}}\n</tool_call>\n<tool_call>{\"name\": \"gg\"}</tool_call>";
  const Json answer = both(kTools + forced(calls));
  const Json& message = answer.at("message", "a");
  EXPECT_EQ(message.at("content", "m"), Json("Hm."));
  ASSERT_EQ(message.at("tool_calls", "m").size(), 2u);
  EXPECT_EQ(call(message, 0).dump(), R"({"name":"f","arguments":"{\"x\": 22}"})");
  EXPECT_EQ(call(message, 1).dump(), R"({"name":"gg","arguments":"{}"})");
  EXPECT_EQ(answer.at("finish_reason", "a"), Json("tool_calls"));
  const Json one = both(kTools + forced(calls) + R"(, "parallel_tool_calls": false)");
  EXPECT_EQ(one.at("message", "a").at("tool_calls", "m").size(), 1u);
  // Not looked for where none may be called, nor where there is none.
  EXPECT_EQ(both(kTools + forced(calls) + R"(, "tool_choice": "none")").at("message", "a").at("content", "m"), Json(calls));
  const std::string broken = "<tool_call>{\"name\": 5, \"arguments\": {\"x\": 1}}</tool_call>";
  const Json text = both(kTools + forced(broken));
  EXPECT_EQ(text.at("message", "a").at("content", "m"), Json(broken));
  EXPECT_EQ(text.at("finish_reason", "a"), Json("stop"));
}

TEST_F(ToolsTest, ArgumentsAreStreamedAsTheyCome) {
  const std::string calls = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 22}}\n</tool_call>";
  const auto told = post("/v1/chat/completions", body(kTools + forced(calls), true));
  std::vector<std::string> deltas;
  size_t begun_at = 0, number = 0, ended_at = 0;
  for (const Json& chunk : told->chunks()) {
    ++number;
    const Json& delta = choice(chunk).at("delta", "c");
    if (!choice(chunk).at("finish_reason", "c").is_null()) ended_at = number;
    const Json* list = delta.find("tool_calls");
    if (list == nullptr) continue;
    const Json& piece = list->as_array("d").at(0);
    EXPECT_EQ(piece.at("index", "p"), Json(0));
    if (piece.contains("id")) {
      begun_at = number;
      EXPECT_EQ(piece.at("function", "p").at("name", "f"), Json("f"));
    } else {
      EXPECT_FALSE(piece.contains("type"));
      deltas.push_back(piece.at("function", "p").get_string("arguments", "", "f"));
    }
  }
  // One token a character: a delta each, long before the call is whole.
  EXPECT_EQ(deltas, (std::vector<std::string>{"{", "\"", "x", "\"", ":", " ", "2", "2", "}"}));
  EXPECT_LT(begun_at + deltas.size(), ended_at);
  EXPECT_EQ(call(both(kTools + forced(calls)).at("message", "a")).at("arguments", "f"), Json(R"({"x": 22})"));
  // Cut off by its length a call is what had come of it, whole and streamed.
  const Json cut = both(kTools + forced(calls) + R"(, "max_completion_tokens": 45)");
  EXPECT_EQ(cut.at("finish_reason", "a"), Json("length"));
  EXPECT_EQ(call(cut.at("message", "a")).at("name", "f"), Json("f"));
  const std::string arguments = call(cut.at("message", "a")).get_string("arguments", "", "f");
  EXPECT_EQ(std::string(R"({"x": 22})").compare(0, arguments.size(), arguments), 0) << arguments;
}

TEST_F(ToolsTest, OtherFormats) {
  Options options = plain();
  options.tool_call_parser = "llama3_json";
  make(options);
  EXPECT_EQ(call(both(kTools + forced(R"({"name": "f", "parameters": {"x": 1}})")).at("message", "a")).at("arguments", "f"),
            Json(R"({"x": 1})"));
  options.tool_call_parser = "mistral";
  make(options);
  const Json answer = both(kTools + forced(R"([TOOL_CALLS][{"name": "f", "arguments": {"x": 1}}])"));
  EXPECT_EQ(call(answer.at("message", "a")).at("name", "f"), Json("f"));
  EXPECT_EQ(answer.at("message", "a").at("tool_calls", "m").as_array("m")[0].get_string("id", "", "m").size(), 9u);
  options.tool_call_parser = "xml";
  EXPECT_THROW(make(options), Error);
}

TEST_F(ToolsTest, AMarkThatIsASpecialTokenReachesTheParserAndTheEndIsNotSeen) {
  Options options = plain();
  options.tool_call_parser = "mistral";
  make(options);
  // Token 6 is [TOOL_CALLS], 55 the end: the first is forced, then the end.
  const std::string bias = R"("logit_bias": {"6": 100}, "max_tokens": 2, "temperature": 0)";
  EXPECT_EQ(ask(bias).at("message", "a").at("content", "m"), Json(""));
  EXPECT_EQ(ask(std::string(kTools) + ", " + bias).at("message", "a").at("content", "m"), Json("[TOOL_CALLS][TOOL_CALLS]"));
  EXPECT_EQ(both(std::string(kTools) + R"(, "logit_bias": {"55": 100}, "temperature": 0)").at("finish_reason", "a"),
            Json("stop"));
  EXPECT_EQ(
      both(std::string(kTools) + R"(, "logit_bias": {"55": 100}, "temperature": 0)").at("message", "a").at("content", "m"),
      Json(""));
}

TEST_F(ToolsTest, WhatTemplatesAreGiven) {
  const auto prompt = [&](const std::string& fields) {
    const auto told = post("/tokenize", "{" + fields + "}");
    EXPECT_EQ(told->status, 200) << told->body;
    return post("/detokenize", R"({"tokens": )" + told->json().at("tokens", "t").dump() + "}")
        ->json()
        .get_string("prompt", "", "p");
  };
  EXPECT_EQ(prompt(std::string(R"("messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null,
      "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
      {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "ok"}]}], )") +
                   kTools),
            "<s>uqaCf{\"x\": 1}tokT2A");
  EXPECT_EQ(prompt(R"("messages": [{"role": "assistant", "tool_calls": []}])"), "<s>aA");
  EXPECT_EQ(prompt(R"("messages": [{"role": "user", "content": "q"}], "reasoning_effort": "low")"), "<s>uqRlowA");
  EXPECT_EQ(prompt(R"("messages": [{"role": "user", "content": "q"}], "reasoning_effort": "none")"),
            "<s>uqRnone<think></think>A");
  EXPECT_EQ(prompt(R"("messages": [{"role": "user", "content": "q"}], "chat_template_kwargs": {"enable_thinking": false})"),
            "<s>uq<think></think>A");
}

TEST_F(ToolsTest, WrongRequestsAreNamed) {
  const auto bad = [&](const std::string& fields, const std::string& says) {
    expect_refused("/v1/chat/completions", body(fields), says);
  };
  const std::string tools = kTools;
  bad(R"("tools": {})", "[tools]");
  bad(R"("tools": [{"type": "web_search"}])", "web_search");
  bad(R"("tools": [{"type": "function", "function": {"name": ""}}])", "name");
  bad(R"("tools": [{"type": "function", "function": {"name": "f", "parameters": []}}])", "[tools] parameters");
  bad(R"("tool_choice": "required")", "needs tools");
  bad(tools + R"(, "tool_choice": "any")", "[tool_choice]");
  bad(tools + R"(, "tool_choice": {"type": "function", "function": {"name": "h"}})", "no such tool");
  bad(tools + R"(, "tool_choice": "required", "response_format": {"type": "json_object"})", "[tool_choice]");
  bad(R"("tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}], "tool_choice": "required")",
      "parameters");
  bad(R"("functions": [{"name": "f"}])", "[functions]");
  bad(R"("reasoning_effort": "huge")", "[reasoning_effort]");
  bad(R"("thinking_token_budget": 5)", "--reasoning-parser");
  expect_refused("/v1/chat/completions",
                 R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]})",
                 "arguments");
  Options options = plain();
  options.chat_template = "{{ messages[0].content }}";
  make(options);
  bad(tools, "--tool-call-parser");
  options.enable_auto_tool_choice = true;
  EXPECT_THROW(make(options), Error);
}

class ThinkingTest : public ToolsTest {
 protected:
  void SetUp() override {
    Options options = plain();
    options.reasoning_parser = "deepseek_r1";
    make(options);
  }
};

TEST_F(ThinkingTest, ThoughtsAreSplitOffAndEndInTime) {
  const Json answer = both(R"("thinking_token_budget": 7, "max_completion_tokens": 20, "ignore_eos": true)");
  const std::string thoughts = answer.at("message", "a").get_string("reasoning", "", "m");
  EXPECT_FALSE(thoughts.empty());
  EXPECT_EQ(thoughts.find("</think>"), std::string::npos);
  EXPECT_FALSE(answer.at("message", "a").get_string("content", "", "m").empty());
  const Json hidden =
      both(R"("thinking_token_budget": 7, "max_completion_tokens": 20, "ignore_eos": true, "include_reasoning": false)");
  EXPECT_FALSE(hidden.at("message", "a").contains("reasoning"));
  EXPECT_EQ(hidden.at("message", "a").at("content", "m"), answer.at("message", "a").at("content", "m"));
  // Thoughts that did not end are no answer.
  const Json cut = both(R"("logit_bias": {"3": -100}, "max_completion_tokens": 5, "ignore_eos": true)");
  EXPECT_TRUE(cut.at("message", "a").at("content", "m").is_null());
  EXPECT_EQ(cut.at("finish_reason", "a"), Json("length"));
}

TEST_F(ThinkingTest, WhatIsAskedOfTheAnswerWaitsForTheEndOfThoughts) {
  const Json json = both(R"("thinking_token_budget": 9, "structured_outputs": {"regex": "(yes|no)[.]"})");
  const std::string text = json.at("message", "a").get_string("content", "", "m");
  EXPECT_TRUE(text == "yes." || text == "no.") << text;
  EXPECT_FALSE(json.at("message", "a").get_string("reasoning", "", "m").empty());
  const Json call_answer =
      both(std::string(kTools) + R"(, "thinking_token_budget": 4, "tool_choice": "required", "parallel_tool_calls": false)");
  EXPECT_EQ(call_answer.at("message", "a").at("tool_calls", "m").size(), 1u);
  EXPECT_EQ(call_answer.at("finish_reason", "a"), Json("tool_calls"));
  // A template that closes them leaves nothing to wait for.
  const Json none = both(R"("chat_template_kwargs": {"enable_thinking": false}, "chat_template":
      "{{ messages[0].content }}<think></think>", "structured_outputs": {"regex": "yes"})");
  EXPECT_EQ(none.at("message", "a").at("content", "m"), Json("yes"));
  EXPECT_TRUE(none.at("message", "a").at("reasoning", "m").is_null());
}

TEST_F(ThinkingTest, Qwen3MayAnswerAtOnce) {
  Options options = plain();
  options.reasoning_parser = "qwen3";
  make(options);
  const Json at_once = both(R"("structured_outputs": {"regex": "yes"}, "logit_bias": {"2": -100})");
  EXPECT_EQ(at_once.at("message", "a").at("content", "m"), Json("yes"));
  const Json thinks = both(R"("structured_outputs": {"regex": "yes"}, "logit_bias": {"2": 100}, "thinking_token_budget": 3)");
  EXPECT_EQ(thinks.at("message", "a").at("content", "m"), Json("yes"));
  EXPECT_FALSE(thinks.at("message", "a").get_string("reasoning", "", "m").empty());
}

}  // namespace
}  // namespace pagoda::server
