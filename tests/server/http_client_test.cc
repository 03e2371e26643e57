// The client against our own server and against servers that misbehave.
#include "server/http_client.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "tests/hub/test_server.h"
#include "tests/server/http_client.h"
#include "tests/temporary.h"

namespace pagoda::server {
namespace {

using namespace std::chrono_literals;
using testing::eventually;
using testing::Signal;

HttpOptions any_port() {
  HttpOptions options;
  options.port = 0;
  return options;
}

Url at(int port, const std::string& path = "/s", const std::string& scheme = "http") {
  return parse_url(scheme + "://127.0.0.1:" + std::to_string(port) + path);
}

// What one request brought.
struct Got {
  int status = 0;
  Headers headers;
  std::string body;
  int pieces = 0;
  std::optional<Error> error;
  Signal data, done;

  HttpCall call(Url url, std::string request_body = "") {
    HttpCall call;
    call.url = std::move(url);
    call.body = std::move(request_body);
    call.on_head = [this](int code, const Headers& found) {
      status = code;
      headers = found;
    };
    call.on_data = [this](std::string_view bytes) {
      body.append(bytes);
      ++pieces;
      data.set();
    };
    call.on_done = [this](const std::optional<Error>& failed) {
      error = failed;
      done.set();
    };
    return call;
  }
  std::string message() const { return error ? error->message() : ""; }
};

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& name) : path_(pagoda::testing::temporary_path(name)) {
    std::filesystem::remove(path_);
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(HttpClient, SendsARequestAndReadsItsAnswer) {
  HttpRequest seen;
  HttpServer server(any_port(), [&](HttpRequest request, const std::shared_ptr<HttpResponse>& response) {
    seen = std::move(request);
    response->send(201, "text/plain", "hello " + seen.body, {{"X-More", "yes"}});
  });
  HttpClient client;
  Got got;
  HttpCall call = got.call(at(server.port(), "/v1/x?a=1"), "world");
  call.headers = {{"Authorization", "Bearer key"}};
  client.start(std::move(call));
  ASSERT_TRUE(got.done.wait());
  EXPECT_EQ(got.message(), "");
  EXPECT_EQ(got.status, 201);
  EXPECT_EQ(got.body, "hello world");
  EXPECT_EQ(seen.path, "/v1/x");
  ASSERT_NE(seen.header("authorization"), nullptr);
  EXPECT_EQ(*seen.header("authorization"), "Bearer key");
  EXPECT_NE(std::find(got.headers.begin(), got.headers.end(), std::make_pair(std::string("x-more"), std::string("yes"))),
            got.headers.end());
}

TEST(HttpClient, HandsOnAStreamAsItComes) {
  std::mutex mutex;
  std::shared_ptr<HttpResponse> open;
  Signal asked;
  HttpServer server(any_port(), [&](const HttpRequest&, std::shared_ptr<HttpResponse> response) {
    const std::lock_guard lock(mutex);
    open = std::move(response);
    asked.set();
  });
  HttpClient client;
  Got got;
  client.start(got.call(at(server.port())));
  ASSERT_TRUE(asked.wait());
  open->begin(200, "text/event-stream");
  for (int i = 0; i < 4; ++i) {
    open->write("data: " + std::to_string(i) + "\n\n");
    ASSERT_TRUE(got.data.wait(i + 1)) << i;  // before the next is written
  }
  EXPECT_EQ(got.done.count(), 0);
  open->finish();
  ASSERT_TRUE(got.done.wait());
  EXPECT_EQ(got.message(), "");
  EXPECT_EQ(got.body, "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\n");
}

TEST(HttpClient, CancelEndsTheRequestOnBothSides) {
  Signal asked, gone;
  std::shared_ptr<HttpResponse> open;
  HttpServer server(any_port(), [&](const HttpRequest&, std::shared_ptr<HttpResponse> response) {
    response->begin(200, "text/event-stream");
    response->on_disconnect([&] { gone.set(); });
    open = std::move(response);
    asked.set();
  });
  HttpClient client;
  Got got;
  const uint64_t id = client.start(got.call(at(server.port())));
  ASSERT_TRUE(asked.wait());
  client.cancel(id);
  ASSERT_TRUE(got.done.wait());
  EXPECT_EQ(got.message(), "[http] cancelled");
  EXPECT_TRUE(gone.wait());
  client.cancel(id);  // of no effect
  client.cancel(12345);
  EXPECT_EQ(got.done.count(), 1);
}

TEST(HttpClient, ItsEndCancelsWhatIsOpen) {
  std::vector<std::shared_ptr<HttpResponse>> open;
  Signal asked;
  HttpServer server(any_port(), [&](const HttpRequest&, std::shared_ptr<HttpResponse> response) {
    open.push_back(std::move(response));
    asked.set();
  });
  Got first, second;
  {
    HttpClient client;
    client.start(first.call(at(server.port())));
    ASSERT_TRUE(asked.wait());
    client.start(second.call(at(server.port())));
  }
  EXPECT_EQ(first.message(), "[http] cancelled");
  EXPECT_EQ(second.message(), "[http] cancelled");
}

TEST(HttpClient, AThousandStreamsAtOnce) {
  constexpr int kStreams = 1000;
  std::mutex mutex;
  std::vector<std::shared_ptr<HttpResponse>> open;
  HttpServer server(any_port(), [&](const HttpRequest&, std::shared_ptr<HttpResponse> response) {
    response->begin(200, "text/event-stream");
    const std::lock_guard lock(mutex);
    open.push_back(std::move(response));
  });
  HttpClient client;
  std::vector<Got> got(kStreams);
  for (Got& each : got) client.start(each.call(at(server.port())));
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return open.size() == kStreams;
  }));
  for (int i = 0; i < 3; ++i) {
    for (const auto& response : open) response->write("data: x\n\n");
  }
  for (const auto& response : open) response->finish();
  for (Got& each : got) {
    ASSERT_TRUE(each.done.wait());
    EXPECT_EQ(each.message(), "");
    EXPECT_EQ(each.body, "data: x\n\ndata: x\n\ndata: x\n\n");
  }
}

