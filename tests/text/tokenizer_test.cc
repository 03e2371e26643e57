// The pipeline put together by hand: streaming, threads, bad text, the exactness of cuts, added tokens.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_chars.h"
#include "text/decoders.h"

namespace pagoda {
namespace {

// A byte-level vocabulary with random merges.
ModelPtr random_bpe(uint32_t seed, bool cut, bool raw) {
  std::mt19937 random(seed);
  Vocab vocab;
  std::vector<std::string> tokens;
  for (const uint16_t code : kByteChars) {
    std::string token;
    utf8_append(token, code);
    vocab.add(token, static_cast<int64_t>(tokens.size()), "test");
    tokens.push_back(token);
  }
  std::vector<Merge> merges;
  const auto pick = [&] {
    return random() % 4 != 0 && tokens.size() > 256 ? tokens[256 + random() % (tokens.size() - 256)]
                                                    : std::string(1, static_cast<char>('a' + random() % 4));
  };
  while (merges.size() < 200) {
    const std::string left = pick(), right = pick();
    if (left.size() + right.size() > 12) continue;
    if (vocab.find(left + right) < 0) {
      vocab.add(left + right, static_cast<int64_t>(tokens.size()), "test");
      tokens.push_back(left + right);
    }
    merges.push_back({left, right});
  }
  BpeOptions options;
  options.cut = cut;
  options.raw_bytes = raw;
  return make_bpe(std::move(vocab), merges, options, "test");
}

TEST(Bpe, CutsScansHeapsAndRawBytesAgree) {
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    const ModelPtr plain = random_bpe(seed, false, false), cut = random_bpe(seed, true, false),
                   raw = random_bpe(seed, true, true);
    EncodeScratch one, two, three;
    std::mt19937 random(seed * 77);
    for (int i = 0; i < 100; ++i) {
      std::string word;
      for (size_t n = 1 + random() % (i % 10 == 0 ? 300 : 40); word.size() < n;) word += static_cast<char>('a' + random() % 5);
      std::vector<ModelToken> a, b, c;
      plain->tokenize(word, a, one);
      cut->tokenize(word, b, two);
      raw->tokenize(word, c, three);
      ASSERT_EQ(a.size(), b.size()) << seed << " " << word;
      ASSERT_EQ(a.size(), c.size()) << seed << " " << word;
      for (size_t k = 0; k < a.size(); ++k) {
        ASSERT_EQ(a[k].id, b[k].id) << word;
        ASSERT_EQ(a[k].begin, b[k].begin) << word;
        ASSERT_EQ(a[k].id, c[k].id) << word;
        ASSERT_EQ(a[k].end, c[k].end) << word;
      }
    }
  }
}

std::string byte_name(int byte) {
  char name[8];
  std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
  return name;
}

std::shared_ptr<const Tokenizer> byte_tokenizer() {
  PipelineParts parts;
  parts.model = random_bpe(5, true, true);
  parts.pre_tokenizer = pre_tokenizers::byte_level(
      Regex::compile(pre_tokenizers::kByteLevelPattern, PatternDialect::kOniguruma, "test"), false, false);
  parts.decoder = decoders::byte_level();
  AddedToken special;
  special.content = "<end>";
  special.special = true;
  special.normalized = false;
  parts.added.add({special}, *parts.model);
  return make_pipeline_tokenizer(std::move(parts));
}

TEST(Tokenizer, RoundTripsAndStreamsAnyText) {
  const std::shared_ptr<const Tokenizer> tokenizer = byte_tokenizer();
  std::mt19937 random(9);
  for (int i = 0; i < 200; ++i) {
    std::string text;
    for (int n = static_cast<int>(random() % 30); n > 0; --n) {
      const uint32_t code = random() % 4 == 0 ? random() % 0x110000 : 'a' + random() % 5;
      utf8_append(text, code);
    }
    const std::vector<int32_t> ids = tokenizer->encode_ids(text, true);
    EXPECT_EQ(tokenizer->decode(ids, true), text);
    StreamDecoder stream(tokenizer, true);
    std::string streamed;
    for (const int32_t id : ids) {
      const std::string part = stream.push(id);
      EXPECT_TRUE(utf8_valid(part)) << "a push ended inside a character";
      streamed += part;
    }
    EXPECT_EQ(streamed + stream.finish(), text);
  }
}

TEST(Tokenizer, RandomIdsStreamToWhatDecodeGives) {
  const std::shared_ptr<const Tokenizer> tokenizer = byte_tokenizer();
  std::mt19937 random(10);
  for (int i = 0; i < 200; ++i) {
    std::vector<int32_t> ids;
    for (int n = static_cast<int>(random() % 20); n > 0; --n) ids.push_back(static_cast<int32_t>(random() % 300));
    StreamDecoder stream(tokenizer, false);
    std::string streamed;
    for (const int32_t id : ids) {
      streamed += stream.push(id);
      EXPECT_TRUE(utf8_valid(streamed));
    }
    EXPECT_EQ(streamed + stream.finish(), tokenizer->decode(ids, false));
  }
}

// Words and single bytes as LLaMA's vocabulary has them: byte b is id b, then "▁the", "s".
std::shared_ptr<const Tokenizer> byte_fallback_tokenizer() {
  Vocab vocab;
  for (int byte = 0; byte < 256; ++byte) vocab.add(byte_name(byte), byte, "test");
  vocab.add("\u2581the", 256, "test");
  vocab.add("s", 257, "test");
  PipelineParts parts;
  BpeOptions options;
  options.byte_fallback = true;
  parts.model = make_bpe(std::move(vocab), {}, options, "test");
  parts.decoder = decoders::sequence(
      {decoders::replace("\u2581", " "), decoders::byte_fallback(), decoders::fuse(), decoders::strip(' ', 1, 0)});
  return make_pipeline_tokenizer(std::move(parts));
}

std::string answer_after(const std::shared_ptr<const Tokenizer>& tokenizer, const std::vector<int32_t>& prompt,
                         const std::vector<int32_t>& answer) {
  StreamDecoder decoder(tokenizer, true);
  for (const int32_t id : prompt) decoder.push(id);
  decoder.tell_no_more();
  StreamDecoder copy = decoder;
  std::string text;
  for (const int32_t id : answer) text += copy.push(id);
  return text + copy.finish();
}

// Bytes are held back until the run of them ends, in the answer: those of the prompt are not told there.
TEST(StreamDecoder, AnAnswerDoesNotBeginWithItsPrompt) {
  const std::shared_ptr<const Tokenizer> tokenizer = byte_fallback_tokenizer();
  const std::vector<int32_t> sun = {0xE6, 0x97, 0xA5};  // one character
  const auto with = [&](std::vector<int32_t> ids, const std::vector<int32_t>& more) {
    ids.insert(ids.end(), more.begin(), more.end());
    return ids;
  };
  EXPECT_EQ(answer_after(tokenizer, sun, {257, 256}), "s the");
  EXPECT_EQ(answer_after(tokenizer, {256, 0x0A}, {0x0A, 257}), "\ns");
  EXPECT_EQ(answer_after(tokenizer, {256, 0x0A}, {}), "");
  EXPECT_EQ(answer_after(tokenizer, sun, with(sun, {257})), "\u65E5s");
  EXPECT_EQ(answer_after(tokenizer, {}, {256, 257}), "thes");
  EXPECT_EQ(answer_after(tokenizer, {257}, {256, 257}), " thes");
  // A character that the prompt leaves open is the answer's.
  EXPECT_EQ(answer_after(tokenizer, {0xE6, 0x97}, {0xA5, 257}), "\u65E5s");
  // The run is no text as a whole: of its three bytes in the prompt nothing is told, of the answer's one a replacement.
  EXPECT_EQ(answer_after(tokenizer, sun, {0xE6, 257}), "\uFFFDs");
  EXPECT_EQ(answer_after(tokenizer, {0xE6}, {257}), "s");
  // Byte-level: parts of characters.
  const std::shared_ptr<const Tokenizer> bytes = byte_tokenizer();
  const std::vector<int32_t> half = bytes->encode_ids("\u65E5", true);
  ASSERT_EQ(half.size(), 3u);
  EXPECT_EQ(answer_after(bytes, {half[0]}, bytes->encode_ids("a", true)), "a");
  EXPECT_EQ(answer_after(bytes, {half[0]}, {half[1], half[2]}), "\u65E5");
  EXPECT_EQ(answer_after(bytes, {half[0], half[1], half[2]}, half), "\u65E5");
}

TEST(Tokenizer, InvalidUtf8IsAnError) {
  EXPECT_THROW(byte_tokenizer()->encode("a\xFFz", true), Error);
  EXPECT_THROW(byte_tokenizer()->encode("\xED\xA0\x80", true), Error);
}

TEST(Tokenizer, SpecialTokensAreTakenOutOrReadAsText) {
  const std::shared_ptr<const Tokenizer> tokenizer = byte_tokenizer();
  const int32_t end = *tokenizer->token_to_id("<end>");
  EXPECT_TRUE(tokenizer->is_special(end));
  const std::vector<int32_t> ids = tokenizer->encode_ids("a<end>b", true);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), end), 1);
  EXPECT_EQ(tokenizer->decode(ids, true), "ab");
  EXPECT_EQ(tokenizer->decode(ids, false), "a<end>b");
  EncodeOptions options;
  options.special_as_text = true;
  const Encoding plain = tokenizer->encode("a<end>b", options);
  EXPECT_EQ(std::count(plain.ids.begin(), plain.ids.end(), end), 0);
  EXPECT_EQ(tokenizer->id_to_token(99999), "");
  EXPECT_EQ(tokenizer->decode({99999, -5}, false), "");
}

