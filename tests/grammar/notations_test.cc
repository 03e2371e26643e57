// Choices, GBNF and Lark: which texts fit, which grammars are refused, and what hostile ones cost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "tests/grammar/walk.h"

namespace pagoda {
namespace {

using grammar_test::kEnd;
using grammar_test::toy_vocabulary;
using grammar_test::Walk;
using grammar_test::walk;

void expect_texts(const GrammarPtr& grammar, const std::vector<std::string>& good, const std::vector<std::string>& bad) {
  for (const std::string& text : good) EXPECT_TRUE(grammar->matches(text)) << "'" << text << "'";
  for (const std::string& text : bad) EXPECT_FALSE(grammar->matches(text)) << "'" << text << "'";
}

template <class Function>
std::string error_of(Function function, ErrorKind kind) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.message();
    return error.message();
  }
  ADD_FAILURE() << "no error";
  return {};
}

// "" where nothing is thrown.
template <class Function>
std::string error_if_any(Function function, ErrorKind kind) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.message();
    return error.message();
  }
  return "";
}

TEST(ChoiceTest, TakesTheStringsAndNothingElse) {
  expect_texts(compile_choice({"positive", "negative", "neutral", "n\u00E9\"g"}), {"positive", "neutral", "n\u00E9\"g"},
               {"", "pos", "positively", "Neutral"});
  expect_texts(compile_choice({"", "a"}), {"", "a"}, {"aa"});
}

TEST(ChoiceTest, EmptyListIsAnError) {
  EXPECT_THAT(error_of([] { compile_choice({}); }, ErrorKind::kInvalidInput), testing::HasSubstr("no choices"));
  EXPECT_THAT(error_of([] { compile_choice({"\xFF"}); }, ErrorKind::kInvalidInput), testing::HasSubstr("UTF-8"));
}

TEST(ChoiceTest, EmptyTextNeedsAnEnd) {
  const GrammarPtr empty = compile_choice({""});
  EXPECT_THROW(make_constraint(empty, toy_vocabulary(), {}), Error);
  const auto constraint = make_constraint(empty, toy_vocabulary(), {kEnd});
  std::vector<float> logits(10, 1.0f);
  constraint->mask(logits.data(), 10);
  EXPECT_EQ(logits[0], 1.0f);
  for (size_t i = 1; i < 10; ++i) EXPECT_TRUE(std::isinf(logits[i]));
  EXPECT_TRUE(constraint->complete());
}

TEST(ChoiceTest, TenThousandChoices) {
  std::vector<std::string> choices;
  for (int i = 0; i < 10000; ++i) choices.push_back("choice number " + std::to_string(i));
  const GrammarPtr grammar = compile_choice(choices);
  expect_texts(grammar, {"choice number 0", "choice number 9999"}, {"choice number 10000", "choice number "});
  for (uint32_t seed = 0; seed < 5; ++seed) {
    const Walk one = walk(grammar, toy_vocabulary(), seed);
    EXPECT_TRUE(one.finished && grammar->matches(one.text)) << one.text;
  }
}

TEST(GbnfTest, Operators) {
  expect_texts(compile_gbnf("root ::= \"a\"* b? [c-e]+ ( \"x\" | \"y\" )  # end\nb ::= \"b\"\n"), {"cx", "aabdey", "acx"},
               {"", "ab", "abbcx", "abx", "cxy"});
  expect_texts(compile_gbnf("root ::= [0-9]{2,4} \"-\" [^a-z\\n]{2} \"z\"{2,}"), {"12-AAzz", "1234-\u00E9\u4E2Dzzzz"},
               {"1-AAzz", "12345-AAzz", "12-aAzz", "12-AAz"});
  expect_texts(compile_gbnf("root ::= \"\\x41\\u00e9\\U0001F642\\n\\\"\""), {"A\u00E9\U0001F642\n\""}, {"A"});
  expect_texts(compile_gbnf("root ::= . ."), {"ab", "\u4E2D\U0001F642"}, {"a", "abc", "\xFF\xFF"});
  expect_texts(compile_gbnf("root ::=\n  one |\n  two\n\none ::= \"1\"\ntwo ::= \"2\" \n | \"zwei\""), {"1", "2", "zwei"},
               {"12"});
}

TEST(GbnfTest, Nesting) {
  const GrammarPtr grammar = compile_gbnf("root ::= \"(\" root* \")\"");
  expect_texts(grammar, {"()", "(()())", "((((()))))"}, {"", "(", "(()", "())"});
}