TEST(HttpClient, SpeaksOverUnixSockets) {
  const TemporaryFile socket("pagoda_client.sock");
  HttpOptions options;
  options.uds = socket.path();
  HttpServer server(options, [](const HttpRequest& request, const std::shared_ptr<HttpResponse>& response) {
    response->send(200, "text/plain", request.path);
  });
  HttpClient client;
  Got got;
  Url url = parse_url("unix:" + socket.path());
  url.path = "/health";
  client.start(got.call(url));
  ASSERT_TRUE(got.done.wait());
  EXPECT_EQ(got.message(), "");
  EXPECT_EQ(got.body, "/health");
  Got nobody;
  client.start(nobody.call(parse_url("unix:/nowhere/at.all")));
  ASSERT_TRUE(nobody.done.wait());
  EXPECT_NE(nobody.message().find("cannot connect to /nowhere/at.all"), std::string::npos) << nobody.message();
}

class ClientTls : public ::testing::Test {
 protected:
  ClientTls() : certificate_file_("pagoda_client_certificate.pem"), key_file_("pagoda_client_key.pem") {
    std::ofstream(certificate_file_.path()) << certificate_.pem();
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, certificate_.key(), nullptr, nullptr, 0, nullptr, nullptr);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::ofstream(key_file_.path()) << std::string(data, static_cast<size_t>(size));
    BIO_free(bio);
    HttpOptions options = any_port();
    options.ssl_certfile = certificate_file_.path();
    options.ssl_keyfile = key_file_.path();
    server_.emplace(options, [](const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
      response->begin(200, "text/event-stream");
      response->write("data: secret\n\n");
      response->finish();
    });
  }
  Got& ask(const HttpClientOptions& options, const std::string& host = "127.0.0.1") {
    got_ = std::make_unique<Got>();
    HttpClient client(options);
    client.start(got_->call(parse_url("https://" + host + ":" + std::to_string(server_->port()) + "/")));
    EXPECT_TRUE(got_->done.wait());
    return *got_;
  }

  testing::TestCertificate certificate_;
  TemporaryFile certificate_file_, key_file_;
  std::optional<HttpServer> server_;
  std::unique_ptr<Got> got_;
};

