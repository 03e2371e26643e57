// Structured outputs: grammars, and constraints that hold a sequence to one. Grammars are compiled once and shared.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"
#include "generate/constraint.h"
#include "generate/grammar/limits.h"
#include "generate/grammar/vocabulary.h"

namespace pagoda {

namespace grammar {
struct Automaton;
class Machine;
}  // namespace grammar

// A compiled grammar. Safe to use from many threads.
class Grammar {
 public:
  Grammar(std::shared_ptr<const grammar::Automaton> automaton, const GrammarLimits& limits);
  ~Grammar();
  Grammar(const Grammar&) = delete;
  Grammar& operator=(const Grammar&) = delete;

  // Tells whether bytes are a text of the grammar.
  bool matches(std::string_view text) const;
  // What masks are made with; kept for the vocabulary asked last.
  std::shared_ptr<grammar::Machine> machine(const std::shared_ptr<const TokenVocabulary>& vocabulary) const;
  int64_t memory_bytes() const;  // masks made so far included

 private:
  std::shared_ptr<const grammar::Automaton> automaton_;
  GrammarLimits limits_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<grammar::Machine> machine_;
  mutable std::shared_ptr<const TokenVocabulary> vocabulary_;
};

using GrammarPtr = std::shared_ptr<const Grammar>;

struct JsonGrammarOptions {
  // White space between tokens of JSON: one space, or a line end and up to 32 spaces or tabs, or none. False: ", " and ": "
  // alone, as Python's json.dumps.
  bool any_whitespace = true;
};

// All compilers throw kInvalidInput for what is malformed, too large, or has no text; kUnsupported names what is not read.

// JSON Schema (draft 2020-12). Properties come in the schema's order; those not named come last, where additionalProperties is
// given. Patterns match whole strings. oneOf is read where its branches
// exclude one another. See json_schema.cc for the keywords.
GrammarPtr compile_json_schema(const Json& schema, const JsonGrammarOptions& options = {}, const GrammarLimits& limits = {});
// Any JSON object.
GrammarPtr compile_json_object(const JsonGrammarOptions& options = {}, const GrammarLimits& limits = {});
// A regular expression for the whole text: see regex.h.
GrammarPtr compile_regex(std::string_view pattern, const GrammarLimits& limits = {});
// llama.cpp's GBNF (rules `name ::= ...`, the first text is `root`) or the part of Lark's notation without priorities and
// templates (`name: ...`, the first text is `start`); `::=` tells which.
GrammarPtr compile_grammar(std::string_view source, const GrammarLimits& limits = {});
GrammarPtr compile_gbnf(std::string_view source, const GrammarLimits& limits = {});
GrammarPtr compile_lark(std::string_view source, const GrammarLimits& limits = {});
// One of the strings.
GrammarPtr compile_choice(const std::vector<std::string>& choices, const GrammarLimits& limits = {});

// Holds one sequence to the grammar, from its first generated token on. `end_ids` end the text; they may be special tokens.
// Throws kInvalidInput where no token of the vocabulary can begin a text.
std::unique_ptr<TokenConstraint> make_constraint(const GrammarPtr& grammar,
                                                 const std::shared_ptr<const TokenVocabulary>& vocabulary,
                                                 std::vector<int32_t> end_ids);

// What a request asks for, as text.
struct GrammarSource {
  enum class Kind { kJsonSchema, kJsonObject, kRegex, kGrammar, kChoice };
  Kind kind = Kind::kJsonObject;
  std::string text;                  // the schema as JSON, the pattern or the grammar
  std::vector<std::string> choices;  // kChoice
  JsonGrammarOptions json;
  std::string where = "structured_outputs";  // the request's field that it came in, for who tells of errors
};

GrammarPtr compile(const GrammarSource& source, const GrammarLimits& limits = {});

// Compiled grammars by source, the least recently used dropped first. Safe to use from many threads.
class GrammarCache {
 public:
  // max_bytes: of the grammars that are kept. max_total_bytes: of those and of what was dropped and still runs; beyond it
  // get() throws kOutOfMemory, and grammars that run give up what they remember down to 1 MiB each.
  explicit GrammarCache(int64_t max_bytes = int64_t{256} << 20, const GrammarLimits& limits = {},
                        int64_t max_total_bytes = int64_t{1} << 30);
  // Compiles where it is not known yet; errors are not kept.
  GrammarPtr get(const GrammarSource& source);
  int64_t memory_bytes() const;
  int64_t size() const;

 private:
  struct Entry {
    std::string key;
    GrammarPtr grammar;
  };
  int64_t total_bytes() const;
  void make_room();
  int64_t max_bytes_;
  GrammarLimits limits_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;                                                 // most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;  // keys lie in the entries
};

}  // namespace pagoda
