// A place in a template's tokens: look, step, demand, fail with the line; and the depth of what is being read, which is
// bounded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "text/jinja_lexer.h"

namespace pagoda::jinja {

// 'a' as Python's repr shows a name or tag: these never hold quotes.
inline std::string quoted(const std::string& text) { return "'" + text + "'"; }

class TokenCursor {
 public:
  // Keeps a reference to `limits`. Throws the tokens' own error where no token precedes it.
  TokenCursor(std::string_view source, const Limits& limits);
  TokenCursor(const TokenCursor&) = delete;
  TokenCursor& operator=(const TokenCursor&) = delete;

  const Token& current() const { return list_.tokens[at_]; }
  const Token& look() const;  // the one after
  bool is(TokenKind kind) const { return current().kind == kind; }
  bool is_name(const char* name) const { return is_name(current(), name); }
  static bool is_name(const Token& token, const char* name) { return token.kind == TokenKind::kName && token.text == name; }

  // These return the token passed. The tokens' own error is thrown when their end is reached.
  const Token& next();
  const Token& expect(TokenKind kind);
  const Token& expect(const char* name);
  // True if there was such a token: it is passed.
  bool skip_if(TokenKind kind);
  bool skip_if(const char* name);

  // TemplateSyntaxError, by default with the current line.
  [[noreturn]] void fail(const std::string& text, int line) const;
  [[noreturn]] void fail(const std::string& text) const { fail(text, current().line); }
  [[noreturn]] void too_deep() const;
  int64_t max_depth() const { return limits_.max_depth; }

  // Counts a level of the recursive descent while it lives.
  class Level {
   public:
    explicit Level(TokenCursor& cursor) : cursor_(cursor) {
      if (++cursor_.depth_ > cursor_.max_depth()) {
        --cursor_.depth_;
        cursor_.too_deep();
      }
    }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --cursor_.depth_; }

   private:
    TokenCursor& cursor_;
  };

 private:
  void check_error() const;
  [[noreturn]] void expected(const std::string& what) const;

  const Limits& limits_;
  TokenList list_;
  size_t at_ = 0;
  int64_t depth_ = 0;
};

}  // namespace pagoda::jinja
