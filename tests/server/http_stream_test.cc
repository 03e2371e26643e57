// Streams, clients that go away, Unix sockets, TLS, many connections, and the end of a server.
#include <gtest/gtest.h>
#include <openssl/pem.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "server/http_server.h"
#include "tests/hub/test_server.h"
#include "tests/server/http_client.h"

namespace pagoda::server {
namespace {

using namespace std::chrono_literals;
using testing::Answer;
using testing::Client;
using testing::eventually;
using testing::Signal;
using testing::TestCertificate;

constexpr const char* kGet = "GET /s HTTP/1.1\r\nHost: h\r\n\r\n";

HttpOptions any_port() {
  HttpOptions options;
  options.port = 0;
  return options;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "pagoda_http_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A server whose answers the test gives itself.
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

  Signal asked_;
  int answers_ = 0;
  std::mutex mutex_;
  std::string remote_;
  std::shared_ptr<HttpResponse> response_;
  std::optional<HttpServer> server_;
};

TEST_F(Stream, ComesInChunksAsItIsWritten) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/event-stream", {{"Cache-Control", "no-cache"}});
  EXPECT_TRUE(client.wait_for("Transfer-Encoding: chunked\r\n"));
  for (int i = 0; i < 5; ++i) {
    const std::string event = "data: " + std::to_string(i) + "\n\n";
    EXPECT_TRUE(answer->write(event));
    EXPECT_TRUE(client.wait_for(event)) << i;
  }
  EXPECT_TRUE(answer->write(""));  // ends nothing
  answer->finish();
  EXPECT_FALSE(answer->write("x"));
  const Answer got = client.read_answer();
  EXPECT_TRUE(got.whole);
  EXPECT_EQ(got.body, "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n");
  EXPECT_EQ(got.header("content-type"), "text/event-stream");
  EXPECT_EQ(got.header("cache-control"), "no-cache");
  // The connection serves on.
  client.send(kGet);
  response()->send(200, "text/plain", "next", {});
  EXPECT_EQ(client.read_answer().body, "next");
}

// What makes a stream's text runs on a thread of the server's, in order, and not for a client that is gone.
TEST_F(Stream, WorkIsDoneOnTheServersThreads) {
  HttpOptions options = any_port();
  options.threads = 4;
  start(options);
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  std::atomic<int> wrong{0};
  const auto caller = std::this_thread::get_id();
  std::string expected;
  for (int i = 0; i < 200; ++i) {
    expected += std::to_string(i) + ",";
    answer->post([&, i, answer] {
      wrong += std::this_thread::get_id() == caller ? 1 : 0;
      answer->write(std::to_string(i) + ",");
      if (i == 199) answer->finish();
    });
  }
  EXPECT_EQ(client.read_answer().body, expected);
  EXPECT_EQ(wrong, 0);
  std::atomic<int> late{0};
  {
    Client leaver(port());
    leaver.send(kGet);
    auto other = response();
    Signal gone;
    other->on_disconnect([&] { gone.set(); });
    leaver.close();
    EXPECT_TRUE(gone.wait());
    other->post([&, other] { ++late; });
  }
  EXPECT_EQ(server_->stop(1s), 0);
  EXPECT_EQ(late, 0);
}

TEST_F(Stream, WithHttp10ItEndsWithTheConnection) {
  start(any_port());
  Client client(port());
  client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  answer->write("one ");
  answer->write("two");
  answer->finish();
  const Answer got = client.read_answer();
  EXPECT_EQ(got.headers.count("transfer-encoding"), 0U);
  EXPECT_EQ(got.header("connection"), "close");
  EXPECT_EQ(got.body, "one two");
  EXPECT_TRUE(got.whole);
}

TEST_F(Stream, ToHeadItHasNoBody) {
  HttpOptions options = any_port();
  options.sse_ping = 20ms;
  start(options);
  Client client(port());
  client.send("HEAD /s HTTP/1.1\r\nHost: h\r\n\r\n");
  auto answer = response();
  answer->begin(200, "text/event-stream", {});
  EXPECT_TRUE(answer->write("data: x\n\n"));
  std::this_thread::sleep_for(60ms);
  answer->finish();
  EXPECT_EQ(client.read_answer(true).status, 200);
  client.send(kGet);
  response()->send(200, "text/plain", "next", {});
  EXPECT_EQ(client.read_answer().body, "next");
}

TEST_F(Stream, ManyThreadsMayWrite) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t) {
    writers.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i) answer->write(std::string(1, static_cast<char>('a' + t)));
    });
  }
  for (std::thread& writer : writers) writer.join();
  answer->finish();
  const Answer got = client.read_answer();
  EXPECT_TRUE(got.whole);
  for (const char c : {'a', 'b', 'c', 'd'}) EXPECT_EQ(std::count(got.body.begin(), got.body.end(), c), 1000);
}

