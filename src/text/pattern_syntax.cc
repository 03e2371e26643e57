// A recursive descent parser with a depth limit.
#include "text/pattern_syntax.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace pagoda {

namespace {

using Kind = PatternNode::Kind;
using Node = std::unique_ptr<PatternNode>;

// PCRE2 10.42 knows Unicode 14; every code point assigned later is added to its classes by number. One has changed its category
// since, from Mn to Mc.
constexpr int kPcre2Unicode = 140;
constexpr uint32_t kChangedToMc = 0x1171E;

std::string code_escape(uint32_t code) { return fmt::format("\\x{{{:x}}}", code); }

std::string ranges_text(const CodeSet& set) {
  std::string out;
  for (const CodeSet::Range& r : set.ranges()) {
    // PCRE2 refuses surrogates in UTF mode, and no valid text holds one.
    uint32_t first = r.first, last = r.last;
    if (first >= 0xD800 && first <= 0xDFFF) first = 0xE000;
    if (last >= 0xD800 && last <= 0xDFFF) last = 0xD7FF;
    if (first > last) continue;
    out += code_escape(first);
    if (last != first) out += "-" + code_escape(last);
  }
  return out;
}

class Parser {
 public:
  Parser(std::string_view text, PatternDialect dialect, std::string_view where, const Limits& limits)
      : text_(text), where_(where), limits_(limits), dialect_(dialect) {}

  Pattern parse() {
    if (text_.size() > 1 << 20) invalid(where_, "pattern too long: got {} bytes, need at most {}", text_.size(), 1 << 20);
    if (utf8_invalid_at(text_) != std::string_view::npos) error("invalid UTF-8");
    Pattern pattern;
    pattern.root = alternation(0);
    if (pos_ < text_.size()) error("unmatched )");
    pattern.groups = groups_;
    return pattern;
  }

 private:
  struct Flags {
    bool ignore_case = false, dot_all = false, extended = false, multi_line = false;
  };

  [[noreturn]] void error(std::string_view what) const {
    invalid(where_, "bad pattern: {} at byte {} of '{}'", what, pos_,
            utf8_replace_invalid(text_.substr(0, utf8_complete_prefix(text_.substr(0, 200)))));
  }
  bool end() const { return pos_ >= text_.size(); }
  char peek(size_t ahead = 0) const { return pos_ + ahead < text_.size() ? text_[pos_ + ahead] : '\0'; }
  bool take(std::string_view token) {
    if (text_.substr(pos_, token.size()) != token) return false;
    pos_ += token.size();
    return true;
  }
  uint32_t next_code() {
    if (end()) error("unexpected end");
    return utf8_next(text_, pos_);
  }

  Node make(Kind kind) const {
    Node node = std::make_unique<PatternNode>();
    node->kind = kind;
    return node;
  }
  // One budget for groups and repeats: the tree is walked and destroyed by recursion, and PCRE2's own limit counts both.
  void adopt(PatternNode& parent, Node child) const {
    const bool nests = parent.kind == Kind::kGroup || parent.kind == Kind::kAtomic || parent.kind == Kind::kLook ||
                       parent.kind == Kind::kRepeat;
    parent.nesting = std::max(parent.nesting, child->nesting + (nests ? 1 : 0));
    if (parent.nesting > limits_.max_depth) error("nested too deeply");
    parent.children.push_back(std::move(child));
  }
  Node make_set(CodeSet set, std::string class_text = {}) const {
    Node node = make(Kind::kSet);
    node->set = std::move(set);
    node->class_text = std::move(class_text);
    node->ignore_case = flags_.ignore_case;
    return node;
  }
  Node literal(uint32_t code) const { return make_set(CodeSet::range(code, code), code_escape(code)); }

  Node alternation(int depth) {
    if (depth > limits_.max_depth) error("nested too deeply");
    const Flags outer = flags_;
    Node node = make(Kind::kAlternate);
    adopt(*node, sequence(depth));
    while (take("|")) adopt(*node, sequence(depth));
    flags_ = outer;
    if (node->children.size() == 1) return std::move(node->children[0]);
    return node;
  }

  void skip_extended() {
    while (flags_.extended && !end()) {
      if (peek() == '#') {
        while (!end() && peek() != '\n') ++pos_;
      } else if (peek() == ' ' || (peek() >= 9 && peek() <= 13)) {
        ++pos_;
      } else {
        return;
      }
    }
  }

