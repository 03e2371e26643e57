// Tokenizer training: merges against a plain re-count, likelihoods that do not fall, and results that threads do not change.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "base/utf8.h"
#include "text/train/bpe_trainer.h"
#include "text/train/substrings.h"
#include "text/train/unigram_lattice.h"
#include "text/train/unigram_trainer.h"
#include "text/train/word_counts.h"

namespace pagoda::text_train {
namespace {

// Words that share stems and endings, as words do.
std::vector<std::string> words_of_a_language(int count, uint64_t seed) {
  const RandomStream random(seed, 1);
  const std::vector<std::string> stems{"walk", "talk", "sing", "jump", "mar\u00E9", "\u4E2D\u6587", "read", "writ", "a", "the"};
  const std::vector<std::string> ends{"", "ing", "ed", "er", "s", "ers", "\u00E9s", "ingly"};
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) {
    std::string text;
    for (uint64_t k = 0; k < 8; ++k) {
      const uint64_t bits = random.bits(static_cast<uint64_t>(i) * 8 + k);
      const size_t stem = (bits & 0xFF) * (bits >> 8 & 0xFF) % stems.size();  // not all equally often
      text += (k > 0 ? " " : "") + stems[stem] + ends[(bits >> 16) % ends.size()];
    }
    texts.push_back(std::move(text));
  }
  return texts;
}

WordCounts count(const std::vector<std::string>& texts, int threads = 1) {
  ThreadPool pool(threads);
  WordCounter counter(nullptr, pre_tokenizers::whitespace_split(), pool);
  counter.add(texts);
  return counter.finish();
}

TEST(WordCounts, AreThoseOfAMap) {
  const std::vector<std::string> texts = words_of_a_language(3000, 7);
  std::map<std::string, int64_t> expected;
  for (const std::string& text : texts) {
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(' ', begin), text.size());
      if (end > begin) ++expected[text.substr(begin, end - begin)];
      begin = end + 1;
    }
  }
  for (const int threads : {1, 3}) {
    const WordCounts words = count(texts, threads);
    ASSERT_EQ(words.size(), expected.size());
    auto at = expected.begin();
    for (const WordCount& word : words) {
      EXPECT_EQ(word.word, at->first);
      EXPECT_EQ(word.count, at->second);
      ++at;
    }
  }
}

// BPE as its definition has it: every pair of every word counted anew for each merge.
std::vector<std::pair<std::string, std::string>> merges_by_definition(const WordCounts& words, size_t merges,
                                                                      std::vector<std::string> vocab) {
  std::vector<std::vector<std::string>> spelled;
  std::map<std::string, size_t> ids;
  for (size_t i = 0; i < vocab.size(); ++i) ids[vocab[i]] = i;
  for (const WordCount& word : words) {
    spelled.emplace_back();
    for (size_t pos = 0; pos < word.word.size();) {
      const size_t begin = pos;
      utf8_next(word.word, pos);
      spelled.back().push_back(word.word.substr(begin, pos - begin));
    }
  }
  std::vector<std::pair<std::string, std::string>> made;
  while (made.size() < merges) {
    std::map<std::pair<size_t, size_t>, int64_t> counts;
    for (size_t i = 0; i < words.size(); ++i) {
      for (size_t k = 0; k + 1 < spelled[i].size(); ++k) {
        counts[{ids.at(spelled[i][k]), ids.at(spelled[i][k + 1])}] += words[i].count;
      }
    }
    if (counts.empty()) break;
    const auto best = std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second < b.second : a.first > b.first;
    });
    const std::string left = vocab[best->first.first], right = vocab[best->first.second];
    made.emplace_back(left, right);
    if (ids.emplace(left + right, vocab.size()).second) vocab.push_back(left + right);
    for (auto& word : spelled) {
      for (size_t k = 0; k + 1 < word.size(); ++k) {
        if (word[k] != left || word[k + 1] != right) continue;
        word[k] += right;
        word.erase(word.begin() + static_cast<int64_t>(k) + 1);
      }
    }
  }
  return made;
}

