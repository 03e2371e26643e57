// Thoughts split from answers, and the constraint that waits for them or ends them.
#include "generate/chat/reasoning.h"

#include <limits>

#include "base/error.h"
#include "tests/chat/answers.h"

namespace pagoda::chat {
namespace {

using testing::read_every_way;

std::string split(ReasoningStart start, const std::string& text) {
  return read_every_way([&] { return AnswerParser(start, nullptr); }, text);
}

TEST(Reasoning, IsSplitOff) {
  for (const ReasoningStart start : {ReasoningStart::kOpen, ReasoningStart::kPossible}) {
    EXPECT_EQ(split(start, "<think>\na < b</think>\n\nYes."), "[\na < b]|\n\nYes.");
    EXPECT_EQ(split(start, "\n<think></think>Yes </think>"), "Yes </think>");
    EXPECT_EQ(split(start, "<think>cut </thi"), "[cut </thi]");
  }
  EXPECT_EQ(split(ReasoningStart::kOpen, "a</think>b"), "[a]|b");
  EXPECT_EQ(split(ReasoningStart::kOpen, " </think>b"), "[ ]|b");
  EXPECT_EQ(split(ReasoningStart::kOpen, "</think>b"), "b");
  EXPECT_EQ(split(ReasoningStart::kOpen, "all of it"), "[all of it]");
  EXPECT_EQ(split(ReasoningStart::kPossible, "a</think>b"), "a</think>b");
  EXPECT_EQ(split(ReasoningStart::kPossible, " <thin"), " <thin");
  EXPECT_EQ(split(ReasoningStart::kClosed, "<think>b</think>"), "<think>b</think>");
  EXPECT_EQ(split(ReasoningStart::kOpen, ""), "");
}

TEST(Reasoning, ComesBeforeCalls) {
  const auto make = [] { return AnswerParser(ReasoningStart::kPossible, make_tool_parser(ToolFormat::kHermes, {})); };
  EXPECT_EQ(read_every_way(make, R"(<think>try <tool_call></think>

<tool_call>{"name": "f", "arguments": {}}</tool_call>)"),
            "[try <tool_call>]|f({})");
}

TEST(Reasoning, StartOfAnAnswer) {
  using enum ReasoningStart;
  const auto start = [](ReasoningFormat format, std::string_view prompt) { return reasoning_start(format, prompt, false); };
  EXPECT_EQ(start(ReasoningFormat::kQwen3, "user\nassistant\n"), kPossible);
  EXPECT_EQ(start(ReasoningFormat::kDeepseekR1, "user\nassistant\n"), kOpen);
  EXPECT_EQ(start(ReasoningFormat::kQwen3, "assistant\n<think>\n"), kOpen);
  EXPECT_EQ(start(ReasoningFormat::kDeepseekR1, "assistant\n<think>\n\n</think>\n\n"), kClosed);
  // An earlier turn's thoughts say nothing, but where that turn goes on.
  EXPECT_EQ(start(ReasoningFormat::kQwen3, "<think>a</think>b user assistant"), kPossible);
  EXPECT_EQ(reasoning_start(ReasoningFormat::kQwen3, "<think>a</think>b", true), kClosed);
  EXPECT_EQ(reasoning_start(ReasoningFormat::kQwen3, "<think>a", true), kOpen);
  EXPECT_EQ(reasoning_format("qwen3"), ReasoningFormat::kQwen3);
  EXPECT_THROW(reasoning_format("none"), Error);
}

// Ids: 0 "a", 1 "<think>", 2 "</think>", 3 end; `parts`: without 2, and "</" 4, "think>" 5 instead.
class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(bool parts) : parts_(parts) {}
  Encoding encode(std::string_view, const EncodeOptions&) const override {
    Encoding encoding;
    encoding.ids = parts_ ? std::vector<int32_t>{4, 5} : std::vector<int32_t>{2};
    return encoding;
  }
  Encoding encode_pair(std::string_view, std::string_view, const EncodeOptions&) const override { return {}; }
  int64_t vocab_size() const override { return 6; }
  int64_t id_limit() const override { return 6; }
  std::optional<int32_t> token_to_id(std::string_view token) const override {
    for (int32_t id = 0; id < 6; ++id) {
      if (id_to_token(id) == token && !(parts_ && id == 2)) return id;
    }
    return std::nullopt;
  }
  std::string id_to_token(int32_t id) const override {
    static const char* const kTexts[] = {"a", "<think>", "</think>", "<end>", "</", "think>"};
    return kTexts[id];
  }
  bool is_special(int32_t id) const override { return id == 3; }
  std::optional<std::string> token_bytes(int32_t id) const override {
    if (id == 2) return std::nullopt;  // as a special token has none
    return id_to_token(id);
  }

