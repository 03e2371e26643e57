// The routes without a network: what each request is answered, whole and streamed, right and wrong.
#include "server/app.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

TEST_F(AppTest, SmallRoutes) {
  EXPECT_EQ(call(request("GET", "/health"))->status, 200);
  EXPECT_EQ(call(request("GET", "/version"))->json().at("version", "v"), Json(PAGODA_VERSION));
  const Json models = call(request("GET", "/v1/models"))->json();
  EXPECT_EQ(models.at("data", "m").size(), 2u);
  EXPECT_EQ(models.at("data", "m").as_array("m")[0].at("id", "m"), Json("words"));
  EXPECT_EQ(call(request("GET", "/nowhere"))->status, 404);
  EXPECT_EQ(call(request("DELETE", "/v1/models"))->status, 405);
  const auto metrics = call(request("GET", "/metrics"));
  EXPECT_NE(metrics->body.find("vllm:num_requests_running{model_name=\"words\",engine=\"0\"} 0"), std::string::npos)
      << metrics->body;
}

TEST_F(AppTest, MetricsOfSeveralAnswersCountEachOnesGaps) {
  complete(R"("prompt": "w7", "max_tokens": 3, "n": 4, "temperature": 1, "ignore_eos": true)");
  std::string text;
  const auto count = [&](const std::string& name) {
    const size_t at = text.find(name + "_count{");
    return at == std::string::npos ? -1 : std::atoi(text.c_str() + text.find("} ", at) + 2);
  };
  // The engine counts a step once its tokens are told.
  for (int tries = 0; tries < 1000 && count("vllm:iteration_tokens_total") < 3; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(tries > 0 ? 10 : 0));
    text = call(request("GET", "/metrics"))->body;
  }
  EXPECT_EQ(count("vllm:time_to_first_token_seconds"), 1);
  EXPECT_EQ(count("vllm:inter_token_latency_seconds"), 4 * 2);
  EXPECT_EQ(count("vllm:request_time_per_output_token_seconds"), 4);
  EXPECT_EQ(count("vllm:request_generation_tokens"), 4);
  EXPECT_EQ(count("vllm:e2e_request_latency_seconds"), 4);
  EXPECT_EQ(count("vllm:request_queue_time_seconds"), 4);
  EXPECT_EQ(count("vllm:request_prefill_time_seconds"), 4);
  EXPECT_EQ(count("vllm:request_decode_time_seconds"), 4);
  EXPECT_EQ(count("vllm:request_inference_time_seconds"), 4);
  EXPECT_EQ(count("vllm:request_params_n"), 1);
  EXPECT_EQ(count("vllm:request_max_num_generation_tokens"), 1);
  EXPECT_GE(count("vllm:iteration_tokens_total"), 3);
  EXPECT_NE(text.find("vllm:request_max_num_generation_tokens_sum{model_name=\"words\",engine=\"0\"} 3\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("finished_reason=\"length\"} 4\n"), std::string::npos) << text;
}

// Each answer's own reason, not the last one's.
TEST_F(AppTest, EachAnswersReasonIsCounted) {
  const Json all =
      complete(R"("prompt": "w7", "max_tokens": 6, "n": 12, "temperature": 2, "seed": 3, "stop": ["w1", "w2", "w3"])");
  int stopped = 0;
  for (size_t i = 0; i < 12; ++i) stopped += choice(all, i).at("finish_reason", "c") == Json("stop") ? 1 : 0;
  ASSERT_GT(stopped, 0);
  ASSERT_LT(stopped, 12);
  const std::string text = call(request("GET", "/metrics"))->body;
  EXPECT_NE(text.find("finished_reason=\"stop\"} " + std::to_string(stopped) + "\n"), std::string::npos) << text;
  EXPECT_NE(text.find("finished_reason=\"length\"} " + std::to_string(12 - stopped) + "\n"), std::string::npos) << text;
}

TEST_F(AppTest, LoadingAndClosingAre503) {
  app_ = std::make_unique<App>(plain());
  EXPECT_EQ(call(request("GET", "/health"))->status, 503);
  const auto told = post("/v1/completions", R"({"prompt": "w9"})");
  EXPECT_EQ(told->status, 503);
  EXPECT_EQ(told->headers.at(0).first, "retry-after");
  serve(*generation_);
  EXPECT_EQ(call(request("GET", "/health"))->status, 200);
  app_->close();
  EXPECT_EQ(call(request("GET", "/health"))->status, 503);
}

