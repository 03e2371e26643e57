// The head of one request, parsed and checked: what the session must know before it reads the body.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "server/http_server.h"

namespace pagoda::server {

struct RequestHead {
  HttpRequest request;  // without body and remote
  bool http10 = false;
  bool keep_alive = true;
  bool expects_continue = false;
  bool chunked = false;
  int64_t content_length = 0;
  int refused = 0;      // status of the answer if this request must not be served; the connection must then end
  std::string refusal;  // why
};

// `bytes` is a whole head with its empty line, as HeadScanner finds it. Never throws for what it holds: see `refused`.
// Refused are two lengths, a length beside a transfer coding, any coding but "chunked", no or two Host headers, a declared
// body over max_body_bytes (413), another version (505), an expectation but 100-continue (417).
RequestHead parse_request_head(std::string_view bytes, int64_t max_body_bytes);

}  // namespace pagoda::server
