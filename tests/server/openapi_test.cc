// The document and the server are one: routes, fields, bounds, and answers that fit their schemas.
#include <algorithm>
#include <map>
#include <set>

#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

class OpenApiTest : public AppTest {
 protected:
  void SetUp() override {
    AppTest::SetUp();
    document_ = call(request("GET", "/openapi.json"))->json();
  }
  static const Json& body_of(const Json& operation) {
    return operation.at("requestBody", "d").at("content", "d").at("application/json", "d").at("schema", "d");
  }
  Json document_;
};

TEST_F(OpenApiTest, EveryRouteIsThereAndSaysWhatItIs) {
  EXPECT_EQ(document_.at("openapi", "d"), Json("3.1.0"));
  std::set<std::string> documented, routed;
  for (const JsonMember& path : document_.at("paths", "d").as_object("d")) {
    for (const JsonMember& method : path.value.as_object("d")) {
      std::string name = method.key;
      std::transform(name.begin(), name.end(), name.begin(), [](char c) { return static_cast<char>(c - 32); });
      documented.insert(name + " " + path.key);
      EXPECT_FALSE(method.value.get_string("summary", "", "d").empty()) << "no summary at its route: " << path.key;
      const bool names_a_thing = path.key.find('{') != std::string::npos;  // such a route has no body
      EXPECT_EQ(method.value.contains("requestBody"), method.key == "post" && !names_a_thing)
          << "no reader at its route: " << path.key;
    }
  }
  for (const std::string& route : app_->route_names()) routed.insert(route);
  EXPECT_EQ(documented, routed);
  // A path that is not in the document is not served, and what is in it is.
  for (const std::string& route : routed) {
    const size_t space = route.find(' ');
    const int status = status_at_once(request(route.substr(0, space), route.substr(space + 1), "{}"));
    EXPECT_NE(status, 405) << route;
    EXPECT_TRUE(status != 404 || route.find('{') != std::string::npos) << route;
  }
  EXPECT_EQ(call(request("PATCH", "/v1/completions"))->headers.at(0),
            (std::pair<std::string, std::string>{"allow", "POST, OPTIONS"}));
}

// Every reference leads somewhere.
void check_references(const Json& value, const Json& document) {
  if (value.is_object()) {
    for (const JsonMember& member : value.as_object("d")) {
      if (member.key == "$ref") {
        const std::string& target = member.value.as_string("d");
        const std::string prefix = "#/components/schemas/";
        ASSERT_EQ(target.compare(0, prefix.size(), prefix), 0) << target;
        EXPECT_TRUE(document.at("components", "d").at("schemas", "d").contains(target.substr(prefix.size()))) << target;
      } else {
        check_references(member.value, document);
      }
    }
  } else if (value.is_array()) {
    for (const Json& each : value.as_array("d")) check_references(each, document);
  }
}

// What of JSON Schema the answers' schemas use; "" or what does not fit.
std::string misfit(const Json& value, const Json& schema, const Json& document, const std::string& at) {
  const auto text = [](const char* key, const Json& in) { return in.get_string(key, "", "d"); };
  if (schema.contains("$ref")) {
    const std::string name = text("$ref", schema).substr(std::string("#/components/schemas/").size());
    return misfit(value, document.at("components", "d").at("schemas", "d").at(name, "d"), document, at);
  }
  if (const Json* all = schema.find("allOf")) {
    for (const Json& each : all->as_array("d")) {
      if (std::string wrong = misfit(value, each, document, at); !wrong.empty()) return wrong;
    }
  }
  if (const Json* any = schema.find("anyOf")) {
    const auto fits = [&](const Json& each) { return misfit(value, each, document, at).empty(); };
    if (std::none_of(any->as_array("d").begin(), any->as_array("d").end(), fits)) return at + ": none of anyOf";
  }
  if (const Json* constant = schema.find("const"); constant != nullptr && !(*constant == value)) return at + ": const";
  if (const Json* list = schema.find("enum")) {
    const Json::Array& values = list->as_array("d");
    if (std::find(values.begin(), values.end(), value) == values.end()) return at + ": enum";
  }
  if (const Json* type = schema.find("type")) {
    const Json::Array types = type->is_array() ? type->as_array("d") : Json::Array{*type};
    std::string is = value.type_name();
    if (is == "list") is = "array";
    const auto named = [&](const Json& each) { return each == Json(is) || (is == "integer" && each == Json("number")); };
    if (std::none_of(types.begin(), types.end(), named)) return at + ": is " + is + ", need " + type->dump();
  }
  if (const Json* least = schema.find("minimum");
      least != nullptr && value.is_number() && value.as_double("v") < least->as_double("d")) {
    return at + ": below the minimum";
  }
  if (value.is_array() && schema.contains("items")) {
    if (static_cast<int64_t>(value.size()) < schema.get_int("minItems", 0, "d")) return at + ": too few";
    for (const Json& each : value.as_array("v")) {
      if (std::string wrong = misfit(each, schema.at("items", "d"), document, at + "[]"); !wrong.empty()) return wrong;
    }
  }
  if (!value.is_object()) return "";
  if (const Json* required = schema.find("required")) {
    for (const Json& key : required->as_array("d")) {
      if (!value.contains(key.as_string("d"))) return at + ": lacks " + key.as_string("d");
    }
  }
  const Json* properties = schema.find("properties");
  const Json* others = schema.find("additionalProperties");
  for (const JsonMember& member : value.as_object("v")) {
    const Json* its = properties == nullptr ? nullptr : properties->find(member.key);
    if (its == nullptr) its = others;
    if (its == nullptr || !its->is_object()) continue;
    if (std::string wrong = misfit(member.value, *its, document, at + "." + member.key); !wrong.empty()) return wrong;
  }
  return "";
}

