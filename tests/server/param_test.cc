// Errors name the field at fault, bodies that are compressed, a model by its name, text for models without a tokenizer.
#include "server/param_names.h"

#include "base/utf8.h"
#include "server/http_text.h"
#include "tests/server/app_fixture.h"
#include "tests/temporary.h"

namespace pagoda::server {
namespace {

class ParamTest : public AppTest {
 protected:
  Json param(const std::string& path, const std::string& body) {
    const auto told = post(path, body);
    EXPECT_GE(told->status, 400) << body;
    return told->json().at("error", "answer").at("param", "error");
  }
};

TEST_F(ParamTest, CompletionsNameTheField) {
  const std::string path = "/v1/completions";
  EXPECT_EQ(param(path, R"({"prompt": "w7", "temperature": -1})"), Json("temperature"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "tempurature": 1})"), Json("tempurature"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "stream": true, "stream_options": {"include_usage": 3}})"),
            Json("stream_options.include_usage"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "stream": true, "stream_options": {"x": 3}})"), Json("stream_options"));
  EXPECT_EQ(param(path, R"({"max_tokens": 3})"), Json("prompt"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "max_tokens": 100000})"), Json("max_tokens"));
  EXPECT_EQ(param(path, R"({"prompt": [99]})"), Json("prompt"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "logprobs": 1, "logprob_token_ids": [99]})"), Json("logprob_token_ids"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "model": "gpt-4"})"), Json("model"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "guided_regex": "("})"), Json("guided_regex"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "structured_outputs": {"regex": "("}})"), Json("structured_outputs"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "response_format": {"type": "yaml"}})"), Json("response_format.type"));
  EXPECT_EQ(
      param(path, R"({"prompt": "w7", "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 5}}}})"),
      Json("response_format"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "logit_bias": {"9999": 1}})"), Json("logit_bias"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "stop_token_ids": [99999]})"), Json("stop_token_ids"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "structured_outputs": {"choice": []}})"), Json("structured_outputs.choice"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "guided_choice": []})"), Json("guided_choice"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "use_beam_search": true, "n": 2, "structured_outputs": {"regex": "a"}})"),
            Json("use_beam_search"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "best_of": 3, "temperature": 0})"), Json("best_of"));
  EXPECT_EQ(param(path, R"({"prompt": "w7", "n": 3, "temperature": 0})"), Json("n"));
  // No field is at fault.
  EXPECT_TRUE(param(path, "{").is_null());
  EXPECT_TRUE(param("/nowhere", "{}").is_null());
}

TEST_F(ParamTest, IntegersBeyond64BitsAreOutOfRange) {
  const auto told = post("/v1/completions", R"({"prompt": "w7", "seed": 9223372036854775808})");
  EXPECT_EQ(told->status, 400);
  EXPECT_NE(told->body.find("[seed] out of range: got 9223372036854775808, need -9223372036854775808 to "), std::string::npos)
      << told->body;
  EXPECT_NE(post("/v1/completions", R"({"prompt": "w7", "seed": 1.5})")->body.find("need an integer"), std::string::npos);
}

TEST_F(ParamTest, OtherEndpointsNameTheirs) {
  const std::string chat = "/v1/chat/completions";
  EXPECT_EQ(param(chat, R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})"), Json("messages"));
  EXPECT_EQ(param(chat, R"({"messages": [{"content": "w7"}]})"), Json("messages"));
  EXPECT_EQ(param(chat, R"({"messages": [{"role": "user", "content": "w7"}], "tools": [{}]})"), Json("tools"));
  std::string many = "w7";
  for (int i = 0; i < 200; ++i) many += " w8";
  EXPECT_EQ(param(chat, R"({"messages": [{"role": "user", "content": ")" + many + "\"}]}"), Json("messages"));
  EXPECT_EQ(param("/v1/responses", R"({"input": ")" + many + "\"}"), Json("input"));
  EXPECT_EQ(param("/v1/responses", R"({"input": "w7", "temperature": "hot"})"), Json("temperature"));
  EXPECT_EQ(param("/v1/embeddings", R"({"input": ")" + many + "\"}"), Json("input"));
  EXPECT_EQ(param("/v1/responses", R"({"input": "w7", "prompt": {"id": "x"}})"), Json("prompt"));
  EXPECT_EQ(param("/v1/embeddings", R"({"input": "w7", "messages": [1]})"), Json("messages"));
  EXPECT_EQ(param("/tokenize", "{}"), Json("prompt"));
}

