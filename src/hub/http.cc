// The libcurl side of HTTP: options, callbacks, redirects.
#include "hub/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <exception>

#include "base/ascii.h"
#include "base/error.h"
#include "base/file.h"

namespace pagoda::hub {

namespace {

constexpr int kMaxRedirects = 10;
constexpr size_t kMaxHeaderBytes = 256 << 10;
constexpr int64_t kMaxAuthorityBytes = 16 << 20;
constexpr size_t kMaxErrorBody = 64 << 10;

std::string_view trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  return text;
}

struct UrlHandle {
  CURLU* handle = curl_url();
  UrlHandle() = default;
  ~UrlHandle() { curl_url_cleanup(handle); }
  UrlHandle(const UrlHandle&) = delete;
  UrlHandle& operator=(const UrlHandle&) = delete;
  std::string part(CURLUPart what, unsigned flags) const {
    char* text = nullptr;
    if (curl_url_get(handle, what, &text, flags) != CURLUE_OK || text == nullptr) return {};
    std::string out = text;
    curl_free(text);
    return out;
  }
};

struct HeaderList {
  curl_slist* list = nullptr;
  HeaderList() = default;
  ~HeaderList() { curl_slist_free_all(list); }
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;
  void add(const std::string& line) {
    curl_slist* grown = curl_slist_append(list, line.c_str());
    if (grown == nullptr) throw std::bad_alloc();
    list = grown;
  }
};

bool may_pass(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return true;
    default: return false;
  }
}

void initialise_curl() {
  // libcurl asks for this once a process before any handle; a function-local static makes the first caller do it.
  static const CURLcode kResult = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (kResult != CURLE_OK) fail(ErrorKind::kDevice, "http", "libcurl does not start: {}", curl_easy_strerror(kResult));
}

}  // namespace

std::string_view header(const HttpHeaders& headers, std::string_view name) {
  std::string_view found;
  for (const auto& [key, value] : headers) {
    if (key == name) found = value;
  }
  return found;
}