TEST(Bpe, MergesWhatOccursMostOften) {
  const WordCounts words = count(words_of_a_language(400, 3));
  BpeTrainerOptions options;
  options.vocab_size = 90;
  options.special_tokens = {"<s>"};
  ThreadPool pool(1);
  const TrainedBpe trained = train_bpe(words, options, pool);
  const size_t alphabet = trained.vocab.size() - trained.merges.size();
  const auto expected = merges_by_definition(
      words, trained.merges.size(),
      std::vector<std::string>(trained.vocab.begin(), trained.vocab.begin() + static_cast<int64_t>(alphabet)));
  ASSERT_EQ(trained.vocab.size(), 90u);
  ASSERT_EQ(expected.size(), trained.merges.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(trained.vocab[static_cast<size_t>(trained.merges[i].first)], expected[i].first) << i;
    EXPECT_EQ(trained.vocab[static_cast<size_t>(trained.merges[i].second)], expected[i].second) << i;
  }
}

TEST(Bpe, DoesNotDependOnThreads) {
  const std::vector<std::string> texts = words_of_a_language(2000, 11);
  BpeTrainerOptions options;
  options.vocab_size = 300;
  ThreadPool one(1), four(4);
  const TrainedBpe a = train_bpe(count(texts, 1), options, one), b = train_bpe(count(texts, 4), options, four);
  EXPECT_EQ(a.vocab, b.vocab);
  EXPECT_EQ(a.merges, b.merges);
}

TEST(Bpe, KeepsItsBounds) {
  const WordCounts words = count(words_of_a_language(300, 5));
  ThreadPool pool(1);
  BpeTrainerOptions options;
  options.vocab_size = 200;
  options.max_token_length = 4;
  for (const std::string& token : train_bpe(words, options, pool).vocab) EXPECT_LT(utf8_length(token), 4u) << token;
  options = {};
  options.vocab_size = 500;
  options.min_frequency = 100000;
  EXPECT_TRUE(train_bpe(words, options, pool).merges.empty());
  options = {};
  options.vocab_size = 100;
  options.limit_alphabet = 5;
  options.initial_alphabet = {'Z'};
  const TrainedBpe limited = train_bpe(words, options, pool);
  EXPECT_EQ(limited.vocab.size() - limited.merges.size(), 5u);
  EXPECT_EQ(std::count(limited.vocab.begin(), limited.vocab.end(), "Z"), 1);
  options = {};
  options.vocab_size = 3;
  EXPECT_THROW(train_bpe(words, options, pool), Error);
}

TEST(Bpe, MarksWhatContinuesAWord) {
  ThreadPool pool(1);
  BpeTrainerOptions options;
  options.vocab_size = 20;
  options.continuing_subword_prefix = "##";
  const TrainedBpe trained = train_bpe({{"aba", 3}, {"bab", 2}}, options, pool);
  // a, b, ##a, ##b; then "ab" from "a ##b", "##ab"-like pairs without a second prefix inside.
  EXPECT_EQ(std::vector<std::string>(trained.vocab.begin(), trained.vocab.begin() + 4),
            (std::vector<std::string>{"a", "b", "##a", "##b"}));
  for (const std::string& token : trained.vocab) EXPECT_EQ(token.find("##", 1), std::string::npos) << token;
  EXPECT_EQ(trained.vocab.back(), "bab");
}

TEST(Bpe, IsCancelled) {
  ThreadPool pool(1);
  const std::atomic<bool> cancel{true};
  TaskHooks hooks;
  hooks.cancel = &cancel;
  EXPECT_THROW(train_bpe(count(words_of_a_language(10, 1)), {}, pool, hooks), Cancelled);
  EXPECT_THROW(train_unigram(count(words_of_a_language(10, 1)), {}, pool, hooks), Cancelled);
}

