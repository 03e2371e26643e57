// What the notations of grammars share.
#include "generate/grammar/source_reader.h"

#include <algorithm>

#include "base/utf8.h"

namespace pagoda::grammar {

SourceReader::SourceReader(Builder& builder, std::string_view source) : builder_(builder), source_(source) {
  const size_t bad = utf8_invalid_at(source);
  if (bad != std::string_view::npos) invalid(builder.where(), "no valid UTF-8: got an ill-formed byte at {}", bad);
}

bool SourceReader::take(std::string_view text) {
  if (!starts(text)) return false;
  at_ += text.size();
  return true;
}

void SourceReader::expect(std::string_view text) {
  if (!take(text)) fail(std::string("need '") + std::string(text) + "'");
}

size_t SourceReader::line() const {
  const auto end = source_.begin() + static_cast<std::ptrdiff_t>(std::min(at_, source_.size()));
  return 1 + static_cast<size_t>(std::count(source_.begin(), end, '\n'));
}

void SourceReader::fail(std::string_view what) const { invalid(builder_.where(), "line {}: {}", line(), what); }

void SourceReader::refuse(std::string_view what) const {
  unsupported(builder_.where(), "line {}: {} not supported", line(), what);
}

std::string SourceReader::name() {
  const size_t begin = at_;
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  while (fits(look())) ++at_;
  return std::string(source_.substr(begin, at_ - begin));
}

uint32_t SourceReader::code() {
  if (done()) fail("unexpected end");
  return utf8_next(source_, at_);
}

bool SourceReader::number(int64_t& out) {
  const size_t begin = at_;
  int64_t value = 0;
  for (; look() >= '0' && look() <= '9'; ++at_) {
    if (at_ - begin >= 10) fail("number too large");
    value = value * 10 + (look() - '0');
  }
  if (at_ == begin) return false;
  out = value;
  return true;
}

uint32_t SourceReader::escape() {
  const uint32_t c = code();
  int digits = 0;
  switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'f': return '\f';
    case 'v': return '\v';
    case 'b': return '\b';
    case '0': return 0;
    case 'x': digits = 2; break;
    case 'u': digits = 4; break;
    case 'U': digits = 8; break;
    default:
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '1' && c <= '9')) fail("unknown escape");
      return c;
  }
  uint64_t value = 0;
  for (int i = 0; i < digits; ++i) {
    const char d = look();
    const int digit = d >= '0' && d <= '9'   ? d - '0'
                      : d >= 'a' && d <= 'f' ? d - 'a' + 10
                      : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                             : -1;
    if (digit < 0) fail("bad hexadecimal escape");
    value = value * 16 + static_cast<uint64_t>(digit);
    ++at_;
  }
  if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) fail("escape is no character");
  return static_cast<uint32_t>(value);
}

std::string SourceReader::quoted() {
  const size_t begin = at_;
  const auto quote = static_cast<unsigned char>(look());
  ++at_;
  std::string out;
  for (;;) {
    if (done()) {
      at_ = begin;
      fail("text in quotes without an end");
    }
    uint32_t c = code();
    if (c == quote) return out;
    if (c == '\\') c = escape();
    utf8_append(out, c);
  }
}

void SourceReader::counts(int64_t& min, int64_t& max) {
  const auto blanks = [&] {
    while (look() == ' ') ++at_;
  };
  expect("{");
  blanks();
  min = 0;
  const bool has_min = number(min);
  max = min;
  blanks();
  if (take(",")) {
    blanks();
    max = kUnbounded;
    if (!number(max) && !has_min) fail("repetition without a count");
    blanks();
  } else if (!has_min) {
    fail("repetition without a count");
  }
  expect("}");
}

Rule SourceReader::rule(const std::string& name) {
  const auto at = rules_.find(name);
  if (at != rules_.end()) return at->second;
  const Rule made = builder_.add_rule(name);
  rules_.emplace(name, made);
  return made;
}

void SourceReader::define(const std::string& name, Expr body) {
  const Rule made = rule(name);
  if (builder_.body(made) >= 0) fail("rule '" + name + "' is defined twice");
  builder_.define(made, body);
}

void SourceReader::check_defined() const {
  for (Rule rule = 0; rule < builder_.rule_count(); ++rule) {
    if (builder_.body(rule) < 0) invalid(builder_.where(), "rule '{}' is used but not defined", builder_.name(rule));
  }
}

}  // namespace pagoda::grammar
