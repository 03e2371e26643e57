// Connections of the client: resolve, connect, handshake, send, parse.
#include "server/http_client.h"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ascii.h"
#include "server/http_listen.h"

namespace pagoda::server {

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::beast::string_view;
using boost::system::error_code;
using Protocol = asio::generic::stream_protocol;
using Socket = asio::basic_stream_socket<Protocol, asio::io_context::executor_type>;
using Endpoint = Protocol::endpoint;

// Beast's grammar of answers; what it finds goes to the call.
class AnswerParser final : public http::basic_parser<false> {
 public:
  AnswerParser(HttpCall& call, const HttpClientOptions& options) : call_(call) {
    header_limit(static_cast<uint32_t>(std::min<int64_t>(options.max_header_bytes, UINT32_MAX)));
    body_limit(static_cast<uint64_t>(options.max_body_bytes));
    eager(true);
    skip(call.method == "HEAD");
  }
  bool interim() const { return status_ / 100 == 1; }

 private:
  void on_request_impl(http::verb, string_view, string_view, int, error_code&) override {}
  void on_response_impl(int status, string_view, int, error_code&) override { status_ = status; }
  void on_field_impl(http::field, string_view name, string_view value, error_code&) override {
    headers_.emplace_back(lower_case(std::string_view(name.data(), name.size())), std::string(value));
  }
  void on_header_impl(error_code&) override {
    if (!interim() && call_.on_head) call_.on_head(status_, headers_);
  }
  void on_body_init_impl(boost::optional<std::uint64_t> const&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code&) override {
    if (!interim() && call_.on_data) call_.on_data(std::string_view(body.data(), body.size()));
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code& ec) override { return on_body_impl(body, ec); }
  void on_finish_impl(error_code&) override {}

  HttpCall& call_;
  int status_ = 0;
  Headers headers_;
};

bool has_bad_bytes(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; });
}

std::string request_text(const HttpCall& call) {
  std::string text = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n", call.method,
                                 call.url.path.empty() || call.url.path[0] != '/' ? "/" + call.url.path : call.url.path,
                                 call.url.authority(), call.body.size());
  for (const auto& [name, value] : call.headers) text += name + ": " + value + "\r\n";
  return text + "\r\n" + call.body;
}

// A line break in a header would be another header.
void check_call(const HttpCall& call) {
  if (call.method.empty() || has_bad_bytes(call.method) || has_bad_bytes(call.url.path)) {
    invalid("http", "bad request line: got '{} {}'", call.method, call.url.path);
  }
  for (const auto& [name, value] : call.headers) {
    const bool bad = name.empty() || has_bad_bytes(name) || name.find(':') != std::string::npos ||
                     value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos;
    if (bad) invalid("http", "header '{}' has characters that have no place in one", has_bad_bytes(name) ? "?" : name);
  }
}

}  // namespace

class HttpClient::Impl {
 public:
  explicit Impl(const HttpClientOptions& options);
  ~Impl();
  uint64_t start(HttpCall call);
  void cancel(uint64_t id);

 private:
  class Exchange;
  void forget(uint64_t id) { exchanges_.erase(id); }
  // Reading the system's authorities takes tens of milliseconds: not before the first https.
  void trust_the_system() {
    error_code ignored;
    if (!trusts_ && options_.ca_file.empty() && !options_.insecure) tls_.set_default_verify_paths(ignored);
    trusts_ = true;
  }

  HttpClientOptions options_;
  asio::io_context io_{1};
  asio::ssl::context tls_{asio::ssl::context::tls_client};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::atomic<uint64_t> next_id_{1};
  std::unordered_map<uint64_t, std::shared_ptr<Exchange>> exchanges_;  // the thread's own
  bool closing_ = false, trusts_ = false;                              // too
  std::thread thread_;
};

