// What requests and answers may take of the server's memory: refused ahead, counted together, given back.
#include <memory>
#include <string>

#include "server/app.h"
#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

// One request must not ask for more than there is memory for, and is told before anything is computed.
TEST_F(AppTest, LargeAnswersAreRefused) {
  const int64_t before = engine_->stats().num_prompt_tokens;
  std::string ids = "[7";
  for (int i = 0; i < 99; ++i) ids += ",8";
  ids += "]";
  const auto prompts = [&](int count) {
    std::string list = "[" + ids;
    for (int i = 1; i < count; ++i) list += "," + ids;
    return R"("temperature": 1, "n": 128, "prompt": )" + list + "]";
  };
  const auto refused = [&](const std::string& fields, const std::string& name) {
    const auto told = post("/v1/completions", "{" + fields + "}");
    EXPECT_EQ(told->status, 400) << name << told->body.substr(0, 200);
    if (told->status != 400) return;
    EXPECT_EQ(told->json().at("error", "a").at("param", "e"), Json(name)) << told->body;
    EXPECT_NE(told->body.find("too large"), std::string::npos) << told->body;
  };
  refused(prompts(20) + R"(, "max_tokens": 0, "prompt_logprobs": 4)", "prompt_logprobs");
  refused(prompts(20) + R"(, "max_tokens": 0, "echo": true, "logprobs": 4)", "echo");
  refused(prompts(82) + R"(, "max_tokens": 0, "return_token_ids": true)", "return_token_ids");
  refused(prompts(56) + R"(, "max_tokens": 28, "logprobs": 20, "ignore_eos": true)", "logprobs");
  EXPECT_EQ(engine_->stats().num_prompt_tokens, before);
  // What fits is told in each choice as in one.
  const std::string fits = R"("max_tokens": 0, "temperature": 1, "prompt_logprobs": 2, "prompt": "w7 w8 w9", "n": )";
  const Json one = complete(fits + "1"), three = complete(fits + "3");
  EXPECT_EQ(choice(one).at("prompt_logprobs", "c").size(), 4u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(choice(three, i).at("prompt_logprobs", "c"), choice(one).at("prompt_logprobs", "c"));
}

// Texts that cannot fit are not looked at token by token.
TEST_F(AppTest, TextsThatCannotFitAreRefusedByTheirBytes) {
  std::string text = "w7";
  while (text.size() <= (size_t{1} << 20)) text += " w8";
  const std::string says = "bytes of text, need at most 1048576";
  expect_refused("/v1/completions", R"({"prompt": ")" + text + "\"}", says);
  expect_refused("/v1/completions", R"({"prompt": ["w7", ")" + text + "\"]}", says);
  expect_refused("/v1/embeddings", R"({"input": ")" + text + "\"}", says);
  expect_refused("/v1/chat/completions", R"({"messages": [{"role": "user", "content": ")" + text + "\"}]}", says);
  expect_refused("/v1/responses", R"({"input": ")" + text + "\"}", says);
  // What is cut anyway is cut first.
  const auto ids = [&](const std::string& prompt, const std::string& more) {
    const Json answer = complete(R"("max_tokens": 1, "return_token_ids": true, "prompt": ")" + prompt + "\", " + more);
    return choice(answer).at("prompt_token_ids", "c").dump();
  };
  EXPECT_EQ(ids(text + " w9 w10", R"("truncate_prompt_tokens": 2)"), "[9,10]");
  EXPECT_EQ(ids("w9 " + text, R"("truncate_prompt_tokens": 3, "truncation_side": "right")"), "[1,9,7]");
  expect_refused("/tokenize", R"({"prompt": ")" + text + "\"}", says);
  // ... but not where that could lose what stays: of many bytes few tokens may come.
  for (const size_t size : {size_t{9000}, size_t{1200000}}) {
    const std::string blank = "w9" + std::string(size, ' ') + "w10";
    EXPECT_EQ(ids(blank, R"("truncate_prompt_tokens": 3, "truncation_side": "right")"), "[1,9,10]");
    EXPECT_EQ(ids(blank, R"("truncate_prompt_tokens": 3)"), "[1,9,10]");
  }
  const std::string blank = std::string(9000, ' ') + "w9";
  EXPECT_EQ(choice(complete(R"("max_tokens": 1, "return_token_ids": true, "prompt": ")" + blank + "\""))
                .at("prompt_token_ids", "c")
                .dump(),
            "[1,9]");
}

// Lists may be megabytes, and prompts hundreds.
TEST_F(AppTest, PromptsShareTheirLists) {
  const Json body = Json::parse(R"({"stop": ["abc", "abd"], "bad_words": ["w9"], "logit_bias": {"40": 100}})", "test");
  Fields fields(body, "request");
  GenerationRequest request = parse_generation(fields, Endpoint::kCompletions, {}, {}, *generation_);
  request.share_lists(99);
  ASSERT_TRUE(request.stops && request.biases);
  for (const int32_t id : {1, 2}) {
    const Request made = request.make({id}, 100);
    EXPECT_EQ(made.stops, request.stops);
    EXPECT_EQ(made.biases, request.biases);
    EXPECT_TRUE(made.params.bad_words_ids.empty() && made.params.logit_bias.empty());
  }
  const Json biased = complete(R"("prompt": ["w7", "w8"], "max_tokens": 2, "temperature": 0, "ignore_eos": true,
      "return_token_ids": true, "logit_bias": {"40": 100, "41": 90}, "bad_words": ["w40 w40"])");
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(choice(biased, i).at("token_ids", "c").dump(), "[40,41]");
  expect_refused("/v1/completions", R"({"prompt": "w7", "logit_bias": {"99": 1}})", "logit_bias holds an id outside");
  std::string stops, words;
  for (int i = 0; i < 16; ++i) stops += (i > 0 ? ",\"" : "\"") + std::string(4095, 'a') + "é\"";
  expect_refused("/v1/completions", R"({"prompt": "w7", "stop": [)" + stops + "]}", "[stop] too long together: got 65552");
  std::string word;
  for (int i = 0; i < 1000; ++i) word += "w8 ";
  for (int i = 0; i < 66; ++i) words += (i > 0 ? ",\"" : "\"") + word + "\"";
  expect_refused("/v1/completions", R"({"prompt": "w7", "bad_words": [)" + words + "]}", "[bad_words] too long together");
}

