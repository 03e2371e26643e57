// Server-sent events out of a stream's bytes, as the HTML standard reads them (9.2.6).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace pagoda::server {

struct SseEvent {
  std::string type;  // "message" where the stream names none
  std::string data;  // lines joined by "\n"
};

class SseParser {
 public:
  // max_event_bytes: of one line, and of the data of one event.
  explicit SseParser(int64_t max_event_bytes = int64_t{1} << 24) : most_(static_cast<size_t>(max_event_bytes)) {}

  // Calls fn with each event that these bytes complete. Throws kInvalidInput where an event is larger than allowed.
  // An event that the stream does not end with an empty line is none.
  void feed(std::string_view bytes, const std::function<void(const SseEvent&)>& fn);

 private:
  void take_line(const std::function<void(const SseEvent&)>& fn);

  size_t most_;
  std::string line_;
  SseEvent event_;
  bool has_data_ = false;
  bool after_return_ = false;  // a line feed that follows belongs to the line's end
  bool first_line_ = true;
};

}  // namespace pagoda::server
