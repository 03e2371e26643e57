// Lark's notation: `rule: a "text"i /pattern/ | [b] "0".."9" c~2..5 -> alias`, %ignore, %import common.X; the text is a
// `start`. Terminals (upper case) are what their expressions say: there is no lexer that takes the longest one.
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "generate/grammar/frontends.h"
#include "generate/grammar/regex.h"
#include "generate/grammar/source_reader.h"

namespace pagoda::grammar {

namespace {

// The library `common`, by name: the texts its terminals take.
constexpr std::array<std::pair<std::string_view, std::string_view>, 24> kCommon = {{
    {"DIGIT", R"(/[0-9]/)"},
    {"HEXDIGIT", R"(/[0-9a-fA-F]/)"},
    {"INT", R"(/[0-9]+/)"},
    {"SIGNED_INT", R"(/[+-]?[0-9]+/)"},
    {"DECIMAL", R"(/[0-9]+\.[0-9]*|\.[0-9]+/)"},
    {"_EXP", R"(/[eE][+-]?[0-9]+/)"},
    {"FLOAT", R"(/[0-9]+[eE][+-]?[0-9]+|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?/)"},
    {"SIGNED_FLOAT", R"(/[+-]?([0-9]+[eE][+-]?[0-9]+|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?)/)"},
    {"NUMBER", R"(/[0-9]+([eE][+-]?[0-9]+)?|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?/)"},
    {"SIGNED_NUMBER", R"(/[+-]?([0-9]+([eE][+-]?[0-9]+)?|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?)/)"},
    {"ESCAPED_STRING", R"(/"([^"\\\n\r]|\\[^\n\r])*"/)"},
    {"LCASE_LETTER", R"(/[a-z]/)"},
    {"UCASE_LETTER", R"(/[A-Z]/)"},
    {"LETTER", R"(/[a-zA-Z]/)"},
    {"WORD", R"(/[a-zA-Z]+/)"},
    {"CNAME", R"(/[_a-zA-Z][_a-zA-Z0-9]*/)"},
    {"WS_INLINE", R"(/[ \t]+/)"},
    {"WS", R"(/[ \t\f\r\n]+/)"},
    {"CR", R"(/\r/)"},
    {"LF", R"(/\n/)"},
    {"NEWLINE", R"(/(\r?\n)+/)"},
    {"SH_COMMENT", R"(/#[^\n]*/)"},
    {"CPP_COMMENT", R"(/\/\/[^\n]*/)"},
    {"SQL_COMMENT", R"(/--[^\n]*/)"},
}};

bool is_terminal(const std::string& name) {
  for (const char c : name) {
    if (c >= 'a' && c <= 'z') return false;
    if (c >= 'A' && c <= 'Z') return true;
  }
  return false;
}

class Lark final : SourceReader {
 public:
  Lark(Builder& builder, std::string_view source) : SourceReader(builder, source) {
    if (source.find("%ignore") != std::string_view::npos) ignored_ = builder.add_rule("%ignore");
  }

  Rule run() {
    std::vector<Expr> ignored;
    for (lines(); !done(); lines()) {
      if (take("%ignore")) {
        in_terminal_ = true;
        ignored.push_back(alternation(0));
      } else if (take("%import")) {
        import();
      } else if (look() == '%') {
        refuse("this directive is");
      } else {
        definition();
      }
      blanks();
      if (!done() && look() != '\n' && look() != '\r') fail(std::string("unexpected '") + look() + "'");
    }
    if (!known("start")) invalid(builder_.where(), "no rule 'start'");
    Rule start = rule("start");
    if (ignored_ >= 0) {
      builder_.define(ignored_, builder_.repeat(builder_.alternation(ignored), 0, kUnbounded));
      start = builder_.rule_of(builder_.sequence({builder_.use(ignored_), builder_.use(start)}), "%start");
    }
    check_defined();
    return start;
  }

 private:
  // Blanks and comments of a line.
  void blanks() {
    for (;;) {
      if (starts("//") || look() == '#') {
        while (!done() && look() != '\n' && look() != '\r') ++at_;
      } else if (look() == ' ' || look() == '\t') {
        ++at_;
      } else {
        return;
      }
    }
  }
  void lines() {
    for (blanks(); look() == '\n' || look() == '\r'; blanks()) ++at_;
  }
  // Inside brackets lines do not end anything; outside, a line that begins with '|' goes on.
  void gap(int64_t depth) {
    blanks();
    if (look() != '\n' && look() != '\r') return;
    const size_t begin = at_;
    lines();
    if (depth == 0 && look() != '|' && !starts("->")) at_ = begin;
  }

  void definition() {
    while (look() == '?' || look() == '!') ++at_;
    const std::string left = name();
    if (left.empty()) fail("need the name of a rule");
    if (look() == '{') refuse("a template is");
    if (take(".")) {
      int64_t priority = 0;
      take("-");
      if (!number(priority)) fail("bad priority");  // of no meaning here: all readings are followed
    }
    blanks();
    expect(":");
    in_terminal_ = is_terminal(left);
    define(left, alternation(0));
  }

  void import() {
    blanks();
    if (name() != "common") refuse("an import of another library than 'common' is");
    std::vector<std::string> names;
    if (take(".")) {
      names.push_back(name());
    } else {
      blanks();
      expect("(");
      do {
        lines();
        names.push_back(name());
        lines();
      } while (take(","));
      expect(")");
    }
    blanks();
    std::string alias;
    if (take("->")) {
      blanks();
      alias = name();
      if (alias.empty() || names.size() != 1) fail("bad name of an import");
    }
    for (const std::string& imported : names) {
      const std::string_view* pattern = nullptr;
      for (const auto& [known_name, text] : kCommon) {
        if (known_name == imported) pattern = &text;
      }
      if (pattern == nullptr) refuse("common." + imported + " is");
      define(alias.empty() ? imported : alias, regex(pattern->substr(1, pattern->size() - 2)));
    }
  }

  Expr alternation(int64_t depth) {
    if (depth > builder_.limits().max_depth) fail("nested too deeply");
    std::vector<Expr> choices;
    gap(depth);
    take("|");  // a leading one
    do {
      choices.push_back(sequence(depth));
    } while (take("|"));
    return builder_.alternation(choices);
  }

  Expr sequence(int64_t depth) {
    std::vector<Expr> parts;
    for (gap(depth); !done() && look() != '|' && look() != ')' && look() != ']' && look() != '\n' && look() != '\r';
         gap(depth)) {
      if (take("->")) {
        blanks();
        if (name().empty()) fail("need a name behind '->'");
        continue;
      }
      parts.push_back(repeated(depth));
    }
    if (depth == 0 && (look() == ')' || look() == ']')) fail(std::string("'") + look() + "' without its other half");
    return builder_.sequence(parts);
  }

  Expr repeated(int64_t depth) {
    Expr part = atom(depth);
    blanks();
    if (take("*")) return builder_.repeat(part, 0, kUnbounded);
    if (take("+")) return builder_.repeat(part, 1, kUnbounded);
    if (take("?")) return builder_.optional(part);
    if (!take("~")) return part;
    blanks();
    int64_t min = 0, max = 0;
    if (!number(min)) fail("need a count behind '~'");
    max = min;
    blanks();
    if (take("..")) {
      blanks();
      if (!number(max)) fail("need a count behind '..'");
    }
    return builder_.repeat(part, min, max);
  }

  // What a rule takes as one token may have ignored text behind it.
  Expr token(Expr expr) { return in_terminal_ || ignored_ < 0 ? expr : builder_.sequence({expr, builder_.use(ignored_)}); }

  Expr atom(int64_t depth) {
    if (look() == '"' || look() == '\'') return token(text());
    if (look() == '/') return token(pattern());
    if (take("(")) {
      const Expr inner = alternation(depth + 1);
      expect(")");
      return inner;
    }
    if (take("[")) {
      const Expr inner = alternation(depth + 1);
      expect("]");
      return builder_.optional(inner);
    }
    const std::string used = name();
    if (used.empty()) fail(std::string("unexpected '") + look() + "'");
    if (look() == '{') refuse("a template is");
    const Expr expr = builder_.use(rule(used));
    return is_terminal(used) ? token(expr) : expr;
  }

  Expr text() {
    const std::string first = quoted();
    if (starts("..")) {
      at_ += 2;
      if (look() != '"' && look() != '\'') fail("need text behind '..'");
      const std::string last = quoted();
      const char* const need = "a range needs two single characters, the lower first";
      if (first.empty() || last.empty()) fail(need);
      size_t first_at = 0, last_at = 0;
      const uint32_t low = utf8_next(first, first_at), high = utf8_next(last, last_at);
      if (first_at != first.size() || last_at != last.size() || low > high) fail(need);
      return builder_.chars(CodeSet::range(low, high));
    }
    if (look() == 'i') {
      ++at_;
      std::vector<Expr> chars;
      for (size_t at = 0; at < first.size();) {
        const uint32_t c = utf8_next(first, at);
        CodeSet set = CodeSet::range(c, c);
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (letter) set.add(c ^ 0x20, c ^ 0x20);
        chars.push_back(builder_.chars(set));
      }
      return builder_.sequence(chars);
    }
    return builder_.literal(first);
  }

  Expr pattern() {
    const size_t begin = ++at_;
    bool in_class = false;
    for (; !done() && (in_class || look() != '/'); ++at_) {
      if (look() == '\n') break;
      if (look() == '\\') {
        ++at_;
        continue;
      }
      if (look() == '[') in_class = true;
      if (look() == ']') in_class = false;
    }
    if (look() != '/') {
      at_ = begin;
      fail("'/' without its other half");
    }
    const std::string_view inner = source_.substr(begin, at_ - begin);
    ++at_;
    if (look() >= 'a' && look() <= 'z') refuse("a flag of a pattern is");
    return regex(inner);
  }

  Expr regex(std::string_view pattern) {
    return add_regex(builder_, pattern, [&](const CodeSet& set) { return builder_.chars(set); }).expr;
  }

  Rule ignored_ = -1;
  bool in_terminal_ = false;
};

}  // namespace

Rule add_lark(Builder& builder, std::string_view source) { return Lark(builder, source).run(); }

}  // namespace pagoda::grammar
