// What the formats share: names, detection, and the reading of one call.
#include "generate/chat/tool_parser.h"

#include "base/error.h"
#include "base/json.h"
#include "generate/chat/json_scanner.h"
#include "generate/chat/tool_formats.h"

namespace pagoda::chat {

void add_piece(std::vector<AnswerPiece>& pieces, AnswerPiece::Kind kind, std::string_view text) {
  if (kind != AnswerPiece::Kind::kCall) {
    if (text.empty()) return;
    if (!pieces.empty() && pieces.back().kind == kind) {
      pieces.back().text += text;
      return;
    }
  }
  pieces.push_back({kind, std::string(text)});
}

ToolFormat tool_format(std::string_view name) {
  if (name == "hermes") return ToolFormat::kHermes;
  if (name == "llama3_json" || name == "llama4_json") return ToolFormat::kLlama3;
  if (name == "mistral") return ToolFormat::kMistral;
  invalid("--tool-call-parser", "unknown: got '{}', need hermes, llama3_json or mistral", name);
}

ToolFormat detect_tool_format(std::string_view source) {
  const auto has = [&](std::string_view text) { return source.find(text) != std::string_view::npos; };
  if (has("[TOOL_CALLS]")) return ToolFormat::kMistral;
  // Qwen3-Coder writes XML inside the same mark.
  if (has("<tool_call>") && !has("<function=") && !has("<arg_key>")) return ToolFormat::kHermes;
  if (has("<|python_tag|>") || (has("<|start_header_id|>") && has("\"parameters\""))) return ToolFormat::kLlama3;
  return ToolFormat::kNone;
}

std::vector<std::string> tool_markers(ToolFormat format) {
  switch (format) {
    case ToolFormat::kHermes: return {"<tool_call>", "</tool_call>"};
    case ToolFormat::kLlama3: return {"<|python_tag|>"};
    case ToolFormat::kMistral: return {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"};
    case ToolFormat::kNone: break;
  }
  return {};
}

namespace {

std::optional<std::string> arguments_text(std::string_view object, const Json& value, std::string_view key) {
  if (value.is_null()) return "{}";
  if (value.is_object()) {
    // As the model wrote it, so that no number or order changes.
    const std::string_view text = member_text(object, key);
    return text.empty() || text.front() != '{' ? value.dump() : std::string(text);
  }
  if (!value.is_string()) return std::nullopt;
  const std::string& text = value.as_string(key);
  if (!Json::parse(text, key).is_object()) return std::nullopt;
  return text;
}

}  // namespace

std::optional<ParsedCall> parse_call(std::string_view object, bool need_arguments) {
  try {
    const Json call = Json::parse(object, "tool call");
    const Json* name = call.find("name");
    if (name == nullptr || !name->is_string() || name->as_string("name").empty()) return std::nullopt;
    ParsedCall result{name->as_string("name"), "{}"};
    for (const char* key : {"arguments", "parameters"}) {
      const Json* value = call.find(key);
      if (value == nullptr) continue;
      std::optional<std::string> text = arguments_text(object, *value, key);
      if (!text) return std::nullopt;
      result.arguments = std::move(*text);
      return result;
    }
    if (need_arguments) return std::nullopt;
    return result;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::unique_ptr<ToolParser> make_tool_parser(ToolFormat format, const std::vector<std::string>& names) {
  switch (format) {
    case ToolFormat::kHermes: return make_hermes_parser();
    case ToolFormat::kLlama3: return make_llama_parser(names);
    case ToolFormat::kMistral: return make_mistral_parser();
    case ToolFormat::kNone: break;
  }
  fail(ErrorKind::kInternal, "tool parser", "no format");
}

void MarkedParser::feed(std::string_view text, std::vector<AnswerPiece>& out) {
  out_ = &out;
  for (const char c : text) step(c);
}

void MarkedParser::release() {
  told_text_ = told_text_ || !held_.empty();
  add_piece(*out_, AnswerPiece::Kind::kContent, held_);
  held_.clear();
  after_call_ = false;
}

void MarkedParser::tell(const ParsedCall& call) {
  add_piece(*out_, AnswerPiece::Kind::kCall, call.name);
  add_piece(*out_, AnswerPiece::Kind::kArguments, call.arguments);
  held_.clear();
  after_call_ = true;
}

void MarkedParser::end(bool markup, std::vector<AnswerPiece>& out) {
  out_ = &out;
  if (markup && after_call_) held_.clear();
  release();
}

bool MarkedParser::find_mark(char c, std::string_view mark) {
  if (matched_ > 0 && c != mark[matched_]) {
    release();
    matched_ = 0;
  }
  held_ += c;
  if (c == mark[matched_]) {
    if (++matched_ < mark.size()) return false;
    matched_ = 0;
    return true;
  }
  if (!is_json_space(c)) release();
  return false;
}

JsonScanner::State MarkedParser::scan(char c) {
  const JsonScanner::State state = scanner_.feed(c);
  if (state != JsonScanner::State::kBad) held_ += c;
  return state;
}

void MarkedParser::begin_object() {
  scanner_ = JsonScanner();
  object_at_ = held_.size();
}

}  // namespace pagoda::chat
