// Unicode tables: properties, versions, normal forms, grapheme clusters.
#include "text/unicode.h"

#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"
#include "text/code_set.h"
#include "text/graphemes.h"
#include "text/normal_forms.h"

namespace pagoda {
namespace {

using unicode::Category;

TEST(Unicode, PropertiesOfKnownCharacters) {
  EXPECT_EQ(unicode::category('A'), Category::kLu);
  EXPECT_EQ(unicode::category(0x4E2D), Category::kLo);
  EXPECT_EQ(unicode::category(0x0301), Category::kMn);
  EXPECT_EQ(unicode::category(0xD800), Category::kCs);
  EXPECT_EQ(unicode::category(0x10FFFF), Category::kCn);
  EXPECT_EQ(unicode::category(0x7FFFFFFF), Category::kCn);
  EXPECT_EQ(unicode::combining_class(0x0301), 230);
  EXPECT_EQ(unicode::age(0x1C89), 160);
  EXPECT_FALSE(unicode::assigned(0x1C89, 150));
  EXPECT_STREQ(unicode::script_name(unicode::script(0x3042)), "Hiragana");
  EXPECT_TRUE(unicode::is_number(0x11DE0)) << "a digit of Unicode 17";
  EXPECT_TRUE(unicode::is_word(0x200D));
  EXPECT_FALSE(unicode::is_word(0x2460)) << "a circled digit is no word character of Rust's";
}

TEST(Unicode, SizesOfCategoriesAreThoseOfUnicode16) {
  const auto count = [](const char* name) {
    int64_t sum = 0;
    const CodeSet set = *CodeSet::property(name, unicode::kUnicode16);
    for (const CodeSet::Range& r : set.ranges()) sum += r.last - r.first + 1;
    return sum;
  };
  // What Oniguruma 6.9.10 answers over all code points.
  EXPECT_EQ(count("L"), 141028);
  EXPECT_EQ(count("N"), 1911);
  EXPECT_EQ(count("M"), 2501);
  EXPECT_EQ(count("P"), 855);
  EXPECT_EQ(count("S"), 8514);
  EXPECT_EQ(count("Lu"), 1858);
  EXPECT_EQ(count("Nd"), 760);
  EXPECT_EQ(count("Alphabetic"), 142759);
  EXPECT_EQ(count("White_Space"), 25);
  EXPECT_EQ(count("Han"), 99030);
  EXPECT_FALSE(CodeSet::property("Nonsense", unicode::kUnicode16).has_value());
}

TEST(CodeSet, IsASortedUnionInWhateverOrderItGrew) {
  constexpr uint32_t kCodes = 3000;
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    CodeSet set;
    std::vector<bool> wanted(kCodes + 20);
    const auto check = [&] {
      const CodeSet& shared = set;
      std::vector<bool> got(kCodes + 20);
      const std::vector<CodeSet::Range> ranges = shared.ranges();
      for (size_t i = 0; i < ranges.size(); ++i) {
        ASSERT_LE(ranges[i].first, ranges[i].last);
        if (i > 0) {
          ASSERT_GT(ranges[i].first, ranges[i - 1].last + 1);
        }
        for (uint32_t code = ranges[i].first; code <= ranges[i].last; ++code) got[code] = true;
      }
      ASSERT_EQ(got, wanted);
      for (uint32_t code = 0; code < kCodes; code += 7) ASSERT_EQ(shared.contains(code), wanted[code]);
      ASSERT_EQ(shared.complement().complement().ranges().size(), ranges.size());
    };
    for (int i = 0; i < 400; ++i) {
      const uint32_t first = random() % kCodes, last = first + random() % (1 + round % 20);
      set.add(first, last);
      for (uint32_t code = first; code <= last; ++code) wanted[code] = true;
      if (i % 97 == 0) check();
    }
    check();
  }
  // Backwards, which is the worst case, stays quick: what was sorted is merged a few times only.
  CodeSet down;
  for (uint32_t code = 0x10FFFE; code > 0; code -= 2) down.add(code, code);
  EXPECT_EQ(down.ranges().size(), 0x10FFFEu / 2);
}

TEST(Unicode, CaseMappings) {
  const auto lower = [](uint32_t code) {
    std::string out;
    unicode::append_lower(out, code);
    return out;
  };
  EXPECT_EQ(lower('Q'), "q");
  EXPECT_EQ(lower(0x130), "i\u0307");
  EXPECT_EQ(lower(0xA7DC), "\u019B") << "new in Unicode 16";
  std::string upper;
  unicode::append_upper(upper, 0xDF);
  EXPECT_EQ(upper, "SS");
}

TEST(CodeSets, Operations) {
  CodeSet a = CodeSet::range('a', 'f');
  a.add('d', 'k');
  EXPECT_EQ(a.ranges().size(), 1u);
  const CodeSet b = a.complement();
  EXPECT_FALSE(b.contains('d'));
  EXPECT_TRUE(b.contains('l'));
  EXPECT_TRUE(a.intersected(b).empty());
  EXPECT_EQ(a.united(b).ranges().size(), 1u);
}

TEST(NormalForms, AgainstTheStandard) {
  const int now = unicode::kUnicode16;
  EXPECT_EQ(normalize_form("e\u0301", NormalForm::kNfc, now), "\u00E9");
  EXPECT_EQ(normalize_form("\u1E69", NormalForm::kNfd, now), "s\u0323\u0307");
  EXPECT_EQ(normalize_form("s\u0307\u0323", NormalForm::kNfc, now), "\u1E69") << "marks are put in order first";
  EXPECT_EQ(normalize_form("\uFB01\u2460", NormalForm::kNfkc, now), "fi1");
  EXPECT_EQ(normalize_form("\u1100\u1161\u11A8", NormalForm::kNfc, now), "\uAC01");
  EXPECT_EQ(normalize_form("\uAC01", NormalForm::kNfd, now), "\u1100\u1161\u11A8");
  EXPECT_EQ(normalize_form("\u0958", NormalForm::kNfc, now), "\u0915\u093C") << "never composed";
  EXPECT_EQ(normalize_form("\u212B", NormalForm::kNfc, now), "\u00C5");
  // U+32FF came with Unicode 12: unknown to a normaliser of Unicode 9.
  EXPECT_EQ(normalize_form("\u32FF", NormalForm::kNfkc, unicode::kUnicode9), "\u32FF");
  EXPECT_EQ(normalize_form("\u32FF", NormalForm::kNfkc, now), "\u4EE4\u548C");
}

TEST(Graphemes, Clusters) {
  const auto clusters = [](const std::string& text) {
    size_t count = 0;
    for (size_t pos = 0; pos < text.size(); ++count) pos = grapheme_end(text, pos);
    return count;
  };
  EXPECT_EQ(clusters("abc"), 3u);
  EXPECT_EQ(clusters("\r\n"), 1u);
  EXPECT_EQ(clusters("\n\r"), 2u);
  EXPECT_EQ(clusters("e\u0301x"), 2u);
  EXPECT_EQ(clusters("\U0001F469\u200D\U0001F469\u200D\U0001F467"), 1u);
  EXPECT_EQ(clusters("\U0001F1EB\U0001F1F7\U0001F1E9"), 2u);
  EXPECT_EQ(clusters("\u1100\u1161\u11A8\uAC00"), 2u);
  EXPECT_EQ(clusters("\u0915\u094D\u0937"), 1u) << "an Indic conjunct";
  EXPECT_EQ(clusters("A\u1AE4"), 1u) << "a mark of Unicode 17";
}

}  // namespace
}  // namespace pagoda
