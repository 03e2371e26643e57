// Unix sockets and TLS.
#include "tests/server/http_stream.h"

#include <openssl/pem.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"
#include "tests/folder.h"

namespace pagoda::server {
namespace {

using namespace std::chrono_literals;
using testing::Answer;
using testing::Client;
using testing::eventually;
using testing::Signal;
using testing::TestCertificate;

// ---- Unix sockets

TEST_F(Stream, UnixSocket) {
  const testing::Folder folder("http_sockets_1");
  HttpOptions options;
  options.uds = folder / "socket";
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
  const testing::Folder folder("http_sockets_2");
  HttpOptions options;
  options.uds = folder / "socket";
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
  const testing::Folder folder("http_sockets_3");
  for (const std::string& path : {folder / "file", std::string(300, 'x')}) {
    HttpOptions options;
    options.uds = path;
    std::ofstream(folder / "file") << "precious";
    try {
      start(options);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput) << error.what();
    }
  }
  EXPECT_TRUE(std::filesystem::is_regular_file(folder / "file"));
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
    options_.ssl_certfile = folder_ / "certificate.pem";
    options_.ssl_keyfile = folder_ / "key.pem";
    write_pem(certificate_, options_.ssl_certfile, options_.ssl_keyfile);
  }
  const testing::Folder folder_{"http_sockets_tls"};
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
  write_pem(trusted, folder_ / "ca.pem", folder_ / "unused.pem");
  options_.ssl_ca_certs = folder_ / "ca.pem";
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
  write_pem(other, folder_ / "other.pem", folder_ / "other_key.pem");
  std::ofstream(folder_ / "garbage.pem") << "garbage";
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
  EXPECT_EQ(kind(folder_ / "none.pem", options_.ssl_keyfile), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind(folder_ / "garbage.pem", options_.ssl_keyfile), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind(options_.ssl_certfile, folder_ / "garbage.pem"), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind(options_.ssl_certfile, folder_ / "other_key.pem"), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind(options_.ssl_certfile, ""), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind("", "", options_.ssl_certfile), ErrorKind::kInvalidInput);
  EXPECT_EQ(kind(options_.ssl_certfile, options_.ssl_keyfile, folder_ / "garbage.pem"), ErrorKind::kInvalidInput);
}

}  // namespace
}  // namespace pagoda::server
