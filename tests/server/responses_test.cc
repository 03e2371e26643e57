// /v1/responses: items in and out, events of a stream, what is kept, and what runs in the background.
#include "server/response_request.h"

#include <thread>

#include "server/response_store.h"
#include "tests/char_model.h"
#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

class ResponsesTest : public AppTest {
 protected:
  static void SetUpTestSuite() {
    folder_ = ::testing::TempDir() + "pagoda_responses_model_" + std::to_string(::getpid());
    pagoda::testing::make_char_model(folder_);
    LoadOptions options;
    options.runtime.threads = 1;
    generation_ = TextGeneration::open(folder_, options).release();
  }
  void SetUp() override {
    Options options = plain();
    options.plain_defaults = true;
    options.reasoning_parser = "qwen3";
    make(options);
  }
  static std::string body(const std::string& fields) {
    return R"({"input": "q", "max_output_tokens": 200, "seed": 1, "logit_bias": {"2": -100}, )" + fields + "}";
  }
  Json create(const std::string& fields) {
    const auto told = post("/v1/responses", body(fields));
    EXPECT_EQ(told->status, 200) << told->body;
    return told->json();
  }
  std::vector<Json> events(const std::string& fields) {
    const auto told = post("/v1/responses", body(fields + R"(, "stream": true)"));
    EXPECT_EQ(told->content_type, "text/event-stream; charset=utf-8");
    std::vector<Json> list;
    for (size_t at = 0; at < told->body.size();) {
      const size_t line = told->body.find('\n', at), end = told->body.find("\n\n", at);
      EXPECT_EQ(told->body.compare(at, 7, "event: "), 0);
      EXPECT_EQ(told->body.compare(line + 1, 6, "data: "), 0);
      list.push_back(Json::parse(told->body.substr(line + 7, end - line - 7), "event"));
      EXPECT_EQ(list.back().at("type", "e"), Json(told->body.substr(at + 7, line - at - 7)));
      EXPECT_EQ(list.back().at("sequence_number", "e"), Json(static_cast<int64_t>(list.size()) - 1));
      at = end + 2;
    }
    return list;
  }
  static const Json& output(const Json& response, size_t i = 0) { return response.at("output", "r").as_array("r").at(i); }
  static std::string text(const Json& response, size_t i = 0) {
    return output(response, i).at("content", "o").as_array("o").at(0).get_string("text", "", "c");
  }
  std::shared_ptr<Told> get(const std::string& id, const std::string& method = "GET", const std::string& more = "",
                            const Headers& headers = {}) {
    return call(request(method, "/v1/responses/" + id + more, "", headers));
  }
};

const char* const kTool = R"("tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object",
    "properties": {"x": {"enum": [1, 22]}}, "required": ["x"], "additionalProperties": false}}])";

// Leaves out what differs from run to run.
std::string without_ids(const Json& items) {
  Json list = Json::array();
  for (const Json& item : items.as_array("items")) {
    Json copy = Json::object();
    for (const JsonMember& member : item.as_object("item")) {
      if (member.key != "id" && member.key != "call_id") copy.set(member.key, member.value);
    }
    list.push_back(std::move(copy));
  }
  return list.dump();
}

TEST_F(ResponsesTest, AMessage) {
  const Json answer =
      create(R"("text": {"format": {"type": "json_schema", "name": "n", "strict": true, "schema": {"enum": ["yes"]}}})");
  EXPECT_EQ(answer.at("object", "r"), Json("response"));
  EXPECT_EQ(answer.at("status", "r"), Json("completed"));
  EXPECT_EQ(output(answer).at("type", "o"), Json("message"));
  EXPECT_EQ(output(answer).at("role", "o"), Json("assistant"));
  EXPECT_EQ(text(answer), "\"yes\"");
  EXPECT_EQ(answer.at("usage", "r").at("input_tokens", "u"), Json(4));  // <s>uqA
  EXPECT_EQ(answer.at("usage", "r").at("total_tokens", "u").as_int("u"),
            4 + answer.at("usage", "r").at("output_tokens", "u").as_int("u"));
  EXPECT_EQ(answer.at("text", "r").at("format", "t").at("name", "f"), Json("n"));
  const Json cut = create(R"("max_output_tokens": 2, "ignore_eos": true)");
  EXPECT_EQ(cut.at("status", "r"), Json("incomplete"));
  EXPECT_EQ(cut.at("incomplete_details", "r").at("reason", "i"), Json("max_output_tokens"));
  const Json scored =
      create(R"("max_output_tokens": 2, "ignore_eos": true, "include": ["message.output_text.logprobs"], "top_logprobs": 2)");
  EXPECT_EQ(output(scored).at("content", "o").as_array("o")[0].at("logprobs", "c").size(), 2u);
}

