// From expressions to states and edges.
#include "generate/grammar/rough_automaton.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"

namespace pagoda::grammar {

namespace {

using Edge = RoughAutomaton::Edge;
using EdgeKind = RoughAutomaton::Kind;

constexpr int64_t kWriteOut = 48;  // states that a repetition may take before it becomes a counted call

class Expander {
 public:
  explicit Expander(const Builder& builder) : builder_(builder) {
    out_.limits = builder.limits();
    out_.where = builder.where();
  }

  RoughAutomaton run() {
    const int32_t rules = builder_.rule_count();
    for (int32_t rule = 0; rule < rules; ++rule) add_rule(rule);
    for (int32_t rule = 0; rule < rules; ++rule) {
      if (builder_.body(rule) < 0) invalid(builder_.where(), "rule '{}' is used but not defined", builder_.name(rule));
      write(builder_.body(rule), rule);
    }
    // Bodies of counted calls may hold further ones.
    for (size_t at = 0; at < counted_.size(); ++at) {
      const auto [rule, body] = counted_[at];
      write(body, rule);
    }
    return std::move(out_);
  }

 private:
  struct Interval {
    uint32_t low, high;
    bool operator==(const Interval& other) const { return low == other.low && high == other.high; }
    bool operator<(const Interval& other) const { return low != other.low ? low < other.low : high < other.high; }
  };
  using Intervals = std::vector<Interval>;

  void add_rule(int32_t rule) {
    out_.rule_start.push_back(out_.add_state(rule));
    out_.rule_final.push_back(out_.add_state(rule));
  }
  void write(Expr body, int32_t rule) {
    rule_ = rule;
    expand(body, out_.rule_start[static_cast<size_t>(rule)], out_.rule_final[static_cast<size_t>(rule)]);
  }
  int32_t state() { return out_.add_state(rule_); }
  void empty(int32_t from, int32_t to) { out_.add_edge({from, to, EdgeKind::kEmpty}); }
  void bytes(int32_t from, int32_t to, uint32_t low, uint32_t high) {
    out_.add_edge({from, to, EdgeKind::kBytes, static_cast<int32_t>(low), static_cast<int32_t>(high)});
  }

  // Nesting is bounded by the builder, so recursion is too.
  void expand(Expr expr, int32_t from, int32_t to) {
    const Builder::Node& node = builder_.node(expr);
    switch (node.kind) {
      case Builder::Kind::kEmpty: empty(from, to); return;
      case Builder::Kind::kNever: return;
      case Builder::Kind::kLiteral: {
        const std::string& text = builder_.literal_of(node);
        for (size_t i = 0; i < text.size(); ++i) {
          const int32_t next = i + 1 == text.size() ? to : state();
          const auto byte = static_cast<unsigned char>(text[i]);
          bytes(from, next, byte, byte);
          from = next;
        }
        return;
      }
      case Builder::Kind::kBytes: bytes(from, to, static_cast<uint32_t>(node.min), static_cast<uint32_t>(node.max)); return;
      case Builder::Kind::kChars: chars(builder_.set_of(node), from, to); return;
      case Builder::Kind::kSequence:
        for (int32_t i = 0; i < node.count; ++i) {
          const int32_t next = i + 1 == node.count ? to : state();
          expand(builder_.child(node, i), from, next);
          from = next;
        }
        return;
      case Builder::Kind::kAlternation:
        for (int32_t i = 0; i < node.count; ++i) expand(builder_.child(node, i), from, to);
        return;
      case Builder::Kind::kRule: out_.add_edge({from, to, EdgeKind::kCall, node.index, 1, 1}); return;
      case Builder::Kind::kRepeat: repeat(node, from, to); return;
    }
  }

  void repeat(const Builder::Node& node, int32_t from, int32_t to) {
    const Expr inner = builder_.child(node, 0);
    if (node.max == kUnbounded && node.min <= 1) {
      const int32_t before = state();
      const int32_t after = node.min == 0 ? before : state();
      empty(from, before);
      expand(inner, before, after);
      if (node.min == 1) empty(after, before);
      empty(after, to);
      return;
    }
    if (node.cost > kWriteOut) {
      out_.add_edge(
          {from, to, EdgeKind::kCall, counted_rule(inner), static_cast<int32_t>(node.min), static_cast<int32_t>(node.max)});
      return;
    }
    for (int64_t i = 0; i < node.min; ++i) {
      const int32_t next = state();
      expand(inner, from, next);
      from = next;
    }
    if (node.max == kUnbounded) {
      const int32_t loop = state();
      empty(from, loop);
      expand(inner, loop, loop);
      empty(loop, to);
      return;
    }
    for (int64_t i = node.min; i < node.max; ++i) {
      empty(from, to);
      const int32_t next = state();
      expand(inner, from, next);
      from = next;
    }
    empty(from, to);
  }

