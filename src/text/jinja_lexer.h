// Template text to tokens, with jinja2's white space rules (trim_blocks and lstrip_blocks on, one last newline dropped).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "text/jinja_error.h"

namespace pagoda::jinja {

enum class TokenKind : uint8_t {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kTilde,
  kLBracket,
  kRBracket,
  kLParen,
  kRParen,
  kLBrace,
  kRBrace,
  kEq,
  kNe,
  kGt,
  kGe,
  kLt,
  kLe,
  kAssign,
  kDot,
  kColon,
  kPipe,
  kComma,
  kSemicolon,
  kEof,
};

struct Token {
  TokenKind kind = TokenKind::kEof;
  int line = 1;
  std::string text;  // data, name, the string's value
  int64_t integer = 0;
  double real = 0;
};

// As jinja2's messages name it: the operator itself, "name", "end of print statement" ...
std::string describe(TokenKind kind);
std::string describe(const Token& token);

struct TokenList {
  std::vector<Token> tokens;           // always ends with kEof
  std::optional<TemplateError> error;  // thrown when the parser reaches the end of `tokens`: earlier faults come first
};

TokenList tokenize(std::string_view source, const Limits& limits);

}  // namespace pagoda::jinja