TEST_F(ResponsesTest, Events) {
  const std::vector<Json> list = events(R"("structured_outputs": {"regex": "yes"})");
  std::vector<std::string> types;
  std::string streamed;
  for (const Json& event : list) {
    types.push_back(event.get_string("type", "", "e"));
    if (types.back() == "response.output_text.delta") streamed += event.get_string("delta", "", "e");
  }
  EXPECT_EQ(types,
            (std::vector<std::string>{"response.created", "response.in_progress", "response.output_item.added",
                                      "response.content_part.added", "response.output_text.delta", "response.output_text.delta",
                                      "response.output_text.delta", "response.output_text.done", "response.content_part.done",
                                      "response.output_item.done", "response.completed"}));
  EXPECT_EQ(streamed, "yes");
  const Json& last = list.back().at("response", "e");
  EXPECT_EQ(text(last), "yes");
  EXPECT_EQ(last.at("id", "r"), list[0].at("response", "e").at("id", "r"));
  EXPECT_EQ(list[0].at("response", "e").at("status", "r"), Json("in_progress"));
  EXPECT_EQ(last.at("usage", "r").at("output_tokens", "u"), Json(3));
  EXPECT_EQ(list[9].at("item", "e"), output(last));
}

TEST_F(ResponsesTest, ACall) {
  const std::string fields = std::string(kTool) + R"(, "tool_choice": {"type": "function", "name": "f"})";
  const Json answer = create(fields);
  EXPECT_EQ(output(answer).at("type", "o"), Json("function_call"));
  EXPECT_EQ(output(answer).at("name", "o"), Json("f"));
  EXPECT_TRUE(Json::parse(output(answer).get_string("arguments", "", "o"), "a").contains("x"));
  const std::vector<Json> list = events(fields);
  std::string arguments;
  for (const Json& event : list) {
    if (event.at("type", "e") == Json("response.function_call_arguments.delta"))
      arguments += event.get_string("delta", "", "e");
    if (event.at("type", "e") == Json("response.function_call_arguments.done")) {
      EXPECT_EQ(event.at("arguments", "e"), Json(arguments));
    }
  }
  EXPECT_EQ(without_ids(list.back().at("response", "e").at("output", "r")), without_ids(answer.at("output", "r")));
  // The tool's answer goes on from there, by items and by the response's id.
  const std::string call_id = output(answer).get_string("call_id", "", "o");
  const std::string outcome = R"({"type": "function_call_output", "call_id": ")" + call_id + R"(", "output": "5"})";
  const auto count = [&](const Json& response) { return response.at("usage", "r").at("input_tokens", "u").as_int("u"); };
  const Json by_items = create(R"("max_output_tokens": 1, "input": [{"role": "user", "content": "q"}, )" +
                               output(answer).dump() + ", " + outcome + "]");
  const Json by_id = create(R"("max_output_tokens": 1, "previous_response_id": )" + answer.at("id", "r").dump() +
                            R"(, "input": [)" + outcome + "]");
  EXPECT_EQ(count(by_items), count(by_id));
  EXPECT_GT(count(by_id), 10);
}

