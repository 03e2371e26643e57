// Masks: exactly the tokens that can follow, whatever is remembered; ends; copies; real vocabularies; the cache of grammars.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "base/error.h"
#include "formats/tokenizer_loader.h"
#include "generate/grammar/machine.h"
#include "tests/grammar/walk.h"
#include "tests/test_data.h"

namespace pagoda {
namespace {

using grammar::Machine;
using grammar_test::kEnd;
using grammar_test::toy_vocabulary;
using grammar_test::Walk;
using grammar_test::walk;

const char* const kSchema = R"({"type": "object", "properties": {"name": {"type": "string", "minLength": 2, "maxLength": 12},
    "list": {"type": "array", "items": {"type": ["integer", "string", "null"]}, "minItems": 1, "maxItems": 5}, "more": {}}})";

std::vector<bool> allowed_by_mask(Machine& machine, Machine::Place& place, int64_t size) {
  std::vector<float> logits(static_cast<size_t>(size), 1.0f);
  machine.mask(place, logits.data(), size, {});
  std::vector<bool> out(static_cast<size_t>(size));
  for (size_t i = 0; i < out.size(); ++i) out[i] = logits[i] == 1.0f;
  return out;
}

// Every token is tried on its own, against the mask that was put together from parts.
void expect_exact_masks(const GrammarPtr& grammar, const std::shared_ptr<const TokenVocabulary>& vocabulary, uint32_t seed,
                        int steps) {
  Machine& machine = *grammar->machine(vocabulary);
  std::mt19937 random(seed);
  Machine::Place place = machine.start();
  std::string text;
  for (int step = 0; step < steps; ++step) {
    const std::vector<bool> allowed = allowed_by_mask(machine, place, vocabulary->size());
    std::vector<int32_t> good;
    for (int32_t id = 0; id < vocabulary->size(); ++id) {
      Machine::Place next = place;
      const bool fits = machine.advance(next, id);
      ASSERT_EQ(fits, static_cast<bool>(allowed[static_cast<size_t>(id)]))
          << "after '" << text << "': '" << vocabulary->bytes(id) << "'";
      if (fits) good.push_back(id);
    }
    if (good.empty()) {
      EXPECT_TRUE(machine.may_end(place)) << text;
      return;
    }
    const int32_t token = good[random() % good.size()];
    text += vocabulary->bytes(token);
    ASSERT_TRUE(machine.advance(place, token));
  }
}

TEST(MaskTest, AllowsExactlyWhatCanFollow) {
  const GrammarPtr grammars[] = {
      compile_json_schema(Json::parse(kSchema, "test")),
      compile_json_object(),
      compile_regex("([a-c]{2,5}|\u00E9\u4E2D|\\d{3}){1,70}\\.(aa){0,40}"),
      compile_gbnf("root ::= root \"+\" term | term\nterm ::= \"(\" root \")\" | [0-9]+ | \"abc\"{2,90}"),
      compile_choice({"a", "ab", "abc", "\u00E9\u00E9", "aaaaaaaaaaaaaaaaaaaab"}),
      compile_gbnf("root ::= (x | x x | y)* \"c\"\nx ::= \"a\" | \"aa\" | \"ab\" y?\ny ::= x \"b\" | \"aab\""),
  };
  for (const GrammarPtr& grammar : grammars) {
    for (uint32_t seed = 0; seed < 8; ++seed) expect_exact_masks(grammar, toy_vocabulary(), seed, 14);
  }
}

// What the engine bounds over all sequences of a request.
TEST(MaskTest, WorkIsToldOnceAndOnlyWhereItWasDone) {
  const auto vocabulary = toy_vocabulary();
  const auto first = make_constraint(compile_json_schema(Json::parse(kSchema, "test")), vocabulary, {kEnd});
  EXPECT_EQ(first->take_work(), 0);  // done by who made it
  const auto second = first->clone();
  std::vector<float> logits(static_cast<size_t>(vocabulary->size()));
  const auto take = [&](TokenConstraint& constraint) {
    constraint.mask(logits.data(), vocabulary->size());
    constraint.accept(1 + '{');
    EXPECT_FALSE(constraint.complete());
    return constraint.take_work();
  };
  EXPECT_GT(take(*first), 0);
  EXPECT_EQ(first->take_work(), 0);
  EXPECT_EQ(take(*second), 0);  // the same text: all is known
}

TEST(MaskTest, ForgettingChangesNothing) {
  GrammarLimits small;
  small.max_cache_bytes = 30000;
  const GrammarPtr forgetful = compile_json_schema(Json::parse(kSchema, "test"), {}, small);
  const GrammarPtr other = compile_json_schema(Json::parse(kSchema, "test"));
  const auto vocabulary = toy_vocabulary();
  for (uint32_t seed = 0; seed < 5; ++seed) expect_exact_masks(forgetful, vocabulary, seed, 20);
  for (uint32_t seed = 0; seed < 20; ++seed)
    EXPECT_EQ(walk(forgetful, vocabulary, seed).text, walk(other, vocabulary, seed).text);
}

