// The automaton while it is being made: edges in one list, every rule with one start and one final state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "generate/grammar/expression.h"

namespace pagoda::grammar {

struct RoughAutomaton {
  enum class Kind : uint8_t { kBytes, kEmpty, kCall };
  struct Edge {
    int32_t from, to;
    Kind kind;
    int32_t a = 0, b = 0, c = 0;  // kBytes: low, high. kCall: rule, min, max
  };
  std::vector<Edge> edges;
  std::vector<int32_t> owner;  // rule of each state
  std::vector<int32_t> rule_start, rule_final;
  GrammarLimits limits;
  std::string where;

  int32_t states() const { return static_cast<int32_t>(owner.size()); }
  int32_t add_state(int32_t rule);  // throws at max_states
  void add_edge(const Edge& edge);  // throws at four times max_states
  // Numbers of the edges that leave (or enter) each state: those of s are order[at[s]] to order[at[s + 1]].
  struct Index {
    std::vector<uint32_t> at, order;
  };
  Index index(bool by_target) const;
};

// Rules as the builder has them, expression by expression (Thompson's construction). Code points become UTF-8; repetitions of
// what is small are written out, others become counted calls.
RoughAutomaton make_rough_automaton(const Builder& builder);

// The same rules without the empty text: each takes at least one byte. `early`, by state: no byte of its rule is taken yet.
// `takes_empty`, by rule: the empty text was in its language.
RoughAutomaton without_empty(const RoughAutomaton& from, std::vector<uint8_t>& early, std::vector<uint8_t>& takes_empty);

// The same rules such that none calls itself again, through others or not, before a byte is taken.
void unroll_left_recursion(RoughAutomaton& automaton, const std::vector<uint8_t>& early);

}  // namespace pagoda::grammar
