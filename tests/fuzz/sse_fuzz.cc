// Feeds bytes to the parser of server-sent events: what it reads must not depend on how they were cut.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "server/sse_parser.h"

namespace {

std::string read(std::string_view bytes, size_t step) {
  pagoda::server::SseParser parser(200);
  std::string out;
  try {
    for (size_t at = 0; at < bytes.size(); at += step) {
      parser.feed(bytes.substr(at, step), [&](const pagoda::server::SseEvent& event) {
        if (event.data.find('\r') != std::string::npos || event.data.size() > 200) __builtin_trap();
        out += event.type + "=" + event.data + ";";
      });
    }
  } catch (const pagoda::Error&) {
    out += "refused";
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string whole = read(bytes, std::max<size_t>(size, 1));
  for (const size_t step : {1, 3, 16}) {
    if (read(bytes, step) != whole) __builtin_trap();
  }
  return 0;
}