// Where an error shows the beginning of a long text, the cut is between characters: every answer is JSON in UTF-8.
TEST_F(ParamTest, AnswersAreUtf8) {
  std::string text = "a";
  for (int i = 0; i < 300; ++i) text += "\u00e9";
  for (std::string body : {R"({"messages": [{"role": "user", "content": "w7"}], "@": 1})",
                           R"({"messages": [{"role": "user", "content": "w7"}], "model": "@"})",
                           R"({"messages": [{"role": "user", "content": "w7"}], "reasoning_effort": "@"})",
                           R"({"messages": [{"role": "user", "content": "w7"}], "tool_choice": "@"})",
                           R"({"messages": [{"role": "user", "content": [{"type": "@"}]}]})",
                           R"({"messages": [{"role": "user", "content": "w7"}], "logit_bias": {"@": 1}})",
                           R"({"messages": [{"role": "user", "content": "w7"}], "stream": true, "stream_options": {"@": 1}})",
                           R"({"messages": [{"role": "user", "content": "w7"}], "structured_outputs": {"@": 1}})"}) {
    body.replace(body.find('@'), 1, text);
    const auto told = post("/v1/chat/completions", body);
    EXPECT_GE(told->status, 400) << body;
    EXPECT_TRUE(utf8_valid(told->body)) << body;
    EXPECT_EQ(told->json().at("error", "a").get_string("message", "", "e").find("\ufffd"), std::string::npos) << told->body;
  }
  EXPECT_TRUE(utf8_valid(error_body(400, "\xc3", "\xff")));
}

TEST(ParamNames, ComeFromTheBeginOfTheMessage) {
  const ParamNames names(Json::parse(R"({"properties": {"input": {}, "text": {}}})", "schema"));
  EXPECT_EQ(names.param("[input] empty"), "input");
  EXPECT_EQ(names.param("[text.format] empty"), "text.format");
  EXPECT_EQ(names.param("[prompt] empty"), "input");
  EXPECT_EQ(names.param("[response_format.type] empty"), "text");
  EXPECT_EQ(names.param("[other] empty"), "");
  EXPECT_EQ(names.param("[request] unknown field: got 'a'b'"), "a'b");
  EXPECT_EQ(names.param("plain"), "");
  EXPECT_EQ(names.param(""), "");
  const Error error(ErrorKind::kInvalidInput, "[json schema] type: need text");
  EXPECT_EQ(moved_into("response_format", error).message(), "[response_format] json schema: type: need text");
  EXPECT_EQ(moved_into("tools", Error(ErrorKind::kInvalidInput, "[tools] empty")).message(), "[tools] empty");
}

TEST_F(ParamTest, CompressedBodiesAreRefused) {
  const std::string body = R"({"prompt": "w7", "max_tokens": 1})";
  for (const char* coding : {"gzip", "br", "gzip, identity", "x"}) {
    const auto told = call(request("POST", "/v1/completions", body, {{"content-encoding", coding}}));
    EXPECT_EQ(told->status, 415) << coding;
    EXPECT_NE(told->body.find(coding), std::string::npos) << told->body;
    EXPECT_EQ(told->headers.at(0), (std::pair<std::string, std::string>{"accept-encoding", "identity"}));
  }
  EXPECT_EQ(call(request("POST", "/v1/completions", body, {{"content-encoding", "Identity"}}))->status, 200);
  EXPECT_EQ(call(request("GET", "/v1/models", "", {{"content-encoding", "gzip"}}))->status, 200);
}

