// What broke peers must not break this server: a test for each class of their published advisories, named after one of them.
// Advisories of files (weights, tokenizers) have theirs in tests/formats/advisories_test.cc.
#include <chrono>
#include <map>
#include <set>

#include "base/error.h"
#include "engine/block_hash.h"
#include "generate/grammar/grammar.h"
#include "server/http_server.h"
#include "tests/server/app_fixture.h"
#include "tests/server/http_client.h"

namespace pagoda::server {
namespace {

class Advisory : public AppTest {
 protected:
  // After each of them the server still answers, and holds no page.
  void TearDown() override {
    if (!app_) return;
    engine_->drain();
    EXPECT_EQ(call(request("GET", "/health"))->status, 200);
    EXPECT_EQ(complete(R"("prompt": "w7", "max_tokens": 1)").at("usage", "a").at("completion_tokens", "u"), Json(1));
    engine_->drain();
    EXPECT_EQ(generation_->engine().pool().num_free(), generation_->engine().pool().num_blocks());
  }
  int status_of(const std::string& path, const std::string& body) { return post(path, body)->status; }
  // Not served, and not the server's fault.
  void refused(const std::string& path, const std::string& body) {
    const int status = status_of(path, body);
    EXPECT_TRUE(status == 400 || status == 404 || status == 413) << status << " " << body.substr(0, 200);
  }
  void refused_field(const std::string& fields) {
    refused("/v1/completions", R"({"prompt": "w7", )" + fields + "}");
    refused("/v1/chat/completions", R"({"messages": [{"role": "user", "content": "w7"}], )" + fields + "}");
  }
  static std::string repeat(const std::string& text, int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) out += text;
    return out;
  }
  void trusting() {
    Options options = plain();
    options.trust_request_chat_template = true;
    make(options);
  }
  static std::string with_template(const std::string& chat_template) {
    Json body = Json::parse(R"({"messages": [{"role": "user", "content": "w7"}], "max_tokens": 1})", "body");
    return body.set("chat_template", chat_template).dump();
  }
};

// ---- unbounded counts

TEST_F(Advisory, CVE_2026_34756_huge_n) {
  for (const char* count : {"129", "100000", "2147483648", "9223372036854775807", "1e300", "-1", "0"}) {
    refused_field(R"("n": )" + std::string(count));
    refused_field(R"("best_of": )" + std::string(count));
    refused_field(R"("use_beam_search": true, "n": )" + std::string(count));
  }
}

TEST_F(Advisory, PYSEC_2026_4350_many_logprobs) {
  for (const char* count : {"21", "1000000000", "-1", "-9223372036854775808"}) {
    refused_field(R"("prompt_logprobs": )" + std::string(count));
    refused_field(R"("logprobs": )" + std::string(count));
    refused_field(R"("logprobs": true, "top_logprobs": )" + std::string(count));
  }
  refused("/v1/completions", R"({"prompt": "w7", "logprobs": 1, "logprob_token_ids": [)" + repeat("7,", 128) + "7]}");
  refused("/v1/completions", R"({"prompt": "w7", "logprobs": 1, "logprob_token_ids": [2147483647]})");
}

TEST_F(Advisory, Every_list_has_a_bound) {
  const std::string ids = "[" + repeat("7,", 5000) + "7]", texts = "[" + repeat("\"w7\",", 5000) + "\"w7\"]";
  for (const char* field : {"stop_token_ids", "allowed_token_ids"}) refused_field("\"" + std::string(field) + "\": " + ids);
  for (const char* field : {"stop", "bad_words", "guided_choice"}) refused_field("\"" + std::string(field) + "\": " + texts);
  std::string bias = R"("logit_bias": {)";
  for (int i = 0; i < 5000; ++i) bias += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\": 1";
  refused_field(bias + "}");
  refused("/v1/completions", R"({"prompt": )" + texts + "}");
  refused("/v1/embeddings", R"({"input": )" + texts + "}");
  refused("/v1/chat/completions", R"({"messages": [)" + repeat(R"({"role": "user", "content": "w7"},)", 5000) +
                                      R"({"role": "user", "content": "w7"}]})");
  refused_field(R"("stop": ")" + std::string(5000, 'x') + "\"");
  refused_field(R"("cache_salt": ")" + std::string(5000, 'x') + "\"");
  refused_field(R"("request_id": ")" + std::string(5000, 'x') + "\"");
}

