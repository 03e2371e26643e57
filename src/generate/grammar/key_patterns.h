// Keys of objects that patterns speak of (patternProperties): which pattern a key fits, and which none does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "generate/grammar/automaton.h"
#include "generate/grammar/json_text.h"
#include "generate/grammar/machine.h"
#include "generate/grammar/regex.h"

namespace pagoda::grammar {

// A value must fit the schemas of all patterns that are found anywhere in its key. Keys are written for one pattern at a time:
// such that it matches the whole key, and that no other pattern is found in it and no property has its name. Where dialects
// differ, a pattern is found where any of them finds it. Throws kUnsupported, by name, where telling keys apart needs too much.
class KeyPatterns {
 public:
  // work_left: steps that this and others of the schema may take.
  KeyPatterns(Builder& builder, JsonText& text, int64_t& work_left, std::string path)
      : builder_(builder), text_(text), work_left_(work_left), path_(std::move(path)) {}
  void add(std::string_view pattern);
  size_t size() const { return patterns_.size(); }
  bool empty() const { return patterns_.empty(); }
  bool found_in(size_t pattern, std::string_view name);
  // Keys with their quotes, none of them one of `names`.
  Expr key(size_t pattern, const std::vector<std::string>& names);
  Expr other_key(const std::vector<std::string>& names);  // that has none of the patterns

 private:
  // Texts of a grammar, read byte by byte.
  struct Language {
    Language(const Builder& from, Rule root);
    Automaton automaton;
    TokenVocabulary none;
    Memory memory;
    // Steps since it was last asked; between two questions GrammarLimits::max_token_steps at most.
    int64_t take_work();
  };
  // Bytes of the texts that one language has, and whether another has them too.
  struct Table {
    struct Edge {
      uint8_t low, high;
      int32_t to;
    };
    struct State {
      bool ends = false;
      std::vector<Edge> edges;
    };
    std::vector<State> states;
    bool removes = false;  // some text is in both
  };
  using Writer = std::function<Expr(Builder&)>;
  void pay(int64_t work) const;
  std::unique_ptr<Language> language(const Writer& write) const;
  Expr write_search(Builder& builder, size_t pattern) const;
  std::unique_ptr<Language> taken(const std::vector<std::string>& names, size_t but) const;
  Table subtract(Language& from, Language* taken) const;
  Expr write(const Table& table);
  [[noreturn]] void refuse() const;

  Builder& builder_;
  JsonText& text_;
  int64_t& work_left_;
  std::string path_;
  std::vector<std::string> patterns_;
  std::vector<std::unique_ptr<Language>> searches_;
};

}  // namespace pagoda::grammar
