// Calls as Hermes and Qwen write them: <tool_call>{"name": ..., "arguments": {...}}</tool_call>.
#include "generate/chat/tool_formats.h"

namespace pagoda::chat {

namespace {

constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";

class HermesParser final : public MarkedParser {
 public:
  void finish(std::vector<AnswerPiece>& out) override {
    // A closing mark that was cut off is no text.
    const bool blank = held_.find_first_not_of(" \t\r\n") == std::string::npos;
    end(state_ == State::kClosing || (state_ == State::kText && blank), out);
  }

 private:
  enum class State { kText, kBefore, kObject, kClosing };

  void step(char c) override {
    switch (state_) {
      case State::kText:
        if (find_mark(c, kOpen)) state_ = State::kBefore;
        return;
      case State::kBefore:
        if (is_json_space(c)) {
          held_ += c;
          return;
        }
        if (c != '{') return give_up(c);
        begin_object();
        state_ = State::kObject;
        [[fallthrough]];
      case State::kObject: return in_object(c);
      case State::kClosing: return closing(c);
    }
  }

  void in_object(char c) {
    const JsonScanner::State state = scan(c);
    if (state == JsonScanner::State::kMore) return;
    if (state == JsonScanner::State::kBad) return give_up(c);
    state_ = State::kText;
    if (const auto call = parse_call(object(), false)) {
      tell(*call);
      state_ = State::kClosing;
    } else {
      release();
    }
  }

  // Some models leave the closing mark out: then this is text again.
  void closing(char c) {
    if (c == kClose[matched_]) {
      held_ += c;
      if (++matched_ < kClose.size()) return;
      held_.clear();
    } else if (matched_ == 0 && is_json_space(c)) {
      held_ += c;
      return;
    } else {
      std::string again;
      again.swap(held_);
      matched_ = 0;
      state_ = State::kText;
      for (const char each : again) step(each);
      return step(c);
    }
    matched_ = 0;
    state_ = State::kText;
  }

  void give_up(char c) {
    release();
    state_ = State::kText;
    step(c);
  }

  State state_ = State::kText;
};

}  // namespace

std::unique_ptr<ToolParser> make_hermes_parser() { return std::make_unique<HermesParser>(); }

}  // namespace pagoda::chat