TEST_F(Advisory, CVE_2024_8768_empty_prompt) {
  refused("/v1/completions", R"({"prompt": []})");
  refused("/v1/completions", R"({"prompt": [[]]})");
  refused("/v1/completions", R"({"prompt": "", "add_special_tokens": false})");
  refused("/v1/embeddings", R"({"input": "", "add_special_tokens": false})");
  EXPECT_EQ(status_of("/v1/completions", R"({"prompt": "", "max_tokens": 1})"), 200);  // the start token stands for it
  EXPECT_EQ(status_of("/v1/completions", R"({"prompt": "", "max_tokens": 0, "echo": true, "logprobs": 1})"), 200);
}

TEST_F(Advisory, CVE_2025_48956_huge_header) {
  HttpOptions options;
  options.port = 0;
  HttpServer http(options, [this](HttpRequest request, std::shared_ptr<HttpResponse> response) {
    app_->handle(std::move(request), std::move(response));
  });
  pagoda::testing::Client client(http.port());
  client.send("GET /health HTTP/1.1\r\nhost: x\r\nx-large: " + std::string(size_t{1} << 20, 'a') + "\r\n\r\n");
  EXPECT_EQ(client.read_answer().status, 431);
}

// CVE-2026-21869 was a negative n_discard.
TEST_F(Advisory, CVE_2026_21869_negative_numbers) {
  refused_field(R"("n_discard": -1)");
  // What each route needs besides.
  const std::map<std::string, std::string> needs = {
      {"/v1/completions", R"("prompt": "w7")"}, {"/v1/chat/completions", R"("messages": [{"role": "user", "content": "w7"}])"},
      {"/v1/responses", R"("input": "w7")"},    {"/v1/embeddings", R"("input": "w7")"},
      {"/tokenize", R"("prompt": "w7")"},       {"/detokenize", R"("tokens": [7])"}};
  const Json document = call(request("GET", "/openapi.json"))->json();
  for (const JsonMember& path : document.at("paths", "d").as_object("d")) {
    const Json* post_operation = path.value.find("post");
    if (post_operation == nullptr || !post_operation->contains("requestBody")) continue;
    ASSERT_EQ(needs.count(path.key), 1u) << path.key;
    const std::string begin = "{" + needs.at(path.key);
    EXPECT_EQ(status_of(path.key, begin + "}"), 200) << path.key;
    const Json& schema =
        post_operation->at("requestBody", "d").at("content", "d").at("application/json", "d").at("schema", "d");
    for (const JsonMember& field : schema.at("properties", "d").as_object("d")) {
      const Json* type = field.value.find("type");
      if (type == nullptr ||
          (type->dump().find("integer") == std::string::npos && type->dump().find("number") == std::string::npos)) {
        continue;
      }
      // Every number has both bounds, and they hold far outside.
      ASSERT_TRUE(field.value.contains("maximum")) << path.key << " " << field.key;
      ASSERT_TRUE(field.value.contains("minimum") || field.value.contains("exclusiveMinimum")) << path.key << " " << field.key;
      if (field.key == "seed") continue;
      for (const char* number : {"-9223372036854775808", "9223372036854775807", "-1e308"}) {
        const auto told = post(path.key, begin + ", \"" + field.key + "\": " + number + "}");
        EXPECT_EQ(told->status, 400) << path.key << " " << field.key << " " << number;
        EXPECT_EQ(told->json().at("error", "a").at("param", "e"), Json(field.key)) << told->body;
      }
      EXPECT_EQ(status_of(path.key, begin + ", \"" + field.key + "\": 1e400}"), 400) << field.key;
    }
  }
}

TEST_F(Advisory, Numbers_that_are_none) {
  for (const char* number : {"NaN", "Infinity", "-Infinity", "1e999", "-1e999"}) {
    for (const char* field : {"temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
                              "length_penalty", "max_tokens", "n", "seed", "top_k", "priority"}) {
      refused_field("\"" + std::string(field) + "\": " + number);
    }
    refused_field(R"("logit_bias": {"5": )" + std::string(number) + "}");
    refused("/v1/completions", R"({"prompt": [)" + std::string(number) + "]}");
  }
}