TEST_F(AppTest, CompletionsEqualTheEngine) {
  const Json answer = complete(R"("prompt": "w7 w8", "max_tokens": 6, "temperature": 0, "ignore_eos": true)");
  EXPECT_EQ(answer.at("object", "a"), Json("text_completion"));
  EXPECT_EQ(answer.at("id", "a"), Json("cmpl-r1"));
  EXPECT_EQ(answer.at("usage", "a").at("prompt_tokens", "u"), Json(3));
  EXPECT_EQ(answer.at("usage", "a").at("completion_tokens", "u"), Json(6));
  EXPECT_EQ(choice(answer).at("finish_reason", "c"), Json("length"));
  const std::string text = choice(answer).get_string("text", "", "c");
  // The same prompt as ids, as a list of both, in a stream, and with its log-probabilities.
  const Json ids =
      complete(R"("prompt": [1, 7, 8], "max_tokens": 6, "temperature": 0, "ignore_eos": true, "return_token_ids": true)");
  EXPECT_EQ(choice(ids).get_string("text", "", "c"), text);
  EXPECT_EQ(choice(ids).at("token_ids", "c").size(), 6u);
  const Json both = complete(R"("prompt": ["w7 w8", "w9"], "max_tokens": 6, "temperature": 0, "ignore_eos": true)");
  EXPECT_EQ(both.at("choices", "a").size(), 2u);
  EXPECT_EQ(choice(both).get_string("text", "", "c"), text);
  EXPECT_EQ(choice(both, 1).at("index", "c"), Json(1));
  const auto stream = post("/v1/completions",
                           R"({"prompt": "w7 w8", "max_tokens": 6, "temperature": 0, "ignore_eos": true, "stream": true,
                               "stream_options": {"include_usage": true}})");
  EXPECT_EQ(stream->content_type, "text/event-stream; charset=utf-8");
  std::string streamed;
  const std::vector<Json> chunks = stream->chunks();
  for (const Json& chunk : chunks) {
    if (chunk.at("choices", "c").size() > 0) streamed += choice(chunk).get_string("text", "", "c");
  }
  EXPECT_EQ(streamed, text);
  EXPECT_EQ(chunks.back().at("usage", "c").at("completion_tokens", "u"), Json(6));
  const Json scored = complete(
      R"("prompt": "w7 w8", "max_tokens": 2, "temperature": 0, "ignore_eos": true, "logprobs": 3, "echo": true, "prompt_logprobs": 1)");
  const Json& lists = choice(scored).at("logprobs", "c");
  EXPECT_EQ(lists.at("tokens", "l").dump().compare(0, 18, R"(["<s>","w7"," w8",)"), 0);
  // All but the control token join to the text, and begin in it where text_offset says.
  const std::string echoed = choice(scored).get_string("text", "", "c");
  for (size_t i = 1; i < 5; ++i) {
    const std::string token = lists.at("tokens", "l").as_array("l")[i].as_string("t");
    const auto at = static_cast<size_t>(lists.at("text_offset", "l").as_array("l")[i].as_int("o")) - 3;
    EXPECT_EQ(echoed.substr(at, token.size()), token) << i;
  }
  EXPECT_EQ(lists.at("tokens", "l").size(), 5u);
  EXPECT_TRUE(lists.at("token_logprobs", "l").as_array("l")[0].is_null());
  EXPECT_LT(lists.at("token_logprobs", "l").as_array("l")[1].as_double("l"), 0);
  EXPECT_EQ(choice(scored).at("prompt_logprobs", "c").size(), 3u);
  EXPECT_EQ(choice(scored).get_string("text", "", "c").compare(0, 5, "w7 w8"), 0);
}

TEST_F(AppTest, StreamIntervalGathersTokens) {
  const std::string fields = R"("prompt": "w7 w8", "max_tokens": 10, "temperature": 0, "ignore_eos": true, "logprobs": 1)";
  const Json whole = complete(fields);
  const auto stream =
      post("/v1/completions", "{" + fields + R"(, "stream": true, "return_token_ids": true, "stream_interval": 4})");
  std::vector<size_t> sizes;
  std::string text;
  size_t logprobs = 0;
  for (const Json& chunk : stream->chunks()) {
    sizes.push_back(choice(chunk).at("token_ids", "c").size());
    text += choice(chunk).get_string("text", "", "c");
    logprobs += choice(chunk).at("logprobs", "c").at("tokens", "l").size();
  }
  EXPECT_EQ(sizes, (std::vector<size_t>{1, 4, 4, 1}));
  EXPECT_EQ(Json(text), choice(whole).at("text", "c"));
  EXPECT_EQ(logprobs, 10u);
}

TEST_F(AppTest, LogprobsOfChosenTokens) {
  const std::string fields = R"("prompt": "w7 w8", "max_tokens": 2, "temperature": 0, "ignore_eos": true, )";
  const Json some = complete(fields + R"("logprobs": 0, "logprob_token_ids": [40, 41])");
  const Json all = complete(fields + R"("logprobs": 20)");
  const Json& first = choice(some).at("logprobs", "c").at("top_logprobs", "l").as_array("l")[0];
  EXPECT_EQ(first.size(), 3u);  // and the token that was chosen
  ASSERT_TRUE(first.contains(" w40") && first.contains(" w41"));
  EXPECT_EQ(choice(some).at("logprobs", "c").at("token_logprobs", "l"),
            choice(all).at("logprobs", "c").at("token_logprobs", "l"));
  for (const JsonMember& member : first.as_object("l")) {
    const Json* other = choice(all).at("logprobs", "c").at("top_logprobs", "l").as_array("l")[0].find(member.key);
    EXPECT_TRUE(other == nullptr || std::abs(other->as_double("l") - member.value.as_double("l")) < 1e-12) << member.key;
  }
  expect_refused("/v1/completions", R"({"prompt": "w7", "logprob_token_ids": [4]})", "[logprob_token_ids] needs logprobs");
  expect_refused("/v1/completions", R"({"prompt": "w7", "logprobs": 1, "logprob_token_ids": [99]})", "[logprob_token_ids]");
}

