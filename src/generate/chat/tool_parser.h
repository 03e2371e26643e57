// Tool calls found in a model's answer as it comes: one parser a format, each a state machine that reads every byte once.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pagoda::chat {

// A piece of an answer. A call begins with kCall (its name) and has the kArguments that follow; the arguments of a call are the
// text of a JSON object.
struct AnswerPiece {
  enum class Kind { kContent, kReasoning, kCall, kArguments };
  Kind kind = Kind::kContent;
  std::string text;
};

// Appends, or lengthens the last piece where it is of the same kind. Empty text adds nothing but to kCall.
void add_piece(std::vector<AnswerPiece>& pieces, AnswerPiece::Kind kind, std::string_view text);

// How a model writes calls; the names are vLLM's --tool-call-parser.
enum class ToolFormat {
  kNone,
  kHermes,   // <tool_call>{"name": ..., "arguments": {...}}</tool_call>: Hermes 2 and 3, Qwen 2.5 and 3
  kLlama3,   // {"name": ..., "parameters": {...}}, several with ";" between, <|python_tag|> before: Llama 3.1 and on
  kMistral,  // [TOOL_CALLS][{"name": ..., "arguments": {...}}] and [TOOL_CALLS]name[ARGS]{...}
};

// "hermes", "llama3_json" (or "llama4_json"), "mistral". Throws kInvalidInput naming them.
ToolFormat tool_format(std::string_view name);
// The format that a chat template writes calls in; kNone where it is none of these.
ToolFormat detect_tool_format(std::string_view chat_template);
// The texts that mark calls, which may be special tokens of the model.
std::vector<std::string> tool_markers(ToolFormat format);

// A call is told once it is whole and valid, so its arguments always parse; text that only began as a call is content. Hermes'
// calls are told from their name on, and their arguments as they come, as OpenAI's streams have them: these are what the model
// wrote, and end where the answer was cut off or is no JSON any more (the rest is content then). White space beside calls is
// part of how they are written and is left out. What comes out does not depend on how the text is cut into pieces: joined, it
// is the same.
class ToolParser {
 public:
  virtual ~ToolParser() = default;
  virtual void feed(std::string_view text, std::vector<AnswerPiece>& out) = 0;
  virtual void finish(std::vector<AnswerPiece>& out) = 0;  // the answer has ended
};

// `names`: the tools that there are. llama3_json takes an object without mark for a call only if it names one of them.
std::unique_ptr<ToolParser> make_tool_parser(ToolFormat format, const std::vector<std::string>& names);

// Answers that a grammar holds to be calls and nothing else, whose arguments are therefore told as they come. Named: the text
// is the arguments of `name`. Required: a list of {"name": ..., "parameters": {...}}; one cut off within its name is left out.
std::unique_ptr<ToolParser> make_named_call_parser(std::string name);
std::unique_ptr<ToolParser> make_required_calls_parser();

// Of one call written as an object: its name and the text of its arguments. None where it is no call: no name, or arguments
// that are no object (a string that holds one is taken; none at all are {}, unless `need_arguments`).
struct ParsedCall {
  std::string name, arguments;
};
std::optional<ParsedCall> parse_call(std::string_view object, bool need_arguments);

}  // namespace pagoda::chat