TEST_F(Stream, ASilentEventStreamGetsPings) {
  HttpOptions options = any_port();
  options.sse_ping = 50ms;
  start(options);
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/event-stream; charset=utf-8", {});
  EXPECT_TRUE(client.wait_for(": ping\n\n"));
  answer->write("data: half");
  // No ping may fall into an event.
  EXPECT_TRUE(client.wait_for("data: half"));
  std::this_thread::sleep_for(150ms);
  answer->write(" an event\n\n");
  EXPECT_TRUE(client.wait_for(" an event\n\n"));
  client.buffer().clear();
  EXPECT_TRUE(client.wait_for(": ping\n\n"));
  client.buffer().clear();
  answer->finish();
  EXPECT_TRUE(client.wait_for("0\r\n\r\n"));
}

TEST_F(Stream, PingsDoNotSplitAnEvent) {
  HttpOptions options = any_port();
  options.sse_ping = 20ms;
  start(options);
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/event-stream", {});
  answer->write("data: a");
  std::this_thread::sleep_for(100ms);
  answer->write("b\n\n");
  answer->finish();
  const std::string body = client.read_answer().body;
  EXPECT_NE(body.find("data: ab\n\n"), std::string::npos) << body;
}

TEST_F(Stream, OthersGetNoPings) {
  HttpOptions options = any_port();
  options.sse_ping = 20ms;
  start(options);
  Client client(port());
  client.send(kGet);
  auto answer = response();
  answer->begin(200, "application/json", {});
  std::this_thread::sleep_for(100ms);
  answer->write("{}");
  answer->finish();
  EXPECT_EQ(client.read_answer().body, "{}");
  // Nor does one that was not silent.
  client.send(kGet);
  answer = response();
  answer->begin(200, "text/event-stream", {});
  answer->finish();
  EXPECT_EQ(client.read_answer().body, "");
}