TEST_F(AppTest, RepetitionsEndAnAnswer) {
  const Json answer = complete(R"("prompt": "w7", "max_tokens": 50, "ignore_eos": true, "allowed_token_ids": [40],
      "return_token_ids": true, "repetition_detection": {"max_pattern_size": 3, "min_pattern_size": 2, "min_count": 4})");
  EXPECT_EQ(choice(answer).at("token_ids", "c").dump(), "[40,40,40,40,40,40,40,40]");
  EXPECT_EQ(choice(answer).at("finish_reason", "c"), Json("repetition"));
  EXPECT_EQ(choice(answer).at("stop_reason", "c"), Json("repetition_detected"));
  expect_refused("/v1/completions", R"({"prompt": "w7", "repetition_detection": {"max_pattern_size": 3, "min_count": 1}})",
                 "[repetition_detection] min_count");
  expect_refused("/v1/completions",
                 R"({"prompt": "w7", "repetition_detection": {"max_pattern_size": 3, "min_pattern_size": 4, "min_count": 2}})",
                 "[repetition_detection] min_pattern_size");
}

TEST_F(AppTest, TruncationAndPromptText) {
  const auto ids = [&](const std::string& more) {
    const Json answer = complete(R"("prompt": [7, 8, 9, 10], "max_tokens": 1, "return_token_ids": true, )" + more);
    return choice(answer).at("prompt_token_ids", "c").dump();
  };
  EXPECT_EQ(ids(R"("truncate_prompt_tokens": 2)"), "[9,10]");
  EXPECT_EQ(ids(R"("truncate_prompt_tokens": 2, "truncation_side": "right")"), "[7,8]");
  EXPECT_EQ(ids(R"("truncate_prompt_tokens": -1)"), "[7,8,9,10]");
  std::string many = "[7";
  for (int i = 0; i < 200; ++i) many += ",8";
  const Json cut = complete(R"("truncate_prompt_tokens": -1, "max_tokens": 5, "ignore_eos": true, "prompt": )" + many + "]");
  EXPECT_EQ(cut.at("usage", "a").at("total_tokens", "u"), Json(128));
  const std::string chat = R"({"messages": [{"role": "user", "content": "w7"}], "max_tokens": 2, "return_prompt_text": true)";
  EXPECT_EQ(post("/v1/chat/completions", chat + "}")->json().at("prompt_text", "a"), Json("<s> user w7 assistant"));
  EXPECT_EQ(post("/v1/chat/completions", chat + R"(, "stream": true})")->chunks().at(0).at("prompt_text", "a"),
            Json("<s> user w7 assistant"));
}

TEST_F(AppTest, SeveralAnswers) {
  const std::string fields = R"("prompt": "w7", "max_tokens": 5, "temperature": 1.0, "seed": 4, "ignore_eos": true, )";
  const Json four = complete(fields + R"("n": 4)");
  ASSERT_EQ(four.at("choices", "a").size(), 4u);
  EXPECT_NE(choice(four, 0).get_string("text", "", "c"), choice(four, 1).get_string("text", "", "c"));
  EXPECT_EQ(complete(fields + R"("n": 4)").at("choices", "a"), four.at("choices", "a"));  // seeded
  const Json best = complete(fields + R"("n": 1, "best_of": 4)");
  ASSERT_EQ(best.at("choices", "a").size(), 1u);
  EXPECT_EQ(best.at("usage", "a").at("completion_tokens", "u"), Json(20));
  EXPECT_EQ(choice(best).at("logprobs", "c"), Json());
  const Json beams = complete(R"("prompt": "w7", "max_tokens": 5, "n": 3, "use_beam_search": true)");
  EXPECT_EQ(beams.at("choices", "a").size(), 3u);
  const Json told = complete(R"("prompt": "w7", "max_tokens": 5, "n": 2, "use_beam_search": true, "logprobs": 1)");
  for (size_t i = 0; i < 2; ++i) {
    const Json& logprobs = choice(told, i).at("logprobs", "c");
    ASSERT_EQ(logprobs.at("token_logprobs", "l").size(), logprobs.at("tokens", "l").size());
    for (const Json& value : logprobs.at("token_logprobs", "l").as_array("l")) EXPECT_LE(value.as_double("l"), 0);
    for (const Json& top : logprobs.at("top_logprobs", "l").as_array("l")) EXPECT_TRUE(top.is_object());
  }
  const Json chat = post("/v1/chat/completions",
                         R"({"messages": [{"role": "user", "content": "w7"}], "max_tokens": 4, "use_beam_search": true,
                             "logprobs": true, "return_token_ids": true})")
                        ->json();
  EXPECT_EQ(choice(chat).at("logprobs", "c").at("content", "l").size(), choice(chat).at("token_ids", "c").size());
  const Json allowed = complete(fields + R"("allowed_token_ids": [40], "return_token_ids": true)");
  EXPECT_EQ(choice(allowed).at("token_ids", "c").dump(), "[40,40,40,40,40]");
  const Json scored = complete(R"("prompt": "w7 w8", "max_tokens": 0, "echo": true, "logprobs": 0)");
  EXPECT_EQ(choice(scored).get_string("text", "", "c"), "w7 w8");
  EXPECT_EQ(scored.at("usage", "a").at("completion_tokens", "u"), Json(0));
}

