// Chats with tools: what a request says of them, the grammar of a forced call, and how the text of an answer is read.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "generate/chat/reasoning.h"
#include "generate/chat/tool_parser.h"
#include "generate/grammar/grammar.h"
#include "text/tokenizer.h"

namespace pagoda {

enum class ToolChoice { kNone, kAuto, kRequired, kNamed };

struct ToolUse {
  Json tools;  // as given, for the template; null: none
  std::vector<std::string> names;
  ToolChoice choice = ToolChoice::kNone;
  std::string named;
  bool parallel = true;
  bool forced() const { return choice == ToolChoice::kRequired || choice == ToolChoice::kNamed; }
};

constexpr size_t kMostTools = 1024, kLongestToolName = 256;
constexpr size_t kMostToolBytes = size_t{1} << 20;  // of all of a request, as JSON

// Throws kInvalidInput for a list that is too large.
void check_tools(const Json& list);
// A list of tools as OpenAI has it; the choice is auto where there are any. Throws kInvalidInput.
ToolUse read_tools(const Json& list);
// "none", "auto", "required" or {"function": {"name": ...}}, whose tool must be there.
void read_tool_choice(const Json& choice, ToolUse& use);
// What holds a forced answer to the tools' schemas: the arguments of the one named, or a list of calls.
GrammarSource tool_grammar(const ToolUse& use);

// Of a tool or a call.
std::string take_function_name(const Json& function, std::string_view where);

// How the text of an answer is read; each choice has a parser of its own.
struct AnswerReading {
  std::optional<chat::ReasoningStart> reasoning;  // empty: the model's thoughts are not told apart
  bool show_reasoning = true;
  ToolUse tools;
  chat::ToolFormat format = chat::ToolFormat::kNone;  // of calls that are not forced

  bool plain() const { return !reasoning && !calls(); }
  bool calls() const { return tools.choice != ToolChoice::kNone; }
  // Tells whether special tokens may be left out of the text: marks that are such must reach the parser.
  bool skips_special_tokens(const Tokenizer& tokenizer) const;
  chat::AnswerParser parser() const;
  // "tool_calls" where the model has called of its own will or had to call some tool; as OpenAI has it, not where it was told
  // which.
  std::string finish_reason(const std::string& reason, bool called) const;
};

// A new one, that nobody can guess: "call_..." or as Mistral's templates want it.
std::string make_call_id(chat::ToolFormat format);
std::string random_text(size_t characters);

}  // namespace pagoda