TEST_F(Stream, PendingBytesAreCountedAndAStalledReaderIsCut) {
  HttpOptions options = any_port();
  options.write_timeout = 1500ms;  // long enough to look, also where the machine is busy
  start(options);
  Client client(port(), 4096);
  client.send(kGet);
  const auto answer = response();
  Signal gone;
  answer->on_disconnect([&] { gone.set(); });
  answer->begin(200, "text/plain", {});
  EXPECT_TRUE(eventually([&] { return answer->pending_bytes() == 0; }));
  // More than the system's buffers hold.
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(answer->write(std::string(1 << 20, 'x')));
  EXPECT_GT(answer->pending_bytes(), 1 << 20);
  EXPECT_TRUE(gone.wait());
  EXPECT_EQ(answer->pending_bytes(), 0);
  EXPECT_FALSE(answer->write("x"));
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

TEST_F(Stream, ASlowReaderThatReadsIsNotCut) {
  HttpOptions options = any_port();
  options.write_timeout = 400ms;
  start(options);
  Client client(port(), 64 << 10);
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  EXPECT_TRUE(answer->write(std::string(8 << 20, 'x')));
  answer->finish();
  const auto begin = std::chrono::steady_clock::now();
  size_t got = 0;
  while (std::chrono::steady_clock::now() - begin < 900ms) {
    client.receive();
    got += client.buffer().size();
    client.buffer().clear();
    std::this_thread::sleep_for(5ms);
  }
  while (got < (8 << 20) && client.receive()) {
    got += client.buffer().size();
    client.buffer().clear();
  }
  EXPECT_GE(got, 8U << 20);
  EXPECT_TRUE(eventually([&] { return answer->pending_bytes() == 0; }));
}

TEST_F(Stream, DisconnectIsNoticedBeforeTheAnswer) {
  std::atomic<int> status{0};
  start(any_port(), [&](const HttpRequest&, int code, int64_t, double) { status = code; });
  for (const bool hard : {false, true}) {
    Client client(port());
    client.send(kGet);
    const auto answer = response();
    Signal gone;
    answer->on_disconnect([&] { gone.set(); });
    hard ? client.reset() : client.close();
    EXPECT_TRUE(gone.wait()) << hard;
    // Once, and what is said afterwards goes nowhere.
    answer->send(200, "text/plain", "x", {});
    answer->finish();
    EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
    EXPECT_EQ(gone.count(), 1);
    EXPECT_EQ(status, 499);
    // Who asks late is told at once.
    Signal late;
    answer->on_disconnect([&] { late.set(); });
    EXPECT_EQ(late.count(), 1);
  }
}

TEST_F(Stream, DisconnectIsNoticedInAStream) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  Signal gone;
  answer->on_disconnect([&] { gone.set(); });
  answer->begin(200, "text/event-stream", {});
  answer->write("data: 1\n\n");
  EXPECT_TRUE(client.wait_for("data: 1"));
  client.close();
  EXPECT_TRUE(gone.wait());
  EXPECT_TRUE(eventually([&] { return !answer->write("data: 2\n\n"); }));
}

TEST_F(Stream, NoDisconnectOnceFinished) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  Signal gone;
  const auto held = std::make_shared<int>(1);
  answer->on_disconnect([&gone, held] { gone.set(); });
  answer->send(200, "text/plain", "x", {});
  EXPECT_EQ(held.use_count(), 1);  // what it holds is let go
  EXPECT_EQ(client.read_answer().body, "x");
  client.close();
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
  EXPECT_EQ(gone.count(), 0);
}

TEST_F(Stream, ADroppedStreamIsCut) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  auto answer = response();
  answer->begin(200, "text/event-stream", {});
  answer->write("data: 1\n\n");
  answer.reset();
  const Answer got = client.read_answer();
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.body, "data: 1\n\n");
  EXPECT_FALSE(got.whole);
  EXPECT_TRUE(client.closed());
  // With HTTP/1.0 a plain end would look whole.
  Client old(port());
  old.send("GET / HTTP/1.0\r\n\r\n");
  answer = response();
  answer->begin(200, "text/plain", {});
  answer->write("part");
  EXPECT_TRUE(old.wait_for("part"));
  answer.reset();
  EXPECT_TRUE(old.closed());
  EXPECT_TRUE(old.was_reset());
}

TEST_F(Stream, AnswersOutliveTheirServer) {
  start(any_port());
  Client client(port());
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  server_.reset();
  EXPECT_FALSE(answer->write("x"));
  answer->finish();
  Signal gone;
  answer->on_disconnect([&] { gone.set(); });
  EXPECT_EQ(gone.count(), 1);
}

// ---- the end

