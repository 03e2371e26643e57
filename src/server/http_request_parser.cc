// Beast's grammar of request lines and header fields, and the rules against smuggled requests on top.
#include "server/http_request_parser.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>

#include "base/ascii.h"
#include "base/error.h"
#include "server/http_text.h"

namespace pagoda::server {

namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;
using boost::beast::string_view;

// Only heads: the body's framing is ours, so Beast is told to skip it.
class HeadParser final : public http::basic_parser<true> {
 public:
  explicit HeadParser(HttpRequest& request) : request_(request) {}
  const std::string& target() const { return target_; }
  int version() const { return version_; }

 private:
  void on_request_impl(http::verb, string_view method, string_view target, int version, error_code&) override {
    version_ = version;
    request_.method = std::string(method);
    target_ = std::string(target);
  }
  void on_field_impl(http::field, string_view name, string_view value, error_code&) override {
    request_.headers.emplace_back(lower_case(std::string_view(name.data(), name.size())), std::string(value));
  }
  void on_header_impl(error_code&) override {}
  void on_finish_impl(error_code&) override {}
  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_body_init_impl(boost::optional<std::uint64_t> const&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code&) override { return body.size(); }
  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code&) override { return body.size(); }

  HttpRequest& request_;
  std::string target_;
  int version_ = 0;
};

int64_t count(const HttpRequest& request, std::string_view name) {
  return std::count_if(request.headers.begin(), request.headers.end(),
                       [&](const auto& header) { return header.first == name; });
}

void refuse(RequestHead& head, int status, std::string why) {
  if (head.refused != 0) return;
  head.refused = status;
  head.refusal = std::move(why);
}

void check_framing(RequestHead& head, int64_t max_body_bytes) {
  const HttpRequest& request = head.request;
  const std::string* length = request.header("content-length");
  const std::string* coding = request.header("transfer-encoding");
  if (count(request, "host") > 1 || (request.header("host") == nullptr && !head.http10)) {
    return refuse(head, 400, "[http] a request needs one Host header");
  }
  if (length != nullptr && coding != nullptr) {
    return refuse(head, 400, "[http] Content-Length and Transfer-Encoding exclude each other");
  }
  if (count(request, "content-length") > 1 || count(request, "transfer-encoding") > 1) {
    return refuse(head, 400, "[http] the length of the body is given twice");
  }
  if (length != nullptr) {
    head.content_length = parse_content_length(*length);
    if (head.content_length < 0) return refuse(head, 400, "[http] bad Content-Length: need digits");
    if (head.content_length > max_body_bytes) {
      return refuse(head, 413, fmt::format("[http] body too large: got {} bytes, need at most {}", *length, max_body_bytes));
    }
  }
  if (coding != nullptr) {
    if (head.http10) return refuse(head, 400, "[http] HTTP/1.0 has no Transfer-Encoding");
    if (lower_case(*coding) != "chunked") {
      return refuse(head, 501, "[http] unknown Transfer-Encoding: only 'chunked' is served");
    }
    head.chunked = true;
  }
  if (const std::string* expect = request.header("expect"); expect != nullptr && !head.http10) {
    if (lower_case(*expect) != "100-continue") return refuse(head, 417, "[http] unknown Expect: only '100-continue' is served");
    head.expects_continue = head.chunked || head.content_length > 0;
  }
}

}  // namespace

RequestHead parse_request_head(std::string_view bytes, int64_t max_body_bytes) {
  RequestHead head;
  HeadParser parser(head.request);
  parser.skip(true);
  // The caller has checked the size of the head.
  parser.header_limit(static_cast<uint32_t>(std::min<size_t>(bytes.size() + 8, UINT32_MAX)));
  error_code ec;
  parser.put(boost::asio::const_buffer(bytes.data(), bytes.size()), ec);
  head.request.id = request_id(head.request.header("x-request-id"));
  if (ec == http::error::bad_version) {
    // Beast says the same of a line that is cut or has a third word: only what reads as a version is one.
    const std::string_view line = bytes.substr(0, bytes.find("\r\n"));
    const size_t version = line.rfind(" HTTP/");
    const bool another = version != std::string_view::npos && line.size() == version + 9 && line[version + 7] == '.';
    refuse(head, another ? 505 : 400, another ? "[http] only HTTP/1.0 and HTTP/1.1 are served" : "[http] bad request line");
  } else if (ec || !parser.is_done()) {
    refuse(head, 400, fmt::format("[http] malformed request: {}", ec ? ec.message() : "it does not end"));
  }
  if (head.refused != 0) return head;
  head.http10 = parser.version() == 10;
  head.keep_alive = parser.keep_alive();
  check_framing(head, max_body_bytes);
  try {
    Target target = parse_target(head.request.method, parser.target());
    head.request.path = std::move(target.path);
    head.request.query = std::move(target.query);
  } catch (const Error& error) {
    refuse(head, 400, error.message());
  }
  return head;
}

}  // namespace pagoda::server
