// The page and its data: what is served, to whom, and that states and their changes tell what the cache holds.
#include "server/live_feed.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "server/app.h"
#include "server/page.h"
#include "server/served_generator.h"
#include "tests/server/http_client.h"
#include "tests/word_model.h"

namespace pagoda::server {
namespace {

using pagoda::testing::Client;
using pagoda::testing::eventually;

// What an answer has come to; thread-safe.
class Heard : public HttpResponse {
 public:
  void send(int code, std::string_view type, std::string text, const Headers& more) override {
    begin(code, type, more);
    write(std::move(text));
    finish();
  }
  void begin(int code, std::string_view, const Headers& more) override {
    const std::lock_guard lock(mutex_);
    status_ = code;
    headers_ = more;
  }
  bool write(std::string chunk) override {
    const std::lock_guard lock(mutex_);
    body_ += chunk;
    return !gone_;
  }
  void finish() override {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  void on_disconnect(std::function<void()>) override {}
  void post(std::function<void()> work) override { work(); }
  bool gone() const override { return false; }
  void keep(MemoryLedger::Lease) override {}
  int64_t pending_bytes() const override { return 0; }

  void leave() {
    const std::lock_guard lock(mutex_);
    gone_ = true;
  }
  bool done() const {
    const std::lock_guard lock(mutex_);
    return done_;
  }
  int status() const {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  std::string body() const {
    const std::lock_guard lock(mutex_);
    return body_;
  }
  std::string header(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, value] : headers_) {
      if (key == name) return value;
    }
    return "";
  }
  std::vector<Json> events() const {
    const std::string text = body();
    std::vector<Json> list;
    for (size_t at = 0, end; (end = text.find("\n\n", at)) != std::string::npos; at = end + 2) {
      EXPECT_EQ(text.compare(at, 6, "data: "), 0);
      list.push_back(Json::parse(std::string_view(text).substr(at + 6, end - at - 6), "event"));
    }
    return list;
  }

 private:
  mutable std::mutex mutex_;
  int status_ = 0;
  std::string body_;
  Headers headers_;
  bool done_ = false, gone_ = false;
};

// The pages as one who reads states knows them.
struct Pages {
  std::vector<int64_t> owners, references;
  bool operator==(const Pages& other) const { return owners == other.owners && references == other.references; }
  void apply(const Json& state) {
    const Json& cache = state.at("cache", "state");
    const auto pages = static_cast<size_t>(cache.at("pages", "cache").as_int("pages"));
    if (cache.at("whole", "cache").as_bool("whole")) {
      owners.assign(pages, 0);
      references.assign(pages, 0);
    }
    const Json::Array& runs = cache.at("runs", "cache").as_array("runs");
    ASSERT_EQ(runs.size() % 4, 0u);
    for (size_t i = 0; i < runs.size(); i += 4) {
      const auto first = static_cast<size_t>(runs[i].as_int("first"));
      const auto end = first + static_cast<size_t>(runs[i + 1].as_int("count"));
      ASSERT_LE(end, owners.size());
      for (size_t page = first; page < end; ++page) {
        owners[page] = runs[i + 2].as_int("owner");
        references[page] = runs[i + 3].as_int("references");
      }
    }
  }
};

class LiveFeedTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = ::testing::TempDir() + "pagoda_live_model_" + std::to_string(::getpid());
    pagoda::testing::make_word_model(folder_);
    LoadOptions options;
    options.runtime.threads = 1;
    EngineOptions engine;
    engine.kv_cache_bytes = 4 << 20;
    generation_ = TextGeneration::open(folder_, options, engine).release();
  }
  static void TearDownTestSuite() {
    delete generation_;
    std::filesystem::remove_all(folder_);
  }
  static Request request(int32_t last) {
    Request request;
    for (int32_t i = 0; i < 32; ++i) request.prompt_ids.push_back(6 + i);
    request.prompt_ids.push_back(last);
    request.params.max_new_tokens = 90;
    request.params.ignore_eos = true;
    return request;
  }
  static Json now(LiveFeed& feed) {
    const auto heard = std::make_shared<Heard>();
    feed.tell(heard);
    EXPECT_TRUE(eventually([&] { return heard->done(); }));
    EXPECT_EQ(heard->status(), 200);
    return Json::parse(heard->body(), "state");
  }
  static AppOptions plain() {
    AppOptions options;
    options.served_model_names = {"words"};
    options.model = folder_;
    return options;
  }
  static std::shared_ptr<Heard> get(App& app, const std::string& path, Headers headers = {},
                                    const std::string& method = "GET") {
    HttpRequest http;
    http.method = method;
    http.path = path;
    http.headers = std::move(headers);
    auto heard = std::make_shared<Heard>();
    app.handle(std::move(http), heard);
    return heard;
  }
  static std::string folder_;
  static TextGeneration* generation_;
};
std::string LiveFeedTest::folder_;
TextGeneration* LiveFeedTest::generation_ = nullptr;