// ---- tensors and media from outside

TEST_F(Advisory, CVE_2025_62164_prompt_embeds) {
  refused("/v1/completions", R"({"prompt_embeds": "gAJjb3MKc3lzdGVtCnEAWAIAAABpZHEBhXECUnEDLg=="})");
  refused("/v1/completions", R"({"prompt": "w7", "prompt_embeds": ["AAAA"]})");
}

TEST_F(Advisory, CVE_2025_6242_urls_are_not_fetched) {
  for (const char* part : {R"({"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}})",
                           R"({"type": "input_audio", "input_audio": {"data": "AAAA"}})",
                           R"({"type": "video_url", "video_url": {"url": "file:///etc/passwd"}})"}) {
    refused("/v1/chat/completions", R"({"messages": [{"role": "user", "content": [)" + std::string(part) + "]}]}");
  }
  refused_field(R"("media_io_kwargs": {"video": {"num_frames": 1000000000}})");
}

// ---- patterns, grammars, schemas

TEST_F(Advisory, CVE_2026_55574_redos) {
  // No token of this vocabulary begins with "a", or "w7" without a space.
  for (const auto& [pattern, status] :
       {std::pair{"(a+)+b", 400}, {"(a|a)*b", 400}, {"(.*)*c", 200}, {"((a*)*)*d", 400}, {"(w7|w7 )+z", 400}}) {
    Json body = Json::parse(R"({"prompt": "w7", "max_tokens": 20})", "body");
    body.set("guided_regex", pattern);
    EXPECT_EQ(status_of("/v1/completions", body.dump()), status) << pattern;
  }
}

TEST_F(Advisory, GHSA_vrq3_r879_7m65_malformed_pattern) {
  const auto schema = [&](const std::string& text) {
    refused("/v1/completions", R"({"prompt": "w7", "guided_json": )" + text + "}");
    refused("/v1/chat/completions",
            R"({"messages": [{"role": "user", "content": "w7"}], "response_format": {"type": "json_schema",
                "json_schema": {"name": "x", "schema": )" +
                text + "}}}");
  };
  for (const char* text : {R"({"type": "string", "pattern": "*"})", R"({"type": "string", "pattern": "+a"})",
                           R"({"type": "string", "pattern": "(((("})", R"({"type": "string", "pattern": "[z-a]"})",
                           R"({"type": "string", "pattern": "a{5,2}"})", R"({"type": "something"})", R"({"type": 5})",
                           R"({"$ref": "#/nowhere"})", R"({"$ref": "http://example.com/schema"})", R"({"properties": []})",
                           R"({"anyOf": []})", R"({"minLength": -1, "type": "string"})"}) {
    schema(text);
  }
  for (const char* regex : {"*", "(", "[", "a{2,1}", "\\\\"}) {
    refused_field(R"("structured_outputs": {"regex": ")" + std::string(regex) + "\"}");
  }
}

TEST_F(Advisory, Llama_cpp_25308_nested_schemas_and_grammars) {
  std::string nested = R"({"type": "string"})";
  for (int i = 0; i < 100; ++i) nested = R"({"type": "array", "items": )" + nested + "}";
  EXPECT_NE(status_of("/v1/completions", R"({"prompt": "w7", "max_tokens": 1, "guided_json": )" + nested + "}") / 100, 5);
  const auto text = [&](const char* field, const std::string& source) {
    Json body = Json::parse(R"({"prompt": "w7", "max_tokens": 1})", "body");
    body.set(field, source);
    refused("/v1/completions", body.dump());
  };
  text("guided_regex", std::string(100000, '('));
  text("guided_regex", repeat("(", 6000) + "a" + repeat(")", 6000));
  text("guided_regex", "((((a{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}");
  text("guided_grammar", "root ::= " + repeat("(", 26600) + "\"a\"" + repeat(")", 26600));
  text("guided_grammar", "root ::= root");
  text("guided_grammar", "root ::= a\na ::= b\nb ::= a");
  text("guided_json", repeat(R"({"items":)", 3000) + "true" + repeat("}", 3000));
}

TEST_F(Advisory, GHSA_hf3c_wxg2_49q9_a_schema_a_request) {
  for (int i = 0; i < 200; ++i) {
    const std::string body =
        R"({"prompt": "w7", "max_tokens": 1, "temperature": 0, "guided_json": {"type": "object", "required": ["k)" +
        std::to_string(i) + R"("], "properties": {"k)" + std::to_string(i) + R"(": {"type": "string"}}}})";
    const auto told = post("/v1/completions", body);
    EXPECT_EQ(told->status, 400) << told->body;
  }
  GrammarCache cache(int64_t{1} << 16);
  for (int i = 0; i < 200; ++i) {
    GrammarSource source;
    source.kind = GrammarSource::Kind::kRegex;
    source.text = "[a-z]{1,40}x" + std::to_string(i);
    cache.get(source);
    EXPECT_LE(cache.memory_bytes(), int64_t{1} << 16);
  }
  EXPECT_LT(cache.size(), 200);
}