std::string url_origin(const std::string& url) {
  const UrlHandle parsed;
  if (parsed.handle == nullptr) throw std::bad_alloc();
  if (curl_url_set(parsed.handle, CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    invalid("http", "bad address: got '{}', need an http or https URL", url);
  }
  const std::string scheme = lower_case(parsed.part(CURLUPART_SCHEME, 0));
  if (scheme != "http" && scheme != "https") invalid("http", "bad address: got '{}', need an http or https URL", url);
  return scheme + "://" + lower_case(parsed.part(CURLUPART_HOST, 0)) + ":" + parsed.part(CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

std::string resolve_url(const std::string& base, const std::string& location) {
  const UrlHandle parsed;
  if (parsed.handle == nullptr) throw std::bad_alloc();
  if (curl_url_set(parsed.handle, CURLUPART_URL, base.c_str(), 0) != CURLUE_OK ||
      curl_url_set(parsed.handle, CURLUPART_URL, location.c_str(), CURLU_NON_SUPPORT_SCHEME | CURLU_URLENCODE) != CURLUE_OK) {
    invalid("http", "bad redirect from {}: got '{}', need an http or https URL", base, location);
  }
  return parsed.part(CURLUPART_URL, 0);
}

// What one exchange gathers; the callbacks see it.
struct HttpClient::Transfer {
  using Clock = std::chrono::steady_clock;

  CURL* curl = nullptr;
  const HttpRequest* request = nullptr;
  const std::function<bool()>* should_stop = nullptr;
  HttpResult* result = nullptr;
  size_t header_bytes = 0;
  bool started = false;
  bool stopped = false;
  bool stalled = false;
  int stall_seconds = 0;
  Clock::time_point last_byte;
  std::exception_ptr error;

  static size_t on_header(char* data, size_t size, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    const size_t bytes = size * count;
    try {
      transfer.take_header(std::string_view(data, bytes));
    } catch (...) {
      transfer.error = std::current_exception();
      return 0;
    }
    return bytes;
  }

  static size_t on_body(char* data, size_t size, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    const size_t bytes = size * count;
    try {
      transfer.take_body(data, bytes);
    } catch (...) {
      transfer.error = std::current_exception();
      return bytes == 0 ? 1 : 0;
    }
    return transfer.stopped ? 0 : bytes;
  }

  static size_t on_read(char* data, size_t size, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    try {
      transfer.last_byte = Clock::now();
      transfer.stopped = transfer.stopped || (*transfer.should_stop)();
      return transfer.stopped ? CURL_READFUNC_ABORT : transfer.request->body->read(data, size * count);
    } catch (...) {
      transfer.error = std::current_exception();
      return CURL_READFUNC_ABORT;
    }
  }

  // curl sends the body once more, from its beginning, where a kept connection turned out to be closed.
  static int on_seek(void* self, curl_off_t offset, int origin) {
    auto& transfer = *static_cast<Transfer*>(self);
    if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
    try {
      transfer.request->body->rewind();
      return CURL_SEEKFUNC_OK;
    } catch (...) {
      transfer.error = std::current_exception();
      return CURL_SEEKFUNC_FAIL;
    }
  }

  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    auto& transfer = *static_cast<Transfer*>(self);
    transfer.stopped = transfer.stopped || (*transfer.should_stop)();
    // No limit on the whole, as large files take long. A connection that has gone silent is what must end; curl's own
    // low-speed limit looks at an average and sees that seconds later.
    transfer.stalled = Clock::now() - transfer.last_byte > std::chrono::seconds(transfer.stall_seconds);
    return transfer.stopped || transfer.stalled ? 1 : 0;
  }

  void take_header(std::string_view line) {
    last_byte = Clock::now();
    header_bytes += line.size();
    if (header_bytes > kMaxHeaderBytes) {
      invalid("http", "headers too large: got over {} bytes from {}, need fewer", kMaxHeaderBytes, result->url);
    }
    if (line.substr(0, 5) == "HTTP/") {  // a new answer: an interim one (100) came before it
      result->headers.clear();
      return;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    result->headers.emplace_back(lower_case(trim(line.substr(0, colon))), std::string(trim(line.substr(colon + 1))));
  }

  void take_body(const char* data, size_t size) {
    last_byte = Clock::now();
    stopped = stopped || (*should_stop)();
    if (stopped) return;
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    const bool good = status >= 200 && status < 300;
    if (good && request->sink != nullptr) {
      start(static_cast<int>(status));
      request->sink->on_data(data, size);
      return;
    }
    if (!good) {
      size = std::min(size, kMaxErrorBody - std::min(kMaxErrorBody, result->body.size()));
    } else if (static_cast<int64_t>(result->body.size() + size) > request->max_body_bytes) {
      invalid("http", "answer too large: got over {} bytes from {}, need fewer", request->max_body_bytes, result->url);
    }
    result->body.append(data, size);
  }

  void start(int status) {
    if (started) return;
    started = true;
    request->sink->on_start(status, result->headers);
  }
};

HttpClient::HttpClient(const HubConfig& config, std::function<bool()> should_stop)
    : config_(config), should_stop_(std::move(should_stop)) {
  // curl takes one file; several are put together here, without those that are gone.
  if (config_.ca_files.size() > 1) {
    for (const std::string& file : config_.ca_files) {
      if (file_exists(file)) ca_pem_ += read_file(file, kMaxAuthorityBytes) + "\n";
    }
  }
  initialise_curl();
  curl_ = curl_easy_init();
  if (curl_ == nullptr) throw std::bad_alloc();
}

HttpClient::~HttpClient() { curl_easy_cleanup(curl_); }

HttpResult HttpClient::perform_once(const HttpRequest& request, const std::string& url, bool with_token) {
  CURL* curl = curl_;
  curl_easy_reset(curl);  // keeps the connections
  HttpResult result;
  result.url = url;
  Transfer transfer;
  transfer.curl = curl;
  transfer.request = &request;
  transfer.should_stop = &should_stop_;
  transfer.result = &result;
  transfer.stall_seconds = request.silent_seconds > 0 ? request.silent_seconds : config_.stall_seconds;
  transfer.last_byte = Transfer::Clock::now() + std::chrono::seconds(config_.connect_seconds);

  HeaderList headers;
  // Bodies are hashed and resumed by byte, so they must come as they are stored.
  headers.add("Accept-Encoding: identity");
  if (with_token && !config_.token.empty()) headers.add("Authorization: Bearer " + config_.token);
  for (const auto& [name, value] : request.headers) headers.add(name + ": " + value);
  if (request.body != nullptr) headers.add("Expect:");  // no round trip before the body

  char error_text[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.list);
  if (request.method == "HEAD") curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  if (request.body != nullptr) {
    request.body->rewind();
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body->size()));
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, &Transfer::on_read);
    curl_easy_setopt(curl, CURLOPT_READDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, &Transfer::on_seek);
    curl_easy_setopt(curl, CURLOPT_SEEKDATA, &transfer);
  }
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "pagoda/" PAGODA_VERSION);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, static_cast<long>(config_.connect_seconds));
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error_text);
  curl_blob authorities{const_cast<char*>(ca_pem_.data()), ca_pem_.size(), CURL_BLOB_NOCOPY};
  if (!ca_pem_.empty()) {
    curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &authorities);
  } else if (!config_.ca_files.empty()) {
    curl_easy_setopt(curl, CURLOPT_CAINFO, config_.ca_files.front().c_str());
  }
  if (!config_.ca_folder.empty()) curl_easy_setopt(curl, CURLOPT_CAPATH, config_.ca_folder.c_str());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Transfer::on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);

  const CURLcode code = curl_easy_perform(curl);
  if (transfer.error) std::rethrow_exception(transfer.error);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  result.status = static_cast<int>(status);
  if (transfer.stopped) {
    result.transport_error = "interrupted";
  } else if (transfer.stalled) {
    result.transport_error = "no byte for " + std::to_string(transfer.stall_seconds) + " s";
    result.retryable = true;
  } else if (code != CURLE_OK) {
    result.transport_error = error_text[0] != '\0' ? error_text : curl_easy_strerror(code);
    result.retryable = may_pass(code);
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE) {
      result.transport_error += " (SSL_CERT_FILE names other certificate authorities)";
    }
  } else if (result.status >= 200 && result.status < 300 && request.sink != nullptr && request.method != "HEAD") {
    transfer.start(result.status);  // an empty body has a beginning too
  }
  return result;
}

