// UTF-8 decoding: ill-formed input, prefixes of streams.
#include "base/utf8.h"

#include <gtest/gtest.h>

namespace pagoda {
namespace {

TEST(Utf8, RoundTripsAllCodePoints) {
  for (uint32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    std::string text;
    utf8_append(text, code);
    size_t pos = 0;
    ASSERT_EQ(utf8_next(text, pos), code);
    ASSERT_EQ(pos, text.size());
  }
}

TEST(Utf8, IllFormedPrefixesBecomeOneReplacementEach) {
  // As Python's bytes.decode("utf-8", "replace").
  EXPECT_EQ(utf8_replace_invalid("a\xF0\x9F\x99z"), "a\uFFFDz");
  EXPECT_EQ(utf8_replace_invalid("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8_replace_invalid("\xC0\x80\xFF"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8_replace_invalid("\xE2\x82"), "\uFFFD");
}

TEST(Utf8, CompletePrefixNeverSplitsACharacter) {
  const std::string smile = "🙂";
  EXPECT_EQ(utf8_complete_prefix("a" + smile.substr(0, 1)), 1u);
  EXPECT_EQ(utf8_complete_prefix("a" + smile.substr(0, 3)), 1u);
  EXPECT_EQ(utf8_complete_prefix("a" + smile), 5u);
  EXPECT_EQ(utf8_complete_prefix("a\x80"), 2u);  // can never become valid
  EXPECT_EQ(utf8_complete_prefix(""), 0u);
}

}  // namespace
}  // namespace pagoda