TEST_F(Advisory, CVE_2026_105757_a_grammar_error_ends_its_request) {
  // A grammar that no token of the vocabulary can begin: the request's error, not the engine's.
  const auto told = post("/v1/completions", R"({"prompt": "w7", "max_tokens": 4, "guided_regex": "~~~~"})");
  EXPECT_EQ(told->status, 400) << told->body;
  EXPECT_TRUE(engine_->healthy());
}

// ---- templates

TEST_F(Advisory, CVE_2025_61620_request_templates_are_off) {
  const Json document = call(request("GET", "/openapi.json"))->json();
  int64_t routes = 0;
  for (const JsonMember& path : document.at("paths", "d").as_object("d")) {
    const Json* operation = path.value.find("post");
    if (operation == nullptr || operation->dump().find("\"chat_template\"") == std::string::npos) continue;
    ++routes;
    // CVE-2026-115918: another route forgot to ask.
    expect_refused(path.key, with_template("{{ 1 }}"), "--trust-request-chat-template");
  }
  EXPECT_GE(routes, 2);
}

TEST_F(Advisory, CVE_2026_115911_endless_templates_Slow) {
  trusting();
  for (const char* text :
       {"{% for i in range(1000000000) %}{% for j in range(1000000000) %}{% endfor %}{% endfor %}", "{{ 'a' * 1000000000 }}",
        "{% set x = ['a' * 100000] * 100000 %}{{ x }}", "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{{ range(1000000000) | list }}", "{% for i in range(100000) %}{{ messages }}{% endfor %}"}) {
    const auto begun = std::chrono::steady_clock::now();
    refused("/v1/chat/completions", with_template(text));
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20)) << text;
  }
}

TEST_F(Advisory, PR_19085_nested_templates) {
  trusting();
  refused("/v1/chat/completions", with_template(repeat("{% if true %}", 5500) + repeat("{% endif %}", 5500)));
  refused("/v1/chat/completions", with_template("{{ " + repeat("(", 6000) + "1" + repeat(")", 6000) + " }}"));
  refused("/v1/chat/completions", with_template("{{ " + repeat("[", 6000) + repeat("]", 6000) + " }}"));
}

TEST_F(Advisory, Templates_see_nothing_of_the_server) {
  trusting();
  for (const char* text :
       {"{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ self.__init__.__globals__ }}", "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}", "{{ cycler.__init__.__globals__.os.popen('id') }}"}) {
    refused("/v1/chat/completions", with_template(text));
  }
}

TEST_F(Advisory, GHSA_69j4_grxj_j64p_kwargs_shadow_nothing) {
  const std::string head = R"({"messages": [{"role": "user", "content": "w7"}], "max_tokens": 1, "return_prompt_text": true)";
  const Json expected = post("/v1/chat/completions", head + "}")->json().at("prompt_text", "a");
  const auto told = post(
      "/v1/chat/completions",
      head + R"(, "chat_template_kwargs": {"messages": [], "tools": [{}], "documents": [{}], "add_generation_prompt": false,
                             "tokenize": true, "chat_template": "x", "continue_final_message": true, "raise_exception": "no",
                             "conversation": "x", "return_dict": true}})");
  ASSERT_EQ(told->status, 200) << told->body;
  EXPECT_EQ(told->json().at("prompt_text", "a"), expected);
}