// What the beams' texts have come to is carried from step to step, whichever beam goes on from which.
TEST_F(AppTest, StopStringsEndBeams) {
  const std::string fields = R"("prompt": "w7", "max_tokens": 12, "n": 4, "use_beam_search": true, "ignore_eos": true)";
  const std::string best = choice(complete(fields)).get_string("text", "", "c");
  // Two words of the middle: a stop that begins in one token and ends in the next.
  std::vector<std::string> words;
  for (size_t at = 0; at < best.size();) {
    const size_t end = std::min(best.find(' ', at + 1), best.size());
    words.push_back(best.substr(at, end - at));
    at = end;
  }
  ASSERT_EQ(words.size(), 12u) << best;
  const std::string stop = words[5].substr(words[5].size() - 1) + words[6];
  const Json stopped = complete(fields + R"(, "stop": [")" + stop + R"("])");
  bool any = false;
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(choice(stopped, i).get_string("text", "", "c").find(stop), std::string::npos);
    const bool here = choice(stopped, i).at("stop_reason", "c") == Json(stop);
    EXPECT_EQ(here, choice(stopped, i).at("finish_reason", "c") == Json("stop"));
    any = any || here;
  }
  EXPECT_TRUE(any) << stopped.dump();
}

// As vLLM: before min_tokens a stop string does not count.
TEST_F(AppTest, MinTokensHoldBackStopStrings) {
  const std::string fields = R"("prompt": "w7", "max_tokens": 12, "temperature": 0, "ignore_eos": true)";
  const Json whole = complete(fields + R"(, "return_token_ids": true)");
  const std::string third = "w" + std::to_string(choice(whole).at("token_ids", "c").as_array("c").at(2).as_int("c"));
  const auto tokens = [&](const std::string& more) {
    return complete(fields + R"(, "stop": [")" + third + "\"]" + more)
        .at("usage", "a")
        .at("completion_tokens", "u")
        .as_int("u");
  };
  EXPECT_LE(tokens(""), 3);
  EXPECT_GT(tokens(R"(, "min_tokens": 8)"), 8);
  EXPECT_EQ(choice(complete(fields + R"(, "min_tokens": 12, "stop": ["w"])")).at("text", "c"), choice(whole).at("text", "c"));
}

// As vLLM: the token that ends an answer is one of its tokens and no part of its text.
TEST_F(AppTest, StopTokensAreNoText) {
  const std::string fields =
      R"("prompt": "w7", "max_tokens": 12, "temperature": 0, "ignore_eos": true, "return_token_ids": true)";
  const Json whole = complete(fields);
  const Json::Array ids = choice(whole).at("token_ids", "c").as_array("c");
  size_t last = 1;
  while (std::find(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(last), ids.at(last)) !=
         ids.begin() + static_cast<std::ptrdiff_t>(last))
    ++last;
  const std::string stop = fields + R"(, "stop_token_ids": [)" + ids[last].dump() + "]";
  const std::string word = "w" + ids[last].dump();
  for (const bool beams : {false, true}) {
    const std::string asked = stop + (beams ? R"(, "use_beam_search": true)" : "");
    const Json without = complete(asked), with = complete(asked + R"(, "include_stop_str_in_output": true)");
    EXPECT_EQ(choice(without).at("stop_reason", "c").is_null(), beams);
    for (const Json* answer : {&without, &with}) {
      EXPECT_EQ(choice(*answer).at("token_ids", "c").as_array("c").back() == ids[last],
                choice(*answer).at("finish_reason", "c") == Json("stop"));
    }
    if (beams) continue;  // BeamsStopTokensAreNoText
    const std::string text = choice(without).get_string("text", "", "c");
    EXPECT_EQ(choice(without).at("token_ids", "c").size(), last + 1);
    EXPECT_EQ(choice(with).get_string("text", "", "c"), text + " " + word);
  }
}

TEST_F(AppTest, BeamsStopTokensAreNoText) {
  const std::string fields = R"("prompt": "w7", "max_tokens": 6, "n": 4, "use_beam_search": true, "return_token_ids": true,
      "ignore_eos": true)";
  // A token in the middle of the likeliest answer: with it as a stop some beam ends there.
  const Json whole = complete(fields);
  const Json stop = choice(whole).at("token_ids", "c").as_array("c").at(2);
  const std::string asked = fields + R"(, "stop_token_ids": [)" + stop.dump() + "]";
  const Json without = complete(asked), with = complete(asked + R"(, "include_stop_str_in_output": true)");
  int ended = 0;
  for (size_t i = 0; i < 4; ++i) {
    const Json::Array& ids = choice(without, i).at("token_ids", "c").as_array("c");
    ASSERT_EQ(choice(with, i).at("token_ids", "c"), choice(without, i).at("token_ids", "c"));
    std::string words, all;
    for (const Json& id : ids) {
      words = all;
      all += (all.empty() ? "" : " ") + (id == Json(0) ? std::string("<unk>") : "w" + id.dump());
    }
    const bool stopped = ids.back() == stop;
    const std::string text = choice(without, i).get_string("text", "", "c");
    EXPECT_EQ(text.substr(std::min(text.find_first_not_of(' '), text.size())), stopped ? words : all) << i;
    EXPECT_EQ(choice(with, i).get_string("text", "", "c"), text + (stopped ? " w" + stop.dump() : "")) << i;
    ended += stopped ? 1 : 0;
  }
  EXPECT_GT(ended, 0);
}

