// What the parsers of marked calls share. Private to this folder.
#pragma once

#include "generate/chat/json_scanner.h"
#include "generate/chat/tool_parser.h"

namespace pagoda::chat {

// Text is held while it may be part of a call, then told as a call or released as content.
class MarkedParser : public ToolParser {
 public:
  void feed(std::string_view text, std::vector<AnswerPiece>& out) final;

 protected:
  virtual void step(char c) = 0;
  // What is held becomes content.
  void release();
  void tell(const ParsedCall& call);
  // The answer has ended. `markup`: what is held means nothing behind a call.
  void end(bool markup, std::vector<AnswerPiece>& out);
  // One more byte of plain text; true once the mark is complete. White space and the mark's beginning are held. The mark's
  // first byte may not come again in it.
  bool find_mark(char c, std::string_view mark);
  // One more byte of an object: held, unless it cannot belong to it.
  JsonScanner::State scan(char c);
  void begin_object();
  int64_t depth() const { return scanner_.depth(); }  // of the object
  std::string_view object() const { return std::string_view(held_).substr(object_at_); }

  std::vector<AnswerPiece>* out_ = nullptr;
  std::string held_;
  size_t matched_ = 0;       // bytes of a mark
  bool after_call_ = false;  // nothing but white space since a call
  bool told_text_ = false;   // there was content

 private:
  JsonScanner scanner_;
  size_t object_at_ = 0;
};

std::unique_ptr<ToolParser> make_hermes_parser();
std::unique_ptr<ToolParser> make_llama_parser(const std::vector<std::string>& names);
std::unique_ptr<ToolParser> make_mistral_parser();

}  // namespace pagoda::chat