TEST_F(LiveFeedTest, AStateMarksSharedPagesAndTheirOwners) {
  AsyncEngine engine(generation_->engine(), 0);
  const Metrics metrics("words");
  LiveFeed feed(engine, metrics, R"({"name": "words"})");
  bool seen = false;
  // The engine does not wait for who looks: until both were caught at work.
  for (int attempt = 0; attempt < 100 && !seen; ++attempt) {
    std::atomic<int> begun{0};
    for (const int32_t last : {70, 71}) {
      engine.submit(request(last), [&](const Event&) {
        ++begun;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      });
    }
    EXPECT_TRUE(eventually([&] { return begun > 2; }));
    const Json state = now(feed);
    engine.drain();
    if (state.at("requests", "s").size() != 2) continue;
    seen = true;
    EXPECT_EQ(state.at("model", "s").at("name", "m"), Json("words"));
    EXPECT_EQ(state.at("running", "s"), Json(2));
    EXPECT_EQ(state.at("cache", "s").at("shared", "c"), Json(2));
    const Json::Array& requests = state.at("requests", "s").as_array("r");
    Pages pages;
    pages.apply(state);
    const int64_t first = requests[0].as_array("r")[0].as_int("id"), second = requests[1].as_array("r")[0].as_int("id");
    const int64_t tables = requests[0].as_array("r")[5].as_int("pages") + requests[1].as_array("r")[5].as_int("pages");
    EXPECT_LT(first, second);
    EXPECT_EQ(requests[0].as_array("r")[1], Json(33));
    int64_t references = 0;
    for (size_t page = 0; page < pages.owners.size(); ++page) {
      references += pages.references[page];
      EXPECT_TRUE(pages.references[page] != 2 || pages.owners[page] == first) << page;
      EXPECT_EQ(pages.references[page] > 0, pages.owners[page] > 0);
    }
    EXPECT_EQ(references, tables);
    EXPECT_EQ(std::count(pages.references.begin(), pages.references.end(), 2), 2);
    EXPECT_GE(std::count(pages.owners.begin(), pages.owners.end(), second), 1);
  }
  EXPECT_TRUE(seen);
  const Json after = now(feed);
  EXPECT_EQ(after.at("cache", "s").at("used", "c"), Json(0));
  EXPECT_EQ(after.at("requests", "s").size(), 0u);
  EXPECT_GE(after.at("cache", "s").at("cached", "c").as_int("c"), 2);
  EXPECT_EQ(feed.watchers(), 0);
}

TEST_F(LiveFeedTest, ChangesLeadToTheSamePagesAsAWholeState) {
  AsyncEngine engine(generation_->engine(), 0);
  const Metrics metrics("words");
  LiveOptions options;
  options.interval = std::chrono::milliseconds(5);
  LiveFeed feed(engine, metrics, "{}", options);
  const auto watcher = std::make_shared<Heard>();
  feed.watch(watcher);
  ASSERT_TRUE(eventually([&] { return !watcher->events().empty(); }));
  for (int32_t i = 0; i < 12; ++i) {
    engine.submit(request(50 + i), [](const Event&) { std::this_thread::sleep_for(std::chrono::microseconds(300)); });
    if (i % 4 == 3) engine.drain();
  }
  engine.drain();
  Pages whole;
  whole.apply(now(feed));
  Pages known;
  EXPECT_TRUE(eventually([&] {
    known = Pages();
    for (const Json& event : watcher->events()) known.apply(event);
    return known == whole;
  }));
  const std::vector<Json> events = watcher->events();
  EXPECT_TRUE(events[0].at("cache", "e").at("whole", "c").as_bool("w"));
  EXPECT_NE(events[0].find("model"), nullptr);
  for (size_t i = 1; i < events.size(); ++i) EXPECT_FALSE(events[i].at("cache", "e").at("whole", "c").as_bool("w")) << i;
  EXPECT_GT(events.size(), 2u);
}

