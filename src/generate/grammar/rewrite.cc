// Rewriting of automata: empty rules and left recursion out, the language the same.
#include <algorithm>
#include <utility>

#include "generate/grammar/rough_automaton.h"

namespace pagoda::grammar {

namespace {

using Edge = RoughAutomaton::Edge;
using Kind = RoughAutomaton::Kind;

// States that their rule's start reaches without a byte, and rules that take the empty text.
void find_early(const RoughAutomaton& from, std::vector<uint8_t>& early, std::vector<uint8_t>& takes_empty) {
  const RoughAutomaton::Index leaving = from.index(false);
  const size_t rules = from.rule_start.size();
  early.assign(from.owner.size(), 0);
  takes_empty.assign(rules, 0);
  std::vector<std::vector<int32_t>> waiting(rules);  // states to mark once a rule is known to take the empty text
  std::vector<int32_t> work;
  const auto mark = [&](int32_t state) {
    if (early[static_cast<size_t>(state)] != 0) return;
    early[static_cast<size_t>(state)] = 1;
    work.push_back(state);
  };
  for (const int32_t start : from.rule_start) mark(start);
  while (!work.empty()) {
    const auto state = static_cast<size_t>(work.back());
    work.pop_back();
    const auto rule = static_cast<size_t>(from.owner[state]);
    if (static_cast<size_t>(from.rule_final[rule]) == state && takes_empty[rule] == 0) {
      takes_empty[rule] = 1;
      for (const int32_t next : waiting[rule]) mark(next);
      waiting[rule].clear();
    }
    for (uint32_t i = leaving.at[state]; i < leaving.at[state + 1]; ++i) {
      const Edge& edge = from.edges[leaving.order[i]];
      if (edge.kind == Kind::kEmpty) mark(edge.to);
      if (edge.kind != Kind::kCall) continue;
      if (edge.b == 0 || takes_empty[static_cast<size_t>(edge.a)] != 0) {
        mark(edge.to);
      } else {
        waiting[static_cast<size_t>(edge.a)].push_back(edge.to);
      }
    }
  }
}

// Strongly connected rules under `calls` (Tarjan 1972, with a stack of its own): the number of each rule's component.
std::vector<int32_t> components(const std::vector<std::vector<int32_t>>& calls) {
  const size_t count = calls.size();
  std::vector<int32_t> order(count, -1), low(count, 0), component(count, -1), open;
  std::vector<std::pair<int32_t, size_t>> path;
  int32_t next = 0, made = 0;
  for (size_t root = 0; root < count; ++root) {
    if (order[root] >= 0) continue;
    path.emplace_back(static_cast<int32_t>(root), 0);
    while (!path.empty()) {
      const auto rule = static_cast<size_t>(path.back().first);
      if (path.back().second == 0) {
        order[rule] = low[rule] = next++;
        open.push_back(static_cast<int32_t>(rule));
      }
      bool deeper = false;
      while (path.back().second < calls[rule].size()) {
        const int32_t callee = calls[rule][path.back().second++];
        const auto at = static_cast<size_t>(callee);
        if (order[at] < 0) {
          path.emplace_back(callee, 0);
          deeper = true;
          break;
        }
        if (component[at] < 0) low[rule] = std::min(low[rule], order[at]);
      }
      if (deeper) continue;
      path.pop_back();
      if (!path.empty()) {
        const auto caller = static_cast<size_t>(path.back().first);
        low[caller] = std::min(low[caller], low[rule]);
      }
      if (low[rule] != order[rule]) continue;
      for (;;) {
        const int32_t member = open.back();
        open.pop_back();
        component[static_cast<size_t>(member)] = made;
        if (static_cast<size_t>(member) == rule) break;
      }
      ++made;
    }
  }
  return component;
}

}  // namespace

RoughAutomaton without_empty(const RoughAutomaton& from, std::vector<uint8_t>& early, std::vector<uint8_t>& takes_empty) {
  std::vector<uint8_t> was_early;
  find_early(from, was_early, takes_empty);
  RoughAutomaton out;
  out.limits = from.limits;
  out.where = from.where;
  // Two copies of a rule: before its first byte and after. Only the second ends.
  std::vector<int32_t> before(from.owner.size(), -1), after(from.owner.size(), -1);
  early.clear();
  for (size_t state = 0; state < from.owner.size(); ++state) {
    if (was_early[state] != 0) {
      before[state] = out.add_state(from.owner[state]);
      early.push_back(1);
    }
    after[state] = out.add_state(from.owner[state]);
    early.push_back(0);
  }
  for (const Edge& edge : from.edges) {
    const auto source = static_cast<size_t>(edge.from), target = static_cast<size_t>(edge.to);
    for (const bool first : {true, false}) {
      const int32_t state = first ? before[source] : after[source];
      if (state < 0) continue;
      const int32_t silent = first ? before[target] : after[target];  // where it leads without a byte
      switch (edge.kind) {
        case Kind::kBytes: out.add_edge({state, after[target], Kind::kBytes, edge.a, edge.b}); break;
        case Kind::kEmpty: out.add_edge({state, silent, Kind::kEmpty}); break;
        case Kind::kCall: {
          const bool skips = edge.b == 0 || takes_empty[static_cast<size_t>(edge.a)] != 0;
          // Of calls that may be empty, any number may be left out.
          const int32_t min = takes_empty[static_cast<size_t>(edge.a)] != 0 ? 1 : std::max(edge.b, 1);
          out.add_edge({state, after[target], Kind::kCall, edge.a, min, edge.c});
          if (skips) out.add_edge({state, silent, Kind::kEmpty});
          break;
        }
      }
    }
  }
  for (size_t rule = 0; rule < from.rule_start.size(); ++rule) {
    out.rule_start.push_back(before[static_cast<size_t>(from.rule_start[rule])]);
    out.rule_final.push_back(after[static_cast<size_t>(from.rule_final[rule])]);
  }
  return out;
}

// Left corners: of a knot of rules that begin with one another, a copy for each rule G that is wanted. It begins with what
// begins without the knot; having finished any rule X of the knot, it may go on where X stood first in another rule; it ends
// where G is finished.
void unroll_left_recursion(RoughAutomaton& automaton, const std::vector<uint8_t>& early) {
  const size_t rules = automaton.rule_start.size();
  std::vector<std::vector<int32_t>> first_calls(rules);
  const auto is_first = [&](const Edge& edge) {
    return edge.kind == Kind::kCall && static_cast<size_t>(edge.from) < early.size() &&
           early[static_cast<size_t>(edge.from)] != 0;
  };
  for (const Edge& edge : automaton.edges) {
    if (is_first(edge)) first_calls[static_cast<size_t>(automaton.owner[static_cast<size_t>(edge.from)])].push_back(edge.a);
  }
  const std::vector<int32_t> component = components(first_calls);
  std::vector<int32_t> size(rules, 0);
  for (const int32_t id : component) ++size[static_cast<size_t>(id)];
  std::vector<uint8_t> knotted(rules, 0);
  for (size_t rule = 0; rule < rules; ++rule) {
    knotted[rule] =
        size[static_cast<size_t>(component[rule])] > 1 ||
        std::find(first_calls[rule].begin(), first_calls[rule].end(), static_cast<int32_t>(rule)) != first_calls[rule].end();
  }
  if (std::find(knotted.begin(), knotted.end(), 1) == knotted.end()) return;

  const auto inside = [&](const Edge& edge) {
    const auto caller = static_cast<size_t>(automaton.owner[static_cast<size_t>(edge.from)]);
    return is_first(edge) && knotted[caller] != 0 && component[caller] == component[static_cast<size_t>(edge.a)];
  };
  // A counted call in first place: the first time alone, then the others.
  for (size_t i = 0; i < automaton.edges.size(); ++i) {
    const Edge edge = automaton.edges[i];
    if (!inside(edge) || (edge.b == 1 && edge.c == 1)) continue;
    const int32_t between = automaton.add_state(automaton.owner[static_cast<size_t>(edge.from)]);
    automaton.edges[i] = {edge.from, between, Kind::kCall, edge.a, 1, 1};
    const int32_t max = edge.c == kUnbounded ? edge.c : edge.c - 1;
    if (edge.b <= 1) automaton.add_edge({between, edge.to, Kind::kEmpty});
    if (max != 0) automaton.add_edge({between, edge.to, Kind::kCall, edge.a, std::max(edge.b - 1, 1), max});
  }

  std::vector<std::vector<int32_t>> members(rules), states(rules);  // by component
  for (size_t rule = 0; rule < rules; ++rule) {
    if (knotted[rule] != 0) members[static_cast<size_t>(component[rule])].push_back(static_cast<int32_t>(rule));
  }
  std::vector<std::vector<uint32_t>> edges(rules);
  const auto component_of_state = [&](int32_t state) {
    return static_cast<size_t>(component[static_cast<size_t>(automaton.owner[static_cast<size_t>(state)])]);
  };
  for (int32_t state = 0; state < automaton.states(); ++state) states[component_of_state(state)].push_back(state);
  for (size_t i = 0; i < automaton.edges.size(); ++i)
    edges[component_of_state(automaton.edges[i].from)].push_back(static_cast<uint32_t>(i));

  const std::vector<int32_t> starts = automaton.rule_start, finals = automaton.rule_final;
  std::vector<int32_t> copy(automaton.owner.size(), -1);
  for (size_t knot = 0; knot < rules; ++knot) {
    for (const int32_t goal : members[knot]) {
      for (const int32_t state : states[knot]) copy[static_cast<size_t>(state)] = automaton.add_state(goal);
      const auto to_copy = [&](int32_t state) { return copy[static_cast<size_t>(state)]; };
      for (const uint32_t i : edges[knot]) {
        Edge edge = automaton.edges[i];
        if (inside(edge)) {
          automaton.add_edge({to_copy(finals[static_cast<size_t>(edge.a)]), to_copy(edge.to), Kind::kEmpty});
          continue;
        }
        edge.from = to_copy(edge.from);
        edge.to = to_copy(edge.to);
        automaton.add_edge(edge);
      }
      const int32_t start = automaton.add_state(goal);
      for (const int32_t member : members[knot])
        automaton.add_edge({start, to_copy(starts[static_cast<size_t>(member)]), Kind::kEmpty});
      automaton.rule_start[static_cast<size_t>(goal)] = start;
      automaton.rule_final[static_cast<size_t>(goal)] = to_copy(finals[static_cast<size_t>(goal)]);
    }
  }
}

}  // namespace pagoda::grammar
