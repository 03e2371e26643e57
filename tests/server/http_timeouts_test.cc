// What a slow client is given.
#include "tests/server/http_fixture.h"

#include <chrono>
#include <memory>
#include <thread>

namespace pagoda::server {
namespace {

using namespace std::chrono_literals;
using testing::Client;

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

}  // namespace
}  // namespace pagoda::server
