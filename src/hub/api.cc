// Requests to the hub's API, and its error answers.
#include "hub/api.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "hub/repo_id.h"

namespace pagoda::hub {

namespace {

constexpr int64_t kMaxInfoBytes = 64 << 20;
constexpr size_t kMaxFiles = 100'000;
constexpr int kMaxWaitSeconds = 60;

// Addresses of files on other hosts carry signatures in their queries: those are not printed.
std::string without_query(const std::string& url) { return url.substr(0, url.find('?')); }

// A server's words as they may be shown on a terminal.
std::string printable(std::string_view text) {
  std::string out(text.substr(0, 200));
  std::replace_if(out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7F; }, '?');
  return out;
}

int leading_number(std::string_view text) {
  int64_t value = 0;
  size_t digits = 0;
  while (digits < text.size() && digits < 9 && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) {
    value = value * 10 + (text[digits++] - '0');
  }
  return digits == 0 ? 0 : static_cast<int>(std::min<int64_t>(value, kMaxWaitSeconds));
}

std::string normal_etag(std::string_view etag) {
  if (etag.substr(0, 2) == "W/") etag.remove_prefix(2);
  while (!etag.empty() && etag.front() == '"') etag.remove_prefix(1);
  while (!etag.empty() && etag.back() == '"') etag.remove_suffix(1);
  return std::string(etag);
}

// Asks until the answer is final.
HttpResult ask(HttpClient& client, const HttpRequest& request, Backoff& backoff, const std::function<bool()>& should_stop) {
  for (;;) {
    HttpResult result = client.perform(request);
    if (result.ok() || !is_transient(result) || !backoff.again(should_stop, asked_wait(result))) return result;
  }
}

}  // namespace

bool Backoff::again(const std::function<bool()>& should_stop, int wait_seconds) {
  if (used_ >= attempts_ || should_stop()) return false;
  const int64_t pause = std::max<int64_t>(std::min<int64_t>(int64_t{base_} << std::min(used_, 16), 8000),
                                          int64_t{1000} * std::min(wait_seconds, kMaxWaitSeconds));
  ++used_;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(pause);
  while (std::chrono::steady_clock::now() < end) {
    if (should_stop()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min<int64_t>(pause, 20)));
  }
  return true;
}

bool is_transient(const HttpResult& result) {
  if (!result.transport_error.empty()) return result.retryable;
  return result.status == 408 || result.status == 429 || (result.status >= 500 && result.status != 501);
}

int asked_wait(const HttpResult& result) {
  if (result.status != 429 && result.status != 503) return 0;
  if (const auto after = header(result.headers, "retry-after"); !after.empty()) return leading_number(after);
  const std::string_view limit = header(result.headers, "ratelimit");  // "api";r=0;t=42
  const size_t reset = limit.find(";t=");
  return reset == std::string_view::npos ? 0 : leading_number(limit.substr(reset + 3));
}

RepoInfo parse_repo_info(std::string_view text, std::string_view where, const Limits& limits) {
  const Json json = Json::parse(text, where, limits);
  RepoInfo info;
  info.commit = json.at("sha", where).as_string(where);
  if (!is_commit(info.commit)) {
    invalid(where, "bad answer of the hub: got commit '{}', need 40 hexadecimal digits", info.commit.substr(0, 80));
  }
  const auto& siblings = json.at("siblings", where).as_array(where);
  if (siblings.size() > kMaxFiles) invalid(where, "too many files: got {}, need at most {}", siblings.size(), kMaxFiles);
  for (const auto& sibling : siblings) {
    RepoFile file;
    file.name = sibling.at("rfilename", where).as_string(where);
    file.size = sibling.get_int("size", -1, where);
    const Json* lfs = sibling.find("lfs");
    if (lfs != nullptr && lfs->is_object()) {
      file.etag = lfs->get_string("sha256", "", where);
      file.size = lfs->get_int("size", file.size, where);
      if (!file.etag.empty() && !is_sha256(file.etag)) {
        invalid(where, "bad checksum of {}: got '{}', need 64 hexadecimal digits", file.name, file.etag.substr(0, 80));
      }
    } else {
      file.etag = sibling.get_string("blobId", "", where);
      if (!file.etag.empty() && !is_commit(file.etag)) {
        invalid(where, "bad blob id of {}: got '{}', need 40 hexadecimal digits", file.name, file.etag.substr(0, 80));
      }
    }
    if (file.size < -1 || file.size > limits.max_bytes) {
      invalid(where, "bad size of {}: got {}, need 0 to {} bytes", file.name, file.size, limits.max_bytes);
    }
    info.files.push_back(std::move(file));
  }
  return info;
}