TEST_F(Stream, StopLetsStreamsFinish) {
  start(any_port());
  Client client(port()), idle(port()), half(port());
  idle.send(kGet);
  response()->send(200, "text/plain", "x", {});
  EXPECT_EQ(idle.read_answer().body, "x");
  // A request whose head is read, and known to be: unread, it could only be closed.
  half.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(half.read_answer().status, 100);
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/plain", {});
  answer->write("begun ");
  EXPECT_TRUE(client.wait_for("begun"));
  std::atomic<int64_t> cut{-1};
  std::thread stopper([&] { cut = server_->stop(10s); });
  EXPECT_TRUE(idle.closed());  // nothing under way there
  EXPECT_EQ(half.read_answer().status, 503);
  Client late(port());
  EXPECT_TRUE(!late.connected() || late.closed());
  EXPECT_EQ(cut, -1);
  EXPECT_TRUE(answer->write("done"));
  answer->finish();
  const Answer got = client.read_answer();
  EXPECT_EQ(got.body, "begun done");
  EXPECT_TRUE(got.whole);
  EXPECT_TRUE(client.closed());
  stopper.join();
  EXPECT_EQ(cut, 0);
  EXPECT_EQ(server_->connections(), 0);
  EXPECT_EQ(server_->stop(1s), 0);
}

TEST_F(Stream, StopCutsWhatTakesTooLong) {
  start(any_port());
  Client client(port()), waiting(port());
  client.send(kGet);
  const auto answer = response();
  waiting.send(kGet);
  const auto unanswered = response();
  Signal gone;
  answer->on_disconnect([&] { gone.set(); });
  unanswered->on_disconnect([&] { gone.set(); });
  answer->begin(200, "text/plain", {});
  answer->write("begun");
  EXPECT_TRUE(client.wait_for("begun"));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(server_->stop(100ms), 2);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 100ms);
  EXPECT_EQ(gone.count(), 2);
  EXPECT_FALSE(client.read_answer().whole);
  EXPECT_TRUE(waiting.closed());
}

TEST_F(Stream, AnAnswerDuringStopSaysThatTheConnectionCloses) {
  start(any_port());
  Client client(port());
  client.send(std::string(kGet) + kGet);
  const auto answer = response();
  std::thread stopper([&] { EXPECT_EQ(server_->stop(10s), 0); });
  // Only once nobody listens any more has the server begun to stop.
  EXPECT_TRUE(eventually([&] {
    const Client probe(port());
    return !probe.connected();
  }));
  std::this_thread::sleep_for(20ms);
  answer->send(200, "text/plain", "last", {});
  const Answer got = client.read_answer();
  EXPECT_EQ(got.body, "last");
  EXPECT_EQ(got.header("connection"), "close");
  EXPECT_TRUE(client.closed());
  stopper.join();
  EXPECT_EQ(asked_.count(), 1);  // the request behind it was not taken
}

// ---- Unix sockets

TEST_F(Stream, UnixSocket) {
  const TemporaryFolder folder;
  HttpOptions options;
  options.uds = folder.file("socket");
  start(options);
  EXPECT_EQ(server_->port(), 0);
  Client client(options.uds);
  client.send(kGet);
  response()->send(200, "text/plain", "unix", {});
  EXPECT_EQ(client.read_answer().body, "unix");
  EXPECT_EQ(remote_, "unix");
  // A live one is refused, and stays.
  try {
    const HttpServer second(options, [](const HttpRequest&, const std::shared_ptr<HttpResponse>&) {});
    ADD_FAILURE() << "two servers on one socket";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice) << error.what();
  }
  EXPECT_TRUE(Client(options.uds).connected());
  server_->stop(0ms);
  EXPECT_FALSE(std::filesystem::exists(options.uds));
}

TEST_F(Stream, UnixSocketOfADeadServerIsReplaced) {
  const TemporaryFolder folder;
  HttpOptions options;
  options.uds = folder.file("socket");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, options.uds.c_str(), options.uds.size() + 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ::close(fd);
  ASSERT_TRUE(std::filesystem::exists(options.uds));
  start(options);
  Client client(options.uds);
  client.send(kGet);
  response()->send(200, "text/plain", "new", {});
  EXPECT_EQ(client.read_answer().body, "new");
  // Another's file in its place is not removed at the end.
  std::filesystem::remove(options.uds);
  std::ofstream(options.uds) << "mine";
  server_->stop(0ms);
  EXPECT_TRUE(std::filesystem::exists(options.uds));
}

