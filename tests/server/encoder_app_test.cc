// The routes over encoders: tasks against the pipelines, the document, batches, memory, and clients that go.
#include "tests/server/encoder_fixture.h"

#include <atomic>
#include <functional>
#include <thread>
#include <tuple>

namespace pagoda::server {
namespace {

TEST_F(EncoderAppTest, TasksAnswerAsThePipelinesDo) {
  serve(kFixtures + "bert");
  const auto classify = Pipeline::make("text-classification", model_);
  for (const auto& [input, parameters] : std::vector<std::pair<std::string, std::string>>{
           {R"("I loved it")", "{}"}, {R"(["a", "b c"])", R"({"top_k": 2})"}, {R"({"text": "a", "text_pair": "b"})", "null"}}) {
    EXPECT_EQ(post("/pipelines/text-classification", R"({"inputs": )" + input + R"(, "parameters": )" + parameters + "}"),
              classify->run(Json::parse(input, ""), Json::parse(parameters, "")));
  }
  const Json labels = post("/pipelines/zero-shot-classification",
                           R"({"inputs": "Berlin", "parameters": {"candidate_labels": ["a", "b"]}, "options": {}})");
  EXPECT_EQ(labels.at("labels", "").size(), 2u);
  EXPECT_EQ(post("/pipelines/sentiment-analysis", R"({"inputs": []})").size(), 0u);
  EXPECT_EQ(post("/pipelines/feature-extraction", R"({"inputs": "a"})").size(), 1u);
  expect_refused("/pipelines/fill-mask", R"({"inputs": "[MASK]"})", "needs a model ForMaskedLM");
  expect_refused("/pipelines/summarization", R"({"inputs": "x"})", "need one of text-classification", 404);
  expect_refused("/pipelines/text-classification", R"({"parameters": {}})", "inputs");
  expect_refused("/pipelines/text-classification", R"({"inputs": "x", "parameters": {"k": 1}})", "got 'k'");
  expect_refused("/pipelines/text-classification", R"({"inputs": "x", "parameters": [1]})", "need object");
  expect_refused("/pipelines/text-classification", R"({"inputs": "x", "top_k": 1})", "top_k");
}

TEST_F(EncoderAppTest, ErrorsNameTheirFieldAndModelsTheirName) {
  serve(kFixtures + "bert");
  const auto param = [&](const std::string& path, const std::string& body) {
    return call("POST", path, body)->json().at("error", "answer").at("param", "error");
  };
  EXPECT_EQ(param("/classify", "{}"), Json("input"));
  EXPECT_EQ(param("/classify", R"({"input": "a", "x": 1})"), Json("x"));
  EXPECT_EQ(param("/v1/embeddings", R"({"input": []})"), Json("input"));
  EXPECT_EQ(param("/pipelines/text-classification", R"({"parameters": {}})"), Json("inputs"));
  const Json list = call("GET", "/v1/models")->json();
  const Json& model = list.at("data", "l").as_array("l").at(0);
  EXPECT_EQ(call("GET", "/v1/models/" + model.get_string("id", "", "m"))->json(), model);
  EXPECT_EQ(call("GET", "/v1/models/other")->json().at("error", "a").at("code", "e"), Json("model_not_found"));
}

// Numbers as text at once: the same as the pipeline's, to float32.
TEST_F(EncoderAppTest, FeaturesAreWrittenAsThePipelineHasThem) {
  serve(kFixtures + "distilbert");
  const auto pipeline = Pipeline::make("feature-extraction", model_);
  const std::function<void(const Json&, const Json&)> expect_same = [&](const Json& got, const Json& want) {
    ASSERT_EQ(got.is_array(), want.is_array());
    if (!want.is_array()) {
      EXPECT_EQ(static_cast<float>(got.as_double("")), static_cast<float>(want.as_double("")));
      return;
    }
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) expect_same(got.as_array("")[i], want.as_array("")[i]);
  };
  for (const std::string inputs : {R"("Angela Merkel")", R"(["fox", "a b c"])", "[]"}) {
    for (const std::string parameters :
         {"null", R"({"truncation": true, "max_length": 4})", R"({"pooling": "mean"})", R"({"pooling": "auto"})",
          R"({"pooling": "cls", "normalize": true})", R"({"pooling": "cls", "normalize": false})"}) {
      SCOPED_TRACE(inputs + parameters);
      expect_same(post("/pipelines/feature-extraction", R"({"inputs": )" + inputs + R"(, "parameters": )" + parameters + "}"),
                  pipeline->run(Json::parse(inputs, ""), Json::parse(parameters, "")));
    }
  }
}

// Told whatever the bytes are, before they are cut into tokens.
TEST_F(EncoderAppTest, TasksRefuseTextsAndListsThatAreTooLong) {
  options_.limits.max_inputs = 3;
  serve(kFixtures + "bert");
  std::string text = "fox ";
  while (text.size() <= (size_t{1} << 20)) text += text;
  const std::string says = "bytes of text, need at most 1048576";
  const std::string with = R"(, "parameters": {"truncation": true}})";
  expect_refused("/pipelines/text-classification", R"({"inputs": ")" + text + "\"" + with, says);
  expect_refused("/pipelines/text-classification", R"({"inputs": [{"text": "a", "text_pair": ")" + text + "\"}]" + with, says);
  expect_refused("/pipelines/feature-extraction", R"({"inputs": ["a", ")" + text + "\"]" + with, says);
  expect_refused("/pipelines/text-classification", R"({"inputs": ["a", "b", "c", "d"]})", "got 4, need at most 3");
  serve(kFixtures + "distilbert");
  const std::string source = R"({"inputs": {"source_sentence": "a", "sentences": )";
  EXPECT_EQ(post("/pipelines/sentence-similarity", source + R"(["a", "b", "c"]}})").size(), 3u);
  expect_refused("/pipelines/sentence-similarity", source + R"(["a", "b", "c", "d"]}})", "got 4, need at most 3");
}

