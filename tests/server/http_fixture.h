// A server that says what it understood, and checks of what it refuses, for the tests of HTTP.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "server/http_server.h"
#include "tests/server/http_client.h"

namespace pagoda::server {

inline HttpOptions any_port() {
  HttpOptions options;
  options.port = 0;
  return options;
}

class Http : public ::testing::Test {
 protected:
  // Says what it understood.
  static void echo(const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    std::string text = request.method + " " + request.path + "\n";
    for (const auto& [name, value] : request.query) text += name + "=" + value + "\n";
    response->send(200, "text/plain", text + request.body, {});
  }

  static std::string get(const std::string& path, const std::string& more = "") {
    return "GET " + path + " HTTP/1.1\r\nHost: h\r\n" + more + "\r\n";
  }

  static std::string post(const std::string& body, const std::string& more = "") {
    return "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more + "\r\n" + body;
  }

  static void expect_error(const testing::Answer& answer, int status) {
    EXPECT_EQ(answer.status, status) << answer.head << answer.body;
    EXPECT_EQ(answer.header("content-type"), "application/json");
    EXPECT_TRUE(answer.whole);
    ASSERT_FALSE(answer.body.empty());
    const Json body = Json::parse(answer.body, "test");
    EXPECT_EQ(body.at("error", "test").at("code", "test").as_int("test"), status);
  }

  // The server answers `bytes` with this error, closes the connection, and serves on.
  static void expect_refused(int port, std::string_view bytes, int status) {
    testing::Client client(port);
    const testing::Answer answer = client.ask(bytes);
    SCOPED_TRACE(std::string(bytes.substr(0, 200)));
    expect_error(answer, status);
    EXPECT_EQ(answer.header("connection"), "close");
    EXPECT_TRUE(client.closed());
    testing::Client next(port);
    EXPECT_EQ(next.ask(get("/after")).status, 200);
  }

  void start(const HttpOptions& options, Handler handler = echo, AccessLog log = {}) {
    server_.emplace(options, std::move(handler), std::move(log));
  }
  int port() const { return server_->port(); }
  std::optional<HttpServer> server_;
};

}  // namespace pagoda::server
