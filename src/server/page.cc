// The page and its headers.
#include "server/page.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "base/error.h"
#include "formats/base64.h"

namespace pagoda::server {

namespace {

using Digest = std::array<unsigned char, 32>;

Digest sha256(std::string_view bytes) {
  Digest digest{};
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    fail(ErrorKind::kInternal, "page", "SHA-256 is not available");
  }
  return digest;
}

std::string base64(const Digest& digest) {
  return encode_base64({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

std::string_view between(std::string_view text, std::string_view open, std::string_view close) {
  const size_t from = text.find(open);
  const size_t to = from == std::string_view::npos ? from : text.find(close, from);
  if (to == std::string_view::npos) fail(ErrorKind::kInternal, "page", "no {} in the page", open);
  return text.substr(from + open.size(), to - from - open.size());
}

}  // namespace

PageHeaders page_headers(std::string_view html) {
  const std::string script = base64(sha256(between(html, "<script>", "</script>")));
  const std::string style = base64(sha256(between(html, "<style>", "</style>")));
  return {"\"" + base64(sha256(html)) + "\"",
          fmt::format("default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; "
                      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
                      script, style)};
}

void send_page(const HttpRequest& request, HttpResponse& response) {
  static const PageHeaders kPage = page_headers(page_html());
  const Headers headers = {{"etag", kPage.etag},
                           {"cache-control", "no-cache"},
                           {"content-security-policy", kPage.content_security_policy},
                           {"x-content-type-options", "nosniff"},
                           {"referrer-policy", "no-referrer"},
                           {"cross-origin-opener-policy", "same-origin"}};
  // The header may hold a list, "*", and weak tags, which are as good here.
  const std::string* known = request.header("if-none-match");
  if (known != nullptr && (*known == "*" || known->find(kPage.etag) != std::string::npos)) {
    return response.send(304, "", "", headers);
  }
  response.send(200, "text/html; charset=utf-8", std::string(page_html()), headers);
}

}  // namespace pagoda::server