// As vLLM: a chunk tells of its own choice and prompt, the last chunk of all.
TEST_F(AppTest, UsageOfAChunkIsThatOfItsChoice) {
  const auto check = [&](const std::string& path, const std::string& fields, const std::vector<int64_t>& prompts) {
    const auto stream = post(path, "{" + fields + R"(, "n": 2, "temperature": 1, "max_tokens": 3, "ignore_eos": true,
        "stream": true, "stream_options": {"continuous_usage_stats": true, "include_usage": true}, "return_token_ids": true})");
    std::map<int64_t, int64_t> told;
    int64_t all = 0;
    for (const Json& chunk : stream->chunks()) {
      const Json& usage = chunk.at("usage", "c");
      if (chunk.at("choices", "c").size() == 0) {
        EXPECT_EQ(usage.at("completion_tokens", "u"), Json(all));
        continue;
      }
      const int64_t index = choice(chunk).at("index", "c").as_int("c");
      const Json* ids = choice(chunk).find("token_ids");
      const int64_t more = ids == nullptr || ids->is_null() ? 0 : static_cast<int64_t>(ids->size());
      all += more;
      EXPECT_EQ(usage.at("completion_tokens", "u"), Json(told[index] += more)) << index;
      EXPECT_EQ(usage.at("prompt_tokens", "u"), Json(prompts[static_cast<size_t>(index) / 2])) << index;
    }
    EXPECT_EQ(all, 6 * static_cast<int64_t>(prompts.size()));
  };
  check("/v1/completions", R"("prompt": [[7], [7, 8, 9]])", {1, 3});
  check("/v1/chat/completions", R"("messages": [{"role": "user", "content": "w7"}])", {4});
}

TEST_F(AppTest, UsageOfAChunkCountsItsTokens) {
  for (const std::string interval : {"1", "4"}) {
    const auto stream = post("/v1/completions", R"({"prompt": "w7", "max_tokens": 10, "ignore_eos": true, "stream": true,
        "return_token_ids": true, "stream_options": {"continuous_usage_stats": true}, "stream_interval": )" +
                                                    interval + "}");
    int64_t told = 0;
    for (const Json& chunk : stream->chunks()) {
      told += static_cast<int64_t>(choice(chunk).at("token_ids", "c").size());
      EXPECT_EQ(chunk.at("usage", "c").at("completion_tokens", "u"), Json(told));
    }
    EXPECT_EQ(told, 10);
  }
  const auto chat = post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "w7"}], "max_tokens": 2,
      "ignore_eos": true, "stream": true, "stream_options": {"continuous_usage_stats": true}})");
  std::vector<int64_t> counts;
  for (const Json& chunk : chat->chunks()) counts.push_back(chunk.at("usage", "c").at("completion_tokens", "u").as_int("u"));
  EXPECT_EQ(counts, (std::vector<int64_t>{0, 1, 2, 2}));  // the first tells the role, the last why the answer ends
}

TEST_F(AppTest, NoTokensAreAnAnswerEach) {
  const std::string fields = R"("prompt": ["w7 w8", "w9"], "max_tokens": 0, "n": 3, "temperature": 1)";
  for (const char* more : {"", R"(, "use_beam_search": true)"}) {
    const Json answer = complete(fields + more);
    ASSERT_EQ(answer.at("choices", "a").size(), 6u);
    for (size_t i = 0; i < 6; ++i) EXPECT_EQ(choice(answer, i).at("finish_reason", "c"), Json("length")) << i;
    EXPECT_EQ(answer.at("usage", "a").at("completion_tokens", "u"), Json(0));
  }
  std::string ended;
  for (const Json& chunk : post("/v1/completions", "{" + fields + R"(, "stream": true})")->chunks()) {
    if (choice(chunk).at("finish_reason", "c") == Json("length")) ended += choice(chunk).at("index", "c").dump();
  }
  std::sort(ended.begin(), ended.end());
  EXPECT_EQ(ended, "012345");
}

TEST_F(AppTest, AChatNeedsATemplate) {
  const std::string file = folder_ + "/chat_template.jinja";
  std::filesystem::rename(file, file + ".away");
  make(plain());
  std::filesystem::rename(file + ".away", file);
  expect_refused("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "w7"}]})", "no chat template");
  expect_refused("/tokenize", R"({"messages": [{"role": "user", "content": "w7"}]})", "no chat template");
  EXPECT_EQ(post("/v1/completions", R"({"prompt": "w7", "max_tokens": 1})")->status, 200);
}