TEST(Tokenizer, ManyThreadsGetTheSameIds) {
  const std::shared_ptr<const Tokenizer> tokenizer = byte_tokenizer();
  const std::string text = "abc dabc <end> aabb\u4E2D abcd dcba abab";
  const std::vector<int32_t> expected = tokenizer->encode_ids(text, true);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) wrong += tokenizer->encode_ids(text, true) != expected ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(WordCache, ForgetsWhenFullAndStaysRight) {
  WordCache cache;
  WordCache::Hit hit;
  for (int round = 0; round < 40000; ++round) {
    const std::string word = std::to_string(round);
    const WordCache::Entry entry{round, static_cast<uint32_t>(word.size())};
    ASSERT_FALSE(cache.find(word, hash_bytes(word), hit));
    cache.insert(word, hash_bytes(word), &entry, 1);
    ASSERT_TRUE(cache.find(word, hash_bytes(word), hit));
    ASSERT_EQ(hit.entries[0].id, round);
  }
}

// Strings chosen so that without a seed all of them begin their search at one slot.
TEST(Vocab, ChosenStringsDoNotCollide) {
  constexpr uint64_t kMul = 0x9E3779B97F4A7C15ull, kLast = 0xBF58476D1CE4E5B9ull;
  const auto inverse = [](uint64_t odd) {
    uint64_t x = odd;
    for (int i = 0; i < 6; ++i) x *= 2 - odd * x;
    return x;
  };
  const uint64_t undo_mul = inverse(kMul), undo_last = inverse(kLast);
  Vocab vocab;
  std::string token(8, ' ');
  constexpr int kCount = 400'000;
  for (uint64_t high = 0; vocab.size() < kCount; ++high) {
    uint64_t h = (high << 20) * undo_last;  // hashes whose low 20 bits are zero
    h ^= h >> 29;
    h ^= h >> 58;
    h ^= h >> 32;
    const uint64_t word = (h * undo_mul) ^ (8 * kMul);
    std::memcpy(token.data(), &word, 8);
    ASSERT_EQ(hash_bytes(token) & 0xFFFFF, 0u);
    vocab.add(token, vocab.size(), "test");
  }
  EXPECT_EQ(vocab.find(token), kCount - 1);
}

