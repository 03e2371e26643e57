// Keys and cross-origin headers.
#include "server/access.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>

#include "base/ascii.h"

namespace pagoda::server {

namespace {

// The same time whatever the first difference; lengths alone may show.
bool same_secret(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// "*" stands for what `asked` names, since a browser takes no "*" beside Authorization.
std::string allowed_list(const std::vector<std::string>& allowed, const std::string& asked) {
  return std::find(allowed.begin(), allowed.end(), "*") != allowed.end() ? asked : fmt::format("{}", fmt::join(allowed, ", "));
}

class WithHeaders : public HttpResponse {
 public:
  WithHeaders(std::shared_ptr<HttpResponse> inner, Headers headers) : inner_(std::move(inner)), headers_(std::move(headers)) {}
  void send(int status, std::string_view type, std::string body, const Headers& headers) override {
    inner_->send(status, type, std::move(body), joined(headers));
  }
  void begin(int status, std::string_view type, const Headers& headers) override {
    inner_->begin(status, type, joined(headers));
  }
  bool write(std::string chunk) override { return inner_->write(std::move(chunk)); }
  void finish() override { inner_->finish(); }
  void on_disconnect(std::function<void()> callback) override { inner_->on_disconnect(std::move(callback)); }
  void post(std::function<void()> work) override { inner_->post(std::move(work)); }
  bool gone() const override { return inner_->gone(); }
  void keep(MemoryLedger::Lease room) override { inner_->keep(std::move(room)); }
  int64_t pending_bytes() const override { return inner_->pending_bytes(); }

 private:
  Headers joined(const Headers& headers) const {
    Headers all = headers_;
    all.insert(all.end(), headers.begin(), headers.end());
    return all;
  }
  std::shared_ptr<HttpResponse> inner_;
  Headers headers_;
};

}  // namespace

bool Access::authorized(const HttpRequest& request) const {
  if (!asks_for_keys()) return true;
  const std::string* header = request.header("authorization");
  constexpr std::string_view kBearer = "Bearer ";
  if (header == nullptr || !equal_ignoring_case(std::string_view(*header).substr(0, kBearer.size()), kBearer)) return false;
  const std::string key = header->substr(kBearer.size());
  bool found = false;
  for (const std::string& each : options_.api_keys) found = same_secret(key, each) || found;
  return found;
}

Headers Access::cors(const HttpRequest& request) const {
  const std::string* origin = request.header("origin");
  if (origin == nullptr) return {};
  for (const std::string& allowed : options_.allowed_origins) {
    if (allowed != "*" && allowed != *origin) continue;
    Headers headers{{"access-control-allow-origin", allowed}, {"access-control-expose-headers", "x-request-id"}};
    if (request.method != "OPTIONS") {
      headers.emplace_back("vary", "origin");
      return headers;
    }
    const std::string* wanted = request.header("access-control-request-headers");
    headers.emplace_back("access-control-allow-methods", allowed_list(options_.allowed_methods, "GET, POST, DELETE, OPTIONS"));
    headers.emplace_back(
        "access-control-allow-headers",
        allowed_list(options_.allowed_headers, wanted != nullptr ? *wanted : "authorization, content-type, x-request-id"));
    headers.emplace_back("access-control-max-age", "600");
    headers.emplace_back("vary", "origin, access-control-request-headers");
    return headers;
  }
  return {};
}

bool from_foreign_page(const HttpRequest& request) {
  const std::string* origin = request.header("origin");
  if (origin == nullptr) return false;
  const std::string* host = request.header("host");
  const size_t scheme = origin->find("://");
  return host == nullptr || scheme == std::string::npos || origin->substr(scheme + 3) != *host;
}

std::shared_ptr<HttpResponse> with_headers(std::shared_ptr<HttpResponse> response, Headers headers) {
  return std::make_shared<WithHeaders>(std::move(response), std::move(headers));
}

}  // namespace pagoda::server