TEST(GbnfTest, LeftRecursionIsRewritten) {
  const GrammarPtr direct = compile_gbnf("root ::= root \"+\" term | term\nterm ::= term \"*\" num | num\nnum ::= [0-9]+");
  expect_texts(direct, {"1", "1+2*3", "12*3*4+5+6"}, {"", "+", "1+", "1++2", "*1"});
  const GrammarPtr indirect = compile_gbnf("root ::= a\na ::= b \"x\" | \"1\"\nb ::= c \"y\" | \"2\"\nc ::= a \"z\" | b \"w\"");
  // a = 1 | b x; b = 2 | c y; c = a z | b w
  expect_texts(indirect, {"1", "2x", "1zyx", "2wyx", "2wywyx", "1zywyx", "2xzyx"}, {"2", "1x", "1zy", "2w", "1zx"});
  const GrammarPtr hidden = compile_gbnf("root ::= ws root \"a\" | \"b\"\nws ::= \" \"*");
  expect_texts(hidden, {"b", "ba", "baa", "  ba", " ba", "  baa"}, {"", "a", "b a"});
  const GrammarPtr counted = compile_gbnf("root ::= (root \"a\"){2,3} | \"b\"");
  expect_texts(counted, {"b", "baba", "bababa", "babaaba"}, {"ba", "babababa"});
  expect_texts(compile_gbnf("root ::= root | a\na ::= root | \"x\""), {"x"}, {"", "xx"});
  EXPECT_THAT(error_of([] { compile_gbnf("root ::= root \"a\""); }, ErrorKind::kInvalidInput),
              testing::HasSubstr("no text fits"));
}

TEST(GbnfTest, EmptyParts) {
  expect_texts(compile_gbnf("root ::= a a a\na ::= \"x\"?"), {"", "x", "xx", "xxx"}, {"xxxx"});
  expect_texts(compile_gbnf("root ::= (\"x\"? \"y\"?){3,60} \"z\""), {"z", "xyxyxyz", "yyxz"}, {"zz", "q"});
  expect_texts(compile_gbnf("root ::= (\"\"){5,10}"), {""}, {"a"});
  expect_texts(compile_gbnf("root ::= ((\"a\"*)*)* \"b\""), {"b", "aab"}, {"a"});
}

TEST(GbnfTest, Errors) {
  using testing::HasSubstr;
  const auto message = [](const char* source, ErrorKind kind = ErrorKind::kInvalidInput) {
    return error_of([&] { compile_gbnf(source); }, kind);
  };
  EXPECT_THAT(message(""), HasSubstr("no rule 'root'"));
  EXPECT_THAT(message("root ::= missing"), HasSubstr("rule 'missing' is used but not defined"));
  EXPECT_THAT(message("root ::= \"a\"\nroot ::= \"b\""), HasSubstr("line 2: rule 'root' is defined twice"));
  EXPECT_THAT(message("root ::= \"a"), HasSubstr("without an end"));
  EXPECT_THAT(message("root ::= [a"), HasSubstr("'[' without ']'"));
  EXPECT_THAT(message("root ::= (\"a\""), HasSubstr("need ')'"));
  EXPECT_THAT(message("root ::= \"a\" )"), HasSubstr("')' without '('"));
  EXPECT_THAT(message("root ::= [z-a]"), HasSubstr("lower end first"));
  EXPECT_THAT(message("root ::= \"a\"{3,2}"), HasSubstr("lower count first"));
  EXPECT_THAT(message("root ::= \"a\"{99999999999}"), HasSubstr("too large"));
  EXPECT_THAT(message("root ::= <think>", ErrorKind::kUnsupported), HasSubstr("angle brackets"));
  EXPECT_THAT(message("root ::= * \"a\""), HasSubstr("unexpected"));
}

TEST(LarkTest, Operators) {
  const GrammarPtr sql = compile_grammar(R"LARK(
?start: select_statement
select_statement: "SELECT " column " from " table (" where " condition)?
column: "col_1" | "col_2"
table: "table_1"
     | "table_2"
condition: column " = " NUMBER  // a comment
NUMBER: /[0-9]+/
)LARK");
  expect_texts(sql, {"SELECT col_1 from table_2", "SELECT col_2 from table_1 where col_1 = 12"},
               {"SELECT col_1", "select col_1 from table_1"});
  expect_texts(compile_lark("start: \"a\"i \"b\"..\"d\" [x] y~2 z~1..3 -> name\nx: \"x\"\ny: \"y\"\nz: \"z\"\n"),
               {"Abxyyz", "adyyzzz"}, {"ayyz", "abyz", "abxyyzzzz"});
}

