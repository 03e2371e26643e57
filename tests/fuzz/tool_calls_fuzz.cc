// Feeds answers to the parsers of tool calls and thoughts, whole and cut into pieces: both must tell the same, and arguments
// must be JSON objects where they are told whole. First byte: which parser, and how long the pieces are.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "generate/chat/reasoning.h"

namespace {

using pagoda::chat::AnswerPiece;

pagoda::chat::AnswerParser make(unsigned kind) {
  using namespace pagoda::chat;
  std::unique_ptr<ToolParser> tools;
  const unsigned format = kind % 6;
  if (format == 1) tools = make_tool_parser(ToolFormat::kHermes, {});
  if (format == 2) tools = make_tool_parser(ToolFormat::kLlama3, {"f"});
  if (format == 3) tools = make_tool_parser(ToolFormat::kMistral, {});
  if (format == 4) tools = make_required_calls_parser();
  if (format == 5) tools = make_named_call_parser("f");
  std::optional<ReasoningStart> reasoning;
  if (kind / 6 % 3 == 1) reasoning = ReasoningStart::kOpen;
  if (kind / 6 % 3 == 2) reasoning = ReasoningStart::kPossible;
  return {reasoning, std::move(tools)};
}

std::vector<AnswerPiece> read(unsigned kind, std::string_view text, size_t step) {
  pagoda::chat::AnswerParser parser = make(kind);
  std::vector<AnswerPiece> all;
  const auto take = [&](const std::vector<AnswerPiece>& pieces) {
    for (const AnswerPiece& piece : pieces) add_piece(all, piece.kind, piece.text);
  };
  for (size_t at = 0; at < text.size(); at += step) take(parser.feed(text.substr(at, step)));
  take(parser.finish());
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  const unsigned kind = data[0] % 18;
  const auto whole = read(kind, text, text.size() + 1), cut = read(kind, text, 1 + data[0] / 18U);
  if (whole.size() != cut.size()) std::abort();
  size_t told = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    if (whole[i].kind != cut[i].kind || whole[i].text != cut[i].text) std::abort();
    told += whole[i].text.size();
    if (whole[i].kind != AnswerPiece::Kind::kArguments || kind % 6 > 3) continue;
    if (i == 0 || whole[i - 1].kind != AnswerPiece::Kind::kCall) std::abort();
    if (kind % 6 == 1) continue;
    if (!pagoda::Json::parse(whole[i].text, "arguments").is_object()) std::abort();
  }
  if (kind == 0 && told != text.size()) std::abort();
  return 0;
}