TEST_F(Stream, UnixSocketPathOfAFileIsRefused) {
  const TemporaryFolder folder;
  for (const std::string& path : {folder.file("file"), std::string(300, 'x')}) {
    HttpOptions options;
    options.uds = path;
    std::ofstream(folder.file("file")) << "precious";
    try {
      start(options);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput) << error.what();
    }
  }
  EXPECT_TRUE(std::filesystem::is_regular_file(folder.file("file")));
}

// ---- TLS

void write_pem(const TestCertificate& certificate, const std::string& certificate_file, const std::string& key_file) {
  std::ofstream(certificate_file) << certificate.pem();
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, certificate.key(), nullptr, nullptr, 0, nullptr, nullptr);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::ofstream(key_file) << std::string(data, static_cast<size_t>(size));
  BIO_free(bio);
}

struct ClientContext {
  explicit ClientContext(const TestCertificate* own = nullptr) : context(SSL_CTX_new(TLS_client_method())) {
    std::signal(SIGPIPE, SIG_IGN);
    if (own != nullptr) {
      SSL_CTX_use_certificate(context, own->certificate());
      SSL_CTX_use_PrivateKey(context, own->key());
    }
  }
  ~ClientContext() { SSL_CTX_free(context); }
  ClientContext(const ClientContext&) = delete;
  ClientContext& operator=(const ClientContext&) = delete;
  SSL_CTX* context;
};

class Tls : public Stream {
 protected:
  Tls() : options_(any_port()) {
    options_.ssl_certfile = folder_.file("certificate.pem");
    options_.ssl_keyfile = folder_.file("key.pem");
    write_pem(certificate_, options_.ssl_certfile, options_.ssl_keyfile);
  }
  TemporaryFolder folder_;
  TestCertificate certificate_;
  HttpOptions options_;
};