TEST_F(AppTest, StructuredOutputs) {
  const std::string fields = R"("prompt": "w7", "max_tokens": 12, "temperature": 1, "seed": 3, )";
  for (int i = 0; i < 5; ++i) {
    const Json chosen = complete(R"("prompt": "w7", "max_tokens": 12, "temperature": 1, "seed": )" + std::to_string(i) +
                                 R"(, "structured_outputs": {"choice": [" w30", " w31"]})");
    const std::string text = choice(chosen).get_string("text", "", "c");
    EXPECT_TRUE(text == " w30" || text == " w31") << text;
    EXPECT_EQ(choice(chosen).at("finish_reason", "c"), Json("stop"));
  }
  EXPECT_LE(complete(fields + R"("guided_regex": " w3[0-9]")").at("usage", "a").at("completion_tokens", "u").as_int("u"), 2);
  const auto bad = [&](const std::string& more, const std::string& says) {
    expect_refused("/v1/completions", "{" + fields + more + "}", says);
  };
  bad(R"("structured_outputs": {})", "nothing asked for");
  bad(R"("structured_outputs": {"regex": "a", "choice": ["b"]})", "more than one kind");
  bad(R"("structured_outputs": {"regex": "a"}, "guided_regex": "b")", "twice");
  bad(R"("structured_outputs": {"regex": "("})", "");
  bad(R"("guided_json": "{")", "");
  bad(R"("response_format": {"type": "yaml"})", "[response_format.type]");
  bad(R"("response_format": {"type": "json_schema"})", "missing");
  bad(R"("structured_outputs": {"regex": " w30"}, "use_beam_search": true)", "beam");
  bad(R"("allowed_token_ids": [4], "guided_regex": "w3")", "[allowed_token_ids]");
}

TEST_F(AppTest, Chat) {
  const std::string messages = R"("messages": [{"role": "system", "content": "w9"}, {"role": "user", "content":
      [{"type": "text", "text": "w7"}]}], "temperature": 0, "max_tokens": 4, "ignore_eos": true)";
  const Json answer = post("/v1/chat/completions", "{" + messages + "}")->json();
  EXPECT_EQ(answer.at("object", "a"), Json("chat.completion"));
  EXPECT_EQ(answer.at("usage", "a").at("prompt_tokens", "u"), Json(6));
  const Json& message = choice(answer).at("message", "c");
  EXPECT_EQ(message.at("role", "m"), Json("assistant"));
  const Json plain = complete(
      R"("prompt": "<s> system w9 user w7 assistant", "add_special_tokens": false, "temperature": 0, "max_tokens": 4, "ignore_eos": true)");
  EXPECT_EQ(message.at("content", "m"), choice(plain).at("text", "c"));
  std::string streamed;
  const std::vector<Json> chunks =
      post("/v1/chat/completions", "{" + messages + R"(, "stream": true, "logprobs": true, "top_logprobs": 2})")->chunks();
  EXPECT_EQ(choice(chunks[0]).at("delta", "c").at("role", "d"), Json("assistant"));
  for (const Json& chunk : chunks) streamed += choice(chunk).at("delta", "c").get_string("content", "", "d");
  EXPECT_EQ(Json(streamed), message.at("content", "m"));
  EXPECT_EQ(choice(chunks[1]).at("logprobs", "c").at("content", "l").as_array("l")[0].at("top_logprobs", "l").size(), 2u);
  EXPECT_EQ(choice(chunks.back()).at("finish_reason", "c"), Json("length"));
  // Without max_tokens an answer may fill the context.
  const Json long_answer =
      post("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "w7"}], "temperature": 0, "ignore_eos": true})")
          ->json();
  EXPECT_EQ(long_answer.at("usage", "a").at("total_tokens", "u"), Json(128));
  expect_refused("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "w90"}]})", "no w90 here");
  expect_refused("/v1/chat/completions", R"({"messages": []})", "[messages] empty");
  expect_refused("/v1/chat/completions", R"({"messages": [{"content": "w1"}]})", "role");
  expect_refused("/v1/chat/completions", R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
                 "image_url");
  expect_refused("/v1/chat/completions", "{" + messages + R"(, "tools": [{}]})", "function");
}

TEST_F(AppTest, TokenizeAndBack) {
  const Json ids = post("/tokenize", R"({"prompt": "w7 w8", "return_token_strs": true})")->json();
  EXPECT_EQ(ids.at("tokens", "t").dump(), "[1,7,8]");
  EXPECT_EQ(ids.at("token_strs", "t").dump(), R"(["<s>","w7","w8"])");
  EXPECT_EQ(post("/tokenize", R"({"messages": [{"role": "user", "content": "w7"}]})")->json().at("count", "t"), Json(4));
  EXPECT_EQ(post("/detokenize", R"({"tokens": [7, 8]})")->json().at("prompt", "t"), Json("w7 w8"));
  expect_refused("/tokenize", R"({})", "[prompt] missing");
}

