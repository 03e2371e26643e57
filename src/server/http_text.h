// Texts of HTTP/1.1 that are read and written by hand: targets, framing of bodies, heads of answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http_server.h"

namespace pagoda::server {

struct Target {
  std::string path;  // decoded; begins with "/", or is "*"
  std::vector<std::pair<std::string, std::string>> query;
};

// The target of a request line (RFC 9112, 3.2): "/path?query", "http://host/path?query", or "*" for OPTIONS.
// kInvalidInput: another form, a bad percent-escape, a character that has no place there, decoded text that is not UTF-8 or
// has control characters (query: NUL).
Target parse_target(std::string_view method, std::string_view target);

// Looks for the end of a request's head as its bytes come in, and refuses what proxies are known to read differently: control
// characters, a line feed or a carriage return alone, folded lines.
class HeadScanner {
 public:
  enum class State { kMore, kEnd, kBad };
  // `bytes` begins with the bytes given before; only those behind them are looked at.
  State scan(std::string_view bytes);
  size_t size() const { return at_; }  // kEnd: length of the head with the empty line. kBad: offset of what is wrong.

 private:
  size_t at_ = 0;
  bool blank_ = true;  // at the begin of a line
  bool carriage_ = false;
  bool first_line_ = true;
};

// A chunked body (RFC 9112, 7.1). Extensions and trailers are dropped, as they would get past the checks of the head.
class ChunkDecoder {
 public:
  enum class State { kMore, kEnd, kBad, kTooLarge };
  explicit ChunkDecoder(int64_t max_body_bytes) : room_(max_body_bytes) {}
  // Takes bytes from the front of `bytes` and appends what they hold to `body`. After kEnd the rest belongs to the next
  // request.
  State decode(std::string_view& bytes, std::string& body);

 private:
  enum class Part {
    kSizeFirst,
    kSize,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailer,
    kTrailerLine,
    kTrailerLf,
    kLastLf
  };
  State step(char c);

  int64_t room_;
  int64_t size_ = 0;      // of the chunk: what is still to come of it
  int64_t overhead_ = 0;  // bytes of this line of sizes, or of all trailers
  Part part_ = Part::kSizeFirst;
};

// A Content-Length: digits only, at most 18 of them; else -1.
int64_t parse_content_length(std::string_view value);

// What a client gave as X-Request-Id, cut to 128 printable characters, or a new one.
std::string request_id(const std::string* given);

const char* reason_phrase(int status);
std::string http_date(std::time_t time);  // "Sun, 06 Nov 1994 08:49:37 GMT"

enum class Framing { kLength, kChunked, kUntilClose, kNone };

struct AnswerHead {
  int status = 200;
  std::string_view content_type;  // "": none
  Framing framing = Framing::kLength;
  int64_t length = 0;
  bool keep_alive = true;
  bool http10 = false;
  std::string_view request_id;
};

// Status line and headers with the empty line. Headers of the caller's that frame the message or are no headers are left out;
// control characters in their values become spaces.
std::string format_head(const AnswerHead& head, const Headers& headers);

}  // namespace pagoda::server
