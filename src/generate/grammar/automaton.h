// A grammar as an automaton with a stack: states joined by bytes, by empty steps and by calls of rules.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "generate/grammar/expression.h"

namespace pagoda::grammar {

// Every rule here takes at least one byte, no rule can call itself before a byte is taken but as its last act, and from every
// state a text can be finished. Left recursion and empty rules are rewritten away, so that closing a set of states over empty
// steps and calls always ends.
struct Automaton {
  struct ByteEdge {
    uint8_t low, high;
    int32_t to;
  };
  // Calls `rule` from min to max times (max kUnbounded: no bound), then goes on in `to`.
  struct CallEdge {
    int32_t rule;
    int32_t to;
    int32_t min, max;
  };
  enum Flag : uint8_t {
    kFinal = 1,  // the rule may end here
    kTail = 2,   // ... and can do nothing else: a call that leads here needs no way back
  };

  // Edges of state s: [at[s], at[s + 1]).
  std::vector<uint32_t> bytes_at, calls_at, empties_at;
  std::vector<ByteEdge> bytes;
  std::vector<CallEdge> calls;
  std::vector<int32_t> empties;
  std::vector<uint8_t> flags;
  std::vector<int32_t> rule_start;
  int32_t start = -1;        // -1: no text but perhaps the empty one
  bool takes_empty = false;  // the empty text is in the language

  // Bytes that no edge tells apart share a class.
  std::array<uint8_t, 256> class_of{};
  std::array<uint8_t, 256> representative{};  // a byte of each class
  int32_t classes = 0;

  int64_t states() const { return static_cast<int64_t>(flags.size()); }
  int64_t memory_bytes() const;
};

// Throws kInvalidInput where a limit is reached, and where the grammar has no text at all.
Automaton make_automaton(const Builder& builder, Rule root);

}  // namespace pagoda::grammar