// A body for each route that reads one: a new route needs one too.
const std::map<std::string, std::vector<std::string>> kBodies = {
    {"/tokenize", {R"({"prompt": "w7"})", R"({"prompt": "w7", "return_token_strs": true})"}},
    {"/detokenize", {R"({"tokens": [7]})"}},
    {"/v1/embeddings", {R"({"input": ["w7", "w8"]})", R"({"input": "w7", "encoding_format": "base64"})"}},
    {"/v1/completions",
     {R"({"prompt": "w7", "max_tokens": 2})",
      R"({"prompt": ["w7", "w8"], "max_tokens": 2, "n": 2, "logprobs": 3, "echo": true, "prompt_logprobs": 1, "return_token_ids": true})"}},
    {"/v1/chat/completions",
     {R"({"messages": [{"role": "user", "content": "w7"}], "max_tokens": 2})",
      R"({"messages": [{"role": "user", "content": "w7"}], "max_tokens": 2, "n": 2, "logprobs": true, "top_logprobs": 2,
          "prompt_logprobs": 1, "return_token_ids": true, "return_prompt_text": true})"}},
    {"/v1/responses", {R"({"input": "w7", "max_output_tokens": 2})"}}};

TEST_F(OpenApiTest, AnswersFitTheirSchemas) {
  const auto schema_of = [](const Json& operation, const char* status, const char* type) {
    const Json* content = operation.at("responses", "d").at(status, "d").find("content");
    const Json* media = content == nullptr ? nullptr : content->find(type);
    return media == nullptr ? nullptr : media->find("schema");
  };
  for (const JsonMember& path : document_.at("paths", "d").as_object("d")) {
    if (path.key.find('{') != std::string::npos) continue;
    if (const Json* get = path.value.find("get")) {
      if (const Json* schema = schema_of(*get, "200", "application/json")) {
        EXPECT_EQ(misfit(call(request("GET", path.key))->json(), *schema, document_, path.key), "");
      }
    }
    const Json* post_operation = path.value.find("post");
    if (post_operation == nullptr) continue;
    ASSERT_EQ(kBodies.count(path.key), 1u) << "no body in this test for " << path.key;
    for (const std::string& body : kBodies.at(path.key)) {
      const auto told = post(path.key, body);
      EXPECT_EQ(told->status, 200) << path.key << told->body;
      EXPECT_EQ(misfit(told->json(), *schema_of(*post_operation, "200", "application/json"), document_, path.key), "")
          << told->body;
    }
    const auto refused = post(path.key, R"({"model": 5})");
    EXPECT_EQ(misfit(refused->json(), *schema_of(*post_operation, "400", "application/json"), document_, path.key), "");
  }
  for (const char* name : {"CompletionChunk", "ChatCompletionChunk"}) {
    const std::string path = std::string(name) == "CompletionChunk" ? "/v1/completions" : "/v1/chat/completions";
    const Json& schema = document_.at("components", "d").at("schemas", "d").at(name, "d");
    Json body = Json::parse(kBodies.at(path).back(), "body");
    body.set("stream", true)
        .set("prompt_logprobs", Json())
        .set("stream_options", Json::parse(R"({"include_usage": true})", "b"));
    for (const Json& chunk : post(path, body.dump())->chunks())
      EXPECT_EQ(misfit(chunk, schema, document_, name), "") << chunk.dump();
  }
}

