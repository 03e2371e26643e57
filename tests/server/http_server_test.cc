// Requests over real connections: what is served, what is refused and how, limits and time-outs.
#include "server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "tests/server/http_client.h"

namespace pagoda::server {
namespace {

using namespace std::chrono_literals;
using testing::Answer;
using testing::Client;
using testing::eventually;

HttpOptions any_port() {
  HttpOptions options;
  options.port = 0;
  return options;
}

// Says what it understood.
void echo(const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
  std::string text = request.method + " " + request.path + "\n";
  for (const auto& [name, value] : request.query) text += name + "=" + value + "\n";
  response->send(200, "text/plain", text + request.body, {});
}

std::string get(const std::string& path, const std::string& more = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: h\r\n" + more + "\r\n";
}

std::string post(const std::string& body, const std::string& more = "") {
  return "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more + "\r\n" + body;
}

void expect_error(const Answer& answer, int status) {
  EXPECT_EQ(answer.status, status) << answer.head << answer.body;
  EXPECT_EQ(answer.header("content-type"), "application/json");
  EXPECT_TRUE(answer.whole);
  ASSERT_FALSE(answer.body.empty());
  const Json body = Json::parse(answer.body, "test");
  EXPECT_EQ(body.at("error", "test").at("code", "test").as_int("test"), status);
}

// The server answers `bytes` with this error, closes the connection, and serves on.
void expect_refused(int port, std::string_view bytes, int status) {
  Client client(port);
  const Answer answer = client.ask(bytes);
  SCOPED_TRACE(std::string(bytes.substr(0, 200)));
  expect_error(answer, status);
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_TRUE(client.closed());
  Client next(port);
  EXPECT_EQ(next.ask(get("/after")).status, 200);
}

class Http : public ::testing::Test {
 protected:
  void start(const HttpOptions& options, Handler handler = echo, AccessLog log = {}) {
    server_.emplace(options, std::move(handler), std::move(log));
  }
  int port() const { return server_->port(); }
  std::optional<HttpServer> server_;
};

// Handlers of requests with bodies may take long: a thread is left for those without, which say whether the server lives.
TEST_F(Http, BodiesLeaveAThread) {
  HttpOptions options = any_port();
  options.threads = 3;
  std::mutex mutex;
  std::condition_variable changed;
  bool asked = false;
  std::atomic<int> in_time{0};
  start(options, [&](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    std::unique_lock lock(mutex);
    if (request.body.empty()) {
      asked = true;
      changed.notify_all();
    } else if (changed.wait_for(lock, 20s, [&] { return asked; })) {
      ++in_time;
    }
    lock.unlock();
    echo(request, response);
  });
  const std::string large(2 << 20, 'x');
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(std::make_unique<Client>(port()));
    ASSERT_TRUE(clients.back()->send(post(i % 2 == 0 ? "small" : large)));
  }
  Client probe(port());
  EXPECT_EQ(probe.ask(get("/health")).status, 200);
  for (const auto& client : clients) EXPECT_EQ(client->read_answer().status, 200);
  EXPECT_EQ(in_time, 8);
}

// With four threads: one for large bodies, from what is no longer cut into tokens at once on, two for small ones, one for none.
TEST_F(Http, SmallBodiesGoSideBySideAndPastLargeOnes) {
  HttpOptions options = any_port();
  options.threads = 4;
  std::mutex mutex;
  std::condition_variable changed;
  int small = 0, large = 0, most_large = 0;
  std::atomic<int> in_time{0};
  start(options, [&](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    std::unique_lock lock(mutex);
    const bool is_large = request.body.size() > 100;
    if (is_large) {
      most_large = std::max(most_large, ++large);
    } else {
      ++small;
    }
    changed.notify_all();
    if (changed.wait_for(lock, 20s, [&] { return small >= 2; })) ++in_time;
    if (is_large) --large;
    lock.unlock();
    echo(request, response);
  });
  std::vector<std::unique_ptr<Client>> clients;
  for (const size_t size : {size_t{65} << 10, size_t{65} << 10, size_t{65} << 10, size_t{5}, size_t{5}}) {
    clients.push_back(std::make_unique<Client>(port()));
    ASSERT_TRUE(clients.back()->send(post(std::string(size, 'x'))));
  }
  for (const auto& client : clients) EXPECT_EQ(client->read_answer().status, 200);
  EXPECT_EQ(in_time, 5);
  EXPECT_EQ(most_large, 1);
}

// A client that goes while it waits for its turn is forgotten, and the others have theirs.
TEST_F(Http, WhoGoesWhileWaitingIsForgotten) {
  HttpOptions options = any_port();
  options.threads = 3;
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  std::atomic<int> handled{0};
  start(options, [&](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    if (!request.body.empty()) {
      std::unique_lock lock(mutex);
      ++handled;
      changed.notify_all();
      changed.wait(lock, [&] { return open; });
    }
    echo(request, response);
  });
  Client first(port()), last(port());
  ASSERT_TRUE(first.send(post("first")));
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return handled == 1; });
  }
  {
    Client gone(port());
    ASSERT_TRUE(gone.send(post("gone")));
    ASSERT_TRUE(eventually([&] { return server_->connections() == 3; }));
    Client probe(port());
    EXPECT_EQ(probe.ask(get("/x")).status, 200);  // all threads are past what came before
  }
  ASSERT_TRUE(last.send(post("last")));
  ASSERT_TRUE(eventually([&] { return server_->connections() == 2; }));
  {
    const std::lock_guard lock(mutex);
    open = true;
  }
  changed.notify_all();
  EXPECT_EQ(first.read_answer().status, 200);
  EXPECT_EQ(last.read_answer().status, 200);
  EXPECT_EQ(handled, 2);
}

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