// ---- keys

TEST_F(Advisory, CVE_2025_59425_keys_are_compared_whole) {
  Options options = plain();
  options.api_keys = {"secret-key", "second"};
  make(options);
  const auto status = [&](const std::string& header) {
    return call(request("GET", "/v1/models", "", {{"authorization", header}}))->status;
  };
  for (const char* wrong : {"", "secret-key", "Bearer", "Bearer ", "Bearer secret-ke", "Bearer secret-key ",
                            "Bearer secret-kez", "Bearer Secret-key", "Basic secret-key", "Bearer secret-keysecret-key"}) {
    EXPECT_EQ(status(wrong), 401) << wrong;
  }
  EXPECT_EQ(status(std::string("Bearer secret-key\0x", 19)), 401);
  EXPECT_EQ(status("Bearer secret-key"), 200);
  EXPECT_EQ(status("Bearer second"), 200);
  EXPECT_EQ(status("bearer second"), 200);  // RFC 9110, 11.1: the scheme's case does not matter
  make(plain());
}

// A web page can send POST with text/plain, or without a type, to any server that its reader's machine can reach.
TEST_F(Advisory, PagesOfOtherOriginsCannotMakeAnOpenServerCompute) {
  const std::string body = R"({"prompt": "w7", "max_tokens": 1})";
  const auto status = [&](Headers headers) {
    return call(request("POST", "/v1/completions", body, std::move(headers)))->status;
  };
  EXPECT_EQ(status({{"host", "127.0.0.1:8000"}}), 200);
  EXPECT_EQ(status({{"host", "127.0.0.1:8000"}, {"origin", "http://127.0.0.1:8000"}}), 200);  // the page at /
  EXPECT_EQ(status({{"host", "127.0.0.1:8000"}, {"origin", "https://evil.example"}}), 403);
  EXPECT_EQ(status({{"host", "127.0.0.1:8000"}, {"origin", "null"}}), 403);
  EXPECT_EQ(status({{"origin", "http://127.0.0.1:8000"}}), 403);
  EXPECT_EQ(status({{"content-type", "text/plain"}}), 415);
  EXPECT_EQ(status({{"content-type", "application/x-www-form-urlencoded"}}), 415);
  EXPECT_EQ(status({{"content-type", "Application/JSON ; charset=utf-8"}}), 200);
  Options options = plain();
  options.allowed_origins = {"https://app.example"};
  make(options);
  EXPECT_EQ(status({{"host", "127.0.0.1:8000"}, {"origin", "https://app.example"}}), 200);
  options.allowed_origins.clear();
  options.api_keys = {"secret"};  // no page knows it unless it was told
  make(options);
  EXPECT_EQ(status({{"host", "a"}, {"origin", "https://any.example"}, {"authorization", "Bearer secret"}}), 200);
  make(plain());
}

