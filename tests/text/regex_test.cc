// Patterns: what Oniguruma means by them, through PCRE2.
#include "text/regex.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace pagoda {
namespace {

std::vector<std::string> matches(std::string_view pattern, std::string_view text,
                                 PatternDialect dialect = PatternDialect::kOniguruma) {
  RegexScratch scratch;
  std::vector<std::string> found;
  Regex::compile(pattern, dialect, "test")->for_each_match(text, scratch, [&](size_t begin, size_t end) {
    found.emplace_back(text.substr(begin, end - begin));
  });
  return found;
}
using List = std::vector<std::string>;

// Every code point that a one-character pattern matches, against our own tables: PCRE2's are older.
TEST(Regex, ClassesAreThoseOfUnicode16OverAllCodePoints) {
  std::string all;
  for (uint32_t code = 0; code <= 0x10FFFF; ++code) {
    if (code < 0xD800 || code > 0xDFFF) utf8_append(all, code);
  }
  for (const char* const name :
       {"L", "N", "M", "P", "S", "Lu", "Ll", "Lm", "Lo", "Nd", "Mn", "Zs", "Cf", "Han", "Alphabetic"}) {
    const CodeSet set = *CodeSet::property(name, unicode::kUnicode16);
    CodeSet got;
    RegexScratch scratch;
    const auto collect = [&](size_t begin, size_t) {
      const uint32_t code = utf8_next(all, begin);
      got.add(code, code);
    };
    Regex::compile(std::string("\\p{") + name + "}", PatternDialect::kOniguruma, "test")->for_each_match(all, scratch, collect);
    EXPECT_EQ(got.ranges().size(), set.ranges().size()) << name;
    EXPECT_TRUE(got.intersected(set.complement()).empty()) << name;
    EXPECT_TRUE(set.intersected(got.complement()).empty()) << name;
  }
}

TEST(Regex, PropertiesAndScriptsByShortName) {
  EXPECT_EQ(matches("\\p{Hira}+", "a\u3042\u3044\u30A2"), List({"\u3042\u3044"}));
  EXPECT_EQ(matches("\\p{Hani}", "\u6F22\u304B"), matches("\\p{Han}", "\u6F22\u304B"));
  EXPECT_EQ(matches("\\p{Emoji}", "#\u2764x\U0001F600"), List({"#", "\u2764", "\U0001F600"}));
  EXPECT_EQ(matches("\\p{Extended_Pictographic}", "#\u2764x\U0001F600"), List({"\u2764", "\U0001F600"}));
  EXPECT_EQ(matches("\\p{Ideographic}+", "\u6F22\u3007\u304B"), List({"\u6F22\u3007"}));
  EXPECT_EQ(matches("\\p{Lowercase}+", "\u10FC\u1E91\u1E90\u02B0"), List({"\u10FC\u1E91", "\u02B0"}));
  // Symbols are punctuation in POSIX brackets alone.
  EXPECT_EQ(matches("\\p{Punct}", "a$!\u3001+"), List({"!", "\u3001"}));
  EXPECT_EQ(matches("[\\p{Punct}]", "a$!\u3001+"), List({"!", "\u3001"}));
  EXPECT_EQ(matches("[[:punct:]]", "a$!\u3001+"), List({"$", "!", "\u3001", "+"}));
  EXPECT_THROW(Regex::compile("\\p{Zzzy}", PatternDialect::kOniguruma, "test"), Error);
}

TEST(Regex, WhiteSpaceLeavesTheMongolianSeparatorOut) {
  EXPECT_EQ(matches("\\s+", "a\u180E\u3000\u0085b"), List({"\u3000\u0085"}));
  EXPECT_EQ(matches("[^\\s]+", "a\u180E b"), List({"a\u180E", "b"}));
}

TEST(Regex, TheWellKnownSplits) {
  EXPECT_EQ(matches("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", "it's  1 two!"),
            List({"it", "'s", " ", " 1", " two", "!"}));
  EXPECT_EQ(matches("[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+", "(abc1234", PatternDialect::kRust),
            List({"(abc", "123", "4"}));
}

TEST(Regex, DialectsDiffer) {
  EXPECT_EQ(matches("^b|a$", "a\nb"), List({"a", "b"})) << "Ruby: at every line";
  EXPECT_EQ(matches("^b|a$", "a\nb", PatternDialect::kRust), List{});
  EXPECT_EQ(matches("(?m)a.b", "a\nb"), List({"a\nb"})) << "Ruby's (?m) is dot-all";
  EXPECT_EQ(matches("(?s)a.b", "a\nb", PatternDialect::kRust), List({"a\nb"}));
  EXPECT_EQ(matches("a{2}+", "aaaaa"), List({"aaaa"})) << "Ruby: the repeat repeated";
  EXPECT_EQ(matches("a{2}+", "aaaaa", PatternDialect::kRust), List({"aa", "aa"}));
  EXPECT_EQ(matches("\\h+", "xFacade "), List({"Facade"})) << "Oniguruma's \\h is a hexadecimal digit";
  EXPECT_EQ(matches("a(?i)b|c", "aC aB b"), List({"aC", "aB"})) << "Ruby: flags hold over the alternation that follows";
  EXPECT_EQ(matches("x{,2}y", "xxxy"), List({"xxy"}));
}

TEST(Regex, ClassesNestIntersectAndNegate) {
  EXPECT_EQ(matches("[a-z&&[^aeiou]]+", "hello"), List({"h", "ll"}));
  EXPECT_EQ(matches("[^a[bc]]", "abcd"), List({"d"}));
  EXPECT_EQ(matches("[[:alpha:]_]+", "a_1b"), List({"a_", "b"}));
  EXPECT_EQ(matches("[\\]\\-a]", "]-a"), List({"]", "-", "a"}));
  EXPECT_EQ(matches("[]a]", "]a"), List({"]", "a"}));
  EXPECT_EQ(matches("[^\\P{L}]", "a1"), List({"a"}));
  EXPECT_EQ(matches("\\P{^L}", "a1"), List({"a"}));
}

TEST(Regex, LookAroundBackReferencesAndNames) {
  EXPECT_EQ(matches("(?<=a)b|(?<!a)c", "abcac"), List({"b", "c"}));
  EXPECT_EQ(matches("(a|b)\\1", "abbaa"), List({"bb", "aa"}));
  EXPECT_EQ(matches("(?<x>a)\\k<x>", "aaa"), List({"aa"}));
  EXPECT_EQ(matches("(?>a+)ab|a", "aab"), List({"a", "a"}));
}

TEST(Regex, EmptyMatchesAsTheIteratorsGiveThem) {
  EXPECT_EQ(matches("b*", "abbc"), List({"", "bb", ""})) << "none right behind a match";
  EXPECT_EQ(matches("", "\u00E9").size(), 2u) << "never inside a character";
}

TEST(Regex, WordCharactersAndTheirBorders) {
  EXPECT_EQ(matches("\\w+", "a\u00B3b\u2460"), List({"a\u00B3b"})) << "Oniguruma counts the superscripts of Latin-1";
  EXPECT_EQ(matches("\\p{Word}+", "a\u00B3b\u2460"), List({"a\u00B3b"}));
  EXPECT_EQ(matches("[\\w-]+", "a\u00B3b-\u00BD"), List({"a", "b-"})) << "but not in brackets";
  EXPECT_EQ(matches("[^\\w\\s]", "a \u00B9_!"), List({"\u00B9", "!"}));
  EXPECT_EQ(matches("[^\\W\\d_]+", "a\u00BC\u00E9"), List({"a", "\u00E9"}));
  EXPECT_EQ(matches("[[:word:]]+", "a\u00B2b"), List({"a", "b"}));
  EXPECT_EQ(matches("\\w+", "a\u00B3b\u200Dc", PatternDialect::kRust), List({"a", "b\u200Dc"}));
  EXPECT_EQ(matches("\\b.", "ae\u0301 b"), List({"a", " ", "b"})) << "marks belong to words";
  EXPECT_EQ(matches("\\Bb", "ab b"), List({"b"}));
}

TEST(Regex, CaseInsensitive) {
  EXPECT_EQ(matches("(?i:'s|'T)", "'S 't '\u017F"), List({"'S", "'t", "'\u017F"}));
  EXPECT_EQ(matches("(?i)k", "\u212A"), List({"\u212A"}));
}

TEST(Regex, BadPatternsAreErrors) {
  for (const char* const bad : {"(", ")", "[", "a**b(", "*a", "[z-a]", "\\p{Nonsense}", "(?<n", "\\", "(?y)", "x{99999}",
                                "\\x{110000}", "[a", "(?<=a+)b", "\\g<1>", "\\2"}) {
    EXPECT_THROW(Regex::compile(bad, PatternDialect::kOniguruma, "test"), Error) << bad;
  }
  EXPECT_THROW(Regex::compile(std::string(5000, '('), PatternDialect::kOniguruma, "test"), Error);
  EXPECT_THROW(Regex::compile(std::string(5000, '['), PatternDialect::kOniguruma, "test"), Error);
  EXPECT_THROW(Regex::compile("\xFF", PatternDialect::kOniguruma, "test"), Error);
  for (const std::string& bad : {std::string(199, 'a') + "\u00E9(", std::string(199, 'a') + "\xC3("}) {
    try {
      Regex::compile(bad, PatternDialect::kOniguruma, "test");
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_TRUE(utf8_valid(error.message())) << "what is shown ends with a whole character";
    }
  }
}

TEST(Regex, RunawayMatchesStopAtTheLimit) {
  const std::string text(200, 'a');
  EXPECT_THROW(matches("(a|a|a|aa)*[bc]", text + "!"), Error);
}

TEST(Regex, LongTextsDoNotOverflow) {
  const std::string text(1 << 20, 'a');
  EXPECT_EQ(matches("(?:a|b)+", text).size(), 1u);
}

// Groups and repeats count together: of each kind alone as many are allowed as PCRE2 takes, together they once were thousands.
TEST(Regex, NestingIsBoundedWhateverNests) {
  const auto nested = [](size_t groups, const std::string& repeats) {
    std::string pattern(groups, '(');
    pattern += 'a';
    for (size_t i = 0; i < groups; ++i) pattern += repeats + ")";
    return pattern;
  };
  const auto repeated = [](const char* repeat, size_t count) {
    std::string text;
    for (size_t i = 0; i < count; ++i) text += repeat;
    return text;
  };
  for (const PatternDialect dialect : {PatternDialect::kOniguruma, PatternDialect::kRust}) {
    EXPECT_NO_THROW(Regex::compile(nested(240, ""), dialect, "test"));
    EXPECT_NO_THROW(Regex::compile(nested(120, "*"), dialect, "test"));
    EXPECT_THROW(Regex::compile(nested(300, ""), dialect, "test"), Error);
    EXPECT_THROW(Regex::compile(nested(200, "*"), dialect, "test"), Error);
    EXPECT_THROW(Regex::compile(nested(250, repeated("{1,2}", 99)), dialect, "test"), Error);
    EXPECT_THROW(Regex::compile("a" + repeated("{1,2}", 300), dialect, "test"), Error);
  }
}

}  // namespace
}  // namespace pagoda