TEST(MaskTest, LongTextsKeepBoundedMemory) {
  GrammarLimits limits;
  limits.max_cache_bytes = 1 << 20;
  const GrammarPtr grammar = compile_regex("[ab]{0,1000000}", limits);
  const auto vocabulary = toy_vocabulary();
  const auto constraint = make_constraint(grammar, vocabulary, {kEnd});
  std::vector<float> logits(static_cast<size_t>(vocabulary->size()));
  for (int i = 0; i < 20000; ++i) {
    constraint->mask(logits.data(), vocabulary->size());
    constraint->accept(1 + 'a');
    ASSERT_FALSE(constraint->complete());
  }
  EXPECT_LT(grammar->memory_bytes(), 3 << 20);
}

TEST(ConstraintTest, EndsAreAllowedWhereTheTextMayEnd) {
  const auto vocabulary = toy_vocabulary();
  const auto constraint = make_constraint(compile_regex("ab?"), vocabulary, {kEnd, 1000});
  const auto ends = [&] {
    std::vector<float> logits(1001, 2.0f);
    constraint->mask(logits.data(), 1001);
    EXPECT_EQ(logits[0], logits[1000]);
    EXPECT_TRUE(std::isinf(logits[999]));
    return logits[1000] == 2.0f;
  };
  EXPECT_FALSE(ends());
  constraint->accept(1 + 'a');
  EXPECT_TRUE(ends());
  EXPECT_FALSE(constraint->complete());
  const auto copy = constraint->clone();
  constraint->accept(1 + 'b');
  EXPECT_TRUE(ends());
  EXPECT_TRUE(constraint->complete());
  EXPECT_FALSE(copy->complete());
  copy->accept(kEnd);
  EXPECT_TRUE(copy->complete());
}

TEST(ConstraintTest, ForcedTokenEndsTheText) {
  const auto constraint = make_constraint(compile_regex("ab"), toy_vocabulary(), {kEnd});
  constraint->accept(1 + 'x');
  EXPECT_TRUE(constraint->complete());
}

TEST(ConstraintTest, VocabularyThatCannotBegin) {
  const auto vocabulary = std::make_shared<const TokenVocabulary>(std::vector<std::string>{"a", "b"});
  EXPECT_THROW(make_constraint(compile_regex("c"), vocabulary, {}), Error);
  // A text that the vocabulary cannot finish ends where nothing fits, and never hangs.
  const auto constraint = make_constraint(compile_regex("ac"), vocabulary, {});
  EXPECT_FALSE(constraint->complete());
  constraint->accept(0);
  EXPECT_TRUE(constraint->complete());
}

TEST(ConstraintTest, PartsOfCharactersMustBeFinishable) {
  const auto vocabulary = toy_vocabulary();
  const auto constraint = make_constraint(compile_regex("[\u00E9\u4E2D]+"), vocabulary, {kEnd});
  std::vector<float> logits(static_cast<size_t>(vocabulary->size()), 0.0f);
  constraint->mask(logits.data(), vocabulary->size());
  for (int32_t id = 1; id < vocabulary->size(); ++id) {
    const std::string& bytes = vocabulary->bytes(id);
    const bool expected = std::string("\u00E9\u00E9").compare(0, bytes.size(), bytes) == 0 ||
                          std::string("\u4E2D\u00E9").compare(0, bytes.size(), bytes) == 0;
    EXPECT_EQ(std::isfinite(logits[static_cast<size_t>(id)]), expected) << id;
  }
}

TEST(VocabularyTest, TreeHoldsEveryToken) {
  const TokenVocabulary vocabulary(std::vector<std::string>{"b", "ab", "", "abc", "ab", "ca"});
  EXPECT_EQ(vocabulary.longest(), 3);
  std::vector<std::string> seen;
  std::string path;
  const auto& nodes = vocabulary.nodes();
  for (size_t at = 1; at + 1 < nodes.size(); ++at) {
    path.resize(static_cast<size_t>(nodes[at].depth) - 1);
    path += static_cast<char>(nodes[at].byte);
    for (int32_t i = nodes[at].first_token; i < nodes[at + 1].first_token; ++i) {
      const int32_t id = vocabulary.tokens()[static_cast<size_t>(i)];
      EXPECT_EQ(vocabulary.bytes(id), path);
      seen.push_back(std::to_string(id));
    }
  }
  EXPECT_THAT(seen, testing::ElementsAre("1", "4", "3", "0", "5"));
}