TEST_F(EncoderAppTest, ManyRequestsAtOnceAnswerAsEachAlone) {
  serve(kFixtures + "bert");
  const auto body = [](int i) { return R"({"inputs": "fox )" + std::string(static_cast<size_t>(i % 20), 'a') + R"( dog"})"; };
  std::vector<std::string> alone;
  for (int i = 0; i < 20; ++i) alone.push_back(call("POST", "/pipelines/text-classification", body(i))->body);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < 60; i += 4) {
        if (call("POST", "/pipelines/text-classification", body(i))->body != alone[static_cast<size_t>(i % 20)]) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(app_->num_open(), 0);
}

// Its connection's thread runs when the test says so.
class LaterTold : public Told {
 public:
  void post(std::function<void()> work) override {
    const std::lock_guard<std::mutex> lock(mutex);
    later = std::move(work);
    ended.notify_all();
  }
  std::function<void()> take() {
    std::unique_lock<std::mutex> lock(mutex);
    ended.wait(lock, [this] { return later != nullptr; });
    return std::exchange(later, nullptr);
  }
  std::function<void()> later;
};

// Looks between a request's texts.
TEST_F(EncoderAppTest, NothingIsComputedForWhoHasGone) {
  class Gone : public Told {
   public:
    bool gone() const override { return ++asked > 2; }
    mutable int asked = 0;
  };
  options_.allowed_origins = {"https://a.example"};
  for (const auto& [folder, path, texts] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {kFixtures + "bert", "/classify", R"({"input": ["a", "b", "c", "d", "e"]})"},
           {kFixtures + "distilbert", "/v1/embeddings", R"({"input": ["a", "b", "c", "d", "e"]})"},
           {kFixtures + "distilbert", "/v1/rerank", R"({"query": "a", "documents": ["b", "c", "d", "e"]})"},
           {cross_encoder(), "/v1/score", R"({"text_1": "a", "text_2": ["b", "c", "d", "e"]})"}}) {
    serve(folder);
    HttpRequest http;
    http.method = "POST";
    http.path = path;
    http.body = texts;
    if (path != "/classify") http.headers = {{"origin", "https://a.example"}};
    const auto told = std::make_shared<Gone>();
    try {
      app_->handle(std::move(http), told);
    } catch (const Error&) {
      // Nobody is left to hear of it.
    }
    EXPECT_EQ(told->asked, 3) << path;
    EXPECT_EQ(app_->num_open(), 0) << path;
  }
}