  Node sequence(int depth) {
    Node node = make(Kind::kConcat);
    while (true) {
      skip_extended();
      if (end() || peek() == '|' || peek() == ')') break;
      if (take("(?#")) {
        const size_t close = text_.find(')', pos_);
        if (close == std::string_view::npos) error("unclosed comment");
        pos_ = close + 1;
        continue;
      }
      Node item = atom(depth);
      if (item == nullptr) continue;  // flags for the rest of the group
      adopt(*node, quantified(std::move(item)));
    }
    if (node->children.size() == 1) return std::move(node->children[0]);
    if (node->children.empty()) node->kind = Kind::kEmpty;
    return node;
  }

  std::optional<int64_t> number() {
    if (peek() < '0' || peek() > '9') return std::nullopt;
    int64_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (text_[pos_++] - '0');
      if (value > 65535) error("repeat count too large");
    }
    return value;
  }

  bool braces(int64_t& min, int64_t& max) {
    const size_t start = pos_;
    if (!take("{")) return false;
    const std::optional<int64_t> low = number();
    std::optional<int64_t> high = low;
    const bool comma = take(",");
    if (comma) high = number();
    if (!take("}") || (!low && !high)) {
      pos_ = start;  // a plain brace
      return false;
    }
    min = low.value_or(0);
    max = high ? *high : (comma ? -1 : min);
    if (max >= 0 && max < min) {
      if (dialect_ == PatternDialect::kRust) error("repeat bounds out of order");
      std::swap(min, max);
    }
    return true;
  }

  Node quantified(Node item) {
    while (true) {
      skip_extended();
      int64_t min = 0, max = -1;
      bool interval = false;
      if (take("*")) {
      } else if (take("+")) {
        min = 1;
      } else if (take("?")) {
        max = 1;
      } else if (braces(min, max)) {
        interval = true;
      } else {
        return item;
      }
      Node node = make(Kind::kRepeat);
      node->min = min;
      node->max = max;
      if (take("?")) {
        node->greed = PatternNode::Greed::kLazy;
      } else if ((!interval || dialect_ == PatternDialect::kRust) && take("+")) {
        node->greed = PatternNode::Greed::kPossessive;
      }
      adopt(*node, std::move(item));
      item = std::move(node);
    }
  }

  Node dot() const {
    CodeSet set = flags_.dot_all ? CodeSet::all() : CodeSet::range('\n', '\n').complement();
    Node node = make_set(std::move(set), flags_.dot_all ? "\\x{0}-\\x{10ffff}" : "\\n");
    node->class_negated = !flags_.dot_all;
    return node;
  }

  Node assertion(char letter) const {
    Node node = make(Kind::kAssert);
    node->assertion = letter;
    return node;
  }

  Node atom(int depth) {
    const char c = peek();
    if (c == '(') return group(depth);
    if (c == '[') return bracket();
    if (take(".")) return dot();
    if (take("^")) return assertion(dialect_ == PatternDialect::kOniguruma || flags_.multi_line ? '^' : 'A');
    if (take("$")) return assertion(dialect_ == PatternDialect::kOniguruma || flags_.multi_line ? '$' : 'z');
    if (c == '*' || c == '+' || c == '?') error("nothing to repeat");
    if (c == '\\') return escape();
    return literal(next_code());
  }

  std::string group_name(char close) {
    std::string name;
    while (!end() && peek() != close) {
      const char c = text_[pos_++];
      const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
      if (!word || name.size() > 31) error("bad group name");
      name += c;
    }
    if (!take(std::string_view(&close, 1)) || name.empty()) error("bad group name");
    return name;
  }