// Inner nodes of the suffix tree by definition: substrings with two different continuations.
TEST(Substrings, AreTheInnerNodesOfTheSuffixTree) {
  const RandomStream random(5, 5);
  for (uint64_t round = 0; round < 20; ++round) {
    std::vector<uint32_t> text;
    for (uint64_t i = 0; i < 120; ++i) text.push_back(static_cast<uint32_t>(random.bits(round * 1000 + i) % 4));  // 0 closes
    text.push_back(0);
    constexpr size_t kMost = 5;
    std::map<std::vector<uint32_t>, std::pair<int64_t, std::set<uint32_t>>> nodes;
    for (size_t begin = 0; begin < text.size(); ++begin) {
      for (size_t length = 1; length <= kMost && begin + length < text.size() && text[begin + length - 1] != 0; ++length) {
        auto& [places, next] =
            nodes[{text.begin() + static_cast<int64_t>(begin), text.begin() + static_cast<int64_t>(begin + length)}];
        ++places;
        next.insert(text[begin + length]);
      }
    }
    std::map<std::vector<uint32_t>, int64_t> expected, got;
    for (const auto& [string, node] : nodes) {
      if (string.size() >= 2 && node.second.size() >= 2) expected[string] = node.first;
    }
    ThreadPool pool(2);
    for (const Substring& found : repeated_substrings(text, kMost, pool)) {
      const auto first = text.begin() + found.begin;
      EXPECT_TRUE(got.emplace(std::vector<uint32_t>(first, first + found.length), found.count).second);
    }
    EXPECT_EQ(got, expected);
  }
}

// All ways to cut a word, one by one.
void cut_all(const std::string& word, size_t pos, double score, std::vector<int32_t>& pieces,
             const std::vector<UnigramPiece>& table, std::map<std::vector<int32_t>, double>& ways) {
  if (pos == word.size()) ways[pieces] = score;
  for (size_t i = 1; i < table.size(); ++i) {
    if (word.compare(pos, table[i].token.size(), table[i].token) != 0) continue;
    pieces.push_back(static_cast<int32_t>(i));
    cut_all(word, pos + table[i].token.size(), score + table[i].score, pieces, table, ways);
    pieces.pop_back();
  }
}

TEST(Lattice, SumsOverAllCuts) {
  const std::vector<UnigramPiece> pieces{{"", 0},      {"a", -2.5},   {"b", -1.75}, {"ab", -3.0},
                                         {"ba", -4.0}, {"aba", -4.5}, {"bb", -6.0}};
  for (const std::string& word : {std::string("abba"), std::string("aababab"), std::string(120, 'a') + "b"}) {
    const bool small = word.size() < 20;  // longer ones take logarithms
    const PieceTable table(pieces);
    Lattice lattice;
    lattice.build(word, table);
    std::vector<double> expected(pieces.size(), 0.0);
    const double logarithm = lattice.add_expected(table, 2.0, expected);
    double score = 0;
    std::vector<int32_t> best;
    ASSERT_TRUE(lattice.best(table, -1, best, score));
    double characters = 0;
    for (size_t i = 1; i < pieces.size(); ++i) characters += expected[i] * static_cast<double>(pieces[i].token.size());
    EXPECT_NEAR(characters, 2.0 * static_cast<double>(word.size()), 1e-9);
    EXPECT_LE(score, logarithm + 1e-12);
    if (!small) continue;
    std::map<std::vector<int32_t>, double> ways;
    std::vector<int32_t> begun;
    cut_all(word, 0, 0, begun, pieces, ways);
    double whole = 0, top = -1e9;
    for (const auto& [way, value] : ways) {
      whole += std::exp(value);
      top = std::max(top, value);
    }
    EXPECT_NEAR(logarithm, std::log(whole), 1e-12);
    EXPECT_NEAR(score, top, 1e-12);
    std::vector<double> counted(pieces.size(), 0.0);
    for (const auto& [way, value] : ways) {
      for (const int32_t piece : way) counted[static_cast<size_t>(piece)] += 2.0 * std::exp(value) / whole;
    }
    for (size_t i = 1; i < pieces.size(); ++i) EXPECT_NEAR(expected[i], counted[i], 1e-12) << pieces[i].token;
  }
}

