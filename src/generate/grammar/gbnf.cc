// GBNF, llama.cpp's notation: rules `name ::= a "text" [a-z]+ | ( b )? | c{2,5}`, # comments; the text is a `root`.
#include <string>
#include <vector>

#include "generate/grammar/frontends.h"
#include "generate/grammar/source_reader.h"

namespace pagoda::grammar {

namespace {

class Gbnf final : SourceReader {
 public:
  using SourceReader::SourceReader;

  Rule run() {
    for (blanks(); !done(); blanks()) {
      const std::string left = name();
      if (left.empty()) fail("need the name of a rule");
      blanks();
      expect("::=");
      define(left, alternation(0));
    }
    if (!known("root")) invalid(builder_.where(), "no rule 'root'");
    check_defined();
    return rule("root");
  }

 private:
  void blanks() {
    for (;;) {
      if (look() == '#') {
        while (!done() && look() != '\n' && look() != '\r') ++at_;
      } else if (look() == ' ' || look() == '\t' || look() == '\n' || look() == '\r') {
        ++at_;
      } else {
        return;
      }
    }
  }

  // Lines mean nothing; a name with ::= behind it begins the next rule.
  bool at_next_rule() {
    const size_t begin = at_;
    const bool named = !name().empty();
    blanks();
    const bool next = named && starts("::=");
    at_ = begin;
    return next;
  }

  Expr alternation(int64_t depth) {
    if (depth > builder_.limits().max_depth) fail("nested too deeply");
    std::vector<Expr> choices;
    do {
      choices.push_back(sequence(depth));
    } while (take("|"));
    return builder_.alternation(choices);
  }

  Expr sequence(int64_t depth) {
    std::vector<Expr> parts;
    for (blanks(); !done() && look() != '|' && look() != ')'; blanks()) {
      if (at_next_rule()) break;
      Expr part = element(depth);
      for (;; blanks()) {
        int64_t min = 0, max = kUnbounded;
        if (take("*")) {
        } else if (take("+")) {
          min = 1;
        } else if (take("?")) {
          max = 1;
        } else if (look() == '{') {
          counts(min, max);
        } else {
          break;
        }
        part = builder_.repeat(part, min, max);
      }
      parts.push_back(part);
    }
    if (depth == 0 && look() == ')') fail("')' without '('");
    return builder_.sequence(parts);
  }

  Expr element(int64_t depth) {
    if (look() == '"' || look() == '\'') return builder_.literal(quoted());
    if (look() == '[') return char_class();
    if (take(".")) return builder_.chars(CodeSet::all());
    if (take("(")) {
      const Expr inner = alternation(depth + 1);
      expect(")");
      return inner;
    }
    if (look() == '<' || (look() == '!' && look(1) == '<')) refuse("a token in angle brackets is");
    const std::string used = name();
    if (used.empty()) fail(std::string("unexpected '") + look() + "'");
    return builder_.use(rule(used));
  }

  Expr char_class() {
    const size_t begin = at_;
    expect("[");
    const bool negated = take("^");
    CodeSet set;
    while (!take("]")) {
      if (done()) {
        at_ = begin;
        fail("'[' without ']'");
      }
      const auto one = [&] {
        const uint32_t c = code();
        return c == '\\' ? escape() : c;
      };
      const uint32_t low = one();
      uint32_t high = low;
      if (look() == '-' && look(1) != ']') {
        ++at_;
        high = one();
      }
      if (high < low) fail("range of a class: need the lower end first");
      set.add(low, high);
    }
    return builder_.chars(negated ? set.complement() : set);
  }
};

}  // namespace

Rule add_gbnf(Builder& builder, std::string_view source) { return Gbnf(builder, source).run(); }

}  // namespace pagoda::grammar