TEST_F(ParamTest, AModelByItsName) {
  Options options = plain();
  options.served_model_names = {"org/words", "other"};
  make(options);
  const Json list = call(request("GET", "/v1/models"))->json();
  for (size_t i = 0; i < 2; ++i) {
    const Json& listed = list.at("data", "l").as_array("l").at(i);
    const auto told = call(request("GET", "/v1/models/" + listed.get_string("id", "", "m")));
    EXPECT_EQ(told->status, 200);
    EXPECT_EQ(told->json(), listed);
  }
  const auto told = call(request("GET", "/v1/models/gpt-4"));
  EXPECT_EQ(told->status, 404);
  const Json error = told->json().at("error", "answer");
  EXPECT_EQ(error.at("code", "e"), Json("model_not_found"));
  EXPECT_EQ(error.at("param", "e"), Json("model"));
  EXPECT_EQ(call(request("GET", "/v1/models/"))->status, 404);
  EXPECT_EQ(call(request("DELETE", "/v1/models/other"))->status, 405);
  // The same fault in a body has the same code.
  EXPECT_EQ(post("/v1/completions", R"({"prompt": "w7", "model": "gpt-4"})")->json().at("error", "a").at("code", "e"),
            Json("model_not_found"));
}

TEST_F(ParamTest, RootPathsMayLackTheirSlash) {
  for (const char* given : {"/api", "api", "api/", "/api//"}) {
    Options options = plain();
    options.root_path = given;
    make(options);
    EXPECT_EQ(call(request("GET", "/api/v1/models"))->status, 200) << given;
    EXPECT_EQ(call(request("GET", "/v1/models"))->status, 200) << given;
    EXPECT_EQ(call(request("GET", "/openapi.json"))->json().at("servers", "d").dump(), R"([{"url":"/api"}])") << given;
  }
  Options options = plain();
  options.root_path = "/";
  make(options);
  EXPECT_EQ(call(request("GET", "/openapi.json"))->json().at("servers", "d").dump(), R"([{"url":"/"}])");
  for (const char* given : {"a b", "/a?b", "/a//b", "https://a.example/b"}) {
    options.root_path = given;
    EXPECT_THROW(App{options}, Error) << given;
  }
}

TEST_F(ParamTest, TextForAModelWithoutTokenizerIsTheRequestsFault) {
  const std::string folder = pagoda::testing::temporary_path("no_tokenizer");
  pagoda::testing::make_word_model(folder);
  std::filesystem::remove(folder + "/tokenizer.json");
  LoadOptions load;
  load.runtime.threads = 1;
  const auto bare = TextGeneration::open(folder, load);
  app_ = std::make_unique<App>(plain());
  serve(*bare);
  for (const auto& [path, body, field] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"/v1/completions", R"({"prompt": "w7"})", "prompt"},
           {"/v1/completions", R"({"prompt": [7], "bad_words": ["w8"]})", "bad_words"},
           {"/v1/completions", R"({"prompt": [7], "guided_regex": "a"})", "guided_regex"},
           {"/v1/chat/completions", R"({"messages": [{"role": "user", "content": "w7"}]})", "messages"},
           {"/v1/embeddings", R"({"input": "w7"})", "input"},
           {"/tokenize", R"({"prompt": "w7"})", "prompt"},
           {"/detokenize", R"({"tokens": [7]})", "tokens"}}) {
    expect_refused(path, body, "no tokenizer");
    EXPECT_EQ(param(path, body), Json(field)) << path;
  }
  EXPECT_EQ(post("/v1/completions", R"({"prompt": [1, 7], "max_tokens": 2})")->status, 200);
  app_.reset();  // before its model
}

}  // namespace
}  // namespace pagoda::server