// They count from the request to the end of its answer, behind an allowed origin too.
TEST_F(EncoderAppTest, OutputsAndAnswersOfAllAreBounded) {
  options_.allowed_origins = {"https://a.example"};
  serve(kFixtures + "bert");
  const int64_t rows = std::ssize(model_->encode("the quick brown fox").encoding.ids);
  const int64_t numbers = 100 * rows * model_->model().hidden_size();
  options_.memory = MemoryLedger(numbers * 17 * 3 / 2);
  serve(kFixtures + "bert");
  const auto ask = [&](const Headers& headers, int texts) {
    HttpRequest http;
    http.method = "POST";
    http.path = "/pipelines/feature-extraction";
    http.headers = headers;
    http.body = R"({"inputs": ["the quick brown fox")";
    for (int i = 1; i < texts; ++i) http.body += R"(, "the quick brown fox")";
    http.body += "]}";
    auto told = std::make_shared<Told>();
    app_->handle(std::move(http), told);
    told->wait();
    return told;
  };
  const int texts = 100;
  for (const Headers& headers : {Headers{}, Headers{{"origin", "https://a.example"}}}) {
    const auto first = ask(headers, texts);
    EXPECT_EQ(first->status, 200) << first->body;
    const auto second = ask(headers, texts);
    EXPECT_EQ(second->status, 503);
    EXPECT_NE(second->body.find("large answers"), std::string::npos);
    EXPECT_EQ(ask(headers, 1)->status, 200);
    // What never finds room is the request's fault: coming again is no use.
    const auto large = ask(headers, 2 * texts);
    EXPECT_EQ(large->status, 400);
    EXPECT_NE(large->body.find("larger than all"), std::string::npos) << large->body;
  }
  EXPECT_EQ(options_.memory.held(), 0);
}

TEST_F(EncoderAppTest, AnswersAreWrittenOnTheConnectionsThreadAndAbortsCounted) {
  serve(kFixtures + "bert");
  const auto ask = [&](const std::shared_ptr<LaterTold>& told) {
    HttpRequest http;
    http.method = "POST";
    http.path = "/classify";
    http.body = R"({"input": "fox"})";
    app_->handle(std::move(http), told);
    return told->take();
  };
  const auto counted = [&](const std::string& reason) {
    const std::string page = call("GET", "/metrics")->body, key = "finished_reason=\"" + reason + "\"";
    const size_t at = page.find("} ", page.find(key));
    return page.find(key) == std::string::npos ? std::string() : page.substr(at + 2, 1);
  };
  const auto told = std::make_shared<LaterTold>(), gone = std::make_shared<LaterTold>();
  const std::function<void()> write = ask(told);
  EXPECT_FALSE(told->done);
  write();
  EXPECT_EQ(told->status, 200) << told->body;
  ask(gone);
  gone->disconnect();
  EXPECT_EQ(counted("stop"), "1");
  EXPECT_EQ(counted("abort"), "1");
  EXPECT_EQ(counted("error"), "0");
}

TEST_F(EncoderAppTest, TheDocumentNamesTheRoutes) {
  serve(kFixtures + "bert");
  const Json document = call("GET", "/openapi.json")->json();
  size_t operations = 0;
  for (const JsonMember& path : document.at("paths", "").as_object("")) {
    operations += path.value.size();
    for (const JsonMember& operation : path.value.as_object("")) {
      EXPECT_EQ(operation.value.contains("requestBody"), operation.key == "post") << path.key;
    }
  }
  EXPECT_EQ(operations, app_->route_names().size());
  EXPECT_TRUE(document.at("paths", "").contains("/pipelines/{task}"));
  const Json& rerank = document.at("paths", "").at("/v1/rerank", "").at("post", "");
  const Json& schema = rerank.at("requestBody", "").at("content", "").at("application/json", "").at("schema", "");
  EXPECT_TRUE(schema.at("properties", "").contains("top_n"));
  for (const char* name : {"Reranked", "ScoreList", "ClassificationList", "TaskResult"}) {
    EXPECT_TRUE(document.at("components", "").at("schemas", "").contains(name)) << name;
  }
}

TEST(EncoderAppStart, RoutesOfBothKindsAreToldToWait) {
  AppOptions options;
  options.served_model_names = {"enc"};
  App app(options);
  for (const char* path : {"/v1/rerank", "/v1/completions", "/pipelines/fill-mask"}) {
    HttpRequest http;
    http.method = "POST";
    http.path = path;
    http.body = "{}";
    const auto told = std::make_shared<Told>();
    app.handle(http, told);
    EXPECT_EQ(told->status, 503) << path;
  }
}

}  // namespace
}  // namespace pagoda::server
