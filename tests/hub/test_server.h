// A small HTTP/1.1 server on 127.0.0.1 for tests, plain or TLS, a thread a connection; the handler may misbehave on purpose.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cctype>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace pagoda::testing {

struct Request {
  std::string method;
  std::string path;                            // without query
  std::string query;                           // after '?'
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // as long as Content-Length says
  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
};

// Key and certificate for 127.0.0.1 and localhost, signed by itself.
class TestCertificate {
 public:
  TestCertificate() : key_(EVP_EC_gen("P-256")), certificate_(X509_new()) {
    ASN1_INTEGER_set(X509_get_serialNumber(certificate_), 1);
    X509_set_version(certificate_, 2);
    X509_gmtime_adj(X509_getm_notBefore(certificate_), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate_), 3600);
    X509_set_pubkey(certificate_, key_);
    X509_NAME* name = X509_get_subject_name(certificate_);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("pagoda test"), -1, -1, 0);
    X509_set_issuer_name(certificate_, name);
    add_extension(NID_basic_constraints, "critical,CA:TRUE");
    add_extension(NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");
    X509_sign(certificate_, key_, EVP_sha256());
  }
  ~TestCertificate() {
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  TestCertificate(const TestCertificate&) = delete;
  TestCertificate& operator=(const TestCertificate&) = delete;
  EVP_PKEY* key() const { return key_; }
  X509* certificate() const { return certificate_; }
  std::string pem() const {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate_);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string out(data, static_cast<size_t>(size));
    BIO_free(bio);
    return out;
  }

 private:
  void add_extension(int nid, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate_, certificate_, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
    X509_add_ext(certificate_, extension, -1);
    X509_EXTENSION_free(extension);
  }
  EVP_PKEY* key_;
  X509* certificate_;
};

class Connection {
 public:
  Connection(int fd, SSL* ssl, const std::atomic<bool>& closing) : fd_(fd), ssl_(ssl), closing_(closing) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  bool send(std::string_view bytes) {
    while (!bytes.empty() && !closing_) {
      const auto size = static_cast<int>(std::min<size_t>(bytes.size(), 1 << 16));
      const auto put = ssl_ != nullptr ? SSL_write(ssl_, bytes.data(), size)
                                       : static_cast<int>(::send(fd_, bytes.data(), static_cast<size_t>(size), MSG_NOSIGNAL));
      if (put <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(put));
    }
    return bytes.empty();
  }
  int receive(char* data, int size) {
    // TLS may hold bytes that poll does not see.
    if (ssl_ == nullptr || SSL_pending(ssl_) == 0) {
      for (;;) {
        struct pollfd wait{fd_, POLLIN, 0};
        const int ready = ::poll(&wait, 1, 50);
        if (closing_) return 0;
        if (ready > 0) break;
        if (ready < 0 && errno != EINTR) return 0;
      }
    }
    return ssl_ != nullptr ? SSL_read(ssl_, data, size) : static_cast<int>(::recv(fd_, data, static_cast<size_t>(size), 0));
  }
  // Waits without sending, until the server ends or the time is over.
  void stall(int milliseconds) const {
    for (int i = 0; i < milliseconds / 10 && !closing_; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  // An answer with a Content-Length. The connection stays open.
  bool answer(int status, const std::map<std::string, std::string>& headers, std::string_view body, bool head_only = false) {
    std::string text = "HTTP/1.1 " + std::to_string(status) + " Test\r\n";
    if (headers.count("Content-Length") == 0) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
    text += "\r\n";
    if (!send(text)) return false;
    return head_only || send(body);
  }

 private:
  int fd_;
  SSL* ssl_;
  const std::atomic<bool>& closing_;
};

class TestServer {
 public:
  // The handler answers one request; false closes the connection.
  using Handler = std::function<bool(const Request&, Connection&)>;

  explicit TestServer(Handler handler, const TestCertificate* tls = nullptr) : handler_(std::move(handler)) {
    std::signal(SIGPIPE, SIG_IGN);  // SSL_write has no flag against it
    if (tls != nullptr) {
      tls_ = SSL_CTX_new(TLS_server_method());
      SSL_CTX_use_certificate(tls_, tls->certificate());
      SSL_CTX_use_PrivateKey(tls_, tls->key());
    }
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("test server does not start");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~TestServer() {
    closing_ = true;
    acceptor_.join();
    ::close(listener_);
    for (auto& thread : connections_) thread.join();
    SSL_CTX_free(tls_);
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  int port() const { return port_; }
  std::string url() const { return (tls_ != nullptr ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port_); }

 private:
  void accept_all() {
    while (!closing_) {
      struct pollfd wait{listener_, POLLIN, 0};
      if (::poll(&wait, 1, 20) <= 0) continue;
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) connections_.emplace_back([this, fd] { serve(fd); });
    }
  }

  void serve(int fd) {
    SSL* ssl = nullptr;
    bool open = true;
    if (tls_ != nullptr) {
      ssl = SSL_new(tls_);
      SSL_set_fd(ssl, fd);
      open = SSL_accept(ssl) == 1;
    }
    if (open) {
      Connection connection(fd, ssl, closing_);
      std::string buffer;
      while (open && !closing_) {
        size_t end = buffer.find("\r\n\r\n");
        while (end == std::string::npos && open) {
          char piece[4096];
          const int got = connection.receive(piece, sizeof(piece));
          open = got > 0;
          if (open) buffer.append(piece, static_cast<size_t>(got));
          end = buffer.find("\r\n\r\n");
        }
        if (!open) break;
        Request request = parse(buffer.substr(0, end));
        buffer.erase(0, end + 4);
        const std::string length = request.header("content-length");
        const size_t size = length.empty() ? 0 : std::stoul(length);
        while (open && buffer.size() < size) {
          char piece[1 << 16];
          const int got = connection.receive(piece, sizeof(piece));
          open = got > 0;
          if (open) buffer.append(piece, static_cast<size_t>(got));
        }
        if (!open) break;
        request.body = buffer.substr(0, size);
        buffer.erase(0, size);
        open = handler_(request, connection);
      }
    }
    SSL_free(ssl);
    // A reset, as a lost connection gives; after a complete answer the client has what it needs anyway.
    ::shutdown(fd, SHUT_RDWR);
    ::close(fd);
  }

  static Request parse(const std::string& text) {
    Request request;
    size_t pos = text.find("\r\n");
    const std::string line = text.substr(0, pos);
    const size_t first = line.find(' ');
    const size_t second = line.find(' ', first + 1);
    request.method = line.substr(0, first);
    request.path = line.substr(first + 1, second - first - 1);
    if (const size_t mark = request.path.find('?'); mark != std::string::npos) {
      request.query = request.path.substr(mark + 1);
      request.path.resize(mark);
    }
    while (pos != std::string::npos) {
      const size_t begin = pos + 2;
      pos = text.find("\r\n", begin);
      const std::string header = text.substr(begin, pos == std::string::npos ? pos : pos - begin);
      const size_t colon = header.find(':');
      if (colon == std::string::npos) continue;
      std::string name = header.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      request.headers[name] = header.substr(header.find_first_not_of(' ', colon + 1));
    }
    return request;
  }

  Handler handler_;
  SSL_CTX* tls_ = nullptr;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> closing_{false};
  std::thread acceptor_;
  std::vector<std::thread> connections_;
};

}  // namespace pagoda::testing
