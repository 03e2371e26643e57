// The web page at "/": one file, compiled in, and what it is served with.
#pragma once

#include <string>
#include <string_view>

#include "server/http_server.h"

namespace pagoda::server {

std::string_view page_html();  // src/server/page/index.html

struct PageHeaders {
  std::string etag;                     // of these bytes
  std::string content_security_policy;  // the page's own script and style by their hashes, and nothing else
};

// For a page with one <script> and one <style>, both inline.
PageHeaders page_headers(std::string_view html);

// The page, or 304 where the browser has it.
void send_page(const HttpRequest& request, HttpResponse& response);

}  // namespace pagoda::server
