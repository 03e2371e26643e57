// HTTP over libcurl: one client a thread, redirects followed by our own rules, the token sent to the hub's own host only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hub/config.h"

namespace pagoda::hub {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;  // names in lower case
// The last header of that name (lower case), or "".
std::string_view header(const HttpHeaders& headers, std::string_view name);

// Takes the body of a successful answer. What these throw leaves HttpClient::perform as it is.
class BodySink {
 public:
  virtual ~BodySink() = default;
  virtual void on_start(int status, const HttpHeaders& headers) = 0;  // once, before any data, for 2xx only
  virtual void on_data(const char* data, size_t size) = 0;
};

// Gives the body of a request. What these throw leaves HttpClient::perform as it is.
class BodySource {
 public:
  virtual ~BodySource() = default;
  virtual int64_t size() const = 0;
  virtual size_t read(char* data, size_t size) = 0;  // 0 at the end
  virtual void rewind() = 0;                         // the request is sent once more
};

struct HttpRequest {
  std::string method = "GET";  // or "HEAD"; "POST" and "PUT" with a body
  std::string url;
  HttpHeaders headers;
  BodySource* body = nullptr;  // redirects with a body are followed only where they keep it (307, 308)
  int silent_seconds = 0;      // > 0: how long the connection may be silent, in place of the configured time
  BodySink* sink = nullptr;    // null: the body goes to HttpResult::body
  int64_t max_body_bytes = 64 << 20;
  bool stop_at_foreign_host = false;  // a redirect away from the hub's origin is the answer, not followed
};

struct HttpResult {
  int status = 0;  // 0: no answer, see transport_error
  HttpHeaders headers;
  HttpHeaders hub_headers;  // of the last answer that came from the hub's own origin
  std::string body;         // of errors at most 64 kB
  std::string url;          // the last one asked
  bool from_hub = false;    // the last answer came from the hub's own origin
  std::string transport_error;
  bool retryable = false;  // the transport failed in a way that may pass: refused, reset, timed out, cut short
  bool ok() const { return transport_error.empty() && status >= 200 && status < 300; }
};

class HttpClient {
 public:
  // should_stop is asked at every packet and once a second; true ends the request (transport_error "interrupted").
  HttpClient(const HubConfig& config, std::function<bool()> should_stop);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // One request with at most 10 redirects. Throws kInvalidInput for a bad address, a redirect from https to http or to another
  // scheme, and answers over max_body_bytes; everything that the network does is in the result.
  HttpResult perform(const HttpRequest& request);

 private:
  struct Transfer;
  HttpResult perform_once(const HttpRequest& request, const std::string& url, bool with_token);

  HubConfig config_;
  std::function<bool()> should_stop_;
  std::string ca_pem_;
  void* curl_;
};

// "https://host:443" in lower case with the port always given; throws kInvalidInput for what is no http(s) URL.
std::string url_origin(const std::string& url);
// A Location header against the URL it came from.
std::string resolve_url(const std::string& base, const std::string& location);

}  // namespace pagoda::hub
