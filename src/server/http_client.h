// An HTTP/1.1 client for many requests at once over TCP, TLS or a Unix socket; answers are handed on as they come.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "server/http_server.h"

namespace pagoda::server {

struct Url {
  bool tls = false;
  std::string host, uds;  // uds: path of a Unix socket, instead of host and port
  int port = 0;
  std::string path;               // "" or "/v1/models?all=1": what stands in the request line, without fragment
  std::string authority() const;  // "host:8000", "[::1]": what stands in the Host header
};
// "http://host[:port][/path]", "https://...", or "unix:/path/of/socket". Throws kInvalidInput: another scheme, no host, a bad
// port, user names, characters that have no place in a URL.
Url parse_url(std::string_view text);

struct HttpClientOptions {
  // From the start of a request until it is sent; and without a byte of the answer, from then on. 0: no bound.
  std::chrono::milliseconds connect_timeout{10'000}, idle_timeout{600'000};
  int64_t max_header_bytes = 64 << 10;
  int64_t max_body_bytes = int64_t{1} << 32;
  int64_t max_connections = 4096;  // that this process may want: the limit of open files is raised to it where that is allowed
  // https: certificates are checked against these authorities (PEM), "": the system's. insecure: not at all.
  std::string ca_file;
  bool insecure = false;
};

// A request. The callbacks come on the client's thread, never two at once, and must be quick; an exception out of one ends the
// request with that error.
struct HttpCall {
  std::string method = "POST";
  Url url;
  Headers headers;  // Host, Content-Length and Connection are the client's own
  std::string body;
  std::function<void(int status, const Headers& headers)> on_head;  // names in lower case
  std::function<void(std::string_view bytes)> on_data;              // of the body, without framing
  // Once, at the end: nothing where the whole answer came; kDevice: network, time-out, cancelled; kInvalidInput: an answer that
  // is no HTTP or larger than allowed.
  std::function<void(const std::optional<Error>& error)> on_done;
};

class HttpClient {
 public:
  // Throws kInvalidInput for a ca_file that cannot be read.
  explicit HttpClient(const HttpClientOptions& options = {});
  ~HttpClient();  // requests under way end as cancelled
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // From any thread. Each request has a connection of its own.
  uint64_t start(HttpCall call);
  void cancel(uint64_t id);  // of no effect once it is done

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda::server
