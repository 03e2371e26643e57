// Expressions are numbered; a sequence or alternation of one is that one.
#include "generate/grammar/expression.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace pagoda::grammar {

namespace {

constexpr int64_t kMostCost = int64_t{1} << 40;
constexpr int32_t kDepthFactor = 8;  // expressions that one level of the source may nest

}  // namespace

Builder::Builder(const GrammarLimits& limits, std::string where) : limits_(limits), where_(std::move(where)) {}

Expr Builder::add(Node node) {
  if (static_cast<int64_t>(nodes_.size()) >= limits_.max_items)
    invalid(where_, "too large: got more than {} expressions", limits_.max_items);
  if (node.depth > limits_.max_depth * kDepthFactor)
    invalid(where_, "nested too deeply: need at most {} levels", limits_.max_depth);
  nodes_.push_back(node);
  return static_cast<Expr>(nodes_.size()) - 1;
}

Expr Builder::add_with(Kind kind, const std::vector<Expr>& children) {
  Node made;
  made.kind = kind;
  made.first = static_cast<int32_t>(children_.size());
  made.count = static_cast<int32_t>(children.size());
  if (static_cast<int64_t>(children_.size() + children.size()) > limits_.max_items * 4)
    invalid(where_, "too large: got more than {} expressions", limits_.max_items);
  made.cost = 0;
  for (const Expr child : children) {
    made.depth = std::max(made.depth, node(child).depth + 1);
    made.cost = std::min(kMostCost, made.cost + node(child).cost);
    children_.push_back(child);
  }
  return add(made);
}

Expr Builder::empty() { return add({}); }

Expr Builder::never() {
  Node made;
  made.kind = Kind::kNever;
  return add(made);
}

Expr Builder::literal(std::string_view bytes) {
  if (bytes.empty()) return empty();
  literal_bytes_ += static_cast<int64_t>(bytes.size());
  if (literal_bytes_ > limits_.max_source_bytes * 4)
    invalid(where_, "too large: got more than {} bytes of text", literal_bytes_);
  Node made;
  made.kind = Kind::kLiteral;
  made.index = static_cast<int32_t>(literals_.size());
  made.cost = static_cast<int64_t>(bytes.size());
  literals_.emplace_back(bytes);
  return add(made);
}

Expr Builder::bytes(uint8_t low, uint8_t high) {
  Node made;
  made.kind = Kind::kBytes;
  made.min = low;
  made.max = high;
  return add(made);
}

Expr Builder::chars(const CodeSet& set) {
  Node made;
  made.kind = Kind::kChars;
  made.index = static_cast<int32_t>(sets_.size());
  const std::vector<CodeSet::Range> ranges = set.ranges();
  const bool ascii = ranges.empty() || ranges.back().last < 0x80;
  set_ranges_ += static_cast<int64_t>(ranges.size());
  if (set_ranges_ > 2 * limits_.max_states)
    invalid(where_, "too large: got sets of characters with more than {} ranges in all", 2 * limits_.max_states);
  made.cost = ascii ? 1 : 4 + static_cast<int64_t>(ranges.size()) / 2;
  sets_.push_back(set);
  return add(made);
}

Expr Builder::sequence(const std::vector<Expr>& parts) {
  std::vector<Expr> kept;
  for (const Expr part : parts) {
    if (node(part).kind != Kind::kEmpty) kept.push_back(part);
  }
  if (kept.empty()) return empty();
  return kept.size() == 1 ? kept[0] : add_with(Kind::kSequence, kept);
}

Expr Builder::alternation(const std::vector<Expr>& choices) {
  std::vector<Expr> kept;
  for (const Expr choice : choices) {
    if (node(choice).kind != Kind::kNever) kept.push_back(choice);
  }
  if (kept.empty()) return never();
  return kept.size() == 1 ? kept[0] : add_with(Kind::kAlternation, kept);
}

Expr Builder::repeat(Expr inner, int64_t min, int64_t max) {
  if (min < 0 || (max != kUnbounded && max < min))
    invalid(where_, "repetition {{{},{}}}: need the lower count first", min, max);
  if (min > limits_.max_count || max > limits_.max_count)
    invalid(where_, "repetition {{{},{}}}: need counts up to {}", min, max, limits_.max_count);
  if (max == 0) return empty();
  if (min == 1 && max == 1) return inner;
  if (min == 0 && max == 1) return optional(inner);
  Node made;
  made.kind = Kind::kRepeat;
  made.first = static_cast<int32_t>(children_.size());
  made.count = 1;
  made.min = min;
  made.max = max;
  made.depth = node(inner).depth + 1;
  const int64_t copies = std::max<int64_t>(1, max == kUnbounded ? min : max);
  made.cost = node(inner).cost > kMostCost / copies ? kMostCost : node(inner).cost * copies + 2;
  children_.push_back(inner);
  return add(made);
}

Rule Builder::add_rule(std::string name) {
  if (static_cast<int64_t>(bodies_.size()) >= limits_.max_items)
    invalid(where_, "too large: got more than {} rules", limits_.max_items);
  bodies_.push_back(-1);
  names_.push_back(std::move(name));
  return static_cast<Rule>(bodies_.size()) - 1;
}

void Builder::define(Rule rule, Expr body) { bodies_[static_cast<size_t>(rule)] = body; }

Expr Builder::use(Rule rule) {
  Node made;
  made.kind = Kind::kRule;
  made.index = rule;
  return add(made);
}

Rule Builder::rule_of(Expr body, std::string name) {
  const Rule rule = add_rule(std::move(name));
  define(rule, body);
  return rule;
}

}  // namespace pagoda::grammar