HttpResult HttpClient::perform(const HttpRequest& request) {
  const std::string hub = url_origin(config_.endpoint);
  std::string url = request.url;
  HttpHeaders hub_headers;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    const std::string origin = url_origin(url);
    HttpResult result = perform_once(request, url, origin == hub);
    result.from_hub = origin == hub;
    if (result.from_hub && result.status != 0) hub_headers = result.headers;
    result.hub_headers = hub_headers;
    const bool redirect =
        result.status == 301 || result.status == 302 || result.status == 303 || result.status == 307 || result.status == 308;
    const std::string location(header(result.headers, "location"));
    if (!redirect || location.empty() || !result.transport_error.empty()) return result;
    if (request.body != nullptr && result.status != 307 && result.status != 308) return result;
    const std::string next = resolve_url(url, location);
    const std::string next_origin = url_origin(next);
    if (request.stop_at_foreign_host && next_origin != hub) return result;
    if (origin.rfind("https:", 0) == 0 && next_origin.rfind("http:", 0) == 0) {
      invalid("http", "redirect from https to http: got {} from {}, need https", next_origin, origin);
    }
    url = next;
  }
  invalid("http", "too many redirects: got over {} from {}, need an address that answers", kMaxRedirects, request.url);
}

}  // namespace pagoda::hub
