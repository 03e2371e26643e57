// Lines, fields and events.
#include "server/sse_parser.h"

#include "base/error.h"

namespace pagoda::server {

void SseParser::feed(std::string_view bytes, const std::function<void(const SseEvent&)>& fn) {
  while (!bytes.empty()) {
    if (after_return_) {
      after_return_ = false;
      if (bytes[0] == '\n') {
        bytes.remove_prefix(1);
        continue;
      }
    }
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view piece = bytes.substr(0, end);
    if (line_.size() + piece.size() > most_) invalid("sse", "line too long: need at most {} bytes", most_);
    line_.append(piece);
    if (end == std::string_view::npos) return;
    after_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    take_line(fn);
  }
}

void SseParser::take_line(const std::function<void(const SseEvent&)>& fn) {
  std::string line;
  line.swap(line_);
  if (first_line_ && line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
  first_line_ = false;
  if (line.empty()) {
    SseEvent event;
    std::swap(event, event_);
    if (event.type.empty()) event.type = "message";
    if (has_data_) fn(event);
    has_data_ = false;
    return;
  }
  const size_t colon = line.find(':');
  const std::string_view name = std::string_view(line).substr(0, colon);
  std::string_view value = colon == std::string::npos ? std::string_view() : std::string_view(line).substr(colon + 1);
  if (!value.empty() && value[0] == ' ') value.remove_prefix(1);
  if (name == "data") {
    if (event_.data.size() + value.size() + 1 > most_) invalid("sse", "event too large: need at most {} bytes", most_);
    if (has_data_) event_.data += '\n';
    event_.data.append(value);
    has_data_ = true;
  } else if (name == "event") {
    event_.type = std::string(value);
  }
}

}  // namespace pagoda::server
