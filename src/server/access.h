// Who may ask: whoever has a key, and the pages of which origins.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/http_server.h"

namespace pagoda::server {

struct AccessOptions {
  std::vector<std::string> api_keys;                                    // empty: none is asked for
  std::vector<std::string> allowed_origins;                             // of browsers; "*": any
  std::vector<std::string> allowed_methods{"*"}, allowed_headers{"*"};  // of these pages; "*": any
};

class Access {
 public:
  explicit Access(AccessOptions options) : options_(std::move(options)) {}

  bool asks_for_keys() const { return !options_.api_keys.empty(); }
  bool authorized(const HttpRequest& request) const;
  // What a page of an allowed origin is told with any answer; empty: it is none.
  Headers cors(const HttpRequest& request) const;

 private:
  const AccessOptions options_;
};

// Browsers say where the page comes from that asks, and send what needs no preflight without asking: an open server on this
// machine must not compute for any page its owner looks at.
bool from_foreign_page(const HttpRequest& request);

// Adds headers to whatever is answered.
std::shared_ptr<HttpResponse> with_headers(std::shared_ptr<HttpResponse> response, Headers headers);

}  // namespace pagoda::server