RepoInfo fetch_repo_info(HttpClient& client, const HubConfig& config, std::string_view name, std::string_view revision,
                         Backoff backoff, const std::function<bool()>& should_stop) {
  HttpRequest request;
  request.url =
      config.endpoint + "/api/models/" + url_quote(name, true) + "/revision/" + url_quote(revision, false) + "?blobs=true";
  request.max_body_bytes = kMaxInfoBytes;
  const HttpResult result = ask(client, request, backoff, should_stop);
  if (!result.ok()) fail_http(result, config, name, revision);
  return parse_repo_info(result.body, std::string(name));
}

std::string file_url(const HubConfig& config, std::string_view name, std::string_view revision, std::string_view file) {
  return config.endpoint + "/" + url_quote(name, true) + "/resolve/" + url_quote(revision, false) + "/" + url_quote(file, true);
}

RepoFile fetch_file_info(HttpClient& client, const HubConfig& config, std::string_view name, std::string_view commit,
                         std::string_view file, Backoff backoff, const std::function<bool()>& should_stop) {
  HttpRequest request;
  request.method = "HEAD";
  request.url = file_url(config, name, commit, file);
  request.stop_at_foreign_host = true;  // the metadata stand in the redirect itself
  const HttpResult result = ask(client, request, backoff, should_stop);
  if (!result.transport_error.empty() || result.status < 200 || result.status >= 400) fail_http(result, config, name, file);
  RepoFile info;
  info.name = std::string(file);
  const auto linked = header(result.headers, "x-linked-etag");
  info.etag = normal_etag(linked.empty() ? header(result.headers, "etag") : linked);
  const bool redirect = result.status >= 300;
  std::string_view size = header(result.headers, "x-linked-size");
  if (size.empty() && !redirect) size = header(result.headers, "content-length");
  const bool digits = !size.empty() && size.size() <= 18 &&
                      std::all_of(size.begin(), size.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  if (digits) info.size = std::stoll(std::string(size));
  const bool clean = std::all_of(info.etag.begin(), info.etag.end(),
                                 [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; });
  if (info.etag.empty() || info.etag.size() > 128 || !clean || info.etag[0] == '.') {
    invalid(name, "{} does not answer as the hub does for {}: got etag '{}', need a checksum; look at {} and proxies",
            config.endpoint, file, info.etag.substr(0, 80), config.endpoint_from);
  }
  return info;
}

void fail_http(const HttpResult& result, const HubConfig& config, std::string_view name, std::string_view what) {
  const std::string& hub = config.endpoint;
  if (!result.transport_error.empty()) {
    if (result.transport_error == "interrupted") {
      fail(ErrorKind::kDevice, name, "interrupted: finished parts are kept, the next pull goes on from them");
    }
    fail(ErrorKind::kDevice, name,
         "cannot reach {}: got '{}', need a connection (HTTPS_PROXY names a proxy, HF_HUB_OFFLINE=1 uses "
         "the cache alone)",
         url_origin(result.url), result.transport_error);
  }
  const std::string_view code = header(result.headers, "x-error-code");
  const std::string message = printable(header(result.headers, "x-error-message"));
  const bool token = !config.token.empty();
  const char* have = token ? "a token without access" : "no token";
  if (code == "RevisionNotFound") {
    not_found(name, "no such revision: got '{}', need a branch, tag or commit listed at {}/{}/tree/main", what, hub, name);
  }
  if (code == "EntryNotFound") not_found(name, "no such file: got '{}', need a file of this model at {}/{}", what, hub, name);
  if (code == "GatedRepo") {
    invalid(name, "gated model: got {}, need access: accept its terms at {}/{} and set HF_TOKEN to a token of that account",
            have, hub, name);
  }
  if (message == "Access to this resource is disabled.") {
    not_found(name, "disabled by the hub: got HTTP {} ({}), need another model", result.status, message);
  }
  const bool bad_token = message == "Invalid credentials in Authorization header";
  if (bad_token) {
    invalid(name, "the hub refuses the token: got '{}', need a valid one in HF_TOKEN (or none for a public model)", message);
  }
  if (code == "RepoNotFound" || result.status == 401 || (result.status == 404 && result.from_hub)) {
    not_found(name,
              "no such model at {}, or a private one: got HTTP {} with {}, need an existing ORG/NAME, and for a private "
              "model HF_TOKEN",
              hub, result.status, token ? "a token" : "no token");
  }
  if (result.status == 403) {
    invalid(name, "forbidden: got HTTP 403 '{}' for {} with {}, need a token with the right to read it in HF_TOKEN", message,
            without_query(result.url), have);
  }
  if (result.status == 429) {
    fail(ErrorKind::kDevice, name, "too many requests: got HTTP 429 from {}, need a pause{}", hub,
         token ? "" : " or a token in HF_TOKEN (higher limits)");
  }
  fail(ErrorKind::kDevice, name, "unexpected answer: got HTTP {} for {}{}{}, need 200", result.status,
       without_query(result.url), message.empty() ? "" : ": ", message);
}

}  // namespace pagoda::hub
