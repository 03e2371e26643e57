// A descent over the pattern; sets are kept in a narrow and a wide reading, so that an opposite can be narrow too.
#include "generate/grammar/regex.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace pagoda::grammar {

namespace {

constexpr int64_t kMostChars = int64_t{1} << 40;

CodeSet of(std::initializer_list<CodeSet::Range> ranges) {
  CodeSet out;
  for (const CodeSet::Range& range : ranges) out.add(range.first, range.last);
  return out;
}

CodeSet property(std::string_view name) { return CodeSet::property(name, unicode::kUnicode17).value_or(CodeSet()); }

// What every dialect has in the set, and what any has.
struct TwoSets {
  CodeSet narrow, wide;
  static TwoSets exactly(const CodeSet& set) { return {set, set}; }
  TwoSets opposite() const { return {wide.complement(), narrow.complement()}; }
  void add(const TwoSets& other) {
    for (const CodeSet::Range& range : other.narrow.ranges()) narrow.add(range.first, range.last);
    for (const CodeSet::Range& range : other.wide.ranges()) wide.add(range.first, range.last);
  }
};

TwoSets digits() { return {of({{'0', '9'}}), of({{'0', '9'}}).united(property("Nd"))}; }
TwoSets word() {
  const CodeSet ascii = of({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
  CodeSet wide = ascii;
  for (const char* const name : {"L", "M", "N", "Pc", "Alphabetic"}) wide = wide.united(property(name));
  wide.add(0x200C, 0x200D);
  return {ascii, wide};
}
TwoSets space() {
  const CodeSet narrow = of({{'\t', '\r'}, {' ', ' '}});
  CodeSet wide = narrow.united(property("White_Space"));
  wide.add(0x1C, 0x1F);
  wide.add(0x180E, 0x180E);
  wide.add(0xFEFF, 0xFEFF);
  return {narrow, wide};
}

// What \d \D \w \W \s \S mean: some have hundreds of ranges, and a pattern may ask for one at every second byte.
const TwoSets& class_escape(char letter) {
  static const TwoSets kDigits = digits(), kNoDigits = digits().opposite();
  static const TwoSets kWord = word(), kNoWord = word().opposite();
  static const TwoSets kSpace = space(), kNoSpace = space().opposite();
  switch (letter) {
    case 'd': return kDigits;
    case 'D': return kNoDigits;
    case 'w': return kWord;
    case 'W': return kNoWord;
    case 's': return kSpace;
    default: return kNoSpace;
  }
}

CodeSet any_char() { return of({{'\n', '\n'}, {'\r', '\r'}, {0x85, 0x85}, {0x2028, 0x2029}}).complement(); }

class Parser {
 public:
  Parser(Builder& builder, std::string_view pattern, const CharWriter& writer, Dialects dialects)
      : builder_(builder), pattern_(pattern), writer_(writer), dialects_(dialects) {
    if (!utf8_valid(pattern)) fail("no valid UTF-8");
  }

  RegexExpr run() {
    const Piece piece = alternation(0);
    if (at_ < pattern_.size()) fail("')' without '('");
    RegexExpr out;
    out.expr = piece.expr;
    out.min_chars = piece.min;
    out.max_chars = piece.max;
    out.one_set = piece.one_set;
    out.set = piece.set;
    out.at_start = piece.all_at_start;
    out.at_end = piece.all_at_end;
    return out;
  }

 private:
  struct Piece {
    Expr expr = 0;
    int64_t min = 0, max = 0;               // code points
    bool at_start = false, at_end = false;  // holds ^ or $
    bool all_at_start = false, all_at_end = false;
    bool one_set = false;
    CodeSet set;
  };

  [[noreturn]] void fail(std::string_view what) const { invalid(builder_.where(), "pattern, byte {}: {}", at_, what); }
  [[noreturn]] void refuse(std::string_view what) const {
    unsupported(builder_.where(), "pattern, byte {}: {} not supported", at_, what);
  }
  bool done() const { return at_ >= pattern_.size(); }
  char look(size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  bool take(std::string_view text) {
    if (pattern_.substr(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }

  static int64_t plus(int64_t a, int64_t b) {
    return a == kUnbounded || b == kUnbounded ? kUnbounded : std::min(kMostChars, a + b);
  }
  static int64_t times(int64_t a, int64_t b) {
    if (a == 0 || b == 0) return 0;
    if (a == kUnbounded || b == kUnbounded) return kUnbounded;
    return a > kMostChars / b ? kMostChars : a * b;
  }

  Piece alternation(int64_t depth) {
    if (depth > builder_.limits().max_depth) fail("nested too deeply");
    std::vector<Expr> choices;
    Piece out = sequence(depth);
    choices.push_back(out.expr);
    while (take("|")) {
      const Piece next = sequence(depth);
      choices.push_back(next.expr);
      out.min = std::min(out.min, next.min);
      out.max = out.max == kUnbounded || next.max == kUnbounded ? kUnbounded : std::max(out.max, next.max);
      out.at_start |= next.at_start;
      out.at_end |= next.at_end;
      out.all_at_start &= next.all_at_start;
      out.all_at_end &= next.all_at_end;
      out.one_set = false;
    }
    out.expr = builder_.alternation(choices);
    return out;
  }

  Piece sequence(int64_t depth) {
    std::vector<Expr> parts;
    Piece out;
    size_t count = 0;
    bool ended = false, begun = false;
    while (!done() && look() != '|' && look() != ')') {
      if (take("^") || take("\\A")) {
        if (begun) refuse("'^' that is not at the begin is");
        out.at_start = out.all_at_start = true;
        continue;
      }
      if (take("$") || take("\\Z") || take("\\z")) {
        out.at_end = out.all_at_end = ended = true;
        continue;
      }
      Piece piece = quantified(depth);
      if (ended) refuse("'$' that is not at the end is");
      if (piece.at_start && begun) refuse("'^' that is not at the begin is");
      ended = piece.at_end;
      begun = true;
      out.at_start |= piece.at_start;
      out.at_end |= piece.at_end;
      out.all_at_start |= piece.all_at_start;
      out.all_at_end |= piece.all_at_end;
      out.min = plus(out.min, piece.min);
      out.max = plus(out.max, piece.max);
      parts.push_back(piece.expr);
      out.one_set = ++count == 1 && piece.one_set;
      out.set = piece.set;
    }
    out.expr = builder_.sequence(parts);
    return out;
  }

  Piece quantified(int64_t depth) {
    Piece piece = atom(depth);
    for (bool first = true;; first = false) {
      int64_t min = 0, max = kUnbounded;
      if (take("*")) {
      } else if (take("+")) {
        min = 1;
      } else if (take("?")) {
        max = 1;
      } else if (look() != '{' || !counts(min, max)) {
        return piece;
      }
      if (!first) fail("a repetition of a repetition needs a group");
      if (look() == '+') refuse("a possessive repetition is");
      take("?");  // lazy: the same texts
      if (piece.at_start || piece.at_end) refuse("a repeated '^' or '$' is");
      const bool plain = piece.one_set && piece.min == 1 && piece.max == 1;
      piece.expr = builder_.repeat(piece.expr, min, max);
      piece.min = times(piece.min, min);
      piece.max = times(piece.max, max);
      piece.one_set = plain;
    }
  }

  // {m}, {m,}, {m,n}, {,n}; anything else in braces is text, as in Python and ECMAScript.
  bool counts(int64_t& min, int64_t& max) {
    size_t at = at_ + 1;
    const auto number = [&](int64_t& out) {
      const size_t begin = at;
      int64_t value = 0;
      for (; at < pattern_.size() && pattern_[at] >= '0' && pattern_[at] <= '9'; ++at) {
        value = std::min(kMostChars, value * 10 + (pattern_[at] - '0'));
      }
      if (at > begin) out = value;
      return at > begin;
    };
    min = 0;
    max = kUnbounded;
    const bool has_min = number(min);
    if (at < pattern_.size() && pattern_[at] == ',') {
      ++at;
      const bool has_max = number(max);
      if (!has_min && !has_max) return false;
    } else {
      if (!has_min) return false;
      max = min;
    }
    if (at >= pattern_.size() || pattern_[at] != '}') return false;
    at_ = at + 1;
    return true;
  }

  const CodeSet& of_dialects(const TwoSets& sets) const { return dialects_ == Dialects::kAny ? sets.wide : sets.narrow; }

  Piece set_piece(const CodeSet& set) {
    Piece out;
    out.expr = writer_(set);
    out.min = out.max = 1;
    out.one_set = true;
    out.set = set;
    return out;
  }

  Piece atom(int64_t depth) {
    const char c = look();
    if (c == '(') return group(depth);
    if (c == '[') return set_piece(char_class());
    if (c == '*' || c == '+' || c == '?') fail("nothing to repeat");
    if (take(".")) return set_piece(dialects_ == Dialects::kAny ? CodeSet().complement() : any_char());
    if (c == '\\') {
      const Escape escaped = escape(false);
      return set_piece(escaped.set != nullptr ? of_dialects(*escaped.set) : one(escaped.code));
    }
    return set_piece(one(code()));
  }

  Piece group(int64_t depth) {
    ++at_;
    if (take("?")) {
      if (take(":")) {
      } else if (look() == '=' || look() == '!') {
        refuse("look-ahead is");
      } else if (look() == '<' && (look(1) == '=' || look(1) == '!')) {
        refuse("look-behind is");
      } else if (look() == '>') {
        refuse("an atomic group is");
      } else if (look() == '#') {
        refuse("a comment is");
      } else if (take("P<") || take("<")) {
        const size_t begin = at_;
        while (!done() && look() != '>' && look() != ')') ++at_;
        if (at_ == begin || !take(">")) fail("bad name of a group");
      } else if (look() == 'P') {
        refuse("a back-reference is");
      } else {
        refuse("an inline flag is");
      }
    }
    Piece inner = alternation(depth + 1);
    if (!take(")")) fail("'(' without ')'");
    return inner;
  }

  uint32_t code() { return utf8_next(pattern_, at_); }
  static CodeSet one(uint32_t code) { return CodeSet::range(code, code); }

  uint32_t hex(int least, int most) {
    uint32_t value = 0;
    int count = 0;
    for (; count < most && !done(); ++count, ++at_) {
      const char c = look();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) break;
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    if (count < least || value > 0x10FFFF) fail("bad hexadecimal escape");
    return value;
  }

  // One code point, or a set of them.
  struct Escape {
    uint32_t code = 0;
    const TwoSets* set = nullptr;
  };

  // \p{NAME} or \P{NAME}, made once a pattern.
  const TwoSets* property_set(bool opposite, const std::string& name) {
    const auto key = std::make_pair(opposite, name);
    if (const auto known = properties_.find(key); known != properties_.end()) return &known->second;
    const std::optional<CodeSet> set = CodeSet::property(name, unicode::kUnicode17);
    if (!set) fail("unknown property of characters");
    const TwoSets both = TwoSets::exactly(*set);
    return &properties_.emplace(key, opposite ? both.opposite() : both).first->second;
  }

  // After the backslash.
  Escape escape(bool in_class) {
    ++at_;
    if (done()) fail("'\\' at the end");
    const size_t begin = at_;
    const uint32_t c = code();
    switch (c) {
      case 'd':
      case 'D':
      case 'w':
      case 'W':
      case 's':
      case 'S': return {0, &class_escape(static_cast<char>(c))};
      case 'n': return {'\n'};
      case 'r': return {'\r'};
      case 't': return {'\t'};
      case 'f': return {'\f'};
      case 'v': return {'\v'};
      case 'a': return {'\a'};
      case 'p':
      case 'P': {
        std::string name(1, look());
        if (take("{")) {
          const size_t close = pattern_.find('}', at_);
          if (close == std::string_view::npos) fail("'\\p{' without '}'");
          name = std::string(pattern_.substr(at_, close - at_));
          at_ = close + 1;
        } else {
          if (done()) fail("'\\p' at the end");
          ++at_;
        }
        for (const std::string_view prefix : {"gc=", "General_Category=", "sc=", "Script="}) {
          if (name.compare(0, prefix.size(), prefix) == 0) name.erase(0, prefix.size());
        }
        return {0, property_set(c == 'P', unicode::plain_name(name))};
      }
      case 'x': {
        if (!take("{")) return {hex(2, 2)};
        const uint32_t value = hex(1, 8);
        if (!take("}")) fail("'\\x{' without '}'");
        return {value};
      }
      case 'u': {
        if (take("{")) {
          const uint32_t value = hex(1, 8);
          if (!take("}")) fail("'\\u{' without '}'");
          return {value};
        }
        uint32_t value = hex(4, 4);
        if (value >= 0xD800 && value < 0xDC00 && take("\\u")) {
          const uint32_t low = hex(4, 4);
          if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair");
          value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
        }
        if (value >= 0xD800 && value <= 0xDFFF) fail("half of a surrogate pair");
        return {value};
      }
      case 'U': return {hex(8, 8)};
      case 'b':
        if (in_class) return {'\b'};
        at_ = begin;
        refuse("a word boundary is");
      case 'B': at_ = begin; refuse("a word boundary is");
      case 'k': at_ = begin; refuse("a back-reference is");
      case '0':
        if (look() >= '0' && look() <= '9') refuse("an octal escape is");
        return {0};
      default: break;
    }
    if (c >= '1' && c <= '9') {
      at_ = begin;
      refuse(in_class ? "an octal escape is" : "a back-reference is");
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter) {
      at_ = begin;
      refuse("this escape is");
    }
    return {c};
  }

  CodeSet char_class() {
    const size_t begin = at_;
    ++at_;
    const bool negated = take("^");
    TwoSets out;
    std::unordered_set<const TwoSets*> taken;
    for (bool first = true;; first = false) {
      if (done()) {
        at_ = begin;
        fail("'[' without ']'");
      }
      if (look() == ']' && !first) break;
      if (look() == ']' && first) {
        // Python: a bracket; ECMAScript: the empty class.
        at_ = begin;
        refuse("an empty class, or ']' first in a class, is");
      }
      if (look() == '[' && (look(1) == ':' || look(1) == '.' || look(1) == '=')) refuse("a POSIX class is");
      if (take("&&") || take("--") || take("~~")) refuse("set arithmetic in a class is");
      const Escape low = look() == '\\' ? escape(true) : Escape{code()};
      if (look() != '-' || look(1) == ']' || at_ + 1 >= pattern_.size()) {
        if (low.set == nullptr) {
          out.add(TwoSets::exactly(one(low.code)));
        } else if (taken.insert(low.set).second) {
          out.add(*low.set);
        }
        continue;
      }
      ++at_;
      const Escape high = look() == '\\' ? escape(true) : Escape{code()};
      if (low.set != nullptr || high.set != nullptr) fail("range of a class: need single characters");
      const uint32_t from = low.code, to = high.code;
      if (from > to) fail("range of a class: need the lower end first");
      out.add(TwoSets::exactly(CodeSet::range(from, to)));
    }
    ++at_;
    return of_dialects(negated ? out.opposite() : out);
  }

  Builder& builder_;
  std::map<std::pair<bool, std::string>, TwoSets> properties_;
  std::string_view pattern_;
  const CharWriter& writer_;
  Dialects dialects_;
  size_t at_ = 0;
};

}  // namespace

RegexExpr add_regex(Builder& builder, std::string_view pattern, const CharWriter& writer, Dialects dialects) {
  if (static_cast<int64_t>(pattern.size()) > builder.limits().max_source_bytes)
    invalid(builder.where(), "pattern too long: got {} bytes, need at most {}", pattern.size(),
            builder.limits().max_source_bytes);
  return Parser(builder, pattern, writer, dialects).run();
}

}  // namespace pagoda::grammar