TEST_F(AppTest, WrongRequestsAreNamed) {
  const auto bad = [&](const std::string& fields, const std::string& says) {
    expect_refused("/v1/completions", R"({"prompt": "w7")" + (fields.empty() ? "" : ", " + fields) + "}", says);
  };
  bad(R"("tempurature": 1)", "tempurature");
  bad(R"("temperature": -1)", "[temperature]");
  bad(R"("temperature": "hot")", "[temperature]");
  bad(R"("top_p": 0)", "[top_p]");
  bad(R"("n": 0)", "[n]");
  bad(R"("n": 100000)", "[n]");
  bad(R"("n": 2, "temperature": 0)", "[n]");
  bad(R"("n": 3, "best_of": 2)", "[best_of]");
  bad(R"("best_of": 2, "stream": true)", "[best_of]");
  bad(R"("logprobs": 1000)", "[logprobs]");
  bad(R"("max_tokens": 100000)", "too long");
  bad(R"("stop": ["", "a"])", "[stop]");
  bad(R"("stop": ["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"])", "[stop] too many");
  bad(R"("logit_bias": {"x": 1})", "[logit_bias]");
  bad(R"("logit_bias": {"5": 1000})", "[logit_bias]");
  bad(R"("logit_bias": {"5000": 1})", "5000");
  bad(R"("stream_options": {"include_usage": true})", "[stream_options]");
  bad(R"("suffix": "w8")", "[suffix]");
  bad(R"("allowed_token_ids": [])", "[allowed_token_ids]");
  bad(R"("allowed_token_ids": [100000])", "[allowed_token_ids]");
  bad(R"("min_tokens": 3, "max_tokens": 2)", "[min_tokens]");
  bad(R"("seed": 1.5)", "[seed]");
  bad(R"("stream_interval": 0)", "[stream_interval]");
  bad(R"("skip_special_tokens": false, "spaces_between_special_tokens": false)", "[spaces_between_special_tokens]");
  expect_refused("/v1/completions", "{", "request");
  expect_refused("/v1/completions", "[1]", "request");
  expect_refused("/v1/completions", std::string(100000, '['), "request");
  expect_refused("/v1/completions", R"({"max_tokens": 3})", "[prompt] missing");
  expect_refused("/v1/completions", R"({"prompt": []})", "[prompt] empty");
  expect_refused("/v1/completions", R"({"prompt": [99]})", "[prompt]");
  expect_refused("/v1/completions", R"({"prompt": "w7", "model": "gpt-4"})", "does not exist", 404);
  // Ignored, as OpenAI's own servers do.
  complete(R"("prompt": "w7", "user": "me", "max_tokens": 1, "temperature": null, "metadata": {"a": "b"})");
}

TEST_F(AppTest, KeysAndOrigins) {
  Options options = plain();
  options.api_keys = {"secret", "second"};
  options.allowed_origins = {"https://app.example"};
  options.root_path = "/proxy";
  make(options);
  EXPECT_EQ(call(request("GET", "/v1/models"))->status, 401);
  EXPECT_EQ(call(request("GET", "/nowhere"))->status, 401);
  EXPECT_EQ(call(request("GET", "/metrics"))->status, 401);
  EXPECT_EQ(call(request("GET", "/health"))->status, 200);
  EXPECT_EQ(call(request("GET", "/v1/models", "", {{"authorization", "Bearer wrong"}}))->status, 401);
  EXPECT_EQ(call(request("GET", "/v1/models", "", {{"authorization", "Bearer secret"}}))->status, 200);
  EXPECT_EQ(call(request("GET", "/proxy/v1/models", "", {{"authorization", "Bearer second"}}))->status, 200);
  const auto preflight = call(request("OPTIONS", "/v1/completions", "", {{"origin", "https://app.example"}}));
  EXPECT_EQ(preflight->status, 204);
  EXPECT_EQ(preflight->headers.at(0),
            (std::pair<std::string, std::string>{"access-control-allow-origin", "https://app.example"}));
  EXPECT_EQ(call(request("OPTIONS", "/v1/completions", "", {{"origin", "https://evil.example"}}))->status, 405);
}

TEST_F(AppTest, DefaultsOfTheServersFlags) {
  Options options = plain();
  options.override_generation_config = Json::parse(R"({"temperature": 0})", "flag");
  make(options);
  const std::string fields = R"("prompt": "w7", "max_tokens": 8)";
  EXPECT_EQ(complete(fields).at("choices", "a"), complete(fields + R"(, "temperature": 0)").at("choices", "a"));
  EXPECT_EQ(error_body(505, "x").find("InternalServerError"), std::string::npos);
}

// vLLM: the most that any request gets.
TEST_F(AppTest, MaxNewTokensOfTheServersFlagsBoundsEveryAnswer) {
  Options options = plain();
  options.override_generation_config = Json::parse(R"({"max_new_tokens": 3})", "flag");
  make(options);
  const auto tokens = [](const Json& answer) { return answer.at("usage", "a").get_int("completion_tokens", 0, "u"); };
  EXPECT_EQ(tokens(complete(R"("prompt": "w7", "max_tokens": 8, "ignore_eos": true)")), 3);
  EXPECT_EQ(tokens(complete(R"("prompt": "w7", "max_tokens": 2, "ignore_eos": true)")), 2);
  EXPECT_EQ(tokens(complete(R"("prompt": "w7", "ignore_eos": true)")), 3);
  const char* chat = R"({"messages": [{"role": "user", "content": "w7"}], "ignore_eos": true})";
  EXPECT_EQ(tokens(post("/v1/chat/completions", chat)->json()), 3);
}

