// A server whose answers a test gives itself, for the tests of the HTTP server's streams.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "server/http_server.h"
#include "tests/hub/test_server.h"
#include "tests/server/http_fixture.h"

namespace pagoda::server {

inline constexpr const char* kGet = "GET /s HTTP/1.1\r\nHost: h\r\n\r\n";

class Stream : public ::testing::Test {
 protected:
  void start(const HttpOptions& options, AccessLog log = {}) {
    server_.emplace(
        options,
        [this](const HttpRequest& request, std::shared_ptr<HttpResponse> response) {
          const std::lock_guard lock(mutex_);
          remote_ = request.remote;
          response_ = std::move(response);
          asked_.set();
        },
        std::move(log));
  }
  std::shared_ptr<HttpResponse> response() {
    EXPECT_TRUE(asked_.wait(++answers_));
    const std::lock_guard lock(mutex_);
    return std::move(response_);
  }
  int port() const { return server_->port(); }

  testing::Signal asked_;
  int answers_ = 0;
  std::mutex mutex_;
  std::string remote_;
  std::shared_ptr<HttpResponse> response_;
  std::optional<HttpServer> server_;
};

}  // namespace pagoda::server
