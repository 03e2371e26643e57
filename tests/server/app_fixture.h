// An App over the word model without a network, for tests of routes.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

#include "base/error.h"
#include "server/app.h"
#include "server/embeddings.h"
#include "server/served_generator.h"
#include "tests/word_model.h"

namespace pagoda::server {

// Remembers what it was told.
class Told : public HttpResponse {
 public:
  void send(int code, std::string_view type, std::string text, const Headers& more) override {
    const std::lock_guard<std::mutex> lock(mutex);
    status = code;
    content_type = type;
    body = std::move(text);
    headers = more;
    done = true;
    ended.notify_all();
  }
  void begin(int code, std::string_view type, const Headers& more) override {
    const std::lock_guard<std::mutex> lock(mutex);
    status = code;
    content_type = type;
    headers = more;
  }
  bool write(std::string chunk) override {
    const std::lock_guard<std::mutex> lock(mutex);
    body += chunk;
    return !left;
  }
  void finish() override {
    const std::lock_guard<std::mutex> lock(mutex);
    done = true;
    ended.notify_all();
  }
  void on_disconnect(std::function<void()> callback) override { disconnect = std::move(callback); }
  void post(std::function<void()> work) override { work(); }
  bool gone() const override { return left; }
  void keep(MemoryLedger::Lease room) override { kept = std::move(room); }
  int64_t pending_bytes() const override { return 0; }

  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    ended.wait(lock, [this] { return done; });
  }
  Json json() const { return Json::parse(body, "answer"); }
  // The JSON chunks of a stream; its end must be [DONE].
  std::vector<Json> chunks() const {
    std::vector<Json> list;
    size_t at = 0;
    bool finished = false;
    while (at < body.size()) {
      const size_t end = body.find("\n\n", at);
      EXPECT_EQ(body.compare(at, 6, "data: "), 0);
      const std::string data = body.substr(at + 6, end - at - 6);
      EXPECT_FALSE(finished);
      if (data == "[DONE]") {
        finished = true;
      } else {
        list.push_back(Json::parse(data, "chunk"));
      }
      at = end + 2;
    }
    EXPECT_TRUE(finished);
    return list;
  }

  std::mutex mutex;
  std::condition_variable ended;
  int status = 0;
  std::string content_type, body;
  Headers headers;
  bool done = false, left = false;
  MemoryLedger::Lease kept;  // never sent
  std::function<void()> disconnect;
};

class AppTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = ::testing::TempDir() + "pagoda_app_model_" + std::to_string(::getpid());
    pagoda::testing::make_word_model(folder_);
    LoadOptions options;
    options.runtime.threads = 2;
    generation_ = TextGeneration::open(folder_, options).release();
  }
  static void TearDownTestSuite() {
    delete generation_;
    std::filesystem::remove_all(folder_);
  }
  // Of the App and of what it serves.
  struct Options : AppOptions, GenerationOptions {};
  static Options plain() {
    Options options;
    options.served_model_names = {"words", "other"};
    options.model = folder_;
    return options;
  }
  void SetUp() override { make(plain()); }
  void make(const Options& options) {
    app_ = std::make_unique<App>(options);
    serve(*generation_, options);
  }
  void serve(TextGeneration& generation, const GenerationOptions& options = {}) {
    auto model = std::make_unique<ServedGenerator>(app_->serving(), options, generation);
    engine_ = &model->engine();
    app_->serve(std::move(model));
  }
  static HttpRequest request(const std::string& method, const std::string& path, const std::string& body = "",
                             Headers headers = {}) {
    HttpRequest http;
    http.method = method;
    http.path = path;
    http.body = body;
    http.headers = std::move(headers);
    http.id = "r1";
    return http;
  }
  // As the server does it: errors become answers.
  std::shared_ptr<Told> call(HttpRequest http) {
    auto told = std::make_shared<Told>();
    try {
      app_->handle(std::move(http), told);
    } catch (...) {
      const Error error = current_error();
      told->send(http_status(error.kind()), "application/json", error_body(http_status(error.kind()), error.message()), {});
    }
    told->wait();
    return told;
  }
  // The status of what is answered at once: a stream may never end.
  int status_at_once(HttpRequest http) {
    const auto told = std::make_shared<Told>();
    try {
      app_->handle(std::move(http), told);
    } catch (...) {
      return http_status(current_error().kind());
    }
    const std::lock_guard<std::mutex> lock(told->mutex);
    return told->status;
  }
  std::shared_ptr<Told> post(const std::string& path, const std::string& body) { return call(request("POST", path, body)); }
  Json complete(const std::string& fields) {
    const auto told = post("/v1/completions", "{\"model\": \"words\", " + fields + "}");
    EXPECT_EQ(told->status, 200) << told->body;
    return told->json();
  }
  void expect_refused(const std::string& path, const std::string& body, const std::string& says, int status = 400) {
    const auto told = post(path, body);
    EXPECT_EQ(told->status, status) << body;
    const Json error = told->json().at("error", "answer");
    EXPECT_NE(error.get_string("message", "", "error").find(says), std::string::npos) << body << " -> " << told->body;
    const bool no_model = status == 404 && error.at("param", "error") == Json("model");
    EXPECT_EQ(error.at("code", "error"), no_model ? Json("model_not_found") : Json(status));
  }
  static const Json& choice(const Json& answer, size_t i = 0) {
    return answer.at("choices", "answer").as_array("choices").at(i);
  }

  inline static std::string folder_;
  inline static TextGeneration* generation_ = nullptr;
  std::unique_ptr<App> app_;
  AsyncEngine* engine_ = nullptr;  // of what it serves
};

}  // namespace pagoda::server
