// Regular expressions: the same texts as std::regex (ECMAScript) where both read the pattern; refusals by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <regex>

#include "base/error.h"
#include "tests/grammar/walk.h"
#include "tests/share.h"

namespace pagoda {
namespace {

using grammar_test::toy_vocabulary;
using grammar_test::Walk;
using grammar_test::walk;

const char* const kPatterns[] = {
    "abc",
    "a|b|cd",
    "(ab|c)*d",
    "a+b?c{2}",
    "a{2,4}",
    "(a{1,3}b){2,}",
    "[a-c]+",
    "[^a-c]+",
    "[\\d_]{3}-\\w+",
    "\\s?x\\S\\D",
    "^ab(c|d)$",
    "^(a|b)+$",
    "(?:a|ab)(?:c|bcd)d*",
    "a*?b+?",
    "[a\\-z]+",
    "[-a]+b",
    "\\.\\*\\(\\)",
    "(a?b?c?){3}",
    "(a|aa){1,4}b",
    "\\x61\\u0062",
    "((a|b)(c|d))*",
    "a{0}b",
    "(|a)b",
    "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
    "(a{0,60}b{0,60}){0,60}c",
};

std::string error_of(const std::string& pattern) {
  try {
    compile_regex(pattern);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput) << error.message();
    return error.message();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(RegexTest, SameTextsAsStdRegex) {
  std::mt19937 random(1);
  const int texts = std::max(100, static_cast<int>(3000 / test::Share::every()));
  for (const char* const pattern : kPatterns) {
    const GrammarPtr grammar = compile_regex(pattern);
    const std::regex reference(std::string("(?:") + pattern + ")");
    int taken = 0;
    for (int i = 0; i < texts; ++i) {
      std::string text;
      const char* const alphabet = "aabbccd019 _-.x()*z";
      for (size_t length = random() % 8; length > 0; --length) text += alphabet[random() % 19];
      const bool expected = std::regex_match(text, reference);
      taken += expected ? 1 : 0;
      ASSERT_EQ(grammar->matches(text), expected) << pattern << " and '" << text << "'";
    }
    (void)taken;
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const Walk one = walk(grammar, toy_vocabulary(), seed, 20);
      EXPECT_FALSE(one.stuck) << pattern;
      if (!one.finished) continue;
      bool ascii = true;
      for (const char c : one.text) ascii = ascii && static_cast<unsigned char>(c) < 0x80;
      if (ascii) {
        EXPECT_TRUE(std::regex_match(one.text, reference)) << pattern << " and '" << one.text << "'";
      }
      EXPECT_TRUE(grammar->matches(one.text) && utf8_valid(one.text)) << pattern << " and '" << one.text << "'";
    }
  }
}

TEST(RegexTest, Unicode) {
  const GrammarPtr letters = compile_regex("\\p{L}+ \\p{Lu}\\P{L}\u00E9[\u4E00-\u9FFF]?");
  EXPECT_TRUE(letters->matches("\u00E9t\u00E9 \u00C9!\u00E9\u4E2D"));
  EXPECT_FALSE(letters->matches("\u00E9t\u00E9 \u00E9!\u00E9"));
  EXPECT_TRUE(compile_regex(".")->matches("\U0001F642"));
  EXPECT_FALSE(compile_regex(".")->matches("\n"));
  EXPECT_TRUE(compile_regex("\\u{1F642}\\uD83D\\uDE42\\x{e9}")->matches("\U0001F642\U0001F642\u00E9"));
}

// \d is what every dialect takes; its opposite is what every dialect takes.
TEST(RegexTest, NarrowReadingOfClasses) {
  const char* const arabic_digit = "\u0663";
  EXPECT_FALSE(compile_regex("\\d")->matches(arabic_digit));
  EXPECT_FALSE(compile_regex("\\D")->matches(arabic_digit));
  EXPECT_FALSE(compile_regex("[^\\d]")->matches(arabic_digit));
  EXPECT_FALSE(compile_regex("\\W")->matches("\u00E9"));
  EXPECT_FALSE(compile_regex("[^\\s]")->matches("\u00A0"));
  EXPECT_TRUE(compile_regex("[^\\D]")->matches("7"));
  EXPECT_TRUE(compile_regex("\\W\\S\\D")->matches("-x."));
}

// A pattern may ask for a large set at every second byte: it is made once, and a class holds it once.
TEST(RegexTest, LargeSetsManyTimes) {
  std::string words, letters;
  for (int i = 0; i < 50'000; ++i) words += "\\w";
  for (int i = 0; i < 8'000; ++i) letters += "\\p{L}";
  EXPECT_TRUE(compile_regex(words)->matches(std::string(50'000, 'a')));
  EXPECT_FALSE(compile_regex(words)->matches(std::string(49'999, 'a')));
  const GrammarPtr one = compile_regex("[" + words + letters + "\\p{L}\\d-]");
  for (const char* const text : {"a", "_", "-", "7", "\xC3\xA4"}) EXPECT_TRUE(one->matches(text)) << text;
  EXPECT_FALSE(one->matches("."));
  EXPECT_TRUE(compile_regex("[^" + letters + "]")->matches("7"));
  EXPECT_THAT(error_of(letters), testing::HasSubstr("too large"));
}

TEST(RegexTest, RefusedByName) {
  const std::pair<const char*, const char*> cases[] = {{"(?=a)b", "look-ahead"},
                                                       {"(?!a)b", "look-ahead"},
                                                       {"(?<=a)b", "look-behind"},
                                                       {"(?<!a)b", "look-behind"},
                                                       {"(a)\\1", "back-reference"},
                                                       {"(?P<x>a)(?P=x)", "back-reference"},
                                                       {"\\bword", "word boundary"},
                                                       {"\\B", "word boundary"},
                                                       {"(?>a)", "atomic"},
                                                       {"a++", "possessive"},
                                                       {"(?i)a", "inline flag"},
                                                       {"(?i:a)", "inline flag"},
                                                       {"a^b", "'^'"},
                                                       {"a$b", "'$'"},
                                                       {"(^a)*", "repeated"},
                                                       {"[[:alpha:]]", "POSIX"},
                                                       {"[]a]", "empty class"},
                                                       {"\\k<x>", "back-reference"},
                                                       {"\\012", "octal"},
                                                       {"\\y", "escape"}};
  for (const auto& [pattern, name] : cases) {
    try {
      compile_regex(pattern);
      ADD_FAILURE() << pattern;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnsupported) << error.message();
      EXPECT_THAT(error.message(), testing::HasSubstr(name)) << pattern;
    }
  }
}

TEST(RegexTest, Malformed) {
  for (const char* const pattern : {"(a", "a)", "[a", "*a", "a**", "a{3,2}", "\\", "[z-a]", "\\x1", "\\u12", "\\uD800",
                                    "\\p{Nonsense}", "(?P<>a)", "\xFF", "a{2}{3}", "[\\d-z]"}) {
    EXPECT_THROW(
        {
          try {
            compile_regex(pattern);
          } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::kInvalidInput) << pattern << ": " << error.message();
            throw;
          }
        },
        Error)
        << pattern;
  }
  EXPECT_THROW(compile_regex("[^\\s\\S]"), Error);  // no text fits
}

}  // namespace
}  // namespace pagoda
