// HTTP/1.1 over TCP, TLS or a Unix socket: connections, limits and time-outs. Knows nothing of models.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/memory_ledger.h"

namespace pagoda::server {

// Bytes a second, at least: who reads more slowly would hold memory for hours.
constexpr int64_t kLeastReadRate = 32 << 10;

struct HttpOptions {
  std::string host = "127.0.0.1";  // a name or address; "" or "0.0.0.0": every interface
  int port = 8000;                 // 0: one that is free, see HttpServer::port()
  std::string uds;                 // path of a Unix socket, instead of host and port
  // TLS where both are given (PEM). ssl_ca_certs: clients must show a certificate that these sign.
  std::string ssl_certfile, ssl_keyfile, ssl_ca_certs;
  // They also compile grammars, render templates and cut texts into tokens, seconds at worst: more than there are processors.
  int threads = 8;

  // Beyond these a request is refused: 431, 413, and connections are closed at once where there are too many.
  int64_t max_header_bytes = 32 << 10;
  int64_t max_body_bytes = 16 << 20;
  int64_t max_connections = 4096;
  // Bodies until they were read and answers until they were taken count here, of all connections together: who would go beyond
  // gets 503 with Retry-After, and a stream its end. No body is larger than all of it.
  MemoryLedger memory;
  // What a slow client is given: to send its headers and its body (408), between two requests, and to read what there is for
  // it: all of that, or what it takes at kLeastReadRate in this time (else it is cut off).
  std::chrono::milliseconds header_timeout{10'000}, body_timeout{60'000}, keep_alive_timeout{75'000}, write_timeout{60'000};
  // A stream that has been silent so long gets a comment line, so that proxies keep it.
  std::chrono::milliseconds sse_ping{15'000};
};

struct HttpRequest {
  std::string method;                                        // "GET", ...
  std::string path;                                          // decoded, without query; begins with "/", or is "*" (OPTIONS)
  std::vector<std::pair<std::string, std::string>> query;    // decoded
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  std::string remote;  // address of the client, "unix" for a Unix socket
  std::string
      id;  // X-Request-Id as the client gave it (cut to 128 printable characters), or a new one; sent back in every answer

  const std::string* header(std::string_view lower_case_name) const;  // the first of this name; null: none
};

using Headers = std::vector<std::pair<std::string, std::string>>;

// The answer to one request. Thread-safe; may be kept and used after the handler returned, from any thread, until it is
// finished. An answer that is dropped unfinished becomes a 500 (or a cut stream).
class HttpResponse {
 public:
  virtual ~HttpResponse() = default;
  // A whole answer. Only the first of send() and begin() counts.
  virtual void send(int status, std::string_view content_type, std::string body, const Headers& headers = {}) = 0;
  // A stream (chunked; with HTTP/1.0 until the connection closes), usually of content type text/event-stream.
  virtual void begin(int status, std::string_view content_type, const Headers& headers = {}) = 0;
  // More of the stream; false once the client is gone: nobody reads on.
  virtual bool write(std::string chunk) = 0;
  virtual void finish() = 0;
  // Called once, on a thread of the server's, when the client goes away before the answer is finished; at once, on the caller's
  // thread, if it has gone. A client that only closes its sending side counts as gone. The last callback given counts.
  virtual void on_disconnect(std::function<void()> callback) = 0;
  // Calls `work` on a thread of the server's, in the order given and never two at once; not at all once the client is gone.
  // What makes an answer's text need not be done by who has its news.
  virtual void post(std::function<void()> work) = 0;
  // Whether the client has gone by now, asked of its connection: for a handler's long work, within its call. It hears of
  // on_disconnect() when it returns.
  virtual bool gone() const = 0;
  // Room for a whole answer that was taken before the answer was made: given back but for the answer's size by send(), and that
  // once the client has taken it. Without a connection: at once.
  virtual void keep(MemoryLedger::Lease room) = 0;
  // Bytes written to the stream and not yet taken by the client's connection, framing included.
  virtual int64_t pending_bytes() const = 0;
};

// Called on a thread of the server's with each request whose body is complete: must not block for long. An exception becomes an
// answer of its kind's status with a JSON body (error_body).
using Handler = std::function<void(HttpRequest request, std::shared_ptr<HttpResponse> response)>;

// One line a request once it is answered: method, path, status, bytes, milliseconds; never a body.
using AccessLog = std::function<void(const HttpRequest& request, int status, int64_t bytes, double milliseconds)>;

// {"error": {"message": ..., "type": ..., "param": ..., "code": ...}} as OpenAI and vLLM write it. param "": null, no field of
// the request is at fault. code "": the status, as vLLM has it.
std::string error_body(int status, std::string_view message, std::string_view param = {}, std::string_view code = {});

// 503 with Retry-After: what is asked for could be had at another time.
void send_busy(HttpResponse& response, std::string_view message);

class HttpServer {
 public:
  // Binds and listens at once (kDevice: the address is in use or forbidden; kInvalidInput: certificates that cannot be read).
  HttpServer(const HttpOptions& options, Handler handler, AccessLog access_log = {});
  ~HttpServer();  // stop(0)
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;  // 0 for a Unix socket
  int64_t connections() const;
  // Not from a handler or a callback. Accepts no more connections and requests, waits until answers under way are finished, at
  // most so long, then cuts the rest off. Returns the number that were cut.
  int64_t stop(std::chrono::milliseconds patience);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda::server