TEST_F(ResponsesTest, Thoughts) {
  const std::string fields = R"("logit_bias": {"2": 100}, "thinking_token_budget": 3, "structured_outputs": {"regex": "yes"})";
  const Json answer = create(fields);
  EXPECT_EQ(output(answer, 0).at("type", "o"), Json("reasoning"));
  EXPECT_FALSE(text(answer, 0).empty());
  EXPECT_EQ(text(answer, 1), "yes");
  EXPECT_EQ(answer.at("usage", "r").at("output_tokens_details", "u").at("reasoning_tokens", "d"), Json(0));  // marks alone
  const std::vector<Json> list = events(fields);
  EXPECT_EQ(without_ids(list.back().at("response", "e").at("output", "r")), without_ids(answer.at("output", "r")));
  Options options = plain();
  options.plain_defaults = true;
  options.reasoning_parser = "deepseek_r1";
  make(options);
  const Json three =
      create(R"("logit_bias": {"2": -100, "3": -100}, "thinking_token_budget": 3, "structured_outputs": {"regex": "yes"},
      "top_logprobs": 1)");
  EXPECT_EQ(three.at("usage", "r").at("output_tokens_details", "u").at("reasoning_tokens", "d"), Json(3));
  EXPECT_EQ(output(three, 1).at("content", "o").as_array("o")[0].at("logprobs", "c").size(), 3u);
}

TEST_F(ResponsesTest, AreKeptForTheirOwner) {
  Options options = plain();
  options.api_keys = {"one", "two"};
  make(options);
  const Headers one = {{"authorization", "Bearer one"}}, two = {{"authorization", "Bearer two"}};
  const std::string short_body = R"({"input": "q", "max_output_tokens": 2, "ignore_eos": true, "metadata": {"a": "b"})";
  const auto told = call(request("POST", "/v1/responses", short_body + "}", one));
  const std::string id = told->json().get_string("id", "", "r");
  EXPECT_EQ(get(id, "GET", "", one)->json(), told->json());
  EXPECT_EQ(get(id, "GET", "", {{"authorization", "bearer one"}})->json(), told->json());
  EXPECT_EQ(told->json().at("metadata", "r").dump(), R"({"a":"b"})");
  EXPECT_EQ(get(id)->status, 401);
  for (const char* method : {"GET", "DELETE"}) {
    EXPECT_EQ(get(id, method, "", two)->status, 404);
  }
  EXPECT_EQ(get(id, "DELETE", "", one)->json().at("deleted", "d"), Json(true));
  EXPECT_EQ(get(id, "GET", "", one)->status, 404);
  const auto passing = call(request("POST", "/v1/responses", short_body + R"(, "store": false})", one));
  EXPECT_EQ(get(passing->json().get_string("id", "", "r"), "GET", "", one)->status, 404);
  EXPECT_EQ(get("", "GET", "", one)->status, 404);
  EXPECT_EQ(get("a/b", "GET", "", one)->status, 404);
}

TEST_F(ResponsesTest, InTheBackground) {
  const Json queued = create(R"("background": true, "max_output_tokens": 3, "ignore_eos": true)");
  const std::string id = queued.get_string("id", "", "r");
  EXPECT_EQ(queued.at("status", "r"), Json("in_progress"));
  engine_->drain();
  // It is written by a thread of the server's, not by the engine's.
  while (get(id)->json().at("status", "r") == Json("in_progress")) std::this_thread::yield();
  EXPECT_EQ(get(id)->json().at("status", "r"), Json("incomplete"));
  EXPECT_EQ(get(id)->json().at("usage", "r").at("output_tokens", "u"), Json(3));
  EXPECT_EQ(get(id, "POST", "/cancel")->json().at("status", "r"), Json("incomplete"));
  const Json longer = create(R"("background": true, "max_output_tokens": 900, "ignore_eos": true)");
  const std::string other = longer.get_string("id", "", "r");
  EXPECT_EQ(get(other, "POST", "/cancel")->json().at("status", "r"), Json("cancelled"));
  engine_->drain();
  EXPECT_EQ(get(other)->json().at("status", "r"), Json("cancelled"));
  EXPECT_EQ(generation_->engine().pool().num_free(), generation_->engine().pool().num_blocks());
  expect_refused("/v1/responses", body(R"("previous_response_id": ")" + other + "\""), "[previous_response_id]");
  const std::string plain_id = create(R"("max_output_tokens": 1)").get_string("id", "", "r");
  EXPECT_EQ(get(plain_id, "POST", "/cancel")->status, 400);
}

