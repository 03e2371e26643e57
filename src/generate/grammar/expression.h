// What front ends write: a context-free grammar as expressions over bytes and code points.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "generate/grammar/limits.h"
#include "text/code_set.h"

namespace pagoda::grammar {

using Expr = int32_t;  // number of an expression in its builder
using Rule = int32_t;

constexpr int64_t kUnbounded = -1;

class Builder {
 public:
  enum class Kind : uint8_t { kEmpty, kNever, kLiteral, kBytes, kChars, kSequence, kAlternation, kRepeat, kRule };
  struct Node {
    Kind kind = Kind::kEmpty;
    int32_t first = 0, count = 0;  // of children()
    int64_t min = 0, max = 0;      // kRepeat; kBytes: the lowest and the highest
    int32_t index = 0;             // of the literal, set or rule
    int32_t depth = 1;
    int64_t cost = 1;  // states that it takes, about
  };

  // `where` begins every error.
  Builder(const GrammarLimits& limits, std::string where);

  Expr empty();
  Expr never();
  Expr literal(std::string_view bytes);
  Expr bytes(uint8_t low, uint8_t high);  // one of them
  Expr chars(const CodeSet& set);         // one code point as UTF-8; surrogates are never written
  Expr sequence(const std::vector<Expr>& parts);
  Expr alternation(const std::vector<Expr>& choices);
  Expr optional(Expr inner) { return alternation({inner, empty()}); }
  Expr repeat(Expr inner, int64_t min, int64_t max);  // max kUnbounded: no bound
  // A rule is named first and defined once, so that rules may use one another.
  Rule add_rule(std::string name);
  void define(Rule rule, Expr body);
  Expr use(Rule rule);
  Rule rule_of(Expr body, std::string name);  // add_rule and define

  const GrammarLimits& limits() const { return limits_; }
  const std::string& where() const { return where_; }
  const Node& node(Expr expr) const { return nodes_[static_cast<size_t>(expr)]; }
  Expr child(const Node& node, int32_t at) const {
    return children_[static_cast<size_t>(node.first) + static_cast<size_t>(at)];
  }
  const std::string& literal_of(const Node& node) const { return literals_[static_cast<size_t>(node.index)]; }
  const CodeSet& set_of(const Node& node) const { return sets_[static_cast<size_t>(node.index)]; }
  int32_t rule_count() const { return static_cast<int32_t>(bodies_.size()); }
  Expr body(Rule rule) const { return bodies_[static_cast<size_t>(rule)]; }  // -1: not defined
  const std::string& name(Rule rule) const { return names_[static_cast<size_t>(rule)]; }

 private:
  Expr add(Node node);
  Expr add_with(Kind kind, const std::vector<Expr>& children);
  GrammarLimits limits_;
  std::string where_;
  std::vector<Node> nodes_;
  std::vector<Expr> children_;
  std::vector<std::string> literals_;
  std::vector<CodeSet> sets_;
  std::vector<Expr> bodies_;
  std::vector<std::string> names_;
  int64_t literal_bytes_ = 0, set_ranges_ = 0;
};

}  // namespace pagoda::grammar
