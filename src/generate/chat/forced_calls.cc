// Calls that a grammar forces (tool_choice "required" or a name): told as they come, since they cannot go wrong.
#include "base/error.h"
#include "base/json.h"
#include "generate/chat/json_scanner.h"
#include "generate/chat/tool_parser.h"

namespace pagoda::chat {

namespace {

class NamedCallParser final : public ToolParser {
 public:
  explicit NamedCallParser(std::string name) : name_(std::move(name)) {}
  void feed(std::string_view text, std::vector<AnswerPiece>& out) override {
    if (!begun_) {
      while (!text.empty() && is_json_space(text.front())) text.remove_prefix(1);
      if (text.empty()) return;
      add_piece(out, AnswerPiece::Kind::kCall, name_);
      begun_ = true;
    }
    add_piece(out, AnswerPiece::Kind::kArguments, text);
  }
  void finish(std::vector<AnswerPiece>&) override {}

 private:
  std::string name_;
  bool begun_ = false;
};

class RequiredCallsParser final : public ToolParser {
 public:
  void feed(std::string_view text, std::vector<AnswerPiece>& out) override {
    for (const char c : text) step(c, out);
  }
  // What was cut off before its call was known is neither a call nor text.
  void finish(std::vector<AnswerPiece>&) override { held_.clear(); }

 private:
  // kHeader: in an object, up to its arguments. kTail: behind them. kText: no list of calls.
  enum class State { kBefore, kItems, kHeader, kArguments, kTail, kEnd, kText };

  void step(char c, std::vector<AnswerPiece>& out) {
    switch (state_) {
      case State::kBefore:
        if (c == '[') {
          state_ = State::kItems;
        } else if (!is_json_space(c)) {
          give_up(c, out);
        }
        return;
      case State::kItems:
        if (c == '{') {
          scanner_ = JsonScanner();
          scanner_.feed(c);
          held_ = c;
          state_ = State::kHeader;
        } else if (c == ']') {
          state_ = State::kEnd;
        } else if (!is_json_space(c) && c != ',') {
          give_up(c, out);
        }
        return;
      case State::kHeader: return header(c, out);
      case State::kArguments: {
        const JsonScanner::State state = scanner_.feed(c);
        if (state == JsonScanner::State::kBad) return give_up(c, out);
        add_piece(out, AnswerPiece::Kind::kArguments, std::string_view(&c, 1));
        if (scanner_.depth() == 1) state_ = State::kTail;
        return;
      }
      case State::kTail:
        switch (scanner_.feed(c)) {
          case JsonScanner::State::kMore: return;
          case JsonScanner::State::kDone: state_ = State::kItems; return;
          case JsonScanner::State::kBad: return give_up(c, out);
        }
        return;
      case State::kEnd:
        if (!is_json_space(c)) give_up(c, out);
        return;
      case State::kText: add_piece(out, AnswerPiece::Kind::kContent, std::string_view(&c, 1)); return;
    }
  }

  void header(char c, std::vector<AnswerPiece>& out) {
    const JsonScanner::State state = scanner_.feed(c);
    if (state == JsonScanner::State::kBad) return give_up(c, out);
    if (state == JsonScanner::State::kDone) {
      const auto call = parse_call(held_ + c, true);
      if (!call) return give_up(c, out);
      begin(call->name, out);
      add_piece(out, AnswerPiece::Kind::kArguments, call->arguments);
      state_ = State::kItems;
      return;
    }
    if (c == '{' && scanner_.depth() == 2) {
      // With a value in place of what begins here the object so far is whole.
      const auto call = parse_call(held_ + "null}", true);
      if (!call) return give_up(c, out);
      begin(call->name, out);
      add_piece(out, AnswerPiece::Kind::kArguments, "{");
      state_ = State::kArguments;
      return;
    }
    held_ += c;
  }

  void begin(const std::string& name, std::vector<AnswerPiece>& out) {
    add_piece(out, AnswerPiece::Kind::kCall, name);
    held_.clear();
  }

  void give_up(char c, std::vector<AnswerPiece>& out) {
    held_ += c;
    add_piece(out, AnswerPiece::Kind::kContent, held_);
    held_.clear();
    state_ = State::kText;
  }

  State state_ = State::kBefore;
  JsonScanner scanner_;
  std::string held_;
};

}  // namespace

std::unique_ptr<ToolParser> make_named_call_parser(std::string name) {
  return std::make_unique<NamedCallParser>(std::move(name));
}

std::unique_ptr<ToolParser> make_required_calls_parser() { return std::make_unique<RequiredCallsParser>(); }

}  // namespace pagoda::chat