// ---- refused

TEST_F(Http, HeadersOverTheLimitAre431) {
  HttpOptions options = any_port();
  options.max_header_bytes = 1000;
  start(options);
  Client client(port());
  const std::string frame = get("/", "A: \r\n");
  EXPECT_EQ(client.ask(get("/", "A: " + std::string(1000 - frame.size(), 'a') + "\r\n")).status, 200);
  expect_refused(port(), get("/", "A: " + std::string(1001 - frame.size(), 'a') + "\r\n"), 431);
  expect_refused(port(), get("/" + std::string(5000, 'a')), 431);
  // Without an end, line by line.
  Client slow(port());
  slow.send("GET / HTTP/1.1\r\nHost: h\r\n");
  for (int i = 0; i < 200; ++i) slow.send("Header-" + std::to_string(i) + ": x\r\n");
  expect_error(slow.read_answer(), 431);
}

TEST_F(Http, DeclaredBodyOverTheLimitIs413) {
  HttpOptions options = any_port();
  options.max_body_bytes = 10;
  start(options);
  Client client(port());
  EXPECT_EQ(client.ask(post("0123456789")).status, 200);
  expect_refused(port(), post("01234567890"), 413);
  EXPECT_NE(Client(port()).ask(post("01234567890")).body.find(R"("[http] body too large: got 11 bytes, need at most 10")"),
            std::string::npos);
  expect_refused(port(), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999999999999\r\n\r\n", 413);
}

TEST_F(Http, UndeclaredBodyOverTheLimitIs413) {
  HttpOptions options = any_port();
  options.max_body_bytes = 10;
  start(options);
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  Client client(port());
  EXPECT_EQ(client.ask(head + "a\r\n0123456789\r\n0\r\n\r\n").status, 200);
  expect_refused(port(), head + "5\r\n01234\r\n6\r\n", 413);
  expect_refused(port(), head + "fffffffffff\r\n", 413);
}

TEST_F(Http, ARefusedClientThatKeepsSendingCanReadTheAnswer) {
  HttpOptions options = any_port();
  options.max_body_bytes = 10;
  start(options);
  Client client(port());
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n");
  for (int i = 0; i < 20; ++i) client.send(std::string(100'000, 'x'));
  expect_error(client.read_answer(), 413);
}

TEST_F(Http, BodiesOfAllConnectionsTogetherAreLimited) {
  constexpr int64_t kFree = MemoryLedger::kFreeBytes;
  HttpOptions options = any_port();
  options.memory = MemoryLedger(100'000);
  start(options,
        [](const HttpRequest&, const std::shared_ptr<HttpResponse>& response) { response->send(200, "text/plain", "ok"); });
  const size_t size = kFree + 70'000;
  const std::string head = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
  Client first(port());
  first.send(head + std::string(size - 100, 'a'));
  EXPECT_TRUE(eventually([&] { return options.memory.held() == 70'000 - 100; }));
  Client second(port()), probe(port());
  const Answer answer = probe.ask(head + std::string(size, 'a'));
  expect_error(answer, 503);
  EXPECT_EQ(answer.header("retry-after"), "1");
  // Little is always taken.
  EXPECT_EQ(second.ask("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello").status, 200);
  EXPECT_EQ(first.ask(std::string(100, 'a')).status, 200);
  EXPECT_EQ(second.ask(head + std::string(size, 'a')).status, 200);
  // A connection that ends gives back what it held.
  for (int i = 0; i < 5; ++i) {
    Client leaving(port());
    leaving.send(head + std::string(size - 100, 'a'));
    EXPECT_TRUE(eventually([&] { return options.memory.held() > 0; }));
    leaving.close();
    EXPECT_TRUE(eventually([&] { return options.memory.held() == 0; }));
  }
  EXPECT_EQ(second.ask(head + std::string(size, 'a')).status, 200);
  // One that could never be taken is told so.
  Client large(port());
  EXPECT_EQ(large.ask("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n").status, 413);
}

// A body counts until its handler is done with it: others wait for their turn, or are read.
TEST_F(Http, BodiesCountUntilTheyAreRead) {
  HttpOptions options = any_port();
  std::atomic<int64_t> held{0};
  HttpServer server(options, [&](const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
    held = options.memory.held();
    response->send(200, "text/plain", "done");
  });
  Client client(server.port());
  const size_t size = MemoryLedger::kFreeBytes + 1000;
  EXPECT_EQ(
      client.ask("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" + std::string(size, 'a'))
          .status,
      200);
  EXPECT_EQ(held, 1000);
  EXPECT_TRUE(eventually([&] { return options.memory.held() == 0; }));
}

TEST_F(Http, ConnectionsOverTheLimitAreClosed) {
  HttpOptions options = any_port();
  options.max_connections = 2;
  start(options);
  Client a(port()), b(port());
  EXPECT_EQ(a.ask(get("/a")).status, 200);
  EXPECT_EQ(b.ask(get("/b")).status, 200);
  Client c(port());
  EXPECT_TRUE(c.closed());
  a.close();
  EXPECT_TRUE(eventually([&] { return server_->connections() == 1; }));
  Client d(port());
  EXPECT_EQ(d.ask(get("/d")).status, 200);
}

TEST_F(Http, MalformedRequestsAre400) {
  start(any_port());
  for (const std::string& bytes : std::vector<std::string>{
           "GET\r\n\r\n", "GET /\r\n\r\n", "GET / \r\n\r\n", "GET / HTTP/1.1 x\r\n\r\n", "GET / http/1.1\r\nHost: h\r\n\r\n",
           "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "G\x01T / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x01\xfc\x03\x03",
           "GET / HTTP/1.1\nHost: h\n\n", "GET / HTTP/1.1\r\nHost h\r\n\r\n", "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
           "{\"model\": \"x\"}\r\n\r\n", "GET x HTTP/1.1\r\nHost: h\r\n\r\n", "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n"}) {
    expect_refused(port(), bytes, 400);
  }
}

TEST_F(Http, NulAndControlCharactersAreRefused) {
  start(any_port());
  using namespace std::string_literals;
  for (const std::string& bytes : std::vector<std::string>{
           "GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n"s, "GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n"s,
           "GET / HTTP/1.1\r\nHost: h\r\nA\0: b\r\n\r\n"s, "GET / HTTP/1.1\r\nHost: h\r\nA: b\x08\r\n\r\n"s,
           "GET / HTTP/1.1\r\nHost: h\r\nA: b\rC: d\r\n\r\n"s, get("/a%00b"), get("/a%0ab"), get("/?a=%00"), get("/a\x7f")}) {
    expect_refused(port(), bytes, 400);
  }
}

TEST_F(Http, BadPercentEscapesAreRefused) {
  start(any_port());
  for (const char* path : {"/%", "/%4", "/%gg", "/x?a=%f", "/%ff", "/%c0%af"}) expect_refused(port(), get(path), 400);
}

TEST_F(Http, LengthAndTransferEncodingTogetherAreRefused) {
  start(any_port());
  const std::string body = "\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
  expect_refused(port(), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n" + body, 400);
  expect_refused(port(), "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n" + body, 400);
}

TEST_F(Http, TwoLengthsAreRefused) {
  start(any_port());
  for (const char* lengths : {"Content-Length: 1\r\nContent-Length: 2\r\n", "Content-Length: 1\r\nContent-Length: 1\r\n",
                              "Content-Length: 1, 1\r\n", "Content-Length: +1\r\n", "Content-Length: -1\r\n",
                              "Content-Length: 0x1\r\n", "Content-Length: \r\n", "Content-Length: 18446744073709551617\r\n"}) {
    expect_refused(port(), std::string("POST / HTTP/1.1\r\nHost: h\r\n") + lengths + "\r\nx", 400);
  }
}

TEST_F(Http, OddTransferEncodingsAreRefused) {
  start(any_port());
  const std::string head = "POST / HTTP/1.1\r\nHost: h\r\n";
  expect_refused(port(), head + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501);
  expect_refused(port(), head + "Transfer-Encoding: identity\r\n\r\n", 501);
  expect_refused(port(), head + "Transfer-Encoding: chunked, identity\r\n\r\n", 501);
  expect_refused(port(), head + "Transfer-Encoding: xchunked\r\n\r\n", 501);
  expect_refused(port(), head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
  expect_refused(port(), head + "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
  expect_refused(port(), head + "Transfer-Encoding : chunked\r\n\r\n", 400);
  expect_refused(port(), "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

TEST_F(Http, BadChunksAreRefused) {
  start(any_port());
  for (const char* chunks : {"x\r\n", "-1\r\n", "0x5\r\nhello\r\n", "5\nhello\r\n", "5\r\nhello0\r\n", "ffffffffffffffff\r\n",
                             "1\r\na\r\n\r\n", "5;a\nb\r\n"}) {
    expect_refused(port(), std::string("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n") + chunks, 400);
  }
}

TEST_F(Http, OneHostIsNeeded) {
  start(any_port());
  expect_refused(port(), "GET / HTTP/1.1\r\n\r\n", 400);
  expect_refused(port(), "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
}

TEST_F(Http, OtherVersionsAre505) {
  start(any_port());
  expect_refused(port(), "GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505);
  expect_refused(port(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
  expect_refused(port(), "GET / HTTP/0.9\r\n\r\n", 505);
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

// ---- time

TEST_F(Http, SlowHeadersAre408) {
  HttpOptions options = any_port();
  options.header_timeout = 150ms;
  start(options);
  Client client(port());
  client.send("GET / HTTP/1.1\r\nHo");
  expect_error(client.read_answer(), 408);
  EXPECT_TRUE(client.closed());
  // Drops of bytes do not prolong it.
  Client drops(port());
  for (int i = 0; i < 40 && drops.send("a"); ++i) std::this_thread::sleep_for(10ms);
  expect_error(drops.read_answer(), 408);
  // Who says nothing is told nothing.
  Client silent(port());
  EXPECT_TRUE(silent.closed());
  EXPECT_EQ(silent.rest(), "");
}

TEST_F(Http, SlowBodyIs408) {
  HttpOptions options = any_port();
  options.body_timeout = 150ms;
  start(options);
  Client client(port());
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
  for (int i = 0; i < 40 && client.send("a"); ++i) std::this_thread::sleep_for(10ms);
  expect_error(client.read_answer(), 408);
  EXPECT_TRUE(client.closed());
}

TEST_F(Http, AnIdleConnectionIsClosed) {
  HttpOptions options = any_port();
  options.keep_alive_timeout = 150ms;
  start(options);
  Client client(port());
  EXPECT_EQ(client.ask(get("/")).status, 200);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(client.closed());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 100ms);
  EXPECT_EQ(client.rest(), "");
}

TEST_F(Http, ALongAnswerIsNotIdle) {
  HttpOptions options = any_port();
  options.header_timeout = options.body_timeout = options.keep_alive_timeout = options.write_timeout = 100ms;
  std::thread thread;
  start(options, [&](const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
    thread = std::thread([response] {
      std::this_thread::sleep_for(400ms);
      response->send(200, "text/plain", "late", {});
    });
  });
  Client client(port());
  EXPECT_EQ(client.ask(get("/")).body, "late");
  thread.join();
}

// ---- others

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