TEST(LarkTest, IgnoredTextAndImports) {
  const GrammarPtr sums = compile_lark(R"LARK(
start: expr
expr: expr "+" term | term
term: NUMBER | "(" expr ")" | ESCAPED_STRING
%import common.NUMBER
%import common (ESCAPED_STRING, WS)
%ignore WS
)LARK");
  expect_texts(sums, {"1+2", " 1 + ( 2.5e3 +3 ) ", "\"a b\" + 1"}, {"1+", "1 2", "(1"});
}

TEST(LarkTest, Errors) {
  using testing::HasSubstr;
  const auto message = [](const char* source, ErrorKind kind = ErrorKind::kInvalidInput) {
    return error_of([&] { compile_lark(source); }, kind);
  };
  EXPECT_THAT(message("a: \"b\""), HasSubstr("no rule 'start'"));
  EXPECT_THAT(message("start: other"), HasSubstr("'other'"));
  EXPECT_THAT(message("start: x{a}", ErrorKind::kUnsupported), HasSubstr("template"));
  EXPECT_THAT(message("start: /a/i", ErrorKind::kUnsupported), HasSubstr("flag"));
  EXPECT_THAT(message("%declare X", ErrorKind::kUnsupported), HasSubstr("directive"));
  EXPECT_THAT(message("%import python.NAME", ErrorKind::kUnsupported), HasSubstr("common"));
  EXPECT_THAT(message("start: \"0\"..\"\""), HasSubstr("two single characters"));
  EXPECT_THAT(message("start: /a"), HasSubstr("other half"));
  EXPECT_THAT(message("start: \"a\" )"), HasSubstr("other half"));
}

// Hostile grammars: refused, or read and run in bounded time.
TEST(HostileTest, DeepNestingIsRefused) {
  const std::string deep(100000, '('), brackets(100000, '[');
  EXPECT_THROW(compile_gbnf("root ::= " + deep), Error);
  EXPECT_THROW(compile_gbnf("root ::= " + deep + "\"a\"" + std::string(100000, ')')), Error);
  EXPECT_THROW(compile_lark("start: " + brackets), Error);
  EXPECT_THROW(compile_regex(deep), Error);
  EXPECT_THROW(compile_regex(brackets), Error);
  EXPECT_THROW(Json::parse(brackets, "test"), Error);
}

TEST(HostileTest, LongChainsAreRead) {
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 20000; ++i) chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + "\n";
  chain += "r20000 ::= \"x\"";
  EXPECT_TRUE(compile_gbnf(chain)->matches("x"));
  std::string ring = "root ::= r0 | \"y\"\n";
  for (int i = 0; i < 300; ++i) ring += "r" + std::to_string(i) + " ::= r" + std::to_string((i + 1) % 300) + " \"x\" | \"y\"\n";
  EXPECT_TRUE(compile_gbnf(ring)->matches("yxxx"));
}

TEST(HostileTest, HugeCountsNeedNoMemory) {
  const GrammarPtr many = compile_gbnf("root ::= \"ab\"{0,1000000} \"c\"{1000,1000000}");
  EXPECT_LT(many->memory_bytes(), 100000);
  EXPECT_TRUE(many->matches("abab" + std::string(1000, 'c')));
  EXPECT_FALSE(many->matches("abab" + std::string(999, 'c')));
  const GrammarPtr nested = compile_regex("((((a{1,100}){1,100}){1,100}){1,100}){1,100}b");
  EXPECT_LT(nested->memory_bytes(), 1000000);
  EXPECT_TRUE(nested->matches("aaab"));
  EXPECT_FALSE(walk(nested, toy_vocabulary(), 1, 20, 60).stuck);
  EXPECT_THROW(compile_regex("a{0,99999999999}"), Error);
}

TEST(HostileTest, AmbiguousGrammarsAreBounded) {
  // After n letters there are 2^n chains of calls.
  GrammarLimits limits;
  limits.max_readings = 1 << 12;
  limits.max_mask_steps = 200000;
  const GrammarPtr grammar = compile_gbnf("root ::= \"a\" (root \"b\" | root \"c\" | root root)?", limits);
  EXPECT_FALSE(walk(grammar, toy_vocabulary(), 7, 30, 60).stuck);
  EXPECT_TRUE(grammar->matches("aaabc"));
}

