// What a server does whatever it serves: over a model of the test's own.
#include "engine/stats.h"
#include "server/model_texts.h"
#include "server/served_model.h"
#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

struct Seen {
  bool healthy = true, closed = false;
};

class FakeModel : public ServedModel {
 public:
  FakeModel(Seen& seen, bool shows) : seen_(seen), shows_(shows) {}
  std::vector<Route> routes() override {
    std::vector<Route> list = {{{"POST", "/echo", {"The same text", "TaskResult"}},
                                [this](const Call& call) {
                                  RequestBody in(call.http);
                                  call.send(read(in.fields));
                                },
                                [this](Fields& fields) { read(fields); }}};
    if (shows_) {
      list.push_back({{"GET", "/show", {"What it does", "TaskResult"}, Section::kPage},
                      [](const Call& call) { call.send(Json("shown")); }});
    }
    return list;
  }
  ModelTexts& texts() override { return texts_; }
  EngineStats stats() const override {
    EngineStats stats;
    stats.num_running = 3;
    return stats;
  }
  bool healthy() const override { return seen_.healthy; }
  int64_t num_open() const override { return 5; }
  void close() override { seen_.closed = true; }

 private:
  std::string read(Fields& fields) const {
    const std::string text = fields.string("text", 4).value_or("");
    fields.require("text", "a string");
    fields.finish();
    return text;
  }
  Seen& seen_;
  const bool shows_;
  ModelTexts texts_{nullptr, 10, 77, {}};
};

class AppShellTest : public AppTest {
 protected:
  static void SetUpTestSuite() {}
  static void TearDownTestSuite() {}
  void SetUp() override { app_ = std::make_unique<App>(plain()); }
  void serve(bool shows) { app_->serve(std::make_unique<FakeModel>(seen_, shows)); }
  Seen seen_;
};

TEST_F(AppShellTest, TheModelsRoutesStandBesideItsOwn) {
  EXPECT_EQ(app_->num_open(), 0);
  serve(false);
  EXPECT_EQ(app_->num_open(), 5);
  EXPECT_EQ(post("/echo", R"({"text": "ab"})")->body, R"("ab")");
  const Json models = call(request("GET", "/v1/models"))->json();
  EXPECT_EQ(models.at("data", "m").size(), 2u);
  EXPECT_EQ(models.at("data", "m").as_array("m")[0].at("max_model_len", "m"), Json(77));
  EXPECT_NE(call(request("GET", "/metrics"))->body.find("num_requests_running{model_name=\"words\",engine=\"0\"} 3"),
            std::string::npos);
  expect_refused("/tokenize", R"({"prompt": "a"})", "this model has no tokenizer");
  // Routes of other kinds were told to wait, and are none now.
  expect_refused("/v1/completions", "{}", "no such route", 404);
  expect_refused("/classify", "{}", "no such route", 404);
}

TEST_F(AppShellTest, ItsErrorsNameTheFieldsThatItsRoutesRead) {
  serve(false);
  const auto param = [&](const std::string& body) {
    expect_refused("/echo", body, "");
    return post("/echo", body)->json().at("error", "a").at("param", "e");
  };
  EXPECT_EQ(param("{}"), Json("text"));
  EXPECT_EQ(param(R"({"text": "abcde"})"), Json("text"));
  EXPECT_EQ(param(R"({"text": "a", "other": 1})"), Json("other"));
  EXPECT_EQ(param("["), Json());
  const Json document = call(request("GET", "/openapi.json"))->json();
  const Json& operation = document.at("paths", "d").at("/echo", "d").at("post", "d");
  EXPECT_EQ(operation.at("summary", "d"), Json("The same text"));
  EXPECT_EQ(operation.at("requestBody", "d")
                .at("content", "d")
                .at("application/json", "d")
                .at("schema", "d")
                .at("required", "d")
                .dump(),
            R"(["text"])");
}

TEST_F(AppShellTest, ThePageIsForModelsThatShowSomething) {
  EXPECT_EQ(call(request("GET", "/"))->status, 200);
  serve(false);
  EXPECT_EQ(call(request("GET", "/"))->status, 404);
  app_ = std::make_unique<App>(plain());
  serve(true);
  EXPECT_EQ(call(request("GET", "/"))->status, 200);
  const std::vector<std::string> names = app_->route_names();
  EXPECT_EQ(names[0], "GET /");
  EXPECT_EQ(names[1], "GET /show");
  EXPECT_EQ(names.back(), "POST /echo");
}

TEST_F(AppShellTest, HealthAndTheEndAreTheModels) {
  EXPECT_EQ(call(request("GET", "/health"))->status, 503);
  serve(false);
  EXPECT_EQ(call(request("GET", "/health"))->status, 200);
  seen_.healthy = false;
  EXPECT_EQ(call(request("GET", "/health"))->status, 500);
  EXPECT_FALSE(seen_.closed);
  app_->close();
  EXPECT_TRUE(seen_.closed);
  EXPECT_EQ(post("/echo", R"({"text": "ab"})")->status, 503);
  EXPECT_EQ(call(request("GET", "/v1/models"))->status, 200);
}

}  // namespace
}  // namespace pagoda::server