TEST(StringFinder, LeftmostThenLongest) {
  StringFinder finder;
  finder.build({"bc", "abcd", "ab", "", "c"});
  const auto find = [&](std::string_view text) {
    std::string out;
    std::vector<StringFinder::Match> matches;
    finder.find_all(text, matches);
    for (const StringFinder::Match& match : matches)
      out += std::string(text.substr(match.begin, match.end - match.begin)) + ",";
    return out;
  };
  EXPECT_EQ(find("abcd"), "abcd,");
  EXPECT_EQ(find("abcx"), "ab,c,");
  EXPECT_EQ(find("xbcab"), "bc,ab,");
  EXPECT_EQ(find("zzz"), "");
  finder.build({"aab", "aa", "ba", "ab"});
  EXPECT_EQ(find("aaab"), "aa,ab,");
  EXPECT_EQ(find("xaabaaba"), "aab,aab,");
  finder.build({"<s>", "<s>>"});
  EXPECT_EQ(find("a<s>>b<s<s>"), "<s>>,<s>,");
}

// The cases of before, by trying every string at every place.
TEST(StringFinder, FindsWhatTryingFinds) {
  uint32_t seed = 1;
  const auto letters = [&](uint32_t most) {
    std::string text;
    const uint32_t size = (seed = seed * 1664525 + 1013904223) >> 16;
    for (uint32_t i = 0; i < size % (most + 1); ++i) text += "ab"[(seed = seed * 1664525 + 1013904223) >> 31];
    return text;
  };
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> keys(static_cast<size_t>(round) % 5 + 1);
    for (std::string& key : keys) key = letters(5);
    const std::string text = letters(24);
    std::vector<std::pair<size_t, size_t>> need, got;
    for (size_t pos = 0; pos < text.size();) {
      size_t longest = 0;
      for (const std::string& key : keys) {
        if (text.compare(pos, key.size(), key) == 0) longest = std::max(longest, key.size());
      }
      if (longest > 0) need.emplace_back(pos, pos + longest);
      pos += std::max<size_t>(longest, 1);
    }
    StringFinder finder;
    finder.build(keys);
    std::vector<StringFinder::Match> matches;
    finder.find_all(text, matches);
    for (const StringFinder::Match& match : matches) {
      got.emplace_back(match.begin, match.end);
      EXPECT_EQ(keys[static_cast<size_t>(match.key)], text.substr(match.begin, match.end - match.begin));
    }
    EXPECT_EQ(got, need) << text;
  }
}