TEST(GrammarCacheTest, KeepsWhatIsUsedInBounds) {
  GrammarSource source;
  source.kind = GrammarSource::Kind::kRegex;
  GrammarCache cache(20000);
  source.text = "a{1,3}";
  const GrammarPtr first = cache.get(source);
  EXPECT_EQ(cache.get(source), first);
  for (int i = 0; i < 200; ++i) {
    source.text = "b{" + std::to_string(i) + "}";
    cache.get(source);
    source.text = "a{1,3}";
    EXPECT_EQ(cache.get(source), first);
  }
  EXPECT_LE(cache.memory_bytes(), 20000);
  EXPECT_LT(cache.size(), 200);
  source.text = "(";
  EXPECT_THROW(cache.get(source), Error);
  source.kind = GrammarSource::Kind::kChoice;
  source.text.clear();
  source.choices = {"ab", "c"};
  const GrammarPtr choice = cache.get(source);
  source.choices = {"a", "bc"};
  EXPECT_NE(cache.get(source), choice);
  source.kind = GrammarSource::Kind::kJsonSchema;
  source.text = R"({"type": "null"})";
  EXPECT_TRUE(cache.get(source)->matches("null"));
}

TEST(GrammarCacheTest, ManyThreads) {
  GrammarCache cache(1 << 20);
  const auto vocabulary = toy_vocabulary();
  std::vector<std::thread> threads;
  std::vector<std::string> texts(4);
  for (size_t t = 0; t < texts.size(); ++t) {
    threads.emplace_back([&, t] {
      GrammarSource source;
      source.kind = GrammarSource::Kind::kJsonSchema;
      source.text = kSchema;
      for (uint32_t seed = 0; seed < 5; ++seed) texts[t] += walk(cache.get(source), vocabulary, seed).text;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) EXPECT_EQ(text, texts[0]);
}

class RealVocabularyTest : public testing::TestWithParam<const char*> {};

TEST_P(RealVocabularyTest, TokensWriteTheirBytes) {
  const char* const data = test::test_data();
  if (data == nullptr) GTEST_SKIP() << "needs PAGODA_TEST_DATA";
  const auto tokenizer = load_tokenizer(std::string(data) + "/tokenizers/" + GetParam());
  const auto vocabulary = std::make_shared<const TokenVocabulary>(*tokenizer);
  // Bytes of the tokens of a text, put together, are the text (behind a first word, whose space some decoders drop).
  const std::string text = "x {\"caf\u00E9\": [1, \"\U0001F642\u4E2D\"],\n  \"b\":  true}";
  std::string together;
  for (const int32_t id : tokenizer->encode_ids(text, false)) together += vocabulary->bytes(id);
  if (together.size() == text.size() + 1 && together[0] == ' ') together.erase(0, 1);
  EXPECT_EQ(together, text);

  const GrammarPtr grammar = compile_json_schema(Json::parse(kSchema, "test"));
  for (uint32_t seed = 0; seed < 2; ++seed) expect_exact_masks(grammar, vocabulary, seed, 6);
  // What a stream decoder makes of the tokens, mid text, is what the grammar took.
  Machine& machine = *grammar->machine(vocabulary);
  std::mt19937 random(3);
  for (int round = 0; round < 10; ++round) {
    Machine::Place place = machine.start();
    StreamDecoder decoder(tokenizer, true);
    for (const int32_t id : tokenizer->encode_ids("go:", false)) decoder.push(id);
    std::string decoded, written;
    for (int step = 0; step < 30 && machine.may_go_on(place); ++step) {
      const std::vector<bool> allowed = allowed_by_mask(machine, place, vocabulary->size());
      std::vector<int32_t> good;
      for (int32_t id = 0; id < vocabulary->size(); ++id) {
        if (allowed[static_cast<size_t>(id)]) good.push_back(id);
      }
      const int32_t token = good[random() % good.size()];
      EXPECT_FALSE(tokenizer->is_special(token));
      ASSERT_TRUE(machine.advance(place, token));
      written += vocabulary->bytes(token);
      decoded += decoder.push(token);
    }
    decoded += decoder.finish();
    const size_t whole = utf8_complete_prefix(written);
    EXPECT_EQ(decoded.substr(0, whole), written.substr(0, whole));
  }
}

INSTANTIATE_TEST_SUITE_P(Files, RealVocabularyTest,
                         testing::Values("gpt-neox-20b/tokenizer.json", "phi-2/tokenizer.json", "llama2/tokenizer.json",
                                         "llama2/tokenizer.model", "tiktoken/cl100k_base.tiktoken",
                                         "ggml_vocab/ggml-vocab-starcoder.gguf",
                                         "mistral/mistral_instruct_tokenizer_241114.model.v7"),
                         [](const auto& file) {
                           std::string name = file.param;
                           for (char& c : name) {
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace pagoda
