// Feeds bytes to what reads a client's request: its head, its target, its chunks.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "server/http_request_parser.h"
#include "server/http_text.h"

namespace {

using pagoda::server::ChunkDecoder;
using pagoda::server::HeadScanner;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

// As a session does it, in pieces of `step` bytes: the result must not depend on them.
std::string serve(std::string_view bytes, size_t step) {
  HeadScanner scanner;
  HeadScanner::State found = HeadScanner::State::kMore;
  size_t size = 0;
  while (size < bytes.size() && found == HeadScanner::State::kMore) {
    size = std::min(size + step, bytes.size());
    found = scanner.scan(bytes.substr(0, size));
  }
  if (found != HeadScanner::State::kEnd) return found == HeadScanner::State::kBad ? "bad" : "more";
  const auto head = pagoda::server::parse_request_head(bytes.substr(0, scanner.size()), 1000);
  if (head.refused != 0) return "refused " + std::to_string(head.refused);
  require(!head.request.path.empty() && (head.request.path[0] == '/' || head.request.path == "*"));
  require(head.content_length >= 0 && head.content_length <= 1000);
  std::string out = head.request.method + " " + head.request.path + "\n";
  for (const auto& [name, value] : head.request.query) out += name + "=" + value + "\n";
  for (const auto& [name, value] : head.request.headers) {
    require(value.find_first_of("\r\n") == std::string::npos);
    out += name + ": " + value + "\n";
  }
  if (!head.chunked) return out;
  ChunkDecoder decoder(1000);
  std::string body;
  ChunkDecoder::State state = ChunkDecoder::State::kMore;
  bytes.remove_prefix(scanner.size());
  while (!bytes.empty() && state == ChunkDecoder::State::kMore) {
    std::string_view piece = bytes.substr(0, step);
    const size_t before = piece.size();
    state = decoder.decode(piece, body);
    bytes.remove_prefix(before - piece.size());
  }
  require(body.size() <= 1000);
  return out + body + std::to_string(static_cast<int>(state));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 3) {
      case 0: require(serve(bytes, bytes.size()) == serve(bytes, 1)); break;
      case 1: pagoda::server::parse_target("OPTIONS", bytes); break;
      default: {
        const std::string given(bytes);
        require(!pagoda::server::request_id(&given).empty());
        pagoda::server::parse_content_length(bytes);
        const std::string head = pagoda::server::format_head({}, {{given.substr(0, given.size() / 2), given}});
        require(head.find("\r\n\r\n") == head.size() - 4);
        break;
      }
    }
  } catch (const pagoda::Error&) {
  }
  return 0;
}