TEST_F(ClientTls, ChecksTheServersCertificate) {
  HttpClientOptions options;
  options.ca_file = certificate_file_.path();
  EXPECT_EQ(ask(options).body, "data: secret\n\n");
  EXPECT_EQ(got_->message(), "");
  EXPECT_EQ(ask(options, "localhost").message(), "");
  // Nobody vouches for it.
  EXPECT_NE(ask({}).message().find("certificate verify failed"), std::string::npos) << got_->message();
  EXPECT_EQ(got_->body, "");
  HttpClientOptions insecure;
  insecure.insecure = true;
  EXPECT_EQ(ask(insecure).body, "data: secret\n\n");
  // Vouched for, but it is another's.
  EXPECT_NE(ask(options, "127.0.0.2").message(), "");
  options.ca_file = key_file_.path();
  EXPECT_THROW(HttpClient{options}, Error);
}

// ---- servers that misbehave

class RawServer {
 public:
  explicit RawServer(std::string answer, bool then_stall = false)
      : server_([answer = std::move(answer), then_stall](const testing::Request&, testing::Connection& connection) {
          connection.send(answer);
          if (then_stall) connection.stall(10'000);
          return false;
        }) {}
  std::unique_ptr<Got> ask(const HttpClientOptions& options = {}) {
    auto got = std::make_unique<Got>();
    HttpClient client(options);
    HttpCall call = got->call(at(server_.port()));
    call.method = "GET";
    client.start(std::move(call));
    EXPECT_TRUE(got->done.wait());
    return got;
  }

 private:
  testing::TestServer server_;
};

TEST(HttpClient, AnswersOfEveryFraming) {
  EXPECT_EQ(RawServer("HTTP/1.1 200 OK\r\n\r\nuntil the end").ask()->body, "until the end");
  EXPECT_EQ(RawServer("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabcdef").ask()->body, "abc");
  EXPECT_EQ(RawServer("HTTP/1.1 204 No Content\r\n\r\n").ask()->status, 204);
  const auto chunked =
      RawServer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: t\r\n\r\n").ask();
  EXPECT_EQ(chunked->body, "abcde");
  EXPECT_EQ(chunked->message(), "");
  const auto interim = RawServer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ask();
  EXPECT_EQ(interim->status, 200);
  EXPECT_EQ(interim->body, "ok");
}

TEST(HttpClient, AnswersThatAreCutOrNoHttpAreErrors) {
  for (const char* cut : {"", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"}) {
    const auto got = RawServer(cut).ask();
    EXPECT_EQ(got->message(), "[http] the connection ended before the answer") << cut;
    EXPECT_EQ(got->error->kind(), ErrorKind::kDevice);
  }
  for (const char* bad : {"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    const auto got = RawServer(bad).ask();
    ASSERT_TRUE(got->error) << bad;
    EXPECT_EQ(got->error->kind(), ErrorKind::kInvalidInput) << got->message();
  }
}

TEST(HttpClient, LimitsHoldForAnswers) {
  HttpClientOptions options;
  options.max_header_bytes = 1000;
  options.max_body_bytes = 100;
  const std::string large(2000, 'x');
  EXPECT_EQ(RawServer("HTTP/1.1 200 OK\r\nX: " + large + "\r\n\r\n").ask(options)->error->kind(), ErrorKind::kInvalidInput);
  EXPECT_EQ(RawServer("HTTP/1.1 200 OK\r\n\r\n" + large).ask(options)->error->kind(), ErrorKind::kInvalidInput);
  EXPECT_EQ(RawServer("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + large).ask(options)->error->kind(),
            ErrorKind::kInvalidInput);
}

TEST(HttpClient, SilentServersAreGivenUp) {
  HttpClientOptions options;
  options.idle_timeout = 100ms;
  const auto got = RawServer("HTTP/1.1 200 OK\r\n\r\nabc", true).ask(options);
  EXPECT_EQ(got->body, "abc");
  EXPECT_NE(got->message().find("no answer from 127.0.0.1"), std::string::npos) << got->message();
  EXPECT_EQ(got->error->kind(), ErrorKind::kDevice);
}

TEST(HttpClient, NobodyThere) {
  int port = 0;
  {
    const HttpServer server(any_port(), [](const HttpRequest&, const std::shared_ptr<HttpResponse>&) {});
    port = server.port();
  }
  HttpClient client;
  Got refused, unknown;
  client.start(refused.call(at(port)));
  client.start(unknown.call(parse_url("http://no.such.host.invalid/")));
  ASSERT_TRUE(refused.done.wait());
  EXPECT_NE(refused.message().find("cannot connect"), std::string::npos) << refused.message();
  ASSERT_TRUE(unknown.done.wait(1, 60'000));
  EXPECT_NE(unknown.message().find("no such host"), std::string::npos) << unknown.message();
}

TEST(HttpClient, AThrowingCallbackEndsItsRequestAlone) {
  HttpServer server(any_port(), [](const HttpRequest&, const std::shared_ptr<HttpResponse>& response) {
    response->send(200, "text/plain", "body");
  });
  HttpClient client;
  Got bad, good;
  HttpCall call = bad.call(at(server.port()));
  call.on_data = [](std::string_view) { invalid("test", "no"); };
  client.start(std::move(call));
  ASSERT_TRUE(bad.done.wait());
  EXPECT_EQ(bad.message(), "[test] no");
  client.start(good.call(at(server.port())));
  ASSERT_TRUE(good.done.wait());
  EXPECT_EQ(good.body, "body");
}

TEST(HttpClient, RefusesWhatWouldBeAnotherRequest) {
  HttpClient client;
  for (const auto& header : Headers{{"X", "a\r\nY: b"}, {"X: Y", "b"}, {"", "b"}, {"X\n", "b"}}) {
    HttpCall call;
    call.url = parse_url("http://127.0.0.1:1/");
    call.headers = {header};
    EXPECT_THROW(client.start(std::move(call)), Error);
  }
  HttpCall call;
  call.url = parse_url("http://127.0.0.1:1/");
  call.url.path = "/ HTTP/1.1\r\nX: y";
  EXPECT_THROW(client.start(std::move(call)), Error);
}

TEST(Url, IsTakenApart) {
  const Url plain = parse_url("http://Host.example:8000/v1?a=b#part");
  EXPECT_FALSE(plain.tls);
  EXPECT_EQ(plain.host, "Host.example");
  EXPECT_EQ(plain.port, 8000);
  EXPECT_EQ(plain.path, "/v1?a=b");
  EXPECT_EQ(plain.authority(), "Host.example:8000");
  const Url tls = parse_url("HTTPS://[::1]");
  EXPECT_TRUE(tls.tls);
  EXPECT_EQ(tls.host, "::1");
  EXPECT_EQ(tls.port, 443);
  EXPECT_EQ(tls.authority(), "[::1]");
  EXPECT_EQ(parse_url("http://h?q").path, "/?q");
  for (const char* bad : {"", "host:80", "ftp://h", "http://", "http://:80", "http://h:0", "http://h:65536", "http://h:8x",
                          "http://user@h/", "http://h h/", "http://h/\n", "unix:", "http://h:"}) {
    EXPECT_THROW(parse_url(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace pagoda::server