// One request on one connection. Everything on the client's thread.
class HttpClient::Impl::Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(Impl& client, uint64_t id, HttpCall call)
      : client_(client),
        id_(id),
        call_(std::move(call)),
        socket_(client.io_),
        resolver_(client.io_),
        timer_(client.io_),
        parser_(std::in_place, call_, client.options_) {}

  void begin() {
    arm(client_.options_.connect_timeout, "no connection");
    if (!call_.url.uds.empty()) {
      try {
        endpoints_.emplace_back(asio::local::stream_protocol::endpoint(call_.url.uds));
      } catch (const boost::system::system_error&) {
        return finish(Error(ErrorKind::kInvalidInput, "[http] path of a Unix socket too long: got '" + call_.url.uds + "'"));
      }
      return connect();
    }
    resolver_.async_resolve(call_.url.host, std::to_string(call_.url.port),
                            [self = shared_from_this()](error_code ec, const asio::ip::tcp::resolver::results_type& found) {
                              if (self->done_) return;
                              if (ec) return self->lost("no such host: " + self->call_.url.host, ec);
                              for (const auto& each : found) self->endpoints_.emplace_back(each.endpoint());
                              self->connect();
                            });
  }
  void cancel() { finish(Error(ErrorKind::kDevice, "[http] cancelled")); }

 private:
  // The addresses one after the other.
  void connect() {
    if (next_ == endpoints_.size()) return lost("cannot connect to " + target(), last_);
    error_code ignored;
    socket_.close(ignored);
    socket_.async_connect(endpoints_[next_++], [self = shared_from_this()](error_code ec) {
      if (self->done_) return;
      self->last_ = ec;
      if (ec) return self->connect();
      self->connected();
    });
  }
  void connected() {
    error_code ignored;
    if (call_.url.uds.empty()) socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
    if (!call_.url.tls) return send();
    client_.trust_the_system();
    tls_.emplace(socket_, client_.tls_);
    SSL* ssl = tls_->native_handle();
    asio::ip::make_address(call_.url.host, ignored);
    const bool is_address = !ignored;
    if (!is_address) SSL_set_tlsext_host_name(ssl, call_.url.host.c_str());
    if (!client_.options_.insecure) {
      X509_VERIFY_PARAM* rules = SSL_get0_param(ssl);
      const bool set = is_address ? X509_VERIFY_PARAM_set1_ip_asc(rules, call_.url.host.c_str()) == 1
                                  : X509_VERIFY_PARAM_set1_host(rules, call_.url.host.c_str(), 0) == 1;
      if (!set) return finish(Error(ErrorKind::kInvalidInput, "[http] bad host name: got '" + call_.url.host + "'"));
    }
    tls_->async_handshake(asio::ssl::stream_base::client, [self = shared_from_this()](error_code ec) {
      if (self->done_) return;
      if (ec) return self->lost("no TLS connection to " + self->target(), ec);
      self->send();
    });
  }
  void send() {
    out_ = request_text(call_);
    call_.body = std::string();
    write();
  }
  void write() {
    const auto rest = asio::buffer(out_.data() + sent_, out_.size() - sent_);
    const auto then = [self = shared_from_this()](error_code ec, size_t count) {
      if (self->done_) return;
      // A server that answers before it has read all closes its side: what it said may still be read.
      if (ec) return self->read();
      self->sent_ += count;
      if (self->sent_ < self->out_.size()) return self->write();
      self->out_ = std::string();
      self->read();
    };
    if (tls_) {
      tls_->async_write_some(rest, then);
    } else {
      socket_.async_write_some(rest, then);
    }
  }
  void read() {
    arm(client_.options_.idle_timeout, "no answer");
    const auto then = [self = shared_from_this()](error_code ec, size_t count) {
      if (!self->done_) self->on_read(ec, count);
    };
    const auto room = asio::buffer(buffer_);
    if (tls_) {
      tls_->async_read_some(room, then);
    } else {
      socket_.async_read_some(room, then);
    }
  }
  void on_read(error_code ec, size_t count) {
    try {
      in_.append(buffer_, count);
      error_code bad;
      if (ec && ec != asio::error::eof && ec != asio::ssl::error::stream_truncated) return lost("connection lost", ec);
      if (!parse(bad)) return;
      // An end that TLS does not vouch for may be a cut: it ends no answer that only the connection's end would end.
      if (ec == asio::error::eof && !bad && parser_->got_some()) parser_->put_eof(bad);
      if (bad == http::error::partial_message) bad = {};
      if (bad) return finish(Error(ErrorKind::kInvalidInput, "[http] bad answer: " + bad.message()));
      if (parser_->is_done()) return finish({});
      if (ec) return finish(Error(ErrorKind::kDevice, "[http] the connection ended before the answer"));
      read();
    } catch (...) {
      finish(current_error());
    }
  }
  // False where a callback cancelled this request.
  bool parse(error_code& bad) {
    size_t used = 0;
    while (!bad && used < in_.size() && !parser_->is_done()) {
      used += parser_->put(asio::const_buffer(in_.data() + used, in_.size() - used), bad);
      if (done_) return false;
      if (bad == http::error::need_more) {
        bad = {};
        break;
      }
      if (!bad && parser_->is_done() && parser_->interim()) parser_.emplace(call_, client_.options_);
    }
    in_.erase(0, used);
    return true;
  }

  std::string target() const { return call_.url.uds.empty() ? call_.url.authority() : call_.url.uds; }

  void arm(std::chrono::milliseconds patience, const char* what) {
    if (patience.count() <= 0) {
      timer_.cancel();
      return;
    }
    timer_.expires_after(patience);
    timer_.async_wait([self = shared_from_this(), patience, what](error_code ec) {
      if (ec || self->done_ || self->timer_.expiry() > asio::steady_timer::clock_type::now()) return;
      self->finish(Error(ErrorKind::kDevice, fmt::format("[http] {} from {} within {} s", what, self->target(),
                                                         static_cast<double>(patience.count()) / 1000)));
    });
  }
  void lost(const std::string& what, error_code ec) {
    finish(Error(ErrorKind::kDevice, fmt::format("[http] {}: {}", what, ec.message())));
  }
  void finish(const std::optional<Error>& error) {
    if (done_) return;
    done_ = true;
    const auto self = shared_from_this();
    error_code ignored;
    timer_.cancel();
    resolver_.cancel();
    socket_.close(ignored);
    client_.forget(id_);
    try {
      if (call_.on_done) call_.on_done(error);
    } catch (...) {  // there is nobody left to tell
    }
    // What the callbacks hold is let go now, not when the last handler is.
    asio::post(client_.io_, [self] { self->call_ = HttpCall(); });
  }

  Impl& client_;
  const uint64_t id_;
  HttpCall call_;
  Socket socket_;
  std::optional<asio::ssl::stream<Socket&>> tls_;
  asio::ip::tcp::resolver resolver_;
  asio::steady_timer timer_;
  std::optional<AnswerParser> parser_;
  std::vector<Endpoint> endpoints_;
  size_t next_ = 0;
  error_code last_;
  std::string out_, in_;
  size_t sent_ = 0;
  char buffer_[8192];
  bool done_ = false;
};

