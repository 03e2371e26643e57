// Thoughts and answers.
#include "generate/chat/reasoning.h"

#include "base/error.h"
#include "generate/chat/json_scanner.h"

namespace pagoda::chat {

ReasoningFormat reasoning_format(std::string_view name) {
  if (name == "deepseek_r1") return ReasoningFormat::kDeepseekR1;
  if (name == "qwen3") return ReasoningFormat::kQwen3;
  invalid("--reasoning-parser", "unknown: got '{}', need deepseek_r1 or qwen3", name);
}

ReasoningStart reasoning_start(ReasoningFormat format, std::string_view prompt, bool continues) {
  while (!prompt.empty() && is_json_space(prompt.back())) prompt.remove_suffix(1);
  const auto ends_with = [&](std::string_view mark) {
    return prompt.size() >= mark.size() && prompt.substr(prompt.size() - mark.size()) == mark;
  };
  if (ends_with(kThinkOpen)) return ReasoningStart::kOpen;
  if (ends_with(kThinkClose)) return ReasoningStart::kClosed;
  if (continues) {
    const size_t open = prompt.rfind(kThinkOpen), close = prompt.rfind(kThinkClose);
    if (close != std::string_view::npos && (open == std::string_view::npos || close > open)) return ReasoningStart::kClosed;
    if (open != std::string_view::npos) return ReasoningStart::kOpen;
  }
  return format == ReasoningFormat::kDeepseekR1 ? ReasoningStart::kOpen : ReasoningStart::kPossible;
}

ReasoningSplitter::ReasoningSplitter(ReasoningStart start)
    : state_(start == ReasoningStart::kClosed ? State::kAnswer : State::kBegin), open_(start == ReasoningStart::kOpen) {}

void ReasoningSplitter::feed(std::string_view text, std::vector<AnswerPiece>& out) {
  size_t at = 0;
  for (; at < text.size() && state_ != State::kAnswer; ++at) step(text[at], out);
  add_piece(out, AnswerPiece::Kind::kContent, text.substr(at));
}

void ReasoningSplitter::release(std::vector<AnswerPiece>& out) {
  const bool thoughts = state_ == State::kThoughts || (state_ == State::kBegin && open_);
  add_piece(out, thoughts ? AnswerPiece::Kind::kReasoning : AnswerPiece::Kind::kContent, held_);
  held_.clear();
  matched_ = 0;
}

void ReasoningSplitter::finish(std::vector<AnswerPiece>& out) { release(out); }

void ReasoningSplitter::step(char c, std::vector<AnswerPiece>& out) {
  if (state_ == State::kBegin) {
    held_ += c;
    if (c == kThinkOpen[matched_]) {
      if (++matched_ < kThinkOpen.size()) return;
      held_.clear();
      matched_ = 0;
      state_ = State::kThoughts;
      return;
    }
    if (matched_ == 0 && is_json_space(c)) return;
    // No <think>. Where these are thoughts all the same, what is held may begin their end.
    std::string again;
    again.swap(held_);
    matched_ = 0;
    state_ = open_ ? State::kThoughts : State::kAnswer;
    for (const char each : again) step(each, out);
    return;
  }
  if (state_ == State::kAnswer) return add_piece(out, AnswerPiece::Kind::kContent, std::string_view(&c, 1));
  if (c != kThinkClose[matched_]) release(out);
  held_ += c;
  if (c != kThinkClose[matched_]) return release(out);
  if (++matched_ < kThinkClose.size()) return;
  held_.clear();
  matched_ = 0;
  state_ = State::kAnswer;
}

AnswerParser::AnswerParser(std::optional<ReasoningStart> reasoning, std::unique_ptr<ToolParser> tools)
    : tools_(std::move(tools)) {
  if (reasoning) reasoning_.emplace(*reasoning);
}

void AnswerParser::take(const std::vector<AnswerPiece>& split, std::vector<AnswerPiece>& out) {
  for (const AnswerPiece& piece : split) {
    if (piece.kind == AnswerPiece::Kind::kContent && tools_) {
      tools_->feed(piece.text, out);
    } else {
      add_piece(out, piece.kind, piece.text);
    }
  }
}

std::vector<AnswerPiece> AnswerParser::feed(std::string_view text) {
  std::vector<AnswerPiece> split, out;
  if (reasoning_) {
    reasoning_->feed(text, split);
  } else {
    add_piece(split, AnswerPiece::Kind::kContent, text);
  }
  take(split, out);
  return out;
}

std::vector<AnswerPiece> AnswerParser::finish() {
  std::vector<AnswerPiece> split, out;
  if (reasoning_) reasoning_->finish(split);
  take(split, out);
  if (tools_) tools_->finish(out);
  return out;
}

}  // namespace pagoda::chat
