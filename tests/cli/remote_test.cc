// complete and chat with a server: what is sent, what is printed, what goes wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "cli/openai_client.h"
#include "tests/cli/child.h"
#include "tests/cli/fake_openai.h"

namespace pagoda::testing {
namespace {

using ::testing::HasSubstr;

const Environment kNoKey{{"OPENAI_API_KEY", ""}};

TEST(Complete, StreamsTheText) {
  FakeOpenAi server;
  const Ended ended = run_pagoda({"complete", "--url", server.url(), "--prompt", "Once", "--max-new-tokens", "3",
                                  "--temperature", "0.5", "--stop-strings", "x", "--stop-strings", "y", "--ignore-eos"},
                                 "", kNoKey);
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.out, " w0 w1 w2");
  const Json body = server.bodies().at(0);
  EXPECT_EQ(body.at("prompt", "body"), Json("Once"));
  EXPECT_EQ(body.at("model", "body"), Json("fake"));
  EXPECT_EQ(body.at("max_tokens", "body"), Json(3));
  EXPECT_EQ(body.at("temperature", "body"), Json(0.5));
  EXPECT_EQ(body.at("stop", "body").dump(), R"(["x","y"])");
  EXPECT_EQ(body.at("ignore_eos", "body"), Json(true));
  EXPECT_FALSE(body.contains("top_p"));  // the server's own default holds
}

TEST(Complete, ReadsStdinAndTellsAsJson) {
  FakeOpenAi server;
  server.key = "secret";
  const Ended ended = run_pagoda({"complete", "--url", server.url() + "/v1/", "--model", "mine", "--json"}, "a\nb\n",
                                 {{"OPENAI_API_KEY", "secret"}});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(ended.json().dump(),
            R"({"model":"mine","text":" w0 w1 w2","finish_reason":"length","prompt_tokens":5,"completion_tokens":3})");
  EXPECT_EQ(server.bodies().at(0).at("prompt", "body"), Json("a\nb\n"));
  EXPECT_EQ(server.bodies().at(0).at("model", "body"), Json("mine"));
}

TEST(Complete, ErrorsOfTheServerAreTold) {
  FakeOpenAi server;
  server.key = "secret";
  const std::vector<std::string> ask{"complete", "--url", server.url(), "--prompt", "a", "--model", "m"};
  const Ended no_key = run_pagoda(ask, "", kNoKey);
  EXPECT_EQ(no_key.code, 2);
  EXPECT_EQ(no_key.err, "error: [server] status 401: no such key\n");
  server.fail_every = 1;
  EXPECT_EQ(run_pagoda(ask, "", {{"OPENAI_API_KEY", "secret"}}).code, 6);
  server.fail_every = 0;
  server.cut = true;
  const Ended cut = run_pagoda(ask, "", {{"OPENAI_API_KEY", "secret"}});
  EXPECT_EQ(cut.code, 6);
  EXPECT_EQ(cut.out, " w0 w1 w2");
  EXPECT_THAT(cut.err, HasSubstr("ended without [DONE]"));
  EXPECT_EQ(run_pagoda({"complete", "--url", "http://127.0.0.1:1", "--prompt", "a"}, "", kNoKey).code, 6);
  EXPECT_EQ(run_pagoda({"complete", "--prompt", "a"}).code, 2);
  const Ended beams = run_pagoda({"complete", "--url", server.url(), "--prompt", "a", "--num-beams", "2"}, "", kNoKey);
  EXPECT_EQ(beams.code, 2);
  EXPECT_THAT(beams.err, HasSubstr("unknown flag: got '--num-beams'"));
}

TEST(Complete, AsksForSeveralAnswers) {
  FakeOpenAi server;
  std::vector<std::string> ask{"complete", "--url", server.url(), "--prompt", "a", "--n", "2", "--max-new-tokens", "2"};
  const Ended plain = run_pagoda(ask, "", kNoKey);
  ASSERT_EQ(plain.code, 0) << plain.err;
  EXPECT_EQ(plain.out, " w0 w1\n---\n w0 w1");
  EXPECT_EQ(server.bodies().at(0).at("n", "body"), Json(2));
  ask.push_back("--json");
  EXPECT_EQ(run_pagoda(ask, "", kNoKey).out,
            R"({"model":"fake","outputs":[{"index":0,"text":" w0 w1","finish_reason":"length"},)"
            R"({"index":1,"text":" w0 w1","finish_reason":"length"}],"prompt_tokens":5,"completion_tokens":2})"
            "\n");
}

// What no request can carry is no flag of the verb.
TEST(Complete, HelpListsWhatServersTake) {
  const std::string help = run_pagoda({"complete", "--help"}).out;
  for (const char* flag : {"--temperature", "--num-return-sequences", "--n ", "--logit-bias", "--ignore-eos"})
    EXPECT_THAT(help, HasSubstr(flag));
  for (const char* flag : {"--num-beams", "--typical-p", "--do-sample", "--eos-token-id"})
    EXPECT_THAT(help, ::testing::Not(HasSubstr(flag)));
}

TEST(Complete, CtrlCStopsTheStream) {
  FakeOpenAi server;
  server.stall = true;
  Running running({"complete", "--url", server.url(), "--prompt", "a", "--json"}, kNoKey);
  for (int i = 0; i < 1000 && server.num_open() == 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ASSERT_EQ(server.num_open(), 1u);
  ::kill(running.pid(), SIGINT);
  const Ended ended = running.end();
  EXPECT_EQ(ended.code, 130);
  EXPECT_EQ(ended.json().at("finish_reason", "out"), Json("interrupted"));
}

TEST(RemoteChat, SendsTheWholeConversation) {
  FakeOpenAi server;
  const Ended ended = run_pagoda({"chat", "--url", server.url(), "--system", "Be brief.", "--json"}, "one\ntwo\n", kNoKey);
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.out, HasSubstr(R"({"user":"one","assistant":" w0 w1 w2","finish_reason":"length","prompt_tokens":5,)"));
  ASSERT_EQ(server.bodies().size(), 2u);
  EXPECT_EQ(server.bodies()[1].at("messages", "body").dump(),
            R"([{"role":"system","content":"Be brief."},{"role":"user","content":"one"},)"
            R"({"role":"assistant","content":" w0 w1 w2"},{"role":"user","content":"two"}])");
  const Ended plain = run_pagoda({"chat", "mine", "--url", server.url()}, "one\n", kNoKey);
  EXPECT_EQ(plain.out, " w0 w1 w2\n");
  EXPECT_EQ(server.bodies()[2].at("model", "body"), Json("mine"));
}

TEST(RemoteChat, CtrlCStopsOneAnswer) {
  FakeOpenAi server;
  server.stall = true;
  OnTerminal terminal({"chat", "--url", server.url()});
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.type("hello\r");
  ASSERT_TRUE(terminal.wait_for(" w0")) << terminal.seen();
  terminal.type("\x03");
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.seen();
  server.stall = false;
  terminal.type("again\r");
  ASSERT_TRUE(terminal.wait_for(" w0 w1 w2")) << terminal.seen();
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.type("\x04");
  EXPECT_EQ(terminal.end(), 0);
}

TEST(RemoteChat, NeedsAModelOrAServer) {
  const Ended none = run_pagoda({"chat"}, "hi\n");
  EXPECT_EQ(none.code, 2);
  EXPECT_THAT(none.err, HasSubstr("MODEL is required, or --url"));
  const Ended both = run_pagoda({"chat", "--url", "http://127.0.0.1:1", "--truncate-history"}, "hi\n", kNoKey);
  EXPECT_EQ(both.code, 2);
}

TEST(ApiServer, FindsEndpointsWithAndWithoutVersion) {
  for (const char* url : {"http://h", "http://h/", "http://h/v1", "http://h/v1/"}) {
    EXPECT_EQ(cli::api_server(url, "").at("/v1/models").path, "/v1/models") << url;
  }
  EXPECT_EQ(cli::api_server("http://h/proxy/v1", "").at("/v1/models").path, "/proxy/v1/models");
  const cli::ApiServer api = cli::api_server("http://h", "key", {"X-A=b c", "Y: d"});
  EXPECT_EQ(api.headers, (server::Headers{{"Authorization", "Bearer key"}, {"X-A", "b c"}, {"Y", "d"}}));
}

TEST(Delta, IsReadFromEveryForm) {
  const auto parse = [](const char* text) { return cli::parse_deltas(Json::parse(text, "test")).at(0); };
  EXPECT_EQ(parse(R"({"choices": [{"text": "a"}]})").text, "a");
  EXPECT_EQ(parse(R"({"choices": [{"delta": {"content": "b"}}]})").text, "b");
  EXPECT_EQ(parse(R"({"choices": [{"delta": {"role": "assistant", "content": null}}]})").text, "");
  EXPECT_EQ(parse(R"({"choices": [{"message": {"content": "c"}, "finish_reason": "stop"}]})").finish_reason, "stop");
  const cli::Delta usage = parse(R"({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})");
  EXPECT_FALSE(usage.has_choice);
  EXPECT_EQ(usage.completion_tokens, 2);
  EXPECT_THROW(parse(R"({"error": {"message": "no"}})"), Error);
  EXPECT_THROW(parse(R"({"choices": [{"text": 1}]})"), Error);
  EXPECT_FALSE(parse("[]").has_choice);
}

}  // namespace
}  // namespace pagoda::testing
