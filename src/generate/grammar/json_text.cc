// JSON's own grammar (RFC 8259), narrowed to what every reader takes: no lone surrogates, no endless numbers.
#include "generate/grammar/json_text.h"

#include <algorithm>
#include <map>

#include "base/utf8.h"

namespace pagoda::grammar {

namespace {

CodeSet ranges(std::initializer_list<CodeSet::Range> list) {
  CodeSet out;
  for (const CodeSet::Range& range : list) out.add(range.first, range.last);
  return out;
}

CodeSet plain() { return ranges({{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0xD7FF}, {0xE000, 0x10FFFF}}); }
CodeSet digit() { return ranges({{'0', '9'}}); }
CodeSet hex() { return ranges({{'0', '9'}, {'A', 'F'}, {'a', 'f'}}); }

}  // namespace

CodeSet plain_characters() { return plain(); }

Expr JsonText::space() {
  if (!options_.any_whitespace) return builder_.empty();
  if (space_ < 0) {
    const Expr indent = builder_.repeat(builder_.chars(ranges({{'\t', '\t'}, {' ', ' '}})), 0, 32);
    const Expr line = builder_.sequence({builder_.optional(builder_.literal("\r")), builder_.literal("\n"), indent});
    space_ = builder_.rule_of(builder_.alternation({builder_.empty(), builder_.literal(" "), line}), "space");
  }
  return builder_.use(space_);
}

Expr JsonText::comma() {
  return options_.any_whitespace ? builder_.sequence({space(), builder_.literal(","), space()}) : builder_.literal(", ");
}

Expr JsonText::colon() {
  return options_.any_whitespace ? builder_.sequence({space(), builder_.literal(":"), space()}) : builder_.literal(": ");
}

Expr JsonText::character(const CodeSet& set) {
  std::vector<Expr> choices;
  const CodeSet direct = set.intersected(plain());
  if (!direct.empty()) choices.push_back(builder_.chars(direct));
  for (uint32_t code = 0; code <= '\\'; ++code) {
    if (plain().contains(code) || !set.contains(code)) continue;
    std::string quoted;
    append_json_string(quoted, std::string(1, static_cast<char>(code)), false);
    choices.push_back(builder_.literal(std::string_view(quoted).substr(1, quoted.size() - 2)));
  }
  return builder_.alternation(choices);
}

Expr JsonText::any_character() {
  if (character_ < 0) {
    const Expr any_hex = builder_.chars(hex()), d = builder_.chars(ranges({{'D', 'D'}, {'d', 'd'}}));
    const Expr below = builder_.sequence(
        {builder_.chars(ranges({{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}})), any_hex, any_hex, any_hex});
    const Expr still_below = builder_.sequence({d, builder_.chars(ranges({{'0', '7'}})), any_hex, any_hex});
    const Expr pair =
        builder_.sequence({d, builder_.chars(ranges({{'8', '9'}, {'A', 'B'}, {'a', 'b'}})), any_hex, any_hex,
                           builder_.literal("\\u"), d, builder_.chars(ranges({{'C', 'F'}, {'c', 'f'}})), any_hex, any_hex});
    CodeSet letters;
    for (const char c : std::string_view("\"\\/bfnrt")) letters.add(static_cast<uint32_t>(c), static_cast<uint32_t>(c));
    const Expr unicode = builder_.sequence({builder_.literal("u"), builder_.alternation({below, still_below, pair})});
    const Expr escape = builder_.sequence({builder_.literal("\\"), builder_.alternation({builder_.chars(letters), unicode})});
    character_ = builder_.alternation({builder_.chars(plain()), escape});
  }
  return character_;
}

Expr JsonText::string(int64_t min, int64_t max) {
  if (min == 0 && max == kUnbounded) {
    if (string_ < 0) {
      const Expr inside = builder_.repeat(any_character(), 0, kUnbounded);
      string_ = builder_.rule_of(builder_.sequence({builder_.literal("\""), inside, builder_.literal("\"")}), "string");
    }
    return builder_.use(string_);
  }
  return builder_.sequence({builder_.literal("\""), builder_.repeat(any_character(), min, max), builder_.literal("\"")});
}

Expr JsonText::integer() {
  if (integer_ < 0) {
    const Expr many =
        builder_.sequence({builder_.chars(ranges({{'1', '9'}})), builder_.repeat(builder_.chars(digit()), 0, 17)});
    const Expr body =
        builder_.sequence({builder_.optional(builder_.literal("-")), builder_.alternation({builder_.literal("0"), many})});
    integer_ = builder_.rule_of(body, "integer");
  }
  return builder_.use(integer_);
}

Expr JsonText::number() {
  if (number_ < 0) {
    const Expr many =
        builder_.sequence({builder_.chars(ranges({{'1', '9'}})), builder_.repeat(builder_.chars(digit()), 0, 19)});
    const Expr fraction = builder_.sequence({builder_.literal("."), builder_.repeat(builder_.chars(digit()), 1, 20)});
    const Expr exponent = builder_.sequence({builder_.chars(ranges({{'E', 'E'}, {'e', 'e'}})),
                                             builder_.optional(builder_.chars(ranges({{'+', '+'}, {'-', '-'}}))),
                                             builder_.repeat(builder_.chars(digit()), 1, 2)});
    const Expr body =
        builder_.sequence({builder_.optional(builder_.literal("-")), builder_.alternation({builder_.literal("0"), many}),
                           builder_.optional(fraction), builder_.optional(exponent)});
    number_ = builder_.rule_of(body, "number");
  }
  return builder_.use(number_);
}

Expr JsonText::boolean() { return builder_.alternation({builder_.literal("true"), builder_.literal("false")}); }

Rule JsonText::values() {
  if (value_ >= 0) return value_;
  value_ = builder_.add_rule("value");
  object_ = builder_.add_rule("object");
  array_ = builder_.add_rule("array");
  const Expr value = builder_.use(value_);
  builder_.define(value_, builder_.alternation({builder_.use(object_), builder_.use(array_), string(0, kUnbounded), number(),
                                                boolean(), builder_.literal("null")}));
  const Expr member = builder_.sequence({string(0, kUnbounded), colon(), value});
  const auto list = [&](const char* open, Expr item, const char* close) {
    const Expr more = builder_.repeat(builder_.sequence({comma(), item}), 0, kUnbounded);
    return builder_.sequence({builder_.literal(open), space(), builder_.optional(builder_.sequence({item, more, space()})),
                              builder_.literal(close)});
  };
  builder_.define(object_, list("{", member, "}"));
  builder_.define(array_, list("[", value, "]"));
  return value_;
}

Expr JsonText::any_value() { return builder_.use(values()); }

Expr JsonText::any_object() {
  values();
  return builder_.use(object_);
}

Expr JsonText::any_array() {
  values();
  return builder_.use(array_);
}

Expr JsonText::key(std::string_view name) {
  std::string text;
  append_json_string(text, name, false);
  return builder_.literal(text);
}

Expr JsonText::other_key(const std::vector<std::string>& names) {
  if (names.empty()) return string(0, kUnbounded);
  // A tree of the names by code points. Inside it nothing is escaped; where a key leaves it, anything may follow.
  struct Node {
    std::map<uint32_t, int32_t> children;
    bool is_name = false;
  };
  std::vector<Node> nodes(1);
  for (const std::string& name : names) {
    int32_t at = 0;
    for (size_t pos = 0; pos < name.size();) {
      const uint32_t code = utf8_next(name, pos);
      const auto [child, fresh] = nodes[static_cast<size_t>(at)].children.try_emplace(code, static_cast<int32_t>(nodes.size()));
      at = child->second;
      if (fresh) nodes.emplace_back();
    }
    nodes[static_cast<size_t>(at)].is_name = true;
  }
  std::vector<Rule> rules(nodes.size());
  for (Rule& rule : rules) rule = builder_.add_rule("other key");
  const Expr quote = builder_.literal("\"");
  const Expr rest = builder_.use(
      builder_.rule_of(builder_.sequence({builder_.repeat(any_character(), 0, kUnbounded), quote}), "rest of key"));
  for (size_t i = 0; i < nodes.size(); ++i) {
    std::vector<Expr> choices;
    CodeSet leaves = plain();
    CodeSet stays;
    for (const auto& [code, child] : nodes[i].children) {
      stays.add(code, code);
      if (plain().contains(code)) {
        choices.push_back(
            builder_.sequence({builder_.chars(CodeSet::range(code, code)), builder_.use(rules[static_cast<size_t>(child)])}));
      }
    }
    choices.push_back(builder_.sequence({builder_.chars(leaves.intersected(stays.complement())), rest}));
    if (!nodes[i].is_name) choices.push_back(quote);
    builder_.define(rules[i], builder_.alternation(choices));
  }
  return builder_.sequence({quote, builder_.use(rules[0])});
}

Expr JsonText::value(const Json& value) {
  if (value.is_array()) {
    std::vector<Expr> parts = {builder_.literal("["), space()};
    for (const Json& item : value.as_array("value")) {
      if (parts.size() > 2) parts.push_back(comma());
      parts.push_back(this->value(item));
    }
    if (value.size() > 0) parts.push_back(space());
    parts.push_back(builder_.literal("]"));
    return builder_.sequence(parts);
  }
  if (value.is_object()) {
    std::vector<Expr> parts = {builder_.literal("{"), space()};
    for (const JsonMember& member : value.as_object("value")) {
      if (parts.size() > 2) parts.push_back(comma());
      parts.push_back(key(member.key));
      parts.push_back(colon());
      parts.push_back(this->value(member.value));
    }
    if (value.size() > 0) parts.push_back(space());
    parts.push_back(builder_.literal("}"));
    return builder_.sequence(parts);
  }
  return builder_.literal(value.dump());
}

}  // namespace pagoda::grammar