// What waits keeps texts, which count, and no trees of the request, which would be many times as large.
TEST_F(ResponsesTest, WhatOpenOnesKeepIsBounded) {
  Options options = plain();
  options.memory = MemoryLedger(2'000'000);
  make(options);
  const std::string more = R"("background": true, "max_output_tokens": 900, "ignore_eos": true, "tool_choice": "none", "tools":
      [{"type": "function", "name": "f", "description": ")";
  const std::string large = body(more + std::string(300'000, 'd') + "\"}]");
  std::vector<std::string> ids;
  std::shared_ptr<Told> told;
  for (int i = 0; i < 20; ++i) {
    told = post("/v1/responses", large);
    if (told->status != 200) break;
    ids.push_back(told->json().get_string("id", "", "r"));
  }
  EXPECT_EQ(told->status, 503) << told->body;
  EXPECT_NE(told->body.find("too much is kept for open requests"), std::string::npos) << told->body;
  EXPECT_EQ(told->headers.at(0).first, "retry-after");
  EXPECT_GE(ids.size(), 2u);  // of 900 kB each; one may have ended by then
  EXPECT_EQ(create(R"("max_output_tokens": 2)").at("object", "r"), Json("response"));
  for (const std::string& id : ids) EXPECT_EQ(get(id, "DELETE")->status, 200);
  engine_->drain();
  while (options.memory.held() > 0) std::this_thread::yield();
}

TEST_F(ResponsesTest, ToolsAreBounded) {
  std::string ones;
  for (int i = 0; i < 600'000; ++i) ones += ",1";
  const std::string tool = R"("name": "f", "parameters": {"x": [1)" + ones + "]}";
  expect_refused("/v1/responses", body(R"("tools": [{"type": "function", )" + tool + "}]"), "[tools] too large");
  expect_refused(
      "/v1/chat/completions",
      R"({"messages": [{"role": "user", "content": "q"}], "tools": [{"type": "function", "function": {)" + tool + "}}]}",
      "[tools] too large");
}

// Those under way when the server ends are told so by a thread that then still finds their engine.
TEST_F(ResponsesTest, TheEndWhileManyAreInTheBackground) {
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 60; ++i) create(R"("background": true, "max_output_tokens": 900, "ignore_eos": true)");
    EXPECT_GT(app_->num_background(), 0);
    SetUp();
    EXPECT_EQ(generation_->engine().pool().num_free(), generation_->engine().pool().num_blocks());
  }
}

// A server that closes takes no more of them, but tells of those it has until it ends.
TEST_F(ResponsesTest, AClosingServerStillTellsOfThem) {
  const std::string id =
      create(R"("background": true, "max_output_tokens": 300, "ignore_eos": true)").get_string("id", "", "r");
  app_->close();
  EXPECT_EQ(post("/v1/responses", body(R"("max_output_tokens": 1)"))->status, 503);
  EXPECT_EQ(get(id)->status, 200);
  while (app_->num_background() > 0) std::this_thread::yield();
  EXPECT_EQ(get(id)->json().at("status", "r"), Json("incomplete"));
}

TEST_F(ResponsesTest, WrongRequestsAreNamed) {
  const auto bad = [&](const std::string& fields, const std::string& says, int status = 400) {
    expect_refused("/v1/responses", "{" + fields + "}", says, status);
  };
  bad("", "[input]");
  bad(R"("input": [])", "[input]");
  bad(R"("input": [{"type": "item_reference", "id": "x"}])", "item_reference");
  bad(R"("input": [{"role": "robot", "content": "q"}])", "robot");
  bad(R"("input": [{"role": "user", "content": [{"type": "input_image"}]}])", "input_image");
  bad(R"("input": [{"type": "function_call", "name": "f", "call_id": "c", "arguments": "{"}])", "arguments");
  bad(R"("input": "q", "tools": [{"type": "web_search"}])", "web_search");
  bad(R"("input": "q", "nonsense": 1)", "nonsense");
  bad(R"("input": "q", "previous_response_id": "resp_x")", "resp_x", 404);
  bad(R"("input": "q", "background": true, "stream": true)", "[background]");
  bad(R"("input": "q", "background": true, "store": false)", "[background]");
  bad(R"("input": "q", "truncation": "auto")", "[truncation]");
  bad(R"("input": "q", "conversation": "c")", "[conversation]");
  bad(R"("input": "q", "include": ["file_search_call.results"])", "[include]");
  bad(R"("input": "q", "max_output_tokens": 100000)", "too long");
  // CVE-2026-115918 let requests bring templates by this route that others refused.
  bad(R"("input": "q", "chat_template": "{{ 1 }}")", "chat_template");
  bad(R"("input": "q", "metadata": {"a": 1})", "[metadata]");
  bad(R"("input": "q", "model": "gpt-4")", "does not exist", 404);
}

TEST(ResponseItems, OneTurnIsOneMessage) {
  Json messages = Json::array();
  append_items(messages, Json::parse(R"([{"role": "developer", "content": "s"}, {"role": "user", "content": "q"},
      {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
      {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
      {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"},
      {"type": "function_call_output", "call_id": "1", "output": "x"},
      {"type": "function_call", "call_id": "3", "name": "h", "arguments": "{}"},
      {"type": "message", "role": "assistant", "content": "b"}])",
                                     "items"));
  std::string roles;
  for (const Json& message : messages.as_array("m")) roles += message.get_string("role", "", "m").substr(0, 1);
  EXPECT_EQ(roles, "suataa");
  const Json& turn = messages.as_array("m")[2];
  EXPECT_EQ(turn.at("reasoning", "m"), Json("hm"));
  EXPECT_EQ(turn.at("tool_calls", "m").size(), 2u);
}

TEST(ResponseStore, IsBounded) {
  ResponseStore store(3, 400);
  const auto stored = [](size_t bytes) { return StoredResponse{"", std::string(bytes, 'x'), "", nullptr}; };
  for (const char* id : {"a", "b", "c", "d"}) store.put(id, stored(1));
  EXPECT_EQ(store.size(), 3u);
  EXPECT_FALSE(store.get("a", ""));
  EXPECT_TRUE(store.get("b", ""));
  store.put("e", stored(399));
  EXPECT_EQ(store.size(), 1u);
  store.put("f", stored(500));  // larger than all
  EXPECT_FALSE(store.get("f", ""));
  EXPECT_TRUE(store.get("e", ""));
  StoredResponse open = stored(1);
  open.cancel = [] {};
  store.put("g", open);
  for (const char* id : {"h", "i", "j"}) store.put(id, stored(1));
  EXPECT_EQ(store.size(), 3u);
  EXPECT_TRUE(store.get("g", ""));  // the oldest, but under way
  EXPECT_FALSE(store.get("h", ""));
  store.close("g", "done", "[]");
  store.close("g", "again", "[]");  // it was closed
  EXPECT_EQ(store.get("g", "")->response, "done");
  store.close("h", "gone", "[]");
  EXPECT_FALSE(store.get("h", ""));
  store.put("k", open);
  store.close("k", std::string(500, 'x'), "[]");
  EXPECT_FALSE(store.get("k", ""));
  EXPECT_TRUE(store.get("j", ""));
}

// Whoever holds most gives up, and its oldest.
TEST(ResponseStore, NobodyLosesAnEqualShare) {
  ResponseStore store(6, 600);
  const auto stored = [](const std::string& owner, size_t bytes) {
    return StoredResponse{owner, std::string(bytes, 'x'), "", nullptr};
  };
  store.put("a", stored("one", 250));
  for (int i = 0; i < 20; ++i) store.put("b" + std::to_string(i), stored("two", 150));
  EXPECT_TRUE(store.get("a", "one"));
  EXPECT_FALSE(store.get("b17", "two"));
  EXPECT_TRUE(store.get("b18", "two"));
  EXPECT_TRUE(store.get("b19", "two"));
  for (int i = 0; i < 20; ++i) store.put("c" + std::to_string(i), stored("two", 1));  // by their number
  EXPECT_TRUE(store.get("a", "one"));
  EXPECT_EQ(store.size(), 6u);
  StoredResponse open = stored("one", 1);
  open.cancel = [] {};
  store.put("d", open);
  EXPECT_EQ(store.num_open(), 1u);
  store.close("d", std::string(250, 'x'), "");
  EXPECT_EQ(store.num_open(), 0u);
  EXPECT_TRUE(store.get("d", "one"));
}

}  // namespace
}  // namespace pagoda::server
