// Listening, threads, and the orderly end of a server.
#include "server/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <thread>

#include "base/error.h"
#include "server/http_listen.h"
#include "server/http_session.h"
#include "server/http_tls.h"

namespace pagoda::server {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol, Strand>;
using Endpoint = asio::generic::stream_protocol::endpoint;

// When no file descriptor is left, a waiting connection would make the acceptor spin.
constexpr std::chrono::milliseconds kAcceptPause{100};
// After the last answer of a server that stops: the time for clients to take it and close.
constexpr std::chrono::milliseconds kFarewell{500};
// Beyond this the system takes no more for a client that does not read: what waits is then seen in pending_bytes().
constexpr int kMostUnsent = 256 << 10;

std::string remote_of(const Endpoint& peer) {
  char text[INET6_ADDRSTRLEN] = "";
  const auto* address = reinterpret_cast<const sockaddr*>(peer.data());
  if (address->sa_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof(text));
    return text;
  }
  if (address->sa_family != AF_INET6) return "unix";
  const in6_addr& six = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&six)) {
    ::inet_ntop(AF_INET, &six.s6_addr[12], text, sizeof(text));
  } else {
    ::inet_ntop(AF_INET6, &six, text, sizeof(text));
  }
  return text;
}

void set_tcp_options(int fd) {
  const auto set = [fd](int level, int option, int value) { ::setsockopt(fd, level, option, &value, sizeof(value)); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);  // tokens are to be seen at once
  set(IPPROTO_TCP, TCP_NOTSENT_LOWAT, kMostUnsent);
  // A client whose machine vanished says nothing: probes find out while an answer is still being made.
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
}

void check(const HttpOptions& options) {
  const auto positive = [](int64_t value, const char* name) {
    if (value <= 0) invalid("http", "bad {}: got {}, need at least 1", name, value);
  };
  positive(options.threads, "threads");
  positive(options.max_header_bytes, "max_header_bytes");
  positive(options.max_connections, "max_connections");
  positive(options.header_timeout.count(), "header_timeout");
  positive(options.body_timeout.count(), "body_timeout");
  positive(options.keep_alive_timeout.count(), "keep_alive_timeout");
  positive(options.write_timeout.count(), "write_timeout");
  positive(options.sse_ping.count(), "sse_ping");
  if (options.max_body_bytes < 0) invalid("http", "bad max_body_bytes: got {}, need at least 0", options.max_body_bytes);
  if (options.threads > 1024) invalid("http", "bad threads: got {}, need at most 1024", options.threads);
  if (options.ssl_certfile.empty() != options.ssl_keyfile.empty()) {
    invalid("tls", "a certificate and its key go together: got only {}",
            options.ssl_certfile.empty() ? "the key" : "the certificate");
  }
  if (!options.ssl_ca_certs.empty() && options.ssl_certfile.empty()) {
    invalid("tls", "client certificates need TLS: got no certificate for the server");
  }
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const HttpOptions& options, Handler handler, AccessLog access_log)
      : core_(options),
        listener_(options.uds.empty() ? ListeningSocket::tcp(options.host, options.port) : ListeningSocket::local(options.uds)),
        acceptor_(asio::make_strand(core_.io)),
        pause_(acceptor_.get_executor()),
        work_(core_.io.get_executor()) {
    core_.handler = std::move(handler);
    core_.access_log = std::move(access_log);
    if (!options.ssl_certfile.empty()) core_.tls.emplace(new_tls_context(options));
    raise_open_file_limit(options.max_connections);
    acceptor_.assign(asio::generic::stream_protocol(listener_.family(), 0), listener_.release());
    asio::post(acceptor_.get_executor(), [this] { accept(); });
    threads_.reserve(static_cast<size_t>(options.threads));
    try {
      for (int i = 0; i < options.threads; ++i) threads_.emplace_back([this] { run(); });
    } catch (...) {
      core_.io.stop();
      for (std::thread& thread : threads_) thread.join();
      throw;
    }
  }

  ~Impl() { stop(std::chrono::milliseconds(0)); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  int port() const { return listener_.port(); }

  int64_t connections() {
    const std::lock_guard lock(core_.mutex);
    return static_cast<int64_t>(core_.sessions.size());
  }

  int64_t stop(std::chrono::milliseconds patience) {
    const std::lock_guard once(stop_mutex_);
    if (threads_.empty()) return 0;
    const Clock::time_point end = Clock::now() + patience;
    std::unique_lock lock(core_.mutex);
    core_.stopping = true;  // under the lock: a connection is either in `sessions` by now or will not be
    asio::post(acceptor_.get_executor(), [this] {
      error_code ec;
      ec = acceptor_.close(ec);  // whatever it says, nothing is accepted any more
      pause_.cancel();
    });
    listener_.remove_file();
    for (const std::shared_ptr<Session>& session : core_.sessions) session->drain();
    core_.changed.wait_until(lock, end, [this] { return core_.answering == 0; });
    const int64_t cut = core_.answering;
    core_.changed.wait_until(lock, std::min(end, Clock::now() + kFarewell), [this] { return core_.sessions.empty(); });
    for (const std::shared_ptr<Session>& session : core_.sessions) session->cut();
    core_.changed.wait(lock, [this] { return core_.sessions.empty(); });
    lock.unlock();
    work_.reset();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return cut;
  }

 private:
  void run() {
    for (;;) {
      try {
        core_.io.run();
        return;
      } catch (...) {  // no memory for an event: a session closes itself, the others go on
      }
    }
  }

  void accept() {
    if (core_.stopping) return;
    acceptor_.async_accept(asio::make_strand(core_.io), peer_, [this](error_code ec, Socket socket) {
      if (core_.stopping) return;
      if (ec) {
        pause_.expires_after(kAcceptPause);
        pause_.async_wait([this](error_code) { accept(); });
        return;
      }
      admit(std::move(socket));
      accept();
    });
  }

  void admit(Socket socket) {
    try {
      if (listener_.family() != AF_UNIX) set_tcp_options(socket.native_handle());
      auto session = std::make_shared<Session>(core_, std::move(socket), remote_of(peer_));
      {
        const std::lock_guard lock(core_.mutex);
        if (core_.stopping || static_cast<int64_t>(core_.sessions.size()) >= core_.options.max_connections) return;
        core_.sessions.insert(session);
      }
      session->start();
    } catch (const std::exception&) {  // no memory for it: this connection ends, the acceptor goes on
    }
  }

  ServerCore core_;
  ListeningSocket listener_;
  Acceptor acceptor_;
  Timer pause_;
  Endpoint peer_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::vector<std::thread> threads_;
  std::mutex stop_mutex_;
};

void send_busy(HttpResponse& response, std::string_view message) {
  response.send(503, "application/json", error_body(503, message), {{"retry-after", "1"}});
}

HttpServer::HttpServer(const HttpOptions& options, Handler handler, AccessLog access_log) {
  check(options);
  impl_ = std::make_unique<Impl>(options, std::move(handler), std::move(access_log));
}

HttpServer::~HttpServer() = default;

int HttpServer::port() const { return impl_->port(); }
int64_t HttpServer::connections() const { return impl_->connections(); }
int64_t HttpServer::stop(std::chrono::milliseconds patience) { return impl_->stop(patience); }

}  // namespace pagoda::server
