// Server-sent events: the standard's line ends and fields, in pieces of any size, under limits.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "server/sse_parser.h"

namespace pagoda::server {
namespace {

std::vector<std::string> events(std::string_view bytes, size_t step) {
  SseParser parser(64);
  std::vector<std::string> got;
  for (size_t at = 0; at < bytes.size(); at += step) {
    parser.feed(bytes.substr(at, step), [&](const SseEvent& event) { got.push_back(event.type + "=" + event.data); });
  }
  return got;
}

TEST(SseParser, ReadsTheSameInPiecesOfAnySize) {
  const std::string bytes =
      "\xEF\xBB\xBF"
      "data: one\n\n: a comment\n\ndata:two\ndata:  three\r\n\r\nevent: ping\rdata\r\rid: 7\nretry: 10\n\nevent: lost\n\n"
      "data: {\"a\": \"b: c\"}\n\ndata: [DONE]\n\ndata: never ended";
  const std::vector<std::string> want{"message=one", "message=two\n three", "ping=", "message={\"a\": \"b: c\"}",
                                      "message=[DONE]"};
  for (size_t step = 1; step <= bytes.size(); ++step) EXPECT_EQ(events(bytes, step), want) << step;
}

TEST(SseParser, RefusesWhatIsTooLarge) {
  EXPECT_EQ(events("data: " + std::string(57, 'x') + "\n\n", 1000).size(), 1u);
  EXPECT_THROW(events("data: " + std::string(60, 'x'), 7), Error);  // a line that does not end
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += "data: x\n";
  EXPECT_THROW(events(lines, 1000), Error);  // an event of many lines
}

}  // namespace
}  // namespace pagoda::server
