// Targets, framing and texts of HTTP/1.1 without a connection.
#include "server/http_text.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "server/http_request_parser.h"

namespace pagoda::server {
namespace {

using Query = std::vector<std::pair<std::string, std::string>>;

bool refuses(std::string_view target, std::string_view method = "GET") {
  try {
    parse_target(method, target);
  } catch (const Error& error) {
    return error.kind() == ErrorKind::kInvalidInput;
  }
  return false;
}

TEST(HttpTarget, PathAndQueryAreDecoded) {
  const Target target = parse_target("GET", "/v1/a%20b+c/%C3%A4?x=1&y=a+b%2B&flag&&=v&z=p=q");
  EXPECT_EQ(target.path, "/v1/a b+c/\xC3\xA4");
  EXPECT_EQ(target.query, (Query{{"x", "1"}, {"y", "a b+"}, {"flag", ""}, {"", "v"}, {"z", "p=q"}}));
}

TEST(HttpTarget, AbsoluteFormLosesItsAuthority) {
  EXPECT_EQ(parse_target("GET", "http://host:8000/v1/models?a=b").path, "/v1/models");
  EXPECT_EQ(parse_target("GET", "HTTPS://host").path, "/");
  const Target target = parse_target("GET", "http://host?a=b");
  EXPECT_EQ(target.path, "/");
  EXPECT_EQ(target.query, (Query{{"a", "b"}}));
  EXPECT_TRUE(refuses("http:///x"));
  EXPECT_TRUE(refuses("ftp://host/x"));
}

TEST(HttpTarget, AsteriskIsForOptionsOnly) {
  EXPECT_EQ(parse_target("OPTIONS", "*").path, "*");
  EXPECT_TRUE(refuses("*"));
}

TEST(HttpTarget, BadEscapesAreRefused) {
  for (const char* target : {"/%", "/%1", "/%zz", "/%1g", "/x?a=%", "/x?%4", "/x?a=%-1"})
    EXPECT_TRUE(refuses(target)) << target;
}

TEST(HttpTarget, ControlCharactersAndNulAreRefused) {
  for (const char* target : {"/a%00b", "/a%0d%0ab", "/a%7f", "/a%09", "/x?a=%00", "/x?%00=1"}) {
    EXPECT_TRUE(refuses(target)) << target;
  }
  for (const std::string_view target : {std::string_view("/a\0b", 4), std::string_view("/a b"), std::string_view("/a\x7f"),
                                        std::string_view("/a\nb"), std::string_view("/a#b"), std::string_view("/\xC3\xA4")}) {
    EXPECT_TRUE(refuses(target)) << target;
  }
}

TEST(HttpTarget, DecodedTextMustBeUtf8) {
  for (const char* target : {"/%ff", "/%c3", "/%c0%80", "/x?a=%ff", "/%ed%a0%80"}) EXPECT_TRUE(refuses(target)) << target;
}

TEST(HttpTarget, OtherFormsAreRefused) {
  for (const char* target : {"", "v1/models", "host:443", "?a=b"}) EXPECT_TRUE(refuses(target)) << target;
}

TEST(HttpTarget, DotsAndDoubleSlashesStayAsTheyAre) {
  EXPECT_EQ(parse_target("GET", "/../health").path, "/../health");
  EXPECT_EQ(parse_target("GET", "//v1/models").path, "//v1/models");
  EXPECT_EQ(parse_target("GET", "/v1%2fmodels").path, "/v1/models");
}

// Byte by byte and at once must agree.
HeadScanner::State scan(std::string_view text, size_t* size = nullptr) {
  HeadScanner whole, slow;
  const HeadScanner::State at_once = whole.scan(text);
  HeadScanner::State state = HeadScanner::State::kMore;
  for (size_t i = 1; i <= text.size() && state == HeadScanner::State::kMore; ++i) state = slow.scan(text.substr(0, i));
  EXPECT_EQ(state, at_once) << text;
  EXPECT_EQ(slow.size(), whole.size()) << text;
  if (size != nullptr) *size = whole.size();
  return at_once;
}

TEST(HttpHeadScanner, FindsTheEnd) {
  size_t size = 0;
  EXPECT_EQ(scan("GET / HTTP/1.1\r\nA: b\r\n\r\nbody", &size), HeadScanner::State::kEnd);
  EXPECT_EQ(size, 24U);
  EXPECT_EQ(scan("GET / HTTP/1.1\r\n\r\n", &size), HeadScanner::State::kEnd);
  EXPECT_EQ(size, 18U);
  EXPECT_EQ(scan("GET / HTTP/1.1\r\nA: b\r\n\r", &size), HeadScanner::State::kMore);
}

TEST(HttpHeadScanner, RefusesWhatProxiesReadDifferently) {
  for (const std::string_view text :
       {std::string_view("GET / HTTP/1.1\nA: b\n\n"), std::string_view("GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n"),
        std::string_view("GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n"), std::string_view("GET / HTTP/1.1\r\n A: b\r\n\r\n"),
        std::string_view("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 26), std::string_view("GET / HTTP/1.1\r\nA: \x1b[31m\r\n\r\n"),
        std::string_view("\x16\x03\x01\x02"), std::string_view("\r\r\n"), std::string_view(" GET / HTTP/1.1\r\n\r\n"),
        std::string_view("GET / HTTP/1.1\r\n: b\r\n\r\n"), std::string_view("{\"a\":1}")}) {
    EXPECT_EQ(scan(text), HeadScanner::State::kBad) << text;
  }
}

ChunkDecoder::State decode(std::string_view text, std::string* body = nullptr, std::string* rest = nullptr,
                           int64_t limit = 100) {
  ChunkDecoder whole(limit), slow(limit);
  std::string fast_body, slow_body;
  std::string_view left = text;
  const ChunkDecoder::State at_once = whole.decode(left, fast_body);
  ChunkDecoder::State state = ChunkDecoder::State::kMore;
  for (size_t i = 0; i < text.size() && state == ChunkDecoder::State::kMore; ++i) {
    std::string_view one = text.substr(i, 1);
    state = slow.decode(one, slow_body);
  }
  EXPECT_EQ(state, at_once) << text;
  EXPECT_EQ(slow_body, fast_body) << text;
  if (body != nullptr) *body = fast_body;
  if (rest != nullptr) *rest = left;
  return at_once;
}

TEST(HttpChunks, DecodesWithExtensionsAndTrailers) {
  std::string body, rest;
  EXPECT_EQ(decode("5\r\nhello\r\n6;a=b;c=\"d\"\r\n world\r\n0\r\nTrailer: x\r\n\r\nGET", &body, &rest),
            ChunkDecoder::State::kEnd);
  EXPECT_EQ(body, "hello world");
  EXPECT_EQ(rest, "GET");
  EXPECT_EQ(decode("0\r\n\r\n", &body), ChunkDecoder::State::kEnd);
  EXPECT_EQ(body, "");
  EXPECT_EQ(decode("00A\r\n0123456789\r\n000\r\n\r\n", &body), ChunkDecoder::State::kEnd);
  EXPECT_EQ(body, "0123456789");
}

TEST(HttpChunks, BadSizesAreRefused) {
  for (const char* text :
       {"\r\n", "x\r\n", "-1\r\n", "+1\r\n", "0x1\r\n", " 1\r\n", "1\n", "1\rx", ";a\r\n", "ffffffffffffffff\r\n",
        "10000000000000000\r\n", "1\r\nab", "1\r\na\n", "1\r\na\rb", "0\r\nA\nB", "0\r\n\rx", "1;a\nb\r\n"}) {
    EXPECT_EQ(decode(text), ChunkDecoder::State::kBad) << text;
  }
  EXPECT_EQ(decode(std::string(5000, '0')), ChunkDecoder::State::kBad);
  EXPECT_EQ(decode("1;" + std::string(5000, 'a')), ChunkDecoder::State::kBad);
  EXPECT_EQ(decode("0\r\n" + std::string(5000, 'a')), ChunkDecoder::State::kBad);
}

TEST(HttpChunks, TheLimitCountsAllChunks) {
  EXPECT_EQ(decode("5\r\nhello\r\n0\r\n\r\n", nullptr, nullptr, 5), ChunkDecoder::State::kEnd);
  EXPECT_EQ(decode("6\r\n", nullptr, nullptr, 5), ChunkDecoder::State::kTooLarge);
  EXPECT_EQ(decode("3\r\nabc\r\n3\r\n", nullptr, nullptr, 5), ChunkDecoder::State::kTooLarge);
}

TEST(HttpContentLength, IsDigitsOnly) {
  EXPECT_EQ(parse_content_length("0"), 0);
  EXPECT_EQ(parse_content_length("123"), 123);
  for (const char* text : {"", "-1", "+1", "1 ", "0x1", "1,1", "1.0", "9999999999999999999", "99999999999999999999999"}) {
    EXPECT_EQ(parse_content_length(text), -1) << text;
  }
}

TEST(HttpHead, TakesARequestApart) {
  const RequestHead head = parse_request_head(
      "POST /a?b=c HTTP/1.1\r\nHost: h\r\nX-Thing:  two words \r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", 10);
  EXPECT_EQ(head.refused, 0) << head.refusal;
  EXPECT_EQ(head.request.method, "POST");
  EXPECT_EQ(head.request.path, "/a");
  EXPECT_EQ(*head.request.header("x-thing"), "two words");
  EXPECT_EQ(head.request.header("none"), nullptr);
  EXPECT_EQ(head.content_length, 3);
  EXPECT_TRUE(head.expects_continue);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_FALSE(head.http10);
}

TEST(HttpHead, TheLimitOfFieldsIsItsOwn) {
  std::string text = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 2000; ++i) text += "A" + std::to_string(i) + ": b\r\n";
  const RequestHead head = parse_request_head(text + "\r\n", 10);
  EXPECT_EQ(head.refused, 0) << head.refusal;
  EXPECT_EQ(head.request.headers.size(), 2001U);
}

TEST(HttpRequestId, IsTakenCutOrMade) {
  const std::string given = "abc-1", dirty = std::string("a\x01\xff b") + std::string(300, 'x'), empty = " \t";
  EXPECT_EQ(request_id(&given), "abc-1");
  EXPECT_EQ(request_id(&dirty), "ab" + std::string(126, 'x'));
  EXPECT_EQ(request_id(&empty).size(), 32U);
  EXPECT_NE(request_id(nullptr), request_id(nullptr));
}

TEST(HttpText, DateIsWrittenAsTheStandardSays) { EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT"); }

TEST(HttpText, ErrorBodyHasOpenAisForm) {
  EXPECT_EQ(error_body(404, "no \"x\""), R"({"error":{"message":"no \"x\"","type":"NotFoundError","param":null,"code":404}})");
  EXPECT_NE(error_body(400, "").find("BadRequestError"), std::string::npos);
  EXPECT_NE(error_body(401, "").find("AuthenticationError"), std::string::npos);
  EXPECT_NE(error_body(429, "").find("RateLimitError"), std::string::npos);
  EXPECT_NE(error_body(500, "").find("InternalServerError"), std::string::npos);
  EXPECT_EQ(Json::parse(error_body(400, "\xff\x01"), "test").at("error", "test").at("message", "test").as_string("test"),
            "\xEF\xBF\xBD\x01");
}

TEST(HttpText, HeadersOfAnAnswerCannotBeSplit) {
  AnswerHead head;
  head.content_type = "text/plain\r\nX: y";
  head.request_id = "id";
  const std::string text = format_head(head, {{"A", "b\r\nSet-Cookie: c"},
                                              {"Bad Name", "x"},
                                              {"", "x"},
                                              {"Content-Length", "99"},
                                              {"transfer-encoding", "chunked"},
                                              {"Retry-After", "1"}});
  EXPECT_EQ(text.find("\nSet-Cookie"), std::string::npos);
  EXPECT_EQ(text.find("\nX:"), std::string::npos);
  EXPECT_EQ(text.find("Bad Name"), std::string::npos);
  EXPECT_EQ(text.find("99"), std::string::npos);
  EXPECT_EQ(text.find("chunked"), std::string::npos);
  EXPECT_NE(text.find("\r\nRetry-After: 1\r\n"), std::string::npos);
  EXPECT_NE(text.find("\r\nContent-Length: 0\r\n"), std::string::npos);
}

}  // namespace
}  // namespace pagoda::server