// A long string that nearly matches everywhere, and a short one that does: forwards this is the cube of the length.
TEST(StringFinder, LongStringsCostNoMoreThanTheText) {
  const std::string many(200'000, 'a');
  StringFinder finder;
  finder.build({many + "b", "a"});
  std::vector<StringFinder::Match> matches;
  finder.find_all(many, matches);
  EXPECT_EQ(matches.size(), many.size());
}

// Answers that begin with one prompt decode it once: copies stand where the decoder stood, and go their own ways.
TEST(StreamDecoder, CopiesGoOnWhereItStood) {
  const std::vector<DecoderPtr> kinds = {decoders::byte_level(),
                                         decoders::metaspace('_', true),
                                         decoders::wordpiece("##", true),
                                         decoders::bpe("</w>"),
                                         decoders::ctc("<pad>", "|", true),
                                         decoders::replace("ab", "x"),
                                         decoders::fuse(),
                                         decoders::strip(' ', 1, 1),
                                         decoders::byte_fallback(),
                                         decoders::join(" "),
                                         clean_up_decoder(),
                                         decoders::replace(Regex::compile("a+", PatternDialect::kRust, "test"), "y"),
                                         decoders::sequence({decoders::replace("_", " "), decoders::byte_fallback(),
                                                             decoders::fuse(), decoders::strip(' ', 1, 0)})};
  const std::vector<std::string> tokens = {"_a", "##b", "<0xE4>", "<0xB8>", "<0xAD>", " do",    " n'", "t</w>",
                                           "a",  "a",   "|",      " x ",    "\u00c3", "\u00a9", " .",  "_ab"};
  for (size_t kind = 0; kind < kinds.size(); ++kind) {
    for (size_t cut = 0; cut <= tokens.size(); ++cut) {
      DecodeSink sink, other;
      const std::unique_ptr<DecodeStage> stage = kinds[kind]->stage(&sink);
      for (size_t i = 0; i < cut; ++i) stage->put(tokens[i], true);
      const std::string before = sink.take();
      const std::unique_ptr<DecodeStage> copy = stage->copy(&other);
      stage->put("elsewhere", true);
      stage->finish();
      for (size_t i = cut; i < tokens.size(); ++i) copy->put(tokens[i], true);
      copy->finish();
      DecodeSink whole;
      const std::unique_ptr<DecodeStage> fresh = kinds[kind]->stage(&whole);
      for (const std::string& token : tokens) fresh->put(token, true);
      fresh->finish();
      EXPECT_EQ(before + other.take(), whole.take()) << kind << " " << cut;
    }
  }
}

TEST(CleanUp, WorksAcrossTokens) {
  DecodeSink sink;
  const std::unique_ptr<DecodeStage> stage = clean_up_decoder()->stage(&sink);
  for (const char* const part : {"I do", " n'", "t", " .", " '", "s x", " '", " ", "y"}) stage->put(part, true);
  stage->finish();
  EXPECT_EQ(sink.take(), "I don't.'s x'y");
}

}  // namespace
}  // namespace pagoda
