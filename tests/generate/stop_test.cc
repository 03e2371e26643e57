// Stop strings in streams: any cut into pieces gives the same text; ends by ids and lengths.
#include "generate/stop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/random.h"
#include "base/utf8.h"

namespace pagoda {
namespace {

using Pieces = std::vector<std::string>;

struct Seen {
  std::string text;
  std::string overhang;
  int match = -1;
};

StopMatcher matcher_of(const std::vector<std::string>& stops, bool include = false) {
  return StopMatcher(std::make_shared<const StopAutomaton>(stops), include);
}

Seen run(StopMatcher matcher, const Pieces& pieces) {
  Seen seen;
  for (const std::string& piece : pieces) seen.text += matcher.feed(piece);
  if (!matcher.matched()) seen.text += matcher.flush();
  seen.overhang = matcher.overhang();
  if (matcher.match()) seen.match = static_cast<int>(*matcher.match());
  return seen;
}

TEST(Repetition, FindsPatternsAtTheEndAlone) {
  const auto ends = [](const std::vector<int32_t>& ids, int64_t begin, int64_t least, int64_t most, int64_t count) {
    return ends_in_repetition(ids, begin, {least, most, count});
  };
  EXPECT_TRUE(ends({1, 2, 3, 2, 3, 2, 3}, 0, 1, 4, 3));
  EXPECT_FALSE(ends({1, 2, 3, 2, 3, 2, 3}, 0, 1, 4, 4));
  EXPECT_FALSE(ends({2, 3, 2, 3, 2, 3, 1}, 0, 1, 4, 3));
  EXPECT_FALSE(ends({1, 2, 3, 2, 3, 2, 3}, 2, 1, 4, 3));  // the prompt does not count
  EXPECT_FALSE(ends({2, 3, 2, 3}, 0, 3, 4, 2));
  EXPECT_TRUE(ends({7, 7}, 0, 1, 1, 2));
  EXPECT_FALSE(ends({7}, 0, 1, 1, 2));
  EXPECT_FALSE(ends({}, 0, 1, 1000, 2));
  EXPECT_FALSE(ends({7, 7}, 0, 1, 0, 2));
}

TEST(StopMatcher, CutsAcrossPieces) {
  for (const Pieces& pieces : {Pieces{"st", "op"}, Pieces{"stop"}, Pieces{"st", "opera"}, Pieces{"sto", "pper"},
                               Pieces{"las", "topper"}, Pieces{"s", "to", "pped"}}) {
    const Seen seen = run(matcher_of({"stop"}), pieces);
    EXPECT_EQ(seen.match, 0);
    EXPECT_EQ(seen.text, pieces[0] == "las" ? "la" : "");
  }
  EXPECT_EQ(run(matcher_of({"stop"}), {"st", "up"}).match, -1);
}

TEST(StopMatcher, HoldsBackOnlyWhatMayStop) {
  StopMatcher matcher = matcher_of({"END", "\n\n"});
  EXPECT_EQ(matcher.feed("abc"), "abc");
  EXPECT_EQ(matcher.feed("dE"), "d");
  EXPECT_EQ(matcher.feed("N"), "");
  EXPECT_EQ(matcher.feed("E"), "EN");
  EXPECT_EQ(matcher.feed("x\n"), "Ex");
  EXPECT_EQ(matcher.feed("y"), "\ny");
  EXPECT_EQ(matcher.feed("z\n"), "z");
  EXPECT_FALSE(matcher.matched());
  EXPECT_EQ(matcher.feed("\nmore"), "");
  EXPECT_EQ(matcher.match(), 1U);
  EXPECT_EQ(matcher.overhang(), "more");
  EXPECT_EQ(matcher.feed("later"), "");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcher, IncludeKeepsTheStop) {
  const Seen seen = run(matcher_of({"stop"}, true), {"a s", "topped", "never"});
  EXPECT_EQ(seen.text, "a stop");
  EXPECT_EQ(seen.overhang, "ped");
}

TEST(StopMatcher, FirstEndWinsThenTheLongest) {
  EXPECT_EQ(run(matcher_of({"abcd", "bc"}), {"abcd"}).match, 1);
  EXPECT_EQ(run(matcher_of({"abcd", "bc"}), {"abcd"}).text, "a");
  EXPECT_EQ(run(matcher_of({"c", "abc"}), {"xabc"}).match, 1);
  EXPECT_EQ(run(matcher_of({"c", "abc"}), {"xabc"}).text, "x");
  EXPECT_EQ(run(matcher_of({"aa", "aa"}), {"aaa"}).match, 0);
  EXPECT_EQ(run(matcher_of({"aab"}), {"aaab"}).text, "a");
}

TEST(StopMatcher, Unicode) {
  const Seen seen = run(matcher_of({"é🙂"}), {"caf", "é", "é", "🙂", "!"});
  EXPECT_EQ(seen.match, 0);
  EXPECT_EQ(seen.text, "café");
  // U+00E8 and U+00E9 share their first byte: no half of a character comes out.
  StopMatcher matcher = matcher_of({"é"});
  EXPECT_EQ(matcher.feed("è"), "è");
  EXPECT_THROW(StopAutomaton({"\xff"}), Error);
  EXPECT_THROW(StopAutomaton({""}), Error);
}

TEST(StopMatcher, PromptCountsWhenPrimed) {
  StopMatcher primed = matcher_of({"stop"});
  primed.prime("please st");
  EXPECT_EQ(primed.feed("oops!"), "oops!");
  StopMatcher across = matcher_of({"stop"});
  across.prime("please st");
  EXPECT_EQ(across.feed("o"), "");
  EXPECT_EQ(across.feed("pped"), "");
  EXPECT_TRUE(across.matched());
  EXPECT_EQ(across.overhang(), "ped");
  StopMatcher kept = matcher_of({"stop"}, true);
  kept.prime("please st");
  EXPECT_EQ(kept.feed("opped"), "op");
  StopMatcher inside = matcher_of({"stop"});
  inside.prime("stop");
  EXPECT_EQ(inside.feed("x"), "x");
  EXPECT_FALSE(inside.matched());
  StopMatcher unprimed = matcher_of({"stop"});
  EXPECT_EQ(unprimed.feed("op"), "op");
}

TEST(StopMatcher, EndsOnlyWhereItMay) {
  StopMatcher matcher = matcher_of({"stop"});
  EXPECT_EQ(matcher.feed("a stop, st", false), "a stop, ");
  EXPECT_EQ(matcher.feed("op"), "");  // begins where none may end
  EXPECT_TRUE(matcher.matched());
  StopMatcher inside = matcher_of({"stop"});
  EXPECT_EQ(inside.feed("stop", false), "");
  EXPECT_EQ(inside.feed("per"), "stopper");
  EXPECT_FALSE(inside.matched());
}

// Copies go their own ways, and share what the strings became.
TEST(StopMatcher, CopiesAreFree) {
  StopMatcher one = matcher_of({"stop"});
  EXPECT_EQ(one.feed("sto"), "");
  StopMatcher other = one;
  EXPECT_EQ(one.feed("p"), "");
  EXPECT_EQ(other.feed("rm"), "storm");
  EXPECT_TRUE(one.matched());
  EXPECT_FALSE(other.matched());
}

TEST(StopMatcher, NoStopsPassEverything) {
  StopMatcher matcher = matcher_of({});
  EXPECT_EQ(matcher.feed("abc"), "abc");
  EXPECT_EQ(matcher.flush(), "");
}

// Against a search in the whole text, over every way that a random stream may be cut.
TEST(StopMatcher, PiecesDoNotMatter) {
  const RandomStream random(3, 0);
  uint64_t counter = 0;
  const auto letters = [&](size_t length) {
    static const char* const kLetters[] = {"a", "b", "é", "🙂"};
    std::string text;
    for (size_t i = 0; i < length; ++i) text += kLetters[random.bits(counter++) % 4];
    return text;
  };
  int matches = 0;
  for (int round = 0; round < 3000; ++round) {
    Pieces stops;
    for (uint64_t i = 0; i < 1 + random.bits(counter) % 3; ++i) stops.push_back(letters(1 + random.bits(counter++) % 4));
    const std::string text = letters(random.bits(counter++) % 20);
    size_t end = std::string::npos;
    size_t start = 0;
    for (const std::string& stop : stops) {
      const size_t at = text.find(stop);
      if (at == std::string::npos) continue;
      if (at + stop.size() < end || (at + stop.size() == end && at < start)) end = at + stop.size(), start = at;
    }
    Pieces pieces;
    for (size_t pos = 0; pos < text.size();) {
      std::string piece;
      for (uint64_t left = 1 + random.bits(counter++) % 3; left > 0 && pos < text.size(); --left) {
        const size_t from = pos;
        utf8_next(text, pos);
        piece += text.substr(from, pos - from);
      }
      pieces.push_back(piece);
    }
    StopMatcher matcher = matcher_of(stops);
    std::string shown;
    for (const std::string& piece : pieces) {
      shown += matcher.feed(piece);
      ASSERT_TRUE(utf8_valid(shown));
    }
    EXPECT_EQ(matcher.matched(), end != std::string::npos);
    matches += matcher.matched();
    if (!matcher.matched()) shown += matcher.flush();
    EXPECT_EQ(shown, end == std::string::npos ? text : text.substr(0, start)) << text;
  }
  EXPECT_GT(matches, 300);
  EXPECT_LT(matches, 2990);
}

TEST(CheckToken, EndsAndLengths) {
  SamplingParams params;
  params.max_new_tokens = 3;
  params.eos_token_ids = {7};
  params.stop_token_ids = {8};
  EXPECT_EQ(check_token(params, 1, 2), FinishReason::kNone);
  EXPECT_EQ(check_token(params, 1, 3), FinishReason::kLength);
  EXPECT_EQ(check_token(params, 7, 1), FinishReason::kStop);
  EXPECT_EQ(check_token(params, 7, 3), FinishReason::kStop);
  params.ignore_eos = true;
  EXPECT_EQ(check_token(params, 7, 1), FinishReason::kNone);
  EXPECT_EQ(check_token(params, 8, 1), FinishReason::kStop);
  EXPECT_STREQ(finish_reason_name(FinishReason::kStop), "stop");
  EXPECT_STREQ(finish_reason_name(FinishReason::kLength), "length");
}

}  // namespace
}  // namespace pagoda
