// Calls as Hermes and Qwen write them: <tool_call>{"name": ..., "arguments": {...}}</tool_call>. Arguments behind a name are
// told as they come.
#include "generate/chat/tool_formats.h"

namespace pagoda::chat {

namespace {

constexpr std::string_view kOpen = "<tool_call>", kClose = "</tool_call>";

class HermesParser final : public MarkedParser {
 public:
  void finish(std::vector<AnswerPiece>& out) override {
    if (state_ == State::kTail) held_.clear();
    // A closing mark that was cut off is no text.
    const bool blank = held_.find_first_not_of(" \t\r\n") == std::string::npos;
    end(state_ == State::kClosing || (state_ == State::kText && blank), out);
  }

 private:
  // kArguments: they are being told. kTail: behind them, in their object.
  enum class State { kText, kBefore, kObject, kArguments, kTail, kClosing };

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
        tried_ = false;
        state_ = State::kObject;
        [[fallthrough]];
      case State::kObject: return in_object(c);
      case State::kArguments: return in_arguments(c);
      case State::kTail: return in_tail(c);
      case State::kClosing: return closing(c);
    }
  }

  void in_object(char c) {
    const JsonScanner::State state = scan(c);
    if (state == JsonScanner::State::kBad) return give_up(c);
    if (state == JsonScanner::State::kMore) {
      if (c == '{' && depth() == 2 && !tried_ && behind_arguments_key()) begin_arguments();
      return;
    }
    state_ = State::kText;
    if (const auto call = parse_call(object(), false)) {
      tell(*call);
      state_ = State::kClosing;
    } else {
      release();
    }
  }

  // Whether the object's last key, before the bracket just read, is the one of the arguments. An escaped quote before it would
  // make it the end of another.
  bool behind_arguments_key() const {
    std::string_view text = object();
    text.remove_suffix(1);
    const auto strip = [&] {
      while (!text.empty() && is_json_space(text.back())) text.remove_suffix(1);
    };
    strip();
    if (text.empty() || text.back() != ':') return false;
    text.remove_suffix(1);
    strip();
    for (const std::string_view key : {"\"arguments\"", "\"parameters\""}) {
      const bool ends = text.size() > key.size() && text.substr(text.size() - key.size()) == key;
      if (ends && text[text.size() - key.size() - 1] != '\\') return true;
    }
    return false;
  }

  // With a value in place of what begins here the object so far is whole: a call already, if its name came first. Tried once
  // an object, so that time grows with the length alone.
  void begin_arguments() {
    tried_ = true;
    std::string whole(object().substr(0, object().size() - 1));
    const auto call = parse_call(whole + "null}", false);
    if (!call) return;
    add_piece(*out_, AnswerPiece::Kind::kCall, call->name);
    add_piece(*out_, AnswerPiece::Kind::kArguments, "{");
    held_.clear();
    after_call_ = true;
    state_ = State::kArguments;
  }

  void in_arguments(char c) {
    if (scan(c) == JsonScanner::State::kBad) return give_up(c);
    add_piece(*out_, AnswerPiece::Kind::kArguments, held_);
    held_.clear();
    if (depth() == 1) state_ = State::kTail;
  }

  void in_tail(char c) {
    const JsonScanner::State state = scan(c);
    if (state == JsonScanner::State::kBad) return give_up(c);
    if (state == JsonScanner::State::kMore) return;
    held_.clear();
    state_ = State::kClosing;
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
  bool tried_ = false;
};

}  // namespace

std::unique_ptr<ToolParser> make_hermes_parser() { return std::make_unique<HermesParser>(); }

}  // namespace pagoda::chat
