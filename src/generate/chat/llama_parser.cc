// Calls as Llama 3 writes them: the whole answer is {"name": ..., "parameters": {...}}, several with ";" between, or they
// follow
// the tag <|python_tag|>.
#include <algorithm>

#include "generate/chat/tool_formats.h"

namespace pagoda::chat {

namespace {

constexpr std::string_view kTag = "<|python_tag|>";

class LlamaParser final : public MarkedParser {
 public:
  explicit LlamaParser(const std::vector<std::string>& names) : names_(names) {}

  void finish(std::vector<AnswerPiece>& out) override {
    const bool blank = held_.find_first_not_of(" \t\r\n;,") == std::string::npos;
    end(blank, out);
  }

 private:
  // kStart: nothing but white space so far. kNext: behind a call.
  enum class State { kStart, kText, kBefore, kObject, kNext };

  void step(char c) override {
    switch (state_) {
      case State::kStart:
        if (c == '{' && matched_ == 0) return begin(c);
        if (find_mark(c, kTag)) {
          tagged_ = true;
          state_ = State::kBefore;
        } else if (told_text_) {
          state_ = State::kText;
        }
        return;
      case State::kText:
        if (find_mark(c, kTag)) {
          tagged_ = true;
          state_ = State::kBefore;
        }
        return;
      case State::kBefore:
        if (c == '{') return begin(c);
        if (is_json_space(c)) {
          held_ += c;
          return;
        }
        return give_up(c);
      case State::kNext:
        if (c == '{') return begin(c);
        if (is_json_space(c) || c == ';' || c == ',') {
          held_ += c;
          return;
        }
        state_ = State::kText;
        // What is held may be white space before another tag: find_mark() releases it if it is not.
        return step(c);
      case State::kObject: return in_object(c);
    }
  }

  void begin(char c) {
    begin_object();
    state_ = State::kObject;
    in_object(c);
  }

  void in_object(char c) {
    const JsonScanner::State state = scan(c);
    if (state == JsonScanner::State::kMore) return;
    if (state == JsonScanner::State::kBad) return give_up(c);
    const auto call = parse_call(object(), true);
    const bool known =
        call && (tagged_ || names_.empty() || std::find(names_.begin(), names_.end(), call->name) != names_.end());
    if (known) {
      tell(*call);
      state_ = State::kNext;
    } else {
      release();
      state_ = State::kText;
    }
  }

  void give_up(char c) {
    release();
    tagged_ = false;
    state_ = State::kText;
    step(c);
  }

  std::vector<std::string> names_;
  State state_ = State::kStart;
  bool tagged_ = false;
};

}  // namespace

std::unique_ptr<ToolParser> make_llama_parser(const std::vector<std::string>& names) {
  return std::make_unique<LlamaParser>(names);
}

}  // namespace pagoda::chat
