// Batches: order, bad lines, ends and new beginnings.
#include "server/batch.h"

#include <fstream>
#include <thread>

#include "tests/server/app_fixture.h"

namespace pagoda::server {
namespace {

class BatchTest : public AppTest {
 protected:
  void SetUp() override {
    AppTest::SetUp();
    folder_ = ::testing::TempDir() + "pagoda_batch_" + std::to_string(::getpid());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    in_ = folder_ + "/in.jsonl";
    out_ = folder_ + "/out.jsonl";
    handler_ = [this](HttpRequest http, std::shared_ptr<HttpResponse> response) {
      ++calls_;
      app_->handle(std::move(http), std::move(response));
    };
  }
  void TearDown() override {
    app_.reset();
    std::filesystem::remove_all(folder_);
  }
  static std::string line(int i, const std::string& body = "", const std::string& url = "/v1/completions") {
    const std::string given = body.empty() ? R"({"prompt": "w)" + std::to_string(6 + i % 90) + R"(", "max_tokens": )" +
                                                 std::to_string(1 + i % 7) + "}"
                                           : body;
    return R"({"custom_id": "c)" + std::to_string(i) + R"(", "method": "POST", "url": ")" + url + R"(", "body": )" + given +
           "}\n";
  }
  BatchResult run(const BatchOptions& options = {}) { return run_batch(in_, out_, handler_, options); }
  static std::vector<Json> lines_of(const std::string& path) {
    std::vector<Json> lines;
    std::ifstream in(path);
    for (std::string text; std::getline(in, text);) lines.push_back(Json::parse(text, path));
    return lines;
  }
  std::string folder_, in_, out_;
  Handler handler_;
  int calls_ = 0;
};

TEST_F(BatchTest, PutsAnEndToNothingThatIsThere) {
  std::ofstream(in_) << line(0);
  EXPECT_THROW(run_batch(in_, in_, handler_, {}), Error);
  EXPECT_THROW(run_batch(in_, "/dev/null", handler_, {}), Error);
  std::filesystem::create_symlink(in_, out_ + ".part");
  EXPECT_THROW(run(), Error);
  EXPECT_EQ(lines_of(in_).size(), 1u);
  EXPECT_EQ(calls_, 0);
}

// The engine's thread has others to serve than who formats answers.
TEST_F(BatchTest, AnswersAreWrittenByWhoWaitsForThem) {
  std::ofstream(in_) << line(0) << line(1);
  std::vector<std::thread> others;
  std::vector<std::thread::id> by;
  const Handler handler = [&](const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
    others.emplace_back([&by, response] {
      response->post([&by, response] {
        by.push_back(std::this_thread::get_id());
        response->send(200, "application/json", "{}");
      });
    });
  };
  EXPECT_EQ(run_batch(in_, out_, handler, {}).failed, 0);
  for (std::thread& other : others) other.join();
  EXPECT_EQ(by, std::vector<std::thread::id>(2, std::this_thread::get_id()));
}

// Lines that were counted and are gone are not waited for; what was answered stays for the next run.
TEST_F(BatchTest, AnInputThatGetsShorterIsAnError) {
  std::string text;
  for (int i = 0; i < 400; ++i)
    text += line(i, R"({"prompt": "w7", "max_tokens": 1, "user": ")" + std::string(1000, 'u') + "\"}");
  write_file_atomic(in_, text);
  handler_ = [this](HttpRequest http, std::shared_ptr<HttpResponse> response) {
    if (++calls_ == 1) std::filesystem::resize_file(in_, 0);
    app_->handle(std::move(http), std::move(response));
  };
  try {
    run();
    FAIL() << "the batch ended well";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("got shorter"), std::string::npos) << error.message();
  }
  EXPECT_FALSE(std::filesystem::exists(out_));
  EXPECT_FALSE(lines_of(out_ + ".part").empty());
}

