// Targets, framing, heads and error bodies of HTTP/1.1.
#include "server/http_text.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>

#include "base/ascii.h"
#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"

namespace pagoda::server {

namespace {

constexpr size_t kMostIdCharacters = 128;
// A line of a chunk's size with extensions, and all trailers together: nobody needs more.
constexpr int64_t kMostChunkOverhead = 4096;
constexpr int64_t kMostChunk = int64_t{1} << 56;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

bool is_token_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c != 0 && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

std::string percent_decode(std::string_view text, bool plus_is_space, std::string_view what) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      out += ' ';
    } else if (text[i] != '%') {
      out += text[i];
    } else {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) invalid("http", "bad percent-escape in the {} of the target at byte {}", what, i);
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  if (!utf8_valid(out)) invalid("http", "the decoded {} of the target is not UTF-8", what);
  return out;
}

void parse_query(std::string_view text, Target& target) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('&'), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    std::string name = percent_decode(pair.substr(0, equals), true, "query");
    std::string value = equals == std::string_view::npos ? "" : percent_decode(pair.substr(equals + 1), true, "query");
    if (name.find('\0') != std::string::npos || value.find('\0') != std::string::npos) {
      invalid("http", "the query of the target holds a NUL");
    }
    target.query.emplace_back(std::move(name), std::move(value));
  }
}

}  // namespace

const std::string* HttpRequest::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return &value;
  }
  return nullptr;
}

Target parse_target(std::string_view method, std::string_view text) {
  Target target;
  if (text == "*" && method == "OPTIONS") {
    target.path = "*";
    return target;
  }
  const bool plain = std::none_of(text.begin(), text.end(), [](char c) {
    return c == ' ' || c == '#' || is_control(c) || static_cast<unsigned char>(c) >= 0x80;
  });
  if (!plain) invalid("http", "the target holds a character that must be percent-encoded");
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!equal_ignoring_case(text.substr(0, scheme.size()), scheme)) continue;
    text.remove_prefix(scheme.size());
    const size_t authority = std::min(text.find_first_of("/?"), text.size());
    if (authority == 0) invalid("http", "the target names no host");
    text.remove_prefix(authority);
    if (text.empty() || text[0] == '?') target.path = "/";
    break;
  }
  const size_t mark = std::min(text.find('?'), text.size());
  if (target.path.empty()) {
    if (text.empty() || text[0] != '/') invalid("http", "the target must begin with '/'");
    target.path = percent_decode(text.substr(0, mark), false, "path");
    if (std::any_of(target.path.begin(), target.path.end(), is_control)) {
      invalid("http", "the path of the target holds a control character");
    }
  }
  if (mark < text.size()) parse_query(text.substr(mark + 1), target);
  return target;
}

HeadScanner::State HeadScanner::scan(std::string_view bytes) {
  for (; at_ < bytes.size(); ++at_) {
    const char c = bytes[at_];
    if (carriage_) {
      if (c != '\n') return State::kBad;
      carriage_ = false;
      if (blank_) {
        ++at_;
        return State::kEnd;
      }
      blank_ = true;
      first_line_ = false;
      continue;
    }
    if (c == '\r') {
      carriage_ = true;
      if (blank_ && first_line_) return State::kBad;
      continue;
    }
    // A method begins with a letter of a token: what begins otherwise is another protocol.
    if (blank_ && !is_token_character(c)) return State::kBad;
    if (is_control(c) && c != '\t') return State::kBad;
    blank_ = false;
  }
  return State::kMore;
}

ChunkDecoder::State ChunkDecoder::step(char c) {
  const int digit = hex_digit(c);
  switch (part_) {
    case Part::kSizeFirst:
    case Part::kSize:
      if (++overhead_ > kMostChunkOverhead) return State::kBad;
      if (digit >= 0) {
        if (size_ >= kMostChunk / 16) return State::kBad;
        size_ = size_ * 16 + digit;
        part_ = Part::kSize;
      } else if (part_ == Part::kSize && c == '\r') {
        part_ = Part::kSizeLf;
      } else if (part_ == Part::kSize && (c == ';' || c == ' ' || c == '\t')) {
        part_ = Part::kExtension;
      } else {
        return State::kBad;
      }
      return State::kMore;
    case Part::kExtension:
      if (++overhead_ > kMostChunkOverhead) return State::kBad;
      if (c == '\r') {
        part_ = Part::kSizeLf;
      } else if (is_control(c) && c != '\t') {
        return State::kBad;
      }
      return State::kMore;
    case Part::kSizeLf:
      if (c != '\n') return State::kBad;
      if (size_ > room_) return State::kTooLarge;
      room_ -= size_;
      overhead_ = 0;
      part_ = size_ == 0 ? Part::kTrailer : Part::kData;
      return State::kMore;
    case Part::kData: return State::kBad;  // taken in one piece by decode()
    case Part::kDataCr: part_ = Part::kDataLf; return c == '\r' ? State::kMore : State::kBad;
    case Part::kDataLf: part_ = Part::kSizeFirst; return c == '\n' ? State::kMore : State::kBad;
    case Part::kTrailer:
    case Part::kTrailerLine:
      if (++overhead_ > kMostChunkOverhead) return State::kBad;
      if (c == '\r') {
        part_ = part_ == Part::kTrailer ? Part::kLastLf : Part::kTrailerLf;
      } else if (is_control(c) && c != '\t') {
        return State::kBad;
      } else {
        part_ = Part::kTrailerLine;
      }
      return State::kMore;
    case Part::kTrailerLf: part_ = Part::kTrailer; return c == '\n' ? State::kMore : State::kBad;
    case Part::kLastLf: return c == '\n' ? State::kEnd : State::kBad;
  }
  return State::kBad;
}