TEST_F(AppTest, TooManyOpenRequestsAreToldToComeBack) {
  Options options = plain();
  options.max_open = 2;
  make(options);
  const auto open = std::make_shared<Told>();
  app_->handle(request("POST", "/v1/completions", R"({"prompt": "w7", "max_tokens": 120, "ignore_eos": true, "stream": true})"),
               open);
  const auto told = post("/v1/completions", R"({"prompt": ["w7", "w8"], "max_tokens": 2})");
  EXPECT_EQ(told->status, 503);
  EXPECT_EQ(told->headers.at(0).first, "retry-after");
  open->disconnect();
  engine_->drain();
  EXPECT_EQ(post("/v1/completions", R"({"prompt": ["w7", "w8"], "max_tokens": 2})")->status, 200);
}

// A short request whose answer is large, and one that nobody reads.
TEST_F(AppTest, WhatAnswersWillTakeIsBoundedTogether) {
  Options options = plain();
  options.memory = MemoryLedger(400'000);
  make(options);
  const std::string large =
      R"({"prompt": [7, 8, 9, 10, 11, 12, 13, 14], "n": 16, "temperature": 1, "max_tokens": 1, "prompt_logprobs": 20})";
  const auto told = post("/v1/completions", large);
  ASSERT_EQ(told->status, 200) << told->body;
  EXPECT_GT(told->kept.bytes(), 16 * 8 * 21 * 100);  // held until the answer is sent
  EXPECT_EQ(options.memory.held(), told->kept.bytes() - MemoryLedger::kFreeBytes);
  const auto refused = post("/v1/completions", large);
  EXPECT_EQ(refused->status, 503);
  EXPECT_NE(refused->body.find("too much is kept for open requests"), std::string::npos) << refused->body;
  EXPECT_EQ(refused->headers.at(0).first, "retry-after");
  EXPECT_EQ(post("/v1/completions", R"({"prompt": "w7", "max_tokens": 3})")->status, 200);  // little is always served
  engine_->drain();
  told->kept = MemoryLedger::Lease();
  EXPECT_EQ(options.memory.held(), 0);
  EXPECT_EQ(post("/v1/completions", large)->status, 200);
}

// Without max_tokens an answer is counted as it comes.
TEST_F(AppTest, AnAnswerThatGrowsIsCounted) {
  Options options = plain();
  options.memory = MemoryLedger(0);
  make(options);
  const auto grown = [&](const std::string& more) {
    return post("/v1/chat/completions",
                R"({"messages": [{"role": "user", "content": "w7"}], "ignore_eos": true, "temperature": 1)" + more);
  };
  EXPECT_EQ(grown("}")->status, 200);
  const auto refused = grown(R"(, "n": 8, "logprobs": true, "top_logprobs": 20})");
  EXPECT_EQ(refused->status, 503) << refused->body;
  EXPECT_EQ(refused->headers.at(0).first, "retry-after");
  EXPECT_EQ(options.memory.held(), 0);
}

TEST_F(AppTest, EmbeddingsHaveRoomTaken) {
  Options options = plain();
  options.memory = MemoryLedger(200'000);
  make(options);
  std::string many = R"({"input": ["w7")";
  for (int i = 0; i < 400; ++i) many += R"(, "w8")";
  many += "]}";  // 401 vectors of 32 numbers
  {
    MemoryLedger::Lease others(options.memory);
    ASSERT_TRUE(others.resize(100'000 + MemoryLedger::kFreeBytes));
    EXPECT_EQ(post("/v1/embeddings", R"({"input": "w7"})")->status, 200);
    EXPECT_EQ(post("/v1/embeddings", many)->status, 503);
  }
  EXPECT_EQ(post("/v1/embeddings", many)->status, 200);
  // More than all the room never finds any.
  options.memory = MemoryLedger(100'000);
  make(options);
  EXPECT_EQ(post("/v1/embeddings", many)->status, 400);
}

// What stands around an answer forwards all of it.
TEST_F(AppTest, AnAllowedOriginChangesNothingButHeaders) {
  Options options = plain();
  options.allowed_origins = {"https://a.example"};
  options.memory = MemoryLedger(400'000);
  make(options);
  const auto told = call(
      request("POST", "/v1/completions",
              R"({"prompt": [7, 8, 9, 10, 11, 12, 13, 14], "n": 16, "temperature": 1, "max_tokens": 1, "prompt_logprobs": 20})",
              {{"origin", "https://a.example"}}));
  EXPECT_EQ(told->status, 200);
  EXPECT_GT(told->kept.bytes(), 0);
}

}  // namespace
}  // namespace pagoda::server