TEST_F(BatchTest, KeepsTheOrderAndGivesBadLinesTheirError) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += line(i);
  text += "\n";
  text += "{broken\n";
  text += line(41, R"({"prompt": "w7", "temperature": -1})");
  text += line(42, R"({"prompt": "w7", "stream": true})");
  text += line(43, "{}", "/nowhere");
  text += line(44, "{}", "/v1/nowhere");
  text += R"({"custom_id": "get", "method": "GET", "url": "/v1/models", "body": {}})"
          "\n";
  text += R"({"method": "POST", "url": "/v1/models", "body": {}})"
          "\n";
  text += line(48, R"({"messages": [{"role": "user", "content": "w7"}], "max_tokens": 2})", "/v1/chat/completions");
  text += line(49, R"({"input": ["w7", "w8"]})", "/v1/embeddings");
  write_file_atomic(in_, text);
  int64_t last_done = 0, last_total = 0;
  BatchOptions options;
  options.concurrency = 8;
  options.progress = [&](int64_t done, int64_t total) { last_done = done, last_total = total; };
  const BatchResult result = run(options);
  EXPECT_FALSE(result.interrupted);
  EXPECT_EQ(result.total, 49);
  EXPECT_EQ(result.done, 49);
  EXPECT_EQ(result.failed, 7);
  EXPECT_EQ(last_done, 49);
  EXPECT_EQ(last_total, 49);
  EXPECT_FALSE(std::filesystem::exists(batch_part_path(out_)));
  const std::vector<Json> lines = lines_of(out_);
  ASSERT_EQ(lines.size(), 49u);
  for (int i = 0; i < 40; ++i) {
    const Json& one = lines[static_cast<size_t>(i)];
    EXPECT_EQ(one.at("custom_id", "l"), Json("c" + std::to_string(i)));
    EXPECT_TRUE(one.at("error", "l").is_null());
    EXPECT_EQ(one.at("response", "l").at("status_code", "r"), Json(200));
    EXPECT_EQ(one.at("response", "l").at("body", "r").at("object", "b"), Json("text_completion"));
    EXPECT_FALSE(one.at("response", "l").get_string("request_id", "", "r").empty());
  }
  EXPECT_TRUE(lines[40].at("custom_id", "l").is_null());
  EXPECT_TRUE(lines[40].at("response", "l").is_null());
  EXPECT_FALSE(lines[40].at("error", "l").get_string("message", "", "e").empty());
  EXPECT_EQ(lines[41].at("response", "l").at("status_code", "r"), Json(400));
  EXPECT_EQ(lines[41].at("custom_id", "l"), Json("c41"));
  EXPECT_NE(lines[42].at("error", "l").get_string("message", "", "e").find("streamed"), std::string::npos);
  EXPECT_NE(lines[43].at("error", "l").get_string("message", "", "e").find("[url]"), std::string::npos);
  EXPECT_EQ(lines[44].at("response", "l").at("status_code", "r"), Json(404));
  EXPECT_NE(lines[45].at("error", "l").get_string("message", "", "e").find("[method]"), std::string::npos);
  EXPECT_NE(lines[46].at("error", "l").get_string("message", "", "e").find("custom_id"), std::string::npos);
  EXPECT_EQ(lines[47].at("response", "l").at("body", "r").at("object", "b"), Json("chat.completion"));
  EXPECT_EQ(lines[48].at("response", "l").at("body", "r").at("data", "b").size(), 2u);
}

TEST_F(BatchTest, GoesOnAfterAnEnd) {
  std::string text;
  for (int i = 0; i < 30; ++i) text += line(i);
  write_file_atomic(in_, text);
  BatchOptions options;
  options.concurrency = 3;
  int64_t seen = 0;
  options.progress = [&](int64_t done, int64_t) { seen = done; };
  options.interrupted = [&] { return seen >= 5; };
  const BatchResult first = run(options);
  EXPECT_TRUE(first.interrupted);
  EXPECT_FALSE(std::filesystem::exists(out_));
  engine_->drain();
  EXPECT_EQ(generation_->engine().pool().num_free(), generation_->engine().pool().num_blocks());
  const std::string part = batch_part_path(out_);
  EXPECT_EQ(static_cast<int64_t>(lines_of(part).size()), first.done);
  {
    std::ofstream torn(part, std::ios::app);
    torn << R"({"id": "half a li)";
  }
  const int before = calls_;
  const BatchResult second = run();
  EXPECT_EQ(second.resumed, first.done);
  EXPECT_EQ(second.done, 30 - first.done);
  EXPECT_EQ(calls_ - before, second.done);
  const std::vector<Json> lines = lines_of(out_);
  ASSERT_EQ(lines.size(), 30u);
  for (int i = 0; i < 30; ++i) EXPECT_EQ(lines[static_cast<size_t>(i)].at("custom_id", "l"), Json("c" + std::to_string(i)));
}

// A custom_id may be used again for another request: its old answer must not stand for the new one's.
TEST_F(BatchTest, AnAnswerToAnotherBodyIsNotGoneOnWith) {
  const auto two = [](const std::string& body) { return line(0, R"({"prompt": "w7", "max_tokens": 2})") + line(1, body); };
  write_file_atomic(in_, two(R"({"prompt": "w8", "max_tokens": 2})"));
  run();
  std::filesystem::rename(out_, batch_part_path(out_));
  write_file_atomic(in_, two(R"({"prompt": "w9", "max_tokens": 2})"));
  try {
    run();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("line 2"), std::string::npos) << error.message();
  }
  write_file_atomic(in_, two(R"({"prompt": "w8", "max_tokens": 2})"));
  EXPECT_EQ(run().resumed, 2);
}

TEST_F(BatchTest, APartOfAnotherInputIsNotGoneOnWith) {
  write_file_atomic(in_, line(1) + line(2));
  write_file_atomic(batch_part_path(out_), R"({"custom_id": "other"})"
                                           "\n");
  EXPECT_THROW(run(), Error);
  write_file_atomic(batch_part_path(out_), "{\"custom_id\": \"c1\"}\n{\"custom_id\": \"c2\"}\n{\"custom_id\": \"c3\"}\n");
  EXPECT_THROW(run(), Error);
  std::filesystem::remove(batch_part_path(out_));
  write_file_atomic(in_, "\n");
  EXPECT_EQ(run().total, 0);
  EXPECT_EQ(std::filesystem::file_size(out_), 0u);
  EXPECT_THROW(run_batch(folder_ + "/missing.jsonl", out_, handler_, {}), Error);
}

}  // namespace
}  // namespace pagoda::server
