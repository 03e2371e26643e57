// Requests over real connections: what is served, and how it ends.
#include "tests/server/http_fixture.h"

#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/error.h"

namespace pagoda::server {
namespace {

using namespace std::chrono_literals;
using testing::Answer;
using testing::Client;
using testing::eventually;

TEST_F(Http, AnswersARequest) {
  start(any_port());
  Client client(port());
  const Answer answer = client.ask(get("/a%20b?x=1&y=%41+b"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "GET /a b\nx=1\ny=A b\n");
  EXPECT_EQ(answer.header("content-type"), "text/plain");
  EXPECT_FALSE(answer.header("date").empty());
  EXPECT_EQ(answer.header("connection"), "");
}

TEST_F(Http, KeepsTheConnectionAlive) {
  start(any_port());
  Client client(port());
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(client.ask(post("body" + std::to_string(i))).body, "POST /x\nbody" + std::to_string(i));
  }
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(Http, ConnectionCloseIsHonoured) {
  start(any_port());
  Client client(port());
  EXPECT_EQ(client.ask(get("/", "Connection: close\r\n")).header("connection"), "close");
  EXPECT_TRUE(client.closed());
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

TEST_F(Http, PipelinedRequestsAreAnsweredInOrder) {
  // Each answer comes from another thread, later ones sooner: order must not depend on that.
  std::vector<std::thread> threads;
  std::mutex mutex;
  start(any_port(), [&](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    const std::lock_guard lock(mutex);
    threads.emplace_back([request, response] {
      std::this_thread::sleep_for(request.path == "/0" ? 50ms : 1ms);
      echo(request, response);
    });
  });
  Client client(port());
  std::string all;
  for (int i = 0; i < 10; ++i) all += get("/" + std::to_string(i));
  client.send(all);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(client.read_answer().body, "GET /" + std::to_string(i) + "\n");
  server_.reset();
  for (std::thread& thread : threads) thread.join();
}

TEST_F(Http, ThousandsOfPipelinedRequestsNeedNoDeepStack) {
  start(any_port());
  Client client(port());
  std::thread sender([&] {
    std::string all;
    for (int i = 0; i < 5000; ++i) all += get("/p");
    client.send(all);
  });
  int answered = 0;
  while (answered < 5000 && client.read_answer().body == "GET /p\n") ++answered;
  sender.join();
  EXPECT_EQ(answered, 5000);
}

TEST_F(Http, Http10ClosesUnlessAskedNotTo) {
  start(any_port());
  Client client(port());
  const Answer answer = client.ask("GET /old HTTP/1.0\r\n\r\n");
  EXPECT_EQ(answer.body, "GET /old\n");
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_TRUE(client.closed());
  Client kept(port());
  EXPECT_EQ(kept.ask("GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").header("connection"), "keep-alive");
  EXPECT_EQ(kept.ask("GET /again HTTP/1.0\r\n\r\n").body, "GET /again\n");
}

TEST_F(Http, ChunkedBodyInManyPieces) {
  start(any_port());
  Client client(port());
  const std::string bytes =
      "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nX-Late: 1\r\n\r\n" +
      get("/n");
  for (const char c : bytes) client.send(std::string(1, c));
  EXPECT_EQ(client.read_answer().body, "POST /c\nhello!");
  EXPECT_EQ(client.read_answer().body, "GET /n\n");
}

TEST_F(Http, TrailersDoNotBecomeHeaders) {
  start(any_port(), [](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    response->send(200, "text/plain", request.header("authorization") == nullptr ? "none" : "forged", {});
  });
  Client client(port());
  EXPECT_EQ(client.ask("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: x\r\n\r\n").body,
            "none");
}

TEST_F(Http, LargeBodyBothWays) {
  HttpOptions options = any_port();
  options.max_body_bytes = 8 << 20;
  start(options);
  Client client(port());
  const std::string body(8 << 20, 'b');
  std::thread sender([&] { client.send(post(body)); });
  const Answer answer = client.read_answer();
  sender.join();
  EXPECT_TRUE(answer.body == "POST /x\n" + body);
}

TEST_F(Http, HeadAndOptionsReachTheHandler) {
  start(any_port());
  Client client(port());
  const Answer head = client.ask("HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n", true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("content-length"), "8");
  EXPECT_EQ(client.ask("OPTIONS /o HTTP/1.1\r\nHost: h\r\n\r\n").body, "OPTIONS /o\n");
  EXPECT_EQ(client.ask("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").body, "OPTIONS *\n");
  EXPECT_EQ(client.ask("DELETE /d HTTP/1.1\r\nHost: h\r\n\r\n").body, "DELETE /d\n");
}

TEST_F(Http, AnswerWithoutContentHasNoLength) {
  start(any_port(), [](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    response->send(request.path == "/204" ? 204 : 200, "", "", {{"Access-Control-Allow-Origin", "*"}});
  });
  Client client(port());
  const Answer answer = client.ask(get("/204"));
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(answer.headers.count("content-length"), 0U);
  EXPECT_EQ(answer.header("access-control-allow-origin"), "*");
  EXPECT_EQ(client.ask(get("/200")).header("content-length"), "0");
}

TEST_F(Http, ExpectContinueIsAnswered) {
  start(any_port());
  Client client(port());
  client.send("POST /e HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_answer().status, 100);
  EXPECT_EQ(client.ask("body").body, "POST /e\nbody");
  // A body that comes along needs no invitation, and one that is too large gets none.
  EXPECT_EQ(client.ask(post("now", "Expect: 100-continue\r\n")).status, 200);
  expect_refused(port(), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999\r\nExpect: 100-continue\r\n\r\n", 413);
  expect_refused(port(), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: miracle\r\n\r\n", 417);
}

TEST_F(Http, RequestIdIsSentBack) {
  start(any_port(), [](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    response->send(200, "text/plain", request.id, {});
  });
  Client client(port());
  const Answer given = client.ask(get("/", "X-Request-Id: mine-1\r\n"));
  EXPECT_EQ(given.header("x-request-id"), "mine-1");
  EXPECT_EQ(given.body, "mine-1");
  const Answer made = client.ask(get("/"));
  EXPECT_EQ(made.body.size(), 32U);
  EXPECT_EQ(made.header("x-request-id"), made.body);
  EXPECT_EQ(client.ask(get("/", "X-Request-Id: " + std::string(500, 'i') + "\r\n")).body, std::string(128, 'i'));
  EXPECT_EQ(client.ask("GET /%zz HTTP/1.1\r\nHost: h\r\nX-Request-Id: bad-1\r\n\r\n").header("x-request-id"), "bad-1");
}

TEST_F(Http, EmptyLinesBeforeARequestAreIgnored) {
  start(any_port());
  Client client(port());
  EXPECT_EQ(client.ask("\r\n\r\n" + get("/e")).body, "GET /e\n");
}

TEST_F(Http, ExceptionsOfTheHandlerBecomeTheirStatus) {
  start(any_port(), [](const HttpRequest& request, const std::shared_ptr<HttpResponse>&) {
    if (request.path == "/400") invalid("field", "wrong");
    if (request.path == "/404") not_found("model", "none");
    if (request.path == "/501") unsupported("build", "no");
    if (request.path == "/503") throw std::bad_alloc();
    if (request.path == "/500") fail(ErrorKind::kDevice, "disk", "broken");
    throw std::runtime_error("oops");
  });
  Client client(port());
  for (const int status : {400, 404, 501, 503, 500}) expect_error(client.ask(get("/" + std::to_string(status))), status);
  expect_error(client.ask(get("/other")), 500);
  EXPECT_NE(client.ask(get("/400")).body.find("[field] wrong"), std::string::npos);
}

TEST_F(Http, ADroppedRequestIs500) {
  start(any_port(), [](const HttpRequest&, const std::shared_ptr<HttpResponse>&) {});
  Client client(port());
  expect_error(client.ask(get("/")), 500);
  expect_error(client.ask(get("/")), 500);
}

TEST_F(Http, OnlyTheFirstAnswerCounts) {
  start(any_port(), [](const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
    response->send(201, "text/plain", "first", {});
    response->send(200, "text/plain", "second", {});
    response->begin(200, "text/plain", {});
    EXPECT_FALSE(response->write("third"));
    response->finish();
    throw std::runtime_error("too late");
  });
  Client client(port());
  EXPECT_EQ(client.ask(get("/")).body, "first");
  EXPECT_EQ(client.ask(get("/")).status, 201);
}

TEST_F(Http, AccessLogHasALineForEachRequest) {
  struct Line {
    HttpRequest request;
    int status;
    int64_t bytes;
    double milliseconds;
  };
  std::vector<Line> lines;
  std::mutex mutex;
  start(any_port(), echo, [&](const HttpRequest& request, int status, int64_t bytes, double milliseconds) {
    const std::lock_guard lock(mutex);
    lines.push_back({request, status, bytes, milliseconds});
  });
  Client client(port());
  client.ask(post("secret"));
  client.ask(get("/%zz"));
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return lines.size() == 2;
  }));
  EXPECT_EQ(lines[0].request.method, "POST");
  EXPECT_EQ(lines[0].request.path, "/x");
  EXPECT_EQ(lines[0].request.body, "");
  EXPECT_EQ(lines[0].request.remote, "127.0.0.1");
  EXPECT_EQ(lines[0].status, 200);
  EXPECT_EQ(lines[0].bytes, 14);
  EXPECT_LT(lines[0].milliseconds, 10'000);
  EXPECT_EQ(lines[1].status, 400);
}

TEST_F(Http, AClientThatClosesItsSideGetsWhatWasAnswered) {
  start(any_port());
  Client client(port());
  client.send(get("/a") + get("/b"));
  client.shutdown_send();
  EXPECT_EQ(client.read_answer().body, "GET /a\n");
  EXPECT_TRUE(client.closed());
}

TEST_F(Http, BadOptionsAreRefused) {
  const auto kind = [](const HttpOptions& options) {
    try {
      const HttpServer server(options, echo);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  HttpOptions options = any_port();
  options.port = 70'000;
  EXPECT_EQ(kind(options), ErrorKind::kInvalidInput);
  options = any_port();
  options.threads = 0;
  EXPECT_EQ(kind(options), ErrorKind::kInvalidInput);
  options = any_port();
  options.host = "no.such.host.invalid";
  EXPECT_EQ(kind(options), ErrorKind::kInvalidInput);
  start(any_port());
  options = any_port();
  options.port = port();
  EXPECT_EQ(kind(options), ErrorKind::kDevice);
}

TEST_F(Http, ListensOnEveryInterface) {
  for (const char* host : {"", "0.0.0.0", "localhost"}) {
    HttpOptions options = any_port();
    options.host = host;
    start(options);
    Client client(port());
    EXPECT_EQ(client.ask(get("/")).status, 200) << host;
    server_.reset();
  }
}

}  // namespace
}  // namespace pagoda::server