  // '(' ... ')': groups, look-around, flags. Null for flags that hold for the rest of the enclosing group.
  Node group(int depth) {
    take("(");
    Node node;
    if (!take("?")) {
      node = make(Kind::kGroup);
      node->number = ++groups_;
    } else if (take(":")) {
      node = make(Kind::kGroup);
    } else if (take(">")) {
      node = make(Kind::kAtomic);
    } else if (take("=") || take("!")) {
      node = make(Kind::kLook);
      node->negative = text_[pos_ - 1] == '!';
    } else if (take("<=") || take("<!")) {
      node = make(Kind::kLook);
      node->behind = true;
      node->negative = text_[pos_ - 1] == '!';
    } else if (take("P<") || take("<") || take("'")) {
      node = make(Kind::kGroup);
      node->number = ++groups_;
      node->name = group_name(text_[pos_ - 1] == '<' ? '>' : '\'');
    } else {
      const Flags before = flags_;
      bool on = true;
      for (;; ++pos_) {
        const char c = peek();
        if (c == ')' || c == ':') break;
        const bool ruby = dialect_ == PatternDialect::kOniguruma;
        if (c == '-') {
          on = false;
        } else if (c == 'i') {
          flags_.ignore_case = on;
        } else if (c == 'x') {
          flags_.extended = on;
        } else if (c == 'm') {
          (ruby ? flags_.dot_all : flags_.multi_line) = on;
        } else if (c == 's' && !ruby) {
          flags_.dot_all = on;
        } else if (c == 'u' && !ruby && on) {
          // Unicode is always on
        } else {
          error("unknown group or flag");
        }
      }
      if (take(")")) {
        if (dialect_ == PatternDialect::kRust) return nullptr;
        node = make(Kind::kGroup);  // Ruby: a(?i)b|c is a(?i:b|c)
        adopt(*node, alternation(depth + 1));
        return node;
      }
      take(":");
      node = make(Kind::kGroup);
      adopt(*node, alternation(depth + 1));
      flags_ = before;
      if (!take(")")) error("missing )");
      return node;
    }
    adopt(*node, alternation(depth + 1));
    if (!take(")")) error("missing )");
    return node;
  }

  // A class item: the set, and PCRE2's spelling of it (empty where there is none).
  struct Item {
    CodeSet set;
    std::string text;
  };

  Item property_item(std::string_view name, bool negated) {
    Item item = positive_property(name);
    if (negated) item = {item.set.complement(), ""};
    return item;
  }

  Item positive_property(std::string_view name) {
    const auto known = properties_.find(std::string(name));
    if (known != properties_.end()) return known->second;
    const std::optional<CodeSet> set = CodeSet::property(name, unicode::kUnicode16);
    if (!set) error(fmt::format("unknown property '{}'", name));
    Item item{*set, ""};
    if (name.size() <= 2 && name != "LC" && name != "Mn" && name[0] != 'C' &&
        std::isupper(static_cast<unsigned char>(name[0]))) {
      CodeSet newer = CodeSet::assigned_after(kPcre2Unicode);
      newer.add(kChangedToMc, kChangedToMc);
      item.text = fmt::format("\\p{{{}}}", name) + ranges_text(set->intersected(newer));
    } else {
      item.text = ranges_text(*set);
    }
    properties_.emplace(std::string(name), item);
    return item;
  }

  // \w: Oniguruma adds the superscripts and fractions of Latin-1 outside of brackets, Rust the joiners.
  Item word_item() {
    Item item = positive_property("word");
    CodeSet more;
    if (dialect_ == PatternDialect::kOniguruma && in_brackets_) return item;
    if (dialect_ == PatternDialect::kOniguruma) {
      more.add(0xB2, 0xB3);
      more.add(0xB9, 0xB9);
      more.add(0xBC, 0xBE);
    } else {
      more.add(0x200C, 0x200D);
    }
    item.set = item.set.united(more);
    item.text += ranges_text(more);
    return item;
  }

  Item letters_p(bool negated) {
    std::string name;
    if (take("{")) {
      if (take("^")) negated = !negated;
      const size_t close = text_.find('}', pos_);
      if (close == std::string_view::npos) error("unclosed property");
      name = text_.substr(pos_, close - pos_);
      pos_ = close + 1;
      const size_t equals = name.find('=');
      if (equals != std::string::npos) name = name.substr(equals + 1);
    } else if (dialect_ == PatternDialect::kRust && !end()) {
      name = std::string(1, text_[pos_++]);
    } else {
      error("property without braces");
    }
    if (dialect_ == PatternDialect::kOniguruma && unicode::plain_name(name) == "word") {
      Item item = word_item();
      if (negated) item = {item.set.complement(), ""};
      return item;
    }
    return property_item(name, negated);
  }

