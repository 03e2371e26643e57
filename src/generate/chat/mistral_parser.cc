// Calls as Mistral writes them: [TOOL_CALLS][{"name": ..., "arguments": {...}}, ...], since tokenizer version 11
// [TOOL_CALLS]name{...} or [TOOL_CALLS]name[CALL_ID]id[ARGS]{...}, one mark a call.
#include "generate/chat/tool_formats.h"

namespace pagoda::chat {

namespace {

constexpr std::string_view kTag = "[TOOL_CALLS]", kId = "[CALL_ID]", kArgs = "[ARGS]";
constexpr size_t kLongestHeader = 512;  // bytes of name and id

class MistralParser final : public MarkedParser {
 public:
  void finish(std::vector<AnswerPiece>& out) override {
    const bool blank = held_.find_first_not_of(" \t\r\n,") == std::string::npos;
    end(blank, out);
  }

 private:
  enum class State { kText, kBefore, kHeader, kArguments, kItems, kObject };

  void step(char c) override {
    switch (state_) {
      case State::kText:
        if (find_mark(c, kTag)) state_ = State::kBefore;
        return;
      case State::kBefore:
        if (is_json_space(c)) {
          held_ += c;
        } else if (c == '[') {
          held_ += c;
          state_ = State::kItems;
        } else {
          header_at_ = held_.size();
          state_ = State::kHeader;
          header(c);
        }
        return;
      case State::kHeader: return header(c);
      case State::kItems: return items(c);
      case State::kArguments:
      case State::kObject: return in_object(c);
    }
  }

  void header(char c) {
    if (c == '{') {
      if (!read_header()) return give_up(c);
      begin_object();
      state_ = State::kArguments;
      return in_object(c);
    }
    const bool odd = static_cast<unsigned char>(c) <= ' ' || c == '"' || held_.size() - header_at_ >= kLongestHeader;
    if (odd) return give_up(c);
    held_ += c;
  }

  bool read_header() {
    std::string_view text = std::string_view(held_).substr(header_at_);
    if (text.size() >= kArgs.size() && text.substr(text.size() - kArgs.size()) == kArgs) text.remove_suffix(kArgs.size());
    name_ = std::string(text.substr(0, text.find(kId)));
    return !name_.empty() && name_.find('[') == std::string::npos;
  }

  void items(char c) {
    if (c == '{') {
      begin_object();
      state_ = State::kObject;
      return in_object(c);
    }
    if (c == ']' && after_call_) {
      held_.clear();
      state_ = State::kText;
      return;
    }
    if (!is_json_space(c) && !(c == ',' && after_call_)) return give_up(c);
    held_ += c;
  }

  void in_object(char c) {
    const JsonScanner::State state = scan(c);
    if (state == JsonScanner::State::kMore) return;
    if (state == JsonScanner::State::kBad) return give_up(c);
    const bool in_list = state_ == State::kObject;
    // The arguments alone are read as those of a call without name, to be checked in the same way.
    const auto call =
        parse_call(in_list ? std::string(object()) : "{\"name\": \"f\", \"arguments\": " + std::string(object()) + "}", false);
    if (!call) {
      release();
      state_ = State::kText;
    } else if (in_list) {
      tell(*call);
      state_ = State::kItems;
    } else {
      tell({name_, call->arguments});
      state_ = State::kText;
    }
  }

  void give_up(char c) {
    release();
    state_ = State::kText;
    step(c);
  }

  State state_ = State::kText;
  size_t header_at_ = 0;
  std::string name_;
};

}  // namespace

std::unique_ptr<ToolParser> make_mistral_parser() { return std::make_unique<MistralParser>(); }

}  // namespace pagoda::chat
