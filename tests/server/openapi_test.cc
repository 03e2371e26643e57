// The document and the server are one: routes, fields, bounds, and answers that fit their schemas.
#include <algorithm>
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
      EXPECT_FALSE(method.value.get_string("summary", "", "d").empty()) << "no summary in App::routes(): " << path.key;
      const bool names_a_thing = path.key.find('{') != std::string::npos;  // such a route has no body
      EXPECT_EQ(method.value.contains("requestBody"), method.key == "post" && !names_a_thing)
          << "no reader in App::routes(): " << path.key;
    }
  }
  for (const std::string& route : App::route_names()) routed.insert(route);
  EXPECT_EQ(documented, routed);
  // A path that is not in the document is not served, and what is in it is.
  for (const std::string& route : routed) {
    if (route == "GET /pagoda/live") continue;  // goes on until its client goes: live_feed_test.cc
    const size_t space = route.find(' ');
    const int status = call(request(route.substr(0, space), route.substr(space + 1), "{}"))->status;
    EXPECT_NE(status, 405) << route;
    EXPECT_TRUE(status != 404 || route.find('{') != std::string::npos) << route;
  }
  EXPECT_EQ(call(request("PATCH", "/v1/completions"))->headers.at(0), (std::pair<std::string, std::string>{"allow", "POST"}));
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
  AppOptions options = plain();
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