  // Hexadecimal digits up to `most`.
  uint32_t hex(size_t most) {
    uint32_t code = 0;
    size_t digits = 0;
    for (; digits < most && std::isxdigit(static_cast<unsigned char>(peek())) != 0; ++digits, ++pos_) {
      const char c = peek();
      code = code * 16 + static_cast<uint32_t>(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    if (digits == 0 || code > 0x10FFFF) error("bad hexadecimal escape");
    return code;
  }

  // After a backslash: what means the same inside and outside of brackets. A class, or one code point.
  bool shared_escape(Item& item, uint32_t& code, bool& is_class) {
    is_class = true;
    const char c = peek();
    const auto set = [&](const char* name, bool negated) {
      ++pos_;
      item = property_item(name, negated);
      return true;
    };
    switch (c) {
      case 's': return set("space", false);
      case 'S': return set("space", true);
      case 'd': return set("Nd", false);
      case 'D': return set("Nd", true);
      case 'w':
      case 'W': {
        ++pos_;
        item = word_item();
        if (c == 'W') item = {item.set.complement(), ""};
        return true;
      }
      case 'p':
        ++pos_;
        item = letters_p(false);
        return true;
      case 'P':
        ++pos_;
        item = letters_p(true);
        return true;
      case 'h':
        if (dialect_ == PatternDialect::kOniguruma) return set("xdigit", false);
        break;
      case 'H':
        if (dialect_ == PatternDialect::kOniguruma) return set("xdigit", true);
        break;
      default: break;
    }
    is_class = false;
    ++pos_;
    switch (c) {
      case 'n': code = '\n'; return true;
      case 'r': code = '\r'; return true;
      case 't': code = '\t'; return true;
      case 'f': code = '\f'; return true;
      case 'v': code = '\v'; return true;
      case 'a': code = 7; return true;
      case 'e': code = 27; return true;
      case 'x':
        if (take("{")) {
          code = hex(8);
          if (!take("}")) error("unclosed hexadecimal escape");
        } else {
          code = hex(2);
        }
        return true;
      case 'u':
        if (take("{")) {
          code = hex(8);
          if (!take("}")) error("unclosed hexadecimal escape");
        } else {
          code = hex(4);
        }
        return true;
      case '0': {
        code = 0;
        for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i)
          code = code * 8 + static_cast<uint32_t>(text_[pos_++] - '0');
        return true;
      }
      default: break;
    }
    --pos_;
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter) return false;
    code = next_code();
    return true;
  }

  Node escape() {
    take("\\");
    if (end()) error("lone backslash at the end");
    const char c = peek();
    switch (c) {
      case 'A':
      case 'z':
      case 'Z':
      case 'b':
      case 'B':
      case 'G': {
        ++pos_;
        Node node = assertion(c);
        if (c == 'b' || c == 'B') node->class_text = word_item().text;
        return node;
      }
      case 'R': {
        ++pos_;
        // (?>\r\n|[\n-\r\x85\u2028\u2029])
        Node atomic = make(Kind::kAtomic), either = make(Kind::kAlternate), pair = make(Kind::kConcat);
        pair->children.push_back(literal('\r'));
        pair->children.push_back(literal('\n'));
        CodeSet set = CodeSet::range('\n', '\r');
        set.add(0x85, 0x85);
        set.add(0x2028, 0x2029);
        either->children.push_back(std::move(pair));
        either->children.push_back(make_set(set, ranges_text(set)));
        atomic->children.push_back(std::move(either));
        return atomic;
      }
      case 'k': {
        ++pos_;
        if (!take("<")) error("bad back reference");
        Node node = make(Kind::kBackReference);
        node->ignore_case = flags_.ignore_case;
        node->name = group_name('>');
        return node;
      }
      default: break;
    }
    if (c >= '1' && c <= '9') {
      Node node = make(Kind::kBackReference);
      node->ignore_case = flags_.ignore_case;
      node->number = static_cast<int>(*number());
      return node;
    }
    if (dialect_ == PatternDialect::kOniguruma && c == 'O') {
      ++pos_;
      return make_set(CodeSet::all(), "\\x{0}-\\x{10ffff}");
    }
    if (dialect_ == PatternDialect::kOniguruma && c == 'N') {
      ++pos_;
      Node node = make_set(CodeSet::range('\n', '\n').complement(), "\\n");
      node->class_negated = true;
      return node;
    }
    Item item;
    uint32_t code = 0;
    bool is_class = false;
    if (!shared_escape(item, code, is_class)) {
      if (std::string_view("KXgyYQE").find(c) != std::string_view::npos)
        unsupported(where_, "pattern construct \\{}: no tokenizer known uses it", c);
      code = next_code();
    }
    if (!is_class) return literal(code);
    Node node = make_set(std::move(item.set), std::move(item.text));
    if (node->class_text.empty()) negate_spelling(*node);
    return node;
  }