TEST_F(LiveFeedTest, WatchersAreLimitedAndEndWithTheServer) {
  AsyncEngine engine(generation_->engine(), 0);
  const Metrics metrics("words");
  LiveOptions options;
  options.max_watchers = 2;
  options.interval = std::chrono::milliseconds(5);
  LiveFeed feed(engine, metrics, "{}", options);
  std::vector<std::shared_ptr<Heard>> heard;
  for (int i = 0; i < 3; ++i) {
    heard.push_back(std::make_shared<Heard>());
    feed.watch(heard.back());
  }
  EXPECT_EQ(heard[2]->status(), 503);
  EXPECT_EQ(heard[2]->header("retry-after"), "5");
  EXPECT_EQ(feed.watchers(), 2);
  now(feed);  // a single look needs no place
  heard[0]->leave();
  EXPECT_TRUE(eventually([&] { return feed.watchers() == 1; }));
  heard.push_back(std::make_shared<Heard>());
  feed.watch(heard.back());
  EXPECT_TRUE(eventually([&] { return !heard.back()->events().empty(); }));
  feed.close();
  EXPECT_TRUE(eventually([&] { return heard[1]->done() && heard[3]->done() && feed.watchers() == 0; }));
  const auto late = std::make_shared<Heard>();
  feed.watch(late);
  EXPECT_EQ(late->status(), 503);
}

TEST_F(LiveFeedTest, ThePageIsWhole) {
  const std::string html(page_html());
  EXPECT_EQ(html.compare(0, 15, "<!doctype html>"), 0);
  EXPECT_NE(html.find("</html>"), std::string::npos);
  // One script, one style, nothing from elsewhere, and no way from text to markup.
  const auto count = [&](const std::string& what) {
    size_t found = 0;
    for (size_t at = html.find(what); at != std::string::npos; at = html.find(what, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count("<script"), 1u);
  EXPECT_EQ(count("<style"), 1u);
  for (const char* none : {"<link rel=\"stylesheet", "src=\"http", "@import", "innerHTML", "outerHTML", "insertAdjacentHTML",
                           "document.write", "eval(", " style=\"", " onclick="}) {
    EXPECT_EQ(count(none), 0u) << none;
  }
}

TEST_F(LiveFeedTest, ThePageIsServedWithItsHashes) {
  const PageHeaders headers = page_headers("<style>a{}</style><script>alert(1)</script>");
  EXPECT_NE(headers.content_security_policy.find("script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI=';"),
            std::string::npos)
      << headers.content_security_policy;
  EXPECT_EQ(headers.content_security_policy.find("unsafe"), std::string::npos);
  App app(plain());
  const auto page = get(app, "/");  // before the model is there
  EXPECT_EQ(page->status(), 200);
  EXPECT_EQ(page->body(), page_html());
  EXPECT_EQ(page->header("content-security-policy"), page_headers(page_html()).content_security_policy);
  EXPECT_EQ(get(app, "/", {{"if-none-match", page->header("etag")}})->status(), 304);
  EXPECT_EQ(get(app, "/", {{"if-none-match", "\"other\", W/" + page->header("etag")}})->status(), 304);
  EXPECT_EQ(get(app, "/", {{"if-none-match", "\"other\""}})->status(), 200);
  EXPECT_EQ(get(app, "/pagoda/state")->status(), 503);
}

TEST_F(LiveFeedTest, DataNeedsTheKeyAndThePageDoesNot) {
  AppOptions options = plain();
  options.api_keys = {"secret"};
  App app(options);
  app.serve(std::make_unique<ServedGenerator>(app.serving(), GenerationOptions{}, *generation_));
  EXPECT_EQ(get(app, "/")->status(), 200);
  for (const char* path : {"/pagoda/state", "/pagoda/live"}) {
    EXPECT_EQ(get(app, path)->status(), 401);
    EXPECT_EQ(get(app, path, {{"authorization", "Bearer secreT"}})->status(), 401);
  }
  const auto state = get(app, "/pagoda/state", {{"authorization", "Bearer secret"}});
  ASSERT_TRUE(eventually([&] { return state->done(); }));
  const Json model = Json::parse(state->body(), "state").at("model", "state");
  EXPECT_EQ(model.at("name", "m"), Json("words"));
  EXPECT_EQ(model.at("chat", "m"), Json(true));
  EXPECT_EQ(model.at("max_model_len", "m"), Json(128));
  EXPECT_EQ(get(app, "/pagoda/live", {{"authorization", "Bearer secret"}}, "HEAD")->status(), 200);
}

TEST_F(LiveFeedTest, WhoWatchesDoesNotHoldUpTheEnd) {
  App app(plain());
  app.serve(std::make_unique<ServedGenerator>(app.serving(), GenerationOptions{}, *generation_));
  HttpOptions options;
  options.port = 0;
  HttpServer http(options, [&](HttpRequest request, std::shared_ptr<HttpResponse> response) {
    app.handle(std::move(request), std::move(response));
  });
  Client client(http.port());
  client.send("GET /pagoda/live HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(client.wait_for("\n\n\r\n"));
  app.close();
  EXPECT_EQ(http.stop(std::chrono::seconds(60)), 0);
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(client.buffer().substr(client.buffer().size() - 5), "0\r\n\r\n");
}

}  // namespace
}  // namespace pagoda::server