TEST_F(AppTest, DefaultsOfTheServersFlagsAreCheckedAtStart) {
  const auto message = [&](const char* overrides) -> std::string {
    Options options = plain();
    options.override_generation_config = Json::parse(overrides, "flag");
    try {
      check(options);
    } catch (const Error& error) {
      return error.message();
    }
    return "no error";
  };
  EXPECT_EQ(message(R"({"temperature": 0.5, "top_k": 5, "eos_token_id": [1, 2]})"), "no error");
  EXPECT_EQ(message(R"({"temperature": -3})"),
            "[--override-generation-config] sampling: temperature is out of range: got -3, need 0 (greedy) or more");
  EXPECT_EQ(message(R"({"temperature": "x"})").rfind("[--override-generation-config: temperature] wrong type", 0), 0u)
      << message(R"({"temperature": "x"})");
  EXPECT_EQ(
      message(R"({"foo": 1})").rfind("[--override-generation-config] unknown field: got 'foo', need some of temperature", 0),
      0u)
      << message(R"({"foo": 1})");
}

// Clients in browsers (openai-js) send headers of their own, and ask first.
TEST_F(AppTest, PreflightsAllowWhatIsAsked) {
  Options options = plain();
  options.allowed_origins = {"*"};
  make(options);
  const auto allowed = [this](const std::string& name) {
    const auto told = call(request("OPTIONS", "/v1/chat/completions", "",
                                   {{"origin", "https://app.example"},
                                    {"access-control-request-method", "POST"},
                                    {"access-control-request-headers", "authorization,content-type,x-stainless-lang"}}));
    EXPECT_EQ(told->status, 204);
    std::string value;
    for (const auto& [key, text] : told->headers) value += key == name ? text : "";
    return value;
  };
  EXPECT_EQ(allowed("access-control-allow-headers"), "authorization,content-type,x-stainless-lang");
  EXPECT_NE(allowed("access-control-allow-methods").find("POST"), std::string::npos);
  EXPECT_EQ(allowed("vary"), "origin, access-control-request-headers");
  options.allowed_headers = {"content-type", "x-mine"};
  options.allowed_methods = {"GET"};
  make(options);
  EXPECT_EQ(allowed("access-control-allow-headers"), "content-type, x-mine");
  EXPECT_EQ(allowed("access-control-allow-methods"), "GET");
}

TEST_F(AppTest, AClientThatLeavesFreesItsPages) {
  auto told = std::make_shared<Told>();
  app_->handle(request("POST", "/v1/completions", R"({"prompt": "w7", "max_tokens": 120, "ignore_eos": true, "stream": true})"),
               told);
  told->disconnect();
  engine_->drain();
  EXPECT_EQ(generation_->engine().pool().num_free(), generation_->engine().pool().num_blocks());
}

// By the log-probabilities of its tokens, whether or not they are asked for.
TEST_F(AppTest, BestOfPicksTheLikeliest) {
  int first = 0;
  for (int seed = 0; seed < 8; ++seed) {
    const std::string fields =
        R"("prompt": "w7", "max_tokens": 4, "temperature": 1.5, "ignore_eos": true, "seed": )" + std::to_string(seed) + ", ";
    const Json all = complete(fields + R"("n": 6, "logprobs": 0)");
    size_t best = 0;
    double most = -1e30;
    for (size_t i = 0; i < 6; ++i) {
      double sum = 0;
      for (const Json& each : choice(all, i).at("logprobs", "c").at("token_logprobs", "l").as_array("l"))
        sum += each.as_double("l");
      if (sum > most) best = i;
      most = std::max(most, sum);
    }
    first += best == 0 ? 1 : 0;
    EXPECT_EQ(choice(complete(fields + R"("n": 1, "best_of": 6)")).at("text", "c"), choice(all, best).at("text", "c")) << seed;
  }
  EXPECT_LT(first, 8);
}

TEST_F(AppTest, WhatCannotBeIsRefusedAhead) {
  const std::string path = "/v1/completions";
  expect_refused(path, R"({"prompt": "w7", "allowed_token_ids": [9], "stop_token_ids": [9], "min_tokens": 2, "max_tokens": 3})",
                 "[allowed_token_ids] min_tokens and bad_words leave none");
  expect_refused(path, R"({"prompt": "w7", "allowed_token_ids": [9], "bad_words": ["w9"]})",
                 "[allowed_token_ids] min_tokens and bad_words leave none");
  EXPECT_EQ(
      post(path, R"({"prompt": "w7", "allowed_token_ids": [9, 10], "stop_token_ids": [9], "min_tokens": 2, "max_tokens": 3})")
          ->status,
      200);
  expect_refused("/detokenize", R"({"tokens": [7, 99999999]})", "[tokens] id outside the vocabulary: got 99999999");
  EXPECT_EQ(post("/detokenize", R"({"tokens": [7]})")->status, 200);
}

TEST_F(AppTest, CountsWhatHappened) {
  complete(R"("prompt": "w7 w8", "max_tokens": 5, "ignore_eos": true)");
  const std::string text = call(request("GET", "/metrics"))->body;
  EXPECT_NE(text.find("vllm:request_success_total{model_name=\"words\",engine=\"0\",finished_reason=\"length\"} 1"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("vllm:time_to_first_token_seconds_count{model_name=\"words\",engine=\"0\"} 1"), std::string::npos);
  EXPECT_NE(text.find("vllm:inter_token_latency_seconds_count{model_name=\"words\",engine=\"0\"} 4"), std::string::npos);
}

}  // namespace
}  // namespace pagoda::server