  // A set that PCRE2 spells only as the complement: [^...] of the ranges left out.
  static void negate_spelling(PatternNode& node) {
    node.class_negated = true;
    node.class_text = ranges_text(node.set.complement());
  }

  // '[' ... ']' with nested classes, && and POSIX names.
  Node bracket() {
    bool negated = false;
    const Item item = bracket_item(0, negated);
    Node node = make_set(negated ? item.set.complement() : item.set, item.text);
    node->class_negated = negated && !item.text.empty();
    if (item.text.empty()) {
      node->class_text = ranges_text(node->set);
      if (node->set.empty()) node->class_negated = false;
    }
    return node;
  }

  // The positive union inside the brackets; `negated` tells of a leading ^.
  Item bracket_item(int depth, bool& negated) {
    if (depth > limits_.max_depth || depth > 64) error("classes nested too deeply");
    take("[");
    negated = take("^");
    Item all;
    bool spelled = true;  // every item so far has a PCRE2 spelling
    bool first = true;
    std::optional<CodeSet> left;  // of &&
    const auto add = [&](const Item& item) {
      all.set = all.set.united(item.set);
      spelled = spelled && !item.text.empty();
      if (spelled) all.text += item.text;
    };
    while (true) {
      if (end()) error("missing ]");
      if (peek() == ']' && !first) break;
      const bool first_item = first;
      first = false;
      if (take("&&")) {
        left = left ? left->intersected(all.set) : all.set;
        all = {};
        spelled = false;
        continue;
      }
      if (text_.substr(pos_, 2) == "[:") {
        const size_t close = text_.find(":]", pos_);
        if (close != std::string_view::npos && close - pos_ < 24) {
          std::string_view name = text_.substr(pos_ + 2, close - pos_ - 2);
          const bool inverted = !name.empty() && name[0] == '^';
          if (inverted) name.remove_prefix(1);
          const bool letters = !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz") == std::string_view::npos;
          if (letters) {
            pos_ = close + 2;
            add(property_item(name == "punct" ? "xposixpunct" : name, inverted));  // with symbols, unlike \p{Punct}
            continue;
          }
        }
      }
      if (peek() == '[') {
        bool inner_negated = false;
        Item inner = bracket_item(depth + 1, inner_negated);
        if (inner_negated) inner = {inner.set.complement(), ""};
        add(inner);
        continue;
      }
      uint32_t code = 0;
      Item item;
      bool is_class = false;
      if (peek() == ']' && first_item) {
        code = next_code();
      } else {
        class_code(code, item, is_class);
      }
      if (is_class) {
        add(item);
        continue;
      }
      uint32_t last = code;
      if (peek() == '-' && peek(1) != ']' && peek(1) != '\0' && text_.substr(pos_, 3) != "-&&") {
        const size_t dash = pos_;
        ++pos_;
        if (peek() == '[') {
          pos_ = dash;
        } else {
          Item upper;
          bool upper_class = false;
          class_code(last, upper, upper_class);
          if (upper_class) {
            // "a-\w": the dash stands for itself
            add({CodeSet::range(code, code), code_escape(code)});
            add({CodeSet::range('-', '-'), "\\-"});
            add(upper);
            continue;
          }
          if (last < code) error("range out of order");
        }
      }
      const CodeSet set = CodeSet::range(code, last);
      add({set, ranges_text(set)});
    }
    take("]");
    if (left) {
      all.set = all.set.intersected(*left);
      spelled = false;
    }
    if (!spelled) all.text.clear();
    return all;
  }

  void class_code(uint32_t& code, Item& item, bool& is_class) {
    is_class = false;
    if (!take("\\")) {
      code = next_code();
      return;
    }
    if (end()) error("missing ]");
    if (take("b")) {
      code = 8;
      return;
    }
    in_brackets_ = true;
    const bool known = shared_escape(item, code, is_class);
    in_brackets_ = false;
    if (!known) code = next_code();
  }

  std::string_view text_;
  std::string_view where_;
  const Limits& limits_;
  PatternDialect dialect_;
  Flags flags_;
  size_t pos_ = 0;
  int groups_ = 0;
  bool in_brackets_ = false;
  std::map<std::string, Item> properties_;
};

}  // namespace

Pattern parse_pattern(std::string_view text, PatternDialect dialect, std::string_view where, const Limits& limits) {
  return Parser(text, dialect, where, limits).parse();
}

}  // namespace pagoda
