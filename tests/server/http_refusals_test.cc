// Requests that are refused: limits, and what is no HTTP or could be read in two ways.
#include "tests/server/http_fixture.h"

#include <atomic>
#include <memory>
#include <vector>

namespace pagoda::server {
namespace {

using testing::Answer;
using testing::Client;
using testing::eventually;

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

}  // namespace
}  // namespace pagoda::server