TEST(Unigram, FindsStemsAndEndings) {
  const std::vector<std::string> texts = words_of_a_language(3000, 2);
  UnigramTrainerOptions options;
  options.vocab_size = 60;
  options.unk_token = "<unk>";
  options.special_tokens = {"<s>"};
  ThreadPool one(1), three(3);
  const TrainedUnigram a = train_unigram(count(texts), options, one), b = train_unigram(count(texts), options, three);
  ASSERT_EQ(a.pieces.size(), 60u);
  EXPECT_EQ(a.pieces[0].token, "<unk>");
  EXPECT_EQ(a.pieces[1].token, "<s>");
  EXPECT_EQ(a.unk_id, 0);
  for (size_t i = 0; i < a.pieces.size(); ++i) {
    EXPECT_EQ(a.pieces[i].token, b.pieces[i].token) << i;
    EXPECT_EQ(a.pieces[i].score, b.pieces[i].score) << i;  // to the bit, whatever the threads
  }
  // One character at a time costs the entropy of the characters; stems and endings are worth about three of them.
  std::map<uint32_t, double> characters;
  double all = 0, entropy = 0;
  for (const WordCount& word : count(texts)) {
    for (size_t pos = 0; pos < word.word.size(); all += static_cast<double>(word.count)) {
      characters[utf8_next(word.word, pos)] += static_cast<double>(word.count);
    }
  }
  for (const auto& [code, times] : characters) entropy -= times / all * std::log2(times / all);
  EXPECT_LT(a.bits_per_character, 0.55 * entropy);
  EXPECT_GT(a.bits_per_character, 0.2 * entropy);
  std::set<std::string> pieces;
  for (const UnigramPiece& piece : a.pieces) EXPECT_TRUE(pieces.insert(piece.token).second) << piece.token;
  for (const char* character : {"w", "\u4E2D", "\u00E9"}) EXPECT_EQ(pieces.count(character), 1u) << character;
}

TEST(Unigram, LargerVocabulariesSpellInFewerBits) {
  const WordCounts words = count(words_of_a_language(2000, 9));
  ThreadPool pool(1);
  double last = 100;
  for (const int64_t size : {30, 45, 60}) {
    UnigramTrainerOptions options;
    options.vocab_size = size;
    options.unk_token = "<unk>";
    const double bits = train_unigram(words, options, pool).bits_per_character;
    EXPECT_LT(bits, last);
    last = bits;
  }
}

TEST(Unigram, SpellsTheRestInBytes) {
  UnigramTrainerOptions options;
  options.vocab_size = 300;
  options.unk_token = "<unk>";
  options.byte_fallback = true;
  options.limit_alphabet = 10;
  ThreadPool pool(1);
  const TrainedUnigram trained = train_unigram(count(words_of_a_language(500, 4)), options, pool);
  EXPECT_EQ(trained.pieces[1].token, "<0x00>");
  EXPECT_EQ(trained.pieces[256].token, "<0xFF>");
  std::string singles;
  for (size_t i = 257; i < trained.pieces.size(); ++i) {
    if (utf8_length(trained.pieces[i].token) == 1) singles += trained.pieces[i].token;
  }
  EXPECT_EQ(utf8_length(singles), 10u) << singles;
  options.vocab_size = 260;
  EXPECT_THROW(train_unigram(count(words_of_a_language(500, 4)), options, pool), Error);
}

}  // namespace
}  // namespace pagoda::text_train
