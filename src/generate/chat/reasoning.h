// What a model thinks before it answers: <think>...</think> split off as it comes, and the token budget of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "generate/chat/tool_parser.h"
#include "generate/constraint.h"
#include "text/tokenizer.h"

namespace pagoda::chat {

inline constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>";

// The names are vLLM's --reasoning-parser. They differ in what an answer without <think> is: deepseek_r1 takes it for thoughts
// (its first templates did not open them in the prompt), qwen3 for the answer.
enum class ReasoningFormat { kNone, kDeepseekR1, kQwen3 };
ReasoningFormat reasoning_format(std::string_view name);  // throws kInvalidInput naming them

// Where an answer begins.
enum class ReasoningStart {
  kOpen,      // in thoughts: the prompt ends with <think>, or the format says so
  kPossible,  // in thoughts if it begins with <think>
  kClosed,    // behind them: the prompt ends with </think>
};
// `continues`: the prompt ends inside an answer, whose last mark counts.
ReasoningStart reasoning_start(ReasoningFormat format, std::string_view prompt, bool continues);

// Splits text into kReasoning and kContent, whatever pieces it comes in. The marks are in neither.
class ReasoningSplitter {
 public:
  explicit ReasoningSplitter(ReasoningStart start);
  void feed(std::string_view text, std::vector<AnswerPiece>& out);
  void finish(std::vector<AnswerPiece>& out);

 private:
  enum class State { kBegin, kThoughts, kAnswer };
  void step(char c, std::vector<AnswerPiece>& out);
  void release(std::vector<AnswerPiece>& out);
  State state_;
  bool open_;         // kBegin: without the mark these are thoughts
  std::string held_;  // white space, and the beginning of a mark
  size_t matched_ = 0;
};

// An answer's text as pieces: thoughts first, then what a tool parser makes of the rest. Either may be missing.
class AnswerParser {
 public:
  AnswerParser(std::optional<ReasoningStart> reasoning, std::unique_ptr<ToolParser> tools);
  std::vector<AnswerPiece> feed(std::string_view text);
  std::vector<AnswerPiece> finish();

 private:
  void take(const std::vector<AnswerPiece>& split, std::vector<AnswerPiece>& out);
  std::optional<ReasoningSplitter> reasoning_;
  std::unique_ptr<ToolParser> tools_;
};

// Holds what follows the thoughts to `answer` (null: to nothing), and ends thoughts of `budget` tokens by writing </think>.
// While there is something to hold the answer to, thoughts cannot end the text. Throws kInvalidInput where the tokenizer has no
// tokens for the mark.
std::unique_ptr<TokenConstraint> make_thinking_constraint(std::shared_ptr<const Tokenizer> tokenizer, ReasoningStart start,
                                                          std::optional<int64_t> budget, std::vector<int32_t> end_ids,
                                                          std::unique_ptr<TokenConstraint> answer);

}  // namespace pagoda::chat
