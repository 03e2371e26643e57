// Template text to tokens.
#include "text/jinja_lexer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/utf8.h"
#include "text/jinja_unicode.h"

namespace pagoda::jinja {

std::string describe(TokenKind kind) {
  switch (kind) {
    case TokenKind::kData: return "template data / text";
    case TokenKind::kVariableBegin: return "begin of print statement";
    case TokenKind::kVariableEnd: return "end of print statement";
    case TokenKind::kBlockBegin: return "begin of statement block";
    case TokenKind::kBlockEnd: return "end of statement block";
    case TokenKind::kName: return "name";
    case TokenKind::kString: return "string";
    case TokenKind::kInteger: return "integer";
    case TokenKind::kFloat: return "float";
    case TokenKind::kAdd: return "+";
    case TokenKind::kSub: return "-";
    case TokenKind::kMul: return "*";
    case TokenKind::kDiv: return "/";
    case TokenKind::kFloorDiv: return "//";
    case TokenKind::kMod: return "%";
    case TokenKind::kPow: return "**";
    case TokenKind::kTilde: return "~";
    case TokenKind::kLBracket: return "[";
    case TokenKind::kRBracket: return "]";
    case TokenKind::kLParen: return "(";
    case TokenKind::kRParen: return ")";
    case TokenKind::kLBrace: return "{";
    case TokenKind::kRBrace: return "}";
    case TokenKind::kEq: return "==";
    case TokenKind::kNe: return "!=";
    case TokenKind::kGt: return ">";
    case TokenKind::kGe: return ">=";
    case TokenKind::kLt: return "<";
    case TokenKind::kLe: return "<=";
    case TokenKind::kAssign: return "=";
    case TokenKind::kDot: return ".";
    case TokenKind::kColon: return ":";
    case TokenKind::kPipe: return "|";
    case TokenKind::kComma: return ",";
    case TokenKind::kSemicolon: return ";";
    case TokenKind::kEof: return "end of template";
  }
  return "token";
}

std::string describe(const Token& token) { return token.kind == TokenKind::kName ? token.text : describe(token.kind); }

namespace {

// \r\n and \r become \n; one newline at the very end is dropped when `drop_last` is set.
std::string normalize_newlines(std::string_view text, bool drop_last) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      out.push_back('\n');
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      out.push_back(text[i]);
    }
  }
  if (drop_last && !out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

struct Operator {
  const char* text;
  TokenKind kind;
};

// Longer ones first.
constexpr Operator kOperators[] = {
    {"//", TokenKind::kFloorDiv}, {"**", TokenKind::kPow},     {"==", TokenKind::kEq},    {"!=", TokenKind::kNe},
    {">=", TokenKind::kGe},       {"<=", TokenKind::kLe},      {"+", TokenKind::kAdd},    {"-", TokenKind::kSub},
    {"/", TokenKind::kDiv},       {"*", TokenKind::kMul},      {"%", TokenKind::kMod},    {"~", TokenKind::kTilde},
    {"[", TokenKind::kLBracket},  {"]", TokenKind::kRBracket}, {"(", TokenKind::kLParen}, {")", TokenKind::kRParen},
    {"{", TokenKind::kLBrace},    {"}", TokenKind::kRBrace},   {">", TokenKind::kGt},     {"<", TokenKind::kLt},
    {"=", TokenKind::kAssign},    {".", TokenKind::kDot},      {":", TokenKind::kColon},  {"|", TokenKind::kPipe},
    {",", TokenKind::kComma},     {";", TokenKind::kSemicolon}};

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  Lexer(std::string_view source, const Limits& limits) : source_(normalize_newlines(source, true)), limits_(limits) {}

  TokenList run() {
    try {
      root();
    } catch (const TemplateError& error) {
      out_.error = error;
    }
    Token end;
    end.line = out_.tokens.empty() ? 1 : out_.tokens.back().line;
    out_.tokens.push_back(std::move(end));
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& text) const { throw TemplateError("TemplateSyntaxError", text, line_); }

  Token& add(TokenKind kind) {
    if (static_cast<int64_t>(out_.tokens.size()) >= limits_.max_items) {
      invalid("template", "too many tokens: need at most {} (max_items)", limits_.max_items);
    }
    Token& token = out_.tokens.emplace_back();
    token.kind = kind;
    token.line = line_;
    return token;
  }

  bool at(size_t pos, std::string_view text) const { return source_.compare(pos, text.size(), text) == 0; }

  void count_lines(size_t from, size_t to) {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<ptrdiff_t>(from), source_.begin() + static_cast<ptrdiff_t>(to), '\n'));
  }

  size_t skip_space(size_t pos) const {
    while (pos < source_.size()) {
      size_t next = pos;
      if (!is_space(utf8_next(source_, next))) break;
      pos = next;
    }
    return pos;
  }

  // Start of the white space that ends at `end`, not before `from`.
  size_t strip_back(size_t from, size_t end) const {
    while (end > from) {
      size_t start = end - 1;
      while (start > from && (static_cast<unsigned char>(source_[start]) & 0xC0) == 0x80) --start;
      size_t next = start;
      if (!is_space(utf8_next(source_, next)) || next != end) break;
      end = start;
    }
    return end;
  }

  // Position after "{% raw %}" at pos (where "{%" stands), or npos. `sign` gets '-', '+' or 0.
  size_t raw_begin(size_t pos, char& sign) const {
    size_t p = pos + 2;
    sign = 0;
    if (p < source_.size() && (source_[p] == '-' || source_[p] == '+')) sign = source_[p++];
    p = skip_space(p);
    if (!at(p, "raw")) return std::string::npos;
    p = skip_space(p + 3);
    if (at(p, "-%}")) return skip_space(p + 3);
    if (at(p, "%}")) return p + 2;
    return std::string::npos;
  }

  // The text before a tag at `tag` (its sign known), with white space stripped as the sign and lstrip_blocks ask.
  // Adds the data token; line_ afterwards is the tag's.
  void data_before(size_t from, size_t tag, char sign, bool variable) {
    size_t end = tag;
    if (sign == '-') {
      end = strip_back(from, tag);
    } else if (sign != '+' && !variable) {
      const size_t newline = std::string_view(source_).substr(from, tag - from).rfind('\n');
      const bool has_newline = newline != std::string_view::npos;
      const size_t line_start = has_newline ? from + newline + 1 : from;
      if ((has_newline || line_starting_) && line_start < tag && strip_back(line_start, tag) == line_start) end = line_start;
    }
    if (end > from) add(TokenKind::kData).text = source_.substr(from, end - from);
    count_lines(from, tag);
  }

  void root() {
    size_t pos = 0;
    while (pos < source_.size()) {
      size_t tag = pos;
      while (true) {
        tag = source_.find('{', tag);
        if (tag == std::string::npos || tag + 1 >= source_.size()) {
          tag = std::string::npos;
          break;
        }
        const char c = source_[tag + 1];
        if (c == '{' || c == '%' || c == '#') break;
        ++tag;
      }
      if (tag == std::string::npos) {
        add(TokenKind::kData).text = source_.substr(pos);
        return;
      }
      const char type = source_[tag + 1];
      char sign = 0;
      if (type == '%') {
        if (const size_t body = raw_begin(tag, sign); body != std::string::npos) {
          data_before(pos, tag, sign, false);
          count_lines(tag, body);
          set_line_starting(tag, body);
          pos = raw(body);
          continue;
        }
      }
      size_t body = tag + 2;
      sign = 0;
      if (body < source_.size() && (source_[body] == '-' || source_[body] == '+')) sign = source_[body++];
      data_before(pos, tag, sign, type == '{');
      set_line_starting(tag, body);
      if (type == '#') {
        pos = comment(body);
      } else {
        add(type == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin);
        pos = expression(body, type == '{');
      }
    }
  }

  void set_line_starting(size_t from, size_t to) { line_starting_ = to > from && source_[to - 1] == '\n'; }

  // After "%}" or "#}" at pos: a sign before it was handled by the caller.
  size_t after_block(size_t pos) const { return pos < source_.size() && source_[pos] == '\n' ? pos + 1 : pos; }

  size_t comment(size_t pos) {
    if (pos >= source_.size()) return pos;  // nothing follows: jinja2 sees the end of the text, not a comment left open
    const size_t close = source_.find("#}", pos);
    if (close == std::string::npos) fail("Missing end of comment tag");
    size_t end;
    if (close > pos && source_[close - 1] == '-') {
      end = skip_space(close + 2);
    } else if (close > pos && source_[close - 1] == '+') {
      end = close + 2;
    } else {
      end = after_block(close + 2);
    }
    count_lines(pos, end);
    set_line_starting(pos, end);
    return end;
  }

  size_t raw(size_t pos) {
    if (pos >= source_.size()) return pos;
    for (size_t tag = source_.find("{%", pos); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      size_t p = tag + 2;
      char sign = 0;
      if (p < source_.size() && (source_[p] == '-' || source_[p] == '+')) sign = source_[p++];
      p = skip_space(p);
      if (!at(p, "endraw")) continue;
      p = skip_space(p + 6);
      size_t end;
      if (at(p, "+%}")) {
        end = p + 3;
      } else if (at(p, "-%}")) {
        end = skip_space(p + 3);
      } else if (at(p, "%}")) {
        end = after_block(p + 2);
      } else {
        continue;
      }
      data_before(pos, tag, sign, false);
      count_lines(tag, end);
      set_line_starting(pos, end);
      return end;
    }
    fail("Missing end of raw directive");
  }

  size_t expression(size_t pos, bool variable) {
    std::string open;
    while (true) {
      if (pos >= source_.size()) return pos;
      if (open.empty()) {
        size_t end = std::string::npos;
        if (variable) {
          if (at(pos, "-}}")) end = skip_space(pos + 3);
          if (at(pos, "}}")) end = pos + 2;
        } else {
          if (at(pos, "+%}")) end = pos + 3;
          if (at(pos, "-%}")) end = skip_space(pos + 3);
          if (at(pos, "%}")) end = after_block(pos + 2);
        }
        if (end != std::string::npos) {
          add(variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd);
          count_lines(pos, end);
          set_line_starting(pos, end);
          return end;
        }
      }
      if (const size_t end = skip_space(pos); end != pos) {
        count_lines(pos, end);
        pos = end;
        continue;
      }
      pos = token(pos, open);
    }
  }

  size_t token(size_t pos, std::string& open) {
    const char c = source_[pos];
    if (is_ascii_digit(c)) return number(pos);
    if (c == '\'' || c == '"') {
      if (const size_t end = string(pos); end != std::string::npos) return end;
    } else if (c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80) {
      if (const size_t end = name(pos); end != pos) return end;
    }
    for (const Operator& op : kOperators) {
      if (!at(pos, op.text)) continue;
      const char first = op.text[0];
      if (first == '{' || first == '(' || first == '[') {
        if (static_cast<int64_t>(open.size()) >= limits_.max_depth) {
          invalid("template", "line {}: brackets nested too deeply: need at most {} (max_depth)", line_, limits_.max_depth);
        }
        open.push_back(first == '{' ? '}' : first == '(' ? ')' : ']');
      } else if (first == '}' || first == ')' || first == ']') {
        if (open.empty()) fail(std::string("unexpected '") + first + "'");
        const char expected = open.back();
        open.pop_back();
        if (expected != first) fail(std::string("unexpected '") + first + "', expected '" + expected + "'");
      }
      add(op.kind);
      return pos + std::strlen(op.text);
    }
    size_t next = pos;
    const uint32_t code = utf8_next(source_, next);
    std::string shown = source_.substr(pos, next - pos);
    if (shown == "'")
      shown = "\"'\"";
    else if (shown == "\\")
      shown = "'\\\\'";
    else if (!is_printable(code))
      shown = fmt::format("'\\x{:02x}'", code);
    else
      shown = "'" + shown + "'";
    fail(fmt::format("unexpected char {} at {}", shown, utf8_length(std::string_view(source_).substr(0, pos))));
  }

  // digits with single underscores between; returns the end
  size_t digits(size_t pos) const {
    size_t end = pos;
    while (end < source_.size()) {
      if (is_ascii_digit(source_[end])) {
        ++end;
      } else if (source_[end] == '_' && end > pos && end + 1 < source_.size() && is_ascii_digit(source_[end + 1])) {
        end += 2;
      } else {
        break;
      }
    }
    return end;
  }

  size_t number(size_t pos) {
    // A float needs a fraction or an exponent, and must not follow a dot (as in "a.1.2").
    const bool after_dot = pos > 0 && source_[pos - 1] == '.';
    if (!after_dot) {
      size_t end = digits(pos);
      bool is_float = false;
      if (end + 1 < source_.size() && source_[end] == '.' && is_ascii_digit(source_[end + 1])) {
        end = digits(end + 1);
        is_float = true;
      }
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        size_t exponent = end + 1;
        if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
        if (exponent < source_.size() && is_ascii_digit(source_[exponent])) {
          end = digits(exponent);
          is_float = true;
        }
      }
      if (is_float) {
        std::string text = source_.substr(pos, end - pos);
        text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
        add(TokenKind::kFloat).real = std::strtod(text.c_str(), nullptr);
        return end;
      }
    }
    int base = 10;
    size_t end = pos;
    if (source_[pos] == '0' && pos + 1 < source_.size()) {
      const char mark = static_cast<char>(source_[pos + 1] | 0x20);
      const int wanted = mark == 'b' ? 2 : mark == 'o' ? 8 : mark == 'x' ? 16 : 10;
      if (wanted != 10) {
        size_t p = pos + 2;
        size_t last = p;
        while (p < source_.size()) {
          const size_t digit = source_[p] == '_' ? p + 1 : p;
          if (digit >= source_.size() || digit_value(source_[digit]) >= wanted) break;
          p = digit + 1;
          last = p;
        }
        if (last > pos + 2) {
          base = wanted;
          end = last;
        }
      }
    }
    if (base == 10) {
      if (source_[pos] == '0') {
        end = pos + 1;
        while (end < source_.size()) {
          const size_t digit = source_[end] == '_' ? end + 1 : end;
          if (digit >= source_.size() || source_[digit] != '0') break;
          end = digit + 1;
        }
      } else {
        end = digits(pos);
      }
    }
    int64_t value = 0;
    for (size_t p = base == 10 ? pos : pos + 2; p < end; ++p) {
      if (source_[p] == '_') continue;
      if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit_value(source_[p]), &value)) {
        fail("integer " + source_.substr(pos, std::min<size_t>(end - pos, 40)) + " does not fit in 64 bits");
      }
    }
    add(TokenKind::kInteger).integer = value;
    return end;
  }

  static int digit_value(char c) {
    if (is_ascii_digit(c)) return c - '0';
    const char low = static_cast<char>(c | 0x20);
    return low >= 'a' && low <= 'z' ? low - 'a' + 10 : 99;
  }

  size_t name(size_t pos) {
    size_t end = pos;
    bool valid = true;
    while (end < source_.size()) {
      size_t next = end;
      const uint32_t code = utf8_next(source_, next);
      if (!is_word(code) && !is_identifier_part(code)) break;
      if (end == pos ? !is_identifier_start(code) : !is_identifier_part(code)) valid = false;
      end = next;
    }
    if (end == pos) return pos;
    if (!valid) fail("Invalid character in identifier");
    add(TokenKind::kName).text = source_.substr(pos, end - pos);
    return end;
  }

  size_t string(size_t pos) {
    const char quote = source_[pos];
    size_t end = pos + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return std::string::npos;
    std::string value = unescape(std::string_view(source_).substr(pos + 1, end - pos - 1));
    add(TokenKind::kString).text = std::move(value);
    count_lines(pos, end + 1);
    return end + 1;
  }

  // Python's unicode-escape codec over the text with its non-ASCII characters written as escapes themselves.
  std::string unescape(std::string_view text) const {
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
      if (text[i] != '\\') {
        out.push_back(text[i++]);
        continue;
      }
      if (++i >= text.size()) fail("\\ at end of string");
      const char c = text[i];
      if (static_cast<unsigned char>(c) >= 0x80) {
        // The codec sees the backslash before that character's own escape, and so a literal backslash.
        const uint32_t code = utf8_next(text, i);
        out += code < 0x100     ? fmt::format("\\x{:02x}", code)
               : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                                : fmt::format("\\U{:08x}", code);
        continue;
      }
      ++i;
      switch (c) {
        case '\n': break;
        case '\\': out.push_back('\\'); break;
        case '\'': out.push_back('\''); break;
        case '"': out.push_back('"'); break;
        case 'a': out.push_back('\a'); break;
        case 'b': out.push_back('\b'); break;
        case 'f': out.push_back('\f'); break;
        case 'n': out.push_back('\n'); break;
        case 'r': out.push_back('\r'); break;
        case 't': out.push_back('\t'); break;
        case 'v': out.push_back('\v'); break;
        case 'x': append_hex(out, text, i, 2, "truncated \\xXX escape"); break;
        case 'u': append_hex(out, text, i, 4, "truncated \\uXXXX escape"); break;
        case 'U': append_hex(out, text, i, 8, "truncated \\UXXXXXXXX escape"); break;
        case 'N': fail("character names (\\N{...}) are not supported");
        default:
          if (c >= '0' && c <= '7') {
            uint32_t code = static_cast<uint32_t>(c - '0');
            for (int k = 0; k < 2 && i < text.size() && text[i] >= '0' && text[i] <= '7'; ++k) {
              code = code * 8 + static_cast<uint32_t>(text[i++] - '0');
            }
            utf8_append(out, code);
          } else {
            out.push_back('\\');
            out.push_back(c);
          }
      }
    }
    return out;
  }

  void append_hex(std::string& out, std::string_view text, size_t& i, int count, const char* message) const {
    const auto read = [&](size_t from) -> int64_t {
      int64_t code = 0;
      for (int k = 0; k < count; ++k) {
        const size_t p = from + static_cast<size_t>(k);
        if (p >= text.size() || digit_value(text[p]) >= 16) return -1;
        code = code * 16 + digit_value(text[p]);
      }
      return code;
    };
    int64_t code = read(i);
    if (code < 0) fail(message);
    i += static_cast<size_t>(count);
    if (code > 0x10FFFF) fail("illegal Unicode character");
    utf8_append(out, static_cast<uint32_t>(code));
  }

  const std::string source_;
  const Limits& limits_;
  TokenList out_;
  int line_ = 1;
  bool line_starting_ = true;
};

}  // namespace

TokenList tokenize(std::string_view source, const Limits& limits) { return Lexer(source, limits).run(); }

}  // namespace pagoda::jinja