TEST_F(Tls, ServesWholeAnswersAndStreams) {
  start(options_);
  const ClientContext context;
  Client client(port());
  ASSERT_TRUE(client.start_tls(context.context));
  EXPECT_GE(SSL_version(client.ssl()), TLS1_2_VERSION);
  for (int i = 0; i < 3; ++i) {
    client.send(kGet);
    response()->send(200, "text/plain", std::string(300'000, 'x'), {});
    EXPECT_EQ(client.read_answer().body.size(), 300'000U);
  }
  client.send(kGet);
  const auto answer = response();
  answer->begin(200, "text/event-stream", {});
  for (int i = 0; i < 100; ++i) answer->write("data: " + std::to_string(i) + "\n\n");
  answer->finish();
  const Answer got = client.read_answer();
  EXPECT_TRUE(got.whole);
  EXPECT_NE(got.body.find("data: 99\n\n"), std::string::npos);
  // The end is said, not only made.
  client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  response()->send(200, "text/plain", "end", {});
  EXPECT_EQ(client.read_answer().body, "end");
  EXPECT_TRUE(client.closed());
  EXPECT_NE(SSL_get_shutdown(client.ssl()) & SSL_RECEIVED_SHUTDOWN, 0);
}

TEST_F(Tls, DisconnectIsNoticed) {
  start(options_);
  const ClientContext context;
  Client client(port());
  ASSERT_TRUE(client.start_tls(context.context));
  client.send(kGet);
  const auto answer = response();
  Signal gone;
  answer->on_disconnect([&] { gone.set(); });
  client.close();
  EXPECT_TRUE(gone.wait());
}

TEST_F(Tls, OlderVersionsAreRefused) {
  start(options_);
  const ClientContext context;
  SSL_CTX_set_min_proto_version(context.context, TLS1_VERSION);
  SSL_CTX_set_max_proto_version(context.context, TLS1_1_VERSION);
  SSL_CTX_set_security_level(context.context, 0);
  Client client(port());
  EXPECT_FALSE(client.start_tls(context.context));
  const ClientContext tls12;
  SSL_CTX_set_max_proto_version(tls12.context, TLS1_2_VERSION);
  Client good(port());
  EXPECT_TRUE(good.start_tls(tls12.context));
}

TEST_F(Tls, PlainTextAndSilenceEndTheConnection) {
  options_.header_timeout = 150ms;
  start(options_);
  Client plain(port());
  plain.send(kGet);
  EXPECT_TRUE(plain.closed());
  Client silent(port());
  EXPECT_TRUE(silent.closed());
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

TEST_F(Tls, ClientsMayHaveToShowACertificate) {
  const TestCertificate trusted, stranger;
  write_pem(trusted, folder_.file("ca.pem"), folder_.file("unused.pem"));
  options_.ssl_ca_certs = folder_.file("ca.pem");
  start(options_);
  // With TLS 1.3 the client is done before the server has judged it: the answer tells.
  const auto served = [&](const TestCertificate* own) {
    const ClientContext context(own);
    Client client(port());
    if (!client.start_tls(context.context) || !client.send(kGet)) return false;
    if (own != &trusted) return client.receive();
    response()->send(200, "text/plain", "known", {});
    return client.read_answer().body == "known";
  };
  EXPECT_FALSE(served(nullptr));
  EXPECT_FALSE(served(&stranger));
  EXPECT_TRUE(served(&trusted));
  EXPECT_EQ(asked_.count(), 1);
}

TEST_F(Tls, BadCertificatesAreRefusedAtStart) {
  const TestCertificate other;
  write_pem(other, folder_.file("other.pem"), folder_.file("other_key.pem"));
  std::ofstream(folder_.file("garbage.pem")) << "garbage";
  const auto kind = [this](const std::string& certificate, const std::string& key, const std::string& authorities = "") {
    HttpOptions options = any_port();
    options.ssl_certfile = certificate;
    options.ssl_keyfile = key;
    options.ssl_ca_certs = authorities;
    try {
      start(options);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  EXPECT_EQ(kind(folder_.file("none.pem"), options_.ssl_keyfile), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind(folder_.file("garbage.pem"), options_.ssl_keyfile), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind(options_.ssl_certfile, folder_.file("garbage.pem")), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind(options_.ssl_certfile, folder_.file("other_key.pem")), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind(options_.ssl_certfile, ""), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind("", "", options_.ssl_certfile), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind(options_.ssl_certfile, options_.ssl_keyfile, folder_.file("garbage.pem")), ErrorKind::kInvalidInput);
}

// ---- many

TEST_F(Stream, TwoThousandStreamsOnTwoThreads) {
  std::mutex mutex;
  std::vector<std::shared_ptr<HttpResponse>> all;
  std::atomic<int> gone{0};
  HttpServer server(any_port(), [&](const HttpRequest&, std::shared_ptr<HttpResponse> response) {
    response->on_disconnect([&] { ++gone; });
    response->begin(200, "text/event-stream", {});
    const std::lock_guard lock(mutex);
    all.push_back(std::move(response));
  });
  constexpr size_t kStreams = 2000;
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < kStreams; ++i) {
    clients.push_back(std::make_unique<Client>(server.port()));
    if (!clients.back()->connected()) GTEST_SKIP() << "the system allows too few open files";
    clients.back()->send(kGet);
  }
  EXPECT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return all.size() == kStreams;
  }));
  EXPECT_EQ(server.connections(), static_cast<int64_t>(kStreams));
  // A third of the clients leaves in the midst of it.
  for (size_t i = 0; i < kStreams; i += 3) clients[i]->close();
  for (int step = 0; step < 20; ++step) {
    for (const auto& response : all) response->write("data: " + std::to_string(step) + "\n\n");
  }
  for (const auto& response : all) response->finish();
  size_t whole = 0;
  for (size_t i = 0; i < kStreams; ++i) {
    if (i % 3 == 0) continue;
    const Answer answer = clients[i]->read_answer();
    whole += answer.whole && answer.body.find("data: 19\n\n") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(whole, kStreams - (kStreams + 2) / 3);
  EXPECT_LE(gone, static_cast<int>((kStreams + 2) / 3));
  clients.clear();
  EXPECT_TRUE(eventually([&] { return server.connections() == 0; }));
}

}  // namespace
}  // namespace pagoda::server
