// The last steps: what no text can use is dropped, and what is left is laid out by state.
#include "generate/grammar/automaton.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "generate/grammar/rough_automaton.h"

namespace pagoda::grammar {

namespace {

using Edge = RoughAutomaton::Edge;
using Kind = RoughAutomaton::Kind;

// States from which their rule can be finished, and rules that can be.
void find_fruitful(const RoughAutomaton& rough, std::vector<uint8_t>& fruitful, std::vector<uint8_t>& rule_fruitful) {
  const RoughAutomaton::Index entering = rough.index(true);
  const size_t rules = rough.rule_start.size();
  fruitful.assign(rough.owner.size(), 0);
  rule_fruitful.assign(rules, 0);
  std::vector<int32_t> starts(rough.owner.size(), -1);
  for (size_t rule = 0; rule < rules; ++rule) starts[static_cast<size_t>(rough.rule_start[rule])] = static_cast<int32_t>(rule);
  std::vector<std::vector<int32_t>> waiting(rules);
  std::vector<int32_t> work;
  const auto mark = [&](int32_t state) {
    if (fruitful[static_cast<size_t>(state)] != 0) return;
    fruitful[static_cast<size_t>(state)] = 1;
    work.push_back(state);
  };
  for (const int32_t state : rough.rule_final) mark(state);
  while (!work.empty()) {
    const auto state = static_cast<size_t>(work.back());
    work.pop_back();
    if (const int32_t rule = starts[state]; rule >= 0) {
      rule_fruitful[static_cast<size_t>(rule)] = 1;
      for (const int32_t caller : waiting[static_cast<size_t>(rule)]) mark(caller);
      waiting[static_cast<size_t>(rule)].clear();
    }
    for (uint32_t i = entering.at[state]; i < entering.at[state + 1]; ++i) {
      const Edge& edge = rough.edges[entering.order[i]];
      if (edge.kind == Kind::kCall && rule_fruitful[static_cast<size_t>(edge.a)] == 0) {
        waiting[static_cast<size_t>(edge.a)].push_back(edge.from);
      } else {
        mark(edge.from);
      }
    }
  }
}

// States that a text can come through, numbered; -1 for others.
std::vector<int32_t> number_states(const RoughAutomaton& rough, const std::vector<uint8_t>& keep, int32_t start,
                                   int32_t& count) {
  const RoughAutomaton::Index leaving = rough.index(false);
  std::vector<int32_t> number(rough.owner.size(), -1), work;
  count = 0;
  const auto mark = [&](int32_t state) {
    if (number[static_cast<size_t>(state)] >= 0) return;
    number[static_cast<size_t>(state)] = count++;
    work.push_back(state);
  };
  mark(start);
  while (!work.empty()) {
    const auto state = static_cast<size_t>(work.back());
    work.pop_back();
    for (uint32_t i = leaving.at[state]; i < leaving.at[state + 1]; ++i) {
      if (keep[leaving.order[i]] == 0) continue;
      const Edge& edge = rough.edges[leaving.order[i]];
      mark(edge.to);
      if (edge.kind == Kind::kCall) mark(rough.rule_start[static_cast<size_t>(edge.a)]);
    }
  }
  return number;
}

// Edges that lead to a state with one empty step as its only way out may lead there at once.
void shorten(RoughAutomaton& rough, std::vector<uint8_t>& keep) {
  std::vector<int32_t> only(rough.owner.size(), -1);  // target of the one empty step; -2: more, or other ways
  for (size_t i = 0; i < rough.edges.size(); ++i) {
    if (keep[i] == 0) continue;
    const Edge& edge = rough.edges[i];
    int32_t& target = only[static_cast<size_t>(edge.from)];
    target = target == -1 && edge.kind == Kind::kEmpty ? edge.to : -2;
  }
  for (const int32_t state : rough.rule_final) only[static_cast<size_t>(state)] = -2;
  for (size_t i = 0; i < rough.edges.size(); ++i) {
    if (keep[i] == 0) continue;
    Edge& edge = rough.edges[i];
    for (int steps = 0; steps < 64 && only[static_cast<size_t>(edge.to)] >= 0; ++steps)
      edge.to = only[static_cast<size_t>(edge.to)];
    if (edge.kind == Kind::kEmpty && edge.from == edge.to) keep[i] = 0;
  }
}

void find_classes(Automaton& automaton) {
  std::array<bool, 257> begins{};
  begins[0] = true;
  for (const Automaton::ByteEdge& edge : automaton.bytes) {
    begins[edge.low] = true;
    begins[static_cast<size_t>(edge.high) + 1] = true;
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    if (begins[byte]) automaton.representative[static_cast<size_t>(automaton.classes++)] = static_cast<uint8_t>(byte);
    automaton.class_of[byte] = static_cast<uint8_t>(automaton.classes - 1);
  }
}

}  // namespace

int64_t Automaton::memory_bytes() const {
  const auto of = [](const auto& list) { return static_cast<int64_t>(list.capacity() * sizeof(list[0])); };
  return of(bytes_at) + of(calls_at) + of(empties_at) + of(bytes) + of(calls) + of(empties) + of(flags) + of(rule_start);
}

Automaton make_automaton(const Builder& builder, Rule root) {
  std::vector<uint8_t> early, takes_empty, fruitful, rule_fruitful;
  RoughAutomaton rough = without_empty(make_rough_automaton(builder), early, takes_empty);
  unroll_left_recursion(rough, early);
  find_fruitful(rough, fruitful, rule_fruitful);

  Automaton out;
  out.takes_empty = takes_empty[static_cast<size_t>(root)] != 0;
  const bool has_text = rule_fruitful[static_cast<size_t>(root)] != 0;
  if (!has_text && !out.takes_empty) invalid(builder.where(), "no text fits");
  std::vector<uint8_t> keep(rough.edges.size(), 0);
  for (size_t i = 0; i < rough.edges.size(); ++i) {
    const Edge& edge = rough.edges[i];
    keep[i] = has_text && fruitful[static_cast<size_t>(edge.to)] != 0 &&
              (edge.kind != Kind::kCall || rule_fruitful[static_cast<size_t>(edge.a)] != 0);
  }
  shorten(rough, keep);
  int32_t count = 0;
  std::vector<int32_t> number(rough.owner.size(), -1);
  if (has_text) number = number_states(rough, keep, rough.rule_start[static_cast<size_t>(root)], count);
  const auto number_of = [&](int32_t state) { return number[static_cast<size_t>(state)]; };

  out.flags.assign(static_cast<size_t>(count), 0);
  for (const int32_t state : rough.rule_final) {
    if (number_of(state) >= 0) out.flags[static_cast<size_t>(number_of(state))] |= Automaton::kFinal | Automaton::kTail;
  }
  for (const int32_t start : rough.rule_start) out.rule_start.push_back(number_of(start));
  if (has_text) out.start = out.rule_start[static_cast<size_t>(root)];
  out.bytes_at.assign(static_cast<size_t>(count) + 1, 0);
  out.calls_at = out.empties_at = out.bytes_at;
  const auto at_of = [&](Kind kind) -> std::vector<uint32_t>& {
    return kind == Kind::kBytes ? out.bytes_at : kind == Kind::kCall ? out.calls_at : out.empties_at;
  };
  std::vector<const Edge*> kept;
  for (size_t i = 0; i < rough.edges.size(); ++i) {
    const Edge& edge = rough.edges[i];
    if (keep[i] == 0 || number_of(edge.from) < 0) continue;
    kept.push_back(&edge);
    ++at_of(edge.kind)[static_cast<size_t>(number_of(edge.from)) + 1];
    out.flags[static_cast<size_t>(number_of(edge.from))] &= static_cast<uint8_t>(~Automaton::kTail);
  }
  for (std::vector<uint32_t>* at : {&out.bytes_at, &out.calls_at, &out.empties_at}) {
    for (size_t i = 1; i < at->size(); ++i) (*at)[i] += (*at)[i - 1];
  }
  out.bytes.resize(out.bytes_at.back());
  out.calls.resize(out.calls_at.back());
  out.empties.resize(out.empties_at.back());
  std::vector<uint32_t> bytes_next = out.bytes_at, calls_next = out.calls_at, empties_next = out.empties_at;
  for (const Edge* const edge : kept) {
    const auto from = static_cast<size_t>(number_of(edge->from));
    const int32_t to = number_of(edge->to);
    switch (edge->kind) {
      case Kind::kBytes:
        out.bytes[bytes_next[from]++] = {static_cast<uint8_t>(edge->a), static_cast<uint8_t>(edge->b), to};
        break;
      case Kind::kCall: out.calls[calls_next[from]++] = {edge->a, to, edge->b, edge->c}; break;
      case Kind::kEmpty: out.empties[empties_next[from]++] = to; break;
    }
  }
  find_classes(out);
  return out;
}

}  // namespace pagoda::grammar