TEST(HostileTest, ATokenThatNeedsTooManyStepsFailsItsRequestAndNoOther) {
  const auto vocabulary = toy_vocabulary();
  GrammarLimits limits;
  limits.max_mask_steps = 1000;
  limits.max_token_steps = 3000;
  const auto hostile =
      make_constraint(compile_gbnf("root ::= \"a\" (root \"b\" | root \"c\" | root root)?", limits), vocabulary, {kEnd});
  const auto other = make_constraint(compile_regex("a+", limits), vocabulary, {kEnd});
  std::vector<float> logits(static_cast<size_t>(vocabulary->size()));
  std::string told;
  for (int i = 0; i < 200 && told.empty(); ++i) {
    told = error_if_any(
        [&] {
          std::fill(logits.begin(), logits.end(), 0.0f);
          hostile->mask(logits.data(), vocabulary->size());
          hostile->accept(1 + 'a');
        },
        ErrorKind::kInvalidInput);
    other->mask(logits.data(), vocabulary->size());
    other->accept(1 + 'a');
  }
  EXPECT_THAT(told, testing::HasSubstr("3000 steps"));
  EXPECT_FALSE(other->complete());
}

TEST(GrammarCacheTest, AllThatRunsIsWithinOneBudget) {
  const auto vocabulary = toy_vocabulary();
  GrammarCache cache(int64_t{1} << 20, {}, 200000);
  const auto source = [](int i) {
    GrammarSource made;
    made.kind = GrammarSource::Kind::kRegex;
    made.text = "([ab]{2}|c" + std::to_string(i) + "|[d-f]{1,30}x){1,1000}";
    return made;
  };
  std::vector<std::unique_ptr<TokenConstraint>> running;
  std::string told;
  int begun = 0;
  for (; begun < 1000 && told.empty(); ++begun) {
    told = error_if_any([&] { running.push_back(make_constraint(cache.get(source(begun)), vocabulary, {kEnd})); },
                        ErrorKind::kOutOfMemory);
  }
  EXPECT_GT(begun, 2);
  EXPECT_THAT(told, testing::HasSubstr("200000"));
  // They go on, and what ends makes room.
  std::vector<float> logits(static_cast<size_t>(vocabulary->size()));
  running[0]->mask(logits.data(), vocabulary->size());
  running[0]->accept(1 + 'a');
  EXPECT_FALSE(running[0]->complete());
  EXPECT_NE(error_if_any([&] { cache.get(source(0)); }, ErrorKind::kOutOfMemory), "");
  running.clear();
  EXPECT_TRUE(cache.get(source(begun))->matches("ab"));
}

TEST(HostileTest, NestingOfTextStopsAtTheLimit) {
  GrammarLimits limits;
  limits.max_stack = 50;
  const GrammarPtr grammar = compile_gbnf("root ::= \"[\" root \"]\" | \"x\"", limits);
  EXPECT_TRUE(grammar->matches(std::string(49, '[') + "x" + std::string(49, ']')));
  EXPECT_FALSE(grammar->matches(std::string(100000, '[')));
  // Right recursion needs no stack.
  EXPECT_TRUE(compile_gbnf("root ::= \"a\" root | \"b\"", limits)->matches(std::string(100000, 'a') + "b"));
}

TEST(HostileTest, LimitsAreNamed) {
  GrammarLimits limits;
  limits.max_states = 1000;
  EXPECT_THAT(error_of([&] { compile_gbnf("root ::= \"" + std::string(2000, 'x') + "\"", limits); }, ErrorKind::kInvalidInput),
              testing::HasSubstr("1000 states"));
  limits = {};
  limits.max_source_bytes = 100;
  EXPECT_THAT(error_of([&] { compile_gbnf(std::string(101, ' '), limits); }, ErrorKind::kInvalidInput),
              testing::HasSubstr("100"));
  limits = {};
  limits.max_items = 100;
  EXPECT_THROW(compile_choice(std::vector<std::string>(200, "a"), limits), Error);
}

TEST(WalkTest, TextsOfGrammarsFit) {
  for (const char* const source : {"root ::= root \"+\" term | term\nterm ::= \"(\" root \")\" | [0-9]{1,3}",
                                   "root ::= ([a-z]{2,5} | [\\u00e9\\u4e2d]+){1,4} \".\"", "root ::= \"a\" root \"b\" | \"\"",
                                   "root ::= [^\\x00-\\x7f]{3} (\"x\" | \"y\"*) \"z\""}) {
    const GrammarPtr grammar = compile_gbnf(source);
    int finished = 0;
    for (uint32_t seed = 0; seed < 30; ++seed) {
      const Walk one = walk(grammar, toy_vocabulary(), seed);
      EXPECT_FALSE(one.stuck) << source << ": " << one.text;
      if (!one.finished) continue;
      ++finished;
      EXPECT_TRUE(grammar->matches(one.text)) << source << ": " << one.text;
      EXPECT_TRUE(utf8_valid(one.text));
    }
    EXPECT_GT(finished, 10) << source;
  }
}

}  // namespace
}  // namespace pagoda