// Whatever a path is written as: the route that is found is the one whose key is asked for.
TEST_F(Advisory, CVE_2026_48746_no_way_around_the_key) {
  Options options = plain();
  options.api_keys = {"secret"};
  options.root_path = "/proxy";
  make(options);
  HttpOptions http_options;
  http_options.port = 0;
  HttpServer http(http_options, [this](HttpRequest request, std::shared_ptr<HttpResponse> response) {
    app_->handle(std::move(request), std::move(response));
  });
  for (const char* path : {"/v1/models",
                           "//v1/models",
                           "/v1//models",
                           "/v1/models/",
                           "/./v1/models",
                           "/health/../v1/models",
                           "/health/%2e%2e/v1/models",
                           "/%76%31/models",
                           "/v1/models?x=/health",
                           "/v1/models;/health",
                           "/v1/models%00",
                           "/v1/models%2fhealth",
                           "/V1/MODELS",
                           "/proxy/v1/models",
                           "/proxy//v1/models",
                           "/proxy/proxy/v1/models",
                           "/proxyv1/models",
                           "/health/",
                           "//health",
                           "/metrics",
                           "/openapi.json",
                           "/tokenize",
                           "/version",
                           "http://x/v1/models",
                           "http://x//v1/models"}) {
    pagoda::testing::Client client(http.port());
    client.send("GET " + std::string(path) + " HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    const auto answer = client.read_answer();
    EXPECT_TRUE(answer.status == 401 || answer.status == 400) << path << " " << answer.status;
    EXPECT_EQ(answer.body.find("\"owned_by\""), std::string::npos) << path;
  }
  for (const char* method : {"HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE"}) {
    pagoda::testing::Client client(http.port());
    client.send(std::string(method) + " /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    EXPECT_EQ(client.read_answer(std::string_view(method) == "HEAD").status, 401) << method;
  }
  // Of all routes only these answer without one.
  std::set<std::string> open;
  for (const std::string& route : app_->route_names()) {
    const size_t space = route.find(' ');
    if (status_at_once(request(route.substr(0, space), route.substr(space + 1), "{}")) != 401) open.insert(route);
  }
  open.erase("GET /");  // the page, which asks for the key itself
  EXPECT_EQ(open, (std::set<std::string>{"GET /health", "GET /ping"}));
  http.stop(std::chrono::milliseconds(0));
  make(plain());
}

// ---- what tenants can learn of each other

TEST_F(Advisory, CVE_2025_46570_salted_prefixes) {
  std::string prompt = "[7";
  for (int i = 0; i < 60; ++i) prompt += "," + std::to_string(10 + i);
  prompt += "]";
  const auto cached = [&](const std::string& salt) {
    const Json answer = complete(R"("max_tokens": 1, "temperature": 0, "prompt": )" + prompt + salt);
    return answer.at("usage", "a").at("prompt_tokens_details", "u").at("cached_tokens", "d").as_int("d");
  };
  cached(R"(, "cache_salt": "alice")");
  EXPECT_GT(cached(R"(, "cache_salt": "alice")"), 0);
  EXPECT_EQ(cached(R"(, "cache_salt": "bob")"), 0);
  EXPECT_EQ(cached(""), 0);
  const auto embed = post("/v1/embeddings", R"({"cache_salt": "carol", "input": )" + prompt + "}")->json();
  EXPECT_EQ(embed.at("usage", "a").at("prompt_tokens_details", "u").at("cached_tokens", "d"), Json(0));
}

// CVE-2025-25183 made prompts whose names collide: names are keyed by a number of the process's own.
TEST_F(Advisory, CVE_2025_25183_prefix_names_are_keyed) {
  const std::vector<int32_t> ids(static_cast<size_t>(kPageTokens), 7);
  const BlockHasher one(1), two(2), mine, yours;
  EXPECT_NE(one.next(one.root(""), ids.data()), two.next(two.root(""), ids.data()));
  EXPECT_NE(mine.next(mine.root(""), ids.data()), yours.next(yours.root(""), ids.data()));
}

// ---- bodies

TEST_F(Advisory, CVE_2025_46560_cost_grows_with_the_body_alone) {
  refused("/v1/completions", R"({"prompt": ")" + repeat("w7 ", 100000) + "\"}");
  // Megabytes of text are refused before they are cut into tokens; up to there it is the tokens that count.
  const auto text = [](size_t blanks) { return R"({"prompt": ")" + std::string(blanks, ' ') + "x\""; };
  refused("/v1/completions", text(1200000) + "}");
  const std::string spaces = text(200000);
  EXPECT_EQ(status_of("/v1/completions", spaces + R"(, "max_tokens": 1})"), 200);
  EXPECT_EQ(post("/tokenize", spaces + "}")->json().at("count", "a"), Json(2));
  EXPECT_EQ(status_of("/v1/completions", spaces + R"(, "truncate_prompt_tokens": 2, "max_tokens": 1, "stop": [")" +
                                             std::string(4000, 'a') + "\"]}"),
            200);
  refused("/v1/completions", std::string(2000000, '['));
  refused("/v1/completions", repeat(R"({"a":)", 100000));
  refused("/v1/completions", R"({"prompt": "\ud800"})");
  refused("/v1/completions", "{\"prompt\": \"\xFF\"}");
  refused("/v1/completions", R"({"prompt": "w7"} trailing)");
  EXPECT_EQ(status_of("/v1/completions", R"({"prompt": "\u0000w7", "max_tokens": 1})"), 200);
}

}  // namespace
}  // namespace pagoda::server
