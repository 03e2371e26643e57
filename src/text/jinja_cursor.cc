// Steps through tokens; messages as jinja2 words them.
#include "text/jinja_cursor.h"

#include <algorithm>

namespace pagoda::jinja {

TokenCursor::TokenCursor(std::string_view source, const Limits& limits) : limits_(limits), list_(tokenize(source, limits)) {
  check_error();
}

const Token& TokenCursor::look() const { return list_.tokens[std::min(at_ + 1, list_.tokens.size() - 1)]; }

void TokenCursor::check_error() const {
  if (list_.error.has_value() && at_ + 1 >= list_.tokens.size()) throw TemplateError(*list_.error);
}

const Token& TokenCursor::next() {
  const Token& token = list_.tokens[at_];
  if (at_ + 1 < list_.tokens.size()) {
    ++at_;
    check_error();
  }
  return token;
}

bool TokenCursor::skip_if(TokenKind kind) {
  if (!is(kind)) return false;
  next();
  return true;
}

bool TokenCursor::skip_if(const char* name) {
  if (!is_name(name)) return false;
  next();
  return true;
}

const Token& TokenCursor::expect(TokenKind kind) {
  if (!is(kind)) expected(describe(kind));
  return next();
}

const Token& TokenCursor::expect(const char* name) {
  if (!is_name(name)) expected(name);
  return next();
}

void TokenCursor::expected(const std::string& what) const {
  if (is(TokenKind::kEof)) fail("unexpected end of template, expected " + quoted(what) + ".");
  fail("expected token " + quoted(what) + ", got " + quoted(describe(current())));
}

void TokenCursor::fail(const std::string& text, int line) const { throw TemplateError("TemplateSyntaxError", text, line); }

void TokenCursor::too_deep() const {
  invalid("template", "line {}: nested too deeply: need at most {} levels (max_depth)", current().line, max_depth());
}

}  // namespace pagoda::jinja