  int32_t counted_rule(Expr inner) {
    const auto [at, fresh] = counted_rules_.try_emplace(inner, static_cast<int32_t>(out_.rule_start.size()));
    if (fresh) {
      add_rule(at->second);
      counted_.emplace_back(at->second, inner);
    }
    return at->second;
  }

  void chars(const CodeSet& set, int32_t from, int32_t to) {
    static constexpr struct {
      uint32_t low, high, prefix;
      int level;
    } kLengths[] = {{0, 0x7F, 0, 0},
                    {0x80, 0x7FF, 0xC0, 1},
                    {0x800, 0xD7FF, 0xE0, 2},
                    {0xE000, 0xFFFF, 0xE0, 2},
                    {0x10000, 0x10FFFF, 0xF0, 3}};
    for (const auto& length : kLengths) {
      Intervals part;
      for (const CodeSet::Range& range : set.ranges()) {
        const uint32_t low = std::max(range.first, length.low), high = std::min(range.last, length.high);
        if (low <= high) part.push_back({low, high});
      }
      if (!part.empty()) byte_of_char(part, length.level, length.prefix, from, to);
    }
    tails_.clear();
  }

  // One byte that `level` continuation bytes follow; bytes with the same continuations share a state.
  void byte_of_char(const Intervals& codes, int level, uint32_t prefix, int32_t from, int32_t to) {
    if (level == 0) {
      for (const Interval& range : codes) bytes(from, to, prefix + range.low, prefix + range.high);
      return;
    }
    const uint32_t shift = 6 * static_cast<uint32_t>(level), mask = (1u << shift) - 1;
    uint32_t first = 0, last = 0;
    Intervals group, current;
    const auto flush = [&] {
      if (!group.empty()) bytes(from, tail(group, level, to), prefix + first, prefix + last);
    };
    size_t at = 0;
    for (uint32_t value = codes.front().low >> shift; value <= codes.back().high >> shift; ++value) {
      const uint32_t low = value << shift, high = low | mask;
      while (at < codes.size() && codes[at].high < low) ++at;
      current.clear();
      for (size_t i = at; i < codes.size() && codes[i].low <= high; ++i) {
        current.push_back({std::max(codes[i].low, low) & mask, std::min(codes[i].high, high) & mask});
      }
      if (current != group) {
        flush();
        group = current;
        first = value;
      }
      last = value;
    }
    flush();
  }

  int32_t tail(const Intervals& codes, int level, int32_t to) {
    const auto key = std::make_pair(level, codes);
    if (const auto at = tails_.find(key); at != tails_.end()) return at->second;
    const int32_t made = state();
    tails_.emplace(key, made);
    byte_of_char(codes, level - 1, 0x80, made, to);
    return made;
  }

  const Builder& builder_;
  RoughAutomaton out_;
  int32_t rule_ = 0;
  std::map<Expr, int32_t> counted_rules_;
  std::vector<std::pair<int32_t, Expr>> counted_;
  std::map<std::pair<int, Intervals>, int32_t> tails_;  // of one class: continuations already written
};

}  // namespace

int32_t RoughAutomaton::add_state(int32_t rule) {
  if (static_cast<int64_t>(owner.size()) >= limits.max_states)
    invalid(where, "too large: needs more than {} states", limits.max_states);
  owner.push_back(rule);
  return static_cast<int32_t>(owner.size()) - 1;
}

void RoughAutomaton::add_edge(const Edge& edge) {
  if (static_cast<int64_t>(edges.size()) >= limits.max_states * 4)
    invalid(where, "too large: needs more than {} steps", limits.max_states * 4);
  edges.push_back(edge);
}

RoughAutomaton::Index RoughAutomaton::index(bool by_target) const {
  Index out;
  out.at.assign(owner.size() + 1, 0);
  const auto key = [&](const Edge& edge) { return static_cast<size_t>(by_target ? edge.to : edge.from); };
  for (const Edge& edge : edges) ++out.at[key(edge) + 1];
  for (size_t i = 1; i < out.at.size(); ++i) out.at[i] += out.at[i - 1];
  std::vector<uint32_t> next(out.at.begin(), out.at.end() - 1);
  out.order.resize(edges.size());
  for (size_t i = 0; i < edges.size(); ++i) out.order[next[key(edges[i])]++] = static_cast<uint32_t>(i);
  return out;
}

RoughAutomaton make_rough_automaton(const Builder& builder) { return Expander(builder).run(); }

}  // namespace pagoda::grammar