HttpClient::Impl::Impl(const HttpClientOptions& options) : options_(options) {
  raise_open_file_limit(options.max_connections);
  SSL_CTX_set_min_proto_version(tls_.native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_mode(tls_.native_handle(), SSL_MODE_RELEASE_BUFFERS);
  tls_.set_verify_mode(options.insecure ? asio::ssl::verify_none : asio::ssl::verify_peer);
  error_code ec;
  if (!options.ca_file.empty()) {
    tls_.load_verify_file(options.ca_file, ec);
    if (ec) invalid("tls", "bad file of authorities '{}': {}, need PEM", options.ca_file, ec.message());
  }
  thread_ = std::thread([this] { io_.run(); });
}

HttpClient::Impl::~Impl() {
  asio::post(io_, [this] {
    closing_ = true;
    while (!exchanges_.empty()) {
      const std::shared_ptr<Exchange> first = exchanges_.begin()->second;
      first->cancel();
    }
    work_.reset();
  });
  thread_.join();
}

uint64_t HttpClient::Impl::start(HttpCall call) {
  check_call(call);
  const uint64_t id = next_id_++;
  asio::post(io_, [this, id, shared = std::make_shared<HttpCall>(std::move(call))] {
    const auto exchange = std::make_shared<Exchange>(*this, id, std::move(*shared));
    if (closing_) return exchange->cancel();
    exchanges_.emplace(id, exchange);
    exchange->begin();
  });
  return id;
}

void HttpClient::Impl::cancel(uint64_t id) {
  asio::post(io_, [this, id] {
    const auto found = exchanges_.find(id);
    if (found == exchanges_.end()) return;
    const std::shared_ptr<Exchange> exchange = found->second;
    exchange->cancel();
  });
}

HttpClient::HttpClient(const HttpClientOptions& options) : impl_(std::make_unique<Impl>(options)) {}
HttpClient::~HttpClient() = default;
uint64_t HttpClient::start(HttpCall call) { return impl_->start(std::move(call)); }
void HttpClient::cancel(uint64_t id) { impl_->cancel(id); }

std::string Url::authority() const {
  if (!uds.empty()) return "localhost";
  const std::string name = host.find(':') != std::string::npos ? "[" + host + "]" : host;
  return port == (tls ? 443 : 80) ? name : name + ":" + std::to_string(port);
}

Url parse_url(std::string_view text) {
  if (text.size() > 8192 || has_bad_bytes(text)) invalid("url", "not a URL: too long, or spaces or control characters in it");
  Url url;
  std::string_view rest = text.substr(0, text.find('#'));
  if (rest.substr(0, 5) == "unix:") {
    url.uds = std::string(rest.substr(5));
    if (url.uds.empty()) invalid("url", "no path of a Unix socket: got '{}'", text);
    return url;
  }
  const size_t scheme = rest.find("://");
  const std::string name = lower_case(rest.substr(0, scheme == std::string_view::npos ? 0 : scheme));
  if (name != "http" && name != "https") {
    invalid("url", "got '{}', need http://HOST[:PORT], https://HOST[:PORT] or unix:/PATH", text);
  }
  url.tls = name == "https";
  rest.remove_prefix(scheme + 3);
  const size_t slash = rest.find_first_of("/?");
  std::string_view authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) url.path = std::string(rest.substr(slash));
  if (!url.path.empty() && url.path[0] == '?') url.path = "/" + url.path;
  if (authority.find('@') != std::string_view::npos) invalid("url", "user names and passwords in URLs are not taken");
  const size_t bracket = authority.find(']');
  const size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  std::string_view host = authority.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  url.host = std::string(host);
  url.port = url.tls ? 443 : 80;
  if (colon != std::string_view::npos) {
    const std::string_view digits = authority.substr(colon + 1);
    const bool good = !digits.empty() && digits.size() <= 5 && digits.find_first_not_of("0123456789") == std::string_view::npos;
    url.port = good ? std::stoi(std::string(digits)) : 0;
    if (url.port < 1 || url.port > 65535) invalid("url", "bad port: got '{}', need 1 to 65535", digits);
  }
  if (url.host.empty() || url.host.find_first_of("[]/\\") != std::string::npos) invalid("url", "no host: got '{}'", text);
  return url;
}

}  // namespace pagoda::server