ChunkDecoder::State ChunkDecoder::decode(std::string_view& bytes, std::string& body) {
  while (!bytes.empty()) {
    if (part_ == Part::kData) {
      const size_t here = std::min(bytes.size(), static_cast<size_t>(size_));
      body.append(bytes.substr(0, here));
      bytes.remove_prefix(here);
      size_ -= static_cast<int64_t>(here);
      if (size_ == 0) part_ = Part::kDataCr;
      continue;
    }
    const State state = step(bytes.front());
    bytes.remove_prefix(1);
    if (state != State::kMore) return state;
  }
  return State::kMore;
}

int64_t parse_content_length(std::string_view value) {
  if (value.empty() || value.size() > 18) return -1;
  int64_t length = 0;
  for (const char c : value) {
    if (c < '0' || c > '9') return -1;
    length = length * 10 + (c - '0');
  }
  return length;
}

std::string request_id(const std::string* given) {
  std::string id;
  if (given != nullptr) {
    for (const char c : *given) {
      if (c > 0x20 && c < 0x7f && id.size() < kMostIdCharacters) id += c;
    }
  }
  if (!id.empty()) return id;
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    fail(ErrorKind::kDevice, "http", "the system gives no random bytes");
  }
  for (const unsigned char byte : bytes) id += fmt::format("{:02x}", byte);
  return id;
}

const char* reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return status < 400 ? "OK" : status < 500 ? "Client Error" : "Server Error";
  }
}

std::string http_date(std::time_t time) {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm parts{};
  if (gmtime_r(&time, &parts) == nullptr) return "Thu, 01 Jan 1970 00:00:00 GMT";
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[parts.tm_wday], parts.tm_mday, kMonths[parts.tm_mon],
                     parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string format_head(const AnswerHead& head, const Headers& headers) {
  std::string out =
      fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", head.status, reason_phrase(head.status), http_date(std::time(nullptr)));
  const auto add = [&out](std::string_view name, std::string_view value) {
    if (name.empty() || !std::all_of(name.begin(), name.end(), is_token_character)) return;
    out.append(name).append(": ");
    for (const char c : value) out += is_control(c) ? ' ' : c;
    out += "\r\n";
  };
  if (!head.content_type.empty()) add("Content-Type", head.content_type);
  for (const auto& [name, value] : headers) {
    const bool ours = equal_ignoring_case(name, "content-length") || equal_ignoring_case(name, "transfer-encoding") ||
                      equal_ignoring_case(name, "connection") || equal_ignoring_case(name, "x-request-id") ||
                      equal_ignoring_case(name, "date") ||
                      (!head.content_type.empty() && equal_ignoring_case(name, "content-type"));
    if (!ours) add(name, value);
  }
  if (!head.request_id.empty()) add("X-Request-Id", head.request_id);
  if (head.framing == Framing::kLength) out += fmt::format("Content-Length: {}\r\n", head.length);
  if (head.framing == Framing::kChunked) out += "Transfer-Encoding: chunked\r\n";
  if (!head.keep_alive) {
    out += "Connection: close\r\n";
  } else if (head.http10) {
    out += "Connection: keep-alive\r\n";
  }
  out += "\r\n";
  return out;
}

std::string error_body(int status, std::string_view message, std::string_view param, std::string_view code) {
  // The classes of OpenAI's clients, which vLLM names too.
  const char* type = "InternalServerError";
  switch (status) {
    case 401: type = "AuthenticationError"; break;
    case 403: type = "PermissionDeniedError"; break;
    case 404: type = "NotFoundError"; break;
    case 405: type = "MethodNotAllowedError"; break;
    case 408: type = "RequestTimeoutError"; break;
    case 409: type = "ConflictError"; break;
    case 422: type = "UnprocessableEntityError"; break;
    case 429: type = "RateLimitError"; break;
    case 501: type = "NotImplementedError"; break;
    case 503: type = "ServiceUnavailableError"; break;
    case 505: type = "BadRequestError"; break;  // of the client's making, whatever its number
    default:
      if (status < 500) type = "BadRequestError";
  }
  Json error = Json::object();
  error.set("message", Json(utf8_replace_invalid(message)));
  error.set("type", Json(type));
  error.set("param", param.empty() ? Json() : Json(utf8_replace_invalid(param)));
  error.set("code", code.empty() ? Json(status) : Json(code));
  Json body = Json::object();
  body.set("error", std::move(error));
  return body.dump();
}

}  // namespace pagoda::server