 protected:
  class Through : public PlainStage<Through> {
   public:
    using PlainStage::PlainStage;
    void put(std::string_view text, bool end) override { next_->put(text, end); }
  };
  std::unique_ptr<DecodeStage> decode_stage(DecodeStage* next) const override { return std::make_unique<Through>(next); }
  bool decode_token(int32_t id, bool, std::string& token) const override {
    token = id_to_token(id);
    return true;
  }

 private:
  bool parts_;
};

// Allows `a` alone, twice.
class TwiceA : public TokenConstraint {
 public:
  std::unique_ptr<TokenConstraint> clone() const override { return std::make_unique<TwiceA>(*this); }
  void mask(float* logits, int64_t vocab) override {
    for (int64_t i = 1; i < vocab; ++i) logits[i] = -std::numeric_limits<float>::infinity();
  }
  void accept(int32_t) override { ++count_; }
  bool complete() const override { return count_ == 2; }

 private:
  int count_ = 0;
};

std::string allowed(TokenConstraint& constraint) {
  std::vector<float> logits(6, 0);
  constraint.mask(logits.data(), 6);
  std::string list;
  for (size_t i = 0; i < 6; ++i) {
    if (logits[i] > -1e20F) list += std::to_string(i);
  }
  return list;
}

TEST(ThinkingConstraint, WaitsForTheEndOfThoughts) {
  const auto tokenizer = std::make_shared<FakeTokenizer>(false);
  const auto make = [&](ReasoningStart start) {
    return make_thinking_constraint(tokenizer, start, std::nullopt, {3}, std::make_unique<TwiceA>());
  };
  const auto open = make(ReasoningStart::kOpen);
  EXPECT_EQ(allowed(*open), "01245");  // thoughts cannot end the text
  open->accept(0);
  EXPECT_EQ(allowed(*open), "01245");
  open->accept(2);
  EXPECT_EQ(allowed(*open), "0");
  const auto copy = open->clone();
  open->accept(0);
  open->accept(0);
  EXPECT_TRUE(open->complete());
  EXPECT_FALSE(copy->complete());
  const auto possible = make(ReasoningStart::kPossible);
  EXPECT_EQ(allowed(*possible), "01");  // to think, or to answer
  const auto answers = possible->clone();
  possible->accept(1);
  EXPECT_EQ(allowed(*possible), "01245");
  answers->accept(0);
  EXPECT_EQ(allowed(*answers), "0");
  answers->accept(0);
  EXPECT_TRUE(answers->complete());
}

TEST(ThinkingConstraint, EndsThoughtsThatAreTooLong) {
  const auto one = make_thinking_constraint(std::make_shared<FakeTokenizer>(false), ReasoningStart::kOpen, 2, {3}, nullptr);
  EXPECT_EQ(allowed(*one), "012345");
  one->accept(1);  // the mark is no thought
  one->accept(0);
  one->accept(0);
  EXPECT_EQ(allowed(*one), "2");
  one->accept(2);
  EXPECT_EQ(allowed(*one), "012345");
  EXPECT_FALSE(one->complete());
  // A tokenizer that knows more tokens than the model.
  const auto beyond = make_thinking_constraint(std::make_shared<FakeTokenizer>(false), ReasoningStart::kOpen, 0, {3}, nullptr);
  std::vector<float> few(2, 0);
  EXPECT_THROW(beyond->mask(few.data(), 2), Error);
  const auto parts = make_thinking_constraint(std::make_shared<FakeTokenizer>(true), ReasoningStart::kPossible, 0, {3},
                                              std::make_unique<TwiceA>());
  parts->accept(1);
  EXPECT_EQ(allowed(*parts), "4");  // a second mark would be a thought
  parts->accept(4);
  EXPECT_EQ(allowed(*parts), "5");
  parts->accept(5);
  EXPECT_EQ(allowed(*parts), "0");
}

}  // namespace
}  // namespace pagoda::chat
