// A constraint that waits until the model has thought, and ends thoughts that are too long.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "generate/chat/json_scanner.h"
#include "generate/chat/reasoning.h"

namespace pagoda::chat {

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// What does not change from token to token.
struct Rule {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::optional<int32_t> open;  // the token <think>, where that is one
  std::vector<int32_t> close;   // the tokens of </think>
  std::optional<int64_t> budget;
  std::vector<int32_t> end_ids;
};

class ThinkingConstraint final : public TokenConstraint {
 public:
  ThinkingConstraint(std::shared_ptr<const Rule> rule, ReasoningStart start, std::unique_ptr<TokenConstraint> answer)
      : rule_(std::move(rule)), answer_(std::move(answer)), state_(start) {}
  ThinkingConstraint(const ThinkingConstraint& other)
      : rule_(other.rule_),
        answer_(other.answer_ ? other.answer_->clone() : nullptr),
        state_(other.state_),
        begins_(other.begins_),
        spent_(other.spent_),
        written_(other.written_),
        matched_(other.matched_) {}
  ThinkingConstraint& operator=(const ThinkingConstraint&) = delete;

  std::unique_ptr<TokenConstraint> clone() const override { return std::make_unique<ThinkingConstraint>(*this); }

  void mask(float* logits, int64_t vocab) override {
    if (state_ == ReasoningStart::kOpen) return mask_thoughts(logits, vocab);
    if (!answer_) return;
    const bool may_open = state_ == ReasoningStart::kPossible && rule_->open && *rule_->open < vocab;
    const float open = may_open ? logits[*rule_->open] : kNever;
    answer_->mask(logits, vocab);
    if (may_open) logits[*rule_->open] = open;
  }

  void accept(int32_t token) override {
    if (state_ == ReasoningStart::kPossible) {
      if (token == rule_->open) {
        state_ = ReasoningStart::kOpen;
        begins_ = false;
        return;
      }
      if (!answer_ && is_blank(text_of(token))) return;
      state_ = ReasoningStart::kClosed;
    }
    if (state_ == ReasoningStart::kClosed) {
      if (answer_) answer_->accept(token);
      return;
    }
    const bool mark = std::exchange(begins_, false) && token == rule_->open;
    if (mark) return;
    if (forced()) ++written_;
    ++spent_;
    if (closes(text_of(token))) state_ = ReasoningStart::kClosed;
  }

  bool complete() const override { return state_ == ReasoningStart::kClosed && answer_ && answer_->complete(); }
  int64_t take_work() override { return answer_ ? answer_->take_work() : 0; }

 private:
  bool forced() const { return rule_->budget && spent_ >= *rule_->budget && written_ < rule_->close.size(); }

  void mask_thoughts(float* logits, int64_t vocab) const {
    if (forced()) {
      const int32_t only = rule_->close[written_];
      // Tokenizers may know more tokens than the model.
      if (only >= vocab) invalid("thinking_token_budget", "the model has no token {} for '{}'", only, kThinkClose);
      const float kept = std::max(logits[only], -1e30F);
      std::fill(logits, logits + vocab, kNever);
      logits[only] = kept;
    } else if (answer_) {
      for (const int32_t id : rule_->end_ids) {
        if (id >= 0 && id < vocab) logits[id] = kNever;
      }
    }
  }

  std::string text_of(int32_t token) const {
    std::optional<std::string> bytes = rule_->tokenizer->token_bytes(token);
    return bytes ? std::move(*bytes) : rule_->tokenizer->id_to_token(token);
  }
  static bool is_blank(const std::string& text) { return std::all_of(text.begin(), text.end(), is_json_space); }
  bool closes(const std::string& text) {
    for (const char c : text) {
      if (c != kThinkClose[matched_]) matched_ = 0;
      if (c == kThinkClose[matched_] && ++matched_ == kThinkClose.size()) return true;
    }
    return false;
  }

  std::shared_ptr<const Rule> rule_;
  std::unique_ptr<TokenConstraint> answer_;
  ReasoningStart state_;
  bool begins_ = true;  // nothing of the thoughts yet, not even their mark
  int64_t spent_ = 0;   // tokens of thoughts
  size_t written_ = 0;  // of rule_->close
  size_t matched_ = 0;  // bytes of the closing mark
};

}  // namespace

std::unique_ptr<TokenConstraint> make_thinking_constraint(std::shared_ptr<const Tokenizer> tokenizer, ReasoningStart start,
                                                          std::optional<int64_t> budget, std::vector<int32_t> end_ids,
                                                          std::unique_ptr<TokenConstraint> answer) {
  auto rule = std::make_shared<Rule>();
  rule->open = tokenizer->token_to_id(kThinkOpen);
  if (const auto id = tokenizer->token_to_id(kThinkClose)) {
    rule->close = {*id};
  } else {
    rule->close = tokenizer->encode_ids(kThinkClose, false);
  }
  if (budget && tokenizer->decode(rule->close, false).find(kThinkClose) == std::string::npos) {
    invalid("thinking_token_budget", "the model's vocabulary cannot write '{}'", kThinkClose);
  }
  rule->tokenizer = std::move(tokenizer);
  rule->budget = budget;
  rule->end_ids = std::move(end_ids);
  return std::make_unique<ThinkingConstraint>(std::move(rule), start, std::move(answer));
}

}  // namespace pagoda::chat