TEST_F(OpenApiTest, ReferencesLeadSomewhere) { check_references(document_, document_); }

// The reader knows each documented field: a list of lists is the wrong type for all of them, and none is "unknown".
TEST_F(OpenApiTest, EveryDocumentedFieldIsRead) {
  int64_t fields = 0;
  for (const JsonMember& path : document_.at("paths", "d").as_object("d")) {
    const Json* post = path.value.find("post");
    if (post == nullptr || !post->contains("requestBody")) continue;
    const Json& schema = body_of(*post);
    EXPECT_EQ(schema.at("additionalProperties", "d"), Json(false)) << path.key;
    for (const JsonMember& property : schema.at("properties", "d").as_object("d")) {
      ++fields;
      Json body = Json::object();
      body.set(property.key, Json::parse(R"([[["x"]]])", "value"));
      const auto told = call(request("POST", path.key, body.dump()));
      EXPECT_EQ(told->body.find("unknown field"), std::string::npos) << path.key << " " << property.key;
      // What is not ignored is refused by name, whatever else is missing.
      if (property.value.size() > 0 && property.value.get_string("description", "", "d").rfind("Taken and", 0) != 0) {
        EXPECT_EQ(told->status, 400) << path.key << " " << property.key << told->body;
      }
    }
    const auto told = call(request("POST", path.key, R"({"no_such_field": 1})"));
    EXPECT_EQ(told->status, 400) << path.key;
  }
  EXPECT_GT(fields, 100);
}

TEST_F(OpenApiTest, BoundsAreTheReaders) {
  const Json& properties = body_of(document_.at("paths", "d").at("/v1/completions", "d").at("post", "d")).at("properties", "d");
  int64_t checked = 0;
  for (const JsonMember& property : properties.as_object("d")) {
    for (const char* bound : {"minimum", "maximum", "exclusiveMinimum"}) {
      const Json* limit = property.value.find(bound);
      if (limit == nullptr || property.key == "seed") continue;
      const bool open = std::string_view(bound) == "exclusiveMinimum";
      const double outside = limit->as_double("d") + (open ? 0 : std::string_view(bound) == "maximum" ? 1 : -1);
      const bool whole = limit->is_int() && !open;
      const std::string value = whole ? std::to_string(static_cast<int64_t>(outside)) : std::to_string(outside);
      expect_refused("/v1/completions", R"({"prompt": "w7", ")" + property.key + "\": " + value + "}",
                     "[" + property.key + "] out of range");
      ++checked;
    }
  }
  EXPECT_GT(checked, 20);
  EXPECT_EQ(properties.at("n", "d").at("maximum", "d"), Json(128));
  EXPECT_EQ(properties.at("stop", "d").at("anyOf", "d").as_array("d")[1].at("maxItems", "d"), Json(16));
  EXPECT_EQ(properties.at("truncation_side", "d").at("enum", "d").dump(), R"(["left","right",null])");
  const Json& required = body_of(document_.at("paths", "d").at("/v1/completions", "d").at("post", "d")).at("required", "d");
  EXPECT_EQ(required.dump(), R"(["prompt"])");
}

TEST_F(OpenApiTest, KeysAreAskedForWhereTheyAre) {
  EXPECT_EQ(document_.at("paths", "d").at("/v1/models", "d").at("get", "d").at("security", "d").size(), 0u);
  Options options = plain();
  options.api_keys = {"secret"};
  options.root_path = "/proxy";
  make(options);
  const auto told = call(request("GET", "/proxy/openapi.json", "", {{"authorization", "Bearer secret"}}));
  const Json document = told->json();
  EXPECT_EQ(document.at("paths", "d").at("/v1/models", "d").at("get", "d").at("security", "d").dump(), R"([{"bearer":[]}])");
  EXPECT_EQ(document.at("paths", "d").at("/health", "d").at("get", "d").at("security", "d").size(), 0u);
  EXPECT_EQ(document.at("servers", "d").dump(), R"([{"url":"/proxy"}])");
}

}  // namespace
}  // namespace pagoda::server
